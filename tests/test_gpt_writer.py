"""The GPT writer against a real server through the real SDK: what is sent, what is taken, what is asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.contract import Concept, Role
from models.errors import BadAnswer, Refused
from models.writers import prompting
from models.writers.checks import ForbiddenNames
from models.writers.endpoint import MOST_OUTPUT
from tests.gpt_bench import GOOD, ROLE, SEVEN, SPANISH, Bench, briefs, concepts, ending, faulty, good
from tests.servers.openai_api import Fault


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_one_call_for_a_batch_with_rules_examples_and_briefs(bench: Bench) -> None:
    bench.answers(concepts(*GOOD[:5]))
    written = good(bench.writer().write(briefs(5, theme="  old\nlighthouses ")))
    [request] = bench.sent
    talk = request["messages"]
    assert [message["role"] for message in talk] == ["system", *["user", "assistant"] * 3, "user"]
    assert talk[0]["content"].startswith(ROLE.description)
    assert all(word in talk[0]["content"] for word in ("120", "400", "living artists", "brands", "English", "JSON"))
    for turn in talk[2:-1:2]:
        [shown] = json.loads(turn["content"])["concepts"]
        assert list(shown) == ["title", "description", "metatags"] and shown["title"].startswith("Example ")
    asked = talk[-1]["content"]
    assert "5 concepts" in asked and "Theme of every picture: old lighthouses" in asked
    assert "\n3. scene: a fox number 2; style: ink drawing; light: low dusk light; tags: fox, ink" in asked
    assert [concept.title for concept in written] == [row["title"] for row in GOOD[:5]]


def test_the_schema_is_strict_and_nothing_odd_is_sent(bench: Bench) -> None:
    bench.writer().write(briefs(2))
    [request] = bench.sent
    assert set(request) == {"model", "messages", "response_format", "reasoning_effort", "max_completion_tokens"}
    assert request["model"] == "gpt-6-luna" and request["reasoning_effort"] == "none"
    assert request["max_completion_tokens"] == 2 * MOST_OUTPUT
    spec = request["response_format"]["json_schema"]
    assert spec["strict"] is True
    assert "Items" not in json.dumps(spec), "strict mode does not know minItems everywhere"


def test_the_concept_is_composed_by_the_role(bench: Bench) -> None:
    row = {
        "title": '"A Fox"',
        "description": GOOD[0]["description"] + "\n ",
        "metatags": "#Fox, Ink, fox, dusk, snow, ice",
    }
    bench.answers(concepts(row))
    [concept] = good(bench.writer().write(briefs(1)))
    assert concept == Concept(
        title="A Fox",
        description=GOOD[0]["description"],
        metatags=("fox", "ink", "dusk", "snow", "ice"),
        prompt=f"{GOOD[0]['description']} ink drawing, lit by low dusk light, fox, ink, dusk, snow, ice",
        negative="blurry",
        role="walker",
        writer="gpt",
        model="gpt-6-luna",
    )


def test_examples_vary_with_the_seed_and_are_the_same_for_one() -> None:
    shown = {seed: prompting.opening(briefs(1)[0], seed) for seed in range(40)}
    assert shown[3] == prompting.opening(briefs(1)[0], 3)
    seen = {turn["content"] for talk in shown.values() for turn in talk if turn["role"] == "assistant"}
    assert len(seen) == len(ROLE.examples)


def test_a_role_without_examples_is_asked_all_the_same(bench: Bench) -> None:
    bare = Role(**{name: getattr(ROLE, name) for name in ROLE.__slots__} | {"examples": ()})
    good(bench.writer().write(briefs(1, role=bare)))
    assert [message["role"] for message in bench.sent[0]["messages"]] == ["system", "user"]


def test_another_language_is_named_in_full(bench: Bench) -> None:
    bench.answers(concepts(SPANISH))
    good(bench.writer().write(briefs(1, language="es")))
    talk = bench.sent[0]["messages"]
    assert "metatags: Spanish." in talk[0]["content"]
    assert "in Spanish, although" in talk[-1]["content"]


def test_different_themes_are_told_brief_by_brief(bench: Bench) -> None:
    bench.writer().write([*briefs(1, theme="owls"), *briefs(1, theme="kites")])
    asked = bench.sent[0]["messages"][-1]["content"]
    assert "\n1. theme: owls; scene" in asked and "\n2. theme: kites; scene" in asked


def test_calls_hold_at_most_a_batch_of_one_role(bench: Bench) -> None:
    other = Role(
        **{name: getattr(ROLE, name) for name in ROLE.__slots__} | {"name": "painter", "description": "You paint."}
    )
    mixed = [brief for pair in zip(briefs(4), briefs(4, role=other), strict=True) for brief in pair]
    written = good(bench.writer(batch=3).write(mixed))
    counts = [request["messages"][-1]["content"].count("scene:") for request in bench.sent]
    assert counts == [3, 1, 3, 1]
    assert [concept.role for concept in written] == ["walker", "painter"] * 4


# --- asking again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (faulty(title="T" * 140), "The title has 140 characters; at most 120 are allowed."),
        (faulty(title=""), "The title is empty."),
        (faulty(description="Too short."), "at least 40 are needed"),
        (faulty(metatags=["one", "two", "#ONE"]), "There are 2 metatags; at least 5 are needed."),
        (faulty(title="Self-Portrait of Zorgo the Painter"), "The name 'Zorgo' is not allowed"),
        (faulty(title="Taken Already"), "This is too close to 'Taken Already'; write a different one."),
        (SPANISH, "This is not in English; write title, description and metatags in English."),
        (None, "There was no concept for this brief."),
    ],
)
def test_only_what_is_faulty_is_asked_again_with_its_fault(bench: Bench, bad: Any, fault: str) -> None:
    bench.novelty.taken.add("Taken Already")
    first = [GOOD[0], bad] if bad is None else [GOOD[0], bad, GOOD[2]]
    bench.answers(concepts(*(row for row in first if row)), concepts(GOOD[5]))
    count = len(first)
    written = good(bench.writer(forbidden=ForbiddenNames(["Zorgo"])).write(briefs(count)))
    assert (written[0].title, written[1].title) == (GOOD[0]["title"], GOOD[5]["title"])
    one, two = (request["messages"] for request in bench.sent)
    assert two[:7] == one[:7], "the beginning stays, for the cache"
    asked = [message["content"] for message in two[7:] if message["role"] == "user"]
    assert "1. scene: a fox number 1;" in asked[0] and "fox number 0" not in asked[0]
    assert fault in asked[-1] and "exactly 1 concept for" in asked[-1]
    if bad is None:
        assert two[-1]["role"] == "user" and len(two) == 8
    else:
        [shown] = json.loads(two[-2]["content"])["concepts"]
        assert shown["title"] == bad["title"] and len(two) == 10


def test_an_answer_in_the_language_asked_for_is_not_called_wrong(bench: Bench) -> None:
    bench.answers(concepts(SPANISH))
    good(bench.writer().write(briefs(1, language="es")))
    bench.answers(concepts(GOOD[3]), concepts({**SPANISH, "title": "Otro zorro"}))
    good(bench.writer().write(briefs(1, language="es")))
    assert (
        "This is not in Spanish; write title, description and metatags in Spanish."
        in bench.sent[2]["messages"][-1]["content"]
    )


def test_three_tries_then_the_last_fault(bench: Bench) -> None:
    bench.answers(*[concepts(faulty(title="x" * length)) for length in (130, 140, 150, 160)])
    [error] = bench.writer().write(briefs(1))
    assert isinstance(error, BadAnswer) and "3 tries" in str(error) and "150 characters" in str(error)
    assert len(bench.sent) == 3
    assert bench.novelty.taken == set()


def test_two_alike_in_one_answer_are_told_apart(bench: Bench) -> None:
    bench.answers(concepts(GOOD[0], GOOD[0], GOOD[1]))
    written = good(bench.writer().write(briefs(3)))
    assert len({concept.title for concept in written}) == 3 and len(bench.sent) == 2


@pytest.mark.parametrize("text", ["I would rather not say.", '{"concepts": [{"title": "Half a', "", "null", '"text"'])
def test_what_cannot_be_read_is_asked_again(bench: Bench, text: str) -> None:
    bench.answers(ending("stop", text or None), concepts(GOOD[0]))
    good(bench.writer().write(briefs(1)))
    last = bench.sent[1]["messages"]
    assert "No concept could be read" in last[-1]["content"]
    assert [message["role"] for message in last[1:]] == ["user", "assistant"] * ((len(last) - 1) // 2) + ["user"]
    bench.answers(*[text or "?"] * 3)
    [error] = bench.writer().write(briefs(1))
    assert isinstance(error, BadAnswer) and "No concept could be read" in str(error)


def test_more_concepts_than_asked_are_left_aside(bench: Bench) -> None:
    bench.answers(SEVEN)
    assert len(good(bench.writer().write(briefs(2)))) == 2
    assert len(bench.novelty.taken) == 2


# --- refusals and cut answers ---------------------------------------------------------------------------------------


def test_a_refusal_is_not_asked_again(bench: Bench) -> None:
    bench.answers(ending("stop", None, "I cannot help with that."))
    results = bench.writer().write(briefs(2))
    assert [type(result) for result in results] == [Refused, Refused]
    assert "I cannot help with that." in str(results[0]) and len(bench.sent) == 1
    [call] = bench.meter.calls
    assert isinstance(call["error"], Refused) and call["cost"] > 0


def test_the_content_filter_spares_what_was_finished(bench: Bench) -> None:
    cut = json.dumps(concepts(GOOD[0], GOOD[1]))[:-60]
    bench.answers(ending("content_filter", cut))
    first, second = bench.writer().write(briefs(2))
    assert isinstance(first, Concept) and isinstance(second, Refused)


def test_a_policy_error_refuses_the_call(bench: Bench) -> None:
    bench.server.faults = [Fault(status=400, code="content_policy_violation")]
    results = bench.writer().write(briefs(2))
    assert [type(result) for result in results] == [Refused, Refused] and len(bench.sent) == 1


def test_a_cut_answer_is_asked_again_in_halves_with_more_room(bench: Bench) -> None:
    cut = json.dumps(concepts(*GOOD[:5]))
    bench.answers(ending("length", cut[: cut.index(GOOD[1]["title"]) + 5]))
    written = good(bench.writer().write(briefs(5)))
    assert written[0].title == GOOD[0]["title"] and len({concept.title for concept in written}) == 5
    asked = [request["messages"][-1]["content"] for request in bench.sent]
    assert [text.count("scene:") for text in asked] == [5, 2, 2]
    assert "cannot be used" not in "".join(asked[1:])
    assert [request["max_completion_tokens"] for request in bench.sent[1:]] == [2 * 2 * MOST_OUTPUT] * 2


def test_an_answer_that_is_always_cut_ends(bench: Bench) -> None:
    bench.answers(*[ending("length", '{"concepts": [{"ti')] * 50)
    results = bench.writer().write(briefs(4))
    assert [type(result) for result in results] == [BadAnswer] * 4 and "cut off 3 times" in str(results[0])
    assert len(bench.sent) == 1 + 2 + 4


# --- together -------------------------------------------------------------------------------------------------------


def test_many_threads_at_once(bench: Bench) -> None:
    bench.server.delay = 0.02
    writer = bench.writer()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: writer.write(briefs(5, seed=n * 10)), range(8)))
    titles = {concept.title for written in results for concept in good(written)}
    assert len(titles) == 40 and len(bench.meter.calls) == 8 and bench.server.peak > 1


def test_the_writer_can_be_closed_twice(bench: Bench) -> None:
    writer = bench.writer()
    writer.close()
    writer.write(briefs(1))
    writer.close()
    writer.close()


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    heavy = ("openai", "rapidfuzz", "py3langid", "numpy")
    code = f"import sys, models.writers.gpt; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
