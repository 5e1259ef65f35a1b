"""Asks the text model on behalf of a job, under the rules that all texts are asked for by.

Invariant: what ends the run halts it here; an error that comes out where the run goes on is the answer's own fault.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from pydantic import BaseModel

from models.contract import Scribe
from models.errors import ModelError, UnsupportedRequest
from models.redaction import redact
from tirada.engine.events import Retrying
from tirada.engine.retry import Action, Trial, decide
from tirada.engine.state import RunState

R = TypeVar("R")
T = TypeVar("T", bound=BaseModel)


class PatientScribe:
    """Implements ``models.contract.Scribe`` over another one, with the table's retries, waits and halts."""

    def __init__(self, state: RunState, scribe: Scribe) -> None:
        self._state = state
        self._scribe = scribe
        self.model = scribe.model

    def price(self, tokens: int, answer_tokens: int) -> Decimal | None:
        return self._scribe.price(tokens, answer_tokens)

    def answer(self, rules: str, question: str, shape: type[T]) -> T:
        return self._ask(lambda: self._scribe.answer(rules, question, shape))

    def flagged(self, text: str) -> list[str]:
        # An endpoint without a moderation model stops nothing: what follows from that is the job's to say.
        return self._ask(lambda: self._scribe.flagged(text), spared=UnsupportedRequest)

    def close(self) -> None:
        self._scribe.close()

    def _ask(self, call: Callable[[], R], spared: type[ModelError] | tuple[()] = ()) -> R:
        """Ask, and again as the table has it; errors that are ``spared`` go straight to whoever asks."""
        state, trial = self._state, Trial()
        while True:
            try:
                answer = call()
            except spared:
                raise
            except ModelError as exc:
                decision = decide(exc, trial, state.options.retry, text=True, proven=state.proven("text"))
                if decision.action is Action.HALT:
                    state.halt(exc.kind, str(exc))
                if decision.action is not Action.RETRY or state.stopping:
                    raise
                trial.attempt += 1
                state.emit(Retrying("the text model", trial.attempt, decision.wait, redact(str(exc))))
                if not state.wait(decision.wait):
                    raise
            else:
                state.service_answered("text")
                return answer
