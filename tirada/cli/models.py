"""``models``: the catalog of image and text models; ``models list`` is the same, and ``models pull`` fetches one.

Invariant: what concerns models on this machine is in ``local_models``, and works without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tirada.cli import console, local_models
from tirada.errors import UsageError

if TYPE_CHECKING:
    from models.catalog import Catalog, ModelRow
    from models.contract import ServerControls
    from tirada.settings import Settings

#: The backend that can be asked what models it has, and the seconds its answer is waited for.
SERVER, PATIENCE = "sdapi", 5.0


AllOption = Annotated[bool, typer.Option("--all", help="Also those that are retired.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def command(ctx: typer.Context, everything: AllOption = False, json: JsonOption = False) -> None:
    """List the models; `models pull NAME` downloads one."""
    if ctx.invoked_subcommand is None:
        _list_catalog(everything=everything, json=json)
    elif everything or json:
        raise UsageError(f"Options go behind the command: python main.py models {ctx.invoked_subcommand} --help")


def list_command(
    everything: AllOption = False,
    local: Annotated[bool, typer.Option("--local", help="Those that are on this machine, with their size.")] = False,
    json: JsonOption = False,
) -> None:
    """List the models, or those on this machine."""
    if local:
        local_models.list_stored(json=json)
    else:
        _list_catalog(everything=everything, json=json)


#: What follows ``models``.
SUBCOMMANDS: dict[str, Callable[..., Any]] = {"list": list_command, "pull": local_models.pull}


def _list_catalog(*, everything: bool, json: bool) -> None:
    from models.catalog import load_catalog
    from tirada.settings import load_settings

    settings = load_settings()
    catalog = load_catalog(settings.catalog_file)
    rows = [row for row in catalog.rows() if everything or not row.retired(catalog.today)]
    # Only a server that is named is asked: nobody wants to wait for one that they never had.
    checkpoints = _checkpoints(settings, catalog) if settings.stable_diffusion_url else []
    if json:
        known: list[dict[str, Any]] = [row.model_dump(mode="json", exclude_defaults=True) for row in rows]
        console.result_json([*known, *({"kind": "image", "id": name, "backend": SERVER} for name in checkpoints)])
        return
    for kind in ("image", "text"):
        console.table(
            (f"{kind.upper()} MODEL", "USED BY", "PRICE (USD)", "RETIRES", "ABOUT"),
            [_cells(row, catalog) for row in rows if row.kind == kind],
        )
        console.result("")
    if checkpoints:
        console.table(("CHECKPOINT", "USED BY"), [(name, f"--{SERVER}") for name in checkpoints])
        console.result("")
    console.result(f"Catalog of {catalog.updated}. * = used when none is named. Sources: models --json.")


def _checkpoints(settings: Settings, catalog: Catalog) -> list[str]:
    """What the user's own server has loaded or could load; where it does not say, a line on stderr."""
    from models import registry
    from models.errors import ModelError
    from models.registry import BackendConfig

    row = registry.find(SERVER)
    values = {name: settings.value(name) for name in row.settings}
    backend = registry.build(row, BackendConfig(catalog=catalog, settings=values, timeout=PATIENCE))
    try:
        names = cast("ServerControls", backend).models()
    except ModelError as exc:
        console.note(exc.message)
        return []
    finally:
        backend.close()
    if not names:
        console.note("The server of STABLE_DIFFUSION_URL does not say which checkpoints it has.")
    return names


def _cells(row: ModelRow, catalog: Catalog) -> tuple[str, ...]:
    used_by = row.backend or ("composer" if row.id == "composer" else "gpt")
    retires = "" if row.retires is None else f"{row.retires}"
    if row.retired(catalog.today):
        retires += f" -> {row.use}"
    return (f"{row.id}{'*' if row.default else ''}", used_by, _price(row), retires, row.about)


def _price(row: ModelRow) -> str:
    from decimal import Decimal

    if row.price is not None:
        further = f" + {row.per_megapixel}/MP" if row.per_megapixel else ""
        return "free" if row.price == 0 else f"{row.price}{further}"
    if row.kind == "image" and row.tokens and "image_out" in row.per_million:
        tokens = row.tokens.get(row.default_quality) or next(iter(row.tokens.values()))
        each = row.per_million["image_out"] * tokens / Decimal(1_000_000)
        return f"~{each:.3f} an image"
    if row.per_million:
        prices = [str(row.per_million[key]) for key in ("input", "output") if key in row.per_million]
        return f"{' / '.join(prices)} per 1M"
    return "unknown"
