"""``story`` through the front door: offline and with stand-ins, consistency, tries, takes, failures, resuming."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.contract import Capabilities
from tests.cli_tools import ROOT, Tirada, WaitingServer, endpoint, finish, info_of
from tests.flux_tools import KEY
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer
from tests.servers.openai_api import OpenAIServer
from tests.story_tools import IDEA, SMALL, always, answer, record, tell
from tirada.engine.events import JobProgress
from tirada.engine.plan import Plan
from tirada.errors import UsageError
from tirada.workflows import registry
from tirada.workflows.stories.text import characters_of
from tirada.workflows.story import StoryOptions, plan_story
from tirada.workflows.workflow import Common

FILES = {"book.pdf", "book.epub", "book.html", "story.json", "report.md", "index.html", "info.json"}


# --- offline ----------------------------------------------------------------------------------------------------------


def test_a_story_offline(tirada: Tirada) -> None:
    done = tell(tirada, "--pages", "5")
    (folder,) = done.folders
    assert "word list only" in done.err
    assert {path.name for path in folder.iterdir()} >= FILES
    info, story = info_of(folder), record(folder)
    kinds = {image["file"]: (image["kind"], image["step"]) for image in info["images"]}
    assert kinds.pop("sheet.png") == ("step", 0)
    assert kinds.pop("page-01.png") == ("result", 1)
    assert kinds == {f"{name}.png": ("result", 2) for name in ("cover", "page-02", "page-03", "page-04", "page-05")}
    assert story["status"] == "done"
    assert story["user_input"] == IDEA and story["total_pages"] == 5
    assert story["title"] == info["title"] == "The Shy Lighthouse Keeper and the Whale"
    assert len(story["text_description"]) == len(story["image_description"]) == len(set(story["text_description"])) == 5
    assert story["illustrations"] == [f"page-{number:02d}.png" for number in range(1, 6)]
    assert story["cover"] == "cover.png"
    assert all(0 < figure < 1 for figure in story["consistency"])
    assert info["brief"]["moderation"].startswith("word list only")


def test_every_prompt_repeats_the_whole_card(tirada: Tirada) -> None:
    (folder,) = tell(tirada, "--pages", "3", "--style", "gouache", "--character", "Ada: a fox in a blue cap").folders
    info, story = info_of(folder), record(folder)
    looks = [f"{one['name']}: {one['look']}" for one in story["characters"]]
    assert looks[0] == "Ada: a fox in a blue cap"
    assert [str(one) for one in characters_of(info["prompt"])] == looks
    for image in info["images"]:
        assert all(look in image["prompt"] for look in looks)
        assert "opaque gouache" in image["prompt"]


def test_the_sheet_goes_with_every_page(tirada: Tirada) -> None:
    with_sheet = info_of(tell(tirada, "--pages", "2", "--output", "a").folders[0])
    by_words = info_of(tell(tirada, "--pages", "2", "--no-sheet", "--output", "b").folders[0])
    assert [image["file"] for image in by_words["images"]] == ["page-01.png", "cover.png", "page-02.png"]
    same = {image["file"]: image["sha256"] for image in by_words["images"]}
    pages = [image for image in with_sheet["images"] if image["kind"] == "result"]
    assert all(same[image["file"]] != image["sha256"] for image in pages)
    assert {image["seed"] for image in pages} == {image["seed"] for image in by_words["images"]}


def test_a_reference_that_is_no_picture_is_told_as_such(tirada: Tirada) -> None:
    Path("hero.png").touch()
    done = tell(tirada, "--reference", "hero.png", code=2)
    assert "hero.png' is empty. Give it as PNG, JPEG or WebP." in done.err and not Path("output").exists()


def test_a_reference_takes_the_place_of_the_sheet(tirada: Tirada) -> None:
    Image.new("RGB", (64, 64), (200, 40, 40)).save("hero.png")
    (folder,) = tell(tirada, "--pages", "1", "--no-cover", "--reference", "hero.png").folders
    assert [image["file"] for image in info_of(folder)["images"]] == ["page-01.png"]
    assert "`hero.png`" in (folder / "report.md").read_text()
    assert record(folder)["cover"] is None


def test_pages_that_start_from_the_sheet(tirada: Tirada) -> None:
    dry = tell(tirada, "--pages", "2", "--from-sheet", "--dry-run", "--json").json
    assert dry["images"] == 4
    close = tell(tirada, "--pages", "1", "--from-sheet", "--strength", "0.1", "--output", "a").folders[0]
    far = tell(tirada, "--pages", "1", "--from-sheet", "--strength", "0.95", "--output", "b").folders[0]
    assert record(close)["consistency"][0] > record(far)["consistency"][0]


@pytest.mark.parametrize("pages", [1, 60])
def test_the_shortest_and_the_longest(tirada: Tirada, pages: int) -> None:
    (folder,) = tell(tirada, "--pages", pages).folders
    story = record(folder)
    assert len(story["illustrations"]) == len(set(story["text_description"])) == pages
    assert (folder / "book.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_seed_tells_the_same_story(tirada: Tirada) -> None:
    one, two = (record(tell(tirada, "--pages", "3", "--output", name).folders[0]) for name in ("a", "b"))
    assert one == two


def test_what_is_ready_is_told_after_every_image(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    emit = JobProgress.__init__

    def listen(self: JobProgress, folder: Path, ready: Any) -> None:
        seen.append(dict(ready))
        emit(self, folder, ready)

    monkeypatch.setattr(JobProgress, "__init__", listen)
    tell(tirada, "--pages", "3")
    assert len(seen) == 5
    assert seen[0]["illustrations"] == [None, None, None]
    assert seen[1]["illustrations"] == ["page-01.png", None, None], "page 1 comes before everything else"
    assert {one["status"] for one in seen} == {"working"}
    assert all(len(one["text_description"]) == one["total_pages"] == 3 for one in seen)


# --- wrong orders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pages", "0"], "greater than or equal to 1"),
        (["--pages", "61"], "less than or equal to 60"),
        (["--style", "watercolour"], "did you mean 'watercolor'"),
        (["--style", "zzz"], "there are: watercolor"),
        (["--age", "7-4"], "the first number is the lower one"),
        (["--age", "old"], 'write "4-7"'),
        (["--character", "Mira"], 'write "Name: how they look"'),
        (["--language", "de"], "GPT writer"),
        (["--reference", "none.png"], "no file 'none.png'"),
        (["--font", "none.ttf"], "no file 'none.ttf'"),
        (["--from-sheet", "--no-sheet"], "--from-sheet needs the sheet"),
        (["--redo-below", "2"], "less than or equal to 1"),
        (["--character", "Tom: a boy", "--character", "tom: a man"], "Two characters are called 'tom'"),
    ],
)
def test_orders_that_make_no_sense(tirada: Tirada, options: list[str], said: str) -> None:
    done = tell(tirada, *options, code=2)
    assert said in " ".join(done.err.split())
    assert not Path("output").exists()


def test_a_font_must_be_one(tirada: Tirada) -> None:
    Path("font.ttf").write_text("no font")
    assert "is no font" in tell(tirada, "--font", "font.ttf", code=2).err


def test_flagged_offline(tirada: Tirada) -> None:
    done = tell(tirada, idea="a murderer and his nude victim", code=1)
    assert "sexual, violence" in done.err and "word list" in done.err
    assert not Path("output").exists()


@pytest.mark.parametrize("idea", ["  ", "x" * 2001])
def test_an_idea_has_a_length(tirada: Tirada, idea: str) -> None:
    assert "1 to 2,000" in tell(tirada, idea=idea, code=2).err


# --- with a text model ------------------------------------------------------------------------------------------------


def test_gpt_and_rendered_images(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = always(answer(3))
    openai.image_size = (64, 64)
    done = tirada("story", IDEA, "--pages", "3", "--dalle", "--language", "en", "--age", "4-7", "--yes")
    assert done.code == 0, done.err
    assert "word list" not in done.err
    story = record(done.folders[0])
    assert story["title"] == "The Wave That Answered"
    assert openai.moderated == [IDEA]
    edits = [request for request in openai.requests if request.path.endswith("/images/edits")]
    assert len(edits) == 4, "the sheet goes with the cover and every page"
    assert openai.billed == 5
    asked = next(request.json for request in openai.requests if request.path.endswith("/chat/completions"))
    assert "exactly 3 pages" in asked["messages"][0]["content"]
    assert IDEA in asked["messages"][1]["content"]


def test_a_wrong_number_of_pages_is_asked_again(tirada: Tirada, openai: OpenAIServer) -> None:
    answers = iter([answer(2), answer(4)])
    openai.chat = lambda request: next(answers)
    assert record(tell(tirada, "--pages", "4", "--draft").folders[0])["total_pages"] == 4
    said = [r.json["messages"][-1]["content"] for r in openai.requests if r.path.endswith("/chat/completions")]
    assert "exactly 4 pages, not 2" in said[1]


def test_a_model_that_cannot_count_ends_the_run(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = always(answer(2))
    done = tell(tirada, "--pages", "4", "--dalle", "--yes", code=1)
    assert "exactly 4 pages, not 2" in done.err
    assert openai.billed == 0


def test_texts_must_fit_on_a_page(tirada: Tirada, openai: OpenAIServer) -> None:
    long = answer(2)
    long["pages"][1]["text"] = "word " * 500
    openai.chat = always(long)
    assert "characters, not 24" in tell(tirada, "--pages", "2", "--draft", code=1).err


def test_flagged_by_the_model(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.flags = {"whale": "violence/graphic"}
    done = tell(tirada, "--dalle", "--yes", code=1)
    assert "violence/graphic" in done.err
    assert openai.billed == openai.chats == 0


def test_an_endpoint_without_moderation(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.flags = None
    openai.chat = always(answer(1))
    done = tell(tirada, "--pages", "1", "--draft")
    assert "word list only" in done.err


def test_what_the_user_said_of_characters_and_title_stands(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = always(answer(1))
    options = ("--character", "Mira: an old sailor with a wooden leg", "--title", "Mine", "--setting", "a green bay")
    story = record(tell(tirada, "--pages", "1", "--draft", *options).folders[0])
    assert (story["title"], story["setting"]) == ("Mine", "a green bay")
    assert [one["look"] for one in story["characters"]] == [
        "an old sailor with a wooden leg",
        "a young blue whale with a white spot over one eye",
    ]


# --- failures, and going on -------------------------------------------------------------------------------------------


def test_a_page_that_fails_has_a_quiet_picture(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = always(answer(3))
    openai.image_size = (64, 64)
    openai.faults.append(Fault(status=400, code="moderation_blocked", path="/images/edits"))
    done = tirada("story", IDEA, "--pages", "3", "--dalle", "--yes", "--no-cover", "--size", "1024x1024")
    assert done.code == 4
    (folder,) = done.folders
    story, report = record(folder), (folder / "report.md").read_text()
    assert story["status"] == "partial" and story["illustrations"].count(None) == 1
    assert "1 picture could not be made or read" in report and "missing:" in report
    assert "could not" not in (folder / "book.html").read_text()
    again = tirada("retry", "latest", "--yes")
    assert again.code == 0, again.err
    assert record(folder)["status"] == "done"
    assert "missing" not in (folder / "report.md").read_text()


def test_a_killed_run_goes_on(
    tirada: Tirada, start_tirada: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WaitingServer(image_size=(64, 64)) as server:
        server.chat = always(answer(2))
        command = ("story", IDEA, "--pages", "2", "--dalle", "--yes", "--no-sheet", "--size", "1024x1024")
        process = start_tirada(*command, **endpoint(server))
        assert server.asked.wait(60)
        process.kill()
        finish(process)
        server.go_on.set()
        done = tirada("resume", **endpoint(server))
        assert done.code == 0, done.err
        assert server.chats == 1, "the story is not written twice"
    assert record(done.folders[0])["status"] == "done"


# --- tries and takes --------------------------------------------------------------------------------------------------


def test_a_prompt_of_a_redo_is_moderated(openai: OpenAIServer, tirada: Tirada) -> None:
    openai.chat, openai.flags = always(answer(2)), {"knife": "violence"}
    tell(tirada, "--pages", "2")
    openai.moderated.clear()
    dry = tirada("story", "redo", "latest", "--page", "2", "--prompt", "a knife", "--dry-run")
    assert dry.code == 0 and not openai.moderated
    refused = tirada("story", "redo", "latest", "--page", "2", "--prompt", "a knife on the table")
    assert refused.code == 1 and "flagged as: violence" in refused.err
    assert len(openai.moderated) == 1
    assert tirada("story", "redo", "latest", "--page", "2", "--prompt", "a spoon on the table").code == 0
    openai.flags = None
    assert tirada("story", "redo", "latest", "--page", "2", "--prompt", "a fork on the table").code == 0
    long = tirada("story", "redo", "latest", "--page", "2", "--prompt", "very " * 500)
    assert long.code == 2 and "2,000" in long.err


def test_drifting_pages_are_made_again(tirada: Tirada) -> None:
    done = tell(tirada, "--pages", "2", "--redo-below", "0.99", "--tries", "2", "--json")
    folder = Path(done.json["folders"][0])
    images = info_of(folder)["images"]
    assert len(images) == 1 + 3 * 3
    for name in ("cover", "page-01", "page-02"):
        own = [image for image in images if image["file"].startswith(name)]
        assert sorted(image["kind"] for image in own) == ["result", "try", "try"]
        figures = {image["file"]: float(image["facts"]["consistency"].partition(" ")[0]) for image in own}
        (kept,) = (image["file"] for image in own if image["kind"] == "result")
        assert figures[kept] == max(figures.values())
        assert len({image["seed"] for image in own}) == 3
    results = {image["file"] for image in images if image["kind"] == "result"}
    assert set(done.json["result"]["illustrations"]) < results


def test_good_pages_are_left_alone(tirada: Tirada) -> None:
    (folder,) = tell(tirada, "--pages", "2", "--redo-below", "0.0001").folders
    assert len(info_of(folder)["images"]) == 4


def test_a_page_again(tirada: Tirada) -> None:
    (folder,) = tell(tirada, "--pages", "3").folders
    before, first_pdf = record(folder), (folder / "book.pdf").read_bytes()
    done = tirada("story", "redo", "latest", "--page", "2", "--prompt", "a whale in a teacup")
    assert done.code == 0, done.err
    after, info = record(folder), info_of(folder)
    assert after["illustrations"] == ["page-01.png", "page-02-take-2.png", "page-03.png"]
    assert after["image_description"][1] == "a whale in a teacup"
    assert after["text_description"] == before["text_description"]
    images = {image["file"]: image for image in info["images"]}
    assert images["page-02.png"]["kind"] == "try" and images["page-02-take-2.png"]["kind"] == "result"
    look = before["characters"][0]["look"]
    assert "a whale in a teacup" in images["page-02-take-2.png"]["prompt"]
    assert look in images["page-02-take-2.png"]["prompt"]
    assert (folder / "book.pdf").read_bytes() != first_pdf
    assert tirada("story", "redo", "latest", "--page", "2").code == 0
    assert record(folder)["illustrations"][1] == "page-02-take-3.png"
    assert tirada("story", "redo", "latest", "--page", "cover").code == 0
    assert record(folder)["cover"] == "cover-take-2.png"
    assert record(folder)["status"] == "done"


def test_what_cannot_be_made_again(tirada: Tirada) -> None:
    (folder,) = tell(tirada, "--pages", "2", "--no-cover").folders
    for page in ("3", "0", "cover", "x"):
        wrong = tirada("story", "redo", "latest", "--page", page)
        assert wrong.code == 2 and "1 to 2." in wrong.err
    assert tirada("story", "redo", "latest", "--page", "1", "--prompt", "gore").code == 1
    dry = tirada("story", "redo", "latest", "--page", "1", "--dry-run", "--json")
    assert dry.json["image"] == "page-01-take-2"
    assert len(info_of(folder)["images"]) == 3
    assert tirada("2", "64x64", "--draft").code == 0
    assert "no story" in tirada("story", "redo", "latest", "--page", "1").err


def test_the_row_is_all_that_is_known_before(tirada: Tirada) -> None:
    assert "story" in registry.names()
    shown = tirada("story", "--help")
    assert shown.code == 0 and "--redo-below" in shown.out
    assert "An illustrated book" in tirada("--help").out


def order(backend: Capabilities, **options: Any) -> Plan:
    """The plan for a backend that can do so much."""
    common = Common(backend="other", capabilities=backend, data=ROOT / "data", output=Path("output"), gpt=False)
    return plan_story(StoryOptions(idea=IDEA, pages=2, **options), common)


def able(**what: Any) -> Capabilities:
    return Capabilities(summary="", paid=False, seeds=True, negative=False, **what)


def test_what_a_backend_can_do_decides_what_pages_start_from() -> None:
    only_words = order(able())
    assert [step["images"] for step in only_words.steps] == [1, 2] and only_words.job["notes"] == []
    hinted = order(able(init_image=True))
    assert [step["images"] for step in hinted.steps] == [1, 1, 2]
    assert "--from-sheet" in hinted.job["notes"][0] and hinted.job["use"] == {}
    started = order(able(init_image=True, settings=frozenset({"strength"})), from_sheet=True)
    assert started.job["use"] == {"init_image": "@sheet", "strength": 0.6} and started.job["notes"] == []
    assert order(able(references=4)).job["use"] == {"references": ["@sheet"]}
    assert order(able(references=4), sheet=False).job["use"] == {}
    Image.new("RGB", (8, 8)).save("a.png")
    for wrong in ({"reference": Path("a.png")}, {"from_sheet": True}):
        with pytest.raises(UsageError, match="Backend 'other'"):
            order(able(), **wrong)


def test_a_model_that_takes_no_pictures_is_no_hindrance(tirada: Tirada) -> None:
    with BflServer(key=KEY) as server:
        flux = ("--flux-api", "--model", "flux-pro-1.1", "--pages", "1", "--no-cover", "--size", "256x256")
        settings = {"BFL_API_KEY": KEY, "BFL_BASE_URL": server.url}
        done = tirada("story", IDEA, *flux, **settings)
        assert done.code == 0, done.err
        assert [image["file"] for image in info_of(done.folders[0])["images"]] == ["page-01.png"]
        Image.new("RGB", (64, 64)).save("a.png")
        for option in (["--from-sheet"], ["--reference", "a.png"]):
            wrong = tirada("story", IDEA, *flux, *option, **settings)
            assert wrong.code == 2 and "with the model 'flux-pro-1.1'" in wrong.err and option[0] in wrong.err


@pytest.mark.parametrize("workflow", ["story", "campaign"])
def test_nothing_written_is_obeyed_by_a_terminal(tirada: Tirada, workflow: str) -> None:
    short = ("--pages", "1") if workflow == "story" else ("--variants", "1")
    done = tirada(workflow, "a fox\x1b[31m red\x07 \x9b2J", *SMALL, *short)
    assert done.code == 0, done.err
    (folder,) = done.folders
    # The command itself is kept as it was typed, in info.json and index.html.
    paths = [path for path in folder.iterdir() if path.suffix in (".md", ".csv") or path.stem == workflow]
    assert len(paths) >= 3
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not set(text) & {"\x1b", "\x07", "\x9b"} and "\\u001b" not in text, path.name
    assert "fox[31m" in info_of(folder)["title"].casefold().replace(" ", "")


@pytest.mark.parametrize("title", ["../../etc/</title><script>", "con", "\u202eevil", "a" * 120, "😀"])
def test_titles_of_any_kind(tirada: Tirada, title: str) -> None:
    (folder,) = tell(tirada, "--pages", "1", "--title", title).folders
    assert folder.resolve().parent == Path("output").resolve()
    assert record(folder)["title"] == title
    assert "<script>" not in (folder / "book.html").read_text().partition("</main>")[0].partition("<main")[2]
    assert (folder / "book.pdf").exists() and (folder / "book.epub").exists()
    assert "at most 120" in tell(tirada, "--title", "a" * 121, code=2).err


def test_a_story_for_each_size_has_its_shape(tirada: Tirada) -> None:
    done = tirada("story", IDEA, "--pages", "1", "--no-cover", "--size", "96x64", *SMALL[2:])
    assert done.code == 0, done.err
    assert "--ratio: 1.5000" in (done.folders[0] / "book.html").read_text()
