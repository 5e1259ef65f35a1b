"""From what a backend answered to the bytes of the file: checked, sized, encoded, and described from within.

Invariant: the file has exactly the size asked for, and pixels that already are right are never encoded a second time.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.contract import GeneratedImage
from models.errors import BadAnswer
from tirada.output import containers
from tirada.output.containers import ImageFormat
from tirada.output.metadata import ImageMetadata, exif_block, parameters_text, xmp_packet

if TYPE_CHECKING:
    from PIL.Image import Image

#: Whether metadata goes into the image: "auto" = unless that would break a signature, "never" = into a sidecar instead.
Embed = Literal["auto", "always", "never"]
#: Bytes and pixels we are willing to take from a service; below the size at which Pillow itself starts to warn.
MAX_BYTES = 96 * 1024 * 1024
MAX_PIXELS = 80_000_000
#: Level 1 is within 15 % of the best size at half its time (1024x1024, zlib-ng; 102 ms against 183 ms).
PNG_LEVEL = 1
JPEG_QUALITY, WEBP_QUALITY = 92, 90
_ORIENTATION = 0x0112
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error)
#: EXIF flag -> Pillow's name of what puts the image upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file ready to be written, and what there is to record about it."""

    data: bytes
    #: XMP for a ``.xmp`` file beside the image, where the image itself could not take it.
    sidecar: bytes | None
    width: int
    height: int
    rendered_width: int
    rendered_height: int
    #: The service signed its bytes (C2PA). Still true where the signature had to go; ``note`` says so then.
    signed: bool
    note: str | None = None
    #: The file as it would have been without ``touch``, where that changed it.
    untouched: bytes | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the file."""
        return hashlib.sha256(self.data).hexdigest()


def prepare(
    image: GeneratedImage,
    *,
    width: int,
    height: int,
    fmt: ImageFormat,
    metadata: ImageMetadata,
    embed: Embed = "auto",
    touch: Callable[[Image], Image] | None = None,
) -> Prepared:
    """The finished file of that size and format; raises BadAnswer for bytes that are no sound image.

    ``touch`` is given the picture in its final size, RGB or RGBA, and says what to keep: the same object or another.
    """
    wanted = (width, height)
    ready: bytes | None = None
    signed, note, sidecar = False, None, None
    if isinstance(image.image, bytes):
        came, pixels = _decode(image.image)
        signed = _is_signed(image.image, came)
        if came == fmt and pixels.size == wanted and not _needs_redraw(pixels):
            ready = image.image
        elif signed:
            note = f"The service's C2PA signature was lost in {'converting' if pixels.size == wanted else 'resizing'}."
    else:
        pixels = image.image
        _check_pixels(*pixels.size)
    untouched: bytes | None = None
    if touch is not None:
        before = _fit(pixels, width, height)
        kept = touch(before)
        if kept is not before:
            untouched = ready or _encode(before, fmt)
            ready, note = _encode(kept, fmt), "The service's C2PA signature was lost in editing." if signed else note
    whole = signed and ready is image.image
    data = ready or _encode(_fit(pixels, width, height), fmt)
    if embed == "never" or (whole and embed == "auto"):
        sidecar = xmp_packet(metadata, with_parameters=True)
    else:
        data, sidecar = _describe(data, fmt, metadata)
        if whole:
            note = "The service's C2PA manifest was taken out: metadata was embedded (--embed always), which breaks it."
    return Prepared(
        data=data,
        sidecar=sidecar,
        width=width,
        height=height,
        rendered_width=pixels.size[0],
        rendered_height=pixels.size[1],
        signed=signed,
        note=note,
        untouched=untouched,
    )


def _decode(data: bytes) -> tuple[ImageFormat, Image]:
    """Read every pixel, trusting nothing: not the length, not the format, not the size the header claims."""
    from PIL import Image as Pillow

    if len(data) > MAX_BYTES:
        raise BadAnswer(f"The image has {len(data):,} bytes; more than {MAX_BYTES:,} are not accepted.")
    fmt = containers.sniff(data)
    if fmt is None:
        raise BadAnswer(f"The answer is no PNG, JPEG or WebP image (it starts with {data[:8]!r}).")
    try:
        _check_pixels(*containers.read_size(data, fmt))
        pixels = Pillow.open(io.BytesIO(data), formats=[fmt])
        _check_pixels(*pixels.size)
        pixels.load()
    except BadAnswer:
        raise
    # Pillow's decoders answer broken bytes with any of these.
    except _BROKEN as exc:
        raise BadAnswer(f"The image is broken: {exc}.") from exc
    except Pillow.DecompressionBombError as exc:
        raise BadAnswer(f"The image is broken: {exc}.") from exc
    return fmt, pixels


def _check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadAnswer(f"The image is empty ({width}x{height}).")
    if width * height > MAX_PIXELS:
        raise BadAnswer(f"The image claims {width}x{height} pixels; more than {MAX_PIXELS:,} are not accepted.")


def _is_signed(data: bytes, fmt: ImageFormat) -> bool:
    try:
        return containers.is_signed(data, fmt)
    except ValueError as exc:
        raise BadAnswer(f"The image is broken: {exc}.") from exc


def _needs_redraw(pixels: Image) -> bool:
    """Whether the file shows something else than its pixels: it is animated, or turned by an EXIF flag."""
    return bool(getattr(pixels, "is_animated", False)) or _orientation(pixels) in _TURNS


def _orientation(pixels: Image) -> int:
    """The EXIF flag, 1 (upright) where it is missing or its block broken: the pixels are sound all the same."""
    try:
        flag = pixels.getexif().get(_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return flag if isinstance(flag, int) else 1


def _fit(pixels: Image, width: int, height: int) -> Image:
    """Scale the image to cover the size, and crop what stands out evenly on both sides."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    turn = _TURNS.get(_orientation(pixels))
    pixels = _plain(pixels if turn is None else pixels.transpose(Pillow.Transpose[turn]))
    if pixels.size == (width, height):
        return pixels
    fitted = ImageOps.fit(pixels, (width, height), Pillow.Resampling.LANCZOS)
    if "icc_profile" in pixels.info:
        fitted.info["icc_profile"] = pixels.info["icc_profile"]
    return fitted


def _plain(pixels: Image) -> Image:
    """RGB, or RGBA where something is transparent."""
    if pixels.mode in ("RGB", "RGBA"):
        return pixels
    profile = pixels.info.get("icc_profile") if pixels.mode in ("P", "PA") else None
    if pixels.mode.startswith("I") or pixels.mode == "F":
        # 16-bit grey: Pillow would cut the values off at 255 instead of scaling them.
        pixels = pixels.convert("I").point(lambda value: value / 257).convert("L")
    plain = pixels.convert("RGBA" if pixels.has_transparency_data else "RGB")
    plain.info.pop("icc_profile", None)
    if profile:
        plain.info["icc_profile"] = profile
    return plain


def _encode(pixels: Image, fmt: ImageFormat) -> bytes:
    from PIL import Image as Pillow

    profile = pixels.info.get("icc_profile")
    # A bare copy of the pixels: what an earlier file said about itself stays behind.
    if fmt == "jpeg" and pixels.mode == "RGBA":
        bare = Pillow.new("RGB", pixels.size, "white")
        bare.paste(pixels, mask=pixels.getchannel("A"))
    else:
        bare = pixels.copy()
    bare.info = {}
    sink = io.BytesIO()
    extra = {"icc_profile": profile} if profile else {}
    if fmt == "png":
        bare.save(sink, "PNG", compress_level=PNG_LEVEL, **extra)
    elif fmt == "jpeg":
        bare.save(sink, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True, **extra)
    else:
        bare.save(sink, "WEBP", quality=WEBP_QUALITY, **extra)
    return sink.getvalue()


def _describe(data: bytes, fmt: ImageFormat, metadata: ImageMetadata) -> tuple[bytes, bytes | None]:
    """Put the metadata in; what a JPEG segment is too small for goes into the sidecar instead."""
    try:
        if fmt == "png":
            texts = {"parameters": parameters_text(metadata), "XML:com.adobe.xmp": xmp_packet(metadata).decode()}
            return containers.png_insert(data, texts), None
        exif, xmp = exif_block(metadata), xmp_packet(metadata)
        if fmt == "webp":
            return containers.webp_insert(data, exif=exif, xmp=xmp), None
        fits = containers.jpeg_fits(exif=exif), containers.jpeg_fits(xmp=xmp)
        described = containers.jpeg_insert(data, exif=exif if fits[0] else None, xmp=xmp if fits[1] else None)
        return described, None if all(fits) else xmp_packet(metadata, with_parameters=True)
    except ValueError as exc:
        raise BadAnswer(f"The image is broken: {exc}.") from exc
