"""Jobs of workflows: a fifth one is a file and a row; images that build on others; tries; what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from models.contract import Concept, Scribe
from models.errors import Refused
from tests.cli_tools import Tirada, info_of
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer
from tests.servers.openai_chat import default_chat
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


def _chats(server: OpenAIServer) -> list[Any]:
    return [request.json for request in server.requests if request.path.endswith("/chat/completions")]


# --- what a text model says -------------------------------------------------------------------------------------------


def test_gpt_answers_in_the_shape_it_is_asked_for(tirada: Tirada, openai: OpenAIServer) -> None:
    done = tirada("postcard", "Lisbon", "--draft", "--json")
    assert done.code == 0, done.err
    (chat,) = _chats(openai)
    assert chat["response_format"]["json_schema"]["name"] == "answer"
    assert openai.moderated == ["Lisbon"]
    assert Path(done.json["folders"][0]).name.split("-", 3)[3].startswith("a-")
    assert float(done.json["cost_usd"]) > 0


def test_a_wrong_answer_is_asked_for_again_with_the_fault_named(tirada: Tirada, openai: OpenAIServer) -> None:
    answers: Iterator[Any] = iter(["no JSON at all", {"greeting": "x"}, {"words": "Warm wishes"}])
    openai.chat = lambda request: next(answers)
    done = tirada("postcard", "Lisbon", "--json")
    assert done.code == 0, done.err
    assert "warm-wishes-from-lisbon" in done.json["folders"][0]
    asked = [chat["messages"][-1]["content"] for chat in _chats(openai)]
    assert "no JSON object" in asked[1] and "words" in asked[2]


def test_an_answer_that_stays_wrong_ends_the_run_before_any_image(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = lambda request: {"nothing": 1}
    done = tirada("postcard", "Lisbon", "--dalle", "--json")
    assert (done.code, done.json["status"], done.json["done"]) == (1, "failed", 0)
    assert "no usable answer in 3 tries" in done.json["failures"][0]["message"]
    assert openai.billed == 0
    openai.chat = default_chat
    assert tirada("retry", done.json["run_id"]).code == 0


def test_an_older_endpoint_without_schemas_is_asked_in_words(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.rules.json_schema = openai.rules.json_object = False
    openai.chat = lambda request: 'Here you are: ```json\n{"words": "Old friends"}\n```'
    done = tirada("postcard", "Lisbon", "--json")
    assert done.code == 0, done.err
    assert "old-friends" in done.json["folders"][0]


def test_what_is_flagged_is_refused(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.flags = {"lisbon": "violence"}
    done = tirada("postcard", "Lisbon", "--dalle")
    assert done.code == 1
    assert "violence" in done.err
    assert openai.billed == openai.chats == 0


def test_a_busy_text_model_is_waited_for(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=429, path="/chat/completions"))
    assert tirada("postcard", "Lisbon").code == 0


# --- what goes wrong with images --------------------------------------------------------------------------------------


def test_what_builds_on_a_missing_image_fails_and_a_retry_makes_both(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=400, code="moderation_blocked", path="/images/generations"))
    done = tirada("postcard", "Lisbon", "--dalle", "--json")
    assert (done.code, done.json["refused"], done.json["failed"]) == (1, 1, 2)
    assert "'view', which this one is made from, was not made" in done.json["failures"][1]["message"]
    assert openai.billed == 0
    again = tirada("retry", done.json["run_id"], "--json")
    assert (again.code, again.json["done"], openai.billed) == (0, 3, 3)
    assert (Path(done.json["folders"][0]) / "cards.json").exists()


def test_the_budget_stops_between_steps_and_a_resume_goes_on(tirada: Tirada, openai: OpenAIServer) -> None:
    done = tirada("postcard", "Lisbon", "--dalle", "--cards", "4", "--budget", "0.04", "--json")
    assert done.code == 5, done.err
    assert 0 < done.json["done"] < 5
    asked = openai.chats
    folder = Path(done.json["folders"][0])
    assert info_of(folder)["status"] == "interrupted" and not (folder / "cards.json").exists()
    again = tirada("resume", "--budget", "1", "--json")
    assert (again.code, again.json["done"]) == (0, 5)
    assert openai.chats == asked, "a job is composed once"
    assert openai.billed == 5
    assert len(json.loads((folder / "cards.json").read_text())) == 5


def test_a_job_is_made_again_from_its_record(tirada: Tirada, openai: OpenAIServer) -> None:
    done = tirada("postcard", "Lisbon", "--draft", "--tint", "--tries", "2")
    (folder,) = done.folders
    asked = openai.chats
    again = tirada("rerun", str(folder))
    assert again.code == 0, again.err
    (copy,) = again.folders
    before, after = info_of(folder), info_of(copy)
    assert [(i["file"], i["sha256"], i["kind"]) for i in before["images"]] == [
        (i["file"], i["sha256"], i["kind"]) for i in after["images"]
    ]
    assert (copy / "cards.json").exists() and openai.chats == asked
    assert after["workflow"] == "postcard"


def test_a_run_of_a_workflow_that_is_gone_says_so(
    tirada: Tirada, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tirada("postcard", "Lisbon", "--dalle", "--cards", "4", "--budget", "0.04", "--json")
    assert done.code == 5
    monkeypatch.setattr(registry, "WORKFLOWS", ())
    gone = tirada("resume", "--budget", "1")
    assert gone.code == 2
    assert "'postcard', which this Tirada does not have" in gone.err


def test_an_image_can_be_added_to_a_finished_job(tirada: Tirada) -> None:
    done = tirada("postcard", "Lisbon", "--draft", "--json")
    from tirada.engine.items import add_to_job
    from tirada.store.queries import find_run
    from tirada.store.store import Store

    store = Store(Path("output/tirada.db"))
    row = find_run(store, "latest")
    add_to_job(store, row, [Item(name="card-9", title="Card 9", prompt="one more", step=5)])
    store.close()
    again = tirada("resume", done.json["run_id"], "--json")
    assert (again.code, again.json["done"]) == (0, 4)
    assert "card-9" in json.loads((Path(done.json["folders"][0]) / "cards.json").read_text())


def test_exports_leave_out_what_was_made_on_the_way(tirada: Tirada) -> None:
    (folder,) = tirada("postcard", "Lisbon", "--draft").folders
    done = tirada("export", "huggingface", str(folder), "--include-drafts", "--to", "set", "--json")
    assert done.code == 0, done.err
    assert done.json["images"] == 2


def test_a_start_image_in_doubt_is_made_by_a_resume_with_all_that_builds_on_it(
    tirada: Tirada, openai: OpenAIServer
) -> None:
    openai.faults.append(Fault(cut=True, path="/images/generations"))
    done = tirada("postcard", "Lisbon", "--dalle", "--json")
    assert (done.json["in_doubt"], done.json["failed"], done.json["done"]) == (1, 2, 0)
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"], again.json["failed"]) == (0, 3, 0)


def test_a_command_of_several_lines_takes_one_in_the_history(tirada: Tirada) -> None:
    tirada("postcard", "Lisbon\nby night", "--draft")
    assert len(tirada("history").out.splitlines()) == 2
