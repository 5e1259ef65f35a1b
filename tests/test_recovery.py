"""What is left of a run and how it is taken up again: calls in doubt, many runs, failures, jobs.

Invariant: a picture that is done is never touched again, and a job that has an id is never paid for twice.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from tests.backend_tools import SERIAL, Standin, never_pause, standin
from tests.cli_tools import TINY, Result, Tirada, prompts
from tests.run_tools import KillAt, batch_folders, check_output, rows, run, run_row
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer

OUTPUT = Path("output")
KILLED = -signal.SIGKILL
OK = Fault()
PRICE = Decimal("0.03")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SERIAL, "SAVE_THREADS": "1", "RETRY_TRIES": "2"}.items():
        monkeypatch.setenv(name, value)
    never_pause(monkeypatch.setattr)


def _reached(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with standin(registry.find(name), (64, 64)) as found:
        for key, value in found.settings.items():
            monkeypatch.setenv(key, value)
        yield found


@pytest.fixture
def stability(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """Three cents an image, whatever it shows."""
    yield from _reached("stability", monkeypatch)


@pytest.fixture
def dalle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    yield from _reached("dalle", monkeypatch)


@pytest.fixture
def flux(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    yield from _reached("flux-api", monkeypatch)


def command(backend: str, *words: str, images: int = 1) -> tuple[object, ...]:
    """So many images of each of these prompts."""
    name = f"{words[0].replace(' ', '-')}.csv"
    return (images, TINY, backend, "--from", prompts(name, *words), "--json")


def done_files() -> dict[str, tuple[int, int]]:
    """Every image there is, with what would tell that it was written again."""
    found = [path for folder in batch_folders(OUTPUT) for path in folder.glob("[0-9]*.png")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def asked(service: Standin) -> list[str]:
    """The prompts that came in, in order."""
    found = [one.json["prompt"] for one in service.requests()]
    return [prompt[0] if isinstance(prompt, list) else prompt for prompt in found]


# --- in doubt -------------------------------------------------------------------------------------------------------


def doubtful_run(tirada: Tirada, stability: Standin) -> Result:
    """Three images, of which the second is in doubt."""
    stability.fail(OK, Fault(cut=True))
    result = tirada(*command("--stability", "a fox", "an owl", "a hen"))
    assert result.code == 4 and result.json["in_doubt"] == 1
    assert stability.bill() == 3 * PRICE == Decimal(result.json["cost_usd"])
    return result


def test_a_resume_shows_what_is_in_doubt_and_redoes_it(stability: Standin, tirada: Tirada) -> None:
    first = doubtful_run(tirada, stability)
    before = done_files()
    result = tirada("resume")
    assert result.code == 0
    assert "1 image is in doubt" in result.err and "may have cost 0.0300 USD" in result.err
    folder = OUTPUT / rows(OUTPUT, "concepts", "position")[1]["folder"]
    assert f"{folder.name}, image 1 (0.03 USD)" in result.err and "asked for again" in result.err
    assert asked(stability) == ["a fox", "an owl", "a hen", "an owl"]
    assert before.items() <= done_files().items()
    (row,) = tirada("history", "--json").json
    assert Decimal(row["cost_usd"]) == stability.bill() == 4 * PRICE and row["id"] == first.json["run_id"]
    assert Counter(call["state"] for call in rows(OUTPUT, "calls")) == {"settled": 3, "in_doubt": 1}
    check_output(OUTPUT)
    assert "Nothing to resume" in tirada("resume").err


def test_what_was_in_doubt_twice_may_have_cost_twice(stability: Standin, tirada: Tirada) -> None:
    doubtful_run(tirada, stability)
    stability.fail(Fault(cut=True))
    assert tirada("resume").code == 4
    result = tirada("resume")
    assert result.code == 0 and "1 image is in doubt" in result.err
    assert "may have cost 0.0600 USD" in result.err and "(0.06 USD)" in result.err
    assert stability.bill() == 5 * PRICE


def test_skip_in_doubt_leaves_them(stability: Standin, tirada: Tirada) -> None:
    doubtful_run(tirada, stability)
    for _ in range(2):
        result = tirada("resume", "--skip-in-doubt", "--json")
        assert (result.code, result.json["done"], result.json["in_doubt"]) == (4, 2, 1)
    assert "left as it was:" in tirada("resume", "--skip-in-doubt").err
    assert len(stability.requests()) == 3
    assert [info["status"] for info in check_output(OUTPUT)].count("failed") == 1
    assert tirada("resume", "--json").json["done"] == 3
    assert len(stability.requests()) == 4


def test_skip_in_doubt_finishes_all_the_rest(stability: Standin, tirada: Tirada) -> None:
    stability.fail(OK, Fault(cut=True), Fault(status=402))
    assert tirada(*command("--stability", "a fox", "an owl", "a hen", "a cat")).code == 5
    result = tirada("resume", "--skip-in-doubt", "--json")
    assert (result.code, result.json["done"], result.json["in_doubt"]) == (4, 3, 1)
    assert asked(stability) == ["a fox", "an owl", "a hen", "a hen", "a cat"]


def test_what_is_in_doubt_counts_against_the_budget(stability: Standin, tirada: Tirada) -> None:
    stability.fail(OK, Fault(cut=True))
    result = tirada(*command("--stability", "a fox", "an owl", "a hen"), "--budget", "0.1")
    assert result.code == 4 and Decimal(result.json["cost_usd"]) == Decimal("0.09")
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"]) == (5, 2) and stability.bill() == Decimal("0.09")
    more = tirada("resume", "--budget", "0.12", "--json")
    assert (more.code, more.json["done"]) == (0, 3) and stability.bill() == Decimal("0.12")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_while_the_service_works(stability: Standin, tirada: Tirada, after: bool) -> None:
    """Killed right before and right after the call, which the store cannot tell apart."""
    step = KillAt("models.backends.stability:StabilityBackend.generate", 2, after=after)
    env = {**SERIAL, **stability.settings}
    killed = run(*command("--stability", "a fox", "an owl", "a hen"), kill_at=step, **env)
    assert killed.code == KILLED and stability.bill() == (2 if after else 1) * PRICE
    limited = tirada("resume", "--budget", "0.09", "--json")
    assert (limited.code, limited.json["done"]) == (5, 2)
    # The new budget stays with the run: whoever resumes it unattended is held to it.
    assert tirada("resume").code == 5
    result = tirada("resume", "--budget", "0.2")
    assert result.code == 0 and Counter(asked(stability))["an owl"] == (2 if after else 1)
    # The books may say too much after a crash, never too little.
    assert Decimal(tirada("costs", "--json").json["month_usd"]) == 4 * PRICE >= stability.bill()
    check_output(OUTPUT)


# --- many runs ------------------------------------------------------------------------------------------------------


def test_resume_all_finishes_every_run_the_oldest_first(
    stability: Standin, dalle: Standin, flux: Standin, tirada: Tirada
) -> None:
    broke = Fault(status=402)
    for service, backend, word in (
        (stability, "--stability", "old"),
        (dalle, "--dalle", "mid"),
        (flux, "--flux-api", "new"),
    ):
        service.fail(OK, broke)
        assert tirada(*command(backend, f"{word} fox", f"{word} owl", f"{word} hen")).code == 5
    assert tirada(*command("--draft", "done fox")).code == 0
    ids = [row["id"] for row in rows(OUTPUT, "runs", "created_at")]
    before = done_files()
    result = tirada("resume", "--all", OPENAI_API_KEY="", OPENAI_BASE_URL="")
    # One that cannot go on stops neither those before it nor those after it.
    assert result.code == 3
    assert f"Run {ids[1]}: No OpenAI key is set." in result.err
    assert [line for line in result.err.splitlines() if "goes on" in line] == [f"Run {ids[n]} goes on." for n in (0, 2)]
    assert [row["status"] for row in rows(OUTPUT, "runs", "created_at")] == ["done", "stopped", "done", "done"]
    assert (len(asked(stability)), len(asked(dalle)), len(asked(flux))) == (4, 2, 4)
    result = tirada("resume", "--all")
    assert result.code == 0 and len(asked(dalle)) == 4
    assert before.items() <= done_files().items()
    assert tirada("resume", "--all").code == 0 and "Nothing to resume" in tirada("resume", "--all").err
    assert tirada("resume", ids[0], "--all").code == 2
    check_output(OUTPUT)


def test_resume_all_says_the_gravest(stability: Standin, tirada: Tirada) -> None:
    for word in ("fox", "owl"):
        stability.fail(Fault(status=402))
        assert tirada(*command("--stability", word)).code == 5
    stability.fail(Fault(status=500), Fault(status=500), Fault(status=402))
    assert tirada("resume", "--all").code == 5
    assert asked(stability)[2:] == ["fox", "fox", "owl"]
    assert tirada("resume", "--all").code == 0
    check_output(OUTPUT)


# --- retry ----------------------------------------------------------------------------------------------------------


def spoiled_run(tirada: Tirada, service: Standin, backend: str, *more: object) -> str:
    """Six images: the second idea is refused, and the second image of the third one fails; returns the run's id."""
    service.fail(OK, OK, OK, OK, OK, Fault(status=500), Fault(status=500))
    result = tirada(*command(backend, "a fox", "FORBIDDEN owl", "a hen", images=2), *more)
    assert result.code == 4, result.err
    assert [result.json[name] for name in ("done", "refused", "failed")] == [3, 2, 1]
    return str(result.json["run_id"])


def infos() -> Mapping[str, dict[str, Any]]:
    return {info["prompt"]: info for info in check_output(OUTPUT)}


def test_retry_redoes_only_what_failed_or_was_refused(stability: Standin, tirada: Tirada) -> None:
    run_id = spoiled_run(tirada, stability, "--stability")
    before, seeds = done_files(), {prompt: info["seeds"] for prompt, info in infos().items()}
    result = tirada("retry", run_id, "--json")
    assert result.code == 4 and (result.json["done"], result.json["refused"]) == (4, 2)
    assert asked(stability)[-3:] == ["FORBIDDEN owl", "FORBIDDEN owl", "a hen"]
    assert before.items() <= done_files().items()
    assert {prompt: info["seeds"] for prompt, info in infos().items()} == seeds
    assert infos()["a hen"]["images"][1]["attempts"] == 3
    assert Decimal(result.json["cost_usd"]) == stability.bill() == 4 * PRICE


def test_retry_with_another_backend_gives_seeds(dalle: Standin, tirada: Tirada) -> None:
    run_id = spoiled_run(tirada, dalle, "--dalle", "--seed", "100")
    asked_before, before, old = len(dalle.requests()), done_files(), infos()
    assert all(info["seeds"] == [None, None] for info in old.values())
    result = tirada("retry", run_id, "--draft", "--json")
    assert result.code == 0, result.err
    assert result.json["done"] == 6 and len(dalle.requests()) == asked_before
    assert before.items() <= done_files().items()
    new = infos()
    assert new["a fox"] == old["a fox"]
    owl, hen = new["FORBIDDEN owl"], new["a hen"]
    assert (owl["ai"], owl["backend"], owl["model"], owl["status"]) == ("Draft sketches", "draft", "draft", "done")
    assert owl["seeds"] == [102, 103] == [image["seed"] for image in owl["images"]]
    assert hen["images"][0] == old["a hen"]["images"][0]
    assert [image["model"] for image in hen["images"]] == [old["a hen"]["model"], "draft"]
    assert [image["seed"] for image in hen["images"]] == [None, 105] == hen["seeds"]
    assert owl["failures"] == hen["failures"] == []
    assert Decimal(result.json["cost_usd"]) == dalle.bill() == sum(Decimal(info["cost_usd"]) for info in new.values())
    assert run_row(OUTPUT)["status"] == "done"


def test_retry_with_a_backend_that_takes_no_seeds(stability: Standin, dalle: Standin, tirada: Tirada) -> None:
    run_id = spoiled_run(tirada, stability, "--stability", "--seed", "100")
    result = tirada("retry", run_id, "--dalle", "--json")
    assert result.code == 4 and result.json["refused"] == 2  # there too
    hen = infos()["a hen"]
    # The second picture was not made from a seed, and does not say so.
    assert [image["seed"] for image in hen["images"]] == [104, None] == hen["seeds"]
    assert Decimal(result.json["cost_usd"]) == stability.bill() + dalle.bill()
    costs = tirada("costs", "--by", "backend", "--json").json["rows"]
    assert {row["backend"]: Decimal(row["usd"]) for row in costs} == {
        "stability": stability.bill(),
        "dalle": dalle.bill(),
    }


def test_retry_with_another_model(stability: Standin, tirada: Tirada) -> None:
    run_id = spoiled_run(tirada, stability, "--stability")
    result = tirada("retry", run_id, "--model", "sd3.5-medium", "--json")
    assert result.json["done"] == 4
    hen = infos()["a hen"]
    assert [image["model"] for image in hen["images"]] == ["stable-image-core", "sd3.5-medium"]
    assert stability.bill() == Decimal(result.json["cost_usd"]) == 3 * PRICE + Decimal("0.035")


def test_retry_keeps_to_a_budget(stability: Standin, tirada: Tirada) -> None:
    run_id = spoiled_run(tirada, stability, "--stability")
    assert tirada("retry", run_id, "--budget", "0.09", "--json").code == 5
    assert stability.bill() == 3 * PRICE
    assert tirada("retry", run_id, "--budget", "0.12", "--json").json["done"] == 4


def test_retry_of_nothing(stability: Standin, tirada: Tirada) -> None:
    result = tirada(*command("--stability", "a fox"))
    before = done_files()
    again = tirada("retry", result.json["run_id"])
    assert again.code == 0 and "Nothing of run" in again.err and done_files() == before
    assert tirada("retry", "zz").code == 2 and tirada("retry").code == 2
    assert len(stability.requests()) == 1
    wrong = tirada("retry", spoiled_run(tirada, stability, "--stability"), "--backend", "no-such")
    assert wrong.code == 2 and "no-such" in wrong.err


# --- jobs -----------------------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
#: Instants at which the job has an id, and the service will never be asked to make it again.
SAFE = [
    KillAt("tirada.store.store:Store.note_job", 2, after=True),
    KillAt("models.backends.flux_api:FluxApiBackend.collect", 2),
    KillAt("models.backends.flux_api:FluxApiBackend.collect", 2, after=True),
    KillAt("tirada.engine.saving:Saver._put_aside", 2, after=True),
    KillAt("tirada.engine.saving:prepare", 2),
]


@needs_fork
@pytest.mark.parametrize("step", SAFE, ids=str)
def test_a_job_with_an_id_is_paid_once(flux: Standin, tirada: Tirada, step: KillAt) -> None:
    killed = run(*command("--flux-api", "a fox", images=4), kill_at=step, **{**flux.settings, "IMAGES_IN_FLIGHT": "2"})
    assert killed.code == KILLED, killed.err
    result = tirada("resume", "--json")
    assert (result.code, result.json["done"], result.json["in_doubt"]) == (0, 4, 0), result.err
    server: BflServer = flux.server
    doubtful = [call for call in rows(OUTPUT, "calls") if call["state"] == "in_doubt"]
    # Both threads may have been cut off between handing a job in and keeping its id.
    assert 4 <= len(server.jobs) <= 4 + len(doubtful) and len(doubtful) <= 2
    noted = [call["job"] for call in rows(OUTPUT, "calls") if call["job"]]
    assert len(noted) == len(set(noted)) == 4
    assert server.bill <= Decimal(result.json["cost_usd"]) == PRICE * len(rows(OUTPUT, "calls"))
    check_output(OUTPUT)


@needs_fork
def test_a_job_whose_id_was_lost_is_in_doubt(flux: Standin, tirada: Tirada) -> None:
    step = KillAt("models.backends.flux_api:FluxApiBackend.submit", 2, after=True)
    killed = run(*command("--flux-api", "a fox", images=3), kill_at=step, **{**SERIAL, **flux.settings})
    assert killed.code == KILLED and flux.server.billed == 2
    result = tirada("resume")
    assert "1 image is in doubt" in result.err and "may have cost 0.0300 USD" in result.err
    assert result.code == 0 and flux.server.bill == 4 * PRICE
    assert sum(Decimal(call["cost"]) for call in rows(OUTPUT, "calls")) == 4 * PRICE
    check_output(OUTPUT)


def test_a_job_that_never_gets_ready_is_left_for_later(flux: Standin, tirada: Tirada) -> None:
    server: BflServer = flux.server
    source = command("--flux-api", "a fox", images=2)
    original, slow = server._status, set[str]()

    def status(id_: str) -> Any:
        # The first job there is takes for ever.
        slow.add(next(iter(server.jobs)))
        with server._jobs_lock:
            server.jobs[id_].ready_at = 1e12 if id_ in slow and slow_down else 0.0
        return original(id_)

    slow_down = True
    server._status = status  # type: ignore[method-assign]
    result = tirada(*source, JOB_WAIT_SECONDS="0.1")
    assert (result.code, result.json["done"], result.json["in_doubt"]) == (4, 1, 0), result.err
    assert result.json["status"] not in ("done", "failed")
    assert [image["state"] for image in rows(OUTPUT, "images")] == ["submitted", "done"]
    (info,) = check_output(OUTPUT)
    assert info["status"] == "interrupted" and len(info["images"]) == 1
    human = tirada("resume", JOB_WAIT_SECONDS="0.1")
    assert human.code == 4 and "To go on: python main.py resume" in human.err
    assert "in doubt" not in human.err
    slow_down = False
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"], again.json["status"]) == (0, 2, "done")
    assert len(server.jobs) == server.billed == 2
    assert server.bill == Decimal(again.json["cost_usd"]) == 2 * PRICE
    check_output(OUTPUT)


def test_a_job_that_is_not_ready_counts_against_the_budget(flux: Standin, tirada: Tirada) -> None:
    flux.server.pending = 10**9
    result = tirada(*command("--flux-api", "a fox", images=3), "--budget", "0.07", JOB_WAIT_SECONDS="0.05")
    assert result.code == 5 and len(flux.server.jobs) == 2
    flux.server.pending = 0
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"]) == (5, 2) and flux.server.bill == Decimal("0.06")
    assert tirada("resume", "--budget", "1").code == 0 and len(flux.server.jobs) == 3


def test_a_job_that_the_service_forgot_is_handed_in_again(flux: Standin, tirada: Tirada) -> None:
    flux.server.pending = 10**9
    assert tirada(*command("--flux-api", "a fox"), JOB_WAIT_SECONDS="0.05").code == 1
    flux.server.pending = 0
    flux.server.jobs.clear()
    again = tirada("resume", "--json")
    assert (again.code, again.json["done"]) == (0, 1), again.err
    # It may have been billed before it was forgotten.
    assert Decimal(again.json["cost_usd"]) == 2 * PRICE
    (info,) = check_output(OUTPUT)
    assert Decimal(info["cost_usd"]) == 2 * PRICE
