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
from models.registry import BackendRow
from tirada.cli import console
from tirada.cli.options import OutputOption, leave
from tirada.cli.status import ExitStatus
from tirada.errors import TiradaError
from tirada.output.text import counted

if TYPE_CHECKING:
    from models.catalog import ModelRow
    from models.contract import LocalModel, Role
    from tirada.cli.setup import Setup

#: Models that retire within so many days are worth a warning.
SOON_DAYS = 60
#: A list of a role with fewer entries repeats itself early.
ENTRIES_WANTED = 30
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
        setup.texts.choose_writer(None, setup.settings.writer_language)
        yield "ok", f"Writer: {setup.texts.label()}"
    except (ModelError, TiradaError) as exc:
        yield "problem", str(exc)


def _models(setup: Setup) -> Iterator[Finding]:
    catalog = setup.catalog
    yield "ok", f"Catalog of {catalog.updated}, {counted(len(catalog.rows()), 'model')}"
    for row, why in _used(setup):
        days = SOON_DAYS + 1 if row.retires is None else (row.retires - catalog.today).days
        if row.retired(catalog.today):
            yield "problem", f"{row.id} was retired on {row.retires}, and {why}; use {row.use}"
        elif days <= SOON_DAYS:
            yield (
                "warning",
                f"{row.id} retires on {row.retires}, in {counted(days, 'day')}, and {why}; use {row.use}",
            )


def _used(setup: Setup) -> Iterator[tuple[ModelRow, str]]:
    """The models that these settings lead to, and how; `models` lists all there are, with their retirement dates."""
    catalog, settings = setup.catalog, setup.settings
    for backend in registry.rows():
        names = [name for name in backend.settings if name.endswith("_MODEL")]
        for name in names:
            if (value := settings.value(name)) and (named := catalog.find("image", value)):
                yield named, f"{name} names it"
        ready = backend.name == settings.backend or (backend.settings and settings.value(backend.settings[0]))
        if ready and not any(settings.value(name) for name in names):
            yield from ((row, f"{backend.flag} uses it") for row in catalog.rows("image") if _default_of(row, backend))
    if settings.writer_model:
        if named := catalog.find("text", settings.writer_model):
            yield named, "WRITER_MODEL names it"
    elif setup.texts.name == "gpt":
        yield from ((row, "the GPT writer uses it") for row in catalog.rows("text") if row.default and not row.backend)


def _default_of(row: ModelRow, backend: BackendRow) -> bool:
    return row.default and row.backend == backend.name


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
    yield "ok", f"{counted(len(roles), 'role')}, {counted(examples, 'few-shot example')}"
    for problem in setup.library.problems:
        yield "warning", str(problem)
    for role in roles:
        if thin := _thin(role):
            yield "warning", f"Role {role.name}: {thin}"


def _thin(role: Role) -> str:
    """What a role has too little of to keep a large batch varied; nothing where it has enough."""
    lists = {name: entries for name, entries in role.lists.items() if len(entries) < ENTRIES_WANTED}
    short = [f"{len(entries)} in {name}" for name, entries in lists.items()]
    wanting = [f"fewer than {ENTRIES_WANTED} entries to choose from ({', '.join(short)})"] if short else []
    if not role.examples:
        wanting.append(f"no few-shot examples (tuning/{role.name}.jsonl)")
    return f"{' and '.join(wanting)}: its ideas will be more alike than those of others" if wanting else ""


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
        yield (
            "warning",
            f"{counted(len(open_runs), 'unfinished run')}; the newest: python main.py resume {open_runs[0]}",
        )
    else:
        yield "ok", "No unfinished run"
