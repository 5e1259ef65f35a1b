"""``models pull`` and ``models list --local``: models that render on this machine.

Invariant: neither needs more of the extra ``local`` than the hub's library.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from tirada.cli import console
from tirada.cli.options import QuietOption
from tirada.output.text import counted

if TYPE_CHECKING:
    from types import TracebackType

    from models.backends.local.hub import Snapshot, Survey
    from models.backends.local.source import Source
    from models.catalog import Catalog, ModelRow
    from models.contract import ImageRequest, LocalModel

#: Seconds after which a rate can be told.
MEANINGFUL = 2.0


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the catalog, or OWNER/NAME at the hub.")],
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Take pickled weights too: opening them can run any program.")
    ] = False,
    quiet: QuietOption = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Download a model ahead, to render with it on this machine."""
    from models.backends.local import hub, loading
    from models.backends.local.options import Options
    from models.catalog import load_catalog
    from tirada.cli.main import Interrupted
    from tirada.settings import load_settings

    hub.require("`models pull`")
    settings = load_settings()
    token = settings.value("HF_TOKEN")
    source = _find(load_catalog(settings.catalog_file), name, token)
    wanted = loading.wanted(source, Options(allow_pickle=allow_pickle))
    if hub.is_offline() and (here := hub.cached(source.where, **wanted)) is not None:
        console.note(f"{source.name} is here; whether there is a newer one is not asked (HF_HUB_OFFLINE is set).")
        _answer(source, None, here, fetched=0, json=json)
        return
    survey = hub.survey(source.where, token=token, **wanted)
    left = survey.left()
    if not quiet:
        _introduce(source, survey, left)
    try:
        with _listener(left, quiet=quiet) as listener:
            found = hub.fetch(survey, token=token, listener=listener)
    except Interrupted:
        console.note(f"What is here stays; to go on: python main.py models pull {name}")
        raise
    _answer(source, survey, found, fetched=left, json=json)


def _find(catalog: Catalog, name: str, token: str | None) -> Source:
    """The model of that name; raises UnsupportedRequest where there is nothing to fetch."""
    from models.backends.local.loading import repository_reader
    from models.backends.local.source import find_source
    from models.errors import UnsupportedRequest

    try:
        source = find_source(catalog, "stable-diffusion", name, repository_reader(token))
    except UnsupportedRequest:
        row = catalog.find("image", name) or catalog.find("text", name)
        if row is None or row.weights is not None:
            raise
        raise UnsupportedRequest(
            f"{row.id} does not render on this machine: there is nothing to download.",
            hint="`python main.py models` lists what does, under --stable-diffusion and --flux.",
        ) from None
    if source.kind != "repository":
        raise UnsupportedRequest(f"{source.where!r} is on this machine: there is nothing to download.")
    return source


def _introduce(source: Source, survey: Survey, left: int) -> None:
    from models.backends.local.hub import amount

    licence = source.weights.licence or survey.licence
    terms = "" if source.weights.commercial else "; not for commercial use"
    console.note(
        f"{source.name}: {f'licence {licence}{terms}' if licence else 'its licence is not stated'}. "
        f"The terms are on its page at the Hugging Face hub: {source.where}"
    )
    rest = f"{amount(left)} to fetch" if left else "all here"
    console.note(f"{amount(survey.size)} in {len(survey.files)} files, {rest}.")


def _answer(source: Source, survey: Survey | None, found: Snapshot, *, fetched: int, json: bool) -> None:
    if not json:
        console.result(str(found.folder))
        return
    console.result_json(
        {
            "model": source.name,
            "repository": source.where,
            "revision": found.folder.name,
            "variant": found.variant,
            "licence": source.weights.licence or (survey.licence if survey else ""),
            "commercial": source.weights.commercial if source.weights.licence else None,
            "gated": survey.gated if survey else source.weights.gated,
            "bytes": survey.size if survey else None,
            "fetched_bytes": fetched,
            "files": [file.name for file in survey.files] if survey else None,
            "path": str(found.folder),
        }
    )


# --- how it goes ------------------------------------------------------------------------------------------------------


def fetch_ahead(backend: LocalModel, request: ImageRequest, *, quiet: bool) -> None:
    """Before a run: have its model here, and let people see how long that takes. Raises ModelError."""
    from models.backends.local.hub import amount

    size = backend.to_fetch(request)
    if not size:
        return
    if not quiet:
        console.note(f"The model is not on this machine yet: {amount(size)} are downloaded first.")
    with _listener(size, quiet=quiet) as listener:
        backend.fetch(request, listener)


def _listener(size: int, *, quiet: bool) -> _Silent:
    return _Silent() if quiet else _Bar(size) if console.ask_terminal() else _Lines(size)


class _Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def received(self, count: int) -> None:
        return None

    def done(self, name: str, size: int) -> None:
        return None


class _Lines(_Silent):
    """A line for each file, for logs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._came = 0
        self._start = time.monotonic()

    def received(self, count: int) -> None:
        self._came += count

    def done(self, name: str, size: int) -> None:
        from models.backends.local.hub import amount

        seconds = time.monotonic() - self._start
        left = max(0, self._total - self._came)
        rest = f"{amount(left)} left" if left else "nothing left"
        # The first seconds say little about the next hours.
        if seconds >= MEANINGFUL and self._came:
            rest += f", {amount(self._came / seconds)}/s"
            rest += f", about {_duration(left * seconds / self._came)}" if left else ""
        console.note(f"{name}: {amount(size)}; {rest}")


class _Bar(_Silent):
    """A bar with bytes, rate and time left, for people."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        self._progress = Progress(
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def received(self, count: int) -> None:
        self._progress.advance(self._task, count)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


# --- what is here -----------------------------------------------------------------------------------------------------


def list_stored(*, json: bool) -> None:
    """Print what the hub's cache holds."""
    from models.backends.local import hub, stock
    from models.catalog import load_catalog
    from tirada.settings import load_settings

    hub.require("`models list --local`")
    rows = [row for row in load_catalog(load_settings().catalog_file).rows("image") if row.weights is not None]
    everything = stock.stored((row.weights.repository, row.weights.variant) for row in rows if row.weights is not None)
    found = [one for one in everything if one.renders]
    others = [one for one in everything if not one.renders]
    known = [(one, _ids(rows, one.repository)) for one in found]
    if json:
        console.result_json([_as_json(one, ids) for one, ids in known])
        return
    if not found:
        console.result(f"There is no model yet in {hub.cache()}. To fetch one: python main.py models pull NAME")
    else:
        cells = [
            (
                ", ".join(ids) or "-",
                one.repository,
                hub.amount(one.size),
                time.strftime("%Y-%m-%d", time.localtime(one.used)),
                "whole" if one.complete else "incomplete",
                str(one.path),
            )
            for one, ids in known
        ]
        console.table(("MODEL", "REPOSITORY", "SIZE", "LAST USED", "STATE", "PATH"), cells)
        console.result(
            f"\n{counted(len(found), 'model')}, {hub.amount(sum(one.size for one in found))} in {hub.cache()}."
        )
    if others:
        size = hub.amount(sum(one.size for one in others))
        console.note(f"{len(others)} more in that folder ({size}) are no models for rendering, such as LoRAs.")


def _ids(rows: list[ModelRow], repository: str) -> list[str]:
    """The models of the catalog that are loaded from there."""
    wanted = repository.casefold()
    return [row.id for row in rows if row.weights is not None and row.weights.repository.casefold() == wanted]


def _as_json(one: Any, ids: list[str]) -> dict[str, Any]:
    return {
        "models": ids,
        "repository": one.repository,
        "bytes": one.size,
        "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.used)),
        "complete": one.complete,
        "path": str(one.path),
    }
