"""Shows a run's events: bars on a terminal, lines in a log, nothing when quiet.

Invariant: a listener never fails a run and never prints to stdout.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tirada.cli import console
from tirada.engine.events import (
    ConceptFailed,
    ConceptRewritten,
    ConceptWritten,
    Event,
    FolderDone,
    ImageDone,
    ImageFailed,
    ImageReworded,
    ImagesPlanned,
    PromptsSaved,
    Remark,
    Retrying,
    RunStarted,
    StepProgress,
    Stopping,
)
from tirada.engine.plan import Plan
from tirada.output.text import counted

if TYPE_CHECKING:
    from rich.progress import TaskID

#: Seconds between two lines about how far a run is.
HEARTBEAT = 15.0


class Pace:
    """How many images a minute, and for how long still; counted from the first one on, when loading is over."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._counted = 0

    def count(self) -> None:
        self._counted += 1
        self._began = self._began or time.monotonic()

    def said(self, left: int) -> str:
        """ "14.2 a minute, 3 min left"; nothing before the second image."""
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        if self._counted < 2 or seconds <= 0:
            return ""
        rate = (self._counted - 1) * 60 / seconds
        wait = left / rate
        return f"{rate:.1f} a minute, {f'{wait:.0f} min' if wait >= 1 else f'{wait * 60:.0f} s'} left"


class Silent:
    """Says nothing; those that do say what they said, so that the report at the end need not say it again."""

    def __init__(self) -> None:
        #: Why the run stops, once that was said.
        self.stopped = ""
        # How many images were not made for want of the same other one, by what was said of the first of them.
        self._alike: Counter[str] = Counter()
        # (folder, place in it) of images, and ("", place in the run) of concepts, both from 1.
        self._failed: set[tuple[str, int]] = set()

    def failure(self, row: Mapping[str, Any]) -> bool:
        """Was this failure of the store said?"""
        image = row["image"]
        return (("", row["concept"]) if image is None else (row["folder"], image)) in self._failed

    def _keep(self, event: Event) -> None:
        match event:
            case ConceptFailed(position=position):
                self._failed.add(("", position + 1))
            case ImageFailed(folder=folder, position=position):
                self._failed.add((folder.name, position))
            case Stopping(message=message):
                self.stopped = message

    def _said(self, event: Event) -> list[str]:
        """The lines for an event. Of many images that want the same other one, the first is named, then how many."""
        match event:
            case ImageFailed(kind="missing_item", message=message):
                self._alike[message] += 1
                if self._alike[message] > 1:
                    self._keep(event)
                    return []
            case FolderDone():
                more = sum(self._alike.values()) - len(self._alike)
                self._alike.clear()
                if more:
                    return [f"{counted(more, 'more image')} could not be made for the same reason.", *_lines(event)]
        return _lines(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: Event) -> None:
        return None


class Lines(Silent):
    """A line for what matters, and one now and then about how far the run is; for logs and cron mails."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._wanted = 0
        self._done = 0
        self._pace = Pace()
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._wanted = event.concepts if self._plan.prompts_only else event.images
        if isinstance(event, ImagesPlanned):
            self._wanted += event.images
        if isinstance(event, ImageDone):
            self._done += 1
            self._pace.count()
        if isinstance(event, PromptsSaved):
            self._done += event.rows
        if lines := self._said(event):
            for line in lines:
                console.note(line)
            self._keep(event)
        elif time.monotonic() - self._last >= HEARTBEAT:
            pace = self._pace.said(self._wanted - self._done)
            console.note(f"{self._done} of {self._wanted} done{pace and f', {pace}'}")
        else:
            return
        self._last = time.monotonic()


def _lines(event: Event) -> list[str]:
    line = describe(event)
    return [] if line is None else [line]


def describe(event: Event) -> str | None:
    """The line for an event that is worth one."""
    match event:
        case RunStarted(run_id=run_id, resumed=resumed, note=note):
            return f"Run {run_id} {'goes on' if resumed else 'starts'}. {note}".rstrip()
        case ConceptFailed(position=position, kind=kind, message=message, whole=whole):
            return f"{'The texts' if whole else f'Prompt {position + 1}'} failed: {kind}: {message}"
        case ImageFailed(folder=folder, position=position, kind=kind, message=message, name=name):
            return f"{folder.name}, image {name or position} failed: {kind}: {message}"
        case ConceptRewritten(folder=folder, title=title, reason=reason):
            return f"{folder.name} was refused and is rewritten as {title!r} ({reason})"
        case ImageReworded(folder=folder, name=name, reason=reason):
            return f"{folder.name}, image {name} was refused and is asked for in safer words ({reason})"
        case Retrying(what=what, wait=wait, attempt=attempt, message=message):
            return f"{what}: try {attempt} in {wait:.1f} s ({message})"
        case FolderDone(path=path, done=done, failed=failed):
            return f"{path}: {counted(done, 'image')}" + (f", {failed} failed" if failed else "")
        case Remark(text=text):
            return text
        case Stopping(message=message):
            return f"Stopping. {message}"
    return None


def _steps(event: StepProgress) -> str:
    """How far an image is, in steps where the server says them."""
    return f"step {event.step}/{event.steps}" if event.steps else f"{event.share:.0%}"


class Bars(Silent):
    """A bar per stage with counts and cost, and lines above them for what goes wrong."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        self._plan = plan
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[cost]}"),
            console=Console(stderr=True),
        )
        self._write: TaskID | None = None
        self._images: TaskID | None = None
        self._wanted = self._done = 0
        self._pace = Pace()
        self._cost = Decimal(0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _expect(self, images: int) -> None:
        """So many images more are to come."""
        if not images:
            return
        self._wanted += images
        if self._images is None:
            self._images = self._progress.add_task("Images ", total=images, cost="", steps="", pace="")
        else:
            self._progress.update(self._images, total=self._wanted)

    def __call__(self, event: Event) -> None:
        from rich.markup import escape

        match event:
            case RunStarted():
                if event.concepts:
                    self._write = self._progress.add_task("Prompts", total=event.concepts, cost="", steps="", pace="")
                self._expect(event.images)
            case ImagesPlanned(images=images):
                self._expect(images)
            case ConceptWritten() if self._write is not None:
                self._progress.advance(self._write)
            case ImageDone(cost=cost) if self._images is not None:
                self._cost += cost or Decimal(0)
                self._done += 1
                self._pace.count()
                shown = f"{self._cost:.4f} USD" if self._cost else ""
                self._progress.update(
                    self._images, advance=1, cost=shown, steps="", pace=self._pace.said(self._wanted - self._done)
                )
            case StepProgress() if self._images is not None:
                self._progress.update(self._images, steps=_steps(event))
        lines = self._said(event)
        for line in lines[:-1] if isinstance(event, FolderDone) else lines:
            self._progress.console.print(escape(line), highlight=False, soft_wrap=True)
        if lines:
            self._keep(event)
