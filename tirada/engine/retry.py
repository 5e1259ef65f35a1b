"""What the engine does about each kind of error, in one table (design §5), and how long it waits.

Invariant: an image whose outcome is unknown is never asked for again here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from models.errors import (
    BadAnswer,
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


class Action(Enum):
    """What happens to the item, and to the run."""

    RETRY = "retry"
    FAIL = "fail"
    #: The item stays to be done; nothing more is submitted in this run.
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries per item, and waits in seconds: the first one, doubled each time with full jitter up to the longest."""

    tries: int = 4
    wait: float = 1.0
    longest_wait: float = 60.0

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
    error: ModelError, attempt: int, policy: RetryPolicy, *, text: bool = False, proven: bool = False
) -> Decision:
    """The engine's answer to an error on the given attempt (the first is 1).

    A ``text`` call in doubt costs a fraction of a cent, which is counted as spent: it is asked again. An image is not.
    A text that stays bad was asked for again by its writer already, with the fault named. Where the service is
    ``proven`` to work, what it does not support is that item only, and the run goes on.
    """
    match error:
        case UnsupportedRequest() if proven:
            return Decision(Action.FAIL)
        case SetupError() | UnsupportedRequest() | OutOfCredit():
            return Decision(Action.HALT)
        case Refused():
            return Decision(Action.FAIL, state="refused")
        case InDoubt() if not text:
            return Decision(Action.FAIL, state="in_doubt")
        case BadAnswer() if text:
            return Decision(Action.FAIL)
    if attempt >= policy.tries:
        return Decision(Action.FAIL)
    match error:
        case RateLimited(retry_after=asked) | Unavailable(retry_after=asked) if asked is not None:
            return Decision(Action.RETRY, wait=asked, everyone=True)
        case RateLimited():
            return Decision(Action.RETRY, wait=policy.backoff(attempt), everyone=True)
        case Unavailable() | BadAnswer() | InDoubt():
            return Decision(Action.RETRY, wait=policy.backoff(attempt))
    return Decision(Action.FAIL)
