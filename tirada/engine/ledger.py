"""The money of one run: every paid call is written down before it leaves and settled after.

Invariant: what a call really cost replaces its estimate; a cost nobody told is counted as estimated.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from models.errors import (
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
from tirada.store.calls import new_id
from tirada.store.store import Store

#: Errors with which a service says that it did not do the work.
NOT_BILLED = (SetupError, UnsupportedRequest, Refused, RateLimited, Unavailable, OutOfCredit)


class Ledger:
    """Implements ``models.contract.Meter`` for text calls and opens and settles those for images."""

    def __init__(self, store: Store, *, writer: str, backend: str) -> None:
        self._store = store
        #: The run the calls belong to, set as soon as it has a row.
        self.run_id = ""
        self._names = {"text": writer, "image": backend}
        self._lock = threading.Lock()
        self._estimates: dict[str, Decimal | None] = {}
        #: USD of this sitting so far.
        self.spent = Decimal(0)

    def new_call(self, *, kind: Literal["text", "image"], model: str, estimate: Decimal | None) -> dict[str, Any]:
        """The columns of a call that is about to leave; the caller writes them down."""
        call_id = new_id(8)
        with self._lock:
            self._estimates[call_id] = estimate
        return {
            "id": call_id,
            "run_id": self.run_id,
            "kind": kind,
            "backend": self._names[kind],
            "model": model,
            "estimate": None if estimate is None else str(estimate),
        }

    def reserve(self, *, kind: Literal["text", "image"], model: str, estimate: Decimal | None) -> str:
        call = self.new_call(kind=kind, model=model, estimate=estimate)
        self._store.open_call(call)
        return str(call["id"])

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
