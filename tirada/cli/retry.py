"""``retry RUN``: what failed of a run again, and only that, also with another backend."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tirada.cli import console
from tirada.cli.options import (
    BudgetOption,
    DryRunOption,
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
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id, how it begins, or `latest`.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model.", show_default="the same")
    ] = None,
    on_refusal: Annotated[
        Literal["skip", "rewrite"] | None,
        typer.Option(
            "--on-refusal", help="Skip the image, or put it into safer words once.", show_default="as the run had it"
        ),
    ] = None,
    budget: BudgetOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Try again what failed or was refused, also with another backend."""
    from tirada.cli.again import Wishes, take_up, tell_nothing
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.queries import find_run, resumable

    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        row = find_run(store, run)
        # A retry that was cut off leaves what it took up to be made.
        if not store.failures(row["id"], 1) and row["id"] not in resumable(store):
            tell_nothing(f"Nothing of run {row['id']} failed.", as_json=json, run_id=row["id"])
            return
        wishes = Wishes(
            retry=True,
            backend=chosen_backend(ctx),
            model=model,
            on_refusal=on_refusal,
            budget=budget,
            yes=yes,
            dry_run=dry_run,
            as_json=json,
            quiet=quiet,
        )
        code, facts = take_up(setup, store, row, wishes)
        if json:
            console.result_json(facts)
        leave(code)
    finally:
        store.close()
