"""Takes runs of the store up again: ``resume`` what was cut off, ``retry`` what failed.

Invariant: what it is expected to cost is said first, and a dry run changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from tirada.cli import console
from tirada.cli.drive import listener_for, see_through
from tirada.cli.report import cost_line, tell, tell_dry_run, usd_facts
from tirada.cli.setup import Estimate, Setup
from tirada.cli.status import ExitStatus
from tirada.engine.plan import Plan
from tirada.errors import StillGoing, TiradaError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.store.queries import Missing
    from tirada.store.store import Store

#: The exit code, and what ``--json`` prints.
Outcome = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a run is to be taken up again. ``retry`` takes what failed up too; the run may then change its backend,
    its model, and what follows a refusal."""

    retry: bool = False
    backend: str | None = None
    model: str | None = None
    on_refusal: str | None = None
    budget: Decimal | None = None
    yes: bool = False
    skip_in_doubt: bool = False
    dry_run: bool = False
    as_json: bool = False
    quiet: bool = False


def take_up(
    setup: Setup,
    store: Store,
    row: RowMapping,
    wishes: Wishes,
    *,
    more: int = 0,
    first: Callable[[], None] = lambda: None,
) -> Outcome:
    """Go on with a run and say what became of it, but for the JSON; raises StillGoing while another process is at it.

    A run that was agreed to when it began is not asked about again; what a retry costs is. ``first`` is called when
    nobody else can work on the run, and plans so many ``more`` images.
    """
    from tirada.engine.going import is_going
    from tirada.engine.run import Run

    if is_going(setup.output, row["id"]):
        raise StillGoing(row["id"])
    changed = wishes.backend not in (None, row["backend"]) or wishes.model is not None
    plan = _plan(setup, row, wishes, changed=changed)
    missing = _missing(setup, store, row["id"], wishes)
    to_write = plan.concepts - missing.concepts_there
    images = missing.images + to_write * plan.images + more
    tries = 0 if to_write else _tries_left(store, row["id"], plan, images, more)
    estimate = setup.estimate_missing(plan, images + tries, to_write)
    if wishes.dry_run:
        facts = _facts(setup, row["id"], plan, missing, to_write, tries, estimate, wishes)
        if not wishes.as_json:
            tell_dry_run(facts)
        return ExitStatus.DONE, {"dry_run": True, **facts}
    if not wishes.quiet and not wishes.as_json:
        console.note(cost_line(estimate))
    if wishes.retry:
        setup.check_money(plan, estimate, yes=wishes.yes)
    setup.prepare_local(plan, store)
    parts = setup.make_parts(store, plan)
    parts.ledger.run_id = row["id"]
    listener = listener_for(plan, quiet=wishes.quiet or wishes.as_json)
    run = Run(
        row["id"],
        plan,
        parts,
        setup.engine_options(),
        listener,
        skip_in_doubt=wishes.skip_in_doubt,
        retry_failed=wishes.retry,
    )

    def keep_changes() -> None:
        if changed and parts.backend is not None:
            run.move_to(parts.backend.name, str(plan.request["model"]))
        elif wishes.budget is not None or wishes.on_refusal is not None:
            store.keep_plan(row["id"], plan.to_json())
        first()

    report = see_through(setup, run, resumed=True, first=keep_changes)
    if not wishes.as_json:
        tell(report, setup, listener, quiet=wishes.quiet)
    return report.exit_code, report.to_json()


def _plan(setup: Setup, row: RowMapping, wishes: Wishes, *, changed: bool) -> Plan:
    """The plan as it is to go on, checked against its writer and backend."""
    plan = Plan.from_json(row["plan"])
    if wishes.budget is not None:
        plan = replace(plan, budget=str(wishes.budget))
    if wishes.on_refusal is not None:
        plan = replace(plan, on_refusal=wishes.on_refusal)
    setup.choose_backend(wishes.backend or row["backend"] or None)
    if changed:
        plan = _moved(setup, plan, wishes.model, came_from=row["backend"])
    if row["writer"] in ("gpt", "composer"):
        setup.texts.model_name = row["writer_model"]
        if plan.steps:
            setup.texts.choose(row["writer"])
        else:
            setup.texts.choose_writer(row["writer"], plan.language)
            plan = setup.choose_roles(plan)
    setup.check(plan, ())
    return setup.settled(plan) if changed else plan


def _moved(setup: Setup, plan: Plan, model: str | None, *, came_from: str) -> Plan:
    """The plan for another backend or model; the options of one backend mean nothing to another."""
    options = dict(plan.request.get("options") or {})
    if setup.backend is not None and setup.backend.name != came_from:
        able = setup.backend.capabilities
        options = {name: value for name, value in options.items() if able.local and name in able.options}
    return plan.for_another(model, options)


def _missing(setup: Setup, store: Store, run_id: str, wishes: Wishes) -> Missing:
    """What the engine will find to do, counted the way it goes about it."""
    from tirada.engine.run import FORGIVEN
    from tirada.engine.saving import received
    from tirada.store.queries import missing_of
    from tirada.store.recovery import Recovery

    recovery = Recovery(store.database, run_id)
    unfinished = [*recovery.submitted_images(), *(recovery.failed_images() if wishes.retry else ())]
    late = {image["id"] for image in received(setup.output, unfinished)}
    return missing_of(
        store, run_id, forgiven=FORGIVEN, failed_too=wishes.retry, skip_in_doubt=wishes.skip_in_doubt, late=late
    )


def _tries_left(store: Store, run_id: str, plan: Plan, images: int, more: int) -> int:
    """Images that a job may yet ask for beside those that are missing: as in a dry run, the most there can be."""
    if not plan.steps or not images:
        return 0
    return max(0, plan.images - more - sum(store.run_figures(run_id).values()))


def _facts(
    setup: Setup,
    run_id: str,
    plan: Plan,
    missing: Missing,
    to_write: int,
    tries: int,
    estimate: Estimate,
    wishes: Wishes,
) -> dict[str, Any]:
    """What a dry run says of a run that would be taken up again."""
    facts: dict[str, Any] = {"run": run_id, "prompts": to_write}
    if setup.backend is not None:
        facts |= {
            "images": missing.images + to_write * plan.images,
            "tries_besides": f"up to {tries}" if tries else "",
            "in_doubt": missing.in_doubt,
            "in_doubt_are": ("left" if wishes.skip_in_doubt else "asked for again") if missing.in_doubt else "",
            "paid_already": missing.paid,
            "backend": setup.backend.name,
            "model": setup.model_for(plan),
            "on_refusal": plan.on_refusal,
        }
    return {**facts, "writer": setup.texts.label(plan), "budget_usd": plan.budget, **usd_facts(estimate)}


def tell_nothing(said: str, *, as_json: bool, run_id: str | None = None) -> None:
    """There is nothing to go on with: a line for people, and what ``--json`` prints then."""
    console.note(said)
    if as_json:
        console.result_json({"run_id": run_id, "note": said})


def take_up_all(setup: Setup, store: Store, ids: Sequence[str], wishes: Wishes) -> Outcome:
    """Go on with several runs, one after the other; returns the gravest exit code. One that cannot go on stops none.

    The JSON is ``{"runs": [...]}``: the report of each, or its ``run_id`` with an ``error`` or a ``note``.
    """
    from tirada.cli.main import exit_code_for
    from tirada.store.queries import find_run

    code, runs = int(ExitStatus.DONE), []
    for run_id in ids:
        fresh = Setup(setup.settings, output=setup.output, quiet=True)
        try:
            one, facts = take_up(fresh, store, find_run(store, run_id), wishes)
        except StillGoing as exc:
            # Nothing is wrong with that one, and nothing to be done.
            if not wishes.quiet and not wishes.as_json:
                console.note(str(exc))
            one, facts = int(ExitStatus.DONE), {"run_id": run_id, "note": str(exc)}
        except (ModelError, TiradaError) as exc:
            console.error(f"Run {run_id}: {exc}")
            one, facts = exit_code_for(exc), {"run_id": run_id, "error": str(exc)}
        code = max(code, one)
        runs.append(facts)
        if one == ExitStatus.CTRL_C:
            break
    return code, {"runs": runs}
