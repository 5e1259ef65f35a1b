"""The backend ``stability`` before any spend: set-up, models, settings, start images and prices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from math import nan
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.backends.stability import OPTIONS, REQUEST_MAX
from models.catalog import Catalog, ModelRow, load_catalog
from models.contract import GeneratedImage, Lora
from models.errors import ModelError, SetupError, UnsupportedRequest
from tests.servers.stability_api import CHOICES, StabilityServer
from tests.stability_tools import CATALOG, KEY, MODELS, SD3, TODAY, Make, ask, backends, fail, picture, render


@pytest.fixture
def server() -> Iterator[StabilityServer]:
    with StabilityServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: StabilityServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def refused(make: Make, **changes: Any) -> str:
    """What ``check`` says of a request that it refuses."""
    with pytest.raises(UnsupportedRequest) as caught:
        make().check(ask(**changes))
    return str(caught.value)


# --- set-up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base_url", [None, "https://api.stability.ai", "https://api.stability.ai/"])
def test_without_a_key_the_service_itself_is_not_asked(make: Make, base_url: str | None) -> None:
    backend = make(key=None, base_url=base_url)
    with pytest.raises(SetupError, match="STABILITY_API_KEY"):
        backend.check(ask())
    assert isinstance(fail(backend), SetupError)


def test_a_server_of_ones_own_needs_no_key(server: StabilityServer, make: Make) -> None:
    server.key = ""
    backend = make(key=None)
    backend.check(ask())
    render(backend)
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "sk-with a space"},
        {"key": "sk-línea"},
        {"key": "sk-abcdef\nX-Other: 1"},
        {"base_url": "localhost:8000"},
        {"base_url": "ftp://host"},
        {"base_url": "http://host:port"},
    ],
)
def test_a_broken_set_up_is_said_before_any_request(make: Make, changes: dict[str, str]) -> None:
    backend = make(**changes)
    with pytest.raises(SetupError) as caught:
        backend.check(ask())
    assert "sk-" not in str(caught.value)
    assert isinstance(fail(backend), SetupError)


def test_the_registry_builds_it_from_settings(server: StabilityServer) -> None:
    settings = {"STABILITY_API_KEY": KEY, "STABILITY_BASE_URL": server.url, "STABILITY_MODEL": "ultra"}
    config = registry.BackendConfig(catalog=CATALOG, settings=settings, timeout=20, max_in_flight=3)
    backend = registry.build(registry.find("stability"), config)
    assert backend.capabilities.max_in_flight == 3
    assert backend.capabilities.paid == registry.find("stability").paid
    (image,) = backend.generate([ask()])
    backend.close()
    assert isinstance(image, GeneratedImage)
    assert image.model == "stable-image-ultra"


# --- models and prices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "price"),
    [
        (None, "stable-image-core", "0.03"),
        ("core", "stable-image-core", "0.03"),
        ("Ultra", "stable-image-ultra", "0.08"),
        ("sd3.5-large", "sd3.5-large", "0.065"),
        ("SD3.5-Large-Turbo", "sd3.5-large-turbo", "0.04"),
        ("sd3.5-medium", "sd3.5-medium", "0.035"),
    ],
)
def test_models_and_what_they_cost(make: Make, name: str | None, model: str, price: str) -> None:
    backend, request = make(), ask(model=name)
    assert backend.model_for(request) == model
    assert backend.price(request) == Decimal(price)


def test_the_name_asked_for_wins_over_the_setting(make: Make) -> None:
    backend = make(model="ultra")
    assert backend.model_for(ask()) == "stable-image-ultra"
    assert backend.model_for(ask(model="core")) == "stable-image-core"


@pytest.mark.parametrize(
    ("name", "heir"),
    [
        ("sd3-large", "sd3.5-large"),
        ("sd3-large-turbo", "sd3.5-large-turbo"),
        ("sd3-medium", "sd3.5-medium"),
        ("stable-diffusion-v1-6", "stable-image-core"),
    ],
)
def test_retired_models_name_their_heir(make: Make, name: str, heir: str) -> None:
    said = refused(make, model=name)
    assert "2025-0" in said
    assert f"--model {heir}" in said


def test_an_unknown_model_is_a_typing_error_wherever_the_service_is(make: Make) -> None:
    assert "Did you mean 'sd3.5-large'" in refused(make, model="sd35-large")
    assert "no image model 'gpt-image-2'" in refused(make, model="gpt-image-2")
    assert isinstance(fail(make(), ask(model="sdxl")), UnsupportedRequest)


def own_row(**changes: Any) -> Catalog:
    settings: dict[str, Any] = {"id": "sd4", "kind": "image", "backend": "stability", "about": "new", "source": "us"}
    row = ModelRow(**{**settings, "checked": TODAY, **changes})
    return Catalog([*load_catalog(today=TODAY).rows(), row], updated=TODAY, today=TODAY)


def test_a_row_of_the_users_own_is_a_model_of_sd3(make: Make) -> None:
    backend = make(catalog=own_row())
    request = ask(1024, 576, model="sd4", guidance=3)
    backend.check(request)
    assert backend.price(request) is None
    assert backend.render_size(request) == (1365, 768)
    assert backend.price(ask(model="core")) == Decimal("0.03")


def test_a_row_of_the_users_own_may_know_other_ratios(make: Make) -> None:
    backend = make(catalog=own_row(sizes={"ratios": ["4:3"], "pixels": 1_920_000}))
    assert backend.render_size(ask(1024, 1024, model="sd4")) == (1600, 1200)


def test_models_live_until_the_day_they_are_retired(make: Make) -> None:
    backend = make(catalog=load_catalog(today=date(2025, 4, 16)))
    assert backend.model_for(ask(model="sd3-large")) == "sd3-large"


@pytest.mark.parametrize("model", MODELS)
def test_far_too_large_is_refused(make: Make, model: str) -> None:
    assert "too large" in refused(make, width=4096, height=4096, model=model)
    make().check(ask(2048, 2048, model=model))


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": Path("mask.png")}, "mask"),
        ({"references": (Path("a.png"),)}, "reference images"),
        ({"loras": (Lora("a"),)}, "LoRAs"),
        ({"steps": 20}, "steps"),
        ({"scheduler": "ddim"}, "scheduler"),
    ],
)
def test_what_no_model_has_is_refused(make: Make, changes: dict[str, Any], words: str) -> None:
    assert f"takes no {words}" in refused(make, **changes)


@pytest.mark.parametrize("model", ["core", "ultra"])
def test_guidance_is_for_sd3_models(make: Make, model: str) -> None:
    said = refused(make, model=model, guidance=4)
    assert all(name in said for name in SD3)
    assert "stable-image-core," not in said


@pytest.mark.parametrize("guidance", [0, 0.99, 10.1, -1, nan, float("inf")])
def test_guidance_out_of_range(make: Make, guidance: float) -> None:
    assert "1 to 10" in refused(make, model="sd3.5-large", guidance=guidance)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40])
def test_a_seed_out_of_range(make: Make, seed: int) -> None:
    assert "4294967294" in refused(make, seed=seed)


@pytest.mark.parametrize("model", MODELS)
def test_every_option_is_one_of_the_service(make: Make, model: str) -> None:
    backend = make()
    for option, values in OPTIONS.items():
        assert set(values) == set(CHOICES[option])
        for value in values:
            backend.check(ask(model=model, options={option: value}))


def test_options_that_are_none(make: Make) -> None:
    assert "Did you mean 'style_preset'" in refused(make, options={"style": "anime"})
    assert "There are: style_preset" in refused(make, options={"quality": "high"})
    assert "line-art" in refused(make, options={"style_preset": "baroque"})
    assert "png, jpeg, webp" in refused(make, options={"output_format": "gif"})


def test_texts_have_limits(make: Make) -> None:
    assert "empty" in refused(make, prompt=" \n")
    assert "prompt has 10001 characters" in refused(make, prompt="x" * 10_001)
    assert "negative prompt has 10001" in refused(make, negative="x" * 10_001)
    request = ask(prompt="né" * 5_000, negative="x" * 10_000)
    backend = make()
    backend.check(request)
    render(backend, request)


# --- start images ---------------------------------------------------------------------------------------------------


def test_core_takes_no_start_image_and_names_who_does(make: Make, tmp_path: Path) -> None:
    said = refused(make, init_image=picture(tmp_path / "start.png"), strength=0.5)
    assert "stable-image-core takes no start image" in said
    assert all(name in said for name in ("stable-image-ultra", *SD3))


@pytest.mark.parametrize("model", ["core", "ultra", "sd3.5-large"])
def test_strength_is_nothing_without_a_start_image(make: Make, model: str) -> None:
    assert "neither" in refused(make, model=model, strength=0.5)


def test_a_start_image_needs_a_strength(make: Make, tmp_path: Path) -> None:
    start = picture(tmp_path / "start.png")
    assert "strength" in refused(make, model="ultra", init_image=start)
    for strength in (-0.1, 1.01, nan):
        assert "0 to 1" in refused(make, model="ultra", init_image=start, strength=strength)
    for strength in (0, 0.00001, 1):
        request = ask(model="ultra", init_image=start, strength=strength)
        backend = make()
        backend.check(request)
        render(backend, request)


@pytest.mark.parametrize("model", ["ultra", "sd3.5-medium"])
def test_files_that_are_no_start_image(make: Make, tmp_path: Path, model: str) -> None:
    def said(path: Path) -> str:
        return refused(make, model=model, init_image=path, strength=0.5)

    assert "missing.png" in said(tmp_path / "missing.png")
    assert "no file" in said(tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty" in said(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    assert "PNG" in said(tmp_path / "text.png")
    assert "GIF" not in said(picture(tmp_path / "moving.gif", fmt="GIF"))
    assert "63x64" in said(picture(tmp_path / "small.png", 63, 64))
    assert "16385x64" in said(picture(tmp_path / "long.png", 16_385, 64))
    large = picture(tmp_path / "large.png")
    with large.open("ab") as file:
        file.truncate(REQUEST_MAX)
    assert "large.png" in said(large)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(make: Make, tmp_path: Path) -> None:
    start = picture(tmp_path / "secret.png")
    start.chmod(0)
    assert "secret.png" in refused(make, model="ultra", init_image=start, strength=0.5)


def test_the_texts_count_towards_the_size_of_a_request(server: StabilityServer, make: Make, tmp_path: Path) -> None:
    start = picture(tmp_path / "start.png")
    with start.open("ab") as file:
        file.truncate(REQUEST_MAX - 12_000)
    backend = make()
    fits = ask(model="ultra", init_image=start, strength=0.5)
    backend.check(fits)
    render(backend, fits)
    with pytest.raises(UnsupportedRequest):
        backend.check(ask(model="ultra", init_image=start, strength=0.5, prompt="x" * 9_000))
    assert server.billed == 1


def test_the_shape_of_the_start_image_decides_what_sd3_renders(make: Make, tmp_path: Path) -> None:
    start = picture(tmp_path / "wide.png", 1600, 400)
    settings: dict[str, Any] = {"init_image": start, "strength": 0.5}
    backend = make()
    assert backend.render_size(ask(2048, 512, model="sd3.5-large", **settings)) == (2048, 512)
    assert "too large" in refused(make, width=512, height=2048, model="sd3.5-large", **settings)
    backend.check(ask(512, 2048, model="ultra", **settings))


def test_errors_of_check_are_of_the_two_kinds(make: Make) -> None:
    backend = make(model="no-such-model")
    with pytest.raises(ModelError) as caught:
        backend.check(ask())
    assert isinstance(caught.value, SetupError | UnsupportedRequest)
