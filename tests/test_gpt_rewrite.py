"""The GPT writer puts a refused idea into safer words: what it asks, what it takes, what it asks again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models.contract import Concept
from models.errors import BadAnswer, BudgetReached, ModelError, Refused
from models.writers import language
from models.writers.checks import ForbiddenNames
from models.writers.prompting import PROMPT_MAX, prompt_max
from tests.gpt_bench import GOOD, SPANISH, Bench, concepts, ending
from tests.servers.openai_api import Fault
from tirada.engine.novelty import NoveltyIndex

OLD = Concept(
    title="The Duel at Dawn",
    description="Two men aim at each other in the fog of a meadow while their seconds look away.",
    metatags=("duel", "fog", "meadow", "dawn", "pistols"),
    prompt="Two men aim at each other in the fog of a meadow. Oil painting, low copper light",
    negative="blurry",
    role="artist",
    writer="composer",
    model="composer",
)
SAFE = {
    "title": "Two Men in the Meadow Fog",
    "description": "Two men in long coats meet in the fog of a meadow and shake hands while friends look away.",
    "metatags": ["fog", "meadow", "dawn", "handshake", "coats"],
    "prompt": "Two men in long coats meet in the fog of a meadow. Oil painting, low copper light",
}
REASON = "OpenAI Images: rejected by\nthe safety system"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def good(result: Concept | ModelError) -> Concept:
    assert isinstance(result, Concept), result
    return result


def test_the_talk_and_the_concept_that_comes_of_it(bench: Bench) -> None:
    bench.answers(concepts(SAFE))
    new = good(bench.writer().rewrite(OLD, REASON))
    (request,) = bench.sent
    rules, asked = (message["content"] for message in request["messages"])
    assert "safer words" in rules and "Keep subject, place, light" in rules and str(PROMPT_MAX) in rules
    shown = json.loads(asked.partition("\n")[0])["concepts"][0]
    assert shown == {
        "title": OLD.title,
        "description": OLD.description,
        "metatags": [*OLD.metatags],
        "prompt": OLD.prompt,
    }
    assert "The service said: OpenAI Images: rejected by the safety system\n" in asked
    schema = request["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["concepts"]["items"]["required"] == [*SAFE]
    assert new == replace(
        OLD,
        title=SAFE["title"],
        description=SAFE["description"],
        metatags=tuple(SAFE["metatags"]),
        prompt=SAFE["prompt"],
        writer="gpt",
        model="gpt-6-luna",
    )
    (call,) = bench.meter.calls
    assert call["cost"] and call["error"] is None and call["usage"]["output"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no JSON here", "No concept could be read"),
        ({**SAFE, "title": ""}, "The title is empty"),
        ({**SAFE, "metatags": ["fog"]}, "at least 5"),
        ({**SAFE, "prompt": " "}, "There is no prompt"),
        ({**SAFE, "prompt": OLD.prompt.upper()}, "says the same as before"),
        ({**SAFE, "prompt": "x " * PROMPT_MAX}, f"at most {PROMPT_MAX}"),
        ({**SAFE, "prompt": "In the manner of Bob Ross"}, "'Bob Ross'"),
        ({**SAFE, "description": SAFE["description"] + " By Bob Ross."}, "'Bob Ross'"),
        ({**SPANISH, "prompt": SAFE["prompt"]}, "This is not in English"),
    ],
)
def test_what_cannot_be_used_is_asked_again_with_the_fault_named(bench: Bench, answer: Any, said: str) -> None:
    bench.answers(concepts(answer) if isinstance(answer, dict) else answer, concepts(SAFE))
    writer = bench.writer(forbidden=ForbiddenNames(["Bob Ross"]))
    assert good(writer.rewrite(OLD, REASON)).prompt == SAFE["prompt"]
    first, second = bench.sent
    assert second["messages"][:2] == first["messages"]
    quoted, again = (message["content"] for message in second["messages"][2:])
    assert said in again and "exactly 1 concept" in again
    assert not isinstance(answer, dict) or answer["prompt"].strip()[:20] in quoted


def test_three_times_nothing_usable_is_an_error(bench: Bench) -> None:
    bench.answers(*[concepts({**SAFE, "prompt": ""})] * 3)
    error = bench.writer().rewrite(OLD, REASON)
    assert isinstance(error, BadAnswer) and "no safer words in 3 tries" in str(error) and "no prompt" in str(error)
    assert len(bench.sent) == 3 == len(bench.meter.calls)


def test_a_model_that_will_not_is_not_pressed(bench: Bench) -> None:
    for answer in (ending("stop", None, "I can't help with that."), ending("content_filter", "")):
        bench.answers(answer)
        error = bench.writer().rewrite(OLD, REASON)
        assert isinstance(error, Refused), error
    assert len(bench.sent) == 2


def test_an_answer_that_was_cut_off_gets_more_room(bench: Bench) -> None:
    bench.answers(ending("length", '{"concepts": [{"title": "Two'), concepts(SAFE))
    good(bench.writer().rewrite(OLD, REASON))
    first, second = bench.sent
    assert second["messages"] == first["messages"]
    assert second["max_completion_tokens"] == 2 * first["max_completion_tokens"]


def test_long_prompts_have_room(bench: Bench) -> None:
    long = replace(OLD, prompt="word " * 1600)
    assert prompt_max(long.prompt) == 12000
    bench.answers(concepts({**SAFE, "prompt": "other " * 1500}), concepts({**SAFE, "title": "Another"}))
    good(bench.writer().rewrite(long, REASON))
    good(bench.writer().rewrite(OLD, REASON))
    first, second = bench.sent
    assert first["max_completion_tokens"] > 2 * second["max_completion_tokens"]


def test_other_languages_stay_what_they_are(bench: Bench) -> None:
    old = replace(OLD, title=SPANISH["title"], description=SPANISH["description"])
    assert language.guess(f"{old.title}. {old.description}") == "es"
    bench.answers(concepts(SAFE), concepts({**SPANISH, "prompt": "Zorro sobre el hielo, acuarela"}))
    good(bench.writer().rewrite(old, REASON))
    assert "This is not in Spanish" in bench.sent[1]["messages"][-1]["content"]


def test_errors_of_the_service_come_back_as_such(bench: Bench) -> None:
    bench.server.faults = [Fault(status=400, code="content_policy_violation")]
    assert isinstance(bench.writer().rewrite(OLD, REASON), ModelError)

    class Poor:
        def reserve(self, **_: Any) -> str:
            raise BudgetReached("Nothing is left.")

    assert isinstance(bench.writer(meter=Poor()).rewrite(OLD, REASON), BudgetReached)


# --- novelty --------------------------------------------------------------------------------------------------------


def test_the_idea_it_replaces_does_not_stand_in_its_way(bench: Bench) -> None:
    """Nearly the same words as before are no repetition; nearly those of another idea are."""
    others = [(row["title"], row["description"]) for row in GOOD[:3]]
    index = NoveltyIndex(lambda: [*others, (OLD.title, OLD.description), (OLD.title, OLD.description)])
    near = {**SAFE, "title": OLD.title, "description": OLD.description.replace("aim at", "look at")}
    assert index.claim(near["title"], near["description"], near=True) == OLD.title
    bench.answers(concepts({**SAFE, "title": others[1][0], "description": others[1][1]}), concepts(near))
    new = good(bench.writer(novelty=index).rewrite(OLD, REASON))
    assert new.description == near["description"]
    assert f"too close to '{others[1][0]}'" in bench.sent[1]["messages"][-1]["content"]
    # And it has its place now.
    assert index.claim(near["title"], near["description"], near=False) == near["title"]


def test_only_the_words_may_change_and_not_what_people_read(bench: Bench) -> None:
    index = NoveltyIndex(lambda: [(OLD.title, OLD.description)])
    same = {**SAFE, "title": OLD.title, "description": OLD.description}
    bench.answers(concepts(same))
    assert good(bench.writer(novelty=index).rewrite(OLD, REASON)).prompt == SAFE["prompt"]
