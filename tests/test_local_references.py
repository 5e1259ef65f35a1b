"""Reference images: through IP-Adapters, and as the input of models that edit."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from PIL import Image

from models.catalog import load_catalog
from tests.checkpoints import adapter, checkpoint, needs
from tests.cli_tools import Result, Tirada, call_process, prompts
from tests.run_tools import run
from tests.servers.hub import Hub, Repository
from tests.test_local_images import arrays, flag, info, pixels

pytestmark = needs("diffusers")


@pytest.fixture
def render(tirada: Tirada) -> Tirada:
    """``render("sdxl", ...)``: two images of 64x64 in two steps, seeded; those of UNets with the tiny adapter."""

    def run(name: str, *args: object) -> Result:
        near = ("--option", f"ip_adapter={adapter(name)}") if name in ("sd", "sdxl") and "--reference" in args else ()
        fixed = ("--steps", 2, "--seed", 5, "--from", prompts("in.csv", "a lighthouse at dusk"))
        return tirada(2, "64x64", flag(name), "--model", checkpoint(name), *fixed, *near, *args)

    Image.new("RGB", (96, 96), "red").save("red.png")
    Image.new("RGB", (80, 120), "blue").save("blue.png")
    return run


@pytest.mark.parametrize("name", ["sd", "sdxl", "kontext", "flux2", "klein"])
def test_a_reference_changes_the_picture(render: Tirada, name: str) -> None:
    plain, red, blue = (
        pixels(render(name, *given)) for given in ((), ("--reference", "red.png"), ("--reference", "blue.png"))
    )
    assert len({*plain, *red, *blue}) == 6


@pytest.mark.parametrize("name", ["sdxl", "flux2", "klein"])
def test_several_references_count(render: Tirada, name: str) -> None:
    both = render(name, "--reference", "red.png", "--reference", "blue.png")
    assert pixels(both) != pixels(render(name, "--reference", "red.png"))
    assert [Path(path).name for path in info(both)["references"]] == ["red.png", "blue.png"]


def test_kontext_renders_the_size_that_is_asked_for(render: Tirada) -> None:
    made = info(render("kontext", "--reference", "blue.png"))
    assert {one["rendered_size"] for one in made["images"]} == {"64x64"}


def test_an_adapter_counts_as_much_as_it_is_told_to(render: Tirada) -> None:
    red = ("--reference", "red.png")
    none = render("sdxl", *red, "--option", "ip_adapter_scale=0")
    assert pixels(none) == pixels(render("sdxl"))
    assert info(none)["details"]["ip_adapter_scale"] == "0"
    assert info(none)["details"]["ip_adapter"] == str(adapter("sdxl"))
    most = pixels(render("sdxl", *red, "--option", "ip_adapter_scale=1"))
    assert most != pixels(render("sdxl", *red))
    together = arrays(render("sdxl", *red, "--option", "batch=2"))
    alone = arrays(render("sdxl", *red))
    assert all(abs(one - other).max() <= 1 for one, other in zip(together, alone, strict=True))


def test_a_reference_goes_with_a_start_image_where_an_adapter_looks(render: Tirada) -> None:
    start = ("--init-image", "blue.png", "--strength", "0.9")
    assert pixels(render("sdxl", *start, "--reference", "red.png")) != pixels(render("sdxl", *start))
    refused = render("klein", "--init-image", "blue.png", "--reference", "red.png")
    assert refused.code == 2 and "do not go together" in refused.err


def test_a_model_that_looks_at_no_pictures_says_which_do(render: Tirada) -> None:
    refused = render("sd3", "--reference", "red.png")
    assert refused.code == 2 and "takes no reference images" in refused.err and "SDXL" in refused.err


def test_an_adapter_that_cannot_be_used(render: Tirada, tirada: Tirada) -> None:
    def said(option: str) -> str:
        model = ("--stable-diffusion", "--model", checkpoint("sdxl"))
        result = tirada(1, "64x64", *model, "--reference", "red.png", "--option", option)
        assert result.code in (2, 3), result.err
        return result.err

    assert "There is no IP-Adapter" in said("ip_adapter=nothing")
    Path("old.bin").write_bytes(b"x")
    assert "can run any program" in said("ip_adapter=old.bin")
    assert "from 0 to 1" in said("ip_adapter_scale=2")
    kept = said("memory=auto")
    assert "h94/IP-Adapter" in kept and "HF_HUB_OFFLINE" in kept
    Path("near").symlink_to(adapter("sdxl"))
    # Found again from anywhere.
    made = info(render("sdxl", "--reference", "red.png", "--option", "ip_adapter=near"))
    assert made["options"]["ip_adapter"] == str(Path("near").absolute())
    wrong = render("sdxl", "--reference", "red.png", "--option", f"ip_adapter={adapter('sd')}")
    assert wrong.code == 2 and "There is no IP-Adapter" in wrong.err
    file = next(adapter("sd").rglob("ip-adapter*"))
    wrong = render("sdxl", "--reference", "red.png", "--option", f"ip_adapter={file}")
    assert wrong.code in (1, 3) and "cannot be loaded" in wrong.err


def test_a_published_adapter_is_fetched_before_the_run(tmp_path: Path) -> None:
    in_a_process = functools.partial(run, local=True) if hasattr(os, "fork") else call_process
    row = load_catalog().find("image", "sdxl")
    assert row is not None and row.weights is not None and row.weights.adapter is not None
    Image.new("RGB", (96, 96), "red").save("red.png")
    model = ("--stable-diffusion", "--model", checkpoint("sdxl"), "--steps", 1)
    with Hub() as hub:
        hub.repositories[row.weights.adapter.repository] = Repository(folder=adapter("sdxl"))
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        first = in_a_process(1, "64x64", *model, "--reference", "red.png", **env)
        assert first.code == 0 and "are downloaded first" in first.err, first.err
        fetched = {name for name in hub.fetched() if not name.endswith("config.json")}
    # Nothing else of that repository, which holds many.
    assert fetched == {row.weights.adapter.file, f"{row.weights.adapter.encoder}/model.safetensors"}
    assert (first.folders[0] / "01.png").is_file()
