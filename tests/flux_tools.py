"""What the tests of the backend ``flux-api`` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from models.backends.flux_api import FluxApiBackend
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageRequest
from models.errors import ModelError

KEY = "bfl_0123456789abcdefghijkl"
TODAY = date(2026, 11, 20)
CATALOG = load_catalog(today=TODAY)
Make = Callable[..., FluxApiBackend]


@contextmanager
def backends(url: str) -> Iterator[Make]:
    """Makes backends for that URL, with settings to change, and closes them all; they never wait."""
    made: list[FluxApiBackend] = []

    def build(**changes: Any) -> FluxApiBackend:
        settings: dict[str, Any] = {"key": KEY, "base_url": url, "catalog": CATALOG, "timeout": 20, "poll_seconds": 0}
        made.append(FluxApiBackend(**{**settings, **changes}))
        return made[-1]

    yield build
    for backend in made:
        backend.close()


def ask(width: int = 1024, height: int = 1024, **changes: Any) -> ImageRequest:
    settings: dict[str, Any] = {"prompt": "A lighthouse on a basalt cliff", "width": width, "height": height}
    return ImageRequest(**{**settings, **changes})


def render(backend: FluxApiBackend, request: ImageRequest | None = None) -> GeneratedImage:
    (image,) = backend.generate([request or ask()])
    assert isinstance(image, GeneratedImage), image
    return image


def fail(backend: FluxApiBackend, request: ImageRequest | None = None) -> ModelError:
    (error,) = backend.generate([request or ask()])
    assert isinstance(error, ModelError), error
    return clean(error)


def not_collected(backend: FluxApiBackend, job: str) -> ModelError:
    """The error with which a job cannot be collected."""
    try:
        found = backend.collect(job)
    except ModelError as error:
        return clean(error)
    raise AssertionError(found)


def clean(error: ModelError) -> ModelError:
    """The error, if its words may be shown."""
    assert KEY not in str(error) + repr(error)
    assert "sig=" not in str(error)
    assert "\n" not in str(error)
    assert "<html" not in str(error)
    return error


def changed(job: str, **changes: Any) -> str:
    """The text of a job with something else in it."""
    return json.dumps({**json.loads(job), **changes})


def picture(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    """A picture file of that size; the ending of its name says which kind."""
    from PIL import Image

    Image.new("RGB", size, "teal").save(path)
    return path
