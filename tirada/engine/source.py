"""Hands out images to render, concept by concept, in order.

Invariant: memory holds a few concepts and a page of their images, however large the run is.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping

from models.contract import ImageRequest, alike
from models.errors import ModelError, Refused
from tirada.engine.events import ImageFailed
from tirada.engine.items import MissingItem, asked_of, item_of, items_of
from tirada.engine.job import Item
from tirada.engine.plan import request_from_json
from tirada.engine.state import TICK, RunState
from tirada.output.folders import make_folder


@dataclass(frozen=True, slots=True)
class Words:
    """The texts that an image is made and catalogued with."""

    title: str
    description: str
    metatags: tuple[str, ...]
    prompt: str
    #: Why they took the place of the first words of the concept; None for these.
    reason: str | None = None

    @classmethod
    def of(cls, row: RowMapping | Mapping[str, Any], reason: str | None = None) -> Words:
        """From a concept of the store, or from what it keeps of a rewritten one."""
        return cls(row["title"], row["description"], tuple(row["metatags"]), row["prompt"], reason)


class ActiveConcept:
    """A concept whose images are being made; whoever settles the last one finishes the folder."""

    def __init__(self, row: RowMapping, folder: Path, total: int, waiting: int) -> None:
        self.id: str = row["id"]
        self.position: int = row["position"]
        #: Its own words, and those that took their place; ``rewriting`` is held by whoever looks for them.
        self.words = Words.of(row)
        rewrite = row["rewrite"]
        self.rewritten = Words.of(rewrite, rewrite["reason"]) if rewrite else None
        self.rewriting = threading.Lock()
        #: Why there will be none in this sitting.
        self.rewrite_error: ModelError | None = None
        self.role: str = row["role"]
        self.negative: str = row["negative"]
        self.request: dict[str, Any] = row["request"]
        self.folder = folder
        #: The images of a job that others are made from, by name; None until one is asked for.
        self.files: Mapping[str, str] | None = None
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
class RenderTask:
    """One image to render; what a workflow adds to a run is the ``engine.job.Job``."""

    concept: ActiveConcept
    image_id: int
    position: int
    request: ImageRequest
    words: Words
    #: What it is as an image of a job; None in a batch.
    item: Item | None = None
    #: Tries of earlier sittings.
    tried: int = 0
    #: What was said when these words were refused.
    refused: str = ""
    #: The job at the service that an earlier sitting handed in, and the call that paid for it.
    pending: str | None = None
    pending_call: str | None = None

    @property
    def name(self) -> str:
        """What it is called as an image of a job; "" in a batch."""
        return "" if self.item is None else self.item.name

    def in_words(self, words: Words) -> RenderTask:
        """The same image, asked for with other words."""
        request = replace(self.request, prompt=words.prompt, title=words.title)
        return replace(self, request=request, words=words, refused="")


class TaskSource:
    """Takes concept ids off a queue (None ends it) and turns them into tasks; safe to call from many threads."""

    def __init__(
        self,
        state: RunState,
        ready: queue.Queue[str | None],
        *,
        collect: Callable[[RenderTask, RowMapping], bool],
        finish: Callable[[ActiveConcept], None],
        step: int | None = None,
    ) -> None:
        """``collect`` saves an image that was received earlier, ``finish`` a concept with nothing left to be made.

        ``step`` is the one of a job whose images are handed out; None = all there are.
        """
        self._state = state
        self._ready = ready
        self._collect = collect
        self._finish = finish
        #: The step of a job whose images are handed out.
        self.step = step
        self._lock = threading.Lock()
        self._tasks: Iterator[RenderTask] = iter(())
        self._spare: RenderTask | None = None
        self._ended = False
        self._active: dict[str, ActiveConcept] = {}

    def next_tasks(self, most: int) -> list[RenderTask]:
        """Up to ``most`` tasks that differ in words and seeds only; empty at the end of the run or when it halts."""
        with self._lock:
            tasks: list[RenderTask] = []
            while len(tasks) < most and not self._state.stopping:
                task = self._next(block=not tasks)
                if task is None:
                    break
                if tasks and not alike(tasks[0].request, task.request):
                    self._spare = task
                    break
                tasks.append(task)
            return tasks

    def active(self) -> list[ActiveConcept]:
        """Concepts that were begun and are not finished."""
        return list(self._active.values())

    def forget(self, concept: ActiveConcept) -> None:
        self._active.pop(concept.id, None)

    def _next(self, *, block: bool) -> RenderTask | None:
        if self._spare is not None:
            spare, self._spare = self._spare, None
            return spare
        while True:
            for task in self._tasks:
                return task
            concept_id = self._next_concept(block)
            if concept_id is None:
                return None
            self._tasks = self._begin(concept_id)

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

    def _begin(self, concept_id: str) -> Iterator[RenderTask]:
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
        figures = store.concept_figures(concept_id, self.step)
        total = sum(figures.values())
        waiting = sum(figures.get(open_state, 0) for open_state in ("planned", "submitted", "received"))
        concept = ActiveConcept(row, folder, total, waiting)
        self._active[concept.id] = concept
        state.add_folder(folder)
        if not waiting:
            # Cut off between its last image and its files.
            self._finish(concept)
        for image in store.open_images(concept_id, self.step):
            try:
                task = self._task(concept, image)
            except MissingItem as exc:
                self._lose(concept, image, exc)
                continue
            if image["state"] == "received" and self._collect(task, image):
                continue
            if image["state"] == "submitted":
                task = self._with_pending(task)
            yield task

    def _lose(self, concept: ActiveConcept, image: RowMapping, why: MissingItem) -> None:
        """What it is to be made from is not there, and will not be in this run."""
        state = self._state
        state.parts.store.set_image(image["id"], "failed", error_kind=why.kind, error=str(why))
        state.count(failed=1)
        state.emit(ImageFailed(concept.folder, image["position"], why.kind, str(why), image["name"] or ""))
        if concept.settle_one():
            self._finish(concept)

    def _task(self, concept: ActiveConcept, image: RowMapping) -> RenderTask:
        if image["name"] is not None:
            return self._item_task(concept, image)
        words = concept.words if image["prompt"] is None or concept.rewritten is None else concept.rewritten
        request = request_from_json(concept.request, self._seed(concept.position, image))
        task = RenderTask(
            concept, image["id"], image["position"], request, words, None, image["attempts"], _refused(image)
        )
        return task if words is concept.words else task.in_words(words)

    def _item_task(self, concept: ActiveConcept, image: RowMapping) -> RenderTask:
        item = item_of(image)
        words = replace(concept.words, title=item.title, prompt=item.prompt)
        if concept.files is None:
            # Looked up once: those of earlier steps are settled, and ten thousand images may start from them.
            concept.files = items_of(self._state).finished(concept.id)
        asked = asked_of(self._state, concept.files, concept.folder, concept.request, item)
        backend = self._state.parts.backend
        seed = image["seed"] if backend is not None and backend.capabilities.seeds else None
        request, tried = request_from_json(asked, seed), image["attempts"]
        return RenderTask(concept, image["id"], image["position"], request, words, item, tried, _refused(image))

    def _seed(self, concept: int, image: RowMapping) -> int | None:
        """The image's seed; one of the plan's where it was planned for a backend that takes none, and this one does."""
        backend, plan = self._state.parts.backend, self._state.plan
        seed: int | None = image["seed"]
        if seed is not None or backend is None or not backend.capabilities.seeds:
            return seed
        return plan.seeds(concept)[int(image["position"]) - 1]

    def _with_pending(self, task: RenderTask) -> RenderTask:
        """The task with what an earlier sitting handed in for it."""
        parts = self._state.parts
        call = parts.store.open_job(task.image_id)
        if call is None:
            return task
        parts.ledger.adopt(call["id"], call["estimate"])
        return replace(task, pending=call["job"], pending_call=call["id"])


def _refused(image: RowMapping) -> str:
    """What was said when the words of an image were refused that still waits for others; "" for any other image."""
    waits = image["state"] == "planned" and image["error_kind"] == Refused.kind
    return (image["error"] or "") if waits else ""
