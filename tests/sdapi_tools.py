"""What the tests of the backend ``sdapi`` share."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from PIL import Image

from models.backends.sdapi import SdapiBackend
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageRequest
from models.errors import ModelError
from tests.servers.sd_webui import SdWebui

CATALOG = load_catalog(today=date(2026, 11, 20))
PASSWORD = "hunter2-öl/@x"
Make = Callable[..., SdapiBackend]


@contextmanager
def backends(server: SdWebui) -> Iterator[Make]:
    """Makes backends for that server, with settings to change, and closes them all."""
    made: list[SdapiBackend] = []

    def build(**changes: Any) -> SdapiBackend:
        made.append(SdapiBackend(**{"url": server.url, "catalog": CATALOG, "timeout": 20, **changes}))
        return made[-1]

    yield build
    for backend in made:
        backend.close()


def ask(width: int = 512, height: int = 512, **changes: Any) -> ImageRequest:
    return ImageRequest(**{"prompt": "A lighthouse on a cliff", "width": width, "height": height, **changes})


def render(backend: SdapiBackend, request: ImageRequest | None = None) -> GeneratedImage:
    (image,) = backend.generate([request or ask()])
    assert isinstance(image, GeneratedImage), image
    return image


def fail(backend: SdapiBackend, request: ImageRequest | None = None) -> ModelError:
    (error,) = backend.generate([request or ask()])
    assert isinstance(error, ModelError), error
    assert "\n" not in str(error)
    assert "<html>" not in str(error)
    return error


def work(server: SdWebui) -> list[dict[str, Any]]:
    """The requests for images that came in."""
    return [one.json for one in server.requests if one.path.endswith(("txt2img", "img2img"))]


def picture(data: bytes | str | Image.Image) -> Image.Image:
    if isinstance(data, Image.Image):
        return data
    with Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data)) as found:
        found.load()
        return found


def in_base64(image: Image.Image, fmt: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, fmt)
    return base64.b64encode(buffer.getvalue()).decode()
