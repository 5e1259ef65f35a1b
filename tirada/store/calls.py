"""One paid call: written down before it leaves, settled after.

Invariant: these run inside the transaction of whoever changes the state the call belongs to.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, select, update

from tirada.store.accounts import accounts_of, correct, reserve
from tirada.store.schema import calls

# What runs for every image is built once: building costs several times as much as running.
_OPEN = insert(calls)
_CHANGE = update(calls).where(calls.c.id == bindparam("row"))
_ONE = select(calls.c.run_id, calls.c.started_at, calls.c.estimate).where(calls.c.id == bindparam("row"))
_OF_IMAGE = select(calls.c.state, calls.c.cost).where(calls.c.image_id == bindparam("row"))
#: What a call counts as: what it cost, or, while that is open, what is set aside for it.
COST_OR_ESTIMATE = case((calls.c.state == "open", calls.c.estimate), else_=calls.c.cost)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_id(size: int = 6) -> str:
    """A random name of 2 x ``size`` hex digits."""
    return secrets.token_hex(size)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent, in USD; None = no limit."""

    run: Decimal | None = None
    month: Decimal | None = None


def open_call(connection: Connection, call: Mapping[str, Any], limits: Limits) -> None:
    """Write down that a call is about to leave and set its estimate aside; raises BudgetReached past a limit."""
    row = {"state": "open", "started_at": now(), **call}
    names = accounts_of(row["run_id"], row["started_at"])
    reserve(connection, names, Decimal(row["estimate"] or 0), dict(zip(names, (limits.run, limits.month), strict=True)))
    connection.execute(_OPEN, row)


def settle_call(connection: Connection, settled: Mapping[str, Any]) -> None:
    """Write down how a call ended; ``settled`` holds its columns with its id. Its true cost replaces the estimate."""
    columns = {"finished_at": now(), **settled}
    call_id = columns.pop("id")
    run_id, started_at, estimate = connection.execute(_ONE, {"row": call_id}).one()
    change = Decimal(columns["cost"] or 0) - Decimal(estimate or 0)
    correct(connection, accounts_of(run_id, started_at), change)
    connection.execute(_CHANGE, {"row": call_id, **columns})


def note_job(connection: Connection, call_id: str, job: str) -> None:
    """Write down what a service with job ids needs to be asked for the result again."""
    connection.execute(_CHANGE, {"row": call_id, "job": job})


def cost_of_image(connection: Connection, image_id: int) -> str | None:
    """USD of all calls for an image; None where one of them has no known price."""
    total = Decimal(0)
    for state, cost in connection.execute(_OF_IMAGE, {"row": image_id}):
        if cost is None and state not in ("failed", "open"):
            return None
        total += Decimal(cost or 0)
    return str(total)
