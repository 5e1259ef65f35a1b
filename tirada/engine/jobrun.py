"""Sees a run with a job to its end: composes it, renders it step by step, and has it finished.

Invariant: whatever cuts it off, the next sitting goes on at the step that is open; a job is composed once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.redaction import redact
from tirada.engine.asking import PatientScribe
from tirada.engine.events import ConceptFailed, ConceptWritten, ImagesPlanned, Remark
from tirada.engine.finishing import write_folder
from tirada.engine.items import columns_of, concept_of, items_of, made_of, plan_items
from tirada.engine.job import Job, Made
from tirada.engine.state import RunState
from tirada.errors import StoreError, TiradaError, reason
from tirada.store.store import Failure

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


class JobRun:
    """One sitting of a run with a job; ``render`` renders the images of a step of its concept."""

    def __init__(self, state: RunState, render: Callable[[str, int], None]) -> None:
        assert state.parts.job is not None
        self._state = state
        self._job: Job = state.parts.job
        self._render = render
        self._items = items_of(state)

    def execute(self) -> None:
        """Compose what is not composed yet, render what is missing, finish."""
        state, concept_id, finished = self._state, None, False
        try:
            concept_id = self._composed()
            if concept_id is not None and self._render_steps(concept_id):
                self._finish(concept_id)
                finished = True
        except (OSError, StoreError) as exc:
            state.halt("disk", f"The job cannot be kept: {reason(exc)}.")
        except (TiradaError, ModelError) as exc:
            state.halt("job", str(exc))
        except Exception as exc:  # noqa: BLE001 - a workflow's mistake ends the sitting like anything else does
            state.bug(exc)
            state.halt("bug", f"The job cannot go on: {type(exc).__name__}: {exc}")
        if concept_id is not None and not finished:
            self._leave(concept_id)

    # --- composing

    def _composed(self) -> str | None:
        """The id of the job's concept; None where there is none to be had in this sitting."""
        state = self._state
        row = self._items.concept()
        if row is not None:
            return str(row["id"])
        if not state.clear_to_submit():
            return None
        scribe = None if state.parts.scribe is None else PatientScribe(state, state.parts.scribe)
        try:
            composed = self._job.compose(scribe)
            concept_id = plan_items(state, composed)
        except ModelError as exc:
            if not state.stopping:
                self._give_up(exc)
            return None
        state.count(written=1)
        state.emit(ConceptWritten(0, composed.concept.title))
        for note in composed.notes:
            state.emit(Remark(note))
        state.emit(ImagesPlanned(len(composed.items)))
        return concept_id

    def _give_up(self, error: ModelError) -> None:
        state = self._state
        failure = Failure(error.kind, redact(str(error)))
        state.parts.store.add_failed_concept(state.run_id, 0, "", {}, failure)
        state.count(concepts_failed=1)
        state.emit(ConceptFailed(0, error.kind, failure.message, whole=True))

    # --- rendering

    def _render_steps(self, concept_id: str) -> bool:
        """Render step after step; False when something is left to a later sitting."""
        state = self._state
        while not state.stopping:
            step = self._items.next_step(concept_id)
            if step is None:
                if not self._plan_more(concept_id):
                    return True
                continue
            state.turn_to(state.plan.backend_of(step))
            self._render(concept_id, step)
            if self._items.next_step(concept_id) == step:
                # A job that waits at its service: what builds on it waits with it.
                return False
        return False

    def _plan_more(self, concept_id: str) -> bool:
        """Ask the job for further images; False when it wants none."""
        state = self._state
        row, made = self._now(concept_id)
        more = self._job.more(concept_of(row), made)
        if not more:
            return False
        last = max((one.item.step for one in made), default=-1)
        if any(item.step <= last for item in more):
            raise ValueError(f"images planned later belong to a step after {last}")
        seeds = state.plan.further_seeds(len(made), len(more))
        taken = frozenset(one.item.name for one in made)
        self._items.add(concept_id, columns_of(seeds, more, taken=taken))
        state.emit(ImagesPlanned(len(more)))
        return True

    def _now(self, concept_id: str) -> tuple[RowMapping, list[Made]]:
        store = self._state.parts.store
        row = store.concept(concept_id)
        folder = self._state.parts.output / (row["folder"] or "")
        return row, made_of(folder, store.images_of(concept_id))

    # --- finishing

    def _finish(self, concept_id: str) -> None:
        """Have the job write what it comes to, then the folder's own files."""
        state = self._state
        row, made = self._now(concept_id)
        if row["folder"] is None:
            return
        folder = state.parts.output / row["folder"]
        state.add_folder(folder)
        concept = concept_of(row)
        self._items.set_kinds(concept_id, self._job.kinds(made))
        self._items.add_facts(concept_id, self._job.compare(made))
        _, made = self._now(concept_id)
        self._job.finish(folder, concept, made)
        for remark in self._job.remarks(concept, made):
            state.emit(Remark(remark))
        state.result = self._job.summary(folder, concept, made, time.monotonic() - state.began)
        write_folder(state, concept_id, folder)
        state.parts.store.finish_concepts([concept_id])

    def _leave(self, concept_id: str) -> None:
        """Write down how far it is."""
        # The disk may be full; the store still knows everything that these files would say.
        with contextlib.suppress(OSError, StoreError):
            row = self._state.parts.store.concept(concept_id)
            if row["folder"] is not None:
                write_folder(self._state, concept_id, self._state.parts.output / row["folder"])
