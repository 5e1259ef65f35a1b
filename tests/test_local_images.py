"""Local rendering through the front door, with tiny checkpoints of every family."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.backend_tools import picture
from tests.checkpoints import FAMILIES, IMAGE_TO_IMAGE, checkpoint, lora, needs, single_file
from tests.cli_tools import Result, Tirada, info_of, prompts

pytestmark = needs("diffusers")

SMALL = "64x64"


def flag(name: str) -> str:
    return "--stable-diffusion" if name.startswith("sd") else "--flux"


@pytest.fixture
def render(tirada: Tirada) -> Tirada:
    """``render("sdxl", "2", ...)``: so many images of 64x64 in two steps, seeded."""

    def run(name: str, count: object, *args: object, **env: str) -> Result:
        fixed = ("--steps", 2, "--seed", 5, "--from", prompts("in.csv", "a lighthouse at dusk"))
        where = checkpoint(name) if name in FAMILIES else name
        return tirada(count, SMALL, flag(name), "--model", where, *fixed, *args, **env)

    return run


def arrays(result: Result) -> list[Any]:
    import numpy as np
    from PIL import Image

    assert result.code == 0, result.err
    (folder,) = result.folders
    found = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            found.append(np.asarray(image).astype(int))
    return found


def pixels(result: Result) -> list[str]:
    """What tells one picture from another."""
    return [hashlib.sha256(one.tobytes()).hexdigest()[:12] for one in arrays(result)]


def info(result: Result) -> dict[str, Any]:
    return info_of(result.folders[0])


# --- every family -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_renders_from_a_folder(render: Tirada, name: str) -> None:
    result = render(name, 2)
    first, second = pixels(result)
    assert first != second
    told = info(result)
    assert told["model"] == str(checkpoint(name))
    assert told["steps"] == 2
    assert told["images"][0]["width"] == 64
    assert told["details"]["device"] == "CPU" and told["details"]["dtype"] == "float32"
    assert told["details"].keys() >= {"memory", "attention", "compile", "cache", "batch"}


@pytest.mark.parametrize("name", IMAGE_TO_IMAGE)
def test_every_family_starts_from_an_image(render: Tirada, name: str) -> None:
    picture("start.png", (96, 96))
    plain = pixels(render(name, 1))
    near = render(name, 1, "--init-image", "start.png", "--strength", "0.5")
    far = pixels(render(name, 1, "--init-image", "start.png", "--strength", "1"))
    assert len({*plain, *pixels(near), *far}) == 3
    assert info(near)["strength"] == 0.5
    assert Path(info(near)["init_image"]).name == "start.png"


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_single_file_renders_like_its_folder(render: Tirada, name: str) -> None:
    result = render(f"{single_file(name)}", 1, "--option", f"config={checkpoint(name)}", "--stable-diffusion")
    assert result.code == 0, result.err
    (one,), (other,) = arrays(result), arrays(render(name, 1))
    # Weights that lie elsewhere in memory may be summed in another order: on some processors a pixel differs by 1.
    assert abs(one - other).max() <= 1


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "klein"])
def test_an_image_is_the_same_alone_and_in_a_batch(render: Tirada, name: str) -> None:
    together = pixels(render(name, 3))
    assert pixels(render(name, 1, "--seed", 7)) == together[2:]


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_rendered_together_they_differ_by_rounding_at_most(render: Tirada, name: str) -> None:
    alone = arrays(render(name, 4))
    forced = render(name, 4, "--option", "batch=4")
    assert info(forced)["details"]["batch"] == "4"
    for one, other in zip(alone, arrays(forced), strict=True):
        assert abs(one - other).max() <= 1


def test_rerun_gives_the_same_pixels(render: Tirada, tirada: Tirada) -> None:
    picture("start.png", (96, 96))
    settings = ("--scheduler", "DPM++ 2M Karras", "--guidance", "3", "--lora", f"{lora('sdxl')}:0.5")
    first = render("sdxl", 2, "--init-image", "start.png", *settings)
    again = tirada("rerun", first.folders[0])
    assert pixels(again) == pixels(first)
    assert info(again)["loras"] == info(first)["loras"] == [{"source": str(lora("sdxl")), "weight": 0.5}]
    assert info(again)["scheduler"] == "DPM++ 2M Karras"


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_all_of_a_long_prompt_counts(tirada: Tirada, name: str) -> None:
    def of(text: str) -> list[bytes]:
        source = prompts("long.csv", text)
        model = ("--stable-diffusion", "--model", checkpoint(name))
        return pixels(tirada(1, SMALL, *model, "--steps", 2, "--seed", 5, "--from", source))

    start = "a quiet harbour with boats, " * 20
    assert of(f"{start} red") != of(f"{start} blue")
    assert of("a (red:1.6) boat") != of("a (red:0.4) boat") != of("a red boat")


def test_the_negative_prompt_counts_where_the_family_has_one(render: Tirada) -> None:
    assert pixels(render("sdxl", 1)) != pixels(render("sdxl", 1, "--negative", "boats"))
    assert info(render("sdxl", 1, "--negative", "boats"))["negative_prompt"] == "boats"
    result = render("flux", 1, "--negative", "boats")
    assert info(result)["negative_prompt"] == ""
    assert pixels(result) == pixels(render("flux", 1))
    assert "no negative prompt" in result.err


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DPM++ 2M Karras", "euler a", "UniPC", "DDIM", "LCM", "Euler SGM Uniform"])
def test_schedulers_by_the_names_people_know(render: Tirada, name: str) -> None:
    result = render("sdxl", 1, "--scheduler", name)
    assert pixels(result) != pixels(render("sdxl", 1))
    assert info(result)["scheduler"] == name


@pytest.mark.parametrize("family", ["sd3", "schnell", "z-image"])
def test_schedulers_of_flow_models(render: Tirada, family: str) -> None:
    names = ("Euler", "Euler a", "Euler Karras", "DPM++ 2M", "UniPC")
    made = {tuple(pixels(render(family, 1, "--steps", 4, "--scheduler", name))) for name in names}
    assert len(made) == len(names)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "klein", "z-image", "qwen-image"])
def test_loras_change_the_picture_by_their_weight(render: Tirada, family: str) -> None:
    file = lora(family)
    plain, full, half = (
        pixels(render(family, 1, *given)) for given in ((), ("--lora", file), ("--lora", f"{file}:0.5"))
    )
    assert len({*plain, *full, *half}) == 3
    assert pixels(render(family, 1, "--lora", f"{file}:0")) == plain


def test_steps_guidance_and_caches(render: Tirada) -> None:
    plain = pixels(render("flux", 1))
    assert pixels(render("flux", 1, "--guidance", "9")) != plain
    assert pixels(render("flux", 1, "--steps", "3")) != plain
    cached = render("flux", 1, "--cache", "fast", "--steps", "6")
    assert cached.code == 0, cached.err
    assert info(cached)["details"]["cache"] == "fast"
