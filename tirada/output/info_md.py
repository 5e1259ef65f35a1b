"""``info.md``: the batch for people, readable as it is and in anything that renders Markdown.

Invariant: no user-written or model-written text can become markup; what must be copied exactly stands in a code fence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tirada.output.text import hashtags, one_line

if TYPE_CHECKING:
    from tirada.output.info import ImageEntry, Info

_SPECIAL = re.compile(r"([\\`*_\[\]<>&|~$#])")
_LINE_START = re.compile(r"^(\d*)([-+=.)])(?=[\s=-]|$)")
#: A fact of more characters has a line of its own.
LONG_FACT = 60
_BACKTICKS = re.compile(r"`+")


def render(info: Info) -> str:
    """The whole page."""
    blocks = [
        f"# {_escape(info.title) or 'Untitled'}",
        *_pictures(info),
        _escape(info.description),
        "## Prompt",
        _fence(info.prompt),
        *_tags(info),
        *_rewrite(info),
        "## Settings",
        _table([("Setting", "Value"), *settings(info)]),
    ]
    if info.negative_prompt.strip():
        blocks += ["## Negative prompt", _fence(info.negative_prompt)]
    if info.seeds:
        seeds = (f"{n}. {'not set' if seed is None else seed}" for n, seed in enumerate(info.seeds, start=1))
        blocks += ["## Seeds (in order)", "\n".join(seeds)]
    if info.failures:
        rows = [(f.name or str(f.index), f.error, f.message, str(f.attempts)) for f in info.failures]
        blocks += ["## Not made", _table([("Image", "Error", "Message", "Attempts"), *rows])]
    return "\n\n".join(block for block in blocks if block) + "\n"


def settings(info: Info) -> list[tuple[str, str]]:
    """(name, value) of every setting there is something to say about, in reading order."""
    model = f"{info.writer} ({info.writer_model})" if info.writer_model else info.writer
    cost = None if info.cost_usd is None else f"US$ {info.cost_usd:f}"
    rows = [
        ("AI", info.ai),
        ("Model", info.model),
        ("Size", info.size),
        ("Images", _count(info)),
        ("Format", info.format),
        ("Steps", info.steps),
        ("CFG scale", None if info.cfg_scale is None else f"{info.cfg_scale:g}"),
        ("Scheduler", info.scheduler),
        *((key, value) for key, value in info.options.items()),
        ("Role", info.role),
        ("Theme", info.theme),
        ("For", info.user),
        ("Language", "" if info.language == "en" else info.language),
        ("Written by", model),
        ("Cost of the images", cost),
        ("Status", "" if info.status == "done" else info.status),
        ("Made", f"{info.created_at:%Y-%m-%d %H:%M %Z}".strip()),
        ("Tool", info.tool),
    ]
    return [(one_line(name), one_line(str(value))) for name, value in rows if value not in (None, "")]


def _count(info: Info) -> str:
    return str(info.quantity) if len(info.images) == info.quantity else f"{len(info.images)} of {info.quantity}"


def _pictures(info: Info) -> list[str]:
    return [_picture(n, image, info) for n, image in enumerate(info.images, start=1)]


def _picture(number: int, image: ImageEntry, info: Info) -> str:
    shown = f"![{_escape(info.words_of(image).title)}, {number}]({quote(image.file)})"
    if image.title is None:
        return shown
    kind = {"result": "", "step": " (made on the way)", "try": " (another try was better)"}[image.kind]
    return "  \n".join([f"{shown}\n\n**{_escape(image.title)}**{kind}", *_facts(image)])


def _facts(image: ImageEntry) -> list[str]:
    """Lines about an image of a job: what is short side by side, what is long after it, each on a line of its own."""
    short: list[str] = []
    long: list[str] = []
    for name, text in image.facts.items():
        if text.strip():
            (long if len(text) > LONG_FACT else short).append(f"{_escape(name.replace('_', ' '))}: {_escape(text)}")
    return [*([" · ".join(short)] if short else []), *long]


def _rewrite(info: Info) -> list[str]:
    if info.rewrite is None:
        return []
    new = info.rewrite
    which = [image.file for image in info.images if image.prompt is not None]
    made = f"Made with these words: {_escape(', '.join(which))}." if which else "No image was made with these words."
    return [
        "## Rewritten",
        f"The service refused the words above: {_escape(new.reason)}",
        f"**{_escape(new.title)}**",
        _escape(new.description),
        _fence(new.prompt),
        ", ".join(_escape(tag) for tag in new.metatags),
        made,
    ]


def _tags(info: Info) -> list[str]:
    if not info.metatags:
        return []
    return ["## Tags", ", ".join(_escape(tag) for tag in info.metatags), " ".join(hashtags(info.metatags))]


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def _escape(text: str) -> str:
    """One line of plain text: no Markdown or HTML in it means anything."""
    return _LINE_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", one_line(text)))


def _fence(text: str) -> str:
    """A code block, fenced by more backticks than the text holds in a row."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"
