"""The backend ``stability`` renders: over real HTTP against the stand-in of Stability's REST service."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.backends import http
from models.contract import GeneratedImage
from models.errors import (
    Refused,
    SetupError,
    UnsupportedRequest,
)
from tests.servers.base import Fault
from tests.servers.multipart import Upload
from tests.servers.pictures import encoded_text
from tests.servers.stability_api import PRICES, ROOT, StabilityServer
from tests.stability_tools import KEY, MODELS, SD3, Make, ask, backends, fail, picture, render

PICTURE = encoded_text(64, 64)


@pytest.fixture
def server() -> Iterator[StabilityServer]:
    with StabilityServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: StabilityServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def sent(server: StabilityServer) -> dict[str, Any]:
    """The fields of the last request."""
    return {name: values[0] for name, values in server.requests[-1].json.items()}


# --- what is sent, and what comes back ------------------------------------------------------------------------------


def test_only_what_was_asked_for_is_sent(server: StabilityServer, make: Make) -> None:
    render(make())
    (came,) = server.requests
    assert came.path == f"{ROOT}core"
    assert came.headers["authorization"] == f"Bearer {KEY}"
    assert came.headers["accept"] == "application/json"
    assert came.headers["content-type"].startswith("multipart/form-data")
    assert sent(server) == {"prompt": "A lighthouse on a basalt cliff", "aspect_ratio": "1:1"}


def test_everything_a_text_can_ask_for_is_sent(server: StabilityServer, make: Make) -> None:
    request = ask(
        *(1024, 576),
        prompt='Ein "Leuchtturm"\r\nüber 岩 – dawn',
        negative="text, watermark",
        model="sd3.5-medium",
        seed=7,
        guidance=4.5,
        options={"style_preset": "line-art", "output_format": "jpeg"},
    )
    backend = make()
    backend.check(request)
    image = render(backend, request)
    assert sent(server) == {
        "prompt": request.prompt,
        "negative_prompt": "text, watermark",
        "aspect_ratio": "16:9",
        "model": "sd3.5-medium",
        "mode": "text-to-image",
        "cfg_scale": "4.5",
        "seed": "7",
        "style_preset": "line-art",
        "output_format": "jpeg",
    }
    assert image.seed == 7
    assert isinstance(image.image, bytes)
    with Image.open(io.BytesIO(image.image)) as opened:
        assert opened.format == "JPEG"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_renders_at_its_price(server: StabilityServer, make: Make, model: str) -> None:
    backend, request = make(), ask(model=model)
    backend.check(request)
    image = render(backend, request)
    endpoint = {"stable-image-core": "core", "stable-image-ultra": "ultra"}.get(model, "sd3")
    assert server.requests[0].path == f"{ROOT}{endpoint}"
    assert image.model == model
    assert image.cost_usd == backend.price(request) == server.bill == PRICES[model if endpoint == "sd3" else endpoint]
    assert (image.usage, image.details) == ({}, {})


@pytest.mark.parametrize("model", ["stable-image-core", "sd3.5-large"])
@pytest.mark.parametrize(
    ("asked", "ratio"),
    [
        ((1024, 1024), "1:1"),
        ((256, 256), "1:1"),
        ((1024, 576), "16:9"),
        ((576, 1024), "9:16"),
        ((1500, 1000), "3:2"),
        ((1024, 1536), "2:3"),
        ((1024, 820), "5:4"),
        ((820, 1024), "4:5"),
        ((2048, 880), "21:9"),
        ((64, 1024), "9:21"),
        ((1200, 900), "5:4"),
    ],
)
def test_the_ratio_that_loses_least_is_rendered(
    server: StabilityServer, make: Make, model: str, asked: tuple[int, int], ratio: str
) -> None:
    server.image_size = None
    backend, request = make(), ask(*asked, model=model)
    backend.check(request)
    image = render(backend, request)
    assert sent(server)["aspect_ratio"] == ratio
    assert isinstance(image.image, bytes)
    with Image.open(io.BytesIO(image.image)) as opened:
        opened.load()
        assert opened.size == (image.width, image.height)
    # The size is a guess until the bytes are there, and a near one.
    expected = backend.render_size(request)
    assert image.width == pytest.approx(expected[0], rel=0.07)
    assert image.height == pytest.approx(expected[1], rel=0.07)


def test_the_bytes_are_kept_as_they_came(make: Make) -> None:
    image = render(make())
    assert image.image == base64.b64decode(PICTURE)
    assert (image.width, image.height) == (64, 64)


@pytest.mark.parametrize(("seed", "field"), [(None, None), (0, None), (4294967295, None), (4294967294, "4294967294")])
def test_a_seed_that_the_service_deals_is_the_one_on_record(
    server: StabilityServer, make: Make, seed: int | None, field: str | None
) -> None:
    backend, request = make(), ask(seed=seed)
    backend.check(request)
    image = render(backend, request)
    assert sent(server).get("seed") == field
    assert image.seed == (int(field) if field else 1_000_001)


@pytest.mark.parametrize("answered", [None, 0, -3, "12", True, 1.5, 2**32, [1]])
def test_a_picture_is_not_thrown_away_over_its_seed(server: StabilityServer, make: Make, answered: object) -> None:
    server.faults = [Fault(body={"image": PICTURE, "finish_reason": "SUCCESS", "seed": answered}) for _ in range(2)]
    backend = make()
    assert render(backend, ask(seed=5)).seed == 5
    assert render(backend).seed is None


# --- start images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SD3)
def test_sd3_makes_an_image_from_an_image(server: StabilityServer, make: Make, tmp_path: Path, model: str) -> None:
    server.image_size = None
    start = picture(tmp_path / "holiday in private.jpg", 960, 540, "JPEG")
    backend = make()
    request = ask(1024, 576, model=model, init_image=start, strength=0.35)
    backend.check(request)
    image = render(backend, request)
    fields = sent(server)
    upload = fields.pop("image")
    assert upload == Upload("start.jpeg", "image/jpeg", start.read_bytes())
    assert fields == {"prompt": request.prompt, "model": model, "mode": "image-to-image", "strength": "0.35"}
    assert backend.render_size(request) == (1365, 768)
    assert (image.width, image.height) == (1344, 768)


def test_ultra_makes_an_image_from_an_image_in_the_shape_asked_for(
    server: StabilityServer, make: Make, tmp_path: Path
) -> None:
    start = picture(tmp_path / "start.webp", fmt="WEBP")
    request = ask(1024, 576, model="ultra", init_image=start, strength=1)
    backend = make()
    backend.check(request)
    render(backend, request)
    fields = sent(server)
    assert fields.pop("image") == Upload("start.webp", "image/webp", start.read_bytes())
    assert fields == {"prompt": request.prompt, "aspect_ratio": "16:9", "strength": "1"}


def test_a_start_image_that_went_away_costs_nothing(server: StabilityServer, make: Make, tmp_path: Path) -> None:
    start = picture(tmp_path / "start.png")
    backend, request = make(), ask(model="ultra", init_image=start, strength=0.5)
    backend.check(request)
    start.unlink()
    assert isinstance(fail(backend, request), UnsupportedRequest)
    assert server.requests == []


# --- the content policy ---------------------------------------------------------------------------------------------


def test_a_refused_prompt_costs_nothing(server: StabilityServer, make: Make) -> None:
    error = fail(make(), ask(prompt="FORBIDDEN fruit"))
    assert isinstance(error, Refused)
    assert error.cost_usd == server.bill == 0
    assert "content moderation" in str(error)


def test_a_blurred_picture_is_refused_and_counted_as_paid_for(server: StabilityServer, make: Make) -> None:
    error = fail(make(), ask(prompt="BLURRED vision", model="ultra"))
    assert isinstance(error, Refused)
    assert error.cost_usd == server.bill == Decimal("0.08")
    assert "blurred" in str(error)


def test_a_prompt_that_is_turned_down_fails_alone_and_costs_nothing(server: StabilityServer, make: Make) -> None:
    error = fail(make(), ask(prompt="灯台"))
    assert isinstance(error, Refused)
    assert error.cost_usd == server.bill == 0
    assert "English" in str(error)


def test_moderation_is_known_by_its_name(server: StabilityServer, make: Make) -> None:
    server.faults = [Fault(status=400, code="content_moderation"), Fault(status=403, code="forbidden")]
    backend = make()
    assert isinstance(fail(backend), Refused)
    assert isinstance(fail(backend), SetupError)


# --- threads and lifetime -------------------------------------------------------------------------------------------


def test_one_session_serves_many_threads(server: StabilityServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = http.HttpApi

    def counted(*args: Any, **settings: Any) -> http.HttpApi:
        made.append(settings["connections"])
        return original(*args, **settings)

    monkeypatch.setattr(http, "HttpApi", counted)
    backend = make(max_in_flight=12)
    barrier = threading.Barrier(12)

    def work(number: int) -> GeneratedImage:
        barrier.wait()
        return render(backend, ask(seed=number + 1))

    with ThreadPoolExecutor(12) as pool:
        images = list(pool.map(work, range(12)))
    assert [image.seed for image in images] == list(range(1, 13))
    assert server.billed == 12
    assert server.bill == sum(image.cost_usd or 0 for image in images)
    assert made == [12]


def test_closing_lets_go_and_may_be_repeated(make: Make) -> None:
    backend = make()
    backend.close()
    render(backend)
    backend.close()
    backend.close()


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from models.backends.stability import StabilityBackend; from models.catalog import load_catalog\n"
        "from models.contract import ImageRequest\n"
        "backend = StabilityBackend(key='k' * 20, base_url=None, catalog=load_catalog())\n"
        "request = ImageRequest(prompt='a', width=1024, height=1024)\n"
        "backend.check(request), backend.price(request), backend.close()\n"
        "print([name for name in ('requests', 'urllib3', 'PIL') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "[]"
