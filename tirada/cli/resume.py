"""``resume [RUN]``: finishes what is missing of an interrupted run, and only that."""

from __future__ import annotations

from typing import Annotated

import typer

from tirada.cli import console
from tirada.cli.options import BudgetOption, DryRunOption, JsonOption, OutputOption, QuietOption, leave
from tirada.errors import UsageError
from tirada.output.text import counted

NOTHING = "Nothing to resume: every run has come to its end."


def command(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Id, or how it begins.", show_default="the newest unfinished")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every unfinished run, the oldest first.")] = False,
    skip_in_doubt: Annotated[
        bool, typer.Option("--skip-in-doubt", help="Leave images alone that may have been paid for.")
    ] = False,
    budget: BudgetOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Finish an interrupted run, or all of them."""
    from tirada.cli.again import Wishes, take_up, take_up_all, tell_nothing
    from tirada.cli.setup import Setup
    from tirada.engine.going import is_going
    from tirada.settings import load_settings
    from tirada.store.queries import find_run, resumable

    if run is not None and everything:
        raise UsageError("Name one run, or say --all.")
    settings = load_settings()
    setup = Setup(settings, output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        open_runs = resumable(store)
        wishes = Wishes(budget=budget, skip_in_doubt=skip_in_doubt, dry_run=dry_run, as_json=json, quiet=quiet)
        if everything:
            if not open_runs:
                setup.say(NOTHING)
            code, facts = take_up_all(setup, store, list(reversed(open_runs)), wishes)
            if json:
                console.result_json(facts)
            leave(code)
            return
        idle = [one for one in open_runs if not is_going(setup.output, one)]
        # One may have come to its end since: what nobody works on is unfinished only if it still is now.
        open_runs = resumable(store)
        idle = [one for one in idle if one in open_runs]
        if run is None and not open_runs:
            tell_nothing(NOTHING, as_json=json)
            return
        if run is None and not idle:
            going = counted(len(open_runs), "run is", "runs are")
            tell_nothing(f"Nothing to resume: {going} still going in another process.", as_json=json)
            return
        row = find_run(store, run or idle[0])
        if row["id"] not in open_runs:
            said = f"Run {row['id']} has come to its end ({row['status']}); nothing is missing."
            tell_nothing(said, as_json=json, run_id=row["id"])
            return
        code, facts = take_up(setup, store, row, wishes)
        if json:
            console.result_json(facts)
        leave(code)
    finally:
        store.close()
