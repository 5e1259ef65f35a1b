"""The backend ``flux-api`` before any spend: set-up, addresses, models, sizes, options, references and prices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.backends import flux_models
from models.backends.flux_jobs import GLOBAL, Service
from models.catalog import Catalog, ModelRow
from models.contract import GeneratedImage
from models.errors import SetupError, UnsupportedRequest
from tests.flux_tools import CATALOG, KEY, TODAY, Make, ask, backends, fail, picture, render
from tests.servers.bfl_api import BflServer
from tests.servers.bfl_inputs import MODELS

ROWS = [row for row in CATALOG.rows("image") if row.backend == "flux-api"]


@pytest.fixture
def server() -> Iterator[BflServer]:
    with BflServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: BflServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def refusal(make: Make, **changes: Any) -> str:
    """What is said of a request that cannot be made, before and instead of making it."""
    backend = make()
    with pytest.raises(UnsupportedRequest) as caught:
        backend.check(ask(**changes))
    with pytest.raises(UnsupportedRequest):
        backend.submit(ask(**changes))
    return str(caught.value)


# --- set-up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": None, "base_url": None}, "BFL_API_KEY"),
        ({"key": None, "base_url": "eu"}, "BFL_API_KEY"),
        ({"key": None, "base_url": "https://api.us1.bfl.ai/v1"}, "BFL_API_KEY"),
        ({"key": "bfl_with a space"}, "Copy it once more"),
        ({"key": "bfl_línea"}, "Copy it once more"),
        ({"key": "bfl_abc\r\nX-Other: 1"}, "Copy it once more"),
        ({"base_url": "mars"}, "BFL_BASE_URL"),
        ({"base_url": "ftp://host"}, "BFL_BASE_URL"),
        ({"base_url": "http://host:port"}, "BFL_BASE_URL"),
    ],
)
def test_a_broken_set_up_is_said_before_any_request(
    server: BflServer, make: Make, changes: dict[str, Any], said: str
) -> None:
    backend = make(**changes)
    with pytest.raises(SetupError) as caught:
        backend.check(ask())
    assert said in str(caught.value)
    assert "bfl_" not in str(caught.value)
    assert isinstance(fail(backend), SetupError)
    assert server.requests == []


def test_a_server_of_ones_own_may_need_no_key(server: BflServer, make: Make) -> None:
    backend = make(key=None)
    backend.check(ask())
    assert isinstance(fail(backend), SetupError)
    assert "x-key" not in server.requests[0].headers


def test_the_registry_builds_it_from_settings(server: BflServer) -> None:
    settings = {"BFL_API_KEY": KEY, "BFL_BASE_URL": f"{server.url}/v1/", "FLUX_API_MODEL": "flux-dev"}
    row = registry.find("flux-api")
    assert set(settings) == set(row.settings)
    for asked, allowed in ((None, 24), (3, 3), (99, 24)):
        config = registry.BackendConfig(catalog=CATALOG, settings=settings, timeout=20, max_in_flight=asked)
        backend = registry.build(row, config)
        assert backend.capabilities.max_in_flight == allowed
    assert backend.capabilities.paid == row.paid
    assert backend.capabilities.jobs
    (image,) = backend.generate([ask()])
    backend.close()
    assert isinstance(image, GeneratedImage)
    assert image.model == "flux-dev"


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from models.backends.flux_api import FluxApiBackend; from models.catalog import load_catalog\n"
        "from models.contract import ImageRequest\n"
        "backend = FluxApiBackend(key='k' * 20, base_url=None, catalog=load_catalog())\n"
        "request = ImageRequest(prompt='a', width=1024, height=1024)\n"
        "backend.check(request), backend.price(request), backend.close()\n"
        "print([name for name in ('requests', 'urllib3', 'PIL') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "[]"


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "base_url", "official"),
    [
        (None, GLOBAL, True),
        ("", GLOBAL, True),
        ("global", GLOBAL, True),
        ("EU", "https://api.eu.bfl.ai", True),
        ("us", "https://api.us.bfl.ai", True),
        ("https://api.us1.bfl.ai/v1/", "https://api.us1.bfl.ai", True),
        ("http://api.bfl.ai", "http://api.bfl.ai", False),
        ("https://bfl.ai.example", "https://bfl.ai.example", False),
        ("http://localhost:8124/", "http://localhost:8124", False),
        ("https://proxy/bfl", "https://proxy/bfl", False),
    ],
)
def test_where_the_service_is(setting: str | None, base_url: str, official: bool) -> None:
    service = Service(setting)
    service.check()
    assert (service.base_url, service.official) == (base_url, official)


TRAPS = (
    "http://api.bfl.ai/v1/get_result?id=1",
    "https://notbfl.ai/",
    "https://bfl.ai.example/",
    "https://api.bfl.ai@evil.example/",
    "https://evil.example\\@api.bfl.ai/",
    "https://evil.example/\\@api.bfl.ai/",
    "https://evil.example#@api.bfl.ai/",
    "https://evil.example?@api.bfl.ai/",
    "https://api.bfl.ai:8443/",
    "https://api.bfl.ai:99999999/",
    "https://api.bfl.ai:70000/",
    "https://api.bfl.ai./",
    "https://.bfl.ai/",
    "https://api.bfl.ai\t/",
    "https://api.bfl.ai /",
    " https://api.bfl.ai/",
    "https://api.bfl.ai/\r\nHost: evil.example",
    "https://api.bfl.ai\n.evil.example/",
    "https://api.bfl.a\u0131/",
    "https://api.bfl\u3002ai/",
    f"https://{'a' * 64}.bfl.ai/",
    "//api.bfl.ai/",
    "api.bfl.ai/v1/get_result",
    "file:///etc/passwd",
    "https:///",
    "https://[::1/",
    "",
)


@pytest.mark.parametrize("url", TRAPS)
def test_the_key_goes_to_no_address_that_only_looks_right(url: str) -> None:
    assert not Service(None).trusts(url)
    assert not Service("http://127.0.0.1:8124").trusts(url)


@pytest.mark.parametrize("region", [None, "eu", "us", "https://api.us1.bfl.ai"])
def test_every_region_may_answer_for_every_other(region: str | None) -> None:
    for host in ("api.bfl.ai", "bfl.ai", "api.eu4.bfl.ai", "API.US1.BFL.AI:443"):
        assert Service(region).trusts(f"https://{host}/v1/get_result?id=a-1")
    assert not Service(region).trusts("http://127.0.0.1:8124/v1/get_result?id=1")


def test_a_server_of_ones_own_is_trusted_alone() -> None:
    service = Service("http://[::1]:8124/base")
    assert service.trusts("http://[::1]:8124/v1/get_result?id=1")
    for other in ("https://[::1]:8124/", "http://[::1]:8125/", "http://[::1]/", "http://[::2]:8124/", f"{GLOBAL}/"):
        assert not service.trusts(other)


def test_pictures_come_over_https_unless_the_users_own_server_has_none() -> None:
    for setting, url, fine in (
        (None, "https://delivery.example/p.png?sig=1", True),
        (None, "http://delivery.example/p.png", False),
        ("https://own.example", "http://own.example/p.png", False),
        ("http://own.example", "http://cdn.example/p.png", True),
        ("http://own.example", "https://cdn.example/p.png", True),
        ("http://own.example", "file:///etc/passwd", False),
    ):
        assert Service(setting).delivers(url) is fine


# --- models, sizes and prices ---------------------------------------------------------------------------------------


def test_the_catalog_and_the_table_of_models_agree() -> None:
    assert [row.id for row in ROWS] == list(flux_models.MODELS) == list(MODELS)


def test_the_model_is_that_of_the_request_the_settings_or_the_catalog(make: Make) -> None:
    assert make().model_for(ask()) == "flux-2-pro"
    assert make(model="flux-dev").model_for(ask()) == "flux-dev"
    assert make(model="flux-dev").model_for(ask(model="FLUX-2-Max")) == "flux-2-max"
    assert "flux-2-pro" in refusal(make, model="flux-2-pr")
    assert "no image model" in refusal(make, model="gpt-image-2")


@pytest.mark.parametrize(
    ("model", "asked", "shape"),
    [
        ("flux-2-pro", (1000, 562), {"width": 1008, "height": 576}),
        ("flux-2-klein-4b", (64, 64), {"width": 64, "height": 64}),
        ("flux-pro-1.1", (100, 1024), {"width": 256, "height": 1024}),
        ("flux-dev", (2048, 1024), {"width": 1440, "height": 736}),
        ("flux-pro-1.1-ultra", (1024, 576), {"aspect_ratio": "16:9"}),
        ("flux-kontext-pro", (832, 1248), {"aspect_ratio": "2:3"}),
        ("flux-kontext-max", (512, 512), {"aspect_ratio": "1:1"}),
    ],
)
def test_a_model_is_told_a_size_or_a_ratio(
    server: BflServer, make: Make, model: str, asked: tuple[int, int], shape: dict[str, Any]
) -> None:
    render(make(), ask(*asked, model=model))
    sent = server.requests[0]
    assert sent.path == f"/v1/{model}"
    assert sent.headers["x-key"] == KEY
    assert sent.json == {"prompt": ask().prompt, "output_format": "png", **shape}


def test_what_is_too_large_is_said_with_what_would_work(make: Make) -> None:
    assert "1440x1440" in refusal(make, model="flux-dev", width=4096, height=4096)


@pytest.mark.parametrize(
    ("model", "size", "price"),
    [
        ("flux-2-pro", (1024, 1024), "0.03"),
        ("flux-2-pro", (1920, 1080), "0.045"),
        ("flux-2-max", (2048, 2048), "0.16"),
        ("flux-2-flex", (1408, 1408), "0.10"),
        ("flux-2-klein-4b", (1024, 1024), "0.014"),
        ("flux-pro-1.1-ultra", (1024, 1024), "0.06"),
        ("flux-kontext-max", (1024, 1024), "0.08"),
    ],
)
def test_prices(make: Make, model: str, size: tuple[int, int], price: str) -> None:
    assert make().price(ask(*size, model=model)) == Decimal(price)


def test_references_are_paid_for_by_the_megapixel(server: BflServer, make: Make, tmp_path: Path) -> None:
    references = (picture(tmp_path / "a.png", (1025, 1024)), picture(tmp_path / "b.jpg"))
    backend, request = make(), ask(references=references)
    assert backend.price(request) == Decimal("0.03") + 3 * Decimal("0.015")
    assert render(backend, request).cost_usd == backend.price(request) == server.bill
    assert backend.price(ask(model="flux-kontext-pro", references=references)) == Decimal("0.04")


def test_a_row_of_the_users_own_takes_what_its_family_takes(server: BflServer, make: Make, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"kind": "image", "backend": "flux-api", "source": "me", "checked": TODAY}
    rows = [ModelRow(id=id_, about="new", **settings) for id_ in ("flux-2-ultra", "flux-9/..", "flux-kontext-mini")]
    backend = make(catalog=Catalog([*CATALOG.rows(), *rows], updated=TODAY, today=TODAY))
    request = ask(1000, 562, model="flux-2-ultra", references=(picture(tmp_path / "a.png"),) * 4)
    backend.check(request)
    assert backend.price(request) is None
    assert isinstance(fail(backend, request), UnsupportedRequest)
    assert (server.requests[0].json["width"], server.requests[0].json["height"]) == (1000, 562)
    assert isinstance(fail(backend, ask(model="flux-9/..")), UnsupportedRequest)
    assert server.requests[1].path == "/v1/flux-9%2F.."
    with pytest.raises(UnsupportedRequest, match="safety_tolerance"):
        backend.check(ask(model="flux-9/..", options={"raw": "true"}))
