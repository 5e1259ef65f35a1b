"""The JSON finder and the tidying of what text models answer."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.writers.answers import Draft, find_json, plain, read_drafts, tidy_tags, tidy_title

ONE = {"title": "Fox at Dawn", "description": "A fox waits by the river.", "metatags": ["fox", "dawn"]}
TWO = {"title": "Owl at Dusk", "description": "An owl turns its head.", "metatags": ["owl", "dusk"]}
FOX = Draft("Fox at Dawn", "A fox waits by the river.", ("fox", "dawn"))
OWL = Draft("Owl at Dusk", "An owl turns its head.", ("owl", "dusk"))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
prose = st.text(st.characters(exclude_characters="{}[]", exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    value=st.dictionaries(st.text(), values, max_size=4), before=prose, after=prose, indent=st.sampled_from([None, 2])
)
def test_any_object_in_any_prose_is_found(value, before, after, indent):
    assert find_json(before + json.dumps(value, indent=indent) + after) == value
    assert find_json(before + json.dumps(value, ensure_ascii=False) + after) == value


@settings(deadline=None)
@given(st.text(st.sampled_from('{}[]":,\\ab1 \n'), max_size=60))
def test_nothing_makes_it_raise(text):
    find_json(text)
    read_drafts(text, 3)


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, '{"a":' * 20_000, "{" * 5_000 + '"', '{"a":1,' * 9_000 + "]", '"' * 60_001 + "{,}", "1" * 9_000],
)
def test_hostile_text_takes_no_time(text):
    start = time.monotonic()
    assert read_drafts(text, 5) == []
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Sure! Here it is:\n```json\n{"a": {"b": "}"}}\n```\nEnjoy.', {"a": {"b": "}"}}),
        ('{"a": "a \\"quoted\\" { brace"}', {"a": 'a "quoted" { brace'}),
        ('{"a": [1, 2,], "b": "x,}",}', {"a": [1, 2], "b": "x,}"}),
        ('as in [1] and [two]: [{"a": 1}]', [{"a": 1}]),
        ('{not json} {"a": 1}', {"a": 1}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ("no json at all", None),
        ("", None),
        ('{"a": 1', None),
    ],
)
def test_find_json(text, found):
    assert find_json(text) == found


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"concepts": [ONE, TWO]}),
        json.dumps([ONE, TWO]),
        json.dumps({"Results": [ONE, TWO], "count": 2}),
        json.dumps({"1": ONE, "2": TWO}),
        f"{json.dumps(ONE)}\n{json.dumps(TWO)}\n",
        f"First:\n```json\n{json.dumps(ONE, indent=2)}\n```\nSecond:\n```json\n{json.dumps(TWO)}\n```",
        f"<think>{json.dumps({'concepts': [TWO, ONE]})} No.</think>{json.dumps({'concepts': [ONE, TWO]})}",
        f"Thinking of {json.dumps([TWO])}, no good.</think>\n{json.dumps([ONE, TWO])}",
        json.dumps({"concepts": [ONE, TWO]})[:-1] + ",]}",
        json.dumps({"concepts": [ONE, TWO, ONE]})[:-40],
        json.dumps({"concepts": [{k.upper(): v for k, v in ONE.items()}, {k.title(): v for k, v in TWO.items()}]}),
        json.dumps([{**ONE, "metatags": "#Fox, dawn; fox"}, {**TWO, "metatags": "#owl #dusk"}]),
        json.dumps([{"title": x["title"], "caption": x["description"], "Keywords": x["metatags"]} for x in (ONE, TWO)]),
    ],
)
def test_two_concepts_in_many_shapes(text):
    assert read_drafts(text, 2) == [FOX, OWL]


def test_a_single_concept_and_too_many():
    assert read_drafts(json.dumps(ONE), 3) == [FOX]
    assert read_drafts(json.dumps({"concepts": [ONE, TWO]}), 1) == [FOX]
    assert read_drafts(json.dumps({"concepts": []}), 1) == []
    assert read_drafts('{"title": 3, "description": null}', 1) == []


def test_a_closing_think_tag_inside_a_concept_is_text():
    odd = {**ONE, "description": "A sign says </think> by the river."}
    assert read_drafts(json.dumps({"concepts": [odd]}), 1)[0].description == odd["description"]
    assert read_drafts(f"Here: {json.dumps(odd)}", 1)[0].description == odd["description"]


def test_missing_parts_are_empty():
    assert read_drafts('{"title": "Fox", "metatags": 4}', 1) == [Draft("Fox", "", ())]


@pytest.mark.parametrize(
    ("title", "tidy"),
    [
        ('"Fox at Dawn"', "Fox at Dawn"),
        ("“Fox”", "Fox"),
        ("«Le renard»", "Le renard"),
        ("„Der Fuchs“", "Der Fuchs"),
        ("  Fox\n at\tDawn\x00 ", "Fox at Dawn"),
        ('The "Blue" Fox', 'The "Blue" Fox'),
        ('"', '"'),
        ("Fox\ud800", "Fox"),
    ],
)
def test_titles(title, tidy):
    assert tidy_title(title) == tidy


def test_text_is_one_visible_line():
    assert plain("a\u200bb\xadc\ufeff \u202ed\r\n\x07 e\u2028f") == "abc d e f"


def test_tags():
    assert tidy_tags(["#Fox", "fox", " Red  Fox ", "", "# dawn", 3, '"owl"']) == ("fox", "red fox", "dawn", "owl")
    assert tidy_tags([f"tag {n}" for n in range(14)]) == tuple(f"tag {n}" for n in range(10))
    assert tidy_tags(None) == ()
    assert tidy_tags("golden hour") == ("golden hour",)
