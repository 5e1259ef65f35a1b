"""What happens during a run, as typed events; the terminal, a log and a stream are subscribers of the same ones.

Invariant: events are facts that are already in the store or on disk; dropping one loses no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunStarted:
    run_id: str
    #: Concepts and images this sitting has to make (a resumed run counts only what is missing).
    concepts: int
    images: int
    resumed: bool = False
    #: What a resumed run found of calls whose outcome nobody knows.
    note: str = ""


@dataclass(frozen=True, slots=True)
class ConceptWritten:
    position: int
    title: str


@dataclass(frozen=True, slots=True)
class ConceptFailed:
    position: int
    kind: str
    message: str
    #: Of a job, whose texts are written all together.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ImagesPlanned:
    """A job wants so many images more."""

    images: int


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a job wants known before it begins."""

    text: str


@dataclass(frozen=True, slots=True)
class PromptsSaved:
    """Rows were appended to the CSV."""

    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class ImageDone:
    path: Path
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """What a job has ready by now, as the job itself puts it (JSON)."""

    folder: Path
    ready: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageFailed:
    folder: Path
    position: int
    kind: str
    message: str
    #: What it is called, as an image of a job.
    name: str = ""


@dataclass(frozen=True, slots=True)
class ConceptRewritten:
    """A content policy refused the idea of a folder; from here on its images are made with safer words."""

    folder: Path
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageReworded:
    """A content policy refused an image of a job; it is asked for in safer words."""

    folder: Path
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the image is that a server of the user's own is rendering: a share of 0 to 1; 0 of 0 = not said."""

    share: float
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something will be tried again after ``wait`` seconds."""

    what: str
    attempt: int
    wait: float
    message: str


@dataclass(frozen=True, slots=True)
class FolderDone:
    path: Path
    title: str
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """Nothing more is submitted; what is in flight is finished."""

    kind: str
    message: str


Event = (
    RunStarted
    | ConceptWritten
    | ConceptFailed
    | ImagesPlanned
    | Remark
    | PromptsSaved
    | ImageDone
    | JobProgress
    | ImageFailed
    | ConceptRewritten
    | ImageReworded
    | StepProgress
    | Retrying
    | FolderDone
    | Stopping
)
Listener = Callable[[Event], None]
