"""``campaign`` from the command line: offline, with GPT, from a base image, resumed; and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.contract import Capabilities
from tests.cli_tools import TINY, Tirada, endpoint, info_of
from tests.sdapi_tools import work
from tests.servers.openai_api import OpenAIServer
from tests.servers.raw_host import RawHost, moved, reply
from tests.servers.sd_webui import SdWebui
from tirada.errors import UsageError
from tirada.sources import safe_fetch
from tirada.workflows.marketing.basis import prepare_base
from tirada.workflows.workflow import Common

WISH = "Professional product photo of a smartphone"
DETAILED = (
    "A ceramic coffee mug on a weathered oak table beside a rain-streaked window, soft grey morning light from the "
    "left, shallow depth of field, muted earthy palette"
)
SMALL = ("--size", TINY, "--seed", "7")


def campaign_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "campaign.json").read_text(encoding="utf-8"))
    return loaded


def striped(path: str, size: tuple[int, int] = (96, 72)) -> str:
    """A picture without a background: no colour has its border for itself."""
    rows = np.arange(size[1])[:, None, None] * np.array([3, 5, 7])[None, None]
    Image.fromarray(np.broadcast_to(rows % 256, (size[1], size[0], 3)).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> Iterator[SdWebui]:
    with SdWebui() as server:
        monkeypatch.setenv("STABLE_DIFFUSION_URL", server.url)
        yield server


# --- offline --------------------------------------------------------------------------------------------------------


def test_a_sparse_prompt_is_written_out(tirada: Tirada) -> None:
    done = tirada("campaign", WISH, "--industry", "technology", "--style", "professional", *SMALL, "--cta", "Shop now")
    assert done.code == 0, done.err
    (folder,) = done.folders
    told, info = campaign_of(folder), info_of(folder)
    assert [one["file"] for one in told["variants"]] == [f"variant-{number}.png" for number in (1, 2, 3, 4)]
    assert [one["file"] for one in info["images"]] == [one["file"] for one in told["variants"]]
    prompts = [one["prompt"] for one in told["variants"]]
    assert len(set(prompts)) == 4 and all(prompt.startswith(f"{WISH} ") for prompt in prompts)
    assert len({one["facts"]["setting"] for one in told["variants"]}) == 4
    assert "Shop now" not in "".join(prompts) and "room for copy" in prompts[0]
    assert told["enrichment"]["used"] and "sparse (3 content words" in told["enrichment"]["why"]
    assert told["brief"] | {"negative": ""} == {
        "prompt": WISH,
        "industry": "technology",
        "style": "professional",
        "format": "square",
        "size": TINY,
        "brand": "",
        "tone": "",
        "goal": "",
        "cta": "Shop now",
        "negative": "",
    }
    assert "gibberish on screens" in told["brief"]["negative"]
    assert told["copy"] == {"lettered": False, "area": "the upper quarter of the picture"}
    assert (
        info["title"] == WISH
        and info["writer"] == "composer"
        and {"smartphone", "technology", "professional"} <= set(info["metatags"])
    )
    assert info["brief"]["cta"] == "Shop now"


def test_the_answer_as_json(tirada: Tirada) -> None:
    done = tirada("campaign", WISH, *SMALL, "--variants", "2", "--json")
    assert done.code == 0, done.err
    result = done.json["result"]
    assert result["images"] == [f"{done.json['folders'][0]}/variant-{number}.png" for number in (1, 2)]
    assert result["generated_image_path"] == result["images"][0]
    assert re.fullmatch(r"\d+\.\ds", result["generation_time"])
    assert all(Path(path).is_file() for path in result["images"])


def test_a_detailed_prompt_is_left_alone(tirada: Tirada, openai: OpenAIServer) -> None:
    done = tirada("campaign", DETAILED, "--industry", "food", *SMALL, "--variants", "2")
    assert done.code == 0, done.err
    told = campaign_of(done.folders[0])
    assert {one["prompt"] for one in told["variants"]} == {DETAILED}
    assert not told["enrichment"]["used"] and "detailed" in told["enrichment"]["why"]
    assert told["brief"]["style"] == "" and "insects" in told["brief"]["negative"]
    assert openai.chats == 0


@pytest.mark.parametrize(("enrich", "prompt", "kept"), [("never", WISH, True), ("always", DETAILED, False)])
def test_the_rule_can_be_overruled(tirada: Tirada, enrich: str, prompt: str, kept: bool) -> None:
    told = campaign_of(tirada("campaign", prompt, *SMALL, "--enrich", enrich).folders[0])
    assert ({one["prompt"] for one in told["variants"]} == {prompt}) == kept
    assert f"--enrich {enrich}" in told["enrichment"]["why"]


@pytest.mark.parametrize(
    ("options", "size"),
    [((), "1024x1024"), (("--format", "landscape"), "1792x1008"), (("--format", "story", "--size", "80x64"), "80x64")],
)
def test_shapes(tirada: Tirada, options: tuple[str, ...], size: str) -> None:
    told = campaign_of(tirada("campaign", WISH, *options, "--variants", "1").folders[0])
    assert told["brief"]["size"] == size


def test_lettering_is_asked_for_and_warned_about(tirada: Tirada) -> None:
    done = tirada("campaign", WISH, *SMALL, "--cta", "Shop now", "--brand", "Lumo", "--lettering", "--variants", "1")
    told = campaign_of(done.folders[0])
    assert 'the words "Shop now" lettered' in told["variants"][0]["prompt"]
    assert 'the name "Lumo" lettered' in told["variants"][0]["prompt"]
    assert told["copy"]["lettered"] and "lettering" not in told["brief"]["negative"].split(", ")
    assert "read the lettering" in done.err and "read the lettering" in told["notes"][0]


def test_the_same_seed_makes_the_same_campaign(tirada: Tirada) -> None:
    one, two = (tirada("campaign", WISH, *SMALL, "--output", name).folders[0] for name in ("a", "b"))
    assert [image["sha256"] for image in info_of(one)["images"]] == [
        image["sha256"] for image in info_of(two)["images"]
    ]
    assert campaign_of(one) == campaign_of(two)


# --- GPT ------------------------------------------------------------------------------------------------------------

PLACES = ["a granite ledge above the sea", "a cedar drawer in a quiet archive", "a tram seat at night", "a snowy porch"]
LIGHTS = ["first frost light", "one reading lamp", "passing neon signs", "a low pink sun"]


def scenes(count: int, subject: str = "slim black smartphone") -> dict[str, Any]:
    """An answer as it should be."""
    found = []
    for place, light, number in zip(PLACES[:count], LIGHTS, range(count), strict=False):
        prompt = (
            f"A {subject} resting on {place}, lit by {light}, with {number} pebbles, at angle {number}, in calm hues."
        )
        rest = {"props": "pebbles", "light": light, "view": "low", "palette": "calm"}
        found.append({"title": f"Número {number + 1}", "setting": place, "prompt": prompt, **rest})
    return {"subject": subject, "scenes": found}


def test_gpt_writes_all_scenes_in_one_answer(tirada: Tirada, openai: OpenAIServer) -> None:
    asked: list[str] = []

    def art_director(request: Any) -> Any:
        asked.append(request["messages"][-1]["content"])
        return scenes(4)

    openai.chat = art_director
    options = ("--industry", "technology", "--tone", "Elegant", "--brand", "Lumo", "--language", "es")
    done = tirada("campaign", WISH, *SMALL, *options, "--json")
    assert done.code == 0, done.err
    told = campaign_of(Path(done.json["folders"][0]))
    assert openai.chats == 1 and float(done.json["cost_usd"]) > 0
    (question,) = asked
    for said in (WISH, "Variants: 4", "titles: es", "Technology.", "gibberish on screens", "Tone: Elegant", "Lumo"):
        assert said in question
    assert "upper quarter of the picture calm and empty" in question
    wanted = scenes(4)["scenes"]
    for one, scene in zip(told["variants"], wanted, strict=True):
        assert one["title"] == scene["title"] and one["facts"]["setting"] == scene["setting"]
        assert one["prompt"].startswith(scene["prompt"].rstrip(".")) and "Lumo" not in one["prompt"]
        assert one["prompt"].endswith("free of any added text")
    assert told["enrichment"]["by"] == info_of(Path(done.json["folders"][0]))["writer_model"]


def faulty(change: str) -> tuple[dict[str, Any], str]:
    """An answer with a fault, and what is to be said of it."""
    answer = scenes(4)
    if change == "too few":
        del answer["scenes"][0]
        return answer, "there are 3 scenes instead of 4"
    if change == "alike":
        answer["scenes"][2]["prompt"] = answer["scenes"][0]["prompt"].replace("calm hues", "bright hues")
        return answer, "prompts 1 and 3 are nearly the same"
    if change == "subject":
        answer["scenes"][1]["prompt"] = answer["scenes"][1]["prompt"].replace("smartphone", "telephone")
        return answer, "prompt 2 does not contain the subject"
    if change == "short":
        answer["scenes"][3]["prompt"] = "A slim black smartphone."
        return answer, "prompt 4 has 24 characters"
    if change == "title":
        answer["scenes"][0]["title"] = " "
        return answer, "title 1 must have 1 to 120 characters"
    answer["subject"] = "one two three four five six seven eight nine"
    return answer, "the subject must have one to eight words"


@pytest.mark.parametrize("change", ["too few", "alike", "subject", "short", "title", "long subject"])
def test_a_faulty_answer_is_asked_for_again(tirada: Tirada, openai: OpenAIServer, change: str) -> None:
    wrong, message = faulty(change)
    questions: list[str] = []

    def art_director(request: Any) -> Any:
        questions.append(request["messages"][-1]["content"])
        return wrong if len(questions) == 1 else scenes(4)

    openai.chat = art_director
    done = tirada("campaign", WISH, *SMALL)
    assert done.code == 0, done.err
    assert len(questions) == 2 and message in questions[1]


def test_an_answer_that_stays_wrong_ends_the_run(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = lambda _request: scenes(2)
    done = tirada("campaign", WISH, *SMALL)
    assert done.code == 1
    assert "there are 2 scenes instead of 4" in done.err + done.out


# --- a base image ---------------------------------------------------------------------------------------------------


def sent_pictures(request: dict[str, Any]) -> list[Image.Image]:
    texts = [*request.get("init_images", []), *([request["mask"]] if "mask" in request else [])]
    return [Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2] or text))) for text in texts]


def test_a_base_image_is_started_from_as_a_whole(tirada: Tirada, webui: SdWebui) -> None:
    base = striped("base.png")
    done = tirada(
        "campaign", WISH, "--sdapi", "--base-image", base, "--size", "128x192", "--variants", "1", "--style", "3d"
    )
    assert done.code == 0, done.err
    (request,) = work(webui)
    (start,) = sent_pictures(request)
    assert (request["denoising_strength"], request["cfg_scale"], start.size) == (0.6, 7.0, (416, 632))
    # Nothing of it is cut off: all of its rows are there, in the middle.
    middle = start.convert("RGB").resize((128, 192), Image.Resampling.BOX).crop((0, 48, 128, 144))
    sent = np.asarray(middle.resize((96, 72), Image.Resampling.BOX)).astype(int)
    assert np.abs(sent - np.asarray(Image.open(base)).astype(int))[4:-4].mean() < 12
    told = campaign_of(done.folders[0])
    assert told["base_image"]["used"] == "image-to-image" and told["base_image"]["size"] == "96x72"
    strong = tirada("campaign", WISH, "--sdapi", "--base-image", base, *SMALL, "--variants", "1", "--strength", "0.3")
    assert strong.code == 0 and work(webui)[-1]["denoising_strength"] == 0.3


def test_without_a_shape_the_base_image_decides(tirada: Tirada) -> None:
    done = tirada(
        "campaign", WISH, "--base-image", striped("wide.png", (320, 180)), "--variants", "1", "--dry-run", "--json"
    )
    assert done.json["size"] == "1792x1008", done.out
    assert not Path("output").exists(), "a dry run writes nothing"


def test_the_base_image_is_not_needed_again(tirada: Tirada, openai: OpenAIServer) -> None:
    base = striped("base.png")
    started = tirada("campaign", DETAILED, "--dalle", "--base-image", base, *SMALL, "--budget", "0.02", "--json")
    assert started.code == 5 and 0 < started.json["done"] < 4, started.err
    assert not (Path(started.json["folders"][0]) / "campaign.json").exists()
    Path(base).unlink()
    again = tirada("resume", "--budget", "5", "--json")
    assert (again.code, again.json["done"], openai.billed) == (0, 4, 4), again.err
    assert len(campaign_of(Path(again.json["folders"][0]))["variants"]) == 4


class Halting(OpenAIServer):
    """Lets a few images go, and keeps the next one waiting."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.left, self.reached, self.go_on = images, threading.Event(), threading.Event()

    def answer(self, method: str, path: str, headers: Any, payload: Any) -> Any:
        if path.endswith("/images/edits"):
            self.left -= 1
            if self.left < 0:
                self.reached.set()
                assert self.go_on.wait(60)
        return super().answer(method, path, headers, payload)


def test_killed_half_way_it_goes_on(start_tirada: Callable[..., subprocess.Popen[str]], tirada: Tirada) -> None:
    base = striped("base.png")
    with Halting(2) as server:
        settings = {**endpoint(server), "IMAGES_IN_FLIGHT": "1"}
        options = ("--dalle", "--writer", "composer", "--base-image", base, *SMALL, "--yes")
        process = start_tirada("campaign", WISH, *options, **settings)
        assert server.reached.wait(60)
        process.kill()
        process.wait()
        Path(base).unlink()
        server.go_on.set()
        again = tirada("resume", "--json", **settings)
        assert again.code == 0, again.err
    told = campaign_of(Path(again.json["folders"][0]))
    assert [one["state"] for one in told["variants"]] == ["done"] * 4
    assert len({one["prompt"] for one in told["variants"]}) == 4


def test_a_url_is_fetched_once_and_kept(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawHost() as host:
        host.answers["/first"] = moved("/base.png")
        host.answers["/base.png"] = reply(Path(striped("base.png")).read_bytes())
        ours = safe_fetch.Fetcher(ports=frozenset({host.port}), public=lambda address: address.is_loopback)
        monkeypatch.setattr(safe_fetch, "fetch_picture", ours.fetch)
        done = tirada("campaign", WISH, "--base-image", host.url("/first"), *SMALL, "--variants", "1")
        assert done.code == 0, done.err
        assert len(host.requests) == 2
    (folder,) = done.folders
    kept = Path("output/.tirada/inputs") / campaign_of(folder)["base_image"]["file"]
    assert kept.read_bytes() == Path("base.png").read_bytes()
    again = tirada("rerun", str(folder))
    assert again.code == 0, again.err
    assert [i["sha256"] for i in info_of(again.folders[0])["images"]] == [
        i["sha256"] for i in info_of(folder)["images"]
    ]


def test_capabilities_decide_what_a_base_image_becomes() -> None:
    def common(**able: Any) -> Common:
        told = {"summary": "x", "paid": False, "seeds": True, "negative": True, **able}
        return Common(
            backend="x",
            capabilities=Capabilities(**told),
            data=Path("data"),
            output=Path("output"),
            gpt=False,
            size=(64, 64),
        )

    base = striped("base.png")
    with pytest.raises(UsageError, match="Backend 'x' starts from no image"):
        prepare_base(base, None, keep=False, shape=None, common=common())
    found = prepare_base(base, None, keep=False, shape=None, common=common(references=2))
    assert found is not None and found.facts["used"] == "as a reference"
    (reference,) = found.request["references"]
    assert Path(reference).read_bytes() == Path(base).read_bytes()


# --- what goes along, and what is refused -----------------------------------------------------------------------------


def test_an_industry_of_ones_own_brings_its_lora(tirada: Tirada, webui: SdWebui) -> None:
    lists = "".join(
        f'{key} = ["on a", "on b", "on c"]\n' for key in ("settings", "lights", "props", "views", "palettes")
    )
    table = '[lora]\nsource = "add_detail"\nweight = 0.7\ntrigger = "hse style"\n'
    Path("own.toml").write_text(f'title = "Own"\nabout = "Mine."\n{lists}do = ["x"]\ndont = ["y"]\n{table}')
    done = tirada("campaign", WISH, "--sdapi", "--industry", "own.toml", *SMALL, "--variants", "1")
    assert done.code == 0, done.err
    (request,) = work(webui)
    assert "<lora:add_detail:0.7>" in request["prompt"] and request["prompt"].startswith("hse style, Professional")
    assert "y" in request["negative_prompt"].split(", ") and request["cfg_scale"] == 6.5
    drafted = tirada("campaign", WISH, "--draft", "--industry", "own.toml", *SMALL, "--variants", "1")
    assert drafted.code == 0 and "The LoRA of Own is left out" in drafted.err
    assert campaign_of(drafted.folders[0])["variants"][0]["prompt"].startswith("Professional")
    kept = tirada("campaign", DETAILED, "--sdapi", "--industry", "own.toml", *SMALL, "--variants", "1")
    assert campaign_of(kept.folders[0])["variants"][0]["prompt"] == f"hse style, {DETAILED}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "The prompt is empty"),
        (["!?"], "The prompt is empty"),
        ([WISH, "--industry", "retial"], "did you mean 'retail'?"),
        ([WISH, "--style", "watercolour"], "did you mean 'watercolor'?"),
        ([WISH, "--format", "round"], "round"),
        ([WISH, "--variants", "0"], "variants"),
        ([WISH, "--variants", "61"], "variants"),
        ([WISH, "--keep-product"], "--keep-product needs a picture"),
        ([WISH, "--mask", "mask.png"], "--mask needs a picture"),
        ([WISH, "--strength", "0.5"], "--strength needs a picture"),
        ([WISH, "--lettering"], "--lettering needs words"),
        ([WISH, "--base-image", "base.png", "--mask", "mask.png"], "give both, or neither"),
        ([WISH, "--base-image", "nothing.png"], "There is no file 'nothing.png'"),
        ([WISH, "--base-image", "."], "cannot be read"),
        ([WISH, "--base-image", "page.html"], "is a web page"),
        ([WISH, "--base-image", "half.png"], "is broken"),
        ([WISH, "--base-image", "file:///etc/passwd"], "only http and https"),
        ([WISH, "--base-image", "http://127.0.0.1/a.png"], "no public address"),
        ([WISH, "--base-image", "http://[::1]:8080/a.png"], "no public address"),
        ([WISH, "--base-image", "http://0x7f.1/a.png"], "is no host"),
        ([WISH, "--base-image", "base.png", "--keep-product", "--file-format", "jpeg"], "use --file-format png"),
        ([WISH, "--base-image", "base.png", "--keep-product", "--file-format", "webp"], "use --file-format png"),
    ],
)
def test_what_makes_no_sense(tirada: Tirada, arguments: list[str], message: str) -> None:
    data = Path(striped("base.png")).read_bytes()
    Path("half.png").write_bytes(data[: len(data) // 2])
    Path("page.html").write_text("<!doctype html><p>Hello</p>")
    refused = tirada("campaign", *arguments, "--draft")
    assert refused.code == 2
    assert message in " ".join(refused.err.split()), refused.err
    assert not list(Path().glob("output/2*"))
