"""info.json, info.md, batch.csv and index.html of a batch folder."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import ValidationError

from tirada.output import gallery, info_md
from tirada.output.info import SCHEMA_FILE, Failure, ImageEntry, Info, Rewrite, json_schema, read_info, write_info
from tirada.output.text import hashtags

EVIL = (
    '"><script>pwned()</script></title></style><img src=x onerror="pwned()">&amp; $title ${x} `</code>` | *b* [l](x) \\'
)


def entry(number: int = 1, **changes: Any) -> ImageEntry:
    fields: dict[str, Any] = {
        "file": f"{number:02d}.png",
        "seed": number,
        "width": 64,
        "height": 48,
        "rendered_size": "128x96",
        "sha256": "0" * 64,
        "cost_usd": Decimal("0.0000001"),
    }
    return ImageEntry(**(fields | changes))


def batch(**changes: Any) -> Info:
    fields: dict[str, Any] = {
        "batch_id": "b1",
        "run_id": "r1",
        "created_at": datetime(2026, 11, 20, 3, 15, tzinfo=UTC),
        "status": "done",
        "ai": "Draft",
        "backend": "draft",
        "model": "draft-1",
        "writer": "composer",
        "title": "Fog in a valley",
        "description": "Two hills, and a lamp.",
        "metatags": ["misty valley", "fog"],
        "prompt": "a valley,\nfog",
        "negative_prompt": "text",
        "size": "64x48",
        "quantity": 2,
        "seeds": [1, None],
        "cost_usd": Decimal("0.10"),
        "images": [entry(1), entry(2, seed=None)],
        "tool": "Tirada 0.1.0",
    }
    return Info(**({"format": "png"} | fields | changes))


class Page(HTMLParser):
    """What a browser would see: elements, links, and the text of each element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


# info.json


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = write_info(tmp_path, batch())
    assert path == tmp_path / "info.json"
    assert read_info(path) == read_info(tmp_path) == batch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["batch.csv", "index.html", "info.json", "info.md"]
    data = json.loads(path.read_text(encoding="utf-8"))
    assert next(iter(data)) == "schema"
    assert data["schema"] == 1
    assert data["cost_usd"] == "0.10"
    assert data["images"][0]["cost_usd"] == "0.0000001"


def test_the_published_schema_is_current_and_holds(tmp_path: Path) -> None:
    published = SCHEMA_FILE.read_text(encoding="utf-8")
    assert published == json_schema(), "regenerate tirada/output/info.schema.json from info.json_schema()"
    schema = json.loads(published)
    jsonschema.Draft202012Validator.check_schema(schema)
    failed = batch(status="partial", failures=[Failure(index=2, error="refused", message="no")], cost_usd=None)
    for info in (batch(), failed, batch(steps=20, cfg_scale=6.5, brief={"scene": "x"}, options={"a": "b"})):
        data = json.loads(write_info(tmp_path, info).read_bytes())
        jsonschema.validate(data, schema, cls=jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | {"extra": 1}, schema)


def test_info_json_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    replace = os.replace

    def recorded(source: Path, target: Path) -> None:
        names.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr("tirada.output.atomic.os.replace", recorded)
    write_info(tmp_path, batch())
    assert names[-1] == "info.json"
    assert set(names[:-1]) == {"info.md", "batch.csv", "index.html"}


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"size": "big"},
        {"status": "great"},
        {"format": "gif"},
        {"cost_usd": Decimal(-1)},
        {"cost_usd": Decimal("NaN")},
        {"created_at": datetime(2026, 1, 1)},
    ],
)
def test_a_wrong_record_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        batch(**changes)


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", "a\\b.png", ".hidden", "", ".."])
def test_an_image_lies_in_the_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        entry(file=name)


def test_lone_surrogates_are_repaired(tmp_path: Path) -> None:
    info = batch(title="a\ud83d", metatags=["b\udc00"], brief={"k\ud83d": "v\0"})
    assert read_info(write_info(tmp_path, info)).title == "a\ufffd"


def rewritten(tmp_path: Path, **changes: Any) -> Path:
    path = write_info(tmp_path, batch())
    data = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "DROP"}))
    return path


def test_unknown_keys_of_a_later_version_are_tolerated(tmp_path: Path) -> None:
    path = rewritten(tmp_path, mood="new", images=[json.loads(entry().model_dump_json()) | {"mood": "new"}])
    assert read_info(path).images == [entry()]


def test_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"info\.json: this info\.json has schema 7; this Tirada reads 1"):
        read_info(rewritten(tmp_path, schema=7))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JSON file"),
        (b"{", "not a JSON file"),
        (b'\xff\xfe"', "not a JSON file"),
        (b"[]", "it has no 'schema'"),
        (b'{"a": 1}', "it has no 'schema'"),
        (b'{"schema": true}', "'batch_id': Field required"),
        (b'{"schema": 1}', r"'batch_id': Field required \(and \d+ more\)"),
    ],
)
def test_what_is_no_info_json_is_said_plainly(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "info.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_info(path)


def test_a_wrong_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'images\.0\.file'"):
        read_info(rewritten(tmp_path, images=[json.loads(entry().model_dump_json()) | {"file": "../../x"}]))


def test_batch_csv_has_a_row_an_image(tmp_path: Path) -> None:
    write_info(tmp_path, batch(title='Fog, "thick"'))
    raw = (tmp_path / "batch.csv").read_bytes()
    assert raw.startswith(b"file,title,description,metatags,prompt,seed,width,height\r\n")
    with (tmp_path / "batch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))[1:]
    first = ["01.png", 'Fog, "thick"', "Two hills, and a lamp.", "misty valley, fog", "a valley,\nfog", "1", "64", "48"]
    assert rows[0] == first
    assert rows[1][5] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_batch_csv_holds_no_formula(tmp_path: Path, start: str) -> None:
    text = f'{start}HYPERLINK("http://example.com")'
    write_info(tmp_path, batch(title=text, description=text, metatags=[text], prompt=text))
    with (tmp_path / "batch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))[1:]
    assert rows[0][1:5] == [f"'{text}"] * 4
    # What programs read stays as it was written.
    assert read_info(tmp_path).title == text


# info.md


def test_the_page_for_people_says_it_all() -> None:
    page = info_md.render(batch(failures=[Failure(index=3, error="refused", message="no | way", attempts=2)], steps=20))
    assert page.startswith("# Fog in a valley\n\n![Fog in a valley, 1](01.png)\n\n![Fog in a valley, 2](02.png)\n")
    assert "#MistyValley #Fog" in page
    assert "```text\na valley,\nfog\n```" in page
    assert "| Steps | 20 |" in page
    assert "1. 1\n2. not set" in page
    assert r"| 3 | refused | no \| way | 2 |" in page


def test_hostile_text_is_text_in_markdown() -> None:
    evil = f"1. {EVIL}\n# heading\n```"
    info = batch(
        title=evil, description="--- " + evil, metatags=[evil], prompt="````\n" + evil, theme=evil, options={evil: evil}
    )
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(info_md.render(info))
    kinds = {token.type for token in tokens}
    inline = {child.type for token in tokens for child in token.children or []}
    assert "html_block" not in kinds
    assert not inline & {"html_inline", "link_open", "em_open", "strong_open", "code_inline"}
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences == [f"````\n{evil}\n", "text\n"]
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Prompt", "Tags", "Settings", "Negative prompt", "Seeds (in order)"]
    widths = {
        tokens[at:].index(next(t for t in tokens[at:] if t.type == "tr_close"))
        for at, t in enumerate(tokens)
        if t.type == "tr_open"
    }
    assert len(widths) == 1, "every row of the table has two cells"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_title_reads_as_it_was_written(title: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).parse(info_md.render(batch(title=title)))
    assert tokens[0].type == "heading_open"
    shown = "".join(child.content for child in tokens[1].children or [])
    assert shown == (" ".join(title.replace("\0", "").split()) or "Untitled")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["golden hour", "Golden  Hour", "fox"], ["#GoldenHour", "#Fox"]),
        (["fisherman's hut", "black-and-white", "35mm"], ["#FishermansHut", "#BlackAndWhite", "#35mm"]),
        (["1980", "!!!", "", "#already"], ["#Already"]),
        (["niebla matinal", "霧の谷", "हिन्दी भाषा"], ["#NieblaMatinal", "#霧の谷", "#हिन्दीभाषा"]),
    ],
)
def test_hashtags(tags: list[str], expected: list[str]) -> None:
    assert hashtags(tags) == expected


# index.html


def test_the_contact_sheet_shows_every_image() -> None:
    page = Page(gallery.render(batch(images=[entry(1), entry(2, file="a b?#'.png", seed=None)])))
    images = [attrs for attrs in page.all("img") if attrs.get("src")]
    assert [attrs["src"] for attrs in images] == ["01.png", "a%20b%3F%23%27.png"]
    assert all(attrs["loading"] == "lazy" and (attrs["width"], attrs["height"]) == ("64", "48") for attrs in images)
    assert [attrs["id"] for attrs in page.all("figure")] == ["image-1", "image-2"]
    assert [attrs["href"] for attrs in page.all("a")[:2]] == ["01.png", "a%20b%3F%23%27.png"]
    assert "seed 1" in page.texts["span"]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = gallery.render(batch())
    assert not re.search(r"(?:https?:)?//[a-z]", html.split("<script>")[0])
    page = Page(html)
    assert [attrs for attrs in page.all("script") if attrs] == []
    assert {attrs["href"] for attrs in page.all("link")} == {"data:,"}


def test_only_our_own_style_and_script_may_run() -> None:
    html = gallery.render(batch(title=EVIL))
    policy = Page(html).all("meta")[1]["content"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for tag in ("style", "script"):
        [body] = re.findall(f"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def hostile(text: str) -> Info:
    return batch(
        title=text,
        description=text,
        metatags=[text],
        prompt=text,
        negative_prompt=text,
        theme=text,
        language=text,
        options={text: text},
        command=text,
        tool=text,
        failures=[Failure(index=1, error=text, message=text)],
        rewrite=Rewrite(title=text, description=text, metatags=[text], prompt=text, reason=text),
        images=[entry(1), entry(2, prompt=text)],
    )


def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attrs)) for tag, attrs in Page(html).tags]


def test_hostile_text_is_text_in_html() -> None:
    page = Page(gallery.render(hostile(EVIL)))
    assert len(page.all("script")) == 1
    assert page.texts["h1"] == [EVIL]
    assert shape(gallery.render(hostile(EVIL))) == shape(gallery.render(hostile("x" * len(EVIL))))


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1, max_size=60))
def test_no_text_changes_the_shape_of_the_page(text: str) -> None:
    harmless = "x" if text.strip() and text.replace("\0", "").strip() else ""
    if harmless:
        assert shape(gallery.render(hostile(text))) == shape(gallery.render(hostile(harmless)))


def test_ten_thousand_images_make_a_page() -> None:
    html = gallery.render(batch(images=[entry(number) for number in range(1, 10_001)], quantity=10_000))
    assert html.count("<figure ") == 10_000
    assert len(html) < 5_000_000
