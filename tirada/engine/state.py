"""What the stages of one run share: the plan, the parts, the tally, and the wish to stop.

Invariant: a run halts for one reason, the first one; after it nothing more is submitted.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from models.contract import Dealer, ImageBackend, LocalModel, Novelty, Rewriter, Role, Scribe, Writer
from models.errors import ModelError
from models.redaction import redact
from tirada.engine.events import Event, Listener, Stopping
from tirada.engine.job import Job
from tirada.engine.ledger import Ledger
from tirada.engine.plan import Plan
from tirada.engine.retry import RetryPolicy
from tirada.engine.throttle import Throttle
from tirada.store.store import Store

T = TypeVar("T")
Service = Literal["text", "image"]
#: How often a stage that waits looks whether the run halts, in seconds.
TICK = 0.1
#: Tracebacks of bugs kept for the end of the run.
BUGS_KEPT = 3
#: Items in a row that a service may fail to take before the run stops to be resumed later.
DOWN_AFTER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Settings of the engine itself."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Nothing is submitted with less than this many bytes free in the output folder.
    min_free: int = 100 * 1024 * 1024
    save_threads: int = 3
    #: Seconds a job of a service with job ids may take before it is left to a later run.
    job_wait: float = 600.0


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a run stops early. ``kind`` is "interrupted", "disk", "store", "job", "bug", or the kind of a ModelError."""

    kind: str
    message: str
    #: When that was, by the monotonic clock.
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run works with; the command line puts it together."""

    store: Store
    output: Path
    backend: ImageBackend | None
    #: What the backend is called for people, e.g. "OpenAI Images".
    backend_label: str
    writer: Writer | None
    roles: tuple[Role, ...]
    dealer: Dealer | None
    novelty: Novelty | None
    ledger: Ledger
    tool: str
    #: Puts refused ideas into safer words, where the plan wants that.
    rewriter: Rewriter | None = None
    #: What a workflow adds; None for a batch.
    job: Job | None = None
    #: Who answers the job's questions; None = nobody, offline.
    scribe: Scribe | None = None
    #: Who puts refused images of a job into safer words, where the plan wants that.
    rewording: Scribe | None = None
    #: The backends of steps that have one of their own, each with its name for people.
    others: Mapping[str, tuple[ImageBackend, str]] = field(default_factory=dict)


class RunState:
    """Shared by all threads of a run."""

    def __init__(self, run_id: str, plan: Plan, parts: Parts, options: EngineOptions, listener: Listener) -> None:
        self.run_id = run_id
        self.plan = plan
        self.parts = parts
        self.options = options
        self.listener = listener
        # Reentrant: the handler of Ctrl-C may come while the main thread holds it.
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self.halted: Halt | None = None
        self.tally: Counter[str] = Counter()
        self.openings: Counter[str] = Counter()
        self.folders: list[Path] = []
        self.bugs: list[str] = []
        #: What a job says of its result, for reports.
        self.result: Mapping[str, Any] = {}
        self.began = time.monotonic()
        self._down_in_a_row = 0
        self._proven: set[Service] = set()
        #: The backend that the run is made with, and its name for people, whichever a step of a job turned to.
        self.own = parts.backend, parts.backend_label
        backend = parts.backend
        #: How many images are under way at once.
        self.throttle = Throttle(backend.capabilities.max_in_flight if backend is not None else 1)
        parts.ledger.stopping = self._stop.is_set

    def turn_to(self, name: str) -> None:
        """Go on with the backend of that name among the ``others``, or with the run's own ("")."""
        backend, label = self.parts.others[name] if name else self.own
        before = self.parts.backend
        if backend is None or backend is before:
            return
        if before is not None and before.capabilities.local and backend.capabilities.local:
            cast(LocalModel, before).make_room()
        self.parts = replace(self.parts, backend=backend, backend_label=label)
        self.parts.ledger.image_backend = backend.name
        self.throttle = Throttle(backend.capabilities.max_in_flight)
        self._proven.discard("image")

    # --- telling

    def emit(self, event: Event) -> None:
        """Tell the listener; one event at a time."""
        # Who listens may have gone (a closed pipe); that is no reason to stop working.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self.listener(event)

    def count(self, **figures: int) -> None:
        with self._lock:
            self.tally.update(figures)

    def count_opening(self, description: str) -> None:
        """Keep the first three words: the report says how alike the texts open."""
        with self._lock:
            self.openings[" ".join(description.casefold().split()[:3])] += 1

    def add_folder(self, folder: Path) -> None:
        with self._lock:
            # The steps of a job go on in the same one.
            if self.folders[-1:] != [folder]:
                self.folders.append(folder)

    # --- stopping

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def halt(self, kind: str, message: str) -> None:
        """Stop submitting, for this reason unless there is one already."""
        with self._lock:
            if self.halted is not None:
                return
            self.halted = Halt(kind, redact(message))
            self._stop.set()
        self.emit(Stopping(kind, self.halted.message))

    def bug(self, exc: BaseException) -> None:
        """Keep the traceback of something that should not have happened."""
        text = redact("".join(traceback.format_exception(exc)))
        with self._lock:
            if len(self.bugs) < BUGS_KEPT:
                self.bugs.append(text)

    def wait(self, seconds: float) -> bool:
        """Wait, unless the run halts first; True when the time has passed."""
        return not self._stop.wait(seconds)

    # --- pacing

    def clear_to_submit(self) -> bool:
        """Look at the disk; False when the run halts instead."""
        return not self.stopping and self._disk_has_room()

    def _disk_has_room(self) -> bool:
        free = shutil.disk_usage(self.parts.output).free
        if free >= self.options.min_free:
            return True
        megabytes = self.options.min_free // (1024 * 1024)
        self.halt(
            "disk",
            f"Only {free // (1024 * 1024)} MB are free in {str(self.parts.output)!r}; nothing is made with less than "
            f"{megabytes} MB (MIN_FREE_MB).",
        )
        return False

    def service_answered(self, kind: Service) -> None:
        with self._lock:
            self._down_in_a_row = 0
            self._proven.add(kind)

    def proven(self, kind: Service) -> bool:
        """Did the service do anything in this sitting? Then what it cannot do is a matter of the single item."""
        return kind in self._proven

    def service_failed(self, error: ModelError) -> None:
        """An item was given up because the service is unavailable; after a few in a row the run halts."""
        with self._lock:
            self._down_in_a_row += 1
            down = self._down_in_a_row >= DOWN_AFTER
        if down:
            self.halt(error.kind, f"{DOWN_AFTER} items in a row failed: {error}")

    # --- queues that notice a halt

    def put(self, target: queue.Queue[T], item: T) -> bool:
        """Put an item on a bounded queue; False when the run halts before there is room."""
        while not self.stopping:
            try:
                target.put(item, timeout=TICK)
            except queue.Full:
                continue
            return True
        return False

    def thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """A started daemon thread; what it lets escape halts the run as a bug."""

        def body() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - the main thread reports it
                self.bug(exc)
                self.halt("bug", f"{type(exc).__name__}: {exc}")

        started = threading.Thread(target=body, name=name, daemon=True)
        started.start()
        return started
