"""The money of one run: every paid call is written down before it leaves and settled after.

Invariant: what a call really cost replaces its estimate; a cost nobody told is counted as estimated.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from models.catalog import price_hint
from models.errors import (
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
from models.redaction import redact
from tirada.store.calls import Limits, new_id
from tirada.store.store import Store

#: Errors with which a service says that it did not do the work.
NOT_BILLED = (SetupError, UnsupportedRequest, Refused, RateLimited, Unavailable, OutOfCredit, BudgetReached)
#: How often a call that found no room in the budget looks for some, in seconds.
LOOK = 0.05


class Ledger:
    """Implements ``models.contract.Meter`` for text calls and opens and settles those for images."""

    def __init__(self, store: Store, *, writer: str, backend: str, limits: Limits) -> None:
        self._store = store
        self.limits = limits
        #: The run the calls belong to, set as soon as it has a row.
        self.run_id = ""
        self._writer = writer
        #: The backend that images are asked from; a job may change it from step to step.
        self.image_backend = backend
        self._lock = threading.Lock()
        self._estimates: dict[str, Decimal | None] = {}
        #: By model, how far true costs have gone above estimates; what is set aside grows with it.
        self._surplus: dict[str, Decimal] = {}
        self._models: dict[str, str] = {}
        #: Calls that are being written down, and those that left: they may turn out cheaper than what is set aside.
        self._leaving: set[str] = set()
        self._under_way: set[str] = set()
        self._queue = threading.Lock()
        #: Says when nobody should wait for anything any more; set by the run.
        self.stopping: Callable[[], bool] = lambda: False
        #: USD of this sitting so far.
        self.spent = Decimal(0)

    def new_call(self, *, kind: Literal["text", "image"], model: str, estimate: Decimal | None) -> dict[str, Any]:
        """The columns of a call that is about to leave; the caller writes them down.

        Raises BudgetReached for a call without a price where there is a limit: what may cost anything may pass it.
        """
        if estimate is None and (self.limits.run is not None or self.limits.month is not None):
            hint = f"{price_hint(kind, model, self.image_backend)}, or leave the budget out."
            raise BudgetReached(f"There is a budget, and the price of {model!r} is unknown.", hint=hint)
        call_id = new_id(8)
        with self._lock:
            if estimate is not None:
                estimate *= self._surplus.get(model, Decimal(1))
            self._estimates[call_id] = estimate
            self._models[call_id] = model
        return {
            "id": call_id,
            "run_id": self.run_id,
            "kind": kind,
            "backend": self._writer if kind == "text" else self.image_backend,
            "model": model,
            "estimate": None if estimate is None else str(estimate),
        }

    def reserve(self, *, kind: Literal["text", "image"], model: str, estimate: Decimal | None) -> str:
        call = self.new_call(kind=kind, model=model, estimate=estimate)
        self.open(call, lambda: self._store.open_call(call, self.limits))
        return str(call["id"])

    def open(self, call: Mapping[str, Any], write: Callable[[], None], *, patient: bool = True) -> None:
        """Have the caller ``write`` the call down; raises BudgetReached where there is no room for it.

        What is set aside is rather too much than too little. So where it does not fit, a ``patient`` caller waits for
        the calls that are under way: what they leave of theirs may do. Impatient is who settles such calls itself.
        """
        try:
            self._write(call, write)
        except BudgetReached:
            if not patient:
                raise
            with self._queue:
                while self._others_under_way() and not self.stopping():
                    time.sleep(LOOK)
                    with contextlib.suppress(BudgetReached):
                        self._write(call, write)
                        return
                self._write(call, write)

    def _write(self, call: Mapping[str, Any], write: Callable[[], None]) -> None:
        call_id = str(call["id"])
        with self._lock:
            self._leaving.add(call_id)
        try:
            write()
            with self._lock:
                self._under_way.add(call_id)
        finally:
            with self._lock:
                self._leaving.discard(call_id)

    def _others_under_way(self) -> bool:
        """Is a call of this sitting about to leave, or still to be settled? Forgets those that are."""
        with self._lock:
            known = set(self._under_way)
        settled = known - self._store.open_calls(self.run_id)
        with self._lock:
            self._under_way -= settled
            return bool(self._under_way or self._leaving)

    def adopt(self, call: str, estimate: str | None) -> None:
        """Take over a call that an earlier sitting opened and this one settles."""
        with self._lock:
            self._estimates[call] = None if estimate is None else Decimal(estimate)
            self._under_way.add(call)

    def leave(self, call: str) -> None:
        """The call stays open for a later sitting: nobody waits for it."""
        with self._lock:
            self._under_way.discard(call)

    def settle(
        self,
        call: str,
        *,
        cost: Decimal | None,
        usage: Mapping[str, int] | None = None,
        error: ModelError | None = None,
    ) -> None:
        self._store.settle_call(self.settled(call, cost=cost, usage=usage, error=error))

    def settled(
        self,
        call: str,
        *,
        cost: Decimal | None,
        usage: Mapping[str, int] | None = None,
        error: ModelError | None = None,
    ) -> dict[str, Any]:
        """Count a call and return the columns that settle it; the caller writes them down."""
        with self._lock:
            estimate = self._estimates.pop(call, None)
            model = self._models.pop(call, "")
            if model and cost and estimate and cost > estimate:
                self._surplus[model] = self._surplus.get(model, Decimal(1)) * cost / estimate
            doubtful = isinstance(error, InDoubt)
            # A useless answer was billed like a good one, a lost one may have been, and so may one that met a bug.
            if cost is None and not isinstance(error, NOT_BILLED):
                cost = estimate
            self.spent += cost or Decimal(0)
        return {
            "id": call,
            "state": "in_doubt" if doubtful else "failed" if error else "settled",
            "cost": None if cost is None else str(cost),
            "usage": dict(usage or {}),
            "error_kind": error.kind if error else None,
            "error": redact(str(error)) if error else None,
        }
