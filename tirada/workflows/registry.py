"""The workflows there are, beside the batch: a row each, imported on first use.

To add one: a file in this folder with a ``Workflow`` and a row here; the command, its help and completion, resume and
rerun follow from the row. A package from elsewhere announces a ``WorkflowRow`` through the entry point group
``tirada.workflows``.

Invariant: importing this module imports no workflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tirada.errors import UsageError

if TYPE_CHECKING:
    from tirada.engine.job import Job
    from tirada.engine.plan import Plan
    from tirada.workflows.workflow import Workflow

ENTRY_POINTS = "tirada.workflows"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """What is known of a workflow before it is imported."""

    #: What it is called on the command line.
    name: str
    #: One line for ``--help``.
    summary: str
    #: "module:NAME" of its ``Workflow``.
    target: str
    #: The settings it is told, by their environment names.
    settings: tuple[str, ...] = ()


WORKFLOWS: tuple[WorkflowRow, ...] = (
    WorkflowRow(
        name="avatar",
        summary="A character image with rare traits, from somebody's posts.",
        target="tirada.workflows.avatar:AVATAR",
        settings=("BLUESKY_BASE_URL", "MASTODON_BASE_URL", "X_BASE_URL", "X_BEARER_TOKEN"),
    ),
    WorkflowRow(
        name="collection",
        summary="Characters, no two alike, with exact numbers of every trait.",
        target="tirada.workflows.collection:COLLECTION",
    ),
    WorkflowRow(
        name="brand",
        summary="Images of a brand's products in its colours, measured.",
        target="tirada.workflows.brand:BRAND",
    ),
    WorkflowRow(
        name="story",
        summary="An illustrated book from an idea: PDF, EPUB and a page to turn.",
        target="tirada.workflows.story:STORY",
        settings=("CLIP_MODEL",),
    ),
    WorkflowRow(
        name="campaign",
        summary="Marketing images in variants, also around a product of yours.",
        target="tirada.workflows.campaign:CAMPAIGN",
    ),
)


def names() -> list[str]:
    """Those of our own rows; others are looked for by name."""
    return [row.name for row in WORKFLOWS]


def find(name: str) -> WorkflowRow | None:
    """The row of that name, ours or announced; None where there is none."""
    for row in WORKFLOWS:
        if row.name == name:
            return row
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        found = point.load()
        if isinstance(found, WorkflowRow):
            return found
    return None


def load(row: WorkflowRow) -> Workflow[Any]:
    """The workflow behind a row."""
    module, _, attribute = row.target.partition(":")
    return cast("Workflow[Any]", getattr(import_module(module), attribute))


def job_of(plan: Plan, data: Path) -> Job | None:
    """The job that goes with a plan; None for a batch. Raises UsageError where its workflow is not there any more."""
    if not plan.steps:
        return None
    row = find(plan.workflow)
    if row is None:
        raise UsageError(f"This run was made by the workflow {plan.workflow!r}, which this Tirada does not have.")
    return load(row).job(plan, data)
