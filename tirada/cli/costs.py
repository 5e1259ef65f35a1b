"""``costs``: what was spent, by day, backend and model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tirada.cli import console
from tirada.cli.options import OutputOption


def command(
    by: Annotated[
        Literal["day", "month", "backend", "model", "run", "user"] | None,
        typer.Option("--by", help="One figure for each.", show_default="day, backend and model"),
    ] = None,
    output: OutputOption = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what was spent, by day, backend and model."""
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.queries import month_spent, spending

    settings = load_settings()
    store = Setup(settings, output=output).open_existing_store()
    try:
        rows = spending(store, by)
        month, amount = month_spent(store)
    finally:
        store.close()
    limit = settings.budget_usd_per_month
    if json:
        console.result_json(
            {
                "rows": rows,
                "month": month,
                "month_usd": str(amount),
                "month_limit_usd": None if limit is None else str(limit),
            }
        )
        return
    keys = [key for key in ("day", "month", "run", "user", "backend", "model") if rows and key in rows[0]]
    if rows:
        console.table(
            (*(key.upper() for key in keys), "CALLS", "IN DOUBT", "USD"),
            [
                (
                    *(row[key] or "-" for key in keys),
                    str(row["calls"]),
                    str(row["in_doubt"] or "-"),
                    f"{row['usd']:.4f}",
                )
                for row in rows
            ],
        )
        console.result("")
    against = f" of {limit} USD" if limit is not None else ""
    console.result(f"{month}: {amount:.4f} USD{against} spent or under way.")
