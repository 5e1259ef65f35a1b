"""An idea that a content policy refused, in safer words: one talk with the text model, which ends in a sound concept.

Invariant: what comes out obeys ``checks.faults``, differs from what went in, and has taken its place in the novelty
index, where the idea it replaces counts as gone.
"""

from __future__ import annotations

from models.contract import Concept, Novelty
from models.errors import BadAnswer, Refused
from models.writers import language, prompting
from models.writers.answers import Draft, plain, read_drafts
from models.writers.checks import ForbiddenNames, faults
from models.writers.endpoint import PARTS_WITH_PROMPT, Answer, Endpoint

#: A prompt on top takes the room of a second concept, and so does each further piece of a long one (characters).
PIECE = 2000


class SaferWords:
    """Asks for one concept, and again, with the fault named, for one that cannot be used."""

    def __init__(self, endpoint: Endpoint, novelty: Novelty, forbidden: ForbiddenNames | None, attempts: int) -> None:
        self._endpoint, self._novelty, self._forbidden = endpoint, novelty, forbidden
        self._attempts = attempts

    def write(self, concept: Concept, reason: str) -> Draft:
        """The safer words; raises ModelError."""
        opening = prompting.rewriting(concept, reason)
        messages, roomier, wrong = opening, 0, [""]
        room = 2 + len(concept.prompt) // PIECE
        for _ in range(self._attempts):
            answer = self._endpoint.ask(prompting.merged(messages), room, roomier=roomier, parts=PARTS_WITH_PROMPT)
            draft = next(iter(read_drafts(answer.text, 1)), None)
            if draft is None:
                self._raise_refusal(answer)
            if draft is None and answer.finish == "length":
                # Nobody's fault: asked as if for the first time, with more room.
                roomier, wrong = roomier + 1, ["The answer was cut off."]
                continue
            wrong = [prompting.UNREADABLE] if draft is None else self._faults(concept, draft)
            if draft is not None and not wrong:
                return draft
            messages = [*opening, *prompting.rewriting_again(wrong, draft, answer.text)]
        raise BadAnswer(
            f"{self._endpoint.model} found no safer words in {self._attempts} tries; the last fault: {' '.join(wrong)}"
        )

    def _raise_refusal(self, answer: Answer) -> None:
        if answer.refusal or answer.finish == "content_filter":
            why = plain(answer.refusal) or "the content filter stopped the answer."
            raise Refused(f"{self._endpoint.model} refused to rewrite this: {why}")

    def _faults(self, concept: Concept, draft: Draft) -> list[str]:
        """What is wrong with an answer; one without any has taken its place."""
        found = faults(draft.title, draft.description, draft.metatags, forbidden=self._forbidden)
        found += self._prompt_faults(concept, draft) + _language_faults(concept, draft)
        if found:
            return found
        own = (concept.title, concept.description)
        twin = self._novelty.claim(draft.title, draft.description, near=True, instead_of=own)
        return [] if twin is None else [f"This is too close to '{twin}', another picture of the collection."]

    def _prompt_faults(self, concept: Concept, draft: Draft) -> list[str]:
        if not draft.prompt:
            return ["There is no prompt."]
        found = []
        most = prompting.prompt_max(concept.prompt)
        if len(draft.prompt) > most:
            found.append(f"The prompt has {len(draft.prompt)} characters; at most {most} are allowed.")
        if draft.prompt.casefold() == plain(concept.prompt).casefold():
            found.append("The prompt says the same as before, and would be declined again.")
        if self._forbidden is not None and (name := self._forbidden.find(draft.prompt)):
            found.append(f"The prompt holds the name {name!r}; describe what it stands for instead.")
        return found


def _language_faults(concept: Concept, draft: Draft) -> list[str]:
    asked = language.guess(f"{concept.title}. {concept.description}")
    if asked is None or not language.is_clearly_not(f"{draft.title}. {draft.description}", asked):
        return []
    name = language.name_of(asked)
    return [f"This is not in {name}; write title, description and metatags in {name}, as they were."]
