"""``retry RUN``: what failed of a run again, and only that, also with another backend."""

from __future__ import annotations

from typing import Annotated

import typer

from tirada.cli import console
from tirada.cli.options import (
    BudgetOption,
    JsonOption,
    OutputOption,
    QuietOption,
    YesOption,
    chosen_backend,
    leave,
    with_backend_flags,
)


@with_backend_flags
def command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id, or how it begins.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model.", show_default="the same")
    ] = None,
    budget: BudgetOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Try again what failed or was refused, also with another backend."""
    from tirada.cli.drive import resume
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.queries import find_run, resumable

    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        row = find_run(store, run)
        # A retry that was cut off leaves what it took up to be made.
        if not store.failures(row["id"], 1) and row["id"] not in resumable(store):
            console.note(f"Nothing of run {row['id']} failed.")
            return
        leave(
            resume(
                setup,
                store,
                row,
                retry=True,
                backend=chosen_backend(ctx),
                model=model,
                budget=budget,
                yes=yes,
                as_json=json,
                quiet=quiet,
            )
        )
    finally:
        store.close()
