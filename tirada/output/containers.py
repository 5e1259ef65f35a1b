"""PNG, JPEG and WebP as boxes of chunks: their size, their C2PA signature, and metadata put in without re-encoding.

Invariant: pixel data passes through untouched, bit for bit; bytes that are no such file raise ValueError, nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp"]
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_JPEG_EXIF = b"Exif\0\0"
#: A JPEG segment counts its own two length bytes.
JPEG_SEGMENT_MAX = 65535 - 2
_APP0, _APP1, _APP11, _SOS = 0xE0, 0xE1, 0xEB, 0xDA
_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PNG_C2PA, _WEBP_C2PA = b"caBX", b"C2PA"
_VP8X_ALPHA, _VP8X_EXIF, _VP8X_XMP = 0x10, 0x08, 0x04


def sniff(data: bytes) -> ImageFormat | None:
    """Which of the three formats the bytes claim to be."""
    if data.startswith(PNG_MAGIC):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None


def read_size(data: bytes, fmt: ImageFormat) -> tuple[int, int]:
    """(width, height) in pixels as the header says, without decoding anything."""
    try:
        if fmt == "png":
            kind, width, height = struct.unpack_from(">4sII", data, 12)
            if kind != b"IHDR":
                raise ValueError("the PNG does not start with its header")
            return width, height
        return _jpeg_size(data) if fmt == "jpeg" else _webp_size(data)
    except (struct.error, IndexError) as exc:
        raise ValueError("the image header is cut off") from exc


def is_signed(data: bytes, fmt: ImageFormat) -> bool:
    """Whether the file carries a C2PA manifest, which any change of its bytes would break."""
    if fmt == "png":
        return any(kind == _PNG_C2PA for kind, _ in png_chunks(data))
    if fmt == "jpeg":
        return any(_is_jumbf(marker, body) for marker, body, _ in jpeg_segments(data))
    return any(kind == _WEBP_C2PA for kind, _ in webp_chunks(data))


def _is_jumbf(marker: int, body: bytes) -> bool:
    """Whether a JPEG segment is a box of the kind C2PA manifests come in, or a further part of one."""
    return marker == _APP11 and body.startswith(b"JP")


# PNG -----------------------------------------------------------------------------------------------------------------


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole chunk with length and checksum) of every chunk up to IEND."""
    at = len(PNG_MAGIC)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the PNG is cut off")
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        kind = data[at + 4 : at + 8]
        if end > len(data):
            raise ValueError("the PNG is cut off")
        yield kind, data[at:end]
        if kind == b"IEND":
            return
        at = end


def png_insert(data: bytes, texts: dict[str, str]) -> bytes:
    """The same PNG with these texts as chunks before its pixels, in place of texts of the same names.

    A C2PA manifest, which it would make invalid, is left out: a broken signature says that the file was tampered with.
    """
    fresh = [_png_text(keyword, text) for keyword, text in texts.items()]
    names = {keyword.encode("latin-1") for keyword in texts}
    parts, placed = [PNG_MAGIC], False
    for kind, chunk in png_chunks(data):
        if kind in {b"tEXt", b"zTXt", b"iTXt"} and chunk[8:].split(b"\0", 1)[0] in names:
            continue
        if kind == _PNG_C2PA:
            continue
        if kind == b"IDAT" and not placed:
            parts += fresh
            placed = True
        parts.append(chunk)
    return b"".join(parts)


def _png_text(keyword: str, text: str) -> bytes:
    """A tEXt chunk where Latin-1 can hold the text, else iTXt; XMP is iTXt by its standard."""
    name = keyword.encode("latin-1")
    try:
        if name == _XMP_KEYWORD:
            raise ValueError
        kind, body = b"tEXt", name + b"\0" + text.encode("latin-1")
    except ValueError:
        # Uncompressed, no language, no translated keyword.
        kind, body = b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8")
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# JPEG ----------------------------------------------------------------------------------------------------------------


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, body, end offset) of every segment before the pixels, which start with the last one yielded (SOS)."""
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            raise ValueError("the JPEG is cut off or broken")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError("the JPEG is cut off or broken")
        yield marker, data[at + 4 : end], end
        if marker == _SOS:
            return
        at = end


def jpeg_insert(data: bytes, *, exif: bytes | None, xmp: bytes | None) -> bytes:
    """The same JPEG with these metadata segments, in place of any EXIF, XMP and C2PA manifest it had."""
    fresh = b""
    if exif is not None:
        fresh += _jpeg_segment(_APP1, _JPEG_EXIF + exif)
    if xmp is not None:
        fresh += _jpeg_segment(_APP1, _JPEG_XMP + xmp)
    parts, placed, end = [data[:2]], False, 2
    for marker, body, stop in jpeg_segments(data):
        end = stop
        if marker == _APP1 and body.startswith((_JPEG_EXIF, _JPEG_XMP, _JPEG_XMP_MORE)):
            continue
        if _is_jumbf(marker, body):
            continue
        if marker != _APP0 and not placed:
            parts.append(fresh)
            placed = True
        parts.append(_jpeg_segment(marker, body))
    return b"".join([*parts, data[end:]])


def jpeg_fits(*, exif: bytes = b"", xmp: bytes = b"") -> bool:
    """Whether the block fits into one segment."""
    return len(_JPEG_EXIF) + len(exif) <= JPEG_SEGMENT_MAX and len(_JPEG_XMP) + len(xmp) <= JPEG_SEGMENT_MAX


def _jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, body, _ in jpeg_segments(data):
        if marker in _SOF:
            _, height, width = struct.unpack_from(">BHH", body)
            return width, height
    raise ValueError("the JPEG has no frame header")


# WebP ----------------------------------------------------------------------------------------------------------------


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of every chunk."""
    at, stop = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= stop:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            raise ValueError("the WebP is cut off")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def webp_insert(data: bytes, *, exif: bytes, xmp: bytes) -> bytes:
    """The same WebP with these metadata chunks, in place of any EXIF, XMP and C2PA manifest it had."""
    chunks = [(kind, body) for kind, body in webp_chunks(data) if kind not in {b"EXIF", b"XMP ", _WEBP_C2PA}]
    if not chunks:
        raise ValueError("the WebP holds no image")
    kind, first = chunks[0]
    if kind == b"VP8X":
        header = bytes((first[0] | _VP8X_EXIF | _VP8X_XMP,)) + first[1:]
        chunks = chunks[1:]
    else:
        width, height = _webp_size(data)
        # Bit 28 after the VP8L signature byte says whether the pixels have transparency.
        alpha = _VP8X_ALPHA if kind == b"VP8L" and first[4] & 0x10 else 0
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        header = bytes((alpha | _VP8X_EXIF | _VP8X_XMP, 0, 0, 0)) + size
    body = b"".join(_webp_chunk(*chunk) for chunk in [(b"VP8X", header), *chunks, (b"EXIF", exif), (b"XMP ", xmp)])
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _webp_size(data: bytes) -> tuple[int, int]:
    for kind, body in webp_chunks(data):
        if kind == b"VP8X":
            return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            return width & 0x3FFF, height & 0x3FFF
        if kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("the WebP holds no image")
