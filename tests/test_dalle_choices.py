"""The backend ``dalle`` before any spend: set-up, models, sizes, options and prices."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.catalog import Catalog, ModelRow
from models.contract import GeneratedImage, Lora
from models.errors import (
    SetupError,
    UnsupportedRequest,
)
from tests.dalle_tools import CATALOG, KEY, TODAY, Make, ask, backends, fail, render
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: OpenAIServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


# --- set-up ---------------------------------------------------------------------------------------------------------


def test_without_a_key_the_official_service_is_not_asked(make: Make) -> None:
    backend = make(key=None, base_url=None)
    with pytest.raises(SetupError, match="OPENAI_API_KEY"):
        backend.check(ask())
    assert isinstance(fail(backend), SetupError)


def test_a_server_of_ones_own_needs_no_key(server: OpenAIServer, make: Make) -> None:
    server.key = "none"
    backend = make(key=None)
    backend.check(ask())
    render(backend)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "sk-with a space"},
        {"key": "sk-línea"},
        {"key": "sk-abcdef\nX-Other: 1"},
        {"base_url": "localhost:8000/v1"},
        {"base_url": "ftp://host/v1"},
        {"base_url": "http://"},
        {"base_url": "http://host:port/v1"},
        {"base_url": "http://[::1/v1"},
    ],
)
def test_a_broken_set_up_is_said_before_any_request(make: Make, changes: dict[str, str]) -> None:
    backend = make(**changes)
    with pytest.raises(SetupError) as caught:
        backend.check(ask())
    assert "sk-" not in str(caught.value)
    assert isinstance(fail(backend), SetupError)


def test_the_registry_builds_it_from_settings(server: OpenAIServer) -> None:
    settings = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "DALLE_MODEL": "gpt-image-2"}
    config = registry.BackendConfig(catalog=CATALOG, settings=settings, timeout=20)
    backend = registry.build(registry.find("dalle"), config)
    assert backend.capabilities.max_in_flight == 8
    assert backend.capabilities.paid == registry.find("dalle").paid
    (image,) = backend.generate([ask()])
    backend.close()
    assert isinstance(image, GeneratedImage)
    assert image.model == "gpt-image-2"


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dall-e-3", "dall-e-2", "DALL-E-3", "dalle3", "gpt-image-1"])
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9/v1"])
def test_retired_models_name_their_end_and_their_heir(make: Make, name: str, base_url: str | None) -> None:
    backend = make(base_url=base_url)
    with pytest.raises(UnsupportedRequest) as caught:
        backend.check(ask(model=name))
    gone = "2026-10-23" if name == "gpt-image-1" else "2026-05-12"
    assert gone in str(caught.value)
    assert "gpt-image-2.6-flare" in str(caught.value)


def test_on_the_official_endpoint_an_unknown_model_is_a_typing_error(make: Make) -> None:
    for base_url in (None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"):
        with pytest.raises(UnsupportedRequest, match=r"Did you mean 'gpt-image-2\.6-flare'"):
            make(base_url=base_url).check(ask(model="gpt-image-2.6-flair"))
    with pytest.raises(UnsupportedRequest, match="no image model 'draft'"):
        make(base_url=None).check(ask(model="draft"))


def test_elsewhere_an_unknown_model_is_asked_for_as_it_is(server: OpenAIServer, make: Make) -> None:
    server.image_models["my/Flux"] = (("fine",), True)
    backend, request = make(model="my/Flux"), ask(1600, 800, options={"quality": "fine"})
    backend.check(request)
    assert backend.price(request) is None
    assert backend.render_size(request) == (1600, 800)
    image = render(backend, request)
    assert (image.model, image.cost_usd) == ("my/Flux", None)
    assert server.requests[0].json["size"] == "1600x800"


def test_the_name_asked_for_wins_over_the_setting_and_snapshots_stay(make: Make) -> None:
    backend = make(model="gpt-image-2")
    assert backend.model_for(ask()) == "gpt-image-2"
    assert backend.model_for(ask(model="GPT-Image-2.5-Flare")) == "gpt-image-2.5-flare"
    assert backend.model_for(ask(model="gpt-image-2-2026-04-21")) == "gpt-image-2-2026-04-21"
    assert make().model_for(ask()) == "gpt-image-2.6-flare"


def test_a_row_of_the_users_own_brings_its_alias_and_price(server: OpenAIServer, make: Make) -> None:
    row = ModelRow(
        id="house-1",
        kind="image",
        backend="dalle",
        about="ours",
        aliases=("house",),
        price=Decimal("0.02"),
        source="us",
        checked=TODAY,
    )
    server.image_models["house-1"] = (("auto",), True)
    backend = make(catalog=Catalog([row], updated=TODAY, today=TODAY), model="House")
    assert backend.price(ask()) == Decimal("0.02")
    image = render(backend)
    assert (image.model, image.cost_usd) == ("house-1", Decimal("0.02"))


def test_free_sizes_that_are_refused_fall_back_to_the_standard_ones(server: OpenAIServer, make: Make) -> None:
    server.free_sizes = False
    backend, request = make(), ask(1024, 576)
    render(backend, request)
    assert [sent.json["size"] for sent in server.requests] == ["1088x608", "1024x1024"]
    assert backend.render_size(request) == (1024, 1024)
    render(backend, request)
    assert len(server.requests) == 3
    assert server.billed == 2
    # Another model is tried for itself.
    assert backend.render_size(ask(1024, 576, model="gpt-image-2")) == (1088, 608)


def test_a_refusal_need_not_name_the_parameter(server: OpenAIServer, make: Make) -> None:
    refusal = {"error": {"message": "Unsupported 'size' for this model.", "type": "invalid_request_error"}}
    server.faults = [Fault(status=400, body=refusal)]
    render(make(), ask(1024, 576))
    assert len(server.requests) == 2


def test_a_size_that_no_standard_one_covers_is_an_error_after_the_fall_back(server: OpenAIServer, make: Make) -> None:
    server.free_sizes = False
    assert isinstance(fail(make(), ask(3840, 2160)), UnsupportedRequest)
    assert server.billed == 0


def test_a_refused_standard_size_is_not_asked_for_twice(server: OpenAIServer, make: Make) -> None:
    refusal = {"error": {"message": "Invalid size", "param": "size", "code": "invalid_value"}}
    server.faults = [Fault(status=400, body=refusal)] * 3
    assert isinstance(fail(make()), UnsupportedRequest)
    assert len(server.requests) == 1


# --- checks and prices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_image": Path("a.png")}, "no file 'a.png'"),
        ({"strength": 0.0}, "strength"),
        ({"references": (Path("a.png"),)}, "no file 'a.png'"),
        ({"options": {"output_compression": "80"}}, "output_format jpeg or webp"),
        ({"options": {"output_compression": "101", "output_format": "jpeg"}}, "0 to 100"),
        ({"options": {"output_compression": "-1", "output_format": "webp"}}, "0 to 100"),
        ({"options": {"input_fidelity": "high"}}, "input images"),
        ({"loras": (Lora("a"),)}, "LoRA"),
        ({"steps": 20}, "steps"),
        ({"guidance": 0.0}, "guidance"),
        ({"scheduler": "euler"}, "scheduler"),
        ({"options": {"qualty": "low"}}, "Did you mean 'quality'"),
        ({"options": {"zzz": "1"}}, "There are: quality"),
        ({"options": {"quality": "hd"}}, "low, medium, high, xhigh, max"),
        ({"options": {"background": "red"}}, "transparent, opaque, auto"),
        ({"options": {"moderation": "off"}}, "low, auto"),
        ({"options": {"output_format": "gif"}}, "png, webp, jpeg"),
        ({"options": {"background": "transparent", "output_format": "jpeg"}}, "transparent"),
        ({"model": "gpt-image-2", "options": {"quality": "max"}}, "gpt-image-2 has no quality 'max'"),
        ({"prompt": "x" * 32_001}, "32001"),
        ({"prompt": "  "}, "empty"),
        ({"model": "gpt-image-1.5", "width": 4096, "height": 4096}, "too large"),
    ],
)
def test_what_it_cannot_do_is_said_before_any_spend(
    server: OpenAIServer, make: Make, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedRequest, match=message):
        make().check(ask(**changes))
    assert server.requests == []


def test_seeds_negatives_and_titles_are_no_reason_to_complain(make: Make) -> None:
    make().check(ask(seed=1, negative="blur", title="Cliff", options={"quality": "max", "moderation": "low"}))


def test_prices_follow_quality_and_pixels(make: Make) -> None:
    backend, square = make(), ask(prompt="x" * 400)
    text = Decimal("0.0005")
    assert backend.price(square) == text + Decimal(439 * 30) / 1_000_000
    assert backend.price(ask(prompt="x" * 400, options={"quality": "low"})) == text + Decimal(196 * 30) / 1_000_000
    assert backend.price(ask(2048, 1024, prompt="x" * 400)) == text + Decimal(878 * 30) / 1_000_000
    best, dearest = (backend.price(ask(options={"quality": quality})) for quality in ("auto", "max"))
    assert best == dearest
    assert backend.price(ask(model="gpt-image-1.5")) is None


def test_the_estimate_is_what_the_stand_in_then_bills(make: Make) -> None:
    backend, request = make(), ask(1024, 576, prompt="x" * 400, options={"quality": "high"})
    estimate, cost = backend.price(request), render(backend, request).cost_usd
    assert estimate is not None
    assert cost is not None
    assert abs(estimate - cost) < Decimal("0.0001")
