"""Looks at a server of the user's own while it renders, and stops it where the user wants to leave at once.

Invariant: looking never fails a run and never holds up its end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import cast

from models.contract import ImageBackend, ServerControls
from models.errors import ModelError
from tirada.engine.events import StepProgress
from tirada.engine.state import RunState

#: Seconds between two looks, and the most that is waited for an answer when a run ends.
EVERY, PATIENCE = 1.0, 2.0


@contextlib.contextmanager
def watched(state: RunState) -> Iterator[None]:
    """Tell how far the image under way is for as long as this lasts, where the backend can be watched."""
    backend = state.parts.backend
    if backend is None or not backend.capabilities.progress:
        yield
        return
    over = threading.Event()
    thread = state.thread("watch", lambda: _watch(state, cast(ServerControls, backend), over))
    try:
        yield
    finally:
        over.set()
    # Not for somebody who leaves at once.
    thread.join(PATIENCE)


def _watch(state: RunState, server: ServerControls, over: threading.Event) -> None:
    while not over.wait(EVERY):
        if not state.throttle.busy:
            continue
        try:
            seen = server.progress()
        except Exception as exc:  # noqa: BLE001 - somebody else's backend: the images matter more than the bar
            state.bug(exc)
            return
        if seen is not None and not over.is_set():
            state.emit(StepProgress(seen.share, seen.step, seen.steps))


def stop_server(backend: ImageBackend | None) -> None:
    """Have the server give up what it renders for us; waits a moment at most for it to say yes."""
    if backend is None or not backend.capabilities.progress:
        return
    server = cast(ServerControls, backend)

    def ask() -> None:
        # Who leaves at once wants to hear of nothing.
        with contextlib.suppress(ModelError, OSError):
            server.interrupt()

    asking = threading.Thread(target=ask, name="interrupt", daemon=True)
    asking.start()
    asking.join(PATIENCE)
