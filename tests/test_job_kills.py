"""Jobs that are killed at every kind of instant: a resume ends where a run in one go ends, and pays nothing twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli_tools import info_of
from tests.run_tools import KillAt, rows, run
from tests.servers.openai_api import OpenAIServer
from tests.servers.openai_chat import default_chat
from tests.story_tools import always, answer
from tests.test_campaign import scenes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

#: A small run of each workflow.
JOBS: dict[str, tuple[str, ...]] = {
    "avatar": ("avatar",),
    "collection": ("collection", "4"),
    "brand": ("brand", "--kit", "bank", "--product", "car", "--min-palette", "0.999", "--tries", "2"),
    "story": ("story", "a shy lighthouse keeper befriends a whale", "--pages", "2"),
    "campaign": ("campaign", "A phone on a desk", "--industry", "technology", "--variants", "2"),
}
#: What a text model answers, where a made-up answer would not do.
ANSWERS = {"story": answer(2), "campaign": scenes(2)}
COMMON = ("--draft", "--seed", "7", "--size", "128x128")
#: Instants that every job passes.
INSTANTS = [
    KillAt("tirada.store.items:Items.compose", after=True),
    KillAt("tirada.engine.saving:Saver._finish", 2),
    KillAt("tirada.engine.jobrun:JobRun._finish"),
    KillAt("tirada.engine.jobrun:write_folder", after=True),
]


def made(output: str) -> tuple[dict[str, str], set[str]]:
    """The checksum of every image, and the names of all files, of the only folder there is."""
    (folder,) = [path.parent for path in Path(output).glob("*/info.json")]
    info = info_of(folder)
    assert info["status"] == "done"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".tmp", ".received"))]
    return {image["file"]: image["sha256"] for image in info["images"]}, names


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_job_comes_out_as_one_that_was_not(job: str) -> None:
    whole = run(*JOBS[job], *COMMON, "--output", "whole")
    assert whole.code == 0, whole.err
    expected = made("whole")
    for number, instant in enumerate(INSTANTS):
        output = f"killed-{number}"
        assert run(*JOBS[job], *COMMON, "--output", output, kill_at=instant).code < 0, instant
        resumed = run("resume", "--output", output)
        assert resumed.code == 0, f"{instant}: {resumed.err}"
        assert made(output) == expected, instant
        assert [row["status"] for row in rows(Path(output), "runs")] == ["done"]


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_job_is_paid_for_once(job: str) -> None:
    with OpenAIServer(image_size=(64, 64)) as server:
        server.chat = always(ANSWERS[job]) if job in ANSWERS else default_chat
        # Of one seed, so that the stand-in is asked the same, and no rule is broken in one run only.
        command = (*JOBS[job], "--dalle", "--seed", "7", "--size", "128x128", "--json")
        assert run(*command, "--output", "whole", server=server).code == 0
        images, chats = server.billed, server.chats
        killed = KillAt("tirada.engine.saving:Saver._finish", 2, after=True)
        assert run(*command, "--output", "killed", server=server, kill_at=killed).code < 0
        resumed = run("resume", "--output", "killed", "--json", server=server)
        assert resumed.code == 0, resumed.err
        assert server.chats == 2 * chats, "composed twice"
        doubtful = len([row for row in rows(Path("killed"), "calls") if row["state"] == "in_doubt"])
        assert server.billed - 2 * images <= doubtful
