"""``resume [RUN]``: finishes what is missing of an interrupted run, and only that."""

from __future__ import annotations

from typing import Annotated

import typer

from tirada.cli import console
from tirada.cli.options import JsonOption, OutputOption, QuietOption, leave


def command(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Id, or how it begins.", show_default="the newest unfinished")
    ] = None,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Finish an interrupted run."""
    from tirada.cli.drive import resume
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.queries import find_run, resumable

    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        open_runs = resumable(store)
        if run is None and not open_runs:
            console.note("Nothing to resume: every run has come to its end.")
            return
        row = find_run(store, run or open_runs[0])
        if row["id"] not in open_runs:
            console.note(f"Run {row['id']} has come to its end ({row['status']}); nothing is missing.")
            return
        leave(resume(setup, store, row, as_json=json, quiet=quiet))
    finally:
        store.close()
