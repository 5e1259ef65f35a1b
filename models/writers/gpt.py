"""The writer that asks a text model, OpenAI's or another behind a compatible endpoint, and takes only sound concepts.

Invariant: a concept that comes out of here obeys ``checks.faults`` and has taken its place in the novelty index; every
brief gets its concept or an error, and what was good in a partly bad answer is never thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from models.catalog import SNAPSHOT, Catalog, ModelRow
from models.contract import Brief, Concept, Memory, Meter, Novelty
from models.errors import (
    BadAnswer,
    ModelError,
    OutOfCredit,
    RateLimited,
    Refused,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from models.openai_api import is_official
from models.roles import compose_prompt
from models.writers import language, prompting
from models.writers.answers import Draft, plain, read_drafts
from models.writers.checks import ForbiddenNames, faults
from models.writers.endpoint import Answer, Endpoint
from models.writers.rewriting import SaferWords

#: After one of these the rest of a ``write`` is not sent: the next call would meet the same.
ENDS_ALL = (SetupError, UnsupportedRequest, OutOfCredit, RateLimited, Unavailable)

# What ``price`` reckons with, in tokens: rules 490, three examples with their questions 410, a brief 125 (measured on
# the twelve roles at 4 bytes per token), a concept of 130 (endpoint.py), and one concept in eight asked for again.
OPENING_TOKENS, BRIEF_TOKENS, ASKED_AGAIN = 920, 125, Decimal("1.125")


@dataclass(slots=True)
class _Job:
    """A brief on its way to a concept: how often it was asked, and what was wrong the last time."""

    index: int
    brief: Brief
    tries: int = 0
    draft: Draft | None = None
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Ask:
    """One call: briefs of one role and language, and what goes with asking them again."""

    jobs: list[_Job]
    #: Chooses the examples; asking again keeps them, so that the beginning of the talk is served from the cache.
    seed: int
    #: How often the answer was cut off: each time the next one gets twice the room.
    roomier: int = 0
    #: The last answer when nothing could be read from it.
    unreadable: str = ""


class GptWriter:
    """Implements ``models.contract.Rewriter`` over chat completions. Thread-safe."""

    name = "gpt"
    one_role = True

    def __init__(
        self,
        *,
        key: str | None,
        base_url: str | None,
        model: str | None,
        catalog: Catalog,
        meter: Meter,
        novelty: Novelty,
        memory: Memory,
        forbidden: ForbiddenNames | None = None,
        timeout: float = 120,
        batch: int = 5,
        max_in_flight: int = 4,
        attempts: int = 3,
    ) -> None:
        """``timeout`` is in seconds; ``attempts`` is how often a brief is asked in all.

        Raises SetupError for a key or a base URL that cannot be used, UnsupportedRequest for a model that OpenAI does
        not have.
        """
        self.model, row = resolve_model(model, catalog, base_url)
        self.batch, self.max_in_flight = max(1, batch), max_in_flight
        self._attempts = max(1, attempts)
        self._novelty, self._forbidden = novelty, forbidden
        self._endpoint = Endpoint(
            key=key,
            base_url=base_url,
            model=self.model,
            row=row,
            meter=meter,
            memory=memory,
            timeout=timeout,
            connections=max_in_flight,
        )

    def price(self, concepts: int) -> Decimal | None:
        """Expected USD: full calls of typical length, and a few asked again; None when the model's price is unknown."""
        full, rest = divmod(concepts, self.batch)
        total = Decimal(0)
        for calls, size in ((full, self.batch), (1, rest)):
            one = self._endpoint.estimate(OPENING_TOKENS + BRIEF_TOKENS * size, size)
            if one is None:
                return None
            total += calls * one if size else 0
        return total * ASKED_AGAIN

    def write(self, briefs: Sequence[Brief]) -> list[Concept | ModelError]:
        """One concept or one error per brief, in order; an error of a whole call is the error of each of its briefs."""
        results: dict[int, Concept | ModelError] = {}
        asks = deque(self._asks(briefs))
        while asks:
            ask = asks.popleft()
            try:
                asks.extendleft(self._do(ask, results))
            except ModelError as error:
                lost = [ask]
                if isinstance(error, ENDS_ALL):
                    lost += asks
                    asks.clear()
                results.update({job.index: error for one in lost for job in one.jobs})
        return [results[index] for index in range(len(briefs))]

    def rewrite(self, concept: Concept, reason: str) -> Concept | ModelError:
        """A safer concept of the same idea, under the rules that every concept obeys."""
        safer = SaferWords(self._endpoint, self._novelty, self._forbidden, self._attempts)
        try:
            draft = safer.write(concept, reason)
        except ModelError as error:
            return error
        return replace(
            concept,
            title=draft.title,
            description=draft.description,
            metatags=draft.metatags,
            prompt=draft.prompt,
            writer=self.name,
            model=self.model,
        )

    def close(self) -> None:
        self._endpoint.close()

    # --- one call -----------------------------------------------------------------------------------------------------

    def _asks(self, briefs: Sequence[Brief]) -> Iterator[_Ask]:
        """Calls of at most ``batch`` briefs; those of one role and language go together, as they share the rules."""
        groups: dict[tuple[str, str], list[_Job]] = {}
        for index, brief in enumerate(briefs):
            groups.setdefault((brief.role.name, brief.language), []).append(_Job(index, brief))
        for jobs in groups.values():
            for start in range(0, len(jobs), self.batch):
                chunk = jobs[start : start + self.batch]
                yield _Ask(chunk, seed=chunk[0].brief.seed)

    def _do(self, ask: _Ask, results: dict[int, Concept | ModelError]) -> list[_Ask]:
        """Make the call and note what came of it; what is left to ask comes back."""
        answer = self._endpoint.ask(self._messages(ask), len(ask.jobs), roomier=ask.roomier)
        drafts: list[Draft | None] = [*read_drafts(answer.text, len(ask.jobs))]
        readable = bool(drafts)
        drafts += [None] * (len(ask.jobs) - len(drafts))
        left = []
        for job, draft in zip(ask.jobs, drafts, strict=True):
            concept = self._judge(job, draft, readable=readable)
            if concept is None:
                left.append(job)
            else:
                results[job.index] = concept
        open_jobs = []
        for job in left:
            if (error := self._last_word(job, answer)) is None:
                open_jobs.append(job)
            else:
                results[job.index] = error
        return _again(ask, open_jobs, answer, readable)

    def _messages(self, ask: _Ask) -> list[prompting.Message]:
        briefs = [job.brief for job in ask.jobs]
        messages = [*prompting.opening(briefs[0], ask.seed), prompting.request(briefs)]
        wrong = {number: job.faults for number, job in enumerate(ask.jobs, start=1) if job.faults}
        if wrong:
            drafts = [job.draft for job in ask.jobs if job.draft is not None]
            messages += prompting.correction(wrong, drafts, ask.unreadable, concepts=len(briefs))
        return prompting.merged(messages)

    def _judge(self, job: _Job, draft: Draft | None, *, readable: bool) -> Concept | None:
        """The finished concept, or None with the faults noted in the job."""
        job.tries += 1
        job.draft = draft
        if draft is None:
            job.faults = [prompting.MISSING if readable else prompting.UNREADABLE]
            return None
        job.faults = faults(draft.title, draft.description, draft.metatags, forbidden=self._forbidden)
        job.faults += self._language_faults(draft, job.brief)
        if job.faults:
            return None
        # Last, because it takes the concept's place: what is claimed must be returned.
        twin = self._novelty.claim(draft.title, draft.description, near=True)
        if twin is not None:
            job.faults = [f"This is too close to '{twin}'; write a different one."]
            return None
        return self._concept(job.brief, draft)

    def _language_faults(self, draft: Draft, brief: Brief) -> list[str]:
        if not language.is_clearly_not(f"{draft.title}. {draft.description}", brief.language):
            return []
        asked = language.name_of(brief.language)
        return [f"This is not in {asked}; write title, description and metatags in {asked}."]

    def _concept(self, brief: Brief, draft: Draft) -> Concept:
        return Concept(
            title=draft.title,
            description=draft.description,
            metatags=draft.metatags,
            prompt=compose_prompt(brief, draft.title, draft.description, draft.metatags),
            negative=brief.role.negative,
            role=brief.role.name,
            writer=self.name,
            model=self.model,
        )

    def _last_word(self, job: _Job, answer: Answer) -> ModelError | None:
        """The error that ends a job without a concept; None when it may be asked again."""
        if job.draft is None and (answer.refusal or answer.finish == "content_filter"):
            why = plain(answer.refusal) or "the content filter stopped the answer."
            return Refused(f"{self.model} refused to write this: {why}")
        if job.tries < self._attempts:
            return None
        if job.draft is None and answer.finish == "length":
            return BadAnswer(f"{self.model}: the answer was cut off {job.tries} times.")
        return BadAnswer(
            f"{self.model} wrote nothing usable in {job.tries} tries; the last fault: {' '.join(job.faults)}"
        )


def _again(ask: _Ask, jobs: list[_Job], answer: Answer, readable: bool) -> list[_Ask]:
    """What to ask next for the jobs that are left; after an answer that was cut off, in halves and with more room."""
    if not jobs:
        return []
    if answer.finish != "length":
        return [_Ask(jobs, ask.seed, ask.roomier, "" if readable else answer.text)]
    for job in jobs:
        # Being cut off is nobody's fault: these are asked as if for the first time.
        if job.draft is None:
            job.faults = []
    half = (len(jobs) + 1) // 2
    return [_Ask(part, ask.seed, ask.roomier + 1) for part in (jobs[:half], jobs[half:]) if part]


def resolve_model(model: str | None, catalog: Catalog, base_url: str | None) -> tuple[str, ModelRow | None]:
    """The text model to ask for and its row; the official endpoint takes living models only, others any name."""
    if not model:
        row = catalog.default("text")
        return row.id, row
    if not is_official(base_url):
        return model, catalog.find("text", model)
    row = catalog.resolve("text", model)
    # A dated snapshot shares the row of its model, and is asked for by its own name.
    snapshot = SNAPSHOT.sub("", model.casefold()) != model.casefold() and model.casefold() not in row.aliases
    return (model.casefold() if snapshot else row.id), row
