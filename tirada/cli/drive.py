"""Drives a run from the terminal: estimate, progress, Ctrl-C, report, exit code.

Invariant: the first Ctrl-C finishes what is in flight, the second stops at once; both leave a run that can be resumed.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from models.errors import ModelError
from models.redaction import redact
from models.sizes import format_size
from tirada.cli import console
from tirada.cli.main import Interrupted
from tirada.cli.setup import TOOL, Estimate, Setup
from tirada.cli.status import ExitStatus
from tirada.engine.plan import Plan, ReadyConcept
from tirada.errors import TiradaError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.engine.report import Report
    from tirada.engine.run import Run
    from tirada.store.store import Store


def drive(
    setup: Setup,
    plan: Plan,
    ready: Sequence[ReadyConcept],
    *,
    dry_run: bool = False,
    yes: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Start a new run of the plan and see it to its end; returns the exit code."""
    # The very model is kept with the plan, so that a resume next month does not take another default.
    plan = replace(plan, request={**plan.request, "model": setup.model_for(plan) or None, **setup.defaults(plan)})
    estimate = setup.estimate(plan, ready)
    if dry_run:
        _tell_plan(setup, plan, estimate, as_json)
        return ExitStatus.DONE
    if not quiet and not as_json:
        console.note(_cost_line(estimate, setup))
    setup.check_money(plan, estimate, yes=yes)
    store = setup.open_store()
    try:
        from tirada.engine.run import Run

        setup.prepare_local(plan, store)
        parts = setup.make_parts(store, plan)
        run_id = store.add_run(
            workflow=plan.workflow,
            command=_command_line(),
            plan=plan.to_json(),
            backend=parts.backend.name if parts.backend else "",
            model=setup.model_for(plan),
            writer=parts.writer.name if parts.writer else "file",
            writer_model=parts.writer.model if parts.writer else "",
            tool=TOOL,
        )
        parts.ledger.run_id = run_id
        run = Run(run_id, plan, parts, setup.engine_options(), _listener(plan, quiet=quiet or as_json))
        return see_through(setup, run, ready, as_json=as_json, quiet=quiet)
    finally:
        store.close()


def resume(
    setup: Setup,
    store: Store,
    row: RowMapping,
    *,
    retry: bool = False,
    backend: str | None = None,
    model: str | None = None,
    budget: Decimal | None = None,
    yes: bool = False,
    skip_in_doubt: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Go on with a run of the store; returns the exit code.

    ``retry`` takes what failed up again too; then it may go to another ``backend`` or ``model``, and what that costs is
    agreed to like the cost of a new run.
    """
    from tirada.engine.run import Run

    plan = Plan.from_json(row["plan"])
    if budget is not None:
        plan = replace(plan, budget=str(budget))
    changed = backend not in (None, row["backend"]) or model is not None
    if changed:
        plan = replace(plan, request={**plan.request, "model": model})
    setup.choose_backend(backend or row["backend"] or None)
    if row["writer"] in ("gpt", "composer"):
        setup.text_model = row["writer_model"]
        setup.choose_writer(row["writer"], plan.language)
        plan = setup.choose_roles(plan)
    setup.check(plan, ())
    if changed:
        plan = replace(plan, request={**plan.request, "model": setup.model_for(plan) or None})
    if retry:
        states = store.run_figures(row["id"])
        missing = plan.concepts * plan.images - states.get("done", 0)
        setup.check_money(plan, setup.estimate_missing(plan, missing), yes=yes)
    setup.prepare_local(plan, store)
    parts = setup.make_parts(store, plan)
    parts.ledger.run_id = row["id"]
    listener = _listener(plan, quiet=quiet or as_json)
    run = Run(row["id"], plan, parts, setup.engine_options(), listener, skip_in_doubt=skip_in_doubt, retry_failed=retry)
    if changed and parts.backend is not None:
        run.move_to(parts.backend.name, str(plan.request["model"]))
    elif budget is not None:
        store.keep_plan(row["id"], plan.to_json())
    return see_through(setup, run, resumed=True, as_json=as_json, quiet=quiet)


def resume_all(setup: Setup, store: Store, ids: Sequence[str], go_on: Callable[[Setup, Store, RowMapping], int]) -> int:
    """Go on with several runs, one after the other; returns the gravest exit code. One that cannot go on stops none."""
    from tirada.cli.main import exit_code_for
    from tirada.store.queries import find_run

    codes = [int(ExitStatus.DONE)]
    for run_id in ids:
        try:
            fresh = Setup(setup.settings, output=setup.output, quiet=True)
            codes.append(go_on(fresh, store, find_run(store, run_id)))
        except (ModelError, TiradaError) as exc:
            console.error(f"Run {run_id}: {exc}")
            codes.append(exit_code_for(exc))
        if codes[-1] == ExitStatus.CTRL_C:
            break
    return max(codes)


def see_through(
    setup: Setup,
    run: Run,
    ready: Sequence[ReadyConcept] = (),
    *,
    resumed: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Execute a run with Ctrl-C in hand, and report."""
    parts = run.state.parts
    listener: Any = run.state.listener
    try:
        with _interruptible(run), listener:
            report = run.execute(ready, resumed=resumed)
    except Interrupted:
        from tirada.engine.watching import stop_server

        stop_server(parts.backend)
        console.note(_how_to_go_on(setup, run.state.run_id))
        raise
    finally:
        for part in (parts.backend, parts.writer, parts.rewriter):
            if part is not None:
                part.close()
    for text in run.state.bugs:
        console.note(text)
    tell(report, setup, as_json=as_json, quiet=quiet)
    return report.exit_code


def tell(report: Report, setup: Setup, *, as_json: bool, quiet: bool) -> None:
    """The end of a run: results on stdout, everything else on stderr."""
    if as_json:
        console.result_json(report.to_json())
        return
    for folder in report.folders:
        console.result(folder)
    if report.csv and report.done:
        console.result(report.csv)
    if report.message and report.status != "interrupted":
        console.error(report.message)
    for failure in report.failures:
        what = f"concept {failure['concept'] + 1}"
        what += f", image {failure['image']}" if failure["image"] else ""
        console.error(f"{what}: {failure['error']}: {failure['message']}")
    if not quiet:
        console.note(_summary(report))
    if report.missing > 0 or report.in_doubt:
        # With the same budget it would stop at once again.
        more = " --budget USD" if report.exit_code == ExitStatus.BUDGET and "budget" in report.message else ""
        console.note(f"{_how_to_go_on(setup, report.run_id)}{more}")


def _how_to_go_on(setup: Setup, run_id: str) -> str:
    elsewhere = setup.output != setup.settings.output_dir
    where = f" --output {shlex.quote(str(setup.output))}" if elsewhere else ""
    return f"To go on: python main.py resume {run_id}{where}"


def _summary(report: Report) -> str:
    kind = "prompts" if report.csv else "images"
    parts = [f"{report.done} of {report.wanted} {kind}"]
    for name in ("failed", "refused", "in_doubt"):
        if count := getattr(report, name):
            parts.append(f"{count} {name.replace('_', ' ')}")
    cost = f"{report.cost_usd:.4f} USD" if report.cost_usd else "no cost"
    if not report.cost_complete:
        cost = f"at least {cost} (some prices are unknown)"
    return f"Run {report.run_id} {report.status}: {', '.join(parts)}, {cost}, {report.seconds:.1f} s."


def _cost_line(estimate: Estimate, setup: Setup) -> str:
    if estimate.total is None:
        return "Expected cost: unknown (no price in the catalog; see `models`)."
    if estimate.total == 0:
        return "Expected cost: nothing."
    return f"Expected cost: {_usd(estimate.total)} (images {_usd(estimate.images)}, text {_usd(estimate.text)})."


def _usd(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount:.4f} USD"


def _tell_plan(setup: Setup, plan: Plan, estimate: Estimate, as_json: bool) -> None:
    """What a dry run says."""
    size = (plan.request["width"], plan.request["height"])
    facts: dict[str, Any] = {
        "prompts": plan.concepts,
        "images": plan.concepts * plan.images,
        "writer": setup.writer_label(),
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
    facts |= {
        "output": plan.csv or str(setup.output),
        "text_usd": None if estimate.text is None else str(estimate.text),
        "images_usd": None if estimate.images is None else str(estimate.images),
        "total_usd": None if estimate.total is None else str(estimate.total),
    }
    if as_json:
        console.result_json({"dry_run": True, **facts})
        return
    console.result("Dry run: nothing is sent, nothing is written.")
    for name, value in facts.items():
        shown = "unknown" if value is None else ", ".join(value) if isinstance(value, list) else str(value)
        if shown:
            console.result(f"  {name.replace('_', ' '):<14}{shown}")


def _command_line() -> str:
    """What the user typed; keys never belong on a command line, but one that is there is taken out."""
    return redact(shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]))


def _listener(plan: Plan, *, quiet: bool) -> Any:
    from tirada.cli import progress

    if quiet:
        return progress.Silent()
    return progress.Bars(plan) if console.ask_terminal() else progress.Lines(plan)


@contextlib.contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: wind down. Second: stop at once."""
    presses = 0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            raise Interrupted
        run.interrupt()

    try:
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        # Not the main thread: whoever called us minds the signals.
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
