"""Pictures to and from a local model: start images and references in, finished pixels out.

Invariant: what comes out was computed: no NaN, and not black all over.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from models.backends.input_images import decode, look_at, read_input
from models.errors import BadAnswer

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def check_picture(path: Path) -> None:
    """Raise UnsupportedRequest unless the file is a picture."""
    look_at(path)
    _read(path)


def start_image(path: Path, size: tuple[int, int]) -> Image:
    """The picture, scaled and cropped to the size that is rendered."""
    from PIL import Image, ImageOps

    return ImageOps.fit(_read(path), size, Image.Resampling.LANCZOS)


def reference_image(path: Path) -> Image:
    """The picture as it is."""
    return _read(path)


def _read(path: Path) -> Image:
    return _decode(read_input(path), str(path))


@functools.lru_cache(maxsize=8)
def _decode(data: bytes, name: str) -> Image:
    """The picture of a file, upright, without transparency."""
    return decode(data, name).convert("RGB")


def finished(pixels: torch.Tensor) -> list[Image | BadAnswer]:
    """Pictures of a batch of tensors (values 0 to 1); one that went wrong is a BadAnswer."""
    import torch
    from PIL import Image

    pixels = pixels.detach().float()
    sound = torch.isfinite(pixels).flatten(1).all(1).tolist()
    whole = (pixels.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8)
    rows = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    found: list[Image.Image | BadAnswer] = []
    for row, is_sound in zip(rows, sound, strict=True):
        if not is_sound:
            found.append(BadAnswer("The model computed no numbers (NaN).", hint="Another seed or size may do."))
        elif not row.any():
            found.append(BadAnswer("The picture is black all over, as after a computation gone wrong."))
        else:
            found.append(Image.fromarray(row))
    return found
