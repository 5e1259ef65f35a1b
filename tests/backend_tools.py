"""Every backend of the registry with its stand-in, behind one face: for the tests that all of them pass.

Invariant: what a ``Standin`` says about faults and bills comes from the service's documentation, never from our code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.backends.flux_api import FluxApiBackend
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageBackend, ImageRequest
from models.errors import ModelError
from models.registry import BackendConfig, BackendRow
from tests.checkpoints import checkpoint, needs
from tests.run_tools import BillingServer
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer
from tests.servers.sd_webui import SdWebui
from tests.servers.stability_api import StabilityServer

#: As long as a real one, so that it is looked for in messages.
KEY = "sk-standin-0123456789abcdefghij"
READY = [row for row in registry.BACKENDS if row.target]
#: Rows of those that talk to a server, and of those that render on this machine.
HOSTED = [row for row in READY if row.settings and not row.extra]
LOCAL = [row for row in READY if row.extra == "local"]
PAID = [row for row in HOSTED if row.paid]
every = pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name, marks=needs("diffusers") if row in LOCAL else ()) for row in READY]
)
#: One call at a time, so that the nth request is the nth image.
SERIAL = {"IMAGES_IN_FLIGHT": "1", "WRITER_IN_FLIGHT": "1", "WRITER_BATCH": "1"}


@dataclass(slots=True, kw_only=True)
class Standin:
    """A stand-in and how to reach it. ``work`` is in the path of the request that does the work."""

    settings: dict[str, str]
    server: Any = None
    work: str = ""
    bill: Callable[[], Decimal] = field(default=lambda: Decimal(0))

    def requests(self) -> list[Any]:
        """The requests for work that came in."""
        return [one for one in self.server.requests if self.work in one.path] if self.server else []

    def fail(self, *faults: Fault) -> None:
        """These, one after the other, for requests for work."""
        self.server.faults = [at(fault, self.work) for fault in faults]


def at(fault: Fault, path: str) -> Fault:
    """The fault for that path alone."""
    return replace(fault, path=path)


@contextmanager
def _no_service(_size: tuple[int, int] | None) -> Iterator[Standin]:
    yield Standin(settings={})


@contextmanager
def _openai(size: tuple[int, int] | None) -> Iterator[Standin]:
    with BillingServer(key=KEY, image_size=size) as server:
        settings = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
        yield Standin(settings=settings, server=server, work="/images/generations", bill=server.total)


@contextmanager
def _stability(size: tuple[int, int] | None) -> Iterator[Standin]:
    with StabilityServer(key=KEY, image_size=size) as server:
        settings = {"STABILITY_API_KEY": KEY, "STABILITY_BASE_URL": server.url}
        yield Standin(settings=settings, server=server, work="/generate/", bill=lambda: server.bill)


@contextmanager
def _bfl(size: tuple[int, int] | None) -> Iterator[Standin]:
    with BflServer(key=KEY, image_size=size) as server:
        settings = {"BFL_API_KEY": KEY, "BFL_BASE_URL": server.url}
        yield Standin(settings=settings, server=server, work="/v1/flux", bill=lambda: server.bill)


@contextmanager
def _sd_webui(_size: tuple[int, int] | None) -> Iterator[Standin]:
    login = f"me:{KEY}"
    with SdWebui(login=login) as server:
        url = server.url.replace("://", f"://{login}@")
        yield Standin(settings={"STABLE_DIFFUSION_URL": url}, server=server, work="2img")


def _on_this_machine(setting: str, name: str) -> Callable[[Any], AbstractContextManager[Standin]]:
    @contextmanager
    def tiny(_size: tuple[int, int] | None) -> Iterator[Standin]:
        yield Standin(settings={setting: str(checkpoint(name))})

    return tiny


#: Backend -> its stand-in, with pictures of a given size or of the size asked for. A new backend adds its own here.
STANDINS: dict[str, Callable[[tuple[int, int] | None], AbstractContextManager[Standin]]] = {
    "draft": _no_service,
    "dalle": _openai,
    "stability": _stability,
    "flux-api": _bfl,
    "sdapi": _sd_webui,
    "stable-diffusion": _on_this_machine("STABLE_DIFFUSION_MODEL", "sdxl"),
    "flux": _on_this_machine("FLUX_MODEL", "schnell"),
}
#: Where the address of the service is set.
ADDRESS = {
    "dalle": "OPENAI_BASE_URL",
    "stability": "STABILITY_BASE_URL",
    "flux-api": "BFL_BASE_URL",
    "sdapi": "STABLE_DIFFUSION_URL",
}
#: Who refuses to draw something; a GPU of one's own draws everything.
MODERATED = ("dalle", "stability", "flux-api")
#: A prompt that they refuse.
INDECENT = "FORBIDDEN things at dusk"
#: Bodies of a status 200 that are JSON and not what they should be.
WRONG: Mapping[str, list[Any]] = {
    "dalle": [{"data": 5}, {"data": [{"b64_json": 5}]}, {"data": []}, [], "text", None],
    "stability": [{"image": 5}, {"image": [], "finish_reason": 1}, {"finish_reason": "SUCCESS"}, [], "text", None],
    "flux-api": [{"id": "x"}, {"id": "x", "polling_url": 5}, {}, [], "text", None],
    "sdapi": [{"images": 5}, {"images": [5]}, {"images": []}, {"images": ["?"]}, [], None],
}


def standin(row: BackendRow, size: tuple[int, int] | None = None) -> AbstractContextManager[Standin]:
    return STANDINS[row.name](size)


def build(row: BackendRow, settings: Mapping[str, str], *, timeout: float = 20, in_flight: int | None = None) -> Any:
    """The backend, which never pauses between two looks at a job."""
    config = BackendConfig(catalog=load_catalog(), settings=settings, timeout=timeout, max_in_flight=in_flight)
    backend = registry.build(row, config)
    if isinstance(backend, FluxApiBackend):
        backend.poll_seconds = 0
    return backend


@contextmanager
def built(row: BackendRow, found: Standin, **options: Any) -> Iterator[ImageBackend]:
    backend = build(row, found.settings, **options)
    try:
        yield backend
    finally:
        backend.close()
        backend.close()


def never_pause(setattr_: Callable[[Any, str, Any], None]) -> None:
    """Let looks at a job follow one another at once, also where the command line makes the backend."""
    defaults = {**(FluxApiBackend.__init__.__kwdefaults__ or {}), "poll_seconds": 0.0}
    setattr_(FluxApiBackend.__init__, "__kwdefaults__", defaults)


def ask(width: int = 64, height: int = 64, prompt: str = "a lighthouse at dusk", **more: Any) -> ImageRequest:
    return ImageRequest(**{"prompt": prompt, "width": width, "height": height, "seed": 7, **more})


def few_steps(row: BackendRow) -> dict[str, int]:
    """For tests in which it does not matter how long a model on this machine works at a picture."""
    return {"steps": 2} if row in LOCAL else {}


def render(backend: ImageBackend, request: ImageRequest | None = None) -> GeneratedImage:
    (answer,) = backend.generate([request or ask()])
    assert isinstance(answer, GeneratedImage), answer
    return answer


def fail(backend: ImageBackend, request: ImageRequest | None = None) -> ModelError:
    """The error of a request, fit for people."""
    (answer,) = backend.generate([request or ask()])
    assert isinstance(answer, ModelError), answer
    return clean(answer)


def clean(error: ModelError) -> ModelError:
    assert KEY not in str(error) + repr(error)
    assert len(str(error).splitlines()) == 1 and "<html" not in str(error) and len(str(error)) < 700
    return error


def picture(name: str = "start.png", size: tuple[int, int] = (512, 512)) -> Path:
    """A picture file; a quarter of it is transparent, so that it may be a mask."""
    from PIL import Image

    image = Image.new("RGBA", size, (20, 120, 140, 255))
    image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    image.save(name)
    return Path(name).absolute()


def json_fault(body: Any) -> Fault:
    """An answer 200 with this JSON; the work is done first, and billed where it costs."""
    return Fault(body=json.dumps(body).encode())
