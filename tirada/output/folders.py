"""Names on disk: the folder of a batch and the files in it.

Invariant: a name made here is ASCII, portable (Windows too), inside the output folder, and never one that exists.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import date
from pathlib import Path

from tirada.output.atomic import fsync_folder

#: Image format -> file extension.
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
UNTITLED = "untitled"
_DEVICES = ("com", "lpt")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{device}{n}" for device in _DEVICES for n in range(10)}
_TRIES = 200


def slug(title: str, limit: int = 60) -> str:
    """An ASCII name of at most ``limit`` bytes (8 or more) made of a-z, 0-9 and single dashes; never empty."""
    from slugify import slugify

    if limit < len(UNTITLED):
        raise ValueError(f"a slug needs room for {len(UNTITLED)} bytes, not {limit}")
    # Far more than can fit, and little enough for any title to be cheap.
    name = slugify(title[: limit * 20], max_length=limit, word_boundary=True, save_order=True)
    name = name[:limit].strip("-") or UNTITLED
    return f"{name}-set" if name in _RESERVED else name


def make_folder(output: Path, title: str, day: date, *, announce: Callable[[str], None] | None = None) -> Path:
    """Create ``<day>-<slug>-<4 hex>`` in the output folder; it is new, and ours alone.

    ``announce`` is told each name before it is tried, to write it down: a kill then leaves no folder nobody knows.
    """
    output.mkdir(parents=True, exist_ok=True)
    stem = f"{day:%Y-%m-%d}-{slug(title)}"
    for _ in range(_TRIES):
        folder = output / f"{stem}-{secrets.token_hex(2)}"
        if announce is not None and not folder.exists():
            announce(folder.name)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        fsync_folder(output)
        return folder
    raise FileExistsError(f"no free name left for '{stem}-****' in {str(output)!r}: move some of its folders away")


def image_stem(index: int, total: int) -> str:
    """The name of image ``index`` (from 1) of ``total`` without extension: 01; wide enough that names sort in order."""
    if index < 1:
        raise ValueError(f"images are counted from 1, not {index}")
    return f"{index:0{max(2, len(str(total)))}d}"


def image_name(index: int, total: int, ext: str) -> str:
    """The file name of image ``index`` (from 1) of ``total``: 01.png."""
    return f"{image_stem(index, total)}.{ext}"
