"""Images that a request brings along: looked at before any spend, read when they are sent.

Invariant: a file is looked at and read once for all images of a run, and again only when it has changed on disk.
"""

from __future__ import annotations

import functools
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.errors import UnsupportedRequest

if TYPE_CHECKING:
    from PIL.Image import Image

InputFormat = Literal["png", "jpeg", "webp"]
FORMATS: tuple[InputFormat, ...] = ("png", "jpeg", "webp")
NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP"}
#: Bytes of files that are kept in memory between two images.
KEPT_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """What the header of an image file says."""

    path: Path
    format: InputFormat
    width: int
    height: int
    #: Size of the file.
    bytes: int
    #: It can say which pixels are transparent.
    alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"


def look_at(path: Path, *, formats: Sequence[InputFormat] = FORMATS, max_bytes: int | None = None) -> InputImage:
    """What the file is, by its content; its pixels are not decoded.

    Raises UnsupportedRequest where there is no such file, it is none of ``formats`` or has more than ``max_bytes``.
    """
    status = _status(path)
    legal = _listed(formats)
    if status.size == 0:
        raise UnsupportedRequest(f"{str(path)!r} is empty.", hint=f"Give it as {legal}.")
    if max_bytes is not None and status.size > max_bytes:
        raise UnsupportedRequest(
            f"{str(path)!r} has {status.size / 1e6:,.1f} MB; {max_bytes / 1e6:,.0f} MB is the limit.",
            hint="Make it smaller.",
        )
    found = _look(path, status)
    if found is None or found.format not in formats:
        what = f"is a {NAMES[found.format]}" if found else f"is no {legal} image"
        raise UnsupportedRequest(f"{str(path)!r} {what}.", hint=f"Give it as {legal}.")
    return found


def read_input(path: Path, *, formats: Sequence[InputFormat] = FORMATS, max_bytes: int | None = None) -> bytes:
    """The bytes of a file that ``look_at`` accepts; raises UnsupportedRequest like it."""
    look_at(path, formats=formats, max_bytes=max_bytes)
    return _shelf.read(path, _status(path))


def decode(data: bytes, name: str) -> Image:
    """The picture of a file's bytes, upright, in a mode of its own; raises UnsupportedRequest where it is broken."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return ImageOps.exif_transpose(picture)
    # Pillow's decoders answer broken bytes with any of these.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError):
        raise UnsupportedRequest(f"{name!r} is broken.", hint="Save it again as PNG, JPEG or WebP.") from None


def check_mask(mask: Path, size: tuple[int, int]) -> None:
    """Raise UnsupportedRequest unless the mask is a PNG of its start image's size (upright) with transparent pixels."""
    look_at(mask, formats=["png"])
    picture = decode(read_input(mask), str(mask))
    if picture.size != size:
        raise UnsupportedRequest(
            f"The mask {str(mask)!r} is {picture.width}x{picture.height}, its start image {size[0]}x{size[1]}.",
            hint="Both must have the same size.",
        )
    if holes(picture).getbbox() is None:
        raise UnsupportedRequest(
            f"The mask {str(mask)!r} has no transparent pixels.", hint="They say where the start image may change."
        )


def holes(mask: Image) -> Image:
    """White where the mask is transparent."""
    from PIL import ImageOps

    return ImageOps.invert(mask.convert("RGBA").getchannel("A"))


@dataclass(frozen=True, slots=True)
class _Status:
    """What tells one state of a file from another."""

    size: int
    changed_ns: int


def _status(path: Path) -> _Status:
    try:
        found = path.stat()
    except OSError as exc:
        raise _unreadable(path, exc) from None
    if not path.is_file():
        raise UnsupportedRequest(f"{str(path)!r} is no file.", hint="Name an image file.")
    return _Status(found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _look(path: Path, status: _Status) -> InputImage | None:
    """The header, remembered for that state of the file; None where it is no such image. Raises UnsupportedRequest."""
    from PIL import Image

    try:
        with Image.open(path, formats=[name.upper() for name in FORMATS]) as picture:
            return InputImage(
                path=path,
                format=_format(picture.format),
                width=picture.width,
                height=picture.height,
                bytes=status.size,
                alpha=picture.has_transparency_data,
            )
    except PermissionError as exc:
        raise _unreadable(path, exc) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsupportedRequest(f"{str(path)!r} has too many pixels.", hint="Make it smaller.") from None
    # Pillow answers broken headers with any of these.
    except (OSError, SyntaxError, ValueError, EOFError):
        return None


def _format(name: str | None) -> InputFormat:
    for known in FORMATS:
        if (name or "").lower() == known:
            return known
    raise ValueError(name)


def _unreadable(path: Path, exc: OSError) -> UnsupportedRequest:
    if isinstance(exc, FileNotFoundError):
        return UnsupportedRequest(f"There is no file {str(path)!r}.", hint="Check its name.")
    return UnsupportedRequest(f"{str(path)!r} cannot be read: {exc.strerror or exc}.")


def _listed(formats: Sequence[InputFormat]) -> str:
    names = [NAMES[name] for name in FORMATS if name in formats]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


class _Shelf:
    """The files read last, up to ``KEPT_MAX`` bytes of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Path, _Status], bytes] = OrderedDict()

    def read(self, path: Path, status: _Status) -> bytes:
        key = (path, status)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            try:
                data = path.read_bytes()
            except OSError as exc:
                raise _unreadable(path, exc) from None
            self._kept[key] = data
            while sum(map(len, self._kept.values())) > KEPT_MAX:
                self._kept.popitem(last=False)
            return data


_shelf = _Shelf()
