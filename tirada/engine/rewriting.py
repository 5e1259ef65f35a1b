"""What follows a refusal where the plan says "rewrite": the idea gets safer words, once for all of its images.

Invariant: new words are in the store before anything is asked for with them, and no concept gets them twice; images
that were made with the first words stay as they are.
"""

from __future__ import annotations

from dataclasses import asdict

from models.contract import Concept, Rewriter
from models.errors import BudgetReached, ModelError
from models.redaction import redact
from tirada.engine.events import ConceptRewritten, Retrying
from tirada.engine.retry import Action, BugError, Trial, decide
from tirada.engine.source import ActiveConcept, Job, Words
from tirada.engine.state import RunState
from tirada.errors import StoreError


class Rewriting:
    """Finds the words for a job; safe to call from many threads."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        wanted = state.plan.on_refusal == "rewrite"
        self._rewriter: Rewriter | None = state.parts.rewriter if wanted else None

    def helps(self, job: Job) -> bool:
        """Would other words be found if these were refused?"""
        return self._rewriter is not None and job.words is job.concept.words

    def prepare(self, job: Job) -> Job | ModelError | None:
        """The job in the words its concept has now, which are looked for where its own were refused.

        Returns the error where there are none to be had, and None where the run halts first.
        """
        concept = job.concept
        if job.refused and self.helps(job) and concept.rewritten is None:
            # The other refused images of the concept wait here, and find what the first one was given.
            with concept.rewriting:
                if concept.rewritten is None and concept.rewrite_error is None:
                    self._rewrite(concept, job.refused)
            if concept.rewritten is None:
                return concept.rewrite_error
        return self.newest(job)

    def newest(self, job: Job) -> Job:
        """The job in the words its concept has by now, unless the service is at it already."""
        words = job.concept.rewritten
        return job.in_words(words) if words is not None and self.helps(job) and job.pending is None else job

    def _rewrite(self, concept: ActiveConcept, reason: str) -> None:
        """Ask for new words until there are some, or none to be had, or the run halts."""
        state, trial = self._state, Trial()
        while not state.stopping:
            answer = self._ask(concept, reason)
            if isinstance(answer, Concept):
                self._keep(concept, answer, reason)
                return
            if isinstance(answer, BudgetReached):
                # The image waits, still planned, for a run with more to spend.
                state.halt(answer.kind, str(answer))
                return
            decision = decide(answer, trial, state.options.retry, text=True)
            if decision.action is not Action.RETRY:
                # Also what would stop a run that lives on text: here it costs this one concept its second chance.
                concept.rewrite_error = answer
                return
            trial.attempt += 1
            what = f"{concept.folder.name}, rewriting"
            state.emit(Retrying(what, trial.attempt, decision.wait, redact(str(answer))))
            state.wait(decision.wait)

    def _ask(self, concept: ActiveConcept, reason: str) -> Concept | ModelError:
        assert self._rewriter is not None
        words = concept.words
        old = Concept(
            title=words.title,
            description=words.description,
            metatags=words.metatags,
            prompt=words.prompt,
            negative=concept.negative,
            role=concept.role,
        )
        try:
            return self._rewriter.rewrite(old, reason)
        except ModelError as exc:
            return exc
        except (OSError, StoreError):
            raise
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            return BugError(f"{type(exc).__name__}: {redact(str(exc))}")

    def _keep(self, concept: ActiveConcept, new: Concept, reason: str) -> None:
        words = Words(new.title, new.description, new.metatags, new.prompt, reason)
        kept = {**asdict(words), "writer": new.writer, "writer_model": new.model}
        self._state.parts.store.update_concept(concept.id, rewrite=kept)
        concept.rewritten = words
        self._state.emit(ConceptRewritten(concept.folder, words.title, reason))
