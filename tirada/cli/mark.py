"""``mark IMAGE... good|bad``: what people think of images."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tirada.cli import console
from tirada.cli.options import JsonOption, OutputOption, QuietOption, parse_user
from tirada.errors import UsageError

if TYPE_CHECKING:
    from tirada.store.marks import Verdict

VERDICTS = ("good", "bad")


def command(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Files, FOLDER/NUMBER, or RUN/NUMBER such as latest/3.", show_default=False
        ),
    ] = None,
    verdict: Annotated[
        str | None, typer.Argument(metavar="good|bad", help="The verdict on all of them.", show_default=False)
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            metavar="NAME",
            parser=parse_user,
            help="Whose verdict it is.",
            show_default="for whom the image was made",
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the verdict back; then name none.")] = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Say which images are good and which are bad."""
    from tirada.cli import pictures
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings
    from tirada.store.marks import mark

    names, said = _read([*(images or ()), *((verdict,) if verdict else ())], clear=clear)
    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    store = setup.open_existing_store()
    try:
        rows = {row["id"]: row for row in (pictures.find(store, setup.output, name) for name in names)}
        users = {number: user or row["user"] or "" for number, row in rows.items()}
        before = mark(store, users, said)
    finally:
        store.close()
    report = [
        {
            "image": str(setup.output / row["folder"] / row["file"]),
            "run_id": row["run_id"],
            "title": row["title"] or row["concept_title"],
            "user": users[number],
            "verdict": said,
            "before": before[number],
        }
        for number, row in rows.items()
    ]
    if json:
        console.result_json(report)
        return
    for one in report:
        by = f" ({one['user']})" if one["user"] else ""
        setup.say(f"{one['image']}: {_change(one['before'], said)}{by}")


def _read(words: list[str], *, clear: bool) -> tuple[list[str], Verdict | None]:
    """The images and the verdict; raises UsageError where one of them is missing."""
    if not words:
        raise UsageError("Say which images, and what they are: python main.py mark IMAGE... good|bad")
    *names, last = words
    if clear:
        if last in VERDICTS:
            raise UsageError(f"--clear takes a verdict back: leave out {last!r}.")
        return words, None
    if last not in VERDICTS:
        close = difflib.get_close_matches(last.casefold(), VERDICTS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "say good or bad last, or --clear."
        raise UsageError(f"{last!r} is no verdict; {hint}")
    if not names:
        raise UsageError(f"There is no image before {last!r}: python main.py mark IMAGE... good|bad")
    return names, cast("Verdict", last)


def _change(before: str | None, after: str | None) -> str:
    if after is None:
        return f"no longer {before}" if before else "had no verdict"
    return after if before in (None, after) else f"{after}, was {before}"
