"""What became of a run, for people, for ``--json`` and for the exit code.

Invariant: the figures are counted from the store, so that a resumed run reports the whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tirada.engine.state import Halt, RunState
from tirada.output.text import counted
from tirada.store.queries import folders_of

#: Failures named in the report; the rest are in ``show``.
FAILURES_SHOWN = 20
#: Exit code by the reason a run halted for (design §7); anything else ends like a failed batch.
HALT_CODES = {
    "interrupted": 130,
    "setup": 3,
    "unsupported": 3,
    "out_of_credit": 5,
    "budget": 5,
    "disk": 1,
    "job": 1,
    "bug": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a run. ``wanted`` counts images, or prompts in a run that makes only those."""

    run_id: str
    status: str
    exit_code: int
    wanted: int
    done: int
    failed: int
    refused: int
    in_doubt: int
    concepts_written: int
    concepts_failed: int
    cost_usd: Decimal
    cost_complete: bool
    tokens: Mapping[str, int]
    seconds: float
    #: Those of this sitting, and among them those in which no image was finished.
    folders: Sequence[str]
    empty_folders: Sequence[str]
    csv: str
    #: Share (0 to 1) of the descriptions of this sitting that open with the most frequent three words.
    same_opening: float
    near_duplicates_rejected: int
    failures: Sequence[Mapping[str, Any]]
    message: str
    #: What a job says of its result.
    result: Mapping[str, Any]

    @property
    def missing(self) -> int:
        """What a resume would still make."""
        return self.wanted - self.done - self.failed - self.refused

    def to_json(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name != "cost_usd"]
        facts = {**{name: getattr(self, name) for name in names}, "cost_usd": str(self.cost_usd)}
        if not self.result:
            del facts["result"]
        return facts


def make_report(state: RunState, seconds: float) -> Report:
    """Count what there is now."""
    store, plan, parts = state.parts.store, state.plan, state.parts
    figures = store.run_figures(state.run_id)
    written, concepts_failed = store.concept_counts(state.run_id)
    if plan.prompts_only:
        wanted, done, failed = plan.concepts, store.done_concepts(state.run_id), concepts_failed
    else:
        # A job knows how many there are when it is composed.
        wanted = (sum(figures.values()) if parts.job is not None else 0) or plan.concepts * plan.images
        done, failed = figures.get("done", 0), figures.get("failed", 0) + concepts_failed * plan.images
    refused, in_doubt = figures.get("refused", 0), figures.get("in_doubt", 0)
    bill = store.run_bill(state.run_id)
    made = set(folders_of(store, state.run_id)) if state.folders else set()
    most = state.openings.most_common(1)
    spoiled = failed + refused + in_doubt
    waiting = 0 if plan.prompts_only else sum(figures.get(name, 0) for name in ("planned", "submitted", "received"))
    written_all = written + concepts_failed >= plan.concepts
    halted = None if written_all and not waiting and not in_doubt and _came_late(state) else state.halted
    message = halted.message if halted else ""
    if waiting and not message:
        what = counted(waiting, "image is", "images are")
        message = f"{what} not ready yet at the service, but paid for; a resume collects what is missing."
    return Report(
        run_id=state.run_id,
        status=_status(halted, done, spoiled, waiting),
        exit_code=_exit_code(halted, done, spoiled + waiting),
        wanted=wanted,
        done=done,
        failed=failed,
        refused=refused,
        in_doubt=in_doubt,
        concepts_written=written,
        concepts_failed=concepts_failed,
        cost_usd=bill.cost,
        cost_complete=bill.complete,
        tokens=dict(bill.tokens),
        seconds=round(seconds, 3),
        folders=[str(folder) for folder in state.folders],
        empty_folders=[str(folder) for folder in state.folders if folder.name not in made],
        csv=plan.csv if plan.prompts_only else "",
        same_opening=round(most[0][1] / state.openings.total(), 4) if most else 0.0,
        near_duplicates_rejected=parts.novelty.rejected if parts.novelty is not None else 0,
        failures=store.failures(state.run_id, FAILURES_SHOWN),
        message=message,
        result=state.result,
    )


def _came_late(state: RunState) -> bool:
    """Was the run interrupted when all that was written had its images, files and rows already?"""
    if state.halted is None or state.halted.kind != "interrupted":
        return False
    return next(state.parts.store.unfinished_concepts(state.run_id), None) is None


def _status(halted: Halt | None, done: int, spoiled: int, waiting: int) -> str:
    if halted is not None and halted.kind == "interrupted":
        return "interrupted"
    if halted is not None or waiting:
        # With jobs that wait at the service the run is not over, however well it went.
        return "stopped"
    if not spoiled:
        return "done"
    return "partial" if done else "failed"


def _exit_code(halted: Halt | None, done: int, spoiled: int) -> int:
    if halted is not None and halted.kind in HALT_CODES:
        return HALT_CODES[halted.kind]
    if halted is None and not spoiled:
        return 0
    return 4 if done else 1
