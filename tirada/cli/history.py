"""``history``: the runs in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tirada.cli import console
from tirada.cli.options import OutputOption, parse_user
from tirada.output.text import counted, one_line


def command(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 20,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", parser=parse_user, help="Only what was made for them.", show_default=False
        ),
    ] = None,
    output: OutputOption = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what was made, the newest first."""
    from tirada.cli.setup import Setup
    from tirada.engine.going import status_now
    from tirada.settings import load_settings
    from tirada.store.marks import check_user
    from tirada.store.queries import list_runs

    setup = Setup(load_settings(), output=output)
    store = setup.open_existing_store()
    try:
        if user is not None:
            check_user(store, user)
        rows = [{**row, "status": status_now(store, setup.output, row)} for row in list_runs(store, limit, user)]
    finally:
        store.close()
    if json:
        console.result_json([{key: value for key, value in row.items() if key != "plan"} for row in rows])
        return
    if not rows:
        console.note(f"Nothing was made here yet{f' for {user}' if user else ''}.")
        return
    # Most people are alone with their images, and need no column for that.
    shared = any(row["user"] for row in rows)
    console.table(
        ("RUN", "WHEN (UTC)", *(("USER",) if shared else ()), "STATUS", "MADE", "COST", "COMMAND"),
        [
            (
                row["id"],
                row["created_at"][:16].replace("T", " "),
                *((row["user"] or "-",) if shared else ()),
                row["status"],
                _made(row),
                f"{row['cost_usd']:.4f}" if row["cost_usd"] else "-",
                one_line(row["command"]),
            )
            for row in rows
        ],
    )


def _made(row: Mapping[str, Any]) -> str:
    if row["images"] or row["plan"]["images"]:
        return f"{row['done']}/{counted(row['images'], 'image')}"
    return counted(row["concepts"], "prompt")
