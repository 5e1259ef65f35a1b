"""``book.html``: the book to turn page by page, opened from its folder without network.

Keys, clicks and swipes turn it; without the script the pages stand one below the other, and printed they are a page
each. Invariant: nothing user-written or model-written reaches the page unescaped, and a Content-Security-Policy that
knows the page's own style and script by their hashes lets nothing else run or load.
"""

from __future__ import annotations

import base64
from html import escape
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

from tirada.output.book.fonts import typeface
from tirada.output.book.pictures import calm_band, jpeg, quiet_picture
from tirada.output.pages import policy, resource, safe_line
from tirada.output.text import clean

if TYPE_CHECKING:
    from tirada.output.book import Book, Leaf

PACKAGE = "tirada.output.book"
#: Characters of a text from which it is set smaller, and those of a title.
LONG, LONGER, LENGTHY = 230, 420, 40


def render(book: Book) -> str:
    """The whole page."""
    style = f"\n{_own_style(book)}\n{resource(PACKAGE, 'book.css')}"
    script = f"\n{resource(PACKAGE, 'book.js')}"
    return Template(resource(PACKAGE, "book.html")).substitute(
        csp=policy(style, script, fonts=True),
        style=style,
        script=script,
        language=safe_line(book.language),
        title=safe_line(book.title),
        leaves="\n".join(_leaf(book, leaf) for leaf in book.leaves),
    )


def _own_style(book: Book) -> str:
    """The book's own shape, colours and typeface."""
    look, (width, height) = book.look, book.size
    faces = "\n".join(
        f'@font-face {{ font-family: "{family}"; src: url("data:font/ttf;base64,{_encoded(face.data)}"); }}'
        for family, face in (
            ("Book Text", typeface("text", book.letters, book.font)),
            ("Book Title", typeface("title", book.letters, book.font)),
        )
    )
    sheet = f"{210 * max(1.0, width / height):.0f}mm {210 * max(1.0, height / width):.0f}mm"
    return (
        f"{faces}\n:root {{ --ratio: {width / height:.4f}; --sheet: {sheet}; --paper: {look.paper}; --ink: {look.ink};"
        f" --accent: {look.accent}; }}"
    )


def _leaf(book: Book, leaf: Leaf) -> str:
    if leaf.picture is not None:
        source, data = quote(leaf.picture.name, safe=""), jpeg(leaf.picture)
    else:
        data = quiet_picture(book.size, book.look.paper, book.look.accent, leaf.number)
        source = f"data:image/jpeg;base64,{_encoded(data)}"
    picture = f'<img src="{source}" alt="{safe_line(leaf.alt)}" lang="en" loading="lazy" draggable="false">'
    kinds = ["leaf", *_kinds(book, leaf, data)]
    begin = f'<section class="{" ".join(kinds)}" id="{_id(leaf)}">{picture}'
    if not leaf.number:
        return f'{begin}<h1 class="title" dir="auto">{safe_line(book.title)}</h1></section>'
    lines = [line.strip() for line in clean(leaf.text).split("\n")]
    words = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return f'{begin}<div class="words" dir="auto">{words}</div><span class="folio">{leaf.number}</span></section>'


def _kinds(book: Book, leaf: Leaf, data: bytes) -> list[str]:
    # Of a cover, the sky is asked to be left for the title.
    kinds = ["top"] if calm_band(data, "bottom" if leaf.number else "top") == "top" else []
    if not leaf.number:
        return [*kinds, *(["lengthy"] if len(book.title) > LENGTHY else [])]
    length = len(leaf.text)
    return [*kinds, *(["longer"] if length > LONGER else ["long"] if length > LONG else [])]


def _id(leaf: Leaf) -> str:
    return f"page-{leaf.number}" if leaf.number else "cover"


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
