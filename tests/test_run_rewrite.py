"""``--on-refusal rewrite``: what a content policy refuses gets other words once, and both are kept."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.writers.gpt import GptWriter
from tests.cli_tools import TINY, Result, Tirada, endpoint, made, prompts
from tests.flux_tools import KEY as BFL_KEY
from tests.run_tools import (
    SERIAL,
    BillingServer,
    KillAt,
    batch_folders,
    check_money,
    check_output,
    figures,
    read_csv,
    rows,
    run,
    until,
)
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer
from tests.servers.openai_api import encoded
from tests.servers.openai_chat import default_chat

OUTPUT = Path("output")
BAD = "A FORBIDDEN duel at dawn, two men in the fog of a meadow, oil on canvas"
SAFE = {
    "title": "Two Men in the Meadow Fog",
    "description": "At dawn two men in long coats meet in the fog of a meadow and shake hands without a word.",
    "metatags": ["fog", "meadow", "dawn", "two men", "handshake", "coats"],
    "prompt": "At dawn two men meet in the fog of a meadow and shake hands, oil on canvas",
}
NO_KEY = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
REFUSED = Fault(status=400, code="moderation_blocked")


def rewriting(request: Any) -> bool:
    """Is this the question for safer words?"""
    return "safer words" in request["messages"][0]["content"]


class Chat:
    """Answers the question for safer words, and writes ideas otherwise; the first of these is refused."""

    def __init__(self, answer: Any = SAFE) -> None:
        self.answer = answer
        self.rewrites: list[str] = []

    def __call__(self, request: Any) -> Any:
        if rewriting(request):
            self.rewrites.append(request["messages"][1]["content"])
            return {"concepts": [self.answer]} if isinstance(self.answer, dict) else self.answer
        concept = default_chat(request)["concepts"][0]
        return {"concepts": [{**concept, "description": f"FORBIDDEN {concept['description']}"}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        server.chat = Chat()
        for name, value in {**endpoint(server), **SERIAL}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def chat(server: BillingServer) -> Chat:
    assert isinstance(server.chat, Chat)
    return server.chat


def from_file(tirada: Tirada, images: int, *more: object, mode: str = "rewrite", **env: str) -> Result:
    """So many images of the idea that is refused."""
    path = prompts("mine.csv", BAD)
    return tirada(images, TINY, "--dalle", "--from", path, "--on-refusal", mode, "--json", *more, **env)


def asked(server: BillingServer) -> list[str]:
    """The prompts of the images that were asked for, in order."""
    return [one.json["prompt"] for one in server.requests if "/images/" in one.path]


def change(statement: str) -> None:
    """Do something to the store that Tirada would not do."""
    with contextlib.closing(sqlite3.connect(OUTPUT / "tirada.db")) as connection:
        connection.execute(statement)
        connection.commit()


def refused_calls() -> int:
    return sum(call["error_kind"] == "refused" for call in rows(OUTPUT, "calls"))


# --- the words, once for all images ---------------------------------------------------------------------------------


def test_one_rewrite_serves_all_images_of_an_idea(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    # All three are under way with the first words before any of them is refused.
    server.hold_images = 1

    def open_the_gate() -> None:
        until(lambda: server.asked["image"] == 3, "three images under way")
        server.gate.set()

    opener = threading.Thread(target=open_the_gate)
    opener.start()
    command = (3, TINY, "--dalle", "--role", "artist", "--on-refusal", "rewrite", "--json")
    result = tirada(*command, IMAGES_IN_FLIGHT="3")
    opener.join()
    assert result.code == 0, result.err
    assert figures(result, "status", "done", "refused", "concepts_written") == ("done", 3, 0, 1)
    assert len(chat.rewrites) == 1 and server.asked["text"] == 2
    assert server.asked["image"] == 6 and server.billed == 3 and refused_calls() == 3

    (info,) = check_output(OUTPUT)
    (concept,) = rows(OUTPUT, "concepts")
    assert "FORBIDDEN" in info["prompt"] and info["prompt"] == concept["prompt"]
    assert info["title"] == concept["title"] != SAFE["title"]
    assert {key: info["rewrite"][key] for key in SAFE} == SAFE
    assert "safety system" in info["rewrite"]["reason"] and info["rewrite"]["writer"] == "gpt"
    assert [image["prompt"] for image in info["images"]] == [SAFE["prompt"]] * 3
    assert [image["attempts"] for image in info["images"]] == [2, 2, 2] and info["failures"] == []
    assert [image["prompt"] for image in rows(OUTPUT, "images")] == [SAFE["prompt"]] * 3
    # The idea as it was, and the reason, are what the text model was told.
    assert "FORBIDDEN" in chat.rewrites[0] and info["title"] in chat.rewrites[0]
    assert info["rewrite"]["reason"] in chat.rewrites[0]

    assert Decimal(result.json["cost_usd"]) == server.total()
    assert Decimal(info["cost_usd"]) == server.total("image")
    check_money(OUTPUT, server)


def test_both_texts_can_be_read_in_the_folder(tirada: Tirada, server: BillingServer) -> None:
    assert from_file(tirada, 1).code == 0
    (folder,) = batch_folders(OUTPUT)
    (row,) = read_csv(folder / "batch.csv")
    assert (row["prompt"], row["title"]) == (SAFE["prompt"], SAFE["title"])
    for page in ("info.md", "index.html"):
        text = (folder / page).read_text(encoding="utf-8")
        assert BAD in text and str(SAFE["prompt"]) in text and str(SAFE["title"]) in text and "safety system" in text
    with Image.open(folder / "01.png") as picture:
        described = str(picture.info["parameters"]) + str(picture.info["XML:com.adobe.xmp"])
    assert described.startswith(str(SAFE["prompt"])) and str(SAFE["title"]) in described
    assert "FORBIDDEN" not in described


def test_images_that_are_done_keep_the_first_words(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    server.on_image = {2: REFUSED}
    path = prompts("mine.csv", "A quiet duel at dawn")
    result = tirada(3, TINY, "--dalle", "--from", path, "--on-refusal", "rewrite", "--json")
    assert result.code == 0, result.err
    old, new = "A quiet duel at dawn", SAFE["prompt"]
    assert asked(server) == [old, old, new, new] and len(chat.rewrites) == 1
    (info,) = check_output(OUTPUT)
    assert [image["prompt"] for image in info["images"]] == [None, new, new]
    (folder,) = batch_folders(OUTPUT)
    assert [row["prompt"] for row in read_csv(folder / "batch.csv")] == [old, new, new]

    # And so they are made again.
    server.requests.clear()
    again = tirada("rerun", folder, "--json")
    assert again.code == 0, again.err
    assert asked(server) == [old, new, new] and len(chat.rewrites) == 1
    second = next(one for one in check_output(OUTPUT) if one["batch_id"] != info["batch_id"])
    for key in ("prompt", "title", "rewrite"):
        assert second[key] == info[key], key
    assert [image["prompt"] for image in second["images"]] == [None, new, new]

    exported = tirada("export", "huggingface", result.json["run_id"], "--to", "set", "--json")
    assert exported.code == 0, exported.err
    lines = Path("set/train/metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [str(new) in line for line in lines] == [False, True, True][: len(lines)]


def test_other_ideas_keep_their_words(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    path = prompts("mine.csv", "A heron in the reeds", BAD, "A kettle on a stove")
    result = tirada(1, TINY, "--dalle", "--from", path, "--on-refusal", "rewrite", "--json")
    assert result.code == 0 and len(chat.rewrites) == 1
    assert asked(server) == ["A heron in the reeds", BAD, SAFE["prompt"], "A kettle on a stove"]
    assert [info["rewrite"] is not None for info in check_output(OUTPUT)].count(True) == 1


def test_a_job_that_is_refused_becomes_another_job(tirada: Tirada, server: BillingServer) -> None:
    path = prompts("mine.csv", BAD)
    with BflServer(key=BFL_KEY) as bfl:
        env = {"BFL_API_KEY": BFL_KEY, "BFL_BASE_URL": bfl.url}
        result = tirada(1, TINY, "--flux-api", "--from", path, "--on-refusal", "rewrite", "--json", **env)
    assert result.code == 0, result.err
    (info,) = check_output(OUTPUT)
    assert info["images"][0]["prompt"] == SAFE["prompt"] and info["images"][0]["attempts"] == 2
    jobs = [call["job"] for call in rows(OUTPUT, "calls") if call["kind"] == "image"]
    assert len(set(jobs)) == 2


# --- where it does not help -----------------------------------------------------------------------------------------


def test_what_is_refused_twice_is_refused_for_good(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    chat.answer = {**SAFE, "prompt": "Still FORBIDDEN, in other words"}
    result = from_file(tirada, 2)
    assert result.code == 1
    assert figures(result, "status", "done", "refused", "failed") == ("failed", 0, 2, 0)
    # The second image begins with the words there are by then.
    assert asked(server) == [BAD, chat.answer["prompt"], chat.answer["prompt"]] and len(chat.rewrites) == 1
    (info,) = check_output(OUTPUT)
    assert info["rewrite"]["prompt"] == chat.answer["prompt"]
    assert [(one["error"], one["attempts"]) for one in info["failures"]] == [("refused", 2), ("refused", 1)]
    assert Decimal(result.json["cost_usd"]) == server.total() == server.total("text")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I would rather not.", "No concept could be read"),
        ({**SAFE, "prompt": ""}, "no prompt"),
        ((400, {"error": {"message": "Not with us.", "code": "content_policy_violation"}}), "Not with us"),
        ((401, {"error": {"message": "Bad key.", "code": "invalid_api_key"}}), "key"),
    ],
    ids=["prose", "no-prompt", "refused", "setup"],
)
def test_a_rewrite_that_fails_leaves_both_reasons(
    tirada: Tirada, server: BillingServer, chat: Chat, answer: Any, said: str
) -> None:
    chat.answer = answer
    path = prompts("mine.csv", BAD, "A heron in the reeds")
    result = tirada(2, TINY, "--dalle", "--from", path, "--on-refusal", "rewrite", "--json")
    assert result.code == 4, result.err
    assert figures(result, "status", "done", "refused") == ("partial", 2, 2)
    tries = len(chat.rewrites)
    assert tries in (1, 3) and asked(server).count(BAD) == 2
    for failure in result.json["failures"]:
        assert failure["error"] == "refused"
        assert "safety system" in failure["message"] and said in failure["message"]
    assert all(info["rewrite"] is None for info in check_output(OUTPUT))
    # Nobody has changed anything: a resume finds nothing to do.
    assert "Nothing to resume" in tirada("resume").err and len(chat.rewrites) == tries


def test_a_rewrite_that_is_cut_off_is_asked_again(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    server.faults = [Fault(status=503, path="/chat/"), Fault(cut=True, path="/chat/")]
    assert from_file(tirada, 1).code == 0
    states = Counter(call["state"] for call in rows(OUTPUT, "calls") if call["kind"] == "text")
    assert states == {"failed": 1, "in_doubt": 1, "settled": 1}
    check_output(OUTPUT)


def test_a_bug_in_the_writer_costs_the_image_alone(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewrite(*_: Any) -> Any:
        raise ZeroDivisionError("the bug in rewrite")

    monkeypatch.setattr(GptWriter, "rewrite", rewrite)
    result = from_file(tirada, 1)
    assert result.code == 1 and figures(result, "refused") == (1,)
    assert "ZeroDivisionError: the bug in rewrite" in result.err


def test_skipping_asks_nobody(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    result = from_file(tirada, 2, mode="skip")
    assert result.code == 1 and figures(result, "refused", "failed") == (2, 0)
    assert asked(server) == [BAD, BAD] and server.asked["text"] == 0
    (info,) = check_output(OUTPUT)
    assert info["rewrite"] is None and [one["attempts"] for one in info["failures"]] == [1, 1]
    assert "It could not be rewritten" not in str(info["failures"])


# --- who rewrites ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry-run"])
@pytest.mark.parametrize("source", ["composer", "file"])
def test_without_a_writer_that_could_nothing_begins(tirada: Tirada, source: str, dry: tuple[str, ...]) -> None:
    path = prompts("mine.csv", BAD)
    chosen = ("--from", path) if source == "file" else ("--writer", "composer")
    result = tirada(1, TINY, "--draft", *chosen, "--on-refusal", "rewrite", *dry)
    assert result.code == 2
    assert "OPENAI_API_KEY" in result.err and "--on-refusal skip" in result.err
    assert made() == ["mine.csv"]


def test_only_prompts_are_never_refused(tirada: Tirada) -> None:
    assert tirada(1, "--only-prompts", "--writer", "composer", "--on-refusal", "rewrite").code == 0


@pytest.mark.parametrize("source", ["composer", "file"])
def test_gpt_rewrites_what_others_wrote(tirada: Tirada, server: BillingServer, chat: Chat, source: str) -> None:
    server.on_image = {1: REFUSED}
    chosen = ("--from", prompts("mine.csv", "A duel")) if source == "file" else ("--writer", "composer")
    result = tirada(1, TINY, "--dalle", *chosen, "--on-refusal", "rewrite")
    assert result.code == 0 and "put into safer words by gpt-6-luna" in result.err
    assert "is rewritten as 'Two Men in the Meadow Fog'" in result.err
    (call,) = [call for call in rows(OUTPUT, "calls") if call["kind"] == "text"]
    assert (call["backend"], call["model"], call["state"]) == ("gpt", "gpt-6-luna", "settled")
    (info,) = check_output(OUTPUT)
    assert info["writer"] == source and info["rewrite"]["writer"] == "gpt"


def test_a_model_that_does_not_exist_is_named_before_anything_is_sent(tirada: Tirada, server: BillingServer) -> None:
    env = {"OPENAI_BASE_URL": "https://api.openai.com/v1", "WRITER_MODEL": "gpt-6-lunar"}
    result = from_file(tirada, 1, **env)
    assert result.code == 2 and "gpt-6-luna" in result.err
    assert not OUTPUT.exists()


# --- money ----------------------------------------------------------------------------------------------------------


def test_a_model_without_a_price_is_refused_where_there_is_a_budget(tirada: Tirada, server: BillingServer) -> None:
    result = from_file(tirada, 1, "--budget", "1", WRITER_MODEL="somebody-elses")
    assert result.code == 3 and "'somebody-elses'" in result.err
    assert not OUTPUT.exists() and not server.requests


def test_a_rewrite_beyond_the_budget_waits_for_more(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    row = '[[text]]\nid = "dear"\nper_million = { input = "100", output = "500" }\n'
    Path("own.toml").write_text(f'{row}about = "x"\nsource = "me"\nchecked = 2026-11-20\n', encoding="utf-8")
    server.text_models.append("dear")
    env = {"WRITER_MODEL": "dear", "CATALOG_FILE": "own.toml"}
    result = from_file(tirada, 1, "--budget", "0.05", **env)
    assert result.code == 5, result.err
    assert figures(result, "status", "done", "refused") == ("stopped", 0, 0)
    assert asked(server) == [BAD] and chat.rewrites == []

    again = tirada("resume", "--budget", "1", "--json", **env)
    assert again.code == 0, again.err
    # It is known to be refused, and is not asked for with those words again.
    assert asked(server) == [BAD, SAFE["prompt"]] and len(chat.rewrites) == 1
    costs = {call["kind"]: Decimal(call["cost"]) for call in rows(OUTPUT, "calls") if call["state"] == "settled"}
    assert Decimal(again.json["cost_usd"]) == sum(costs.values()) and costs["text"] > costs["image"] > 0
    check_output(OUTPUT)


# --- kills ----------------------------------------------------------------------------------------------------------

STEPS = [
    KillAt("tirada.engine.rewriting:Rewriting.prepare", 2),
    KillAt("tirada.engine.rewriting:Rewriting._rewrite"),
    KillAt("tirada.engine.rewriting:Rewriting._keep"),
    KillAt("tirada.engine.rewriting:Rewriting._keep", after=True),
    KillAt("tirada.store.store:Store.submit_image", 2),
    KillAt("tirada.store.store:Store.submit_image", 2, after=True),
    KillAt("tirada.engine.saving:Saver._put_aside", after=True),
    KillAt("tirada.engine.saving:prepare"),
    KillAt("tirada.engine.saving:write_bytes", after=True),
]
#: Up to here the words were not kept, so they are looked for again.
NOT_KEPT = STEPS[2:3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_anywhere_and_resumed(server: BillingServer, chat: Chat, step: KillAt) -> None:
    path = prompts("mine.csv", BAD)
    command = (2, TINY, "--dalle", "--from", path, "--on-refusal", "rewrite")
    env = {**SERIAL, "SAVE_THREADS": "1"}
    assert run(*command, server=server, kill_at=step, **env).code == -signal.SIGKILL
    done = run("resume", "--json", server=server, **env)
    assert done.code == 0, done.err
    assert done.json["done"] == 2
    assert len(chat.rewrites) == (2 if step in NOT_KEPT else 1)
    assert asked(server).count(BAD) == 1
    # Only what was on its way when the process died may be asked for twice.
    doubtful = sum(call["state"] == "in_doubt" and call["kind"] == "image" for call in rows(OUTPUT, "calls"))
    assert 2 <= asked(server).count(str(SAFE["prompt"])) <= 2 + doubtful <= 3
    (info,) = check_output(OUTPUT)
    assert [image["prompt"] for image in info["images"]] == [SAFE["prompt"]] * 2
    check_money(OUTPUT, server)


def test_what_was_received_with_the_first_words_keeps_them(tirada: Tirada, server: BillingServer, chat: Chat) -> None:
    """As if killed with image 1 received and unsaved, after image 2 was refused and the idea rewritten."""
    server.on_image = {2: REFUSED}
    path = prompts("mine.csv", "A quiet duel at dawn")
    assert tirada(2, TINY, "--dalle", "--from", path, "--on-refusal", "rewrite").code == 0
    (folder,) = batch_folders(OUTPUT)
    (folder / "01.png").unlink()
    (folder / ".1.received").write_bytes(base64.b64decode(encoded(64, 64)))
    change("UPDATE images SET state = 'received', file = NULL WHERE position = 1")
    change("UPDATE concepts SET status = 'written'")
    change("UPDATE runs SET status = 'running'")
    result = tirada("resume")
    assert result.code == 0, result.err
    (info,) = check_output(OUTPUT)
    assert [image["prompt"] for image in info["images"]] == [None, SAFE["prompt"]]
    with Image.open(folder / "01.png") as picture:
        assert str(picture.info["parameters"]).startswith("A quiet duel at dawn")
    assert server.asked["image"] == 3 and len(chat.rewrites) == 1


# --- stores of an older layout --------------------------------------------------------------------------------------


def test_a_store_of_the_layout_before_is_brought_up_to_date(tirada: Tirada, server: BillingServer) -> None:
    assert from_file(tirada, 1, mode="skip").code == 1
    change("ALTER TABLE concepts DROP COLUMN rewrite")
    change("ALTER TABLE images DROP COLUMN prompt")
    change("PRAGMA user_version=1")
    assert from_file(tirada, 1).code == 0
    assert [row["rewrite"] is None for row in rows(OUTPUT, "concepts")] == [True, False]
    assert len(tirada("history", "--json").json) == 2
