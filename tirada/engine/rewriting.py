"""What follows a refusal where the plan says "rewrite": safer words, once for an idea or for one image of a job.

Invariant: new words are in the store before anything is asked for with them, and nothing gets them twice; images that
were made with the first words stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TypeVar

from models.contract import Concept, Rewriter, Scribe
from models.errors import BudgetReached, ModelError, UnsupportedRequest
from models.redaction import redact
from tirada.engine.events import ConceptRewritten, ImageReworded, Retrying
from tirada.engine.items import concept_of
from tirada.engine.job import Item
from tirada.engine.retry import Action, BugError, Trial, decide
from tirada.engine.source import ActiveConcept, RenderTask, Words
from tirada.engine.state import RunState
from tirada.errors import StoreError, TiradaError
from tirada.output.text import clean, clean_texts

T = TypeVar("T")
#: Facts of an image of a job that got other words: what it was asked for with at first, and why not any more.
FIRST_PROMPT, REFUSED_FOR = "refused prompt", "refused for"


class Rewriting:
    """Finds the words for a task; safe to call from many threads."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        wanted = state.plan.on_refusal == "rewrite"
        self._rewriter: Rewriter | None = state.parts.rewriter if wanted else None
        self._scribe: Scribe | None = state.parts.rewording if wanted else None

    def helps(self, task: RenderTask) -> bool:
        """Would other words be found if these were refused?"""
        if task.item is not None:
            return self._scribe is not None and FIRST_PROMPT not in task.item.facts
        return self._rewriter is not None and task.words is task.concept.words

    def prepare(self, task: RenderTask) -> RenderTask | ModelError | None:
        """The task in the words it has now, which are looked for where its own were refused.

        Returns the error where there are none to be had, and None where the run halts first.
        """
        if task.item is not None:
            return self._reworded(task, task.item) if task.refused and self.helps(task) else task
        concept = task.concept
        if task.refused and self.helps(task) and concept.rewritten is None:
            # The other refused images of the concept wait here, and find what the first one was given.
            with concept.rewriting:
                if concept.rewritten is None and concept.rewrite_error is None:
                    self._rewrite(concept, task.refused)
            if concept.rewritten is None:
                return concept.rewrite_error
        return self.newest(task)

    def newest(self, task: RenderTask) -> RenderTask:
        """The task in the words its concept has by now, unless the service is at it already."""
        words = task.concept.rewritten
        return task if words is None or task.pending is not None or not self.helps(task) else task.in_words(words)

    # --- an idea, and all of its images

    def _rewrite(self, concept: ActiveConcept, reason: str) -> None:
        """Find new words for a concept, or the reason why there are none."""
        rewriter, words = self._rewriter, concept.words
        assert rewriter is not None
        old = Concept(
            title=words.title,
            description=words.description,
            metatags=words.metatags,
            prompt=words.prompt,
            negative=concept.negative,
            role=concept.role,
        )
        answer = self._find(lambda: rewriter.rewrite(old, reason), concept.folder.name)
        if isinstance(answer, Concept):
            self._keep(concept, answer, reason)
        else:
            concept.rewrite_error = answer

    def _keep(self, concept: ActiveConcept, new: Concept, reason: str) -> None:
        words = Words(new.title, new.description, new.metatags, new.prompt, reason)
        kept = {**asdict(words), "writer": new.writer, "writer_model": new.model}
        self._state.parts.store.update_concept(concept.id, rewrite=kept)
        concept.rewritten = words
        self._state.emit(ConceptRewritten(concept.folder, words.title, reason))

    # --- one image of a job

    def _reworded(self, task: RenderTask, item: Item) -> RenderTask | ModelError | None:
        state, scribe = self._state, self._scribe
        job, store, concept = state.parts.job, state.parts.store, task.concept
        assert job is not None and scribe is not None
        whole = concept_of(store.concept(concept.id))
        where = f"{concept.folder.name}, image {item.name}"
        new = self._find(lambda: job.reword(whole, item, task.refused, scribe), where)
        if not isinstance(new, Item):
            return new
        facts = clean_texts({**new.facts, FIRST_PROMPT: item.prompt, REFUSED_FOR: task.refused})
        new = replace(new, prompt=clean(new.prompt), facts=facts)
        store.set_image(task.image_id, "planned", prompt=new.prompt, facts=facts)
        state.emit(ImageReworded(concept.folder, item.name, task.refused))
        words = replace(task.words, prompt=new.prompt)
        return replace(task.in_words(words), item=new)

    # --- asking

    def _find(self, ask: Callable[[], T | ModelError], what: str) -> T | ModelError | None:
        """Ask until there is an answer, or none to be had; None where the run halts."""
        state, trial = self._state, Trial()
        while not state.stopping:
            answer = self._ask(ask)
            if not isinstance(answer, ModelError):
                return answer
            if isinstance(answer, BudgetReached):
                # The image waits, still planned, for a run with more to spend.
                state.halt(answer.kind, str(answer))
                return None
            decision = decide(answer, trial, state.options.retry, text=True)
            if decision.action is not Action.RETRY:
                # Also what would stop a run that lives on text: here it costs this one idea its second chance.
                return answer
            trial.attempt += 1
            state.emit(Retrying(f"{what}, rewriting", trial.attempt, decision.wait, redact(str(answer))))
            state.wait(decision.wait)
        return None

    def _ask(self, ask: Callable[[], T | ModelError]) -> T | ModelError:
        try:
            return ask()
        except ModelError as exc:
            return exc
        except (OSError, StoreError):
            raise
        except TiradaError as exc:
            # A file of the workflow's own that is gone or broken.
            return UnsupportedRequest(str(exc))
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            return BugError(f"{type(exc).__name__}: {redact(str(exc))}")
