"""What the engine does about each kind of error, in one table (design §5), and how long it waits.

Invariant: an image whose outcome is unknown is never asked for again here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

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


class BugError(ModelError):
    """A backend or writer raised what it should not have; the item fails, the run goes on, the traceback is kept."""

    kind = "bug"


class StillRunning(ModelError):
    """A job cannot be collected now; it is paid for, and a later run collects it.

    ``cause`` is what keeps us from it, where that stops the whole run.
    """

    kind = "still_running"

    def __init__(self, message: str, *, cause: ModelError | None = None) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(slots=True)
class Trial:
    """What one item has been through in this sitting."""

    #: Tries so far, the one under way included.
    attempt: int = 1
    #: Failures and 429s so far, and seconds waited for them.
    failed: int = 0
    limited: int = 0
    waited: float = 0.0


class Action(Enum):
    """What happens to the item, and to the run."""

    RETRY = "retry"
    FAIL = "fail"
    #: The concept is put into other words, and the item asked for with these.
    REWRITE = "rewrite"
    #: The item stays to be done; nothing more is submitted in this run.
    HALT = "halt"
    #: The item stays as it is, to be collected by a later run.
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries per item, and waits in seconds: the first one, doubled each time with full jitter up to the longest.

    Being told to wait (429) is no failed try; it is bounded by its own count and by the time waited in all.
    """

    tries: int = 4
    wait: float = 1.0
    longest_wait: float = 60.0
    total_wait: float = 900.0
    rate_limit_tries: int = 40

    def backoff(self, attempt: int) -> float:
        """Full jitter: anything up to the doubled wait, so that many clients do not come back at once."""
        return random.uniform(0, min(self.longest_wait, self.wait * 2 ** (attempt - 1)))


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    wait: float = 0.0
    #: The state an image that failed for good is left in.
    state: str = "failed"
    #: True when nobody should submit during the wait, not only this item.
    everyone: bool = False


def decide(
    error: ModelError,
    trial: Trial,
    policy: RetryPolicy,
    *,
    text: bool = False,
    proven: bool = False,
    rewritable: bool = False,
) -> Decision:
    """The engine's answer to an error, given what was tried before; the trial is brought up to date.

    A ``text`` call in doubt costs a fraction of a cent, which is counted as spent: it is asked again. An image is not.
    A text that stays bad was asked for again by its writer already, with the fault named. Where the service is
    ``proven`` to work, what it does not support is that item only, and the run goes on. ``rewritable`` says that safer
    words may be looked for: the user wants it, and the image was asked for with the first words of its concept.
    """
    match error:
        case UnsupportedRequest() if proven:
            return Decision(Action.FAIL)
        case StillRunning():
            return Decision(Action.LEAVE)
        case SetupError() | UnsupportedRequest() | OutOfCredit() | BudgetReached():
            return Decision(Action.HALT)
        case Refused():
            return Decision(Action.REWRITE if rewritable else Action.FAIL, state="refused")
        case InDoubt() if not text:
            return Decision(Action.FAIL, state="in_doubt")
        case BadAnswer() if text:
            return Decision(Action.FAIL)
    if isinstance(error, RateLimited):
        return _slower(error, trial, policy)
    if not isinstance(error, Unavailable | BadAnswer | InDoubt):
        return Decision(Action.FAIL)
    trial.failed += 1
    if trial.failed >= policy.tries:
        return Decision(Action.FAIL)
    wait = getattr(error, "retry_after", None)
    decision = Decision(Action.RETRY, wait=policy.backoff(trial.failed) if wait is None else wait)
    return _bounded(decision, trial, policy) or Decision(Action.FAIL)


def _slower(error: RateLimited, trial: Trial, policy: RetryPolicy) -> Decision:
    """Wait as told and go on; a service that wants more patience than there is ends the run, to be resumed later."""
    trial.limited += 1
    wait = policy.backoff(trial.limited) if error.retry_after is None else error.retry_after
    decision = Decision(Action.RETRY, wait=wait, everyone=True)
    if trial.limited >= policy.rate_limit_tries:
        return Decision(Action.HALT)
    return _bounded(decision, trial, policy) or Decision(Action.HALT)


def _bounded(decision: Decision, trial: Trial, policy: RetryPolicy) -> Decision | None:
    """The decision, if its wait still fits into the time an item may wait in all."""
    trial.waited += decision.wait
    return decision if trial.waited <= policy.total_wait else None
