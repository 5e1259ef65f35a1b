"""``doctor``: is everything as it should be? Looks at files and settings only; nothing is sent anywhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from models import registry
from models.errors import ModelError, SetupError
from tirada.cli import console
from tirada.cli.options import OutputOption, leave
from tirada.cli.status import ExitStatus
from tirada.errors import TiradaError

if TYPE_CHECKING:
    from models.contract import LocalModel
    from tirada.cli.setup import Setup

#: Models that retire within so many days are worth a warning.
SOON_DAYS = 60
Finding = tuple[Literal["ok", "warning", "problem"], str]


def command(
    output: OutputOption = None, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Check keys, data files, models and the output folder."""
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings

    findings: list[Finding] = []
    try:
        setup = Setup(load_settings(), output=output, quiet=True)
    except SetupError as exc:
        findings.append(("problem", str(exc)))
    else:
        for check in (_python, _keys, _writer, _models, _local, _roles, _output):
            findings.extend(check(setup))
    if json:
        console.result_json([{"level": level, "message": message} for level, message in findings])
    else:
        for level, message in findings:
            console.result(f"{level:<8} {message}")
    leave(ExitStatus.SETUP if any(level == "problem" for level, _ in findings) else ExitStatus.DONE)


def _python(_setup: Setup) -> Iterator[Finding]:
    yield "ok", f"Python {sys.version.split()[0]}"


def _keys(setup: Setup) -> Iterator[Finding]:
    for row in registry.rows():
        for name in row.settings:
            if name.endswith("_KEY"):
                needed = f"{row.flag} needs it" if name == row.settings[0] else f"{row.flag} may do without"
                yield "ok", f"{name} {'is set' if setup.settings.value(name) else f'is not set ({needed})'}"


def _writer(setup: Setup) -> Iterator[Finding]:
    try:
        setup.choose_writer(None, setup.settings.writer_language)
        yield "ok", f"Writer: {setup.writer_label()}"
    except (ModelError, TiradaError) as exc:
        yield "problem", str(exc)


def _models(setup: Setup) -> Iterator[Finding]:
    catalog = setup.catalog
    yield "ok", f"Catalog of {catalog.updated}, {len(catalog.rows())} models"
    for row in catalog.retiring(SOON_DAYS):
        days = (row.retires - catalog.today).days if row.retires else 0
        yield "warning", f"{row.id} retires on {row.retires}, in {days} days; use {row.use}"
    for name, kind in ((setup.settings.dalle_model, "image"), (setup.settings.writer_model, "text")):
        row_or_none = catalog.find(kind, name) if name else None  # type: ignore[arg-type]
        if row_or_none is not None and row_or_none.retired(catalog.today):
            yield "problem", f"{name} was retired on {row_or_none.retires}; use {row_or_none.use}"


def _local(setup: Setup) -> Iterator[Finding]:
    """The device that local models render on, its free memory, and how the default models would lie in it."""
    from tirada.cli.backends import installed

    rows = [row for row in registry.BACKENDS if row.extra == "local"]
    if not all(map(installed, rows)):
        yield "ok", 'Local models: not installed (pip install -e ".[local]")'
        return
    lines: list[str] = []
    for row in rows:
        try:
            setup.choose_backend(row.name)
            lines += cast("LocalModel", setup.backend).diagnosis()
        except (ModelError, TiradaError) as exc:
            yield "problem", f"{row.flag}: {exc}"
    yield from (("ok", line) for line in dict.fromkeys(lines))


def _roles(setup: Setup) -> Iterator[Finding]:
    try:
        roles = setup.library.load_usable()
    except SetupError as exc:
        yield "problem", str(exc)
        return
    examples = sum(len(role.examples) for role in roles)
    yield "ok", f"{len(roles)} roles, {examples} few-shot examples"
    for problem in setup.library.problems:
        yield "warning", str(problem)


def _output(setup: Setup) -> Iterator[Finding]:
    folder: Path = setup.output
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    free = shutil.disk_usage(existing).free // (1024 * 1024)
    if free < setup.settings.min_free_mb:
        yield "problem", f"{existing} has {free} MB free; nothing is made with less than {setup.settings.min_free_mb}"
    else:
        yield "ok", f"{folder}: {free} MB free"
    if not folder.exists():
        return
    from tirada.store.queries import resumable

    try:
        store = setup.open_store()
    except TiradaError as exc:
        yield "problem", str(exc)
        return
    try:
        open_runs = resumable(store)
    finally:
        store.close()
    if open_runs:
        yield "warning", f"{len(open_runs)} unfinished runs; the newest: python main.py resume {open_runs[0]}"
    else:
        yield "ok", "No unfinished run"
