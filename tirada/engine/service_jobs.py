"""Work that has a job id at the service: handed in once, looked at until it is ready.

Invariant: the id is in the store before anything is waited for; a job that has one is collected, never paid for again.
"""

from __future__ import annotations

import time
from typing import cast

from models.contract import GeneratedImage, ImageBackend, JobBackend
from models.errors import BadAnswer, ModelError, RateLimited, Refused, Unavailable
from tirada.engine.retry import RetryPolicy, StillRunning
from tirada.engine.source import RenderTask
from tirada.engine.state import TICK, RunState

#: Seconds a job still has when the user wants to leave.
GRACE = 20.0


class JobRunner:
    """Submits and collects for a render thread."""

    def __init__(self, state: RunState, backend: ImageBackend) -> None:
        self._state = state
        self._backend = cast(JobBackend, backend)
        self._policy: RetryPolicy = state.options.retry

    def run(self, task: RenderTask, call: str) -> GeneratedImage | ModelError:
        """The image of a request, or of the job that an earlier sitting handed in for it."""
        try:
            name = task.pending
            if name is None:
                name = self._backend.submit(task.request)
                self._state.parts.store.note_job(call, name)
        except ModelError as exc:
            return exc
        try:
            return self._wait_for(name)
        except (Refused, BadAnswer, StillRunning) as exc:
            return exc
        except ModelError as exc:
            # Nothing of this makes the job worth less: it waits until the set-up is right again.
            return StillRunning(str(exc), cause=exc)

    def _wait_for(self, name: str) -> GeneratedImage:
        """Look until it is ready, also while the run halts: it is in flight, and it is paid for.

        Who pressed Ctrl-C is kept for a moment only: a resume collects it just as well.
        """
        end = time.monotonic() + self._state.options.job_wait
        failures = 0
        while True:
            pause = self._backend.poll_seconds
            try:
                image = self._backend.collect(name)
                failures = 0
            except (Unavailable, RateLimited) as exc:
                # Looking again costs nothing, so patience is bounded by the time alone.
                image = None
                failures += 1
                pause = max(pause, exc.retry_after or self._policy.backoff(failures))
            if image is not None:
                return image
            if (left_at := self._left_at()) is not None:
                end = min(end, left_at + GRACE)
            if time.monotonic() + pause > end:
                raise StillRunning("The job is not ready yet.")
            self._rest(pause)

    def _rest(self, seconds: float) -> None:
        """Wait before the next look; a long wait notices who wants to leave."""
        end = time.monotonic() + seconds
        before = self._left_at()
        while (left := end - time.monotonic()) > 0 and self._left_at() == before:
            time.sleep(min(TICK, left))

    def _left_at(self) -> float | None:
        """When the user pressed Ctrl-C; None where that did not happen."""
        halted = self._state.halted
        return halted.at if halted is not None and halted.kind == "interrupted" else None
