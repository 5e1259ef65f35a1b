"""The workflow ``brand`` through the front door: offline, with a text model, with tries, a budget and a grade."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.contract import Capabilities
from tests.cli_tools import ROOT, Tirada, endpoint, info_of
from tests.run_tools import BillingServer, rows, start, until
from tests.servers.base import Answer, Fault, as_json
from tirada.workflows.brand import BrandOptions, plan
from tirada.workflows.branding.tries import Goal, facts_of, share_of
from tirada.workflows.workflow import Common

GREEN, SALMON, TURQUOISE, BLUE = "#1E7B1E", "#FFA07A", "#AFEEEE", "#4169E1"
CAR = ("brand", "--product", "car", "--custom-prompt", "engaging in driving")
SMALL = ("--size", "96x96")
PALETTE = {"light salmon": SALMON, "pale turquoise": TURQUOISE, "royal blue": BLUE}


class ColourServer(BillingServer):
    """A stand-in whose pictures have the colours that a test lines up; two colours make halves."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"image_size": None, **options})
        self.colours: list[str] = []

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        answer = super().answer(method, path, headers, payload)
        if answer.status != 200 or not path.endswith("/images/generations") or not self.colours:
            return answer
        body = json.loads(answer.body)
        left, _, right = self.colours.pop(0).partition("/")
        picture = Image.new("RGBA", (64, 64), left)
        picture.paste(Image.new("RGBA", (32, 64), right or left), (32, 0))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        body["data"][0]["b64_json"] = base64.b64encode(buffer.getvalue()).decode("ascii")
        return as_json(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ColourServer]:
    with ColourServer() as server:
        for name, value in {**endpoint(server), "IMAGES_IN_FLIGHT": "1", "WRITER": "composer"}.items():
            monkeypatch.setenv(name, value)
        yield server


def record_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "brand.json").read_text(encoding="utf-8"))
    return loaded


def prompts_of(folder: Path) -> list[str]:
    info = info_of(folder)
    return [image["prompt"] or info["prompt"] for image in info["images"]]


# --- offline ----------------------------------------------------------------------------------------------------------


def test_the_line_of_the_readme(tirada: Tirada) -> None:
    line = ("--kit", "bank", "--product", "car", "--custom-prompt", "engaging in driving", "--size", "720x720")
    done = tirada("brand", *line, "--user", "Test user", "--draft", "--seed", 4)
    assert done.code == 0, done.err
    (folder,) = done.folders
    assert "car-engaging-in-driving" in folder.name
    info = info_of(folder)
    (image,) = info["images"]
    assert (info["workflow"], info["user"], info["size"], info["status"]) == ("brand", "Test user", "720x720", "done")
    assert (image["file"], image["kind"]) == ("01.png", "result")
    assert image["title"].startswith("A") and image["title"].endswith(", engaging in driving")
    prompt = info["prompt"]
    for part in ("car", ", engaging in driving, ", "The colours are light salmon, pale turquoise and royal blue: "):
        assert part in prompt
    assert "There is nobody in the picture." in prompt and "#" not in prompt
    assert 40 <= len(info["description"]) <= 400 and 5 <= len(info["metatags"]) <= 10
    facts = image["facts"]
    assert list(facts) == ["palette", "mean_delta_e", "colours"]
    assert facts["palette"].endswith(" %") and float(facts["mean_delta_e"]) > 0
    assert f"palette: {facts['palette']}" in (folder / "index.html").read_text(encoding="utf-8")
    record = record_of(folder)
    assert (record["kit"], record["product"], record["user"]) == ("bank", "car", "Test user")
    wish = {"product": "car", "sex": "", "age": None, "custom_prompt": "engaging in driving"}
    assert record["metadata"] == {**wish, "width": 720, "height": 720}
    assert record["images"][0]["palette"] == share_of(facts)
    assert [colour["hex"] for colour in record["palette"]] == [SALMON, TURQUOISE, BLUE]
    assert "digits on the number plate" in record["negative"] and "banknotes" in record["negative"]
    (run,) = rows(Path("output"), "runs")
    assert run["user"] == "Test user" and "engaging in driving" in run["plan"]


def test_the_seed_decides_and_images_differ(tirada: Tirada) -> None:
    runs = [tirada("brand", "--product", "house", "--count", 6, *SMALL, "--seed", 7, "--draft") for _ in range(2)]
    one, two = (run.folders[-1] for run in runs)
    assert prompts_of(one) == prompts_of(two)
    assert len(set(prompts_of(one))) == 6
    assert [image["sha256"] for image in info_of(one)["images"]] == [
        image["sha256"] for image in info_of(two)["images"]
    ]
    assert len({prompt.split(": ", 1)[1].split(", ")[0] for prompt in prompts_of(one)}) == 6, "subjects repeat too soon"
    assert "house" in info_of(one)["prompt"].casefold()
    assert info_of(one)["title"] == "House in light salmon, pale turquoise and royal blue"
    assert 40 <= len(info_of(one)["description"]) <= 400
    other = tirada("brand", "--product", "house", *SMALL, "--seed", 8, "--draft")
    assert prompts_of(other.folders[0])[0] != prompts_of(one)[0]


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        (("--sex", "male", "--age", "8"), "a boy of about eight"),
        (("--sex", "female", "--age", "0"), "a girl of about one"),
        (("--sex", "female", "--age", "30"), "a woman in her early thirties"),
        (("--sex", "male", "--age", "18"), "a young man in his late teens"),
        (("--sex", "female", "--age", "17"), "a teenage girl"),
        (("--age", "40"), "a person in their early forties"),
        (("--sex", "female", "--age", "51"), "a woman in her early fifties with grey hair"),
    ],
)
def test_people_are_people_of_their_age(tirada: Tirada, options: tuple[str, ...], subject: str) -> None:
    done = tirada("brand", "--product", "people", *options, *SMALL, "--draft")
    assert done.code == 0, done.err
    prompt = info_of(done.folders[0])["prompt"]
    assert f": {subject}" in prompt
    assert "nobody" not in prompt


def test_an_age_that_is_not_said_is_an_adults(tirada: Tirada) -> None:
    done = tirada("brand", "--product", "people", "--sex", "male", "--count", 9, *SMALL, "--draft")
    subjects = " ".join(prompts_of(done.folders[0]))
    assert "boy" not in subjects
    assert all(group in subjects for group in ("a young man in his ", ": a man in his ", "ties with grey hair"))


@pytest.mark.parametrize(
    ("custom", "has", "has_not"),
    [
        ("engaging in driving", (", engaging in driving, ", "The light is"), ("with ",)),
        ("on a beach at night", (", on a beach at night.",), ("The light is",)),
        ("The car waits at a crossing", (". The car waits at a crossing. ", "The light is"), ()),
        ("sunset", (". Sunset. ",), ("The light is",)),
    ],
)
def test_a_custom_prompt_and_the_kit_do_not_contradict(
    tirada: Tirada, custom: str, has: tuple[str, ...], has_not: tuple[str, ...]
) -> None:
    done = tirada("brand", "--product", "car", "--custom-prompt", custom, *SMALL, "--seed", 2, "--draft")
    words = info_of(done.folders[0])["prompt"].partition("The colours")[0].replace("A photograph with a low", "")
    for part in has:
        assert part in words
    for part in has_not:
        assert part not in words.split(": ", 1)[1]


def test_sizes(tirada: Tirada) -> None:
    own = tirada("brand", "--kit", "bakery", "--product", "bread", "--min-palette", 0, "--draft")
    assert info_of(own.folders[0])["size"] == "1024x768"
    large = tirada(*CAR, "--size", "2048x2048", "--draft")
    assert large.code == 2
    assert "2048x2048 is too large for kit 'bank'" in large.err
    assert "may be 3500 pixels together, not 4096. 1744x1744 would do." in " ".join(large.err.split())
    said = tirada("brand", "--metadata", '{"width": 3000, "height": 1000}', "--draft")
    assert (said.code, "not 4000. 2624x872" in " ".join(said.err.split())) == (2, True)
    narrow = tirada("brand", "--metadata", '{"width": 64, "height": 16384}', "--draft")
    assert (narrow.code, "not 16448. 64x3432" in " ".join(narrow.err.split())) == (2, True)
    assert tirada("brand", "--size", "64x3432", "--draft", "--dry-run").code == 0
    assert tirada("brand", "--metadata", '{"width": 3000, "height": 1000}', *SMALL, "--draft").code == 0


def test_a_disk_that_is_full_at_the_very_end_says_how_to_go_on(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    """All images are there, and the files that go with them are not."""
    with monkeypatch.context() as full:

        def no_space(path: Path, text: str) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("tirada.workflows.branding.job.write_text", no_space)
        stopped = tirada(*CAR, *SMALL, "--draft")
    assert stopped.code == 1 and "No space left" in stopped.err
    assert "1 of 1 image" in stopped.err and "To go on: python main.py resume" in stopped.err
    again = tirada("resume")
    assert again.code == 0, again.err
    assert record_of(stopped.folders[0])["missing"] == []


def test_what_makes_no_sense(tirada: Tirada) -> None:
    alone = tirada(*CAR, "--tries", 2, "--draft")
    assert (alone.code, "--tries needs --min-palette" in alone.err) == (2, True)
    foreign = tirada(*CAR, "--language", "de", "--draft")
    assert (foreign.code, "--writer gpt" in foreign.err) == (2, True)
    assert tirada(*CAR, "--grade", 1.5, "--draft").code == 2
    assert tirada(*CAR, "--count", 0, "--draft").code == 2
    assert "Did you mean 'car'?" in tirada("brand", "--product", "care", "--draft").err
    assert not Path("output").exists()


def test_hex_codes_where_they_are_read(tirada: Tirada) -> None:
    done = tirada(*CAR, *SMALL, "--hex", "--draft")
    assert "light salmon (#FFA07A), pale turquoise (#AFEEEE) and royal blue (#4169E1)" in prompts_of(done.folders[0])[0]
    able = Capabilities(summary="", paid=True, seeds=True, negative=False)
    for backend, options, hexes in (
        ("flux-api", BrandOptions(), True),
        ("flux-api", BrandOptions(hex=False), False),
        ("dalle", BrandOptions(), False),
    ):
        common = Common(backend=backend, capabilities=able, data=ROOT / "data", output=Path("output"), gpt=False)
        assert plan(options, common).job["hex"] is hexes


def test_a_kits_model_is_a_default(tirada: Tirada, server: ColourServer) -> None:
    shutil.copytree(ROOT / "data", "own")
    kit = Path("own/brands/bank.toml")
    text = kit.read_text(encoding="utf-8").replace("[models]", '[models]\ndalle = "gpt-image-1-mini"')
    kit.write_text(text, encoding="utf-8")
    for more, model in (((), "gpt-image-1-mini"), (("--model", "gpt-image-2"), "gpt-image-2")):
        done = tirada(*CAR, "--dalle", "--size", "1024x1024", *more, DATA_DIR="own")
        assert done.code == 0, done.err
        assert server.requests[-1].json["model"] == model


# --- tries ------------------------------------------------------------------------------------------------------------


def test_it_is_made_again_until_it_fits(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [GREEN, f"{GREEN}/{BLUE}", SALMON]
    done = tirada(*CAR, "--dalle", *SMALL, "--min-palette", 0.5, "--tries", 3, "--json")
    assert done.code == 0, done.err
    (image,) = done.json["result"]["images"]
    assert (Path(image["file"]).name, image["palette"], image["fits"]) == ("01-try-2.png", 0.5, True)
    assert (server.billed, done.json["done"], done.json["wanted"]) == (2, 2, 2)
    folder = Path(done.json["folders"][0])
    info = info_of(folder)
    assert [(i["file"], i["step"], i["kind"]) for i in info["images"]] == [
        ("01.png", 0, "try"),
        ("01-try-2.png", 1, "result"),
    ]
    first, second = info["images"]
    assert first["facts"]["fits"] == "no, 50.0 % wanted" and second["facts"]["fits"] == "yes"
    assert second["facts"]["try"] == "2 of 3"
    assert second["facts"]["colours"] == "light salmon 0.0 %, pale turquoise 0.0 %, royal blue 50.0 %"
    opening = "The whole picture is kept in light salmon, pale turquoise and royal blue. "
    assert prompts_of(folder)[1] == opening + prompts_of(folder)[0]
    assert [request.json["prompt"] for request in server.requests if "prompt" in request.json] == prompts_of(folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.index("01-try-2.png") < page.index('"01.png"')


def test_the_best_is_kept_where_none_fits(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [GREEN, f"{GREEN}/{BLUE}", GREEN]
    done = tirada(*CAR, "--dalle", *SMALL, "--min-palette", 0.9, "--json")
    assert done.code == 0, done.err
    record = record_of(Path(done.json["folders"][0]))
    kinds = {image["file"]: image["kind"] for image in record["images"]}
    assert kinds == {"01.png": "try", "01-try-2.png": "result", "01-try-3.png": "try"}
    assert not any(image["fits"] for image in record["images"])
    assert "Too little" not in done.err, "--json says it in its own way"
    assert done.json["result"]["images"][0]["fits"] is False


def test_it_is_said_when_an_image_does_not_fit(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [BLUE, GREEN, f"{GREEN}/{BLUE}"]
    done = tirada(*CAR, "--dalle", *SMALL, "--count", 2, "--min-palette", 0.9, "--tries", 2)
    assert done.code == 0, done.err
    assert "Too little of these is in the palette, 90.0 % was wanted: 02-try-2 (50.0 %)." in done.err


def test_each_image_has_tries_of_its_own(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [BLUE, GREEN, GREEN, SALMON, "#00000000", GREEN]
    done = tirada(*CAR, "--dalle", *SMALL, "--count", 3, "--min-palette", 0.5, "--tries", 3)
    assert done.code == 0, done.err
    images = info_of(done.folders[0])["images"]
    assert [(i["file"], i["kind"]) for i in images] == [
        ("01.png", "result"),
        ("02.png", "try"),
        ("03.png", "result"),
        ("02-try-2.png", "result"),
        ("03-try-2.png", "try"),
        ("03-try-3.png", "try"),
    ]
    assert images[4]["facts"]["palette"] == "no opaque pixel"
    assert len({i["seed"] for i in images if i["seed"] is not None}) in (0, 6)


def test_a_refused_try_ends_the_tries_and_the_best_stays(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [GREEN]
    server.on_image = {2: Fault(status=400, code="moderation_blocked")}
    done = tirada(*CAR, "--dalle", *SMALL, "--min-palette", 0.5, "--tries", 3, "--json")
    assert (done.code, server.billed, done.json["refused"]) == (4, 1, 1)
    folder = Path(done.json["folders"][0])
    assert [(i["file"], i["kind"]) for i in info_of(folder)["images"]] == [("01.png", "result")]
    assert record_of(folder)["missing"] == []


def test_an_image_that_was_not_made_is_named(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [BLUE]
    server.on_image = {1: Fault(status=400, code="moderation_blocked")}
    done = tirada(*CAR, "--dalle", *SMALL, "--count", 2, "--json")
    assert done.code == 4
    record = record_of(Path(done.json["folders"][0]))
    assert (record["missing"], [image["file"] for image in record["images"]]) == (["01"], ["02.png"])
    assert tirada("retry", done.json["run_id"]).code == 0
    assert record_of(Path(done.json["folders"][0]))["missing"] == []


def test_the_most_there_can_be_is_what_a_dry_run_counts(tirada: Tirada, server: ColourServer) -> None:
    def dry(*more: object, **env: str) -> Any:
        found = tirada(*CAR, "--dalle", *SMALL, "--dry-run", "--json", *more, **env)
        assert found.code == 0, found.err
        return found.json

    assert dry("--count", 2)["images"] == 2
    most = dry("--count", 2, "--min-palette", 0.5, "--tries", 4, WRITER="gpt")
    assert most["images"] == 8
    assert float(most["images_usd"]) > 0 and float(most["text_usd"]) > 0
    assert not server.requests


def test_a_budget_stops_between_tries_and_a_resume_goes_on_without_the_kit(
    tirada: Tirada, server: ColourServer
) -> None:
    shutil.copytree(ROOT / "data", "own")
    server.colours = [GREEN, GREEN, BLUE]
    line = (*CAR, "--dalle", "--size", "1024x1024", "--min-palette", 0.5, "--tries", 3, "--json")
    price = float(tirada(*line, "--dry-run").json["images_usd"]) / 3
    done = tirada(*line, "--budget", f"{1.5 * price:.4f}", DATA_DIR="own")
    assert (done.code, done.json["done"], server.billed) == (5, 1, 1), done.err
    folder = Path(done.json["folders"][0])
    assert info_of(folder)["status"] == "interrupted" and not (folder / "brand.json").exists()
    Path("own/brands/bank.toml").unlink()
    again = tirada("resume", "--budget", "5", "--json", DATA_DIR="own")
    assert (again.code, again.json["done"], server.billed) == (0, 3, 3), again.err
    kinds = [(image["file"], image["kind"]) for image in record_of(folder)["images"]]
    assert kinds == [("01.png", "try"), ("01-try-2.png", "try"), ("01-try-3.png", "result")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_killed_between_tries_goes_on(tirada: Tirada, server: ColourServer) -> None:
    server.colours = [GREEN, SALMON, BLUE]
    server.hold_images = 2
    line = (*CAR, "--dalle", *SMALL, "--min-palette", 0.5, "--tries", 3, "--writer", "composer")
    child = start(*line, server=server, IMAGES_IN_FLIGHT="1")
    until(lambda: server.asked["image"] == 2, "the second try to be asked for")
    child.kill()
    server.gate.set()
    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    (folder,) = map(Path, again.json["folders"])
    # What was under way when it was killed is paid for once more; what was finished is not.
    assert server.asked["image"] == 3
    kinds = [(image["file"], image["kind"], image["palette"]) for image in record_of(folder)["images"]]
    assert kinds == [("01.png", "try", 0.0), ("01-try-2.png", "result", 1.0)]


def test_a_share_is_never_rounded_up() -> None:
    class Fit:
        share, mean, shares = 0.49999, 14.11, {SALMON: 0.49999, TURQUOISE: 0.0, BLUE: 0.0}

    facts = facts_of(Fit(), PALETTE)  # type: ignore[arg-type]
    assert (facts["palette"], facts["mean_delta_e"]) == ("49.9 %", "14.2")
    assert not Goal(least=0.5, tries=1).reached(facts)
    for least, reached in ((0.499, True), (0.4991, False), (1 / 3, True), (0.0, True)):
        assert Goal(least=least, tries=1).reached(facts) is reached


# --- the grade --------------------------------------------------------------------------------------------------------


def test_a_graded_image_is_nearer_and_its_original_is_kept(tirada: Tirada) -> None:
    plain = tirada(*CAR, "--draft", "--size", "256x256", "--seed", 3)
    graded = tirada(*CAR, "--draft", "--size", "256x256", "--seed", 3, "--grade", 0.6)
    before, after = info_of(plain.folders[0])["images"][0], info_of(graded.folders[0])["images"][0]
    facts = after["facts"]
    assert facts["original"] == "01-original.png"
    assert (facts["palette_before"], facts["mean_delta_e_before"]) == (
        before["facts"]["palette"],
        before["facts"]["mean_delta_e"],
    )
    assert float(facts["mean_delta_e"]) < float(before["facts"]["mean_delta_e"])
    pictures = [graded.folders[0] / "01-original.png", plain.folders[0] / "01.png", graded.folders[0] / "01.png"]
    original, same, shifted = (Image.open(path).convert("RGB").tobytes() for path in pictures)
    assert original == same != shifted
    assert not (plain.folders[0] / "01-original.png").exists()
    entry = record_of(graded.folders[0])["images"][0]
    assert entry["original"] == "01-original.png"
    assert entry["mean_delta_e_before"] > entry["mean_delta_e"]


def test_what_is_graded_is_what_is_judged(tirada: Tirada, server: ColourServer) -> None:
    """A muted violet is out of the palette by itself, and in it when it was graded: no second try."""
    server.colours = ["#7A5A8A", GREEN]
    done = tirada(*CAR, "--dalle", *SMALL, "--min-palette", 0.5, "--grade", 1)
    assert done.code == 0, done.err
    (image,) = info_of(done.folders[0])["images"]
    assert (image["facts"]["palette_before"], image["facts"]["palette"]) == ("0.0 %", "100.0 %")


def test_it_is_made_again_from_its_record(tirada: Tirada) -> None:
    done = tirada("brand", "--product", "people", *SMALL, "--draft", "--grade", 0.5, "--count", 2, "--seed", 5)
    again = tirada("rerun", done.folders[0])
    assert again.code == 0, again.err
    hashes = [[i["sha256"] for i in info_of(run.folders[0])["images"]] for run in (done, again)]
    assert hashes[0] == hashes[1]
    assert record_of(again.folders[0])["images"] == record_of(done.folders[0])["images"]
