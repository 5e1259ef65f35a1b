"""Books as files: PDF text and fonts, EPUB against epubcheck, the page to turn, and how pictures are compared."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import defusedxml.ElementTree as ElementTree
import numpy as np
import pypdfium2
import pytest
from PIL import Image

from models.errors import SetupError
from tests.checkpoints import clip, needs
from tests.cli_tools import Tirada
from tests.servers.openai_api import OpenAIServer
from tests.story_tools import always, answer, record, tell
from tirada.output.book import Book, Leaf, epub, html, pdf
from tirada.output.book.fonts import FILE, PACKAGE, typeface
from tirada.output.book.pictures import Band, calm_band, quiet_picture
from tirada.workflows.stories.consistency import Consistency, colour_likeness, compare, layout_likeness

with_clip = needs("torch", "transformers")
CYRILLIC = "Жил-был смотритель маяка, и звали его Ёж. Їжак, ґанок, љубав, ў."
GREEK = "Μια φορά κι έναν καιρό, δίπλα στη θάλασσα… Ἐν ἀρχῇ ἦν ὁ λόγος."
LATIN = "Příliš žluťoučký kůň, Zażółć gęślą jaźń, İğdır, ñandú, ß, “quoted” — 1234567890"
HOSTILE = "</title><script>alert(1)</script> & \"x\" 'y' \x0b ${csp} <b>"


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """Three pages, one of them without a picture."""
    for name, colour in (("cover", "navy"), ("page-01", "olive"), ("page-03", "teal")):
        Image.new("RGB", (96, 96), colour).save(tmp_path / f"{name}.png")

    def leaf(number: int, text: str, name: str) -> Leaf:
        path = tmp_path / f"{name}.png"
        return Leaf(number=number, text=text, picture=path if path.exists() else None, alt=f"picture {number}")

    return Book(
        title="A Small Book",
        summary="About nothing much.",
        language="en",
        pages=[leaf(1, CYRILLIC, "page-01"), leaf(2, GREEK, "page-02"), leaf(3, LATIN, "page-03")],
        cover=leaf(0, "", "cover"),
        size=(96, 96),
        identifier="a/1",
    )


def texts_of(data: bytes) -> list[str]:
    with pypdfium2.PdfDocument(data) as document:
        pages = []
        for page in document:
            text = page.get_textpage()
            pages.append(" ".join(text.get_text_range().split()))
            text.close()
            page.close()
        return pages


# --- PDF --------------------------------------------------------------------------------------------------------------


def test_latin_cyrillic_and_greek_can_be_read_out_of_the_pdf(book: Book) -> None:
    cover, *pages = texts_of(pdf.render(book))
    assert cover == "A Small Book"
    for number, (page, text) in enumerate(zip(pages, (CYRILLIC, GREEK, LATIN), strict=True), start=1):
        assert page.removesuffix(f" {number}") == text


@pytest.mark.parametrize(("code", "language", "text"), [("ru", "Russian", CYRILLIC), ("el", "Greek", GREEK)])
def test_other_languages_by_a_text_model(
    tirada: Tirada, openai: OpenAIServer, code: str, language: str, text: str
) -> None:
    page = {"text": text, "picture": "Mira in her boat, a great wave behind"}
    openai.chat = always({**answer(2), "title": text[:30], "pages": [page, page]})
    (folder,) = tell(tirada, "--pages", "2", "--language", code, "--draft", "--file-format", "webp").folders
    cover, one, two = texts_of((folder / "book.pdf").read_bytes())
    assert (cover, one, two) == (text[:30].strip(), f"{text} 1", f"{text} 2")
    assert f'<html lang="{code}">' in (folder / "book.html").read_text()
    assert record(folder)["illustrations"] == ["page-01.webp", "page-02.webp"]
    (asked,) = [request.json for request in openai.requests if request.path.endswith("/chat/completions")]
    assert f"page texts are in {language}" in asked["messages"][0]["content"]


def test_the_fonts_are_embedded_and_small(book: Book) -> None:
    data = pdf.render(book)
    assert data.count(b"/FontFile2") == 2
    assert b"Literata" in data
    whole = resources.files(PACKAGE).joinpath("files", FILE).read_bytes()
    assert len(typeface("text", book.letters).data) < len(whole) / 8


def test_art_bleeds_and_text_stays_off_the_middle(book: Book) -> None:
    crowded = replace(book, pages=[replace(book.pages[0], text=f"{CYRILLIC} " * 12)])
    with pypdfium2.PdfDocument(pdf.render(crowded)) as document:
        page = document[1]
        picture = np.asarray(page.render(scale=1).to_pil().convert("RGB")).astype(int)
        page.close()
    olive = np.array([128, 128, 0])
    height, width, _ = picture.shape
    for row, column in ((0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (height // 2, width // 2)):
        assert abs(picture[row, column] - olive).max() < 12, (row, column)
    middle = picture[round(height * 0.4) : round(height * 0.6)].reshape(-1, 3)
    assert abs(middle - olive).max() < 12


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 160)])
def test_pages_have_the_shape_of_the_pictures(book: Book, size: tuple[int, int]) -> None:
    with pypdfium2.PdfDocument(pdf.render(replace(book, size=size))) as document:
        width, height = document[0].get_size()
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)


def test_symbols_are_left_out_but_letters_are_missed(book: Book) -> None:
    page = replace(book.pages[0], text="Hello 🦊 fox\u00a0cub")
    assert texts_of(pdf.render(replace(book, pages=[page])))[1] == "Hello fox cub 1"
    with pytest.raises(pdf.UnsettableText) as missed:
        pdf.render(replace(book, pages=[replace(page, text="昔々")]))
    assert set(missed.value.letters) == {"昔", "々"}


def test_a_word_wider_than_the_page_is_cut(book: Book) -> None:
    page = replace(book.pages[0], text="w" * 300)
    assert texts_of(pdf.render(replace(book, pages=[page])))[1].count("w") == 300


def test_nothing_is_left_where_an_emoji_stood(book: Book) -> None:
    face = typeface("text", "one two, three.")
    assert face.settable("one two 🐋, three 🐋.") == "one two, three."
    assert face.settable("one two , three") == "one two , three"


def test_a_broken_font_is_told_before_anything_is_made(tirada: Tirada, tmp_path: Path) -> None:
    whole = typeface("text", "".join(map(chr, range(32, 127)))).data
    for number, data in enumerate((whole[:300], whole[:400] + b"x" * 4000 + whole[4400:], b"wOF2" + whole[4:])):
        font = tmp_path / f"{number}.ttf"
        font.write_bytes(data)
        done = tell(tirada, "--pages", "1", "--font", font, code=2)
        assert "font" in done.err and str(font) in "".join(done.err.split())
        assert not Path("output").exists()


@pytest.mark.parametrize(("repeats", "across"), [(3, False), (20, True)])
def test_lines_of_a_wide_page_are_short_where_they_can(book: Book, repeats: int, across: bool) -> None:
    text = "She counted the waves, one two three, until one of them answered. " * repeats
    page = replace(book.pages[0], text=text.strip())
    with pypdfium2.PdfDocument(pdf.render(replace(book, size=(960, 400), pages=[page], cover=None))) as document:
        letters = document[0].get_textpage()
        boxes = [letters.get_charbox(at) for at in range(letters.count_chars())]
    points = max(box[2] for box in boxes) - min(box[0] for box in boxes)
    assert (points / 72 * 25.4 > 170.5) is across


def test_a_font_of_the_users_own(tirada: Tirada, tmp_path: Path) -> None:
    font = tmp_path / "own.ttf"
    font.write_bytes(typeface("text", "".join(map(chr, range(32, 127))) + "“”’—é").data)
    (folder,) = tell(tirada, "--pages", "2", "--font", font).folders
    assert "Once" in texts_of((folder / "book.pdf").read_bytes())[1]


def test_without_letters_there_is_no_pdf_but_everything_else(tirada: Tirada, tmp_path: Path) -> None:
    font = tmp_path / "own.ttf"
    font.write_bytes(typeface("text", "0123456789 xyz").data)
    done = tell(tirada, "--pages", "1", "--font", font)
    (folder,) = done.folders
    assert "book.pdf was left out" in done.err and "--font FILE" in done.err
    assert not (folder / "book.pdf").exists() and (folder / "book.epub").exists() and (folder / "book.html").exists()
    assert "book.pdf was left out: the typeface has no letters for" in (folder / "report.md").read_text()


# --- EPUB -------------------------------------------------------------------------------------------------------------


def epubcheck() -> list[str]:
    jar = Path("/usr/share/java/epubcheck.jar")
    if jar.exists() and shutil.which("java"):
        return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-jar", str(jar)]
    return ["epubcheck"] if shutil.which("epubcheck") else []


def hostile(book: Book) -> Book:
    return replace(book, title=HOSTILE, summary=HOSTILE, pages=[replace(page, text=HOSTILE) for page in book.pages])


@pytest.mark.skipif(not epubcheck(), reason="epubcheck is not installed")
@pytest.mark.parametrize("kind", ["plain", "bare", "hostile", "rtl"])
def test_epubcheck_finds_nothing(book: Book, tmp_path: Path, kind: str) -> None:
    books = {"plain": book, "bare": replace(book, cover=None, summary=""), "hostile": hostile(book)}
    path = tmp_path / f"{kind}.epub"
    path.write_bytes(epub.render({**books, "rtl": replace(book, language="he")}[kind]))
    done = subprocess.run([*epubcheck(), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 fatals / 0 errors / 0 warnings" in done.stdout + done.stderr


def test_the_structure_of_the_epub(book: Book) -> None:
    with zipfile.ZipFile(io.BytesIO(epub.render(book))) as archive:
        names = archive.namelist()
        assert names[0] == "mimetype" and archive.read("mimetype") == b"application/epub+zip"
        assert archive.getinfo("mimetype").compress_type == zipfile.ZIP_STORED
        opf = ElementTree.fromstring(archive.read("EPUB/content.opf"))
        space = {"o": "http://www.idpf.org/2007/opf", "d": "http://purl.org/dc/elements/1.1/"}
        assert opf.get("version") == "3.0"
        assert opf.findtext(".//d:title", namespaces=space) == "A Small Book"
        spine = [one.get("idref") for one in opf.findall(".//o:itemref", space)]
        assert spine == ["front", "page-01", "page-02", "page-03"]
        covers = [one for one in opf.findall(".//o:item", space) if one.get("properties") == "cover-image"]
        assert [one.get("href") for one in covers] == ["pictures/front.jpg"]
        page = ElementTree.fromstring(archive.read("EPUB/page-02.xhtml"))
        assert GREEK in "".join(page.itertext())
        for name in names:
            if name.endswith(".jpg"):
                assert Image.open(io.BytesIO(archive.read(name))).format == "JPEG"


def test_the_same_book_has_the_same_identity(book: Book) -> None:
    def identity(one: Book) -> str:
        with zipfile.ZipFile(io.BytesIO(epub.render(one))) as archive:
            return re.findall(rb"urn:uuid:[0-9a-f-]+", archive.read("EPUB/content.opf"))[0].decode()

    assert identity(book) == identity(replace(book, title="Corrected")) != identity(replace(book, identifier="b/1"))


# --- the page to turn -------------------------------------------------------------------------------------------------


def test_nothing_hostile_reaches_the_page(book: Book) -> None:
    page = html.render(hostile(book))
    assert page.count("<script") == 1 and "alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)" in page and "${csp}" in page
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_page_needs_nothing_but_its_folder(book: Book) -> None:
    page = html.render(book)
    assert re.findall(r'src="([^"]{1,40})"', page) == ["cover.png", "page-01.png", "page-03.png"]
    assert not re.findall(r"https?://", page)
    assert re.findall(r'id="(cover|page-\d)"', page) == ["cover", "page-1", "page-2", "page-3"]
    assert "prefers-reduced-motion" in page and "@media print" in page and 'lang="en"' in page
    assert page.count("data:image/jpeg") == 1, "the page without a picture has a quiet one"


# --- pictures ---------------------------------------------------------------------------------------------------------


def picture(seed: int, hue: int) -> Image.Image:
    dice = np.random.default_rng(seed)
    rough = Image.fromarray(dice.integers(0, 255, (8, 8), dtype=np.uint8)).resize((128, 128), Image.Resampling.BICUBIC)
    return Image.merge("HSV", (Image.new("L", (128, 128), hue), Image.new("L", (128, 128), 150), rough)).convert("RGB")


def test_alike_pictures_have_high_figures() -> None:
    one = picture(1, 20)
    assert colour_likeness(one, one) == pytest.approx(1)
    assert layout_likeness(one, one) == pytest.approx(1)
    assert layout_likeness(one, Image.eval(one, lambda value: 255 - value)) < 0.05
    assert colour_likeness(one, picture(2, 20)) > 0.8 > 0.2 > colour_likeness(one, picture(1, 150))
    assert colour_likeness(one, picture(2, 20)) == pytest.approx(colour_likeness(picture(2, 20), one))
    assert layout_likeness(one, Image.new("RGB", (9, 9), "red")) == 0.5


def test_the_formula() -> None:
    assert Consistency(0.5, 1.0).figure == pytest.approx(0.65)
    assert Consistency(0.5, 1.0, 0.8).figure == pytest.approx(0.725)
    assert Consistency(0.5, 1.0, 0.8).facts() == {"consistency": "0.72 (colour 0.50, layout 1.00, CLIP 0.80)"}
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    assert colour_likeness(black, white) == 0


def test_files_of_any_mode_can_be_compared(tmp_path: Path) -> None:
    picture(1, 20).save(tmp_path / "a.png")
    for mode in ("RGBA", "P", "L", "LA"):
        picture(1, 20).convert(mode).save(tmp_path / "b.png")
        assert compare(tmp_path / "b.png", tmp_path / "a.png").layout > 0.9


def test_text_goes_where_it_is_calm() -> None:
    busy = np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)
    calm = np.full((96, 96), 128, dtype=np.uint8)

    def band(top: Any, bottom: Any, wanted: Band = "bottom") -> Band:
        out = io.BytesIO()
        Image.fromarray(np.concatenate([top, bottom])).save(out, "PNG")
        return calm_band(out.getvalue(), wanted)

    assert (band(calm, busy), band(busy, calm), band(calm, calm)) == ("top", "bottom", "bottom")
    assert (band(calm, busy, "top"), band(busy, calm, "top"), band(calm, calm, "top")) == ("top", "bottom", "top")


def test_quiet_pictures_differ_and_repeat() -> None:
    made = [quiet_picture((64, 96), "#fdf8ee", "#6f9aa8", number) for number in (1, 2, 1)]
    assert made[0] == made[2] != made[1]
    assert Image.open(io.BytesIO(made[0])).size == (64, 96)


# --- CLIP -------------------------------------------------------------------------------------------------------------


@with_clip
def test_clip_looks_too_where_there_is_a_model(tirada: Tirada) -> None:
    done = tell(tirada, "--pages", "2", CLIP_MODEL=str(clip()))
    report = (done.folders[0] / "report.md").read_text()
    rows = [line.split("|")[6].strip() for line in report.splitlines() if "page-0" in line]
    assert len(rows) == 2 and all(0 <= float(row) <= 1 for row in rows)
    assert all(record(done.folders[0])["consistency"])


@with_clip
def test_a_picture_is_like_itself_to_clip(tmp_path: Path) -> None:
    from models.backends.local.likeness import ClipLikeness

    picture(1, 20).save(tmp_path / "a.png")
    picture(2, 150).save(tmp_path / "b.png")
    likeness = ClipLikeness(clip())
    assert likeness(tmp_path / "a.png", tmp_path / "a.png") == pytest.approx(1, abs=1e-5)
    assert likeness(tmp_path / "a.png", tmp_path / "b.png") < 0.9999
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(SetupError, match="no CLIP model that can be read"):
        ClipLikeness(tmp_path / "broken")(tmp_path / "a.png", tmp_path / "b.png")


def test_a_folder_without_a_model_is_told(tirada: Tirada, tmp_path: Path) -> None:
    done = tell(tirada, "--pages", "1", code=3, CLIP_MODEL=str(tmp_path))
    assert "holds no CLIP model" in done.err
