"""``story redo`` where things are not as they should be, and ``rerun`` of a book with takes."""

from __future__ import annotations

from pathlib import Path

import pypdfium2

from tests.cli_tools import Tirada, info_of
from tests.servers.openai_api import OpenAIServer
from tests.story_tools import IDEA, always, answer, record, tell


def test_a_spoiled_picture_does_not_keep_the_book_from_being_bound(tirada: Tirada) -> None:
    (folder,) = tell(tirada, "--pages", "3").folders
    (folder / "page-01.png").write_text("no picture any more")
    (folder / "page-02.png").unlink()
    done = tirada("story", "redo", "latest", "--page", "3")
    assert done.code == 0, done.err
    report = (folder / "report.md").read_text()
    assert "2 pictures could not be made or read" in report
    assert report.count("is gone, or no picture any more") == 2
    assert record(folder)["illustrations"][2] == "page-03-take-2.png"
    with pypdfium2.PdfDocument(folder / "book.pdf") as document:
        assert len(document) == 4
    assert tirada("story", "redo", "latest", "--page", "1").code == 0
    assert "1 picture could not be made or read" in (folder / "report.md").read_text()


def test_what_else_is_made_by_a_redo_is_said(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat, openai.image_size = always(answer(6)), (64, 64)
    stopped = tirada("story", IDEA, "--pages", "6", "--dalle", "--yes", "--size", "1024x1024", "--budget", "0.07")
    assert stopped.code == 5
    there = len([image for image in info_of(stopped.folders[0])["images"] if image["file"]])
    missing = 8 - there
    redo = ("story", "redo", "latest", "--page", "1")
    dry = tirada(*redo, "--dry-run")
    assert dry.code == 0 and f"{missing} images that are still missing are made, too" in dry.err
    assert tirada(*redo, "--dry-run", "--json").json["missing"] == missing
    done = tirada(*redo, "--budget", "5")
    assert done.code == 0 and f"{missing} images that are still missing are made, too" in done.err
    again = tirada(*redo)
    assert again.code == 0 and "still missing" not in again.err
    assert openai.billed == 8 + 2


def test_a_rerun_counts_the_takes(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat, openai.image_size = always(answer(2)), (64, 64)
    (folder,) = tirada("story", IDEA, "--pages", "2", "--dalle", "--yes", "--size", "1024x1024").folders
    for page in ("1", "2", "2"):
        assert tirada("story", "redo", "latest", "--page", page).code == 0
    info = Path(folder) / "info.json"
    plain = tirada("rerun", info, "--dry-run", "--json").json
    assert plain["images"] == 4 + 3
    spent = float(info_of(folder)["cost_usd"])
    # Every image that is made again is in the estimate: without the takes it would be little more than half.
    assert 0.9 * spent < float(plain["images_usd"]) < 1.1 * spent
    openai.billed = 0
    again = tirada("rerun", info, "--yes")
    assert again.code == 0 and openai.billed == 7
