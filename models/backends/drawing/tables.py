"""Reads the text tables this package keeps its data in: ``name: values``, continued on indented lines.

Invariant: a table is read once, when its module is imported.
"""

from __future__ import annotations


def sections(text: str) -> dict[str, str]:
    """Name -> everything that follows it, on one line."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            name, _, line = line.partition(":")
            found[name] = ""
        found[name] = f"{found[name]} {line.strip()}".strip() if name else ""
    found.pop("", None)
    return found
