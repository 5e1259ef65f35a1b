"""``avatar`` with models on this machine: one for the character, another with a LoRA for the refinement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.backends.diffusion import DiffusionBackend
from tests.checkpoints import checkpoint, lora, needs
from tests.cli_tools import Tirada, info_of

pytestmark = needs("diffusers")


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


def test_two_local_models_are_never_in_memory_together(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[DiffusionBackend, str] = {}
    together: list[int] = []
    load, shut = DiffusionBackend._load, DiffusionBackend._shut

    def loading(self: DiffusionBackend, *given: Any) -> Any:
        loaded[self] = self.name
        together.append(len(loaded))
        return load(self, *given)

    def shutting(self: DiffusionBackend, **how: Any) -> None:
        loaded.pop(self, None)
        shut(self, **how)

    monkeypatch.setattr(DiffusionBackend, "_load", loading)
    monkeypatch.setattr(DiffusionBackend, "_shut", shutting)
    made = ("--stable-diffusion", "--model", checkpoint("sdxl"), "--steps", "2", "--size", "64x64")
    done = tirada("avatar", *made, "--refine", "flux", "--refine-model", checkpoint("flux"))
    assert done.code == 0, done.err
    assert together == [1, 1]
