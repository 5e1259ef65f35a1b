"""Answers questions in a shape of their own: a schema goes with each, and what comes back is checked against it.

Invariant: an answer that comes out is of its shape; one that is not is asked for again, with the fault named, a bounded
number of times.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from models.catalog import Catalog
from models.contract import Memory, Meter
from models.errors import BadAnswer, Refused
from models.writers.answers import find_all_json, plain
from models.writers.endpoint import Answer, Endpoint, tokens_of
from models.writers.gpt import resolve_model
from models.writers.prompting import Message

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound="BaseModel")
#: Tokens an answer may have at least, unless it is cut off: then twice as many, each time.
ROOM = 8000
#: Faults of one answer that are named.
FAULTS_NAMED = 8
ATTEMPTS = 3


class GptScribe:
    """Implements ``models.contract.Scribe`` over chat completions. Thread-safe."""

    def __init__(
        self,
        *,
        key: str | None,
        base_url: str | None,
        model: str | None,
        catalog: Catalog,
        meter: Meter,
        memory: Memory,
        timeout: float = 120,
        attempts: int = ATTEMPTS,
        expected: int = 0,
    ) -> None:
        """``timeout`` is in seconds; ``attempts`` is how often a question is asked in all; ``expected`` is how many
        tokens the longest answer is likely to have.

        Raises SetupError for a key or a base URL that cannot be used, UnsupportedRequest for a model that OpenAI does
        not have.
        """
        self.model, row = resolve_model(model, catalog, base_url)
        self._attempts = max(1, attempts)
        # What is cut off is paid for, and asked for once more: rather too much room than too little.
        self._room = max(ROOM, 2 * expected)
        self._endpoint = Endpoint(
            key=key,
            base_url=base_url,
            model=self.model,
            row=row,
            meter=meter,
            memory=memory,
            timeout=timeout,
            connections=4,
        )

    def price(self, tokens: int, answer_tokens: int) -> Decimal | None:
        """Expected USD of a question and an answer of that many tokens; None = unknown."""
        return self._endpoint.price(tokens, answer_tokens)

    def answer(self, rules: str, question: str, shape: type[T]) -> T:
        """The answer in that shape; raises ModelError."""
        from pydantic import ValidationError

        schema = schema_of(shape)
        opening: list[Message] = [
            {
                "role": "system",
                "content": f"{rules}\n\nAnswer with one JSON object of this schema, and nothing else:\n"
                f"{json.dumps(schema, ensure_ascii=False)}",
            },
            {"role": "user", "content": question},
        ]
        messages, roomier, wrong = opening, 0, ""
        for _ in range(self._attempts):
            answer = self._endpoint.ask_for(messages, name="answer", schema=schema, room=self._room, roomier=roomier)
            self._raise_refusal(answer)
            try:
                return _read(answer.text, shape)
            except ValidationError as exc:
                wrong = _faults(exc)
            except ValueError:
                wrong = "It holds no JSON object."
            if answer.finish == "length":
                # Nobody's fault: asked as if for the first time, with more room.
                messages, roomier, wrong = opening, roomier + 1, "The answer was cut off."
                continue
            again = f"This cannot be used. {wrong} Write the whole answer again, with that put right."
            messages = [
                *opening,
                {"role": "assistant", "content": answer.text or "(nothing)"},
                {"role": "user", "content": again},
            ]
        raise BadAnswer(f"{self.model} gave no usable answer in {self._attempts} tries; the last fault: {wrong}")

    def flagged(self, text: str) -> list[str]:
        """The categories that a moderation model flags; raises ModelError."""
        return self._endpoint.moderate(text)

    def close(self) -> None:
        self._endpoint.close()

    def _raise_refusal(self, answer: Answer) -> None:
        if answer.refusal or answer.finish == "content_filter":
            why = plain(answer.refusal) or "the content filter stopped the answer."
            raise Refused(f"{self.model} refused to answer: {why}")


def schema_of(shape: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a shape as strict mode wants it: closed objects, everything required."""
    from openai import pydantic_function_tool

    function = pydantic_function_tool(shape, name="answer")["function"]
    schema = dict(function.get("parameters") or {})
    schema.pop("description", None)
    return schema


def tokens_for(*texts: str) -> int:
    """About how many tokens a question of these texts has."""
    return sum(tokens_of(text) + 4 for text in texts)


def _read(text: str, shape: type[T]) -> T:
    """The first JSON object that fits; raises ValidationError for the first one where none does, ValueError without."""
    from pydantic import ValidationError

    first: ValidationError | None = None
    for value in find_all_json(text):
        try:
            return shape.model_validate(value)
        except ValidationError as exc:
            first = first or exc
    if first is not None:
        raise first
    raise ValueError("no JSON object")


def _faults(exc: ValidationError) -> str:
    found = []
    for fault in exc.errors()[:FAULTS_NAMED]:
        where = ".".join(str(part) for part in fault["loc"])
        what = fault["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {what}." if where else f"{what}.")
    return " ".join(found)
