"""What all pages have in common that are opened from disk: their policy, their parts, and text made safe for them.

Invariant: a page knows its own style and script by their hashes, and lets nothing else run or load.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib import resources

from tirada.output.text import one_line


@cache
def resource(package: str, name: str) -> str:
    """A file that lies beside the code."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def policy(style: str, script: str, *, fonts: bool = False) -> str:
    """The Content-Security-Policy of a page with this style and script; ``fonts`` says whether typefaces lie in it."""
    rules = {
        "default-src": "'none'",
        # 'self' when served, file: when opened from disk, data: for the empty icon and pictures that lie in the page.
        "img-src": "'self' file: data:",
        **({"font-src": "data:"} if fonts else {}),
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def safe_line(text: str) -> str:
    """One line of text, escaped."""
    return escape(one_line(text))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
