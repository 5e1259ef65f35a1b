"""What runs in the process of a stand-in: ``python benchmarks/standin_process.py openai '{"delay": 0.2}'``.

The stand-ins of the tests, with a bill at /bill, a clock, and for OpenAI faults from a shuffled deck. It prints its
address and serves until the standard input is closed.
Invariant: whatever was done is on the bill, once, whether or not its answer arrived.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from common import ROOT  # noqa: F401 - and with it the way to the rest
from standins import prompt_id

from models.catalog import load_catalog
from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.bfl_api import BflServer
from tests.servers.openai_api import OpenAIServer

IMAGES, CHAT = "/images/generations", "/chat/completions"
BLOCK = 1000
#: Fates of image requests in a thousand when faults are dealt; all others are answered as they should be.
RATES = {
    "429": 25,
    "429, Retry-After: 0": 13,
    "429, retry-after-ms: 50": 12,
    "500": 7,
    "502": 7,
    "503": 6,
    "cut": 10,
    "refused": 5,
    "garbage": 1,
}
FAULTS = {
    "429": Fault(status=429),
    "429, Retry-After: 0": Fault(status=429, headers={"Retry-After": "0"}),
    "429, retry-after-ms: 50": Fault(status=429, headers={"retry-after-ms": "50"}),
    **{str(status): Fault(status=status) for status in (500, 502, 503)},
    "cut": Fault(cut=True),
    "refused": Fault(status=400, code="moderation_blocked"),
}
#: A page, an answer without a picture, and half of a picture; all of them billed.
GARBAGE = (
    Fault(body=b"<html><body>It works!</body></html>", content_type="text/html"),
    Fault(body={"data": []}),
    Fault(body={"created": 1, "data": [{"b64_json": "iVBORw0KGgoAAAANSUhEUgAAAEAAAABA"}]}),
)


def deck(seed: int) -> Iterator[str]:
    """Fates without end, a shuffled block of a thousand at a time."""
    dice = random.Random(f"faults/{seed}")
    fates = [fate for fate, count in RATES.items() for _ in range(count)]
    fates += ["good"] * (BLOCK - len(fates))
    while True:
        dice.shuffle(fates)
        yield from fates


class Billing(Service):
    """Answers to /bill and /forget besides, and keeps the time of image requests; to be put before a stand-in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._clock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin a new bill."""
        self.fates: Counter[str] = Counter()
        self.first = self.last = 0.0
        self.peak = 0

    def entries(self) -> list[dict[str, Any]]:
        """All that is to be paid."""
        raise NotImplementedError

    def fault_for(self, path: str) -> Fault | None:
        return None

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Answer, Fault | None]:
        route = path.removeprefix(self.root)
        if route == "/forget":
            self.forget()
        if route in ("/forget", "/bill"):
            return self._bill(), None
        image = route == IMAGES
        with self._clock:
            self._now += 1
            self.peak = max(self.peak, self._now)
            fault = self.fault_for(route)
            if image:
                self.first = self.first or time.monotonic()
        try:
            if self.delay:
                self._stopping.wait(self.delay)
            return self._answer_with(fault, method, path, headers, self.parse(headers, body)), fault
        finally:
            with self._clock:
                self._now -= 1
                if image:
                    self.last = time.monotonic()

    def _bill(self) -> Answer:
        with self._clock:
            said = {"now": self._now, "peak": self.peak, "fates": self.fates, "seconds": self.last - self.first}
            return as_json({**said, "done": self.entries()})


class BilledOpenAI(Billing, OpenAIServer):
    """Deals a fate to each image request, and bills what was made by the prices of the catalog."""

    def __init__(self, *, faults: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._deck = iter(()) if faults is None else deck(faults)
        self._thread_local = threading.local()
        self._catalog = load_catalog()

    def forget(self) -> None:
        super().forget()
        #: (kind, fate, model, tokens as the catalog counts them, prompt).
        self.done: list[tuple[str, str, str, dict[str, int], str]] = []

    def fault_for(self, path: str) -> Fault | None:
        fate = next(self._deck, "good") if path == IMAGES else "good"
        self._thread_local.fate = fate
        if path == IMAGES:
            self.fates[fate] += 1
        return GARBAGE[self.fates[fate] % len(GARBAGE)] if fate == "garbage" else FAULTS.get(fate)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        answer = super().answer(method, path, headers, payload)
        if answer.status != 200 or method != "POST":
            return answer
        usage = json.loads(answer.body)["usage"]
        if path.endswith(IMAGES):
            tokens = {"text_in": usage["input_tokens"], "image_out": usage["output_tokens"]}
            self.done.append(("image", self._thread_local.fate, payload["model"], tokens, payload["prompt"]))
        else:
            tokens = {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}
            self.done.append(("text", "good", payload["model"], tokens, ""))
        return answer

    def entries(self) -> list[dict[str, Any]]:
        found = []
        for kind, fate, model, tokens, prompt in self.done:
            row = self._catalog.find(kind, model)  # type: ignore[arg-type]
            assert row is not None
            found.append({"kind": kind, "fate": fate, "usd": str(row.cost(tokens)), "prompt": prompt_id(prompt)})
        return found


class BilledBfl(Billing, BflServer):
    """Bills every job that was taken."""

    def __init__(self, **options: Any) -> None:
        self.jobs = {}
        super().__init__(**options)

    def forget(self) -> None:
        super().forget()
        self.jobs.clear()

    def entries(self) -> list[dict[str, Any]]:
        with self._jobs_lock:
            ready = [job for job in self.jobs.values() if job.fate == "Ready"]
        return [
            {
                "kind": "image",
                "fate": "good",
                "usd": str(job.cents / 100),
                "prompt": prompt_id(job.inputs.prompt),
                "seed": job.inputs.seed,
                "job": job.id,
            }
            for job in ready
        ]


def main(kind: str, text: str) -> None:
    """Serve until the standard input is closed."""
    options = json.loads(text)
    if options.get("image_size"):
        options["image_size"] = tuple(options["image_size"])
    with BilledOpenAI(**options) if kind == "openai" else BilledBfl(**options) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
