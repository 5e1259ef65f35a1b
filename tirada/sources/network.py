"""What the interfaces of social networks have in common: one GET at a time, and failures in words that say what to do.

Invariant: nothing is followed elsewhere, so a token goes to the service and nowhere else; nothing is asked twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from models.backends.http import HttpApi, Reply
from models.errors import BadAnswer, ModelError, OutOfCredit, RateLimited
from models.wire import retry_after, short, words_of

#: Seconds until an answer is there whole, and bytes of the largest one.
TIMEOUT = 30.0
LARGEST = 16 * 1024 * 1024
INSTEAD = "or give a file with --posts"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of a service."""

    status: int
    #: Its JSON; None where it is none.
    body: Any
    reply: Reply

    def get(self, name: str) -> Any:
        """A field of the body; None where there is none."""
        return self.body.get(name) if isinstance(self.body, Mapping) else None

    def objects(self, name: str = "") -> list[Mapping[str, Any]]:
        """The objects of a list: of the field of that name, or of the body itself."""
        listed = self.get(name) if name else self.body
        return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []

    def words(self) -> str:
        """What the service says for people."""
        return short(words_of(self.body, f"HTTP {self.status}"))


class Network:
    """One service; ``name`` is what people call it, ``setting`` the one that leads to it. To be closed."""

    def __init__(self, name: str, base_url: str, *, setting: str, token: str | None = None) -> None:
        """Raises SetupError for a base URL that is none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.name = name
        self._api = HttpApi(
            base_url, what=name, setting=setting, headers=headers, timeout=TIMEOUT, connections=1, largest=LARGEST
        )

    def get(self, path: str, query: Mapping[str, str]) -> Said:
        """The answer to a GET, whatever its status says; raises a ModelError where there is none."""
        reply = self._api.raw("GET", f"{path}?{urlencode(query)}", paid=False)
        try:
            body = reply.json()
        except ValueError:
            body = None
        if reply.status < 300 and body is None:
            raise BadAnswer(f"{self.name}: the answer is no JSON.")
        return Said(reply.status, body, reply)

    def trouble(self, said: Said) -> ModelError:
        """What a status of 300 or more means where the service has no special meaning for it."""
        message = f"{self.name}: {said.words()}"
        if said.status == 429:
            wait = _wait(said.reply.headers)
            return RateLimited(message, retry_after=wait, hint=f"Try again {_when(wait)}, {INSTEAD}.")
        if said.status == 402:
            return OutOfCredit(message, hint=f"Add credit to the account, {INSTEAD}.")
        return self._api.error(said.reply)

    def close(self) -> None:
        self._api.close()


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limit is lifted: Retry-After, or a moment as X and Bluesky (seconds since 1970) and Mastodon
    (ISO 8601) name it."""
    if (wait := retry_after(headers)) is not None:
        return wait
    for name in ("x-rate-limit-reset", "x-ratelimit-reset", "ratelimit-reset"):
        try:
            said = headers.get(name, "")
            moment = float(said) if said.isdigit() else datetime.fromisoformat(said).timestamp()
        except (ValueError, OverflowError):
            continue
        return max(0.0, moment - time.time())
    return None


def _when(wait: float | None) -> str:
    if wait is None:
        return "later"
    return f"in {wait:.0f} seconds" if wait < 90 else f"in {wait / 60:.0f} minutes"
