"""``story redo RUN --page N``: one page of a book again, and the book bound anew with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tirada.cli import console
from tirada.cli.options import BudgetOption, DryRunOption, JsonOption, OutputOption, QuietOption, leave
from tirada.errors import NotFound, StillGoing, TiradaError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.engine.job import Item
    from tirada.store.store import Store


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the story, how it begins, or `latest`.")],
    page: Annotated[str, typer.Option("--page", metavar="N", help="The page, or `cover`.")],
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="What it is to show.", show_default="the same scene")
    ] = "",
    budget: BudgetOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make one page of a story again (also: `story redo`)."""
    from tirada.cli.again import Wishes, take_up
    from tirada.cli.setup import Setup
    from tirada.engine.going import is_going
    from tirada.engine.items import add_to_job
    from tirada.settings import load_settings
    from tirada.store.queries import find_run

    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        row = find_run(store, run)
        if is_going(setup.output, row["id"]):
            raise StillGoing(row["id"])
        item, missing = _take(store, row, setup.output, page, prompt, setup.data / "stories")
        if missing and not (quiet or json):
            what = "1 image that is" if missing == 1 else f"{missing} images that are"
            console.note(f"Run {row['id']} is not finished: {what} still missing {_are(missing)} made, too.")
        if dry_run:
            facts = {"dry_run": True, "run": row["id"], "image": item.name, "prompt": item.prompt, "seed": item.seed}
            facts["missing"] = missing
            if json:
                console.result_json(facts)
            else:
                console.result(f"Would make {item.name} of run {row['id']}: {item.prompt}")
            return
        if prompt and (found := setup.texts.flagged(prompt)):
            raise TiradaError(f"That is nothing for this book; flagged as: {', '.join(found)}.")

        def add() -> None:
            # Of two at once, the second finds the take of the first.
            again, _ = _take(store, row, setup.output, page, prompt, setup.data / "stories")
            add_to_job(store, row, [again])

        wishes = Wishes(budget=budget, as_json=json, quiet=quiet)
        code, report = take_up(setup, store, row, wishes, more=1, first=add)
        if json:
            console.result_json(report)
        leave(code)
    finally:
        store.close()


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _take(store: Store, row: RowMapping, output: Path, page: str, prompt: str, folder: Path) -> tuple[Item, int]:
    """What is to be made, from what the store says of the book; and how many of its images are still to come."""
    from tirada.engine.items import concept_of, made_of
    from tirada.engine.plan import Plan
    from tirada.store.items import Items
    from tirada.workflows.stories.redo import another_take

    concept = Items(store.database, row["id"]).concept()
    if concept is None:
        raise NotFound(f"Run {row['id']} never came as far as to have pages.")
    made = made_of(output / (concept["folder"] or ""), store.images_of(concept["id"]))
    missing = sum(one.state in ("planned", "submitted", "received") for one in made)
    return another_take(Plan.from_json(row["plan"]), concept_of(concept), made, page, prompt, folder), missing
