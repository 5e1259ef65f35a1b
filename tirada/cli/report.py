"""What a run costs, what it would make and what became of it, put for people and for machines.

Invariant: stdout gets results only, folders with a finished image among them; everything else goes to stderr.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from models.sizes import format_size
from tirada.cli import console
from tirada.cli.progress import Silent
from tirada.cli.setup import Estimate, Setup
from tirada.cli.status import ExitStatus
from tirada.engine.plan import Plan
from tirada.output.text import counted

if TYPE_CHECKING:
    from tirada.engine.report import Report


def tell(report: Report, setup: Setup, said: Silent, *, quiet: bool) -> None:
    """The end of a run for people; what the listener has ``said`` while it went on is not said again."""
    for folder in report.folders:
        if folder not in report.empty_folders:
            console.result(folder)
    if report.csv and report.done:
        console.result(report.csv)
    if report.message and report.status != "interrupted" and report.message != said.stopped:
        console.error(report.message)
    for failure in report.failures:
        if not said.failure(failure):
            what = f"concept {failure['concept']}"
            what += f", image {failure.get('name', failure['image'])}" if failure["image"] else ""
            console.error(f"{what}: {failure['error']}: {failure['message']}")
    if not quiet:
        console.note(_summary(report))
    # A job has something left to do where all of its images are there, too.
    if report.missing > 0 or report.in_doubt or report.status in ("stopped", "interrupted"):
        # With the same budget it would stop at once again; that of the month is no option.
        more = " --budget USD" if report.exit_code == ExitStatus.BUDGET and "for this run" in report.message else ""
        console.note(f"{how_to_go_on(setup, report.run_id)}{more}")


def how_to_go_on(setup: Setup, run_id: str) -> str:
    elsewhere = setup.output != setup.settings.output_dir
    where = f" --output {shlex.quote(str(setup.output))}" if elsewhere else ""
    return f"To go on: python main.py resume {run_id}{where}"


def _summary(report: Report) -> str:
    parts = [f"{report.done} of {counted(report.wanted, 'prompt' if report.csv else 'image')}"]
    for name in ("failed", "refused", "in_doubt"):
        if count := getattr(report, name):
            parts.append(f"{count} {name.replace('_', ' ')}")
    cost = f"{report.cost_usd:.4f} USD" if report.cost_usd else "no cost"
    if not report.cost_complete:
        cost = f"at least {cost} (some prices are unknown)"
    return f"Run {report.run_id} {report.status}: {', '.join(parts)}, {cost}, {report.seconds:.1f} s."


def cost_line(estimate: Estimate) -> str:
    if estimate.total is None:
        return "Expected cost: unknown (no price in the catalog; see `models`)."
    if estimate.total == 0:
        return "Expected cost: nothing."
    return f"Expected cost: {_usd(estimate.total)} (images {_usd(estimate.images)}, text {_usd(estimate.text)})."


def _usd(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount:.4f} USD"


def usd_facts(estimate: Estimate) -> dict[str, str | None]:
    """The expected cost as a dry run says it; None = unknown."""
    amounts = {"text_usd": estimate.text, "images_usd": estimate.images, "total_usd": estimate.total}
    return {name: None if amount is None else str(amount) for name, amount in amounts.items()}


def plan_facts(setup: Setup, plan: Plan, estimate: Estimate) -> dict[str, Any]:
    """What a dry run says of a new run."""
    size = (plan.request["width"], plan.request["height"])
    facts: dict[str, Any] = {
        "prompts": plan.concepts,
        "images": plan.concepts * plan.images,
        "writer": setup.texts.label(plan),
        "roles": list(plan.roles),
        "theme": plan.theme,
        "language": plan.language,
    }
    if setup.backend is not None:
        facts |= {
            "backend": setup.backend.name,
            "model": setup.model_for(plan),
            "size": format_size(size),
            "rendered_size": format_size(estimate.rendered_size or size),
        }
    return {**facts, "output": plan.csv or str(setup.output), **usd_facts(estimate)}


def tell_dry_run(facts: Mapping[str, Any]) -> None:
    """What would be done, for people."""
    console.result("Dry run: nothing is sent, nothing is written.")
    for name, value in facts.items():
        shown = "unknown" if value is None else ", ".join(value) if isinstance(value, list) else str(value)
        if shown:
            console.result(f"  {name.replace('_', ' '):<14}{shown}")
