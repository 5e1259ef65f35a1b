"""``collection.html``: the tokens in a table with filters for every trait; opened from disk, without network.

The rows are data in the page, of which the script shows a screenful: ten thousand tokens open as fast as ten.
Invariant: no word of the collection reaches the page unescaped, and a Content-Security-Policy that knows the page's own
style and script by their hashes lets nothing else run or load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any
from urllib.parse import quote

from tirada.output.pages import policy, resource, safe_line
from tirada.output.text import counted, one_line
from tirada.workflows.tokens.metadata import About, Made
from tirada.workflows.tokens.rarity import Rarity

PACKAGE = "tirada.workflows.tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the page says of the values: title of the trait -> value -> number or tier."""

    wanted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tiers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def render(
    about: About,
    tokens: Sequence[Made],
    found: Sequence[Rarity],
    size: tuple[int, int],
    *,
    planned: int,
    numbers: Numbers,
    provenance: str = "",
) -> str:
    """The whole page. ``size`` is that of the images in pixels, ``planned`` how many tokens there were to be."""
    style, script = f"\n{resource(PACKAGE, 'page.css')}", f"\n{resource(PACKAGE, 'page.js')}"
    data = _data(about, tokens, found, size, numbers)
    missing = planned - len(tokens)
    lacks = f" {counted(missing, 'token is', 'tokens are')} still missing." if missing else ""
    return Template(resource(PACKAGE, "page.html")).substitute(
        csp=policy(style, script),
        style=style,
        script=script,
        title=safe_line(about.title),
        description=safe_line(about.description),
        count=f"{len(tokens):,} {'token' if len(tokens) == 1 else 'tokens'}, every one different.{lacks}",
        licence=f"<p>Licence: {safe_line(about.licence)}</p>" if about.licence else "",
        provenance=f"<p>Provenance: <code>{safe_line(provenance)}</code></p>" if provenance else "",
        values="\n".join(_values(trait, data, index, numbers) for index, trait in enumerate(data["traits"])),
        # A data block is no script; "<" could end it.
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _data(
    about: About, tokens: Sequence[Made], found: Sequence[Rarity], size: tuple[int, int], numbers: Numbers
) -> dict[str, Any]:
    """What the script shows: the values of each trait with their counts, and a row of numbers per token."""
    traits: dict[str, dict[str, int]] = {trait: dict.fromkeys(values, 0) for trait, values in numbers.tiers.items()}
    for token in tokens:
        for trait, value in token.attributes.items():
            counts = traits.setdefault(trait, {})
            counts[value] = counts.get(value, 0) + 1
    places = {trait: {value: i for i, value in enumerate(values)} for trait, values in traits.items()}
    rows = [
        [
            token.number,
            quote(token.file),
            rarity.rank,
            round(rarity.score, 6),
            *(places[trait].get(token.attributes.get(trait, ""), -1) for trait in traits),
        ]
        for token, rarity in zip(tokens, found, strict=True)
    ]
    return {
        "token": one_line(about.token),
        "size": size,
        "traits": [
            {"title": one_line(trait), "values": [[one_line(value), number] for value, number in values.items()]}
            for trait, values in traits.items()
        ],
        "rows": rows,
    }


def _values(trait: Mapping[str, Any], data: Mapping[str, Any], index: int, numbers: Numbers) -> str:
    """How often each value of a trait came, beside how often it was to come by weight or quota."""
    title, total = trait["title"], max(1, len(data["rows"]))
    wanted, tiers = numbers.wanted.get(title, {}), numbers.tiers.get(title, {})
    rows = "\n".join(
        f"<tr><td>{safe_line(value)}</td><td>{safe_line(tiers.get(value, ''))}</td><td>{number:,}</td>"
        f"<td>{number / total:.2%}</td><td>{wanted.get(value, number):,}</td></tr>"
        for value, number in trait["values"]
    )
    return (
        f'<table id="values-{index}"><caption>{safe_line(title)}</caption><thead><tr><th scope="col">Value</th>'
        f'<th scope="col">Tier</th><th scope="col">Tokens</th><th scope="col">Share</th>'
        f'<th scope="col">Planned</th></tr></thead><tbody>{rows}</tbody></table>'
    )
