"""The save stage: what was received becomes a file, off the render thread.

Invariant: bytes that were paid for are on disk before they are worked on, and stay there until the finished file is; a
kill at any instant loses nothing that was received and leaves no half file.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.contract import GeneratedImage
from models.errors import BadAnswer, ModelError
from models.redaction import redact
from tirada.engine.events import ImageDone, ImageFailed
from tirada.engine.finishing import finish_folder
from tirada.engine.items import Finishing, tell_so_far
from tirada.engine.plan import heeded_negative
from tirada.engine.rendering import Delivered, Renderer
from tirada.engine.source import ActiveConcept, RenderTask, TaskSource
from tirada.engine.state import RunState
from tirada.errors import StoreError, reason
from tirada.output.atomic import fsync_folder, write_bytes
from tirada.output.folders import EXTENSIONS, image_stem
from tirada.output.image_files import prepare
from tirada.output.metadata import ImageMetadata
from tirada.output.text import clean_texts

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


class Saver:
    """Saves delivered images; ``loop`` is what each save thread runs."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        able = state.parts.backend.capabilities if state.parts.backend else None
        # Answers come in bursts: there is room for all that are under way, or saving would hold up the next calls.
        room = max(2 * state.options.save_threads + 2, able.max_in_flight * able.max_batch if able else 0)
        self._queue: queue.Queue[Delivered | None] = queue.Queue(maxsize=room)
        self._source: TaskSource | None = None
        self._renderer: Renderer | None = None

    def connect(self, source: TaskSource, renderer: Renderer) -> None:
        """The stages before this one, for finishing folders and for asking again."""
        self._source, self._renderer = source, renderer

    def deliver(self, item: Delivered) -> None:
        """Take an image over; waits when saving lags behind. What was rendered is saved even when the run halts."""
        if self._put_aside(item):
            self._queue.put(item)

    def collect(self, task: RenderTask, row: RowMapping) -> bool:
        """Resume an image that an earlier sitting received: True when its bytes are still there to be saved."""
        spool = spool_path(task.concept.folder, task.position)
        if not spool.exists():
            return False
        image = GeneratedImage(image=spool.read_bytes(), width=0, height=0, seed=row["seed"], model=row["model"] or "")
        self._queue.put(Delivered(task, image, 0, None))
        return True

    def close(self) -> None:
        """No more images will be delivered."""
        for _ in range(self._state.options.save_threads):
            self._queue.put(None)

    def loop(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._save_one(item)
            except (OSError, StoreError) as exc:
                self._cannot_save(item, exc)
            except Exception as exc:  # noqa: BLE001 - a saver that dies would leave the renderers waiting for ever
                self._state.bug(exc)
                self._state.halt("bug", f"{type(exc).__name__}: {exc}")

    def _save_one(self, item: Delivered) -> None:
        task = item.task
        try:
            self._receive(item)
            self._finish(item)
        except BadAnswer as exc:
            self._render_again(item, exc)
            return
        except (OSError, StoreError) as exc:
            self._cannot_save(item, exc)
            return
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            self._fail(item, "bug", f"{type(exc).__name__}: {exc}")
        self.settle(task)

    def settle(self, task: RenderTask) -> None:
        """Count the image as settled; the last one of a concept finishes its folder."""
        if task.concept.settle_one():
            self.finish(task.concept)

    def finish(self, concept: ActiveConcept) -> None:
        """Every image of the concept is settled: write what became of it."""
        assert self._source is not None
        try:
            # A job is finished as a whole, when all of its steps are done.
            if self._state.parts.job is None:
                finish_folder(self._state, concept)
        except (OSError, StoreError) as exc:
            self._state.halt("disk", f"{concept.folder.name} cannot be finished: {reason(exc)}.")
            return
        self._source.forget(concept)

    def _put_aside(self, item: Delivered) -> bool:
        """Get a service's bytes out of memory at once, where a kill would lose them; False when that cannot be done."""
        if item.settled is None or not isinstance(item.image.image, bytes):
            return True
        spool = spool_path(item.task.concept.folder, item.task.position)
        temp = spool.with_name(f"{spool.name}.{secrets.token_hex(6)}.tmp")
        try:
            temp.write_bytes(item.image.image)
            temp.replace(spool)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            self._cannot_save(item, exc)
            self._lose(item)
            return False
        return True

    def _lose(self, item: Delivered) -> None:
        """The picture is lost, but not what it cost: a resume says so before it pays again."""
        why = {"error_kind": "in_doubt", "error": "It was paid for, but there was no room on the disk to keep it."}
        # Where not even this can be kept, the open call says it.
        with contextlib.suppress(StoreError):
            self._state.parts.store.set_image(
                item.task.image_id, "in_doubt", settled=item.settled, attempts=item.attempts, **why
            )

    def _receive(self, item: Delivered) -> None:
        """Make sure of the bytes that were put aside, then settle the call that paid for them."""
        if item.settled is None:
            return
        if isinstance(item.image.image, bytes):
            with spool_path(item.task.concept.folder, item.task.position).open("r+b") as file:
                os.fsync(file.fileno())
            fsync_folder(item.task.concept.folder)
        columns = {"attempts": item.attempts, "model": item.image.model}
        self._state.parts.store.set_image(item.task.image_id, "received", settled=item.settled, **columns)

    def _cannot_save(self, item: Delivered, exc: BaseException) -> None:
        task = item.task
        self._state.halt("disk", f"{task.concept.folder.name}, image {task.position} cannot be saved: {reason(exc)}.")

    def _finish(self, item: Delivered) -> None:
        state, task = self._state, item.task
        request, fmt = task.request, state.plan.format
        assert fmt in ("png", "jpeg", "webp")
        finishing = Finishing(state.parts.job, task.item)
        prepared = prepare(
            item.image,
            width=request.width,
            height=request.height,
            fmt=fmt,  # type: ignore[arg-type]
            embed=state.plan.embed,  # type: ignore[arg-type]
            metadata=self._metadata(item),
            touch=finishing.touch if task.item is not None else None,
        )
        stem = task.item.name if task.item is not None else image_stem(task.position, task.concept.total)
        name = f"{stem}.{EXTENSIONS[fmt]}"
        path = task.concept.folder / name
        write_bytes(path, prepared.data)
        if prepared.untouched is not None and finishing.keeps_original:
            original = f"{stem}-original.{EXTENSIONS[fmt]}"
            write_bytes(task.concept.folder / original, prepared.untouched)
            finishing.facts["original"] = original
        sidecar = None
        if prepared.sidecar is not None:
            sidecar = Path(name).with_suffix(".xmp").name
            write_bytes(task.concept.folder / sidecar, prepared.sidecar)
        columns: dict[str, Any] = {
            "file": name,
            "sha256": prepared.sha256,
            "sidecar": sidecar,
            "note": prepared.note,
            "prompt": None if task.words is task.concept.words else task.words.prompt,
            "width": prepared.width,
            "height": prepared.height,
            "rendered_width": prepared.rendered_width,
            "rendered_height": prepared.rendered_height,
            "details": dict(item.image.details) or None,
        }
        if item.image.seed is not None or not self._takes_seeds():
            columns["seed"] = item.image.seed
        if item.settled is None:
            columns |= {"attempts": item.attempts, "model": item.image.model}
            if item.image.cost_usd is not None:
                columns["cost"] = str(item.image.cost_usd)
        if task.item is not None:
            columns["facts"] = clean_texts(finishing.facts)
        state.parts.store.set_image(task.image_id, "done", error_kind=None, error=None, **columns)
        spool_path(task.concept.folder, task.position).unlink(missing_ok=True)
        state.count(done=1)
        state.emit(ImageDone(path, item.image.cost_usd))
        tell_so_far(state, task.concept.id, task.concept.folder)

    def _takes_seeds(self) -> bool:
        """False where a seed that was planned, for another backend maybe, decided nothing."""
        backend = self._state.parts.backend
        return backend is not None and backend.capabilities.seeds

    def _metadata(self, item: Delivered) -> ImageMetadata:
        parts, task, request = self._state.parts, item.task, item.task.request
        assert parts.backend is not None
        return ImageMetadata(
            title=task.words.title,
            description=task.words.description,
            tags=task.words.metatags,
            prompt=request.prompt,
            negative=heeded_negative(parts.backend, request),
            seed=item.image.seed,
            model=item.image.model,
            backend=parts.backend.name,
            width=request.width,
            height=request.height,
            steps=request.steps,
            guidance=request.guidance,
            scheduler=request.scheduler,
            tool=parts.tool,
            source_type="trainedAlgorithmicMedia" if parts.backend.capabilities.trained else "algorithmicMedia",
        )

    def _render_again(self, item: Delivered, error: ModelError) -> None:
        """The bytes are no sound image: ask again on this very thread, bounded like any other try."""
        spool_path(item.task.concept.folder, item.task.position).unlink(missing_ok=True)
        assert self._renderer is not None
        if item.attempt < self._state.options.retry.tries:
            # To be made once more, in a later sitting where this one halts.
            self._state.parts.store.set_image(item.task.image_id, "planned")
            # Without patience: it is here that the calls are settled which would be waited for.
            self._renderer.render([item.task], self._save_now, attempt=item.attempt + 1, patient=False)
            return
        self._fail(item, error.kind, str(error))
        self.settle(item.task)

    def _save_now(self, item: Delivered) -> None:
        if self._put_aside(item):
            self._save_one(item)

    def _fail(self, item: Delivered, kind: str, message: str) -> None:
        task = item.task
        self._state.parts.store.set_image(task.image_id, "failed", error_kind=kind, error=redact(message))
        self._state.count(failed=1)
        self._state.emit(ImageFailed(task.concept.folder, task.position, kind, redact(message), task.name))


def received(output: Path, images: Iterable[RowMapping]) -> list[RowMapping]:
    """Those of the images (position, and name of the folder) whose bytes lie there, unfinished."""
    return [one for one in images if one["folder"] and spool_path(output / one["folder"], one["position"]).exists()]


def spool_path(folder: Path, position: int) -> Path:
    """Where the bytes of an image lie, as the service sent them, until its file is finished."""
    return folder / f".{position}.received"
