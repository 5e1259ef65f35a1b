"""What the tests of the backend ``stability`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from models.backends.stability import StabilityBackend
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageRequest
from models.errors import ModelError

KEY = "sk-stability-0123456789abcdefghijklmnop"
TODAY = date(2026, 11, 20)
CATALOG = load_catalog(today=TODAY)
SD3 = ("sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium")
MODELS = ("stable-image-core", "stable-image-ultra", *SD3)
Make = Callable[..., StabilityBackend]


@contextmanager
def backends(url: str) -> Iterator[Make]:
    """Makes backends for that URL, with settings to change, and closes them all."""
    made: list[StabilityBackend] = []

    def build(**changes: Any) -> StabilityBackend:
        settings: dict[str, Any] = {"key": KEY, "base_url": url, "catalog": CATALOG, "timeout": 20}
        made.append(StabilityBackend(**{**settings, **changes}))
        return made[-1]

    yield build
    for backend in made:
        backend.close()


def ask(width: int = 1024, height: int = 1024, **changes: Any) -> ImageRequest:
    settings: dict[str, Any] = {"prompt": "A lighthouse on a basalt cliff", "width": width, "height": height}
    return ImageRequest(**{**settings, **changes})


def render(backend: StabilityBackend, request: ImageRequest | None = None) -> GeneratedImage:
    (image,) = backend.generate([request or ask()])
    assert isinstance(image, GeneratedImage), image
    return image


def fail(backend: StabilityBackend, request: ImageRequest | None = None) -> ModelError:
    (error,) = backend.generate([request or ask()])
    assert isinstance(error, ModelError), error
    assert KEY not in str(error) + repr(error)
    assert "\n" not in str(error)
    return error


def picture(path: Path, width: int = 96, height: int = 64, fmt: str = "PNG") -> Path:
    """A start image on disk."""
    Image.new("RGB", (width, height), "navy").save(path, fmt)
    return path
