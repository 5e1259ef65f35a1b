"""``avatar`` with models on this machine: one for the character, another with a LoRA for the refinement."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("diffusers")

from tests.checkpoints import checkpoint, lora
from tests.cli_tools import Tirada, info_of


def test_flux_refines_what_stable_diffusion_made(tirada: Tirada) -> None:
    made = ("--stable-diffusion", "--model", checkpoint("sdxl"), "--steps", "2", "--guidance", "4", "--size", "64x64")
    refined = ("--refine", "flux", "--refine-model", checkpoint("flux"), "--lora", f"{lora('flux')}:0.8")
    done = tirada("avatar", "--personality", "no1", *made, *refined, "--seed", "4")
    assert done.code == 0, done.err
    (folder,) = done.folders
    told = json.loads((folder / "avatar.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["state"]) for one in told["passes"]] == [
        ("base", "done"),
        ("traits", "done"),
        ("refined", "done"),
    ]
    first, second, third = (one["model"] for one in told["passes"])
    assert first == second != third
    steps = info_of(folder)["job"]["steps"]
    assert steps[2]["request"]["loras"] == [{"source": str(lora("flux")), "weight": 0.8}]
    again = tirada("rerun", folder)
    assert again.code == 0, again.err
    assert [one["sha256"] for one in info_of(again.folders[0])["images"]] == [
        one["sha256"] for one in info_of(folder)["images"]
    ]
