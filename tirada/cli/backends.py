"""``backends``: what can render, and what each still needs."""

from __future__ import annotations

from typing import Annotated

import typer

from models import registry
from models.registry import BackendRow
from tirada.cli import console


def command(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the backends and what each still needs."""
    from tirada.settings import Settings, load_settings

    settings: Settings = load_settings()
    rows = registry.rows()
    states = {row.name: _state(row, settings) for row in rows}
    if json:
        console.result_json(
            [{"name": r.name, "flag": r.flag, "label": r.label, "paid": r.paid, "state": states[r.name]} for r in rows]
        )
        return
    console.table(
        ("BACKEND", "FLAG", "PAID", "STATE", "WHAT IT IS"),
        [(r.name, r.flag, "yes" if r.paid else "no", states[r.name], r.summary) for r in rows],
    )


def installed(row: BackendRow) -> bool:
    """Is there what the backend's extra brings?"""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in registry.EXTRAS.get(row.extra, ()))


def _state(row: BackendRow, settings: object) -> str:
    from tirada.settings import Settings

    assert isinstance(settings, Settings)
    if not row.target:
        return "broken"
    if row.extra and not installed(row):
        return f"needs the extra {row.extra!r}"
    keys = [name for name in row.settings if name.endswith(("_KEY", "_URL"))]
    if keys and not any(settings.value(name) for name in keys):
        return f"needs {row.settings[0]}"
    return "ready"
