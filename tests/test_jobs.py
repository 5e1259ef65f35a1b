"""Jobs of workflows: a fifth one is a file and a row; images that build on others; tries; what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from models.contract import Concept, Scribe
from models.errors import Refused
from tests.cli_tools import Tirada, info_of
from tests.servers.openai_api import OpenAIServer
from tirada.engine.job import Composed, Item, Job, Kind, Made
from tirada.engine.plan import Plan
from tirada.errors import UsageError
from tirada.workflows import registry
from tirada.workflows.registry import WorkflowRow
from tirada.workflows.workflow import Common, Opt, Workflow


@dataclass(frozen=True, kw_only=True)
class PostcardOptions:
    place: Annotated[str, Opt(help="Where it is sent from.", argument=True)]
    cards: Annotated[int, Opt(help="How many.", min=1, max=9)] = 2
    paper: Annotated[Literal["matt", "glossy"], Opt(help="The paper.")] = "matt"
    stamp: Annotated[list[str], Opt(help="Stamps; repeatable.")] = field(default_factory=list)
    tint: Annotated[bool, Opt(help="Tint them.", flags="--tint/--no-tint")] = False
    tries: Annotated[int, Opt(help="Tries.", min=1)] = 1


class Greeting(BaseModel):
    words: str = Field(description="Two or three words.")


class Postcards(Job):
    """A view, then cards that start from it."""

    keeps_original = True

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._job = plan.job

    def compose(self, scribe: Scribe | None) -> Composed:
        greeting = "Greetings"
        if scribe is not None:
            if found := scribe.flagged(self._job["place"]):
                raise Refused(f"The place is flagged: {', '.join(found)}.")
            greeting = scribe.answer("You greet.", self._job["place"], Greeting).words
        place = self._job["place"]
        concept = Concept(title=f"{greeting} from {place}", description="Cards.", metatags=("card",), prompt=place)
        view = Item(name="view", title="The view", prompt=f"a view of {place}", kind="step")
        cards = [
            Item(
                name=f"card-{n}",
                title=f"Card {n}",
                prompt=f"{place} on a card {n}",
                step=1,
                request=self._card_request(),
                facts={"paper": self._job["paper"]},
            )
            for n in range(1, self._job["cards"] + 1)
        ]
        return Composed(concept=concept, items=[view, *cards], brief={"greeting": greeting}, notes=("No stamps left.",))

    def _card_request(self) -> Mapping[str, Any]:
        start: Mapping[str, Any] = self._job["start"]
        return start

    def treat(self, picture: Any, item: Item) -> Any:
        return picture.point(lambda value: value // 2) if self._job["tint"] and item.step else picture

    def measure(self, picture: Any, item: Item) -> Mapping[str, str]:
        return {"brightest": str(max(high for _, high in picture.convert("RGB").getextrema()))}

    def more(self, concept: Concept, made: Sequence[Made]) -> Sequence[Item]:
        last = max(one.item.step for one in made)
        if last >= self._job["tries"]:
            return ()
        return [Item(name=f"card-1-try-{last + 1}", title="Card 1", prompt="another card", step=last + 1, kind="try")]

    def kinds(self, made: Sequence[Made]) -> Mapping[str, Kind]:
        return {one.item.name: "result" for one in made if one.item.kind == "try"}

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        done = {one.item.name: one.file.name for one in made if one.file is not None}
        (folder / "cards.json").write_text(json.dumps(done), encoding="utf-8")

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        return {"cards": sum(one.done for one in made if one.item.kind == "result")}


def plan_postcards(options: PostcardOptions, common: Common) -> Plan:
    if options.place == "nowhere":
        raise UsageError("Nowhere has no post office.")
    start = common.starting_from("@view", 0.5)
    steps: list[dict[str, Any]] = [{"images": 1}, {"images": options.cards, "request": start}]
    steps += [{"images": 1}] * (options.tries - 1)
    return common.plan(
        "postcard",
        size=(64, 64),
        steps=steps,
        job={
            "place": options.place,
            "cards": options.cards,
            "paper": options.paper,
            "tint": options.tint,
            "tries": options.tries,
            "start": start,
        },
        asks=[(200, 20)],
    )


POSTCARD = Workflow(
    options=PostcardOptions,
    plan=plan_postcards,
    job=lambda plan, data: Postcards(plan),
    examples=["python main.py postcard Lisbon"],
)
ROW = WorkflowRow(name="postcard", summary="Cards from a place.", target="tests.test_jobs:POSTCARD")


@pytest.fixture(autouse=True)
def _fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WORKFLOWS", (*registry.WORKFLOWS, ROW))


def test_a_further_workflow_is_a_file_and_a_row(tirada: Tirada) -> None:
    done = tirada("postcard", "Lisbon", "--cards", "3", "--paper", "glossy", "--draft", "--seed", "7", "--user", "Ann")
    assert done.code == 0, done.err
    (folder,) = done.folders
    info = info_of(folder)
    assert folder.name.endswith("-" + folder.name[-4:]) and "greetings-from-lisbon" in folder.name
    assert [image["file"] for image in info["images"]] == ["view.png", "card-1.png", "card-2.png", "card-3.png"]
    assert [image["kind"] for image in info["images"]] == ["step", "result", "result", "result"]
    assert info["images"][1]["facts"].keys() == {"paper", "brightest"}
    assert info["images"][1]["title"] == "Card 1"
    assert (info["workflow"], info["user"], info["status"]) == ("postcard", "Ann", "done")
    assert json.loads((folder / "cards.json").read_text()) == {
        "view": "view.png",
        **{f"card-{n}": f"card-{n}.png" for n in (1, 2, 3)},
    }
    assert "No stamps left." in done.err
    page = (folder / "index.html").read_text()
    assert page.index("Card 1") < page.index("The view")
    assert "paper: glossy" in page


def test_its_help_and_its_mistakes(tirada: Tirada) -> None:
    shown = tirada("postcard", "--help")
    assert shown.code == 0
    assert "--paper" in shown.out and "--stability" in shown.out and "python main.py postcard Lisbon" in shown.out
    assert tirada("postcard").code == 2
    assert tirada("postcard", "Lisbon", "--cards", "10").code == 2
    refused = tirada("postcard", "nowhere")
    assert (refused.code, "post office" in refused.err) == (2, True)
    assert "did you mean 'postcard'" in tirada("postcards", "Lisbon").err


def test_the_same_seed_makes_the_same(tirada: Tirada) -> None:
    one, two = (tirada("postcard", "Lisbon", "--seed", "7", "--output", name).folders[0] for name in ("a", "b"))
    assert [i["sha256"] for i in info_of(one)["images"]] == [i["sha256"] for i in info_of(two)["images"]]


def test_tries_are_images_of_later_steps(tirada: Tirada) -> None:
    done = tirada("postcard", "Lisbon", "--tries", "3", "--json")
    assert done.code == 0, done.err
    assert done.json["result"] == {"cards": 4}
    assert done.json["wanted"] == done.json["done"] == 5
    info = info_of(Path(done.json["folders"][0]))
    assert [(i["file"], i["step"], i["kind"]) for i in info["images"][3:]] == [
        ("card-1-try-2.png", 2, "result"),
        ("card-1-try-3.png", 3, "result"),
    ]
    assert len({i["seed"] for i in info["images"]}) == 5


def test_what_was_changed_is_kept_beside(tirada: Tirada) -> None:
    (folder,) = tirada("postcard", "Lisbon", "--tint").folders
    card = info_of(folder)["images"][1]
    assert card["facts"]["original"] == "card-1-original.png"
    assert (folder / "card-1-original.png").exists()
    assert int(card["facts"]["brightest"]) <= 127
    assert not (folder / "view-original.png").exists()


def test_a_dry_run_and_the_price_of_all_steps(tirada: Tirada, openai: OpenAIServer) -> None:
    dry = tirada("postcard", "Lisbon", "--cards", "3", "--dalle", "--dry-run", "--json")
    assert dry.code == 0, dry.err
    one = tirada("postcard", "Lisbon", "--cards", "1", "--dalle", "--dry-run", "--json")
    assert dry.json["images"] == 4
    assert float(dry.json["images_usd"]) > 1.5 * float(one.json["images_usd"]) > 0
    assert float(dry.json["text_usd"]) > 0
    assert not openai.requests and not Path("output").exists()
