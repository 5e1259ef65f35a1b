"""``book.epub``: EPUB 3, reflowable, so that it reads well on a telephone and in the reader's own letters.

Invariant: titles and texts are only ever put in as text; what XML cannot hold is left out.
"""

from __future__ import annotations

import io
import uuid
from html import escape
from typing import TYPE_CHECKING, Any

from tirada.output.book.pictures import jpeg, quiet_picture
from tirada.output.text import clean, one_line, xml_text

if TYPE_CHECKING:
    from tirada.output.book import Book, Leaf

#: ISO 639-1 codes of languages whose pages turn the other way.
RIGHT_TO_LEFT = ("ar", "fa", "he", "ps", "ur", "yi")
STYLE = """\
body { margin: 0; padding: 0; text-align: center; }
figure { margin: 0 0 1em; }
img { max-width: 100%; max-height: 66vh; }
.cover img { max-height: 96vh; }
.words { margin: 0 auto; max-width: 32em; padding: 0 1.2em; line-height: 1.5; text-align: start; font-size: 1.15em; }
.words p { margin: 0 0 .6em; }
h1 { font-size: 1.5em; line-height: 1.2; margin: .6em 1em; }
"""


def render(book: Book) -> bytes:
    """The whole file."""
    from ebooklib import epub

    made = epub.EpubBook()
    # Of the book alone, so that a reader knows a corrected edition for the same book.
    made.set_identifier(f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, book.identifier)}")
    made.set_title(_line(book.title))
    made.set_language(book.language)
    if book.language in RIGHT_TO_LEFT:
        made.set_direction("rtl")
    if summary := _line(book.summary):
        made.add_metadata("DC", "description", summary)
    for name, value in (
        ("schema:accessMode", "textual"),
        ("schema:accessMode", "visual"),
        ("schema:accessModeSufficient", "textual"),
        ("schema:accessibilityFeature", "alternativeText"),
        ("schema:accessibilityHazard", "none"),
    ):
        made.add_metadata(None, "meta", value, {"property": name})
    style = epub.EpubItem(uid="style", file_name="book.css", media_type="text/css", content=STYLE.encode())
    made.add_item(style)
    chapters = [_chapter(made, book, leaf, style) for leaf in book.leaves]
    made.toc = [epub.Link(one.file_name, one.title, one.id) for one in chapters]
    made.spine = chapters
    made.add_item(epub.EpubNav(title=_line(book.title)))
    made.add_item(epub.EpubNcx())
    out = io.BytesIO()
    epub.write_epub(out, made, {"raise_exceptions": True})
    return out.getvalue()


def _chapter(made: Any, book: Book, leaf: Leaf, style: Any) -> Any:
    from ebooklib import epub

    stem = f"page-{leaf.number:02d}" if leaf.number else "front"
    data = (
        jpeg(leaf.picture)
        if leaf.picture is not None
        else quiet_picture(book.size, book.look.paper, book.look.accent, leaf.number)
    )
    first = leaf is book.leaves[0]
    picture = (epub.EpubCover if first else epub.EpubImage)(uid=f"{stem}-picture", file_name=f"pictures/{stem}.jpg")
    picture.content, picture.media_type = data, "image/jpeg"
    if first:
        made.add_metadata(None, "meta", "", {"name": "cover", "content": picture.id})
    made.add_item(picture)
    title = str(leaf.number) if leaf.number else _line(book.title)
    page = epub.EpubHtml(uid=stem, title=title, file_name=f"{stem}.xhtml", lang=book.language)
    page.direction = "rtl" if book.language in RIGHT_TO_LEFT else None
    page.content = _body(book, leaf, picture.file_name)
    page.add_item(style)
    made.add_item(page)
    return page


def _body(book: Book, leaf: Leaf, picture: str) -> str:
    alt = escape(_line(leaf.alt)) or "Illustration"
    figure = f'<figure><img src="{picture}" alt="{alt}" lang="en" xml:lang="en"/></figure>'
    if not leaf.number:
        return f'<section class="cover"><h1>{escape(_line(book.title))}</h1>{figure}</section>'
    lines = xml_text(clean(leaf.text)).split("\n")
    words = "".join(f"<p>{escape(line.strip())}</p>" for line in lines if line.strip())
    return f'<section>{figure}<div class="words">{words}</div></section>'


def _line(text: str) -> str:
    return one_line(xml_text(text))
