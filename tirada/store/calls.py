"""One paid call: written down before it leaves, settled after.

Invariant: these run inside the transaction of whoever changes the state the call belongs to.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from tirada.store.schema import calls

# What runs for every image is built once: building costs several times as much as running.
_OPEN = insert(calls)
_CHANGE = update(calls).where(calls.c.id == bindparam("row"))
_OF_IMAGE = select(calls.c.state, calls.c.cost).where(calls.c.image_id == bindparam("row"))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_id(size: int = 6) -> str:
    """A random name of 2 x ``size`` hex digits."""
    return secrets.token_hex(size)


def open_call(connection: Connection, call: Mapping[str, Any]) -> None:
    """Write down that a call is about to leave."""
    connection.execute(_OPEN, {"state": "open", "started_at": now(), **call})


def settle_call(connection: Connection, settled: Mapping[str, Any]) -> None:
    """Write down how a call ended; ``settled`` holds its columns with its id."""
    columns = {"finished_at": now(), **settled}
    connection.execute(_CHANGE, {"row": columns.pop("id"), **columns})


def cost_of_image(connection: Connection, image_id: int) -> str | None:
    """USD of all calls for an image; None where one of them has no known price."""
    total = Decimal(0)
    for state, cost in connection.execute(_OF_IMAGE, {"row": image_id}):
        if cost is None and state not in ("failed", "open"):
            return None
        total += Decimal(cost or 0)
    return str(total)
