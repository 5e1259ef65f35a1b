"""What a workflow adds to a run beyond its plan: images with words of their own, made in steps that build on others.

A run with a job makes one concept, in one folder. ``compose`` says which images there are: those of step 0 are made,
then those of step 1, which may start from them, and so on; after the last step ``more`` may ask for others. Each image
is treated and measured on its way to the disk, and ``finish`` writes what the job as a whole comes to.
Invariant: a job keeps no state. It is made anew from the plan for every sitting, and all that it is told comes from the
store, so that a run that was cut off goes on as if nothing had happened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.contract import Concept, Scribe

if TYPE_CHECKING:
    from PIL.Image import Image

#: "result": what was asked for. "step": made on the way to one. "try": another one turned out better.
Kind = Literal["result", "step", "try"]
#: Names of images become names of files.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a job."""

    #: Its file without the extension, and what other images call it by.
    name: str
    title: str
    prompt: str
    #: It is made when all images of earlier steps are settled.
    step: int = 0
    kind: Kind = "result"
    #: None = one of the plan's; a backend that takes none ignores it.
    seed: int | None = None
    #: Fields of the ImageRequest that differ from the plan's. Where these want a file (init_image, mask, references),
    #: "@name" is the image of that name, of an earlier step; where that was not made, this one fails.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: What there is to say of it on the contact sheet and in info.json: name -> text.
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image of a job as the store knows it."""

    item: Item
    #: planned, submitted, received, done, failed, refused, in_doubt (see ``store.schema``).
    state: str
    #: The finished image; None while there is none.
    file: Path | None
    seed: int | None
    #: Those of the item, and what was measured.
    facts: Mapping[str, str]
    model: str
    error: str

    @property
    def done(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What a job is to make. The concept's title names the folder; its prompt is what the images have in common."""

    concept: Concept
    items: Sequence[Item]
    #: What was chosen on the way, for info.json: name -> text.
    brief: Mapping[str, str] = field(default_factory=dict)
    #: What the user is to know: sentences.
    notes: Sequence[str] = ()


class Job:
    """The base of every workflow's job; a job overrides what it needs. All but ``compose`` may run in any thread.

    What ``treat`` and ``measure`` raise fails their image; what the others raise halts the run, which a resume takes up
    at the same place.
    """

    #: Whether the picture as it came is kept beside one that ``treat`` changed, as ``<name>-original``.
    keeps_original = False

    def compose(self, scribe: Scribe | None) -> Composed:
        """Say what is to be made, with the help of a text model where there is one.

        A ModelError that comes out ends the run as a failed one; calls are tried again by the engine.
        """
        raise NotImplementedError

    def reword(self, concept: Concept, item: Item, reason: str, scribe: Scribe) -> Item:
        """The item in safer words, where a content policy refused it for that reason: another prompt, and other facts
        where these repeat it. Called once for an image, where the user wants that; a ModelError that comes out leaves
        the image refused."""
        from models.writers.rewording import safer_prompt

        keep = [passage for passage in self.kept_words(item) if passage in item.prompt]
        return replace(item, prompt=safer_prompt(scribe, item.prompt, reason, keep))

    def kept_words(self, item: Item) -> Sequence[str]:
        """Passages of its prompt that ``reword`` leaves as they are, e.g. the word that a LoRA goes by."""
        return ()

    def treat(self, picture: Image, item: Item) -> Image:
        """The picture as it is to be kept, of the same size; RGB or RGBA. The same object = nothing was changed."""
        return picture

    def measure(self, picture: Image, item: Item) -> Mapping[str, str]:
        """Facts about the picture as it is kept (after ``treat``), added to those of the item."""
        return {}

    def more(self, concept: Concept, made: Sequence[Made]) -> Sequence[Item]:
        """Further images, when all steps so far are settled: their ``step`` is beyond the last one."""
        return ()

    def compare(self, made: Sequence[Made]) -> Mapping[str, Mapping[str, str]]:
        """Facts that only show when the images lie side by side, by name; added before ``finish``."""
        return {}

    def kinds(self, made: Sequence[Made]) -> Mapping[str, Kind]:
        """Images that turn out to be of another kind than planned, by name, e.g. tries that others were better than."""
        return {}

    def so_far(self, concept: Concept, made: Sequence[Made]) -> Mapping[str, Any]:
        """What is ready, told to listeners after each image and written nowhere; JSON. Empty = nothing to tell."""
        return {}

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        """Write what the job as a whole comes to into its folder, also where some images failed. It may be called again
        after a retry, and then replaces what it wrote."""

    def remarks(self, concept: Concept, made: Sequence[Made]) -> Sequence[str]:
        """What the user is to know of the whole when it is finished: sentences."""
        return ()

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        """What ``--json`` says of the result beside the report; JSON. Empty = nothing."""
        return {}
