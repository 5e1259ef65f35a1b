"""``book.pdf``: pictures to the edge of the page, text in a panel at its calmer end, page numbers, fonts embedded.

Invariant: a panel never reaches the middle of the page; text is set smaller before it would.
"""

from __future__ import annotations

import io
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tirada.errors import UsageError
from tirada.output.book import fonts
from tirada.output.book.fonts import CUTS, Cut, Typeface, typeface
from tirada.output.book.pictures import BAND, Band, calm_band, jpeg, quiet_picture

if TYPE_CHECKING:
    from fpdf import FPDF

    from tirada.output.book import Book, Leaf

#: The shorter side of a page, in millimetres.
SHORT = 210.0
#: Panel: from the edge of the page, and inside it; corner radius; millimetres on a page of SHORT.
MARGIN, PADDING, RADIUS = 13.0, 7.0, 4.5
#: Points that text is never set below, and line height as a share of them.
SMALLEST, LEADING = 7.5, 1.42
POINT = 25.4 / 72
TITLE_POINTS = 44.0
#: How much of the picture a panel lets through.
OPACITY = 0.9
TITLE_LEADING = 1.14
#: Characters of text from which lines begin at the left instead of being centred.
LONG = 230


def _side(text: str) -> str:
    """Where lines begin: by the first letter that has a direction."""
    for char in text:
        if (direction := unicodedata.bidirectional(char)) in ("L", "R", "AL"):
            return "L" if direction == "L" else "R"
    return "L"


class UnsettableText(ValueError):
    """The font has no letters for the text; ``letters`` are some of those that are missing."""

    def __init__(self, letters: Sequence[str]) -> None:
        super().__init__("".join(letters))
        self.letters = letters


def check_font(path: Path) -> None:
    """Raise UsageError for a font that no book can be set in, however good its beginning looks."""
    from tirada.output.book import Book, Leaf

    fonts.check_font(path)
    page = Leaf(number=1, text="A book, 12.", picture=None, alt="")
    trial = Book(
        title="A", summary="", language="en", pages=[page], cover=None, size=(64, 64), identifier="", font=path
    )
    try:
        render(trial)
    except UnsettableText:
        # A font of another script may well have no Latin letters.
        return
    except Exception as exc:
        raise UsageError(f"{str(path)!r} is a broken font, or one of a kind that no book can be set in.") from exc


def render(book: Book) -> bytes:
    """The whole file. Raises UnsettableText where the font lacks letters."""
    faces: dict[Cut, Typeface] = {cut: typeface(cut, book.letters, book.font) for cut in CUTS}
    if missing := faces["text"].missing:
        raise UnsettableText(sorted(missing)[:8])
    return _Press(book, faces).print()


class _Press:
    def __init__(self, book: Book, faces: dict[Cut, Typeface]) -> None:
        from fpdf import FPDF

        self._book, self._faces = book, faces
        ratio = book.size[0] / book.size[1]
        self._w, self._h = (SHORT * ratio, SHORT) if ratio >= 1 else (SHORT, SHORT / ratio)
        self._pdf: FPDF = FPDF(unit="mm", format=(self._w, self._h))
        self._pdf.set_auto_page_break(False)
        self._pdf.set_margin(0)
        self._widths: dict[tuple[str, Cut], float] = {}
        self._pdf.c_margin = 0
        # Kerning, ligatures, and the scripts whose letters join or run from right to left.
        self._pdf.set_text_shaping(True)

    def print(self) -> bytes:
        pdf, book = self._pdf, self._book
        with tempfile.TemporaryDirectory(prefix="tirada-") as folder:
            for cut, face in self._faces.items():
                path = Path(folder) / f"{cut}.ttf"
                path.write_bytes(face.data)
                pdf.add_font(cut, fname=path)
            pdf.set_title(book.title)
            pdf.set_subject(book.summary)
            pdf.set_lang(book.language)
            pdf.set_creator("Tirada")
            for leaf in book.leaves:
                self._print_leaf(leaf)
            return bytes(pdf.output())

    def _print_leaf(self, leaf: Leaf) -> None:
        book = self._book
        if leaf.picture is not None:
            data = jpeg(leaf.picture)
        else:
            data = quiet_picture(book.size, book.look.paper, book.look.accent, leaf.number)
        self._pdf.add_page()
        self._pdf.image(io.BytesIO(data), x=0, y=0, w=self._w, h=self._h, alt_text=leaf.alt)
        # Of a cover, the sky is asked to be left for the title.
        band = calm_band(data, "bottom" if leaf.number else "top")
        if leaf.number:
            self._panel(leaf.text, "text", book.look.points, band)
            self._folio(leaf.number)
        else:
            self._panel(book.title, "title", TITLE_POINTS, band)

    def _panel(self, text: str, cut: Cut, points: float, band: Band) -> None:
        """A text on its panel."""
        pdf = self._pdf
        text = self._faces[cut].settable(text).strip()
        leading = TITLE_LEADING if cut == "title" else LEADING
        inner = self._w - 2 * (MARGIN + PADDING)
        # Lines as long as on a square page are easy to follow; a wide page has longer ones only where it must.
        easy = min(inner, SHORT - 2 * (MARGIN + PADDING))
        points, lines = self._fitted(text, cut, points, leading, (easy, inner))
        line = points * POINT * leading
        rule = 7.0 if cut == "title" else 0.0
        widest = max((pdf.get_string_width(one) for one in lines), default=0.0)
        centred = cut == "title" or len(text) < LONG
        width = min(inner, widest + 0.5) + 2 * PADDING
        height = len(lines) * line + 2 * PADDING * 0.8 + rule
        x = (self._w - width) / 2
        y = MARGIN if band == "top" else self._h - MARGIN - height
        with pdf.local_context(fill_opacity=OPACITY):
            pdf.set_fill_color(self._book.look.paper)
            pdf.rect(x, y, width, height, style="F", round_corners=True, corner_radius=RADIUS)
        pdf.set_text_color(self._book.look.ink)
        top = y + PADDING * 0.8
        for number, one in enumerate(lines):
            pdf.set_xy(x + PADDING, top + number * line)
            pdf.cell(width - 2 * PADDING, line, one, align="C" if centred else _side(text))
        if rule:
            self._ornament(self._w / 2, top + len(lines) * line + 4.0)

    def _fitted(
        self, text: str, cut: Cut, points: float, leading: float, widths: Sequence[float]
    ) -> tuple[float, list[str]]:
        """The largest size, up to ``points``, at which the text stays within its band, and its lines, in the first of
        the ``widths`` that does."""
        room = self._h * BAND - 2 * PADDING
        while True:
            self._pdf.set_font(cut, size=points)
            for width in widths:
                # Measured at one size, a word is measured once for all.
                lines = self._broken(text, cut, width / points)
                if len(lines) * points * POINT * leading <= room:
                    return points, lines
            if points <= SMALLEST:
                return points, lines
            points = max(SMALLEST, points - (2 if cut == "title" else 0.5))

    def _broken(self, text: str, cut: Cut, width: float) -> list[str]:
        """Lines of about equal length: the fewest that fit, made as narrow as that number of lines allows."""
        fewest = len(self._greedy(text, cut, width))
        low, high = width / 2, width
        for _ in range(7):
            middle = (low + high) / 2
            if len(self._greedy(text, cut, middle)) > fewest:
                low = middle
            else:
                high = middle
        return self._greedy(text, cut, high)

    def _greedy(self, text: str, cut: Cut, width: float) -> list[str]:
        lines: list[str] = []
        space = self._wide(" ", cut)
        for paragraph in text.split("\n"):
            line, used = "", 0.0
            for word in paragraph.split():
                for piece in self._pieces(word, cut, width):
                    wide = self._wide(piece, cut)
                    if line and used + space + wide > width:
                        lines.append(line)
                        line, used = piece, wide
                    else:
                        line, used = (f"{line} {piece}", used + space + wide) if line else (piece, wide)
            if line:
                lines.append(line)
        return lines

    def _pieces(self, word: str, cut: Cut, width: float) -> list[str]:
        """A word that is wider than a line, cut where the line ends; so are scripts without spaces."""
        if self._wide(word, cut) <= width:
            return [word]
        pieces, piece = [], ""
        for char in word:
            if piece and self._wide(piece + char, cut) > width:
                pieces.append(piece)
                piece = ""
            piece += char
        return [*pieces, piece]

    def _wide(self, word: str, cut: Cut) -> float:
        """Millimetres per point of size."""
        if (word, cut) not in self._widths:
            size = self._pdf.font_size_pt
            self._widths[word, cut] = self._pdf.get_string_width(word) / size
        return self._widths[word, cut]

    def _ornament(self, x: float, y: float) -> None:
        """A rule with a dot in its middle."""
        pdf = self._pdf
        pdf.set_draw_color(self._book.look.accent)
        pdf.set_fill_color(self._book.look.accent)
        pdf.set_line_width(0.35)
        pdf.line(x - 16, y, x - 3, y)
        pdf.line(x + 3, y, x + 16, y)
        pdf.circle(x, y, 0.9, style="F")

    def _folio(self, number: int) -> None:
        """The page number at the foot, on a small panel of its own."""
        pdf = self._pdf
        pdf.set_font("text", size=8.5)
        width, height = max(8.0, pdf.get_string_width(str(number)) + 5), 5.4
        x, y = (self._w - width) / 2, self._h - MARGIN / 2 - height / 2
        with pdf.local_context(fill_opacity=OPACITY):
            pdf.set_fill_color(self._book.look.paper)
            pdf.rect(x, y, width, height, style="F", round_corners=True, corner_radius=height / 2 - 0.1)
        pdf.set_text_color(self._book.look.ink)
        pdf.set_xy(x, y)
        pdf.cell(width, height, str(number), align="C")
