"""What the OpenAI stand-in says when it is asked for an answer in a shape of its own, and what it flags.

Invariant: an answer fits its schema, and is the same for the same question.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any

WORDS = (
    "amber",
    "brook",
    "cedar",
    "dusk",
    "ember",
    "fern",
    "glade",
    "harbour",
    "island",
    "juniper",
    "lantern",
    "meadow",
    "orchard",
    "pebble",
    "river",
    "willow",
)
#: Limits that a description says, where a schema cannot: strict mode knows none for texts.
_LENGTH, _COUNT = re.compile(r"(\d+) to (\d+) characters"), re.compile(r"^(\d+) to \d+ ")
#: The categories of omni-moderation, as the service documents them.
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def shaped(request: Mapping[str, Any]) -> Any:
    """An answer that fits the schema of the request's response_format."""
    schema = request["response_format"]["json_schema"]["schema"]
    question = json.dumps(request["messages"], sort_keys=True)
    return _value(schema, schema, random.Random(question))


def _value(node: Mapping[str, Any], root: Mapping[str, Any], rng: random.Random) -> Any:
    if "$ref" in node:
        return _value(root["$defs"][node["$ref"].rpartition("/")[2]], root, rng)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return rng.choice(node["enum"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in node:
            return _value(node[choice][0], root, rng)
    match node.get("type"):
        case "object":
            return {name: _value(part, root, rng) for name, part in node.get("properties", {}).items()}
        case "array":
            said = _COUNT.search(node.get("description", ""))
            count = int(said[1]) if said else int(node.get("minItems", min(2, int(node.get("maxItems", 2)))))
            return [_value(node["items"], root, rng) for _ in range(count)]
        case "integer" | "number":
            return node.get("minimum", 1)
        case "boolean":
            return True
    return _text(node, rng)


def _text(node: Mapping[str, Any], rng: random.Random) -> str:
    shortest, longest = int(node.get("minLength", 12)), int(node.get("maxLength", 100_000))
    if said := _LENGTH.search(node.get("description", "")):
        shortest, longest = int(said[1]), int(said[2])
    text = "A"
    while len(text) < shortest:
        text += f" {rng.choice(WORDS)}"
    return f"{text} {rng.choice(WORDS)}"[:longest].strip() or "A"


def moderation(request: Mapping[str, Any], flags: Mapping[str, str]) -> dict[str, Any]:
    """The answer of the moderation endpoint; ``flags`` are words and the category that each falls into."""
    text = json.dumps(request.get("input"), ensure_ascii=False).casefold()
    found = {category for word, category in flags.items() if word.casefold() in text}
    return {
        "id": "modr-1",
        "model": request.get("model"),
        "results": [
            {
                "flagged": bool(found),
                "categories": {name: name in found for name in CATEGORIES},
                "category_scores": {name: 0.97 if name in found else 0.0001 for name in CATEGORIES},
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
        ],
    }
