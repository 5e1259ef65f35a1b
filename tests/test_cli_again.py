"""``resume`` and ``retry`` at the front door: what they say first, what they would do, and what they print."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from tests.backend_tools import SERIAL, Standin, never_pause, standin
from tests.cli_tools import TINY, Result, Tirada, endpoint, prompts
from tests.run_tools import BillingServer, KillAt, rows, run_row, start, until
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer
from tests.servers.openai_chat import default_chat
from tests.test_run_rewrite import BAD, Chat

OUTPUT = Path("output")
PRICE = Decimal("0.03")
OK = Fault()
FULL = {"MIN_FREE_MB": "999999999"}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SERIAL, "SAVE_THREADS": "1", "RETRY_TRIES": "2"}.items():
        monkeypatch.setenv(name, value)
    never_pause(monkeypatch.setattr)


@pytest.fixture
def stability(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """Three cents an image."""
    with standin(registry.find("stability"), (64, 64)) as found:
        for key, value in found.settings.items():
            monkeypatch.setenv(key, value)
        yield found


def snapshot() -> dict[str, Any]:
    """All that a dry run must leave alone."""
    files = {str(path): path.stat().st_mtime_ns for path in OUTPUT.rglob("*.[pjc]*")}
    return {"files": files, **{table: rows(OUTPUT, table) for table in ("runs", "concepts", "images", "calls")}}


def of_three(tirada: Tirada) -> Result:
    source = prompts("in.csv", "a fox", "an owl", "a hen")
    return tirada("1", TINY, "--stability", "--from", source, "--json")


# --- the expected cost ------------------------------------------------------------------------------------------------


def test_a_resume_says_what_it_is_expected_to_cost(tirada: Tirada, stability: Standin) -> None:
    stability.fail(OK, Fault(status=402))
    assert of_three(tirada).code == 5
    before = snapshot()
    dry = tirada("resume", "--dry-run", "--json").json
    assert (dry["dry_run"], dry["run"], dry["images"], dry["prompts"]) == (True, run_row(OUTPUT)["id"], 2, 0)
    assert (dry["backend"], dry["model"]) == ("stability", "stable-image-core")
    assert Decimal(dry["total_usd"]) == 2 * PRICE
    plain = tirada("resume", "--dry-run")
    assert plain.out.startswith("Dry run: nothing is sent, nothing is written.\n")
    assert "images        2\n" in plain.out
    assert snapshot() == before
    assert "Expected cost: 0.0600 USD" in tirada("resume").err


def test_the_expected_cost_holds_ideas_that_are_still_to_be_written(tirada: Tirada) -> None:
    with BillingServer() as server:
        server.chat = default_chat
        env = {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "WRITER_BATCH": "1"}
        server.faults += [Fault(path="chat"), Fault(status=402, path="chat")]
        assert tirada("2", TINY, "--dalle", "--prompts", "3", "--role", "artist", **env).code == 5
        whole = tirada("2", TINY, "--dalle", "--prompts", "3", "--dry-run", "--json", **env).json
        dry = tirada("resume", "--dry-run", "--json", **env).json
        there = len(rows(OUTPUT, "concepts"))
        done = sum(image["state"] == "done" for image in rows(OUTPUT, "images"))
        assert there == 1
        assert (dry["prompts"], dry["images"]) == (2, 6 - done)
        assert Decimal(dry["text_usd"]) == Decimal(whole["text_usd"]) * 2 / 3 > 0
        assert "Expected cost: 0." in tirada("resume", **env).err


def test_a_retry_says_what_it_is_expected_to_cost(tirada: Tirada, stability: Standin) -> None:
    stability.fail(OK, Fault(status=403))
    run_id = of_three(tirada).json["run_id"]
    before = snapshot()
    dry = tirada("retry", run_id, "--model", "sd3.5-medium", "--on-refusal", "skip", "--dry-run", "--json").json
    assert (dry["images"], dry["model"], dry["total_usd"]) == (1, "sd3.5-medium", "0.035")
    assert tirada("retry", run_id, "--draft", "--dry-run", "--json").json["backend"] == "draft"
    assert snapshot() == before
    assert len(stability.requests()) == 3
    assert "Expected cost: 0.0300 USD" in tirada("retry", run_id).err


def test_a_dry_run_names_what_is_in_doubt(tirada: Tirada, stability: Standin) -> None:
    stability.fail(OK, Fault(cut=True))
    assert of_three(tirada).json["in_doubt"] == 1
    dry = tirada("resume", "--dry-run", "--json").json
    assert (dry["images"], dry["in_doubt"], dry["in_doubt_are"]) == (1, 1, "asked for again")
    assert Decimal(dry["total_usd"]) == PRICE
    dry = tirada("resume", "--skip-in-doubt", "--dry-run", "--json").json
    assert (dry["images"], dry["in_doubt"], dry["in_doubt_are"], dry["total_usd"]) == (0, 1, "left", "0")


# --- all of them ------------------------------------------------------------------------------------------------------


def test_all_of_them_are_one_document(tirada: Tirada) -> None:
    ids = [tirada("1", TINY, "--json", **FULL).json["run_id"] for _ in range(2)]
    dry = tirada("resume", "--all", "--dry-run", "--json").json
    assert [one["run"] for one in dry["runs"]] == ids
    result = tirada("resume", "--all", "--json")
    assert result.code == 0
    assert [(one["run_id"], one["status"]) for one in result.json["runs"]] == [(one, "done") for one in ids]
    assert tirada("resume", "--all", "--json").json == {"runs": []}


def test_one_that_cannot_go_on_is_named_in_the_document(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=402))
    first = tirada("1", TINY, "--dalle", "--from", prompts("in.csv", "a fox"), "--json").json["run_id"]
    second = tirada("1", TINY, "--writer", "composer", "--json", **FULL).json["run_id"]
    result = tirada("resume", "--all", "--json", OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert result.code == 3
    one, two = result.json["runs"]
    assert one["run_id"] == first and "No OpenAI key is set" in one["error"]
    assert (two["run_id"], two["status"]) == (second, "done")


def test_a_run_that_still_goes_is_no_error(tirada: Tirada) -> None:
    with BillingServer() as server:
        server.hold_images = 1
        source = prompts("in.csv", "a fox")
        child = start("1", TINY, "--dalle", "--from", source, server=server)
        until(lambda: server.asked["image"], "an image under way")
        live = run_row(OUTPUT)["id"]
        idle = tirada("1", TINY, "--json", **FULL).json["run_id"]
        again = tirada("resume", "--all", "--json", OPENAI_API_KEY=server.key, OPENAI_BASE_URL=server.url)
        assert again.code == 0, again.err
        assert "Error" not in again.err
        going, done = again.json["runs"]
        assert going["run_id"] == live and "still going in another process" in going["note"]
        assert (done["run_id"], done["status"]) == (idle, "done")
        plain = tirada("resume", "--all", OPENAI_API_KEY=server.key, OPENAI_BASE_URL=server.url)
        assert (plain.code, plain.err) == (0, f"Run {live} is still going in another process.\n")
        assert "1 run is still going" in tirada("resume").err
        server.gate.set()
        assert child.wait().code == 0


# --- what a retry may change ------------------------------------------------------------------------------------------


def test_a_retry_may_have_refused_ideas_rewritten(tirada: Tirada) -> None:
    with BillingServer() as server:
        server.chat = Chat()
        env = {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url}
        first = tirada("1", TINY, "--dalle", "--from", prompts("in.csv", BAD), "--json", **env)
        assert first.json["refused"] == 1
        run_id = first.json["run_id"]
        assert tirada("retry", run_id, "--on-refusal", "rewrite").code == 3
        again = tirada("retry", run_id, "--on-refusal", "rewrite", "--json", **env)
        assert (again.code, again.json["done"]) == (0, 1), again.err
        assert tirada("show", run_id, "--json").json["plan"]["on_refusal"] == "rewrite"


# --- who made it ------------------------------------------------------------------------------------------------------


def test_show_names_every_backend_that_made_images(tirada: Tirada, stability: Standin) -> None:
    stability.fail(OK, Fault(status=403))
    run_id = of_three(tirada).json["run_id"]
    assert tirada("retry", run_id, "--draft").code == 0
    shown = tirada("show", run_id, "--json").json
    assert shown["made_by"] == [
        {"backend": "stability", "model": "stable-image-core", "images": 2},
        {"backend": "draft", "model": "draft", "images": 1},
    ]
    plain = tirada("show", run_id).out
    assert "stability stable-image-core: 2 images" in plain
    assert "draft: 1 image\n" in plain


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_arrived_before_a_kill_is_expected_to_cost_nothing(tirada: Tirada) -> None:
    with BillingServer() as server:
        step = KillAt("tirada.engine.saving:prepare")
        killed = start("1", TINY, "--dalle", "--from", prompts("in.csv", "a fox"), server=server, kill_at=step)
        assert killed.wait().code == -signal.SIGKILL
        dry = tirada("resume", "--dry-run", "--json", **endpoint(server)).json
        assert (dry["images"], dry["paid_already"], dry["in_doubt"], dry["total_usd"]) == (0, 1, 0, "0")
        result = tirada("resume", **endpoint(server))
        assert (result.code, server.asked["image"]) == (0, 1)
        assert "Expected cost: nothing." in result.err
