"""The backend ``dalle`` at other people's servers: whatever speaks the OpenAI protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from models import registry
from models.backends.dalle import DalleBackend
from models.catalog import Catalog, load_catalog
from models.contract import GeneratedImage
from models.errors import BadAnswer, SetupError, UnsupportedRequest
from tests.dalle_tools import CATALOG, KEY, Make, ask, backends, fail, render
from tests.servers.openai_api import OpenAIServer
from tirada.settings import Settings

ELSEWHERE = "http://images.example:8000/v1"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A server of one's own: its key is what the SDK sends without one, and it has a model of its own."""
    with OpenAIServer(key="none", image_size=(64, 64)) as server:
        server.image_models["my/flux"] = (("auto",), True)
        server.response_format = True
        yield server


@pytest.fixture
def make(server: OpenAIServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


Built = Callable[..., DalleBackend]


@pytest.fixture
def built() -> Iterator[Built]:
    """The backend as the registry makes it from these settings; closed after the test."""
    made: list[DalleBackend] = []

    def build(catalog: Catalog = CATALOG, **settings: str) -> DalleBackend:
        config = registry.BackendConfig(catalog=catalog, settings=settings, timeout=20)
        backend = registry.build(registry.find("dalle"), config)
        assert isinstance(backend, DalleBackend)
        made.append(backend)
        return backend

    yield build
    for backend in made:
        backend.close()


# --- settings -------------------------------------------------------------------------------------------------------


def test_a_base_url_and_a_model_name_suffice(server: OpenAIServer, built: Built) -> None:
    backend = built(OPENAI_IMAGES_BASE_URL=server.url, DALLE_MODEL="my/flux")
    backend.check(ask(1600, 800))
    (image,) = backend.generate([ask(1600, 800)])
    assert isinstance(image, GeneratedImage)
    assert (image.model, image.cost_usd) == ("my/flux", None)
    assert server.requests[0].json == {"model": "my/flux", "prompt": ask().prompt, "n": 1, "size": "1600x800"}


def test_the_images_have_an_endpoint_of_their_own(server: OpenAIServer, built: Built) -> None:
    server.key = KEY
    with OpenAIServer() as text:
        backend = built(
            OPENAI_BASE_URL=text.url,
            OPENAI_API_KEY="sk-for-the-texts-0123456789",
            OPENAI_IMAGES_BASE_URL=server.url,
            OPENAI_IMAGES_API_KEY=KEY,
            DALLE_MODEL="my/flux",
        )
        (image,) = backend.generate([ask()])
        assert isinstance(image, GeneratedImage)
        assert text.requests == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"OPENAI_API_KEY": KEY}, KEY),
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": ELSEWHERE}, KEY),
        ({"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_API_KEY": "its own"}, "its own"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_BASE_URL": ELSEWHERE}, None),
        ({"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_BASE_URL": ELSEWHERE, "OPENAI_IMAGES_API_KEY": "its own"}, "its own"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_BASE_URL": ELSEWHERE, "OPENAI_BASE_URL": f"{ELSEWHERE}/x"}, KEY),
        ({"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_BASE_URL": ELSEWHERE, "OPENAI_BASE_URL": "http://b.example/v1"}, None),
        (
            {
                "OPENAI_API_KEY": KEY,
                "OPENAI_IMAGES_BASE_URL": "https://api.openai.com/v1",
                "OPENAI_BASE_URL": "http://localhost:11434/v1",
            },
            KEY,
        ),
    ],
)
def test_a_key_goes_only_where_it_was_meant_for(settings: dict[str, str], key: str | None, built: Built) -> None:
    assert built(**settings)._key == key


def test_a_key_that_is_wanted_is_named(server: OpenAIServer, built: Built) -> None:
    server.key = "secret"
    error = fail(built(OPENAI_API_KEY=KEY, OPENAI_IMAGES_BASE_URL=server.url, DALLE_MODEL="my/flux"))
    assert isinstance(error, SetupError)
    # No other base URL is set, so that the key is one for OpenAI and stays at home.
    assert "OPENAI_IMAGES_API_KEY" in str(error)
    assert server.requests[0].headers["authorization"] == "Bearer none"


def test_openai_itself_needs_a_key_also_when_it_is_named(built: Built) -> None:
    backend = built(OPENAI_IMAGES_BASE_URL="https://api.openai.com/v1")
    with pytest.raises(SetupError, match="OPENAI_API_KEY"):
        backend.check(ask())


def test_a_missing_model_name_is_said_before_any_request(server: OpenAIServer, built: Built) -> None:
    backend = built(OPENAI_IMAGES_BASE_URL=server.url)
    with pytest.raises(SetupError, match=r"--model, or DALLE_MODEL"):
        backend.check(ask())
    backend.check(ask(model="my/flux"))
    assert server.requests == []
    # Where texts and images share an endpoint, our default stays: relays of OpenAI offer it.
    assert built(OPENAI_BASE_URL=server.url).model_for(ask()) == "gpt-image-2.6-flare"
    assert built(OPENAI_IMAGES_BASE_URL="https://api.openai.com/v1").model_for(ask()) == "gpt-image-2.6-flare"


# --- prices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["True", "true"])
def test_a_server_is_free_only_when_the_user_says_so(server: OpenAIServer, said: str, built: Built) -> None:
    settings = {"OPENAI_IMAGES_BASE_URL": server.url, "DALLE_MODEL": "my/flux"}
    free, unsaid, denied = (
        built(**settings, **more) for more in ({"OPENAI_IMAGES_FREE": said}, {}, {"OPENAI_IMAGES_FREE": "False"})
    )
    assert (free.price(ask()), unsaid.price(ask()), denied.price(ask())) == (Decimal(0), None, None)
    assert (free.capabilities.paid, unsaid.capabilities.paid) == (False, True)
    free.check(ask())
    assert render(free).cost_usd == Decimal(0)
    assert render(unsaid).cost_usd is None


def test_a_known_model_elsewhere_has_the_price_of_the_catalog(server: OpenAIServer, built: Built) -> None:
    backend = built(OPENAI_IMAGES_BASE_URL=server.url, DALLE_MODEL="gpt-image-2")
    assert backend.price(ask()) is not None
    assert render(backend).cost_usd is not None


def test_a_row_of_ones_own_prices_a_server(server: OpenAIServer, tmp_path: Path, built: Built) -> None:
    rows = tmp_path / "mine.toml"
    rows.write_text(
        '[[image]]\nid = "my/flux"\nbackend = "dalle"\nabout = "mine"\nprice = "0.004"\nsource = "me"\n'
        "checked = 2026-11-20\n"
    )
    settings = {"OPENAI_IMAGES_BASE_URL": server.url, "DALLE_MODEL": "my/flux"}
    backend = built(load_catalog(rows), **settings)
    assert backend.price(ask()) == Decimal("0.004")


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1"])
def test_openai_is_never_free(url: str | None, built: Built) -> None:
    settings = {"OPENAI_API_KEY": KEY, "OPENAI_IMAGES_FREE": "True"}
    backend = built(**settings, **({"OPENAI_IMAGES_BASE_URL": url} if url else {}))
    with pytest.raises(SetupError, match="OPENAI_IMAGES_FREE"):
        backend.check(ask())
    assert backend.capabilities.paid
    assert backend.price(ask()) != 0


def test_the_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_IMAGES_FREE", "yes")
    monkeypatch.setenv("OPENAI_IMAGES_BASE_URL", "http://localhost:8000/v1")
    settings = Settings(_env_file=None)
    values = {name: settings.value(name) for name in registry.find("dalle").settings}
    assert values["OPENAI_IMAGES_FREE"] == "True"
    assert values["OPENAI_IMAGES_BASE_URL"] == "http://localhost:8000/v1"
    assert values["OPENAI_IMAGES_API_KEY"] is None


# --- links ----------------------------------------------------------------------------------------------------------


def test_a_link_is_no_picture_and_the_next_try_asks_for_the_picture(server: OpenAIServer, make: Make) -> None:
    server.links = True
    backend = make(key=None, model="my/flux")
    error = fail(backend)
    assert isinstance(error, BadAnswer)
    assert "--option response_format=b64_json" in str(error)
    # One call, one answer: a picture may have been paid for, so asking again is the engine's to count.
    assert len(server.requests) == server.billed == 1
    render(backend)
    assert server.requests[1].json["response_format"] == "b64_json"


def test_the_picture_can_be_asked_for_from_the_start(server: OpenAIServer, make: Make) -> None:
    server.links = True
    backend, request = make(key=None, model="my/flux"), ask(options={"response_format": "b64_json"})
    backend.check(request)
    render(backend, request)
    assert server.billed == 1


def test_a_server_that_knows_only_links_cannot_be_used(server: OpenAIServer, make: Make) -> None:
    server.links, server.response_format = True, False
    backend = make(key=None, model="my/flux")
    assert isinstance(fail(backend), BadAnswer)
    error = fail(backend)
    assert isinstance(error, UnsupportedRequest)
    assert "response_format" in str(error)


def test_openai_itself_has_no_response_format(make: Make) -> None:
    with pytest.raises(UnsupportedRequest, match="never come as links"):
        make(base_url=None).check(ask(options={"response_format": "b64_json"}))
    with pytest.raises(UnsupportedRequest, match="Use one of: b64_json"):
        make().check(ask(options={"response_format": "url"}))


def test_pictures_can_be_edited_there_too(server: OpenAIServer, tmp_path: Path, built: Built) -> None:
    from PIL import Image

    server.links = True
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    backend = built(OPENAI_IMAGES_BASE_URL=server.url, DALLE_MODEL="my/flux")
    request = ask(init_image=tmp_path / "a.png", options={"response_format": "b64_json"})
    backend.check(request)
    assert backend.price(request) is None
    render(backend, request)
    assert server.requests[0].path == "/v1/images/edits"
