"""What can go wrong with a model, as one small tree.

A backend or writer raises (or returns) one of these and nothing else; the engine decides what each means.

ModelError
├── SetupError          no key, extra not installed, gated model: the run stops before spending
├── UnsupportedRequest  a size or feature the model lacks: the run stops before spending
├── Refused             content policy: never repeated as it is
├── RateLimited         429: wait as told, then again
├── Unavailable         5xx, connection refused, DNS: again, with backoff
├── OutOfCredit         402, insufficient_quota: nothing more is submitted
├── BudgetReached       the user's own limit: nothing more is submitted
├── BadAnswer           invalid JSON, broken image: again a few times, then failed
└── InDoubt             the request was sent and its answer lost: never repeated silently

Invariant: messages never carry a key; whoever translates a foreign exception redacts it first.
"""

from __future__ import annotations

from decimal import Decimal


class ModelError(Exception):
    """Root of everything a model can do wrong. ``str(error)`` is one line for people."""

    #: The name under which the error is stored and reported.
    kind: str = "model_error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SetupError(ModelError):
    """Something the user must set up first; the hint names the fix."""

    kind = "setup"


class UnsupportedRequest(ModelError):
    """The model cannot do what was asked; the message names what would work."""

    kind = "unsupported"


class Refused(ModelError):
    """The service's content policy said no. ``cost_usd`` is what that cost, where it is known."""

    kind = "refused"

    def __init__(self, message: str, *, cost_usd: Decimal | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cost_usd = cost_usd


class RateLimited(ModelError):
    """Too many requests. ``retry_after`` is the wait in seconds the service asked for, or None."""

    kind = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unavailable(ModelError):
    """The service did not take the request: it is down, unreachable or failing."""

    kind = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class OutOfCredit(ModelError):
    """The account has no credit or quota left."""

    kind = "out_of_credit"


class BudgetReached(ModelError):
    """The next call might pass a limit the user has set."""

    kind = "budget"


class BadAnswer(ModelError):
    """The service answered, but the answer cannot be used. ``cost_usd`` is what that cost, where it is known."""

    kind = "bad_answer"

    def __init__(self, message: str, *, cost_usd: Decimal | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cost_usd = cost_usd


class InDoubt(ModelError):
    """The request left and its answer never came: it may have been done and billed."""

    kind = "in_doubt"
