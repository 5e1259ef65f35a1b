"""Stand-ins of paid services in processes of their own, which keep a bill of all that they did.

    with standin("openai", delay=0.2, image_size=[64, 64]) as service:
        run([...], settings=service.settings)
        service.bill()

Invariant: whatever was done is on the bill, once, whether or not its answer arrived; a stand-in ends with the program
that started it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from common import ROOT, environment

KEY = "bench-key"
#: Settings of the program's that name a service.
SETTINGS = {"openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY"), "bfl": ("BFL_BASE_URL", "BFL_API_KEY")}


@dataclass(frozen=True, slots=True)
class Standin:
    """A stand-in that is running."""

    kind: str
    url: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment that leads the program to it."""
        return dict(zip(SETTINGS[self.kind], (self.url, KEY), strict=True))

    def bill(self) -> dict[str, Any]:
        """What it did, once nothing is under way any more.

        ``done``: all that is to be paid, with "kind", "fate", "usd", "prompt" and "seed"; ``fates``: image requests by
        what became of them; ``peak``: the most requests at once; ``seconds``: from the first image request's coming to
        the last one's answer.
        """
        while (found := self._ask("/bill"))["now"]:
            time.sleep(0.01)
        return found

    def forget(self) -> None:
        """Start a new bill."""
        self._ask("/forget")

    def _ask(self, path: str) -> Any:
        root = self.url.removesuffix("/v1")
        with urllib.request.urlopen(root + path, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def standin(kind: str, **options: Any) -> Iterator[Standin]:
    """Start one; ``options`` are those of the server, and for OpenAI ``faults`` (the seed of the deck)."""
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "standin_process.py"),
        kind,
        json.dumps({"key": KEY, "record": False, **options}),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            yield Standin(kind, child.stdout.readline().strip())
        finally:
            child.stdin.close()


def prompt_id(prompt: str) -> str:
    """A prompt as the bill names it."""
    return hashlib.sha1(prompt.encode(), usedforsecurity=False).hexdigest()
