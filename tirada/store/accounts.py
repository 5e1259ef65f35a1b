"""What has been spent and reserved, by run and by calendar month: the one place where a limit is kept.

Invariant: an account holds the true cost of settled calls and the estimate of every other one, and both change in the
transaction that writes the call; so a limit holds across threads, processes and crashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy import Connection, bindparam, insert, select

from models.errors import BudgetReached
from tirada.store.schema import accounts

_READ = select(accounts.c.amount).where(accounts.c.name == bindparam("row"))
_WRITE = insert(accounts).prefix_with("OR REPLACE")


def accounts_of(run_id: str, moment: str) -> tuple[str, str]:
    """The account of the run, and that of the calendar month (UTC) of an ISO 8601 time."""
    return f"run:{run_id}", f"month:{moment[:7]}"


def balance(connection: Connection, name: str) -> Decimal:
    """USD spent and reserved."""
    amount = connection.execute(_READ, {"row": name}).scalar_one_or_none()
    return Decimal(amount or 0)


def reserve(
    connection: Connection, names: tuple[str, ...], estimate: Decimal, limits: Mapping[str, Decimal | None]
) -> None:
    """Set USD aside on every account; raises BudgetReached, changing nothing, where one would pass its limit."""
    balances = {name: balance(connection, name) for name in names}
    for name, amount in balances.items():
        limit = limits.get(name)
        if limit is not None and amount + estimate > limit:
            what = "this run" if name.startswith("run:") else f"the month {name.removeprefix('month:')}"
            raise BudgetReached(
                f"The budget of {limit} USD for {what} is reached: {amount:.4f} are spent or under way, "
                f"and the next call may cost {estimate:.4f}."
            )
    for name, amount in balances.items():
        _write(connection, name, amount + estimate)


def correct(connection: Connection, names: tuple[str, ...], change: Decimal) -> None:
    """Add the difference between a call's true cost and what was set aside for it."""
    if change:
        for name in names:
            _write(connection, name, balance(connection, name) + change)


def _write(connection: Connection, name: str, amount: Decimal) -> None:
    connection.execute(_WRITE, {"name": name, "amount": str(amount)})
