"""The write stage: briefs become concepts, which are written down and handed on.

Invariant: a concept is in the store, with its images planned, before anyone renders it or puts it into the CSV.
"""

from __future__ import annotations

import itertools
import queue
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.contract import Brief, Concept, Writer
from models.errors import ModelError
from models.redaction import redact
from models.roles import make_briefs
from tirada.engine.events import ConceptFailed, ConceptWritten, PromptsSaved, Retrying
from tirada.engine.retry import Action, BugError, Decision, Trial, decide
from tirada.engine.state import RunState
from tirada.errors import OutputError, StoreError, reason
from tirada.output.prompts_csv import append_rows, read_rows
from tirada.output.text import clean, clean_concept, counted
from tirada.store.store import Failure

#: A brief and the place of its concept in the run.
Placed = tuple[int, Brief]
#: Briefs dealt at once.
DEAL = 200


class BriefSource:
    """Deals the briefs of the positions that are still missing; safe to call from many threads.

    A seeded run deals from the first position on, also when it is resumed, so that it comes to the same choices.
    """

    def __init__(self, state: RunState, have: set[int]) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._briefs = self._deal(have)

    def take(self, most: int) -> list[Placed]:
        with self._lock:
            return list(itertools.islice(self._briefs, most))

    def _deal(self, have: set[int]) -> Iterator[Placed]:
        plan, parts = self._state.plan, self._state.parts
        assert parts.dealer is not None
        rng = random.Random(f"briefs/{plan.seed}")
        wanted = [p for p in range(plan.concepts) if plan.seeded or p not in have]
        for start in range(0, len(wanted), DEAL):
            positions = wanted[start : start + DEAL]
            briefs = make_briefs(
                parts.roles, parts.dealer, len(positions), rng=rng, theme=plan.theme, language=plan.language
            )
            placed = [(p, brief) for p, brief in zip(positions, briefs, strict=True) if p not in have]
            if parts.writer is not None and parts.writer.one_role:
                placed.sort(key=lambda item: item[1].role.name)
            yield from placed


class WriteStage:
    """``loop`` is what each write thread runs."""

    def __init__(self, state: RunState, briefs: BriefSource, ready: queue.Queue[str | None]) -> None:
        assert state.parts.writer is not None
        self._state = state
        self._briefs = briefs
        self._ready = ready
        self._writer: Writer = state.parts.writer
        self._csv_lock = threading.Lock()

    def loop(self) -> None:
        try:
            while not self._state.stopping and (placed := self._briefs.take(self._writer.batch)):
                self._write(placed)
        except (OSError, StoreError, OutputError, ValueError) as exc:
            self._state.halt("disk", f"The prompts cannot be kept: {reason(exc)}.")

    def _write(self, placed: Sequence[Placed]) -> None:
        trials = {position: Trial() for position, _ in placed}
        while placed and self._state.clear_to_submit():
            results = self._ask([brief for _, brief in placed])
            written = [
                (p, b, clean_concept(r)) for (p, b), r in zip(placed, results, strict=True) if isinstance(r, Concept)
            ]
            failed = [(p, b, r) for (p, b), r in zip(placed, results, strict=True) if isinstance(r, ModelError)]
            if written:
                self._state.service_answered("text")
                self._keep(written)
            placed = self._retry(failed, trials)

    def _ask(self, briefs: Sequence[Brief]) -> Sequence[Concept | ModelError]:
        try:
            return self._writer.write(briefs)
        except ModelError as exc:
            return [exc] * len(briefs)
        except (OSError, StoreError):
            raise
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            return [BugError(f"{type(exc).__name__}: {redact(str(exc))}")] * len(briefs)

    def _retry(self, failed: Sequence[tuple[int, Brief, ModelError]], trials: Mapping[int, Trial]) -> list[Placed]:
        """Write the final failures down; returns what is to be asked again, after the wait."""
        state = self._state
        again: list[tuple[Placed, Decision, ModelError]] = []
        for position, brief, error in failed:
            trial = trials[position]
            decision = decide(error, trial, state.options.retry, text=True, proven=state.proven("text"))
            trial.attempt += 1
            if decision.action is Action.HALT:
                state.halt(error.kind, str(error))
            elif decision.action is Action.RETRY:
                again.append(((position, brief), decision, error))
            else:
                self._give_up(position, brief, error)
        if again and not state.stopping:
            wait = max(decision.wait for _, decision, _ in again)
            attempt = trials[again[0][0][0]].attempt
            state.emit(Retrying(counted(len(again), "prompt"), attempt, wait, str(again[0][2])))
            state.wait(wait)
        return [placed for placed, _, _ in again]

    def _give_up(self, position: int, brief: Brief, error: ModelError) -> None:
        failure = Failure(error.kind, redact(str(error)))
        self._state.parts.store.add_failed_concept(
            self._state.run_id, position, brief.role.name, brief_to_json(brief), failure
        )
        self._state.count(concepts_failed=1)
        self._state.emit(ConceptFailed(position, error.kind, failure.message))
        if error.kind == "unavailable":
            self._state.service_failed(error)

    def _keep(self, written: Sequence[tuple[int, Brief, Concept]]) -> None:
        """Store the concepts; then put them into the CSV, or hand them on to be rendered."""
        state = self._state
        ids = state.parts.store.add_concepts(
            state.run_id,
            [
                (position, concept, brief_to_json(brief), *planned(state, position, concept))
                for position, brief, concept in written
            ],
        )
        for position, _, concept in written:
            state.count_opening(concept.description)
            state.emit(ConceptWritten(position, concept.title))
        state.count(written=len(written))
        if state.plan.prompts_only:
            with self._csv_lock:
                save_prompts(state, ids, [concept for _, _, concept in written])
            return
        for concept_id in ids:
            state.put(self._ready, concept_id)


def planned(state: RunState, position: int, concept: Concept) -> tuple[dict[str, Any] | None, Sequence[int | None]]:
    """The request and the seeds of a concept's images; nothing when only prompts are wanted."""
    plan, backend = state.plan, state.parts.backend
    if plan.prompts_only or backend is None:
        return None, ()
    seeds: Sequence[int | None] = plan.seeds(position) if backend.capabilities.seeds else [None] * plan.images
    return plan.request_for(concept), seeds


def brief_to_json(brief: Brief) -> dict[str, str]:
    return dict(brief.choices)


def save_prompts(state: RunState, ids: Sequence[str], concepts: Sequence[Concept]) -> None:
    """Append concepts to the CSV and mark them as done."""
    path = Path(state.plan.csv)
    append_rows(path, concepts)
    state.parts.store.finish_concepts(ids)
    state.count(done=len(ids))
    state.emit(PromptsSaved(path, len(ids)))


def recover_prompts(state: RunState) -> None:
    """After a kill between the store and the CSV: append what is written in the store and missing in the file."""
    rows = list(state.parts.store.unfinished_concepts(state.run_id))
    if not rows:
        return
    path = Path(state.plan.csv)
    there = {(row.title, row.prompt) for row in read_rows(path)} if path.exists() else set()
    for row in rows:
        concept = Concept(
            title=row["title"], description=row["description"], metatags=tuple(row["metatags"]), prompt=row["prompt"]
        )
        # Cleaned here too: a store of an earlier version may hold them as they came.
        if (clean(concept.title), clean(concept.prompt)) in there:
            state.parts.store.finish_concepts([row["id"]])
            state.count(done=1)
        else:
            save_prompts(state, [row["id"]], [concept])
