"""The words every part speaks: requests, images, concepts, briefs, and the protocols of writers and backends.

Everything here is frozen, synchronous and thread-safe; the engine brings the threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from models.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydantic import BaseModel

T = TypeVar("T", bound="BaseModel")
#: What a prompt needs to say, and in which limits (characters, and tags as a count).
TITLE_MAX = 120
DESCRIPTION_MIN, DESCRIPTION_MAX = 40, 400
TAGS_MIN, TAGS_MAX = 5, 10


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA file or repository and the weight it is applied with."""

    source: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Everything that decides one image; its fingerprint names the work. Sizes are in pixels."""

    prompt: str
    negative: str = ""
    width: int
    height: int
    seed: int | None = None
    model: str | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    init_image: Path | None = None
    #: Where ``init_image`` may change: transparent pixels of a PNG of its size.
    mask: Path | None = None
    strength: float | None = None
    references: tuple[Path, ...] = ()
    loras: tuple[Lora, ...] = ()
    #: Backend-specific settings, checked by that backend.
    options: Mapping[str, str] = field(default_factory=dict)
    #: What the picture is called, for backends that letter it; a model never sees it.
    title: str = ""

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the request in canonical JSON: equal requests, equal names."""
        canonical = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def alike(one: ImageRequest, other: ImageRequest) -> bool:
    """Do they differ in words and seeds only, so that they can be rendered together?"""
    return _without_words(one) == _without_words(other)


def _without_words(request: ImageRequest) -> ImageRequest:
    return replace(request, prompt="", negative="", title="", seed=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """One rendered image: the service's own bytes, or the pixels of a local model."""

    image: bytes | Image
    width: int
    height: int
    seed: int | None = None
    model: str = ""
    #: True cost in USD; None when it is not known.
    cost_usd: Decimal | None = None
    #: Tokens as the service counted them, e.g. {"input": 12, "output": 439}.
    usage: Mapping[str, int] = field(default_factory=dict)
    #: What else the service said (a revised prompt, the sampler it used).
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A few-shot example: an answer as we would like the text model to give it."""

    title: str
    description: str
    metatags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A point of view with everything it likes to choose from, as read from ``data/roles/<name>.toml``."""

    name: str
    title: str
    description: str
    #: Composes the final prompt; placeholders are {title}, {description}, {tags} and the keys of ``lists`` in singular.
    template: str
    negative: str
    #: Singular name of a choice -> its entries: scene, element, environment, style, light, mood, palette, and
    #: render, or camera and lens.
    lists: Mapping[str, tuple[str, ...]]
    tags: tuple[str, ...]
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """One committed choice from a role, plus what the user asked for."""

    role: Role
    #: Singular name -> the entry chosen, for every list of the role.
    choices: Mapping[str, str]
    #: Tags dealt from the role, as suggestions.
    tags: tuple[str, ...]
    theme: str = ""
    #: ISO 639-1 code of the language the concept is written in.
    language: str = "en"
    #: Decides every free choice a writer still makes.
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """An idea for an image, ready to render and to catalogue."""

    title: str
    description: str
    metatags: tuple[str, ...]
    prompt: str
    negative: str = ""
    role: str = ""
    #: The writer and text model it comes from; "file" when it was read from one.
    writer: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do; the engine and the command line go by it."""

    #: One honest line for listings.
    summary: str
    paid: bool
    seeds: bool
    negative: bool
    #: False for pictures that no trained model made.
    trained: bool = True
    #: Images per ``generate`` call, and calls under way at once.
    max_batch: int = 1
    max_in_flight: int = 1
    init_image: bool = False
    mask: bool = False
    #: Most reference images it takes.
    references: int = 0
    #: Paid work has a job id (see ``JobBackend``).
    jobs: bool = False
    #: It can be watched and stopped while it renders (see ``ServerControls``).
    progress: bool = False
    #: It renders on this very machine (see ``LocalModel``).
    local: bool = False
    #: The ``ImageRequest`` settings it obeys beyond prompt and size, e.g. {"steps", "guidance"}.
    settings: frozenset[str] = frozenset()
    #: The names ``ImageRequest.options`` may hold.
    options: frozenset[str] = frozenset()


class ImageBackend(Protocol):
    """Renders images. Thread-safe: the engine calls ``generate`` from ``max_in_flight`` threads."""

    name: str
    capabilities: Capabilities

    def model_for(self, request: ImageRequest) -> str:
        """The exact model that will render the request; raises UnsupportedRequest for one that does not exist."""

    def check(self, request: ImageRequest) -> None:
        """Raise UnsupportedRequest or SetupError before any spend, naming what would work."""

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        """(width, height) in pixels the model will render for the request; it always covers what was asked."""

    def price(self, request: ImageRequest) -> Decimal | None:
        """Expected USD for one image; None = unknown, never 0 by default."""

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        """Render a batch of at most ``max_batch``; one answer per request, in order."""

    def close(self) -> None:
        """Let go of connections and memory."""


class JobBackend(ImageBackend, Protocol):
    """A service with job ids (``capabilities.jobs``): a paid job survives a crash of ours."""

    #: Seconds between two looks at a job.
    poll_seconds: float

    def submit(self, request: ImageRequest) -> str:
        """Hand the work in; the answer is all that ``collect`` needs, as text. Raises ModelError."""

    def collect(self, job: str) -> GeneratedImage | None:
        """The image of a job, or None while it is not ready; never paid for again. Raises ModelError."""


class Progress(NamedTuple):
    """How far an image under way is: a share of 0 to 1, and the step of how many; 0 of 0 where they are not known."""

    share: float
    step: int
    steps: int


class ServerControls(Protocol):
    """A backend whose server is the user's own (``capabilities.progress``). Thread-safe, also during ``generate``."""

    def models(self) -> list[str]:
        """The names ``ImageRequest.model`` may have there; none where the server does not say. Raises ModelError."""

    def progress(self) -> Progress | None:
        """How far the image under way is; None where there is none or the server does not say. Never raises."""

    def interrupt(self) -> None:
        """Give up what ``generate`` has under way, if anything: it then answers Unavailable.

        Raises ModelError: UnsupportedRequest where the server cannot, and goes on.
        """


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before the first image; with a ``once`` it is said once for each such key, ever."""

    text: str
    once: str = ""


class Download(Protocol):
    """Hears how a download goes; called by one thread."""

    def received(self, count: int) -> None:
        """So many bytes more; fewer than none where a file is begun again."""

    def done(self, name: str, size: int) -> None:
        """A file is here."""


class LocalModel(Protocol):
    """A backend that renders on this machine (``capabilities.local``)."""

    def to_fetch(self, request: ImageRequest) -> int:
        """Bytes of the model that are not on this machine yet. Raises ModelError."""

    def fetch(self, request: ImageRequest, listener: Download) -> None:
        """Have the model on this machine; what came stays, whatever happens. Raises ModelError."""

    def defaults(self, request: ImageRequest) -> Mapping[str, Any]:
        """The settings that a request leaves open, as they will be used; kept, so that a rerun finds the same."""

    def heeds_negative(self, request: ImageRequest) -> bool:
        """Does the request's model keep out what the negative prompt says?"""

    def notices(self, request: ImageRequest) -> list[Notice]:
        """What to know before the first image: the device, the licence, what is not heeded."""

    def warm_up(self, request: ImageRequest, images: int) -> None:
        """Load the model for requests like this one; so many images are to come. Raises ModelError."""

    def make_room(self) -> None:
        """Let go of the model, as another backend needs the memory; the next image loads it again."""

    def diagnosis(self) -> list[str]:
        """Lines for ``doctor``."""


class Writer(Protocol):
    """Turns briefs into concepts. Thread-safe."""

    name: str
    model: str
    #: Briefs it likes per ``write``, and writes under way at once.
    batch: int
    max_in_flight: int
    #: True when briefs of one role are cheaper together.
    one_role: bool

    def price(self, concepts: int) -> Decimal | None:
        """Expected USD for that many concepts; None = unknown."""

    def write(self, briefs: Sequence[Brief]) -> list[Concept | ModelError]:
        """One concept or one error per brief, in order."""

    def close(self) -> None: ...


class Rewriter(Writer, Protocol):
    """A writer that can also put an idea into other words."""

    def rewrite(self, concept: Concept, reason: str) -> Concept | ModelError:
        """A safer concept of the same idea, where a content policy refused this one for that reason; asked once."""


class Scribe(Protocol):
    """A text model that answers in a shape of its own for each question. Thread-safe."""

    model: str

    def price(self, tokens: int, answer_tokens: int) -> Decimal | None:
        """Expected USD of a question and an answer of that many tokens; None = unknown."""

    def answer(self, rules: str, question: str, shape: type[T]) -> T:
        """The answer, as sound as ``shape`` (a pydantic model) can tell; asked again with the fault named. Raises
        ModelError: Refused, BadAnswer where it stays wrong, and those of any call."""

    def flagged(self, text: str) -> list[str]:
        """The categories of harm that a moderation model sees in the text; none where it is harmless. Raises
        ModelError, UnsupportedRequest at an endpoint without one."""

    def close(self) -> None: ...


class Meter(Protocol):
    """Told of every paid text call before it leaves and after it is settled."""

    def reserve(self, *, kind: Literal["text", "image"], model: str, estimate: Decimal | None) -> str:
        """Record that a call is about to leave; returns its id."""

    def settle(
        self,
        call: str,
        *,
        cost: Decimal | None,
        usage: Mapping[str, int] | None = None,
        error: ModelError | None = None,
    ) -> None:
        """Record how the call ended, with its true cost where one is known."""


class Novelty(Protocol):
    """Remembers every concept there is, so that no two are alike."""

    #: How many concepts were turned away so far.
    rejected: int

    def claim(
        self, title: str, description: str, *, near: bool, instead_of: tuple[str, str] | None = None
    ) -> str | None:
        """Take this concept's place, or return the title of the one it repeats.

        With ``near`` a close paraphrase counts as a repetition; without, only equal words do. The concept with the
        title and description ``instead_of`` is being replaced: nothing repeats it.
        """


class Memory(Protocol):
    """Small facts worth remembering between runs, e.g. which answer format an endpoint accepts."""

    def recall(self, key: str) -> str | None: ...

    def remember(self, key: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Hand:
    """So many cards wanted from a deck, and all the cards the deck has."""

    deck: str
    cards: Sequence[str]
    count: int


class Dealer(Protocol):
    """Deals choices like a shuffled deck: no repeat until the deck is empty."""

    def deal(self, hands: Sequence[Hand]) -> list[list[str]]:
        """The cards of each hand, in order."""
