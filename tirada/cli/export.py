"""``export TARGET RUN…``: finished images, put together the way another house wants them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tirada.cli import console
from tirada.cli.options import JsonOption, OutputOption, QuietOption, parse_folder, parse_user
from tirada.errors import NotFound, UsageError
from tirada.output.text import counted

if TYPE_CHECKING:
    from tirada.cli.setup import Setup
    from tirada.output.export.workshop import Exported
    from tirada.store.marks import Verdict
    from tirada.store.store import Store


def command(
    target: Annotated[
        Literal["adobe-stock", "huggingface", "images"],
        typer.Argument(metavar="TARGET", help="adobe-stock, huggingface, or images: a zip of the files."),
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Ids or how they begin, `latest`, or folders that hold an info.json. Images: without, all.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="PATH",
            parser=parse_folder,
            help="New folder for it; for images, a new zip.",
            show_default="a new one in OUTPUT/exports",
        ),
    ] = None,
    category: Annotated[
        int | None, typer.Option("--category", min=1, max=21, metavar="N", help="Adobe's number of a category.")
    ] = None,
    include_drafts: Annotated[
        bool, typer.Option("--include-drafts", help="Sketches of the draft backend too, for a rehearsal.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", parser=parse_user, help="Of images: those made for them.", show_default=False
        ),
    ] = None,
    marked: Annotated[
        Literal["good", "bad"] | None, typer.Option("--marked", help="Of images: those that somebody marked so.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Of images: what was made on the way to a result too.")
    ] = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Put finished images together: Adobe Stock, Hugging Face, a zip."""
    from tirada.cli.setup import Setup
    from tirada.output.export import adobe_stock, huggingface
    from tirada.output.export.workshop import default_destination
    from tirada.settings import load_settings

    if category is not None and target != "adobe-stock":
        raise UsageError("--category is for adobe-stock.")
    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    if target == "images":
        _tell(setup, _zip(setup, runs, to, user=user, marked=marked, everything=everything), json=json)
        return
    if user is not None or marked is not None or everything:
        raise UsageError("--user, --marked and --all are for images: python main.py export images --help")
    if not runs:
        raise UsageError(f"Say of which runs: python main.py export {target} RUN...")
    folders = list(_folders(setup, runs))
    destination = to or default_destination(setup.output, target)
    if target == "adobe-stock":
        done = adobe_stock.export(folders, destination, category=category, include_drafts=include_drafts)
    else:
        done = huggingface.export(folders, destination)
    _tell(setup, done, json=json)


def _tell(setup: Setup, done: Exported, *, json: bool) -> None:
    if json:
        where = "file" if done.folder.is_file() else "folder"
        console.result_json(
            {where: str(done.folder), "images": done.images, "tables": done.tables, "notes": done.notes}
        )
        return
    console.result(str(done.folder))
    for text in done.notes:
        setup.say(text)
    setup.say(f"{counted(done.images, 'image')}, described in {', '.join(done.tables)}.")


def _zip(
    setup: Setup,
    names: list[str] | None,
    to: Path | None,
    *,
    user: str | None,
    marked: Verdict | None,
    everything: bool,
) -> Exported:
    """The images of these runs, or of all, in one file."""
    from tirada.cli.pictures import record
    from tirada.output.export.images_zip import SUFFIX, Entry, export
    from tirada.output.export.workshop import default_destination
    from tirada.store.marks import check_user, finished

    folders = _own(setup, _folders(setup, names)) if names else None
    destination = to or default_destination(setup.output, "images").with_suffix(SUFFIX)
    store = setup.open_existing_store()
    try:
        if user is not None:
            check_user(store, user)
        chosen = finished(store, folders=folders, user=user, verdict=marked, everything=everything)
        entries = (
            Entry(
                path=setup.output / one.folder / one.file,
                folder=one.folder,
                file=one.file,
                made_at=one.made_at,
                record=record(one),
            )
            for one in chosen
        )
        which = f" made for {user!r}" * (user is not None) + f" marked as {marked}" * (marked is not None)
        return export(entries, destination, which=which)
    finally:
        store.close()


def _own(setup: Setup, folders: Iterator[Path]) -> list[str]:
    """Names of folders of the output folder; raises UsageError for one that lies elsewhere."""
    found: dict[str, None] = {}
    for folder in folders:
        if folder.resolve().parent != setup.output.resolve():
            raise UsageError(
                f"{str(folder)!r} is not in the output folder {str(setup.output)!r}; --output names another."
            )
        found[folder.resolve().name] = None
    return list(found)


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
