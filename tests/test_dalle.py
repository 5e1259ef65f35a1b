"""The backend ``dalle`` renders: through the real SDK against the stand-in of the OpenAI API."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models import openai_api
from models.contract import GeneratedImage
from models.errors import (
    BadAnswer,
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    Refused,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from tests.dalle_tools import KEY, Make, ask, backends, fail, render
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer, encoded

IMAGES = "/v1/images/generations"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: OpenAIServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


# --- what is sent, and what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "sent"), [((1024, 576), "1088x608"), ((256, 256), "816x816"), ((2048, 1152),) * 2])
def test_a_size_is_rendered_at_the_cheapest_legal_size_that_covers_it(
    server: OpenAIServer, make: Make, asked: tuple[int, int], sent: str | tuple[int, int]
) -> None:
    server.image_size = None
    backend, request = make(), ask(*asked)
    backend.check(request)
    image = render(backend, request)
    assert isinstance(image.image, bytes)
    with Image.open(io.BytesIO(image.image)) as picture:
        picture.load()
        assert picture.size == (image.width, image.height) == backend.render_size(request)
    assert image.width >= asked[0]
    assert image.height >= asked[1]
    if isinstance(sent, str):
        assert server.requests[0].json["size"] == sent


def test_only_what_the_service_knows_is_sent(server: OpenAIServer, make: Make) -> None:
    request = ask(seed=7, negative="text, watermark", options={"background": "opaque", "output_format": "webp"})
    image = render(make(), request)
    (sent,) = server.requests
    assert sent.path == IMAGES
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == {
        "model": "gpt-image-2.6-flare",
        "prompt": request.prompt,
        "n": 1,
        "size": "1024x1024",
        "quality": "medium",
        "background": "opaque",
        "output_format": "webp",
    }
    assert image.seed is None
    assert image.model == "gpt-image-2.6-flare"


def test_the_bytes_are_kept_as_they_came(server: OpenAIServer, make: Make) -> None:
    import base64

    server.revised_prompt = "A tall lighthouse"
    image = render(make())
    assert image.image == base64.b64decode(encoded(64, 64))
    assert (image.width, image.height) == (64, 64)
    assert image.details == {"revised_prompt": "A tall lighthouse"}


def test_the_cost_is_that_of_the_tokens_the_service_counted(make: Make) -> None:
    image = render(make(), ask(prompt="x" * 400))
    assert image.usage == {"text_in": 100, "image_in": 0, "image_out": 439}
    assert image.cost_usd == Decimal("0.0005") + Decimal("0.01317")


@pytest.mark.parametrize(
    "usage", [None, {}, {"input_tokens": "many"}, {"input_tokens": 0, "output_tokens": 0}, {"output_tokens": -5}, 3]
)
def test_without_usable_counts_the_cost_is_unknown_and_the_picture_kept(
    server: OpenAIServer, make: Make, usage: object
) -> None:
    server.faults = [Fault(body={"created": 1, "data": [{"b64_json": encoded(64, 64)}], "usage": usage})]
    image = render(make())
    assert image.cost_usd is None
    assert image.usage == {}


def test_input_tokens_without_details_are_text(server: OpenAIServer, make: Make) -> None:
    usage = {"input_tokens": 10, "output_tokens": 100}
    server.faults = [Fault(body={"data": [{"b64_json": encoded(64, 64)}], "usage": usage})]
    assert render(make()).cost_usd == Decimal("0.00305")


def test_one_client_serves_many_threads(server: OpenAIServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = openai_api.make_client

    def counted(**settings: Any) -> Any:
        made.append(settings["connections"])
        return original(**settings)

    monkeypatch.setattr(openai_api, "make_client", counted)
    backend = make(max_in_flight=12)
    barrier = threading.Barrier(12)

    def work(_: int) -> GeneratedImage:
        barrier.wait()
        return render(backend)

    with ThreadPoolExecutor(12) as pool:
        images = list(pool.map(work, range(12)))
    assert len(images) == server.billed == 12
    assert made == [12]


def test_closing_lets_go_and_may_be_repeated(make: Make) -> None:
    backend = make()
    backend.close()
    render(backend)
    backend.close()
    backend.close()


def test_the_sdk_is_not_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from models.backends.dalle import DalleBackend; from models.catalog import load_catalog\n"
        "from models.contract import ImageRequest\n"
        "backend = DalleBackend(key='k' * 20, base_url=None, catalog=load_catalog())\n"
        "request = ImageRequest(prompt='a', width=1024, height=1024)\n"
        "backend.check(request), backend.price(request), backend.close()\n"
        "print([name for name in ('openai', 'httpx2', 'PIL') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "[]"


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=400), UnsupportedRequest),
        (Fault(status=401), SetupError),
        (Fault(status=402), OutOfCredit),
        (Fault(status=403), SetupError),
        (Fault(status=404), SetupError),
        (Fault(status=408), Unavailable),
        (Fault(status=409), Unavailable),
        (Fault(status=429), RateLimited),
        (Fault(status=429, code="insufficient_quota"), OutOfCredit),
        (Fault(status=400, code="billing_hard_limit_reached"), OutOfCredit),
        (Fault(status=400, code="moderation_blocked"), Refused),
        (Fault(status=500), Unavailable),
        (Fault(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(status=504), InDoubt),
        (Fault(status=529), Unavailable),
        (Fault(cut=True), InDoubt),
        (Fault(truncate=True), InDoubt),
        (Fault(status=500, truncate=True), InDoubt),
        (Fault(body=b"<html>Welcome!</html>", content_type="text/html"), BadAnswer),
        (Fault(body=b""), BadAnswer),
        (Fault(body=b'{"data": [{"b64_js'), BadAnswer),
        (Fault(body=b"null"), BadAnswer),
        (Fault(body={"data": None}), BadAnswer),
        (Fault(body={"data": []}), BadAnswer),
        (Fault(body={"data": [None]}), BadAnswer),
        (Fault(body={"data": [{"b64_json": 7}]}), BadAnswer),
        (Fault(body={"data": [{"b64_json": ""}]}), BadAnswer),
        (Fault(body={"data": [{"b64_json": "no base64!"}]}), BadAnswer),
        (Fault(body={"data": [{"b64_json": "bm8gcGljdHVyZQ=="}]}), BadAnswer),
        (Fault(body={"data": [{"url": "https://host/picture.png"}]}), BadAnswer),
        (Fault(body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}), BadAnswer),
    ],
)
def test_every_fault_is_an_error_of_ours(
    server: OpenAIServer, make: Make, fault: Fault, expected: type[ModelError]
) -> None:
    server.faults = [fault]
    error = fail(make())
    assert type(error) is expected, error
    assert "<html>" not in str(error)
    assert len(server.requests) == 1


def test_after_a_fault_the_next_request_goes_through(server: OpenAIServer, make: Make) -> None:
    server.faults = [Fault(cut=True), Fault(status=500), Fault(truncate=True)]
    backend = make()
    assert [fail(backend).kind for _ in range(3)] == ["in_doubt", "unavailable", "in_doubt"]
    render(backend)
    assert server.billed == 3


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0"}, 0, 0),
        ({"Retry-After": "-3"}, 0, 0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "9"}, 9, 9),
        ({"Retry-After": "DATE"}, 30, 61),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
    ],
)
def test_the_wait_is_what_the_service_asks_for(
    server: OpenAIServer, make: Make, headers: dict[str, str], low: float, high: float
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {name: soon if value == "DATE" else value for name, value in headers.items()}
    server.faults = [Fault(status=429, headers=headers), Fault(status=503, headers=headers)]
    backend = make()
    limited, down = fail(backend), fail(backend)
    assert isinstance(limited, RateLimited)
    assert isinstance(down, Unavailable)
    assert limited.retry_after is not None
    assert down.retry_after is not None
    assert low <= limited.retry_after <= high
    assert low <= down.retry_after <= high


@pytest.mark.parametrize("value", ["", "soon", "inf", "nan"])
def test_an_unreadable_wait_is_no_wait(server: OpenAIServer, make: Make, value: str) -> None:
    server.faults = [Fault(status=429, headers={"Retry-After": value} if value else {})]
    error = fail(make())
    assert isinstance(error, RateLimited)
    assert error.retry_after is None


def test_a_forbidden_prompt_is_refused(server: OpenAIServer, make: Make) -> None:
    assert isinstance(fail(make(), ask(prompt="FORBIDDEN fruit")), Refused)
    assert server.billed == 0


def test_silence_is_in_doubt(server: OpenAIServer, make: Make) -> None:
    server.faults = [Fault(delay=30)]
    assert isinstance(fail(make(timeout=0.2)), InDoubt)


def test_nobody_at_home(make: Make) -> None:
    with OpenAIServer() as gone:
        url = gone.url
    error = fail(make(base_url=url.replace("127.0.0.1", "me:secret@127.0.0.1")))
    assert isinstance(error, Unavailable)
    assert "127.0.0.1" in str(error)
    assert "secret" not in str(error)


def test_a_name_that_does_not_resolve(make: Make) -> None:
    assert isinstance(fail(make(base_url="http://no-such-host.invalid/v1")), Unavailable)


@pytest.mark.parametrize("wrong", ["sk-wrong-abcdefghijklmnop", "local-secret-99"])
def test_a_wrong_key_is_never_shown(server: OpenAIServer, make: Make, wrong: str) -> None:
    error = fail(make(key=wrong))
    assert isinstance(error, SetupError)
    assert wrong not in str(error)
    assert "[redacted]" in str(error)
    assert "OPENAI_API_KEY" in str(error)


def test_too_large_an_answer_is_not_read_to_its_end(
    server: OpenAIServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.backends.dalle.ANSWER_MAX", 1000)
    server.faults = [Fault(body=b" " * 2_000_000)]
    backend = make()
    assert "larger" in str(fail(backend))
    monkeypatch.undo()
    render(backend)
