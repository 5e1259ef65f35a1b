"""Runs a plan to its end: starts the stages, joins them, and says what became of it.

Invariant: whatever way a run ends, everything that was received is on disk and the store says what is missing.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tirada.engine.events import Listener, RunStarted
from tirada.engine.finishing import write_folder
from tirada.engine.going import run_lock
from tirada.engine.items import plan_items
from tirada.engine.job import Composed
from tirada.engine.plan import Plan, ReadyConcept
from tirada.engine.rendering import Renderer
from tirada.engine.report import Report, make_report
from tirada.engine.saving import Saver, received, spool_path
from tirada.engine.source import ActiveConcept, TaskSource
from tirada.engine.state import EngineOptions, Parts, RunState
from tirada.engine.watching import watched
from tirada.engine.writing import BriefSource, WriteStage, planned, recover_prompts
from tirada.errors import StoreError
from tirada.output.atomic import sweep_temps
from tirada.output.text import clean_concept
from tirada.store.recovery import Recovery

#: Concepts written ahead of the render stage, at most.
AHEAD = 16
#: Failures that say nothing about the item: a resume tries these again.
FORGIVEN = ("unavailable", "rate_limited", "missing_item")
#: Images in doubt named by a resume.
DOUBTS_NAMED = 10
#: Ready concepts stored in one transaction.
CHUNK = 500


class Run:
    """One sitting of a run, new or resumed."""

    def __init__(
        self,
        run_id: str,
        plan: Plan,
        parts: Parts,
        options: EngineOptions,
        listener: Listener,
        *,
        skip_in_doubt: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.state = RunState(run_id, plan, parts, options, listener)
        #: Whether a resume leaves images alone that may have been paid for.
        self.skip_in_doubt = skip_in_doubt
        #: Whether it takes up again what failed or was refused.
        self.retry_failed = retry_failed

    def interrupt(self) -> None:
        """Finish what is in flight, write the info files, stop. May be called from a signal handler."""
        # On a thread of its own: the handler may have cut in where the main thread holds a lock of stderr.
        message = "Interrupted: what is in flight is finished first."
        threading.Thread(target=self.state.halt, args=("interrupted", message), name="halt", daemon=True).start()

    def move_to(self, backend: str, model: str) -> None:
        """Render what is missing with another backend or model."""
        state = self.state
        state.parts.store.move_run(state.run_id, backend, model, state.plan.to_json())

    def _begin(self, ready: Sequence[ReadyConcept]) -> str:
        """Write down everything that a resume needs; until then the run does not count as begun."""
        state = self.state
        if state.parts.job is not None:
            for one in ready:
                brief = {name: str(text) for name, text in one.brief.items()}
                plan_items(state, Composed(concept=one.concept, items=one.items, brief=brief))
            ready = ()
        for start in range(0, len(ready), CHUNK):
            items = []
            for position, item in enumerate(ready[start : start + CHUNK], start=start):
                concept = clean_concept(item.concept)
                request, seeds = planned(state, position, concept)
                items.append((position, concept, item.brief, request, _given_first(item.seeds, seeds)))
            ids = state.parts.store.add_concepts(state.run_id, items)
            for concept_id, item in zip(ids, ready[start : start + CHUNK], strict=True):
                if item.rewrite is not None:
                    state.parts.store.plan_rewritten(concept_id, item.rewrite, item.rewritten)
        state.parts.store.start_run(state.run_id)
        return ""

    def _go_on(self) -> str:
        """Make an interrupted run ready again; returns a line about calls whose outcome nobody knows, or nothing."""
        store, run_id = self.state.parts.store, self.state.run_id
        recovery = Recovery(store.database, run_id)
        output = self.state.parts.output
        for image in received(output, recovery.submitted_images()):
            # Killed between the answer and its row: what was received is not paid for again.
            recovery.receive_late(image["id"])
        recovery.doubt_open_work()
        recovery.doubt_submitted()
        doubtful = recovery.doubtful_images()
        if not self.skip_in_doubt:
            recovery.reset_images(("in_doubt",))
        if self.retry_failed:
            for image in received(output, recovery.failed_images()):
                recovery.receive_again(image["id"])
            recovery.reset_images(("failed", "refused"))
            recovery.forget_failed_concepts()
        recovery.forgive(FORGIVEN)
        recovery.reopen_concepts()
        store.start_run(run_id)
        return _doubts(doubtful, skipped=self.skip_in_doubt)

    def execute(
        self,
        ready: Sequence[ReadyConcept] = (),
        *,
        resumed: bool = False,
        first: Callable[[], None] | None = None,
    ) -> Report:
        """Run all stages to the end of the plan, or until the run halts.

        ``ready`` are the concepts of a new run that needs no writer; ``first`` changes what the store says of the run,
        when nobody else works on it. Raises StillGoing while another process does.
        """
        state = self.state
        started = time.monotonic()
        store = state.parts.store
        with run_lock(state.parts.output, state.run_id):
            if first is not None:
                first()
            note = self._go_on() if resumed else self._begin(ready)
            have = store.positions(state.run_id)
            state.emit(RunStarted(state.run_id, *self._outstanding(have), resumed, note))
            if state.parts.job is not None:
                self._do_job()
            elif state.plan.prompts_only:
                self._write_only(have)
            else:
                self._write_and_render(have)
            report = make_report(state, time.monotonic() - started)
            # A store that cannot be written has been reported already; the run stays resumable.
            with contextlib.suppress(StoreError):
                store.finish_run(state.run_id, report.status, report.message)
        return report

    def _outstanding(self, have: set[int]) -> tuple[int, int]:
        plan = self.state.plan
        to_write = plan.concepts - len(have)
        figures = self.state.parts.store.run_figures(self.state.run_id)
        # How many images a job has is known when it is composed.
        each = 0 if self.state.parts.job is not None else plan.images
        return to_write, to_write * each + sum(figures.get(state, 0) for state in ("planned", "submitted", "received"))

    def _write_only(self, have: set[int]) -> None:
        recover_prompts(self.state)
        ready: queue.Queue[str | None] = queue.Queue()
        for thread in self._writers(have, ready):
            thread.join()

    def _write_and_render(self, have: set[int]) -> None:
        state = self.state
        ready: queue.Queue[str | None] = queue.Queue(maxsize=AHEAD)
        first = [state.thread("feed", lambda: self._feed(have, ready)), *self._writers(have, ready)]
        for concept in self._render(ready, first):
            # The disk may be full; the store still knows everything that these files would say.
            with contextlib.suppress(OSError, StoreError):
                write_folder(state, concept.id, concept.folder)

    def _do_job(self) -> None:
        from tirada.engine.jobrun import JobRun

        def render(concept_id: str, step: int) -> None:
            concept = state.parts.store.concept(concept_id)
            if concept["folder"]:
                self._clean_up(state.parts.output / concept["folder"], concept_id)
            queued: queue.Queue[str | None] = queue.Queue()
            queued.put(concept_id)
            self._render(queued, (), step)

        state = self.state
        JobRun(state, render).execute()

    def _render(
        self, ready: queue.Queue[str | None], first: Sequence[threading.Thread], step: int | None = None
    ) -> list[ActiveConcept]:
        """Render what is ready until the threads that fill the queue are through; returns what was not finished."""
        state = self.state
        saver = Saver(state)
        source = TaskSource(state, ready, collect=saver.collect, finish=saver.finish, step=step)
        renderer = Renderer(state, source, saver.settle)
        saver.connect(source, renderer)
        assert state.parts.backend is not None
        in_flight = state.parts.backend.capabilities.max_in_flight
        renderers = [state.thread("render", lambda: renderer.loop(saver.deliver)) for _ in range(in_flight)]
        savers = [state.thread("save", saver.loop) for _ in range(state.options.save_threads)]
        with watched(state):
            _join(first)
            state.put(ready, None)
            _join(renderers)
        saver.close()
        _join(savers)
        return source.active()

    def _writers(self, have: set[int], ready: queue.Queue[str | None]) -> list[threading.Thread]:
        state = self.state
        missing = state.plan.concepts - len(have)
        if missing <= 0 or state.parts.writer is None:
            return []
        writer = state.parts.writer
        stage = WriteStage(state, BriefSource(state, have), ready)
        threads = min(writer.max_in_flight, -(-missing // writer.batch))
        return [state.thread("write", stage.loop) for _ in range(threads)]

    def _feed(self, have: set[int], ready: queue.Queue[str | None]) -> None:
        """Hand on the concepts that were there before this sitting."""
        if not have:
            return
        for row in self.state.parts.store.unfinished_concepts(self.state.run_id):
            if row["position"] not in have:
                continue
            if row["folder"]:
                self._clean_up(self.state.parts.output / row["folder"], row["id"])
            if not self.state.put(ready, row["id"]):
                return

    def _clean_up(self, folder: Path, concept_id: str) -> None:
        """Remove what a kill left behind: half files, and bytes put aside of images that are finished by now."""
        if not folder.is_dir():
            return
        sweep_temps(folder)
        if left := set(folder.glob(".*.received")):
            images = self.state.parts.store.images_of(concept_id)
            for path in left & {spool_path(folder, i["position"]) for i in images if i["state"] == "done"}:
                path.unlink(missing_ok=True)


def _doubts(images: Sequence[Mapping[str, Any]], *, skipped: bool) -> str:
    """What a resume says about images whose outcome nobody knows."""
    if not images:
        return ""
    cost = sum((Decimal(image["cost"]) for image in images if image["cost"]), Decimal(0))
    named = [f"{one['folder']}, image {one['image']} ({one['cost'] or '?'} USD)" for one in images[:DOUBTS_NAMED]]

    more = f"; and {len(images) - DOUBTS_NAMED} more" if len(images) > DOUBTS_NAMED else ""
    fate = "left as it was:" if skipped else "asked for again:"
    many = f"{len(images)} images are in doubt: their answers were lost, and they"
    what = "1 image is in doubt: its answer was lost, and it" if len(images) == 1 else many
    return f"{what} may have cost {cost:.4f} USD, which counts as spent; {fate} {'; '.join(named)}{more}."


def _given_first(given: Sequence[int | None] | None, dealt: Sequence[int | None]) -> list[int | None]:
    """The seeds that were given, and dealt ones where none was; none at all for a backend that takes none."""
    return [
        number if number is None or wanted is None else wanted
        for wanted, number in zip(given or [None] * len(dealt), dealt, strict=True)
    ]


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
