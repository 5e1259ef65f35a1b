"""Pictures that a campaign starts from: taken in once, kept beside the run's data, and read in one form.

Invariant: what a run starts from lies under its own output folder by the hash of its bytes, so that it can be resumed
without the network, and when the user's file has changed or gone.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tirada.errors import OutputError, UsageError, reason
from tirada.output.atomic import write_bytes
from tirada.sources import pictures
from tirada.sources.pictures import Picture
from tirada.sources.urls import is_url

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = Path(".tirada") / "inputs"
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError)


def room_for(output: Path, *, dry_run: bool) -> Path:
    """The folder to keep pictures under: the output folder, or for a dry run one that is gone when the program ends."""
    if not dry_run:
        return output
    folder = Path(tempfile.mkdtemp(prefix="tirada-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def take_in(source: str, output: Path) -> Path:
    """Fetch or read the picture that a file name or an http(s) URL means, and keep it; returns where, absolute.

    Raises UsageError where it is not there, not to be had safely, or no PNG, JPEG or WebP image.
    """
    if is_url(source):
        from tirada.sources.safe_fetch import fetch_picture

        return _keep(fetch_picture(source), output)
    return _keep(read_file(Path(source).expanduser()), output)


def read_file(path: Path) -> Picture:
    """The picture of a file, not decoded yet; raises UsageError where there is none."""
    try:
        with path.open("rb") as file:
            # What a file says of its size need not be true: a device has none, and no end.
            data = file.read(pictures.BYTES_MAX + 1)
    except FileNotFoundError:
        raise UsageError(f"There is no file {str(path)!r}.") from None
    except OSError as exc:
        raise UsageError(f"{str(path)!r} cannot be read: {reason(exc)}.") from None
    if len(data) > pictures.BYTES_MAX:
        raise UsageError(f"{str(path)!r} is larger than {pictures.BYTES_MAX // 1024**2} MB, which is the limit.")
    return pictures.look(data, repr(str(path)))


def keep_image(image: Image, output: Path) -> Path:
    """Keep pixels of our own making as a PNG; returns where, absolute."""
    sink = io.BytesIO()
    image.save(sink, "PNG", compress_level=1)
    return _keep(Picture(data=sink.getvalue(), format="png", width=image.width, height=image.height), output)


def _keep(picture: Picture, output: Path) -> Path:
    folder = output.absolute() / FOLDER
    path = folder / f"{hashlib.sha256(picture.data).hexdigest()}.{picture.extension}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_bytes(path, picture.data)
    except OSError as exc:
        raise OutputError(f"{folder} cannot be written to: {reason(exc)}.") from None
    return path


def decoded(picture: Picture, name: str) -> Image:
    """The pixels upright as RGBA in sRGB; raises UsageError for a picture that breaks off."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(io.BytesIO(picture.data), formats=[one.upper() for one in pictures.FORMATS]) as opened:
            return in_srgb(ImageOps.exif_transpose(opened)).convert("RGBA")
    except _BROKEN:
        raise UsageError(f"{name} is broken; save it again as PNG, JPEG or WebP.") from None


def in_srgb(image: Image) -> Image:
    """The same colours without a profile, as RGB or RGBA; values change only where another profile was attached."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: Pillow would cut the values off at 255 instead of scaling them.
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    plain = image if image.mode == "CMYK" else image.convert("RGBA" if image.has_transparency_data else "RGB")
    if profile:
        plain = _converted(plain, profile)
    plain = plain if plain.mode in ("RGB", "RGBA") else plain.convert("RGB")
    plain.info.pop("icc_profile", None)
    return plain


def _converted(image: Image, profile: bytes) -> Image:
    from PIL import ImageCms

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        bare = image.convert("RGB") if alpha is not None else image
        found = ImageCms.profileToProfile(bare, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A profile of another kind of picture, or a broken one, says nothing.
        return image
    if found is None:
        return image
    if alpha is not None:
        found.putalpha(alpha)
    return found
