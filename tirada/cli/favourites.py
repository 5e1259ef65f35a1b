"""``favourites``: the images that were marked as good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tirada.cli import console
from tirada.cli.options import OutputOption, parse_user
from tirada.output.text import one_line


def command(
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", parser=parse_user, help="Only what they marked.", show_default="anybody"
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="How many, the latest first.", show_default="all")
    ] = None,
    output: OutputOption = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the images that were marked as good."""
    from itertools import islice

    from tirada.cli.pictures import record
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.marks import check_user, marked

    setup = Setup(load_settings(), output=output)
    store = setup.open_existing_store()
    try:
        if user is not None:
            check_user(store, user)
        found = list(islice(marked(store, "good", user), limit))
    finally:
        store.close()
    paths = [setup.output / picture.folder / picture.file for picture in found]
    if json:
        console.result_json(
            [{"image": str(path), **record(picture)} for path, picture in zip(paths, found, strict=True)]
        )
        return
    if not found:
        console.note("Nothing is marked as good yet: python main.py mark IMAGE good")
        return
    said = [[one for one in picture.marks if one.verdict == "good" and user in (None, one.user)] for picture in found]
    console.table(
        ("MARKED (UTC)", "BY", "RUN", "IMAGE", "TITLE"),
        [
            (
                max(one.marked_at for one in marks)[:16].replace("T", " "),
                ", ".join(one.user for one in marks if one.user) or "-",
                picture.run_id,
                _shown(path),
                one_line(picture.title),
            )
            for picture, path, marks in zip(found, paths, said, strict=True)
        ],
    )


def _shown(path: Path) -> str:
    return str(path) if path.is_file() else f"{path} (gone)"
