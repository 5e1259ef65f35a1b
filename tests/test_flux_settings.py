"""The settings, options and reference images that the models behind ``flux-api`` take, each in its own way."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.contract import Lora
from models.errors import UnsupportedRequest
from tests.flux_tools import KEY, Make, ask, backends, picture, render
from tests.servers.bfl_api import BflServer
from tests.servers.bfl_inputs import MODELS


@pytest.fixture
def server() -> Iterator[BflServer]:
    with BflServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: BflServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def refusal(server: BflServer, make: Make, **changes: Any) -> str:
    """What is said of a request that cannot be made, before and instead of making it."""
    backend = make()
    with pytest.raises(UnsupportedRequest) as caught:
        backend.check(ask(**changes))
    with pytest.raises(UnsupportedRequest):
        backend.submit(ask(**changes))
    assert server.requests == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "changes", "sent"),
    [
        ("flux-2-pro", {"seed": 0}, {"seed": 0}),
        ("flux-2-pro", {"negative": "text, watermark", "title": "Cliff"}, {}),
        ("flux-2-pro", {"options": {"prompt_upsampling": "true"}}, {"disable_pup": False}),
        ("flux-2-max", {"options": {"prompt_upsampling": "false"}}, {"disable_pup": True}),
        ("flux-2-flex", {"options": {"prompt_upsampling": "false"}}, {"prompt_upsampling": False}),
        ("flux-dev", {"options": {"prompt_upsampling": "true"}}, {"prompt_upsampling": True}),
        ("flux-2-max", {"options": {"safety_tolerance": "5"}}, {"safety_tolerance": 5}),
        ("flux-dev", {"options": {"safety_tolerance": "6"}}, {"safety_tolerance": 6}),
        ("flux-2-klein-9b", {"options": {"output_format": "webp"}}, {"output_format": "webp"}),
        ("flux-pro-1.1", {"options": {"output_format": "jpeg"}}, {"output_format": "jpeg"}),
        ("flux-2-pro", {"options": {"transparent_bg": "true"}}, {"transparent_bg": True}),
        ("flux-pro-1.1-ultra", {"options": {"raw": "true"}}, {"raw": True}),
        ("flux-2-flex", {"steps": 12, "guidance": 1.5}, {"steps": 12, "guidance": 1.5}),
        ("flux-dev", {"steps": 50, "guidance": 5.0}, {"steps": 50, "guidance": 5.0}),
    ],
)
def test_what_is_sent(server: BflServer, make: Make, model: str, changes: dict[str, Any], sent: dict[str, Any]) -> None:
    render(make(), ask(model=model, **changes))
    usual = {"prompt": ask().prompt, "output_format": "png"}
    shape = {
        name: value for name, value in server.requests[0].json.items() if name in ("width", "height", "aspect_ratio")
    }
    assert server.requests[0].json == {**usual, **shape, **sent}


@pytest.mark.parametrize("model", MODELS)
def test_every_option_that_a_model_is_said_to_have_is_taken(server: BflServer, make: Make, model: str) -> None:
    from models.backends.flux_models import takes

    backend = make()
    for name, values in takes(model).options.items():
        for value in values:
            request = ask(512, 512, model=model, options={name: value})
            backend.check(request)
            render(backend, request)
    assert len(server.jobs) == sum(len(values) for values in takes(model).options.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init_image": Path("a.png"), "strength": 0.5}, "--reference"),
        ({"strength": 0.5}, "--reference"),
        ({"mask": Path("a.png")}, "--reference"),
        ({"loras": (Lora("a.safetensors"),)}, "LoRAs"),
        ({"scheduler": "euler"}, "scheduler"),
        ({"prompt": " \n"}, "empty"),
        ({"prompt": "x" * 32_001}, "32000"),
        ({"steps": 10}, "flux-2-flex or flux-dev"),
        ({"guidance": 3.0}, "flux-2-flex or flux-dev"),
        ({"model": "flux-2-flex", "steps": 0}, "1 to 50"),
        ({"model": "flux-2-flex", "steps": 51}, "1 to 50"),
        ({"model": "flux-2-flex", "guidance": 1.4}, "1.5 to 10.0"),
        ({"model": "flux-2-flex", "guidance": float("nan")}, "1.5 to 10.0"),
        ({"model": "flux-dev", "guidance": 5.1}, "1.5 to 5.0"),
        ({"options": {"output_formt": "png"}}, "Did you mean 'output_format'?"),
        ({"options": {"quality": "high"}}, "There are: output_format"),
        ({"options": {"raw": "true"}}, "It has: output_format"),
        ({"options": {"raw": "maybe"}, "model": "flux-pro-1.1-ultra"}, "true, false"),
        ({"options": {"prompt_upsampling": "true"}, "model": "flux-2-klein-4b"}, "no option"),
        ({"options": {"safety_tolerance": "6"}}, "0, 1, 2, 3, 4, 5."),
        ({"options": {"safety_tolerance": "7"}, "model": "flux-dev"}, "6."),
        ({"options": {"output_format": "webp"}, "model": "flux-dev"}, "png, jpeg"),
        ({"options": {"output_format": "gif"}}, "png, jpeg, webp"),
        ({"options": {"transparent_bg": "true", "output_format": "jpeg"}}, "transparent"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_any_spend(
    server: BflServer, make: Make, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(server, make, **changes)


# --- reference images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("flux-2-pro", 8),
        ("flux-2-max", 8),
        ("flux-2-flex", 8),
        ("flux-2-klein-4b", 4),
        ("flux-2-klein-9b", 5),
        ("flux-kontext-pro", 4),
        ("flux-kontext-max", 4),
    ],
)
def test_references_go_along_as_they_are(server: BflServer, make: Make, tmp_path: Path, model: str, count: int) -> None:
    kinds = ("png", "jpg", "webp")
    files = [picture(tmp_path / f"{n}.{kinds[n % 3]}", (64 + n, 64)) for n in range(count)]
    render(make(), ask(model=model, references=tuple(files)))
    names = ["input_image", *(f"input_image_{n}" for n in range(2, count + 1))]
    sent = server.requests[0].json
    assert [name for name in sent if name.startswith("input_image")] == names
    assert [base64.b64decode(sent[name]) for name in names] == [file.read_bytes() for file in files]


def test_too_many_references_are_said_before_any_spend(server: BflServer, make: Make, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    for model, count, said in (
        ("flux-2-pro", 9, "never more than 8"),
        ("flux-2-klein-4b", 5, "flux-2-klein-9b"),
        ("flux-dev", 1, "no reference images"),
    ):
        assert said in refusal(server, make, model=model, references=(file,) * count)


def test_a_file_that_cannot_be_a_reference_is_said_before_any_spend(
    server: BflServer, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "large.png").write_bytes(b"\0" * (20 * 1024 * 1024 + 1))
    for name in ("missing.png", "text.png", "large.png", "."):
        assert str(tmp_path / name) in refusal(server, make, references=(tmp_path / name,)).replace("\\\\", "\\")
