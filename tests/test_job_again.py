"""Jobs taken up again: rerun and retry, as they were and with another backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import needs
from tests.cli_tools import Tirada, info_of
from tests.run_tools import rows
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer
from tirada.engine.going import run_lock

SMALL = ("--size", "128x128", "--seed", "7", "--json")
REFUSED = Fault(status=400, code="moderation_blocked", path="/images")


def folder_of(result: Any) -> Path:
    return Path(result.json["folders"][0])


def test_a_rerun_is_for_the_same_person_and_describes_files_the_same_way(tirada: Tirada) -> None:
    first = folder_of(tirada("avatar", *SMALL, "--user", "Ann", "--embed", "never"))
    again = folder_of(tirada("rerun", first, "--json"))
    assert info_of(again)["user"] == "Ann"
    assert info_of(again)["embed"] == "never" and (again / "base.xmp").exists()
    other = folder_of(tirada("rerun", first, "--user", "Ben", "--json"))
    assert info_of(other)["user"] == "Ben"
    batch = folder_of(tirada("1", "64x64", "--user", "Ann", "--json"))
    assert info_of(folder_of(tirada("rerun", batch, "--json")))["user"] == "Ann"
    assert [row["user"] for row in tirada("history", "--user", "Ann", "--json").json] == ["Ann"] * 4


def test_a_rerun_makes_what_had_not_been_made_too(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=400, code="moderation_blocked", path="/images/edits"))
    partial = tirada("avatar", "--dalle", *SMALL)
    assert partial.json["status"] == "partial"
    (missing,) = info_of(folder_of(partial))["job"]["missing"]
    assert (missing["index"], missing["name"], missing["step"]) == (2, "traits", 1)
    again = tirada("rerun", folder_of(partial), "--draft", "--json")
    assert (again.code, again.json["done"]) == (0, 2), again.err
    before, after = info_of(folder_of(partial)), info_of(folder_of(again))
    assert after["images"][1]["prompt"] == missing["prompt"] and after["brief"] == before["brief"]
    assert again.json["result"]["traits"] == partial.json["result"]["traits"]
    assert after["job"]["missing"] == []


def test_a_rerun_of_a_job_without_any_image(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(REFUSED)
    failed = tirada("avatar", "--dalle", *SMALL)
    assert failed.json["done"] == 0
    again = tirada("rerun", folder_of(failed), "--json")
    assert (again.code, again.json["done"]) == (0, 2), again.err


def test_a_record_that_was_cut_short_by_hand_is_refused(tirada: Tirada) -> None:
    folder = folder_of(tirada("avatar", "--draft", *SMALL))
    info = info_of(folder)
    info["images"].pop()
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
    again = tirada("rerun", folder)
    assert again.code == 2 and "does not say how each of its 2 images is to be made" in again.err


def test_a_rehearsed_job_is_made_by_a_model_that_takes_no_strength(tirada: Tirada, openai: OpenAIServer) -> None:
    draft = tirada("avatar", "--draft", *SMALL)
    assert info_of(folder_of(draft))["job"]["steps"][1]["request"]["strength"] > 0
    dry = tirada("rerun", folder_of(draft), "--dalle", "--dry-run", "--json")
    assert float(dry.json["images_usd"]) > 0
    done = tirada("rerun", folder_of(draft), "--dalle", "--json")
    assert (done.code, done.json["done"]) == (0, 2), done.err
    assert [request.path.rpartition("/")[2] for request in openai.requests] == ["generations", "edits"]


def test_a_start_image_goes_as_a_reference_where_that_is_all_there_is() -> None:
    from models.contract import Capabilities
    from tirada.engine.items import as_taken

    none: Any = {"summary": "", "paid": False, "seeds": True, "negative": True}
    asked = {"init_image": "@base", "strength": 0.5, "references": ["other.png"]}
    assert (
        as_taken(asked, Capabilities(**none, init_image=True, references=2, settings=frozenset({"strength"}))) == asked
    )
    assert as_taken(asked, Capabilities(**none, references=2)) == {"references": ["@base", "other.png"]}
    # What cannot be done in any way is left for the backend's check to refuse.
    assert as_taken({"init_image": "@base"}, Capabilities(**none)) == {"init_image": "@base"}
    masked = {"init_image": "@base", "mask": "mask.png"}
    assert as_taken(masked, Capabilities(**none, references=2)) == masked


def test_a_retry_moves_all_steps_to_another_backend(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(REFUSED)
    failed = tirada("avatar", "--dalle", *SMALL)
    assert failed.json["done"] == 0
    done = tirada("retry", failed.json["run_id"], "--draft", "--json")
    assert (done.code, done.json["done"], openai.billed) == (0, 2, 0)
    info = info_of(folder_of(done))
    assert (info["ai"], info["backend"]) == ("Draft sketches", "draft")


@pytest.mark.parametrize(("own", "second"), [("draft", "dalle"), ("dalle", "draft")])
def test_a_record_names_the_backend_of_the_run_whatever_refined_it(
    tirada: Tirada, openai: OpenAIServer, own: str, second: str
) -> None:
    done = tirada("avatar", f"--{own}", "--refine", second, *SMALL)
    assert done.code == 0, done.err
    info = info_of(folder_of(done))
    label = {"draft": "Draft sketches", "dalle": "OpenAI Images"}[own]
    assert (info["backend"], info["ai"]) == (own, label)
    models = {"draft": "draft", "dalle": "gpt-image-2.6-flare"}
    assert [image["model"] for image in info["images"]] == [models[own], models[own], models[second]]


def test_nothing_to_go_on_with_is_json_too(tirada: Tirada) -> None:
    done = tirada("avatar", "--draft", *SMALL)
    run = done.json["run_id"]
    assert tirada("resume", run, "--json").json["run_id"] == run
    assert "nothing is missing" in tirada("resume", run, "--json").json["note"]
    assert "Nothing to resume" in tirada("resume", "--json").json["note"]
    assert tirada("retry", run, "--json").json["note"] == f"Nothing of run {run} failed."
    assert tirada("resume", run).out == ""


def test_a_budget_names_the_model_without_a_price(tirada: Tirada, openai: OpenAIServer) -> None:
    refined = ("--refine", "dalle", "--refine-model", "gpt-image-1.5", "--budget", "1")
    result = tirada("avatar", "--draft", *SMALL, *refined)
    assert result.code == 3
    assert "no price for 'gpt-image-1.5'" in result.err and 'backend = "dalle"' in result.err
    assert not openai.requests


@needs("diffusers")
def test_a_model_that_is_not_here_hides_no_other_way_to_start(tirada: Tirada) -> None:
    # FLUX.2 klein takes references and no start image, which is known before anybody has downloaded it.
    result = tirada("avatar", "--draft", *SMALL, "--refine", "flux")
    assert result.code == 3
    assert "not on this machine" in result.err and "--reference FILE" not in result.err


def test_who_comes_second_changes_nothing_of_a_run(
    tirada: Tirada, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai.faults.append(REFUSED)
    failed = tirada("avatar", "--dalle", *SMALL)
    # The other one begins after we have looked whether there is one.
    monkeypatch.setattr("tirada.engine.going.is_going", lambda *_: False)
    monkeypatch.setattr("tirada.engine.going.LOOK_SECONDS", 0.05)
    with run_lock(Path("output"), failed.json["run_id"]):
        second = tirada("retry", failed.json["run_id"], "--draft", "--budget", "1")
    assert second.code == 2 and "still going" in second.err
    (row,) = rows(Path("output"), "runs")
    assert (row["backend"], json.loads(row["plan"])["budget"]) == ("dalle", "")


def test_a_monthly_budget_is_not_said_to_be_an_option(tirada: Tirada, openai: OpenAIServer) -> None:
    stopped = tirada("avatar", "--dalle", "--size", "128x128", BUDGET_USD_PER_MONTH="0.01")
    assert stopped.code == 5 and "for the month" in stopped.err
    assert "To go on: python main.py resume" in stopped.err and "--budget" not in stopped.err
    stopped = tirada("avatar", "--dalle", "--size", "128x128", "--budget", "0.01")
    assert "--budget USD" in stopped.err


EDITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a name": (lambda i: i["images"][0].update(file="Foo Bar.png"), "'Foo Bar' is no name"),
    "a name twice": (lambda i: i["images"][1].update(file="base.png"), "'base' is no name"),
    "a field": (lambda i: i["job"]["steps"][1].update(request={"foo": 1}), "no image can be asked for with {'foo'"),
    "a field of one": (lambda i: i["images"][1].update(settings={"bar": 2}), "no image can be asked for with {'bar'"),
    "LoRAs": (lambda i: i["job"]["steps"][1].update(request={"loras": ["x"]}), "no image can be asked for with"),
    "steps": (lambda i: i["job"].update(steps=[]), "in which steps"),
    "settings": (lambda i: i["job"].update(settings={}), "these are no settings of a 'avatar'"),
    "the workflow": (lambda i: i.update(workflow="brand"), "these are no settings of a 'brand'"),
    "another workflow": (lambda i: i.update(workflow="gone"), "the workflow 'gone', which this Tirada does not have"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_that_was_edited_into_nonsense_is_refused_before_a_run_begins(tirada: Tirada, edit: str) -> None:
    folder = folder_of(tirada("avatar", "--draft", *SMALL))
    info = info_of(folder)
    change, said = EDITS[edit]
    change(info)
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")
    again = tirada("rerun", folder)
    assert (again.code, again.out) == (2, ""), again.err
    assert said in again.err and "Traceback" not in again.err
    assert len(rows(Path("output"), "runs")) == 1


def test_a_rerun_that_was_cut_off_at_once_goes_on_as_a_rerun(tirada: Tirada, openai: OpenAIServer) -> None:
    first = tirada("avatar", *SMALL[:2], "--draft", "--json")
    cut = tirada("rerun", folder_of(first), "--json", MIN_FREE_MB="1000000000")
    assert (cut.json["status"], cut.json["done"]) == ("stopped", 0)
    assert tirada("resume", cut.json["run_id"], "--json").code == 0
    (again,) = [Path("output") / row["folder"] for row in rows(Path("output"), "concepts") if row["position"] == 0][1:]
    before, after = info_of(folder_of(first)), info_of(again)
    assert after["brief"] == before["brief"]
    assert [one["sha256"] for one in after["images"]] == [one["sha256"] for one in before["images"]]


def test_a_refinement_by_no_backend_is_refused(tirada: Tirada) -> None:
    for command in (("avatar",), ("collection", "3")):
        result = tirada(*command, "--draft", *SMALL, "--refine", "")
        assert result.code == 2 and "There is no backend ''" in result.err


def test_what_may_still_be_tried_is_counted_before_it_is_paid(tirada: Tirada, openai: OpenAIServer) -> None:
    never = ("--min-palette", "0.999", "--tries", "3", "--writer", "composer", "--size", "128x128", "--json")
    brand = ("brand", "--kit", "bank", "--product", "car", "--dalle", *never)
    whole = tirada(*brand, "--dry-run").json
    openai.faults.append(REFUSED)
    failed = tirada(*brand)
    retry = tirada("retry", failed.json["run_id"], "--dry-run", "--json").json
    assert (retry["images"], retry["tries_besides"]) == (1, "up to 2")
    assert retry["total_usd"] == whole["total_usd"]
    asked = tirada("retry", failed.json["run_id"], CONFIRM_ABOVE_USD="0.02")
    assert asked.code == 2 and "Say --yes" in asked.err
    done = tirada("retry", failed.json["run_id"], "--json")
    assert (done.code, openai.billed) == (0, 3)
