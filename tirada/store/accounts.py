"""What has been spent and reserved, by run and by calendar month: the one place where a limit is kept.

Within a transaction, which holds the only right to write, balances are kept in memory; ``flush`` writes them down
before it is committed.

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
#: Where a connection keeps the balances of its transaction.
_OPEN = "balances"


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
    balances = _open(connection, names)
    for name in names:
        limit = limits.get(name)
        if limit is not None and balances[name] + estimate > limit:
            what = "this run" if name.startswith("run:") else f"the month {name.removeprefix('month:')}"
            raise BudgetReached(
                f"The budget of {limit} USD for {what} is reached: {balances[name]:.4f} are spent or under way, "
                f"and the next call may cost {estimate:.4f}."
            )
    correct(connection, names, estimate)


def correct(connection: Connection, names: tuple[str, ...], change: Decimal) -> None:
    """Add the difference between a call's true cost and what was set aside for it."""
    if change:
        balances = _open(connection, names)
        for name in names:
            balances[name] += change


def flush(connection: Connection) -> None:
    """Write down what the transaction that is about to be committed changed."""
    if balances := connection.info.pop(_OPEN, None):
        connection.execute(_WRITE, [{"name": name, "amount": str(amount)} for name, amount in balances.items()])


def forget(connection: Connection) -> None:
    """The transaction is rolled back: nothing has changed."""
    connection.info.pop(_OPEN, None)


def _open(connection: Connection, names: tuple[str, ...]) -> dict[str, Decimal]:
    """The balances of the transaction, these among them."""
    balances: dict[str, Decimal] = connection.info.setdefault(_OPEN, {})
    for name in names:
        if name not in balances:
            balances[name] = balance(connection, name)
    return balances
