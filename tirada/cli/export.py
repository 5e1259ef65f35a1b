"""``export TARGET RUN…``: finished images, put together the way another house wants them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tirada.cli import console
from tirada.cli.options import JsonOption, OutputOption, QuietOption, parse_folder
from tirada.errors import NotFound, UsageError
from tirada.output.text import counted

if TYPE_CHECKING:
    from tirada.cli.setup import Setup
    from tirada.store.store import Store


def command(
    target: Annotated[
        Literal["adobe-stock", "huggingface"], typer.Argument(metavar="TARGET", help="adobe-stock or huggingface.")
    ],
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Ids or how they begin, `latest`, or folders that hold an info.json."),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="PATH",
            parser=parse_folder,
            help="New folder for it.",
            show_default="a new one in OUTPUT/exports",
        ),
    ] = None,
    category: Annotated[
        int | None, typer.Option("--category", min=1, max=21, metavar="N", help="Adobe's number of a category.")
    ] = None,
    include_drafts: Annotated[
        bool, typer.Option("--include-drafts", help="Sketches of the draft backend too, for a rehearsal.")
    ] = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Put finished images together for Adobe Stock or Hugging Face."""
    from tirada.cli.setup import Setup
    from tirada.output.export import adobe_stock, huggingface
    from tirada.output.export.workshop import default_destination
    from tirada.settings import load_settings

    if category is not None and target != "adobe-stock":
        raise UsageError("--category is for adobe-stock.")
    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    folders = list(_folders(setup, runs))
    destination = to or default_destination(setup.output, target)
    if target == "adobe-stock":
        done = adobe_stock.export(folders, destination, category=category, include_drafts=include_drafts)
    else:
        done = huggingface.export(folders, destination)
    if json:
        console.result_json(
            {"folder": str(done.folder), "images": done.images, "tables": done.tables, "notes": done.notes}
        )
        return
    console.result(str(done.folder))
    for text in done.notes:
        setup.say(text)
    setup.say(f"{counted(done.images, 'image')}, described in {', '.join(done.tables)}.")


def _folders(setup: Setup, names: list[str]) -> Iterator[Path]:
    """The batch folders that these names stand for, in order."""
    from tirada.store.queries import LATEST

    store: Store | None = None
    try:
        for name in names:
            path = Path(name)
            if name != LATEST and path.exists():
                yield from _folders_at(path)
                continue
            store = store or setup.open_existing_store()
            yield from (setup.output / folder for folder in _folders_of_run(store, name))
    finally:
        if store is not None:
            store.close()


def _folders_at(path: Path) -> list[Path]:
    """A batch folder (or its info.json), or all of those in a folder."""
    if path.name == "info.json":
        return [path.parent]
    if (path / "info.json").is_file():
        return [path]
    found = sorted(each.parent for each in path.glob("*/info.json"))
    if not found:
        raise NotFound(f"There is no info.json in {str(path)!r}, nor in the folders there.")
    return found


def _folders_of_run(store: Store, name: str) -> list[str]:
    from tirada.store import queries

    if name == queries.LATEST:
        run_id = queries.latest_run_with_images(store)
        if run_id is None:
            raise NotFound("There is no run with a finished image yet.")
        return queries.folders_of(store, run_id)
    try:
        return queries.folders_of(store, queries.find_run(store, name)["id"])
    except NotFound:
        concept = queries.find_concept(store, name)
        if concept is None or not concept["folder"]:
            raise
        return [concept["folder"]]
