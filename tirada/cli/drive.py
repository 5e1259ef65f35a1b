"""Drives a run from the terminal: estimate, progress, Ctrl-C, report, exit code.

Invariant: the first Ctrl-C finishes what is in flight, the second stops at once; both leave a run that can be resumed.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from models.redaction import redact
from tirada.cli import console, progress
from tirada.cli.main import Interrupted
from tirada.cli.report import cost_line, how_to_go_on, plan_facts, tell, tell_dry_run
from tirada.cli.setup import TOOL, Setup
from tirada.cli.status import ExitStatus
from tirada.engine.plan import Plan, ReadyConcept
from tirada.errors import StoreError
from tirada.output.text import clean

if TYPE_CHECKING:
    from tirada.engine.report import Report
    from tirada.engine.run import Run


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
    plan = setup.settled(plan)
    estimate = setup.estimate(plan, ready)
    if dry_run:
        facts = plan_facts(setup, plan, estimate)
        if as_json:
            console.result_json({"dry_run": True, **facts})
        else:
            tell_dry_run(facts)
        return ExitStatus.DONE
    if not quiet and not as_json:
        console.note(cost_line(estimate))
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
            writer=setup.texts.name or "file",
            writer_model=setup.texts.model(plan),
            tool=TOOL,
            user=plan.user or None,
        )
        parts.ledger.run_id = run_id
        listener = listener_for(plan, quiet=quiet or as_json)
        report = see_through(setup, Run(run_id, plan, parts, setup.engine_options(), listener), ready)
        if as_json:
            console.result_json(report.to_json())
        else:
            tell(report, setup, listener, quiet=quiet)
        return report.exit_code
    finally:
        store.close()


def see_through(
    setup: Setup,
    run: Run,
    ready: Sequence[ReadyConcept] = (),
    *,
    resumed: bool = False,
    first: Callable[[], None] | None = None,
) -> Report:
    """Execute a run with Ctrl-C in hand; see ``Run.execute``."""
    parts = run.state.parts
    listener: Any = run.state.listener
    try:
        with _interruptible(run), listener:
            report = run.execute(ready, resumed=resumed, first=first)
    except Interrupted:
        from tirada.engine.watching import stop_server

        stop_server(parts.backend)
        with contextlib.suppress(StoreError):
            parts.store.finish_run(run.state.run_id, "interrupted")
        console.note(how_to_go_on(setup, run.state.run_id))
        raise
    finally:
        others = (backend for backend, _ in parts.others.values())
        for part in (parts.backend, *others, parts.writer, parts.rewriter, parts.scribe, parts.rewording):
            if part is not None:
                part.close()
    for text in run.state.bugs:
        console.note(text)
    return report


def _command_line() -> str:
    """What the user typed; keys never belong on a command line, but one that is there is taken out."""
    return redact(clean(shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])))


def listener_for(plan: Plan, *, quiet: bool) -> progress.Silent:
    """Bars on a terminal, lines in a log, nothing when quiet."""
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
