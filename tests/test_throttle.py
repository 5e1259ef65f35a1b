"""How many calls are under way at once, and how long anybody waits: with a clock that nobody has to wait for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from decimal import Decimal

import pytest

from models.errors import (
    BadAnswer,
    BudgetReached,
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    Refused,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from tirada.engine.retry import Action, BugError, Decision, RetryPolicy, StillRunning, Trial, decide
from tirada.engine.throttle import Throttle

# --- how many at once -----------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when somebody looks, or when told to."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def never() -> bool:
    return False


def fill(throttle: Throttle, most: int) -> list[float]:
    """Take every place there is."""
    taken: list[float] = []
    while len(taken) < most:
        looks = iter((False, True))
        began = throttle.enter(lambda looks=looks: next(looks), 0)  # type: ignore[misc]
        if began is None:
            break
        taken.append(began)
    return taken


def test_a_429_halves_and_each_full_round_of_successes_adds_one() -> None:
    clock = Clock()
    throttle = Throttle(16, clock=clock)
    assert len(fill(throttle, 99)) == throttle.peak == 16
    for _ in range(16):
        throttle.leave(succeeded=True)
    assert throttle.limit == 16
    for expected in (8, 4, 2, 1, 1):
        clock.now += 1
        throttle.slow_down(clock(), 0)
        assert throttle.limit == expected
        assert len(fill(throttle, 99)) == expected
        for _ in range(expected):
            throttle.leave(succeeded=False)
    rounds = []
    for _ in range(40):
        places = len(fill(throttle, 99))
        rounds.append(places)
        for _ in range(places):
            throttle.leave(succeeded=True)
    assert rounds[0] == 1 and rounds[-1] == 16 and rounds == sorted(rounds)
    assert all(after - before <= 1 for before, after in itertools.pairwise(rounds))
    assert throttle.limit == 16.0 and throttle.peak == 16


def test_failures_make_no_room() -> None:
    throttle = Throttle(8, clock=Clock(step=1))
    throttle.slow_down(2000, 0)
    for _ in range(100):
        assert throttle.enter(never, 0) is not None
        throttle.leave(succeeded=False)
    assert throttle.limit == 4


def test_a_burst_of_429s_halves_once() -> None:
    clock = Clock()
    throttle = Throttle(32, clock=clock)
    began = fill(throttle, 32)
    clock.now += 0.2
    for one in began:
        throttle.slow_down(one, 0)
    assert throttle.limit == 16
    # What was sent since then, and turned away as well, is news.
    clock.now += 0.1
    throttle.slow_down(clock(), 0)
    assert throttle.limit == 8


def test_nobody_submits_while_the_service_wants_silence() -> None:
    clock = Clock()
    throttle = Throttle(4, clock=clock)
    throttle.slow_down(clock(), 150)
    throttle.slow_down(clock(), 20)
    seen: list[float] = []

    def stopping() -> bool:
        seen.append(clock.now)
        clock.now += 10
        return False

    began = throttle.enter(stopping, 0.001)
    assert began is not None and began >= 1150
    assert len(seen) == 15


def test_a_run_that_halts_waits_for_nothing() -> None:
    throttle = Throttle(1, clock=Clock())
    throttle.slow_down(0, 1e9)
    assert throttle.enter(lambda: True, 1e9) is None


# --- what is done about each error ----------------------------------------------------------------------------------

POLICY = RetryPolicy(tries=4, wait=1, longest_wait=60, total_wait=900)
TABLE: list[tuple[ModelError, Action, str]] = [
    (SetupError("x"), Action.HALT, ""),
    (UnsupportedRequest("x"), Action.HALT, ""),
    (Refused("x", cost_usd=Decimal(0)), Action.FAIL, "refused"),
    (RateLimited("x"), Action.RETRY, ""),
    (Unavailable("x"), Action.RETRY, ""),
    (OutOfCredit("x"), Action.HALT, ""),
    (BudgetReached("x"), Action.HALT, ""),
    (BadAnswer("x"), Action.RETRY, ""),
    (InDoubt("x"), Action.FAIL, "in_doubt"),
    (StillRunning("x"), Action.LEAVE, ""),
    (BugError("x"), Action.FAIL, "failed"),
]


@pytest.mark.parametrize(("error", "action", "state"), TABLE, ids=lambda value: getattr(value, "kind", None))
def test_the_table(error: ModelError, action: Action, state: str) -> None:
    decision = decide(error, Trial(), POLICY)
    assert decision.action is action
    assert action is not Action.FAIL or decision.state == state
    assert decision.everyone == isinstance(error, RateLimited)


def test_every_error_there_is_has_a_row() -> None:
    def kinds(of: type[ModelError]) -> set[type[ModelError]]:
        return {of}.union(*(kinds(more) for more in of.__subclasses__()))

    known = ("models.errors", "tirada.engine.retry")
    ours = {kind for kind in kinds(ModelError) - {ModelError} if kind.__module__ in known}
    assert ours == {type(error) for error, _, _ in TABLE}


def test_a_proven_service_that_cannot_do_one_thing_does_the_rest() -> None:
    assert decide(UnsupportedRequest("x"), Trial(), POLICY, proven=True).action is Action.FAIL
    assert decide(SetupError("x"), Trial(), POLICY, proven=True).action is Action.HALT


def test_a_text_is_asked_for_again_where_an_image_is_not() -> None:
    assert decide(InDoubt("x"), Trial(), POLICY, text=True).action is Action.RETRY
    assert decide(BadAnswer("x"), Trial(), POLICY, text=True).action is Action.FAIL


def drive(make: Callable[[int], ModelError], policy: RetryPolicy) -> tuple[list[float], Decision]:
    """Waits until something other than another try is decided."""
    trial, waits = Trial(), []
    while (decision := decide(make(len(waits)), trial, policy)).action is Action.RETRY:
        waits.append(decision.wait)
        assert len(waits) < 1000
    return waits, decision


@pytest.mark.parametrize("tries", [1, 2, 4, 20])
def test_tries_are_bounded(tries: int) -> None:
    policy = RetryPolicy(tries=tries, wait=0)
    for make in (Unavailable, BadAnswer):
        waits, decision = drive(lambda _, make=make: make("x"), policy)  # type: ignore[misc]
        assert (len(waits), decision.action) == (tries - 1, Action.FAIL)


def test_the_wait_doubles_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RetryPolicy(tries=9, wait=1, longest_wait=20)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert drive(lambda _: Unavailable("x"), policy)[0] == [1, 2, 4, 8, 16, 20, 20, 20]
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    assert drive(lambda _: Unavailable("x"), policy)[0] == [0] * 8


@pytest.mark.parametrize("error", [RateLimited, Unavailable])
def test_the_service_is_waited_for_as_long_as_it_says(error: type[RateLimited | Unavailable]) -> None:
    """Also above the 120 s at which the SDK of OpenAI loses patience."""
    asked = [130.0, 0.0, 500.0]
    waits, _ = drive(lambda n: error("x", retry_after=asked[n]), RetryPolicy(tries=4, total_wait=629))
    assert waits == asked[:2]
    waits, _ = drive(lambda n: error("x", retry_after=[*asked, 1000.0][n]), RetryPolicy(tries=9, total_wait=630))
    assert waits == asked


def test_the_wait_in_all_is_bounded() -> None:
    waits, decision = drive(lambda _: RateLimited("x", retry_after=100), POLICY)
    assert (sum(waits), decision.action) == (900, Action.HALT)
    waits, decision = drive(lambda _: Unavailable("x", retry_after=400), POLICY)
    assert (sum(waits), decision.action) == (800, Action.FAIL)
    # Errors of both kinds draw on one account.
    waits, decision = drive(lambda n: (RateLimited, Unavailable)[n % 2]("x", retry_after=300), POLICY)
    assert (waits, decision.action) == ([300, 300, 300], Action.FAIL)


def test_being_told_to_wait_is_no_failed_try() -> None:
    waits, decision = drive(lambda _: RateLimited("x", retry_after=0), RetryPolicy(tries=2, rate_limit_tries=40))
    assert (len(waits), decision.action) == (39, Action.HALT)
