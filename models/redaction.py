"""Keeps keys out of everything people read.

Invariant: every text that leaves the program (messages, logs, the store, tracebacks) has gone through ``redact``;
whoever learns a secret registers it here first.
"""

from __future__ import annotations

import re
import threading

REPLACEMENT = "[redacted]"
#: What a key looks like even when nobody registered it: OpenAI style, bearer headers, and passwords inside URLs.
PATTERNS = (
    re.compile(r"\b(?:sk|rk|pk)-[A-Za-z0-9_*.\-]{8,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=\-]{8,}"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
)
#: Values of this length are replaced wherever they stand, but for these, which servers of one's own get for a key.
ANYWHERE = 8
PLACEHOLDERS = {"lm-studio", "placeholder", "not-needed", "no-key-required"}
#: Shorter ones are replaced only where they stand alone, as a word does, and only where letters and digits are mixed:
#: others are words and numbers ("none", "ollama", "2026"), no secrets, and paths and titles would be garbled. The
#: shortest are left alone: no service gives out such keys.
SHORTEST = 4

_secrets: set[str] = set()
_lock = threading.Lock()


def register(*secrets: str | None) -> None:
    """Remember secret values, so that ``redact`` removes them wherever they turn up."""
    with _lock:
        _secrets.update(secret for secret in secrets if secret and _is_key(secret))


def _is_key(value: str) -> bool:
    if len(value) >= ANYWHERE:
        return value.casefold() not in PLACEHOLDERS
    mixed = re.search(r"[^\W\d_]", value) and re.search(r"\d", value)
    return len(value) >= SHORTEST and mixed is not None


def redact(text: str) -> str:
    """The text without any registered secret and without anything that looks like a key."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) >= ANYWHERE:
            text = text.replace(secret, REPLACEMENT)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REPLACEMENT, text)
    for pattern in PATTERNS:
        text = pattern.sub(REPLACEMENT, text)
    return text
