"""The backends there are: a row each, imported on first use.

To add one: a file in ``models/backends/`` with a function ``build`` and a row here. Flags, listings, completion and the
contract tests follow from the rows. A package from elsewhere announces a row through the entry point group
``tirada.backends``; it is used with ``--backend NAME``.

Invariant: importing this module imports no backend.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from models.contract import ImageBackend
from models.errors import SetupError, UnsupportedRequest
from models.redaction import redact

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from models.catalog import Catalog

ENTRY_POINTS = "tirada.backends"
#: What an extra of our package brings, as modules; one that is missing means that it is not installed.
EXTRAS = {"local": ("torch", "diffusers", "transformers", "accelerate", "peft", "compel", "safetensors")}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """What is known of a backend before it is imported."""

    name: str
    #: What people call it, for reports and info files.
    label: str
    #: One line for listings and ``--help``.
    summary: str
    #: "module:function" that builds it from a ``BackendConfig``.
    target: str
    paid: bool
    #: The settings it reads, by their environment names; the first is its key, if it needs one.
    settings: tuple[str, ...] = ()
    #: The extra of our package that it needs, if any.
    extra: str = ""

    @property
    def flag(self) -> str:
        return f"--{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """What a backend is built from."""

    catalog: Catalog
    #: Values of the row's settings; absent ones are None.
    settings: Mapping[str, str | None]
    #: Seconds one request may take.
    timeout: float
    #: Calls under way at once, where the user says so.
    max_in_flight: int | None = None


BACKENDS: tuple[BackendRow, ...] = (
    BackendRow(
        name="draft",
        label="Draft sketches",
        summary="sketches drawn offline, to rehearse a batch: no key, no cost",
        target="models.backends.draft:build",
        paid=False,
    ),
    BackendRow(
        name="dalle",
        label="OpenAI Images",
        summary="OpenAI's image models, or any server that speaks their protocol (the flag keeps the name of DALL-E)",
        target="models.backends.dalle:build",
        paid=True,
        settings=(
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "DALLE_MODEL",
            "OPENAI_IMAGES_BASE_URL",
            "OPENAI_IMAGES_API_KEY",
            "OPENAI_IMAGES_FREE",
        ),
    ),
    BackendRow(
        name="stability",
        label="Stability AI",
        summary="Stability's image models: Core, Ultra, Stable Diffusion 3.5",
        target="models.backends.stability:build",
        paid=True,
        settings=("STABILITY_API_KEY", "STABILITY_BASE_URL", "STABILITY_MODEL"),
    ),
    BackendRow(
        name="flux-api",
        label="Black Forest Labs",
        summary="FLUX over the Black Forest Labs service",
        target="models.backends.flux_api:build",
        paid=True,
        settings=("BFL_API_KEY", "BFL_BASE_URL", "FLUX_API_MODEL"),
    ),
    BackendRow(
        name="sdapi",
        label="Stable Diffusion server",
        summary="any AUTOMATIC1111-style server: Forge, SD.Next, Draw Things",
        target="models.backends.sdapi:build",
        paid=False,
        settings=("STABLE_DIFFUSION_URL", "SDAPI_MODEL"),
    ),
    BackendRow(
        name="stable-diffusion",
        label="Stable Diffusion",
        summary="Stable Diffusion, SDXL and others on your own GPU: no key, no cost",
        target="models.backends.diffusion:build_stable_diffusion",
        paid=False,
        settings=("STABLE_DIFFUSION_MODEL", "HF_TOKEN"),
        extra="local",
    ),
    BackendRow(
        name="flux",
        label="FLUX",
        summary="FLUX and others on your own GPU: no key, no cost",
        target="models.backends.diffusion:build_flux",
        paid=False,
        settings=("FLUX_MODEL", "HF_TOKEN"),
        extra="local",
    ),
)


def rows() -> list[BackendRow]:
    """Our own rows, then those that installed packages announce."""
    return [*BACKENDS, *_announced()]


def find(name: str) -> BackendRow:
    """The row of that name; raises UnsupportedRequest with a suggestion where there is none."""
    for row in BACKENDS:
        if row.name == name:
            return row
    everything = rows()
    for row in everything:
        if row.name == name:
            return row
    names = [row.name for row in everything]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."
    raise UnsupportedRequest(f"There is no backend {name!r}.", hint=hint)


def build(row: BackendRow, config: BackendConfig) -> ImageBackend:
    """Import and make the backend; raises SetupError naming what to install or to set."""
    if not row.target:
        raise SetupError(f"Backend {row.name!r} {row.summary}.", hint="Mend or remove the package it comes from.")
    module, _, function = row.target.partition(":")
    try:
        make = cast(Callable[[BackendConfig], ImageBackend], getattr(import_module(module), function))
        return make(config)
    except ImportError as exc:
        if not row.extra:
            raise
        raise SetupError(
            f"Backend {row.name!r} needs {exc.name!r}.", hint=f'Install it: pip install -e ".[{row.extra}]"'
        ) from exc


def _announced() -> list[BackendRow]:
    """The rows of installed packages; one that cannot be loaded stands there with the reason, and stops nobody else."""
    from importlib.metadata import entry_points

    return [_load(point) for point in entry_points(group=ENTRY_POINTS)]


def _load(point: EntryPoint) -> BackendRow:
    try:
        row = point.load()
        if isinstance(row, BackendRow):
            return row
        problem = f"{point.value} is no BackendRow"
    except Exception as exc:  # noqa: BLE001 - somebody else's package
        problem = f"{type(exc).__name__}: {exc}"
    return BackendRow(
        name=point.name, label=point.name, summary=f"cannot be loaded ({redact(problem)})", target="", paid=False
    )
