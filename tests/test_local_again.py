"""Runs of local models taken up again, also with another model or backend."""

from __future__ import annotations

from typing import Any

from tests.checkpoints import checkpoint, needs
from tests.cli_tools import Result, Tirada, info_of, prompts
from tirada.engine.plan import Plan

pytestmark = needs("diffusers")


def refused(tirada: Tirada, *more: object) -> str:
    """A run whose only image the safety checker refuses; returns its id."""
    idea = ("--from", prompts("in.csv", "a lighthouse at dusk"), "--seed", 5)
    model = ("--stable-diffusion", "--model", checkpoint("sd-prude"))
    result = tirada(1, "64x64", *model, *idea, "--json", *more)
    assert result.json["refused"] == 1, result.err
    return str(result.json["run_id"])


def made(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.err
    (folder,) = result.folders
    return info_of(folder)


def test_what_the_user_left_open_goes_by_the_new_model(tirada: Tirada) -> None:
    run_id = refused(tirada)
    info = made(tirada("retry", run_id, "--flux", "--model", checkpoint("flux")))
    assert (info["backend"], info["model"]) == ("flux", str(checkpoint("flux")))
    assert (info["steps"], info["cfg_scale"]) == (28, 3.5)
    assert info["images"][0]["model"] == str(checkpoint("flux"))


def test_what_the_user_asked_for_goes_along(tirada: Tirada) -> None:
    run_id = refused(tirada, "--steps", 3, "--option", "batch=1")
    info = made(tirada("retry", run_id, "--model", checkpoint("sdxl")))
    assert (info["steps"], info["cfg_scale"], info["options"]) == (3, 5.0, {"batch": "1"})


def test_a_backend_without_steps_is_not_asked_for_any(tirada: Tirada) -> None:
    run_id = refused(tirada, "--option", "memory=card")
    info = made(tirada("retry", run_id, "--draft"))
    assert (info["backend"], info["steps"], info["cfg_scale"], info["options"]) == ("draft", None, None, {})


def test_a_retry_of_the_same_model_keeps_everything(tirada: Tirada) -> None:
    run_id = refused(tirada, "--guidance", 2)
    again = tirada("retry", run_id, "--json")
    assert again.json["refused"] == 1, again.err
    dry = tirada("retry", run_id, "--dry-run", "--json").json
    assert dry["model"] == str(checkpoint("sd-prude"))


def test_an_old_plan_knows_of_no_defaults() -> None:
    old = Plan(workflow="batch", concepts=1, images=1, seed=1, request={"steps": 4}).to_json()
    del old["defaults"]
    assert Plan.from_json(old).for_another("x", {}).request == {"steps": 4, "model": "x"}
