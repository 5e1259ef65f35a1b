"""``--on-refusal rewrite`` for workflows: an image that a content policy refuses is asked for once in safer words."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import Result, Tirada, endpoint
from tests.run_tools import SERIAL, BillingServer, KillAt, rows, run
from tests.servers.base import Fault
from tests.servers.openai_chat import default_chat
from tests.story_tools import answer, record, tell

OUTPUT = Path("output")
REFUSED = Fault(status=400, code="moderation_blocked", path="/images/")
AVATAR = ("avatar", "--dalle", "--writer", "composer", "--size", "128x128", "--seed", "7", "--json")
REWRITE = ("--on-refusal", "rewrite")
SAFE = "a calm portrait in soft morning light, seen from the front"


class Chat:
    """Writes a book of two pages, and puts what it is told into safe words."""

    def __init__(self, safe: Any = SAFE) -> None:
        self.safe = safe
        self.questions: list[str] = []

    def __call__(self, request: Any) -> Any:
        rules, question = (str(message["content"]) for message in request["messages"][:2])
        if "safer words" in rules:
            self.questions.append(question)
            return {"prompt": self.safe} if isinstance(self.safe, str) else self.safe
        return answer(2) if "story" in rules.casefold() else default_chat(request)


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in {**endpoint(server), **SERIAL}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def chat(openai: BillingServer) -> Chat:
    chat = openai.chat = Chat()
    return chat


def asked(server: BillingServer) -> list[str]:
    """The prompts of the images that were asked for, in order."""
    prompts = [one.json["prompt"] for one in server.requests if "/images/" in one.path]
    # A form may say everything several times.
    return [prompt[0] if isinstance(prompt, list) else prompt for prompt in prompts]


def info_of(result: Result) -> Any:
    return json.loads((Path(result.json["folders"][0]) / "info.json").read_text(encoding="utf-8"))


def test_an_image_is_asked_for_again_in_safer_words(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults.append(REFUSED)
    result = tirada(*AVATAR, *REWRITE)
    assert (result.code, result.json["done"], result.json["refused"]) == (0, 2, 0), result.err
    (question,) = chat.questions
    first, again, _ = asked(openai)
    assert (first in question, again) == (True, SAFE)
    image, other = info_of(result)["images"]
    assert image["prompt"] == SAFE and other["prompt"] != SAFE
    # Both are kept: who reads the catalogue sees what was refused, and why.
    assert image["facts"]["refused prompt"] == first and "rejected" in image["facts"]["refused for"]
    assert "refused prompt" not in other["facts"]


def test_a_page_keeps_its_characters(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    # The sheet, and then page 1.
    openai.faults.append(replace(REFUSED, path="/images/edits"))
    result = tell(tirada, "--dalle", "--pages", 2, "--no-cover", "--json", *REWRITE)
    book = record(Path(result.json["folders"][0]))
    (question,) = chat.questions
    assert question.startswith("Mira in her boat, wave number 1 rising behind")
    assert book["image_description"] == [SAFE, "Mira in her boat, wave number 2 rising behind"]
    _, refused, safe, second = asked(openai)
    scene = "Mira in her boat, wave number 1 rising behind"
    assert safe == refused.replace(scene, SAFE) and scene.replace("1", "2") in second


def test_words_are_sought_once(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults += [REFUSED, REFUSED]
    result = tirada(*AVATAR, *REWRITE)
    # What starts from it cannot be made either.
    assert (result.code, result.json["refused"], result.json["failed"]) == (1, 1, 1), result.err
    assert len(chat.questions) == 1 and len(asked(openai)) == 2
    again = tirada("retry", result.json["run_id"], "--json")
    assert (again.code, again.json["done"]) == (0, 2), again.err
    assert len(chat.questions) == 1 and asked(openai)[2] == SAFE


def test_a_retry_may_want_it(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults.append(REFUSED)
    failed = tirada(*AVATAR)
    assert (failed.code, failed.json["refused"], chat.questions) == (1, 1, [])
    openai.faults.append(REFUSED)
    again = tirada("retry", failed.json["run_id"], "--json", *REWRITE)
    assert (again.code, again.json["done"], len(chat.questions)) == (0, 2, 1), again.err
    assert info_of(again)["images"][0]["prompt"] == SAFE


@pytest.mark.parametrize("useless", [{"prompt": ""}, {"prompt": "x" * 5000}, {"words": "none"}, []])
def test_words_that_cannot_be_used_leave_it_refused(
    tirada: Tirada, openai: BillingServer, chat: Chat, useless: Any
) -> None:
    chat.safe = useless
    openai.faults.append(REFUSED)
    result = tirada(*AVATAR, *REWRITE)
    assert (result.code, result.json["refused"], len(asked(openai))) == (1, 1, 1)
    assert len(chat.questions) == 3
    assert "could not be rewritten" in info_of(result)["failures"][0]["message"]


def test_the_same_words_are_no_answer(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults.append(REFUSED)

    def parrot(request: Any) -> Any:
        chat.questions.append("")
        return {"prompt": asked(openai)[0] if len(chat.questions) == 1 else SAFE}

    openai.chat = parrot
    result = tirada(*AVATAR, *REWRITE)
    assert (result.code, result.json["done"], asked(openai)[1]) == (0, 2, SAFE)
    assert len(chat.questions) == 2


def test_the_words_of_a_campaign_stay(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults.append(REFUSED)
    letters = 'the words "Buy now" lettered once, large and clean, in the upper quarter of the picture'
    safe = iter([SAFE, f"{SAFE}, {letters}"])

    def forgetful(request: Any) -> Any:
        chat.questions.append(str(request["messages"][1]["content"]))
        return {"prompt": next(safe)}

    openai.chat = forgetful
    wish = ("a plain bar of soap", "--variants", 1, "--size", "64x64", "--cta", "Buy now", "--lettering")
    result = tirada("campaign", *wish, "--dalle", "--writer", "composer", "--json", *REWRITE)
    assert (result.code, result.json["done"]) == (0, 1), result.err
    first, again = asked(openai)
    assert letters in first and again == f"{SAFE}, {letters}"
    assert all(f"Keep as it is: {letters}" in question for question in chat.questions)


def test_without_anybody_who_could_nothing_begins(tirada: Tirada) -> None:
    result = tirada("avatar", "--draft", "--size", "128x128", *REWRITE)
    assert result.code == 2 and not OUTPUT.exists()
    assert "OPENAI_API_KEY" in result.err and "--on-refusal skip" in result.err


def test_a_rerun_starts_with_the_words_that_did(tirada: Tirada, openai: BillingServer, chat: Chat) -> None:
    openai.faults.append(REFUSED)
    first = tirada(*AVATAR, *REWRITE)
    before = len(asked(openai))
    again = tirada("rerun", Path(first.json["folders"][0]) / "info.json", "--json")
    assert (again.code, again.json["done"]) == (0, 2), again.err
    assert asked(openai)[before] == SAFE and len(chat.questions) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
@pytest.mark.parametrize("after", [False, True])
def test_words_that_were_found_are_not_sought_again_after_a_kill(after: bool) -> None:
    with BillingServer() as server:
        chat = server.chat = Chat()
        server.on_image = {1: REFUSED}
        env = endpoint(server)
        # The state is written when the image is refused, when it has other words, and when it is asked for in these.
        kill = KillAt("tirada.store.store:Store.set_image", 2, after)
        killed = run(*AVATAR, *REWRITE, kill_at=kill, **env)
        assert killed.code == -signal.SIGKILL
        resumed = run("resume", "--json", **env)
        assert (resumed.code, resumed.json["done"]) == (0, 2), resumed.err
        assert len(chat.questions) == (1 if after else 2)
        assert [prompt == SAFE for prompt in asked(server)] == [False, True, False]
        paid = [call for call in rows(OUTPUT, "calls") if call["kind"] == "image" and call["state"] == "settled"]
        assert len(paid) == server.billed == 2
