"""Hands out image jobs, concept by concept, in order.

Invariant: memory holds a few concepts and a page of their images, however large the run is.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping

from models.contract import ImageRequest
from tirada.engine.plan import request_from_json
from tirada.engine.state import TICK, RunState
from tirada.output.folders import make_folder


class ActiveConcept:
    """A concept whose images are being made; whoever settles the last one finishes the folder."""

    def __init__(self, row: RowMapping, folder: Path, total: int, waiting: int) -> None:
        self.id: str = row["id"]
        self.title: str = row["title"]
        self.description: str = row["description"]
        self.metatags = tuple(row["metatags"])
        self.request: dict[str, Any] = row["request"]
        self.folder = folder
        #: Images the concept has in all, and those still to be settled.
        self.total = total
        self._waiting = waiting
        self._lock = threading.Lock()

    def settle_one(self) -> bool:
        """Count one image as settled; True when it was the last."""
        with self._lock:
            self._waiting -= 1
            return self._waiting == 0


@dataclass(frozen=True, slots=True)
class Job:
    """One image to render."""

    concept: ActiveConcept
    image_id: int
    position: int
    request: ImageRequest
    #: Tries of earlier sittings.
    tried: int = 0
    #: The job that an earlier sitting handed in, and the call that paid for it.
    pending: str | None = None
    pending_call: str | None = None


class JobSource:
    """Takes concept ids off a queue (None ends it) and turns them into jobs; safe to call from many threads."""

    def __init__(
        self,
        state: RunState,
        ready: queue.Queue[str | None],
        *,
        collect: Callable[[Job, RowMapping], bool],
        finish: Callable[[ActiveConcept], None],
    ) -> None:
        """``collect`` saves an image that was received earlier, ``finish`` a concept with nothing left to be made."""
        self._state = state
        self._ready = ready
        self._collect = collect
        self._finish = finish
        self._lock = threading.Lock()
        self._jobs: Iterator[Job] = iter(())
        self._spare: Job | None = None
        self._ended = False
        self._active: dict[str, ActiveConcept] = {}

    def next_jobs(self, most: int) -> list[Job]:
        """Up to ``most`` jobs of one size and model; empty at the end of the run or when it halts."""
        with self._lock:
            jobs: list[Job] = []
            while len(jobs) < most and not self._state.stopping:
                job = self._next(block=not jobs)
                if job is None:
                    break
                if jobs and not _alike(jobs[0].request, job.request):
                    self._spare = job
                    break
                jobs.append(job)
            return jobs

    def active(self) -> list[ActiveConcept]:
        """Concepts that were begun and are not finished."""
        return list(self._active.values())

    def forget(self, concept: ActiveConcept) -> None:
        self._active.pop(concept.id, None)

    def _next(self, *, block: bool) -> Job | None:
        if self._spare is not None:
            spare, self._spare = self._spare, None
            return spare
        while True:
            for job in self._jobs:
                return job
            concept_id = self._next_concept(block)
            if concept_id is None:
                return None
            self._jobs = self._begin(concept_id)

    def _next_concept(self, block: bool) -> str | None:
        while not self._ended and not self._state.stopping:
            try:
                concept_id = self._ready.get(timeout=TICK) if block else self._ready.get_nowait()
            except queue.Empty:
                if block:
                    continue
                return None
            self._ended = concept_id is None
            return concept_id
        return None

    def _begin(self, concept_id: str) -> Iterator[Job]:
        """Make the concept's folder (unless an earlier sitting did) and go through its open images."""
        state, store = self._state, self._state.parts.store
        row = store.concept(concept_id)
        output = state.parts.output
        if row["folder"] is None:
            folder = make_folder(
                output, row["title"], date.today(), announce=lambda name: store.update_concept(concept_id, folder=name)
            )
        else:
            folder = output / row["folder"]
            folder.mkdir(parents=True, exist_ok=True)
        figures = store.concept_figures(concept_id)
        total = sum(figures.values())
        waiting = sum(figures.get(open_state, 0) for open_state in ("planned", "submitted", "received"))
        concept = ActiveConcept(row, folder, total, waiting)
        self._active[concept.id] = concept
        state.add_folder(folder)
        if not waiting:
            # Cut off between its last image and its files.
            self._finish(concept)
        for image in store.open_images(concept_id):
            request = request_from_json(concept.request, self._seed(row["position"], image))
            job = Job(concept, image["id"], image["position"], request, image["attempts"])
            if image["state"] == "received" and self._collect(job, image):
                continue
            if image["state"] == "submitted":
                job = self._with_pending(job)
            yield job

    def _seed(self, concept: int, image: RowMapping) -> int | None:
        """The image's seed; one of the plan's where it was planned for a backend that takes none, and this one does."""
        backend, plan = self._state.parts.backend, self._state.plan
        seed: int | None = image["seed"]
        if seed is not None or backend is None or not backend.capabilities.seeds:
            return seed
        return plan.seeds(concept)[int(image["position"]) - 1]

    def _with_pending(self, job: Job) -> Job:
        """The job with what an earlier sitting handed in for it."""
        parts = self._state.parts
        call = parts.store.open_job(job.image_id)
        if call is None:
            return job
        parts.ledger.adopt(call["id"], call["estimate"])
        return replace(job, pending=call["job"], pending_call=call["id"])


def _alike(one: ImageRequest, other: ImageRequest) -> bool:
    return (one.width, one.height, one.model, one.steps) == (other.width, other.height, other.model, other.steps)
