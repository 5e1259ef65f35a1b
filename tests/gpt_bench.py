"""What the tests of the GPT writer share: a real server with scripted answers, and a meter that takes notes."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import date
from decimal import Decimal
from typing import Any, Self

from models.catalog import load_catalog
from models.contract import Brief, Concept, Example, Role
from models.errors import ModelError
from models.writers.gpt import GptWriter
from tests.servers.openai_api import OpenAIServer
from tests.servers.openai_chat import completion, default_chat, invent

KEY = "sk-test-0123456789abcdef"
CATALOG = load_catalog(today=date(2026, 11, 20))
ROLE = Role(
    name="walker",
    title="Walker",
    description="You are a walker who draws what others pass by.",
    template="{description} {style}, lit by {light}, {tags}",
    negative="blurry",
    lists={"scene": ("a fox",), "style": ("ink",), "light": ("dusk",)},
    tags=("fox",),
    examples=tuple(
        Example(
            title=f"Example {n}", description=f"Description of example {n}.", metatags=("one", "two", f"t{n}", "four")
        )
        for n in range(12)
    ),
)
SEVEN = json.dumps([invent(9000 + n) for n in range(7)])
GOOD = [invent(8000 + n) for n in range(20)]
SPANISH = {
    "title": "Zorro sobre el arroyo helado",
    "description": "Un zorro rojo cruza el hielo agrietado junto a un bosque de abedules al amanecer.",
    "metatags": ["zorro", "hielo", "bosque", "amanecer", "invierno"],
}


class RecordingMeter:
    def __init__(self) -> None:
        self.reserved: dict[str, tuple[str, str, Decimal | None]] = {}
        self.settled: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count()

    def reserve(self, *, kind: str, model: str, estimate: Decimal | None) -> str:
        call = f"call-{next(self._numbers)}"
        self.reserved[call] = (kind, model, estimate)
        return call

    def settle(self, call: str, *, cost: Any, usage: Any = None, error: ModelError | None = None) -> None:
        assert call in self.reserved and call not in self.settled
        self.settled[call] = {"cost": cost, "usage": usage, "error": error}

    @property
    def calls(self) -> list[dict[str, Any]]:
        assert self.settled.keys() == self.reserved.keys()
        return list(self.settled.values())

    def reserved_usd(self, number: int) -> Decimal:
        """What was set aside for a call, the first being 0."""
        estimate = list(self.reserved.values())[number][2]
        assert estimate is not None
        return estimate


class Titles:
    """Novelty by equal titles; ``taken`` are there already."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.replaced: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def claim(
        self, title: str, description: str, *, near: bool, instead_of: tuple[str, str] | None = None
    ) -> str | None:
        assert near
        with self._lock:
            if instead_of is not None:
                self.replaced.append(instead_of)
            if title in self.taken and title != (instead_of or [""])[0]:
                return title
            self.taken.add(title)
            return None


class Notes(dict[str, str]):
    """Memory in a dict."""

    def recall(self, key: str) -> str | None:
        return self.get(key)

    def remember(self, key: str, value: str) -> None:
        self[key] = value


class Replies:
    """Answers one after the other, then good ones; an answer is what ``OpenAIServer.chat`` may return."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def __call__(self, request: dict[str, Any]) -> Any:
        if not self._answers:
            return default_chat(request)
        answer = self._answers.pop(0)
        return answer(request) if callable(answer) else answer


def concepts(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"concepts": list(rows)}


def ending(reason: str, content: str | None, refusal: str | None = None, **usage: Any) -> Any:
    """An answer that stops for a reason of its own."""

    def reply(request: dict[str, Any]) -> tuple[int, Any]:
        body = completion(request, content or "")
        choice = body["choices"][0]
        choice["finish_reason"] = reason
        choice["message"] |= {"content": content, "refusal": refusal}
        body["usage"] |= usage
        return 200, body

    return reply


def briefs(count: int, *, theme: str = "", language: str = "en", role: Role = ROLE, seed: int = 1) -> list[Brief]:
    return [
        Brief(
            role=role,
            choices={"scene": f"a fox number {n}", "style": "ink drawing", "light": "low dusk light"},
            tags=("fox", "ink"),
            theme=theme,
            language=language,
            seed=seed + n,
        )
        for n in range(count)
    ]


class Bench:
    """A server and what a writer needs; use it with ``with``."""

    def __init__(self) -> None:
        self.server = OpenAIServer(key=KEY)
        self.meter, self.novelty, self.memory = RecordingMeter(), Titles(), Notes()
        self._writers: list[GptWriter] = []

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        self.server.__exit__()

    def writer(self, model: str | None = None, **options: Any) -> GptWriter:
        if model and model not in self.server.text_models:
            self.server.text_models.append(model)
        parts = {"meter": self.meter, "novelty": self.novelty, "memory": self.memory, "catalog": CATALOG}
        writer = GptWriter(**{"key": KEY, "base_url": self.server.url, "model": model, "timeout": 5} | parts | options)
        self._writers.append(writer)
        return writer

    def answers(self, *answers: Any) -> None:
        self.server.chat = Replies(*answers)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [request.json for request in self.server.requests]


def good(results: list[Concept | ModelError]) -> list[Concept]:
    assert all(isinstance(result, Concept) for result in results), results
    return results  # type: ignore[return-value]


def faulty(**changes: Any) -> dict[str, Any]:
    return {**GOOD[10], **changes}
