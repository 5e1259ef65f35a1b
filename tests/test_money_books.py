"""What the books say: ``costs``, ``history``, ``show``, reports and info files against the services' own bills."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.backend_tools import PAID, Standin, at, never_pause, standin
from tests.cli_tools import Tirada
from tests.run_tools import check_output, rows
from tests.servers.base import Fault

OUTPUT = Path("output")
AMOUNT = re.compile(r"\d+(\.\d{1,12})?")


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Standin]]:
    """All that cost money, at once."""
    never_pause(monkeypatch.setattr)
    with ExitStack() as stack:
        found = {row.name: stack.enter_context(standin(row, (64, 64))) for row in PAID}
        for one in found.values():
            for name, value in one.settings.items():
                monkeypatch.setenv(name, value)
        yield found


def amounts(rows: list[dict[str, Any]], key: str) -> dict[str, Decimal]:
    assert all(AMOUNT.fullmatch(row["usd"]) for row in rows), rows
    return {row[key]: Decimal(row["usd"]) for row in rows}


def test_an_info_file_counts_its_images_and_a_run_its_texts_too(services: dict[str, Standin], tirada: Tirada) -> None:
    openai = services["dalle"].server
    openai.on_image = {2: Fault(status=500)}
    report = tirada(2, "96x64", "--dalle", "--prompts", 2, "--role", "artist", "--json").json
    text, images = openai.total("text"), openai.total("image")
    assert text > 0 and images > 0
    infos = check_output(OUTPUT)
    assert sum(Decimal(info["cost_usd"]) for info in infos) == images
    shown = tirada("show", report["run_id"], "--json").json
    assert Decimal(shown["cost_usd"]) == Decimal(report["cost_usd"]) == text + images


def test_the_books_agree_with_every_bill(services: dict[str, Standin], tirada: Tirada) -> None:
    openai = services["dalle"].server
    services["flux-api"].server.faults = [at(Fault(status=429, headers={"Retry-After": "0"}), "/v1/flux")]
    services["stability"].fail(Fault(status=500))
    runs = {}
    for name, more in (("dalle", ()), ("stability", ("--writer", "composer")), ("flux-api", ("--model", "flux-2-max"))):
        result = tirada(3, "96x64", f"--{name}", "--role", "artist", "--json", *more)
        assert result.code == 0, result.err
        runs[name] = result.json
    bills = {name: one.bill() for name, one in services.items()}
    text, images = openai.total("text"), openai.total("image")
    everything = sum(bills.values())

    by_backend = amounts(tirada("costs", "--by", "backend", "--json").json["rows"], "backend")
    expected = {"gpt": text, "dalle": images, "stability": bills["stability"], "flux-api": bills["flux-api"]}
    assert by_backend == expected
    by_run = amounts(tirada("costs", "--by", "run", "--json").json["rows"], "run")
    assert by_run == {report["run_id"]: Decimal(report["cost_usd"]) for report in runs.values()}
    history = tirada("history", "--json").json
    assert by_run == {row["id"]: Decimal(row["cost_usd"]) for row in history}
    by_model = amounts(tirada("costs", "--by", "model", "--json").json["rows"], "model")
    assert by_model["flux-2-max"] == bills["flux-api"] and sum(by_model.values()) == everything
    today = datetime.now(UTC)
    assert amounts(tirada("costs", "--by", "day", "--json").json["rows"], "day") == {f"{today:%Y-%m-%d}": everything}
    assert amounts(tirada("costs", "--by", "month", "--json").json["rows"], "month") == {f"{today:%Y-%m}": everything}
    whole = tirada("costs", "--json").json
    assert sum(Decimal(row["usd"]) for row in whole["rows"]) == Decimal(whole["month_usd"]) == everything
    assert {(row["backend"], row["calls"]) for row in whole["rows"]} == {
        *(("gpt", 2), ("dalle", 3), ("stability", 4), ("flux-api", 4))
    }

    table = tirada("costs").out
    assert f"{everything:.4f} USD spent" in table
    assert all(f"{amount:.4f}" in table for amount in expected.values())
    for name, report in runs.items():
        (info,) = [info for info in check_output(OUTPUT) if info["backend"] == name]
        images_cost = sum(Decimal(image["cost_usd"]) for image in info["images"])
        assert Decimal(info["cost_usd"]) == images_cost == by_backend[name]
        assert Decimal(tirada("show", report["run_id"], "--json").json["cost_usd"]) == by_run[report["run_id"]]
        for cost in (info["cost_usd"], report["cost_usd"], *(image["cost_usd"] for image in info["images"])):
            assert AMOUNT.fullmatch(cost), cost
    kept = [call[column] for call in rows(OUTPUT, "calls") for column in ("cost", "estimate")]
    assert all(AMOUNT.fullmatch(amount) for amount in kept if amount is not None), kept
    assert all(AMOUNT.fullmatch(row["amount"]) for row in rows(OUTPUT, "accounts"))


def test_many_cents_add_up(services: dict[str, Standin], tirada: Tirada) -> None:
    """0.1 + 0.2 is 0.3 here."""
    result = tirada(
        40, "64x64", "--stability", "--model", "sd3.5-medium", "--role", "artist", "--json", "--writer=composer"
    )
    assert result.json["cost_usd"] == "1.400"
    assert tirada("costs", "--by", "run", "--json").json["rows"][0]["usd"] == "1.400"
    assert {row["amount"] for row in rows(OUTPUT, "accounts")} == {"1.400"}


def test_what_is_in_doubt_is_in_the_books(services: dict[str, Standin], tirada: Tirada) -> None:
    services["stability"].fail(Fault(cut=True))
    result = tirada(2, "64x64", "--stability", "--role", "artist", "--json", "--writer=composer", IMAGES_IN_FLIGHT="1")
    assert result.code == 4
    (row,) = tirada("costs", "--json").json["rows"]
    assert (row["calls"], row["in_doubt"], row["usd"]) == (2, 1, "0.06")
    assert tirada("costs", "--json").json["month_usd"] == "0.06" == tirada("history", "--json").json[0]["cost_usd"]
    assert services["stability"].bill() == Decimal("0.06")
    assert re.search(r"2\s+1\s+0\.0600", tirada("costs").out)
