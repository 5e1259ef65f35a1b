"""Jobs whose workflow breaks, or that are cut off where all images are there: nothing is lost, and it is said how to
go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.writers.endpoint import Endpoint
from tests.cli_tools import Tirada
from tests.run_tools import rows
from tests.servers.openai_api import Fault, OpenAIServer
from tirada.engine.finishing import finish_folder
from tirada.engine.jobrun import JobRun
from tirada.engine.run import Run
from tirada.engine.source import ActiveConcept
from tirada.engine.state import RunState
from tirada.errors import NotFound
from tirada.workflows.avatar import Avatar

SMALL = ("avatar", "--draft", "--size", "128x128", "--seed", "7")


def status() -> str:
    (row,) = rows(Path("output"), "runs")
    return str(row["status"])


@pytest.mark.parametrize("where", ["compose", "more", "kinds", "compare", "finish", "remarks", "summary"])
@pytest.mark.parametrize("error", [KeyError("oops"), NotFound("The catalogue has gone."), OSError(28, "No space left")])
def test_a_workflow_that_breaks_leaves_a_run_that_a_resume_finishes(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def broken(*_: object) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Avatar, where, broken)
        result = tirada(*SMALL, "--json")
    assert (result.code, result.json["status"], status()) == (1, "stopped", "stopped")
    assert str(error.args[-1]) in result.json["message"]
    assert ("Traceback" in result.err) == isinstance(error, KeyError)
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"], status()) == (0, 2, "done"), again.err
    assert (Path(again.json["folders"][0]) / "avatar.json").exists()


def test_what_can_be_told_of_it_spoils_no_image(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Avatar, "so_far", lambda *_: json.loads("{"))
    result = tirada(*SMALL, "--json")
    assert (result.code, result.json["done"], result.json["failed"]) == (0, 2, 0)
    assert "JSONDecodeError" in result.err


def test_a_job_that_is_not_finished_says_how_to_go_on(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Avatar, "finish", full)
        stopped = tirada(*SMALL)
    assert "2 of 2 images" in stopped.err and "To go on: python main.py resume" in stopped.err
    resumed = tirada("resume")
    assert (resumed.code, resumed.out.splitlines()) == (0, stopped.out.splitlines())
    assert resumed.out.strip(), "the folder is the result"


def test_ctrl_c_after_the_last_image_says_how_to_go_on(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    render = Run._render

    def interrupted(self: Run, *given: Any) -> Any:
        left = render(self, *given)
        if given[-1] == 1:
            self.state.halt("interrupted", "Interrupted: what is in flight is finished first.")
        return left

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_render", interrupted)
        stopped = tirada(*SMALL)
    assert stopped.code == 130 and "2 of 2 images" in stopped.err
    assert "To go on: python main.py resume" in stopped.err
    (folder,) = stopped.folders
    assert not (folder / "avatar.json").exists()
    assert tirada("resume").code == 0 and (folder / "avatar.json").exists()


def test_ctrl_c_while_a_job_is_finished_asks_for_no_resume(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = JobRun._finish

    def interrupted(self: JobRun, concept_id: str) -> None:
        self._state.halt("interrupted", "Interrupted: what is in flight is finished first.")
        finish(self, concept_id)

    with monkeypatch.context() as patched:
        patched.setattr(JobRun, "_finish", interrupted)
        done = tirada(*SMALL, "--json")
    assert (done.code, done.json["status"], done.json["message"], status()) == (0, "done", "", "done")
    assert (Path(done.json["folders"][0]) / "avatar.json").exists()
    assert "Nothing to resume" in tirada("resume").err


def test_ctrl_c_while_the_last_folder_is_written_asks_for_no_resume(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(state: RunState, concept: ActiveConcept) -> None:
        state.halt("interrupted", "Interrupted: what is in flight is finished first.")
        finish_folder(state, concept)

    monkeypatch.setattr("tirada.engine.saving.finish_folder", interrupted)
    done = tirada("2", "64x64", "--draft")
    assert (done.code, status()) == (0, "done") and "To go on" not in done.err


@pytest.mark.parametrize(("pages", "room"), [(5, 8000), (60, 20000)])
def test_a_long_answer_has_room_and_time_from_the_start(
    tirada: Tirada, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch, pages: int, room: int
) -> None:
    patience: list[float] = []

    class Timed(Endpoint):
        def __init__(self, **given: Any) -> None:
            patience.append(given["timeout"])
            super().__init__(**given)

    monkeypatch.setattr("models.writers.scribe.Endpoint", Timed)
    openai.chat = lambda request: {"nothing": 1}
    tirada("story", "a fox who loses her tail", "--pages", pages, "--age", "8-12")
    asked = [request.json for request in openai.requests if request.path.endswith("/chat/completions")]
    assert asked[0]["max_completion_tokens"] >= room
    assert pages == 60 or asked[0]["max_completion_tokens"] == room
    # As long as REQUEST_TIMEOUT_SECONDS allows where it takes that.
    assert patience[-1] == 300 if pages == 60 else 120 < patience[-1] < 300


def test_what_cannot_be_made_for_want_of_another_is_said_once_and_by_name(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=400, code="moderation_blocked", path="/images/"))
    result = tirada("collection", "5", "--dalle", "--size", "128x128")
    assert result.code == 1
    assert "image base failed: refused" in result.err and "image 01 failed: missing_item" in result.err
    assert result.err.count("missing_item") == 1
    assert "4 more images could not be made for the same reason." in result.err
    (folder,) = (path for path in Path("output").iterdir() if (path / "info.json").exists())
    assert [one["name"] for one in json.loads((folder / "info.json").read_text())["failures"]][:2] == ["base", "01"]
    assert "| base | refused" in (folder / "info.md").read_text()
    assert "<td>base</td>" in (folder / "index.html").read_text()
    again = tirada("show", "latest", "--json")
    assert again.json["failures"][0]["name"] == "base"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("brand", "--strength", "0.4"), "--strength says how far to go from a start image, and nothing here starts"),
        (("avatar", "--dalle", "--strength", "0.4"), "and backend 'dalle' takes none; leave it out."),
        (
            ("campaign", "a bar of soap", "--dalle", "--base-image", "fox.png", "--strength", "0.4"),
            "'dalle' takes none",
        ),
        (("story", "a fox", "--strength", "0.4"), "it needs --from-sheet"),
        (("story", "a fox", "--no-sheet", "--strength", "0.4"), "it needs --from-sheet"),
        (("story", "a fox", "--tries", "3"), "--tries needs --redo-below"),
        (("campaign", "a bar of soap", "--writer", "composer", "--language", "es"), "in English, not 'es'"),
    ],
)
def test_an_option_that_nothing_goes_by_is_refused(
    tirada: Tirada, openai: OpenAIServer, typed: tuple[str, ...], said: str
) -> None:
    Image.new("RGB", (64, 64), "navy").save("fox.png")
    result = tirada(*typed)
    assert result.code == 2 and said in result.err
    assert not openai.requests and not list(Path("output").glob("20*"))


def test_a_prompt_that_is_left_alone_may_be_in_any_language(tirada: Tirada) -> None:
    typed = ("campaign", "una pastilla de jabón", "--enrich", "never", "--language", "es", "--size", "64x64")
    assert tirada(*typed, "--variants", "1").code == 0


def test_texts_that_cannot_be_had_are_not_called_a_prompt(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = lambda request: {"nothing": 1}
    result = tirada("story", "a fox who loses her tail", "--pages", "2", "--draft")
    assert result.code == 1
    assert "The texts failed: bad_answer: " in result.err and "Prompt 1" not in result.err
