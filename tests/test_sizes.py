"""Sizes: reading them, and choosing what a model renders for them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import UnsupportedRequest
from models.sizes import (
    MAX_ENLARGEMENT,
    MAX_SIDE,
    MIN_SIDE,
    NAMED_SIZES,
    SizeRule,
    enlargement,
    format_size,
    parse_size,
    ratio_sizes,
)

FREE = SizeRule(multiple=16, min_pixels=655_360, max_pixels=8_294_400, max_side=3840, max_ratio=3.0)
FIXED = SizeRule(fixed=((1024, 1024), (1536, 1024), (1024, 1536)))
#: Rules of the kinds that services and local models have.
RULES = (
    FREE,
    FIXED,
    SizeRule(multiple=32, min_pixels=256 * 256, max_pixels=1440 * 1440, max_side=1440),
    SizeRule(multiple=32, max_pixels=1440 * 1440, max_side=1440, min_side=256),
    SizeRule(fixed=tuple(ratio_sizes(("21:9", "3:2", "1:1", "2:3", "9:21"), 1024 * 1024))),
    SizeRule(multiple=8, max_pixels=2048 * 2048, max_side=2048),
    SizeRule(multiple=64, min_pixels=512 * 512, max_pixels=1024 * 1024, max_side=2048, max_ratio=4.0),
)
sides = st.integers(MIN_SIDE, MAX_SIDE)


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.sampled_from(RULES))
def test_what_is_chosen_is_legal_and_covers_or_needs_little_enlargement(
    width: int, height: int, rule: SizeRule
) -> None:
    try:
        size = rule.cover(width, height)
    except UnsupportedRequest as error:
        # Not even the largest sizes of the rule come near.
        assert not rule.allows(width, height)
        assert "at most" in str(error)
        return
    assert rule.allows(*size)
    assert enlargement(size, width, height) <= MAX_ENLARGEMENT


@settings(max_examples=100, deadline=None)
@given(sides, sides)
def test_a_free_size_covers_whatever_is_within_the_bounds(width: int, height: int) -> None:
    if (
        width * height <= FREE.max_pixels * 0.9
        and max(width, height) <= 3 * min(width, height)
        and width < 3840 > height
    ):
        rendered = FREE.cover(width, height)
        assert rendered[0] >= width
        assert rendered[1] >= height


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 240), st.integers(4, 240))
def test_a_legal_size_is_rendered_as_it_is(across: int, along: int) -> None:
    size = (16 * across, 16 * along)
    if FREE.allows(*size):
        assert FREE.cover(*size) == size


@settings(max_examples=60, deadline=None)
@given(sides, sides)
def test_turning_the_picture_turns_the_size(width: int, height: int) -> None:
    def area(across: int, along: int) -> int:
        try:
            size = FREE.cover(across, along)
        except UnsupportedRequest:
            return 0
        return size[0] * size[1]

    assert area(width, height) == area(height, width)


@pytest.mark.parametrize(
    ("asked", "free", "fixed"),
    [
        ((1024, 1024), (1024, 1024), (1024, 1024)),
        ((1024, 576), (1088, 608), (1024, 1024)),
        ((256, 256), (816, 816), (1024, 1024)),
        ((1500, 1000), (1504, 1008), (1536, 1024)),
        ((1000, 1500), (1008, 1504), (1024, 1536)),
    ],
)
def test_known_choices(asked: tuple[int, int], free: tuple[int, int], fixed: tuple[int, int]) -> None:
    assert FREE.cover(*asked) == free
    assert FIXED.cover(*asked) == fixed


def test_far_too_large_names_what_there_is() -> None:
    with pytest.raises(UnsupportedRequest, match="1536x1024 at most"):
        FIXED.cover(4096, 2304)


def test_somewhat_too_large_is_enlarged() -> None:
    assert FIXED.cover(2048, 2048) == (1024, 1024)
    assert FREE.allows(*FREE.cover(4096, 4096))


@given(sides, sides)
def test_sizes_read_what_they_write(width: int, height: int) -> None:
    assert parse_size(format_size((width, height))) == (width, height)


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_an_explanation(text: str) -> None:
    try:
        width, height = parse_size(text)
    except ValueError as error:
        assert "size" in str(error) or "range" in str(error)
    else:
        assert MIN_SIDE <= width <= MAX_SIDE
        assert MIN_SIDE <= height <= MAX_SIDE


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024x576", (1024, 576)),
        (" 1024 X 576 ", (1024, 576)),
        ("1024×576", (1024, 576)),
        ("1024*576", (1024, 576)),
        ("512", (512, 512)),
        ("Landscape", NAMED_SIZES["landscape"]),
    ],
)
def test_ways_to_write_a_size(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "WIDTHxHEIGHT"),
        ("big", "landscape"),
        ("1024x", "WIDTHxHEIGHT"),
        ("-5x5", "WIDTHxHEIGHT"),
        ("63x64", "64 to 4096"),
        ("64x4097", "64 to 4096"),
        ("0", "64 to 4096"),
    ],
)
def test_what_is_no_size_says_what_is(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_size(text)


def test_no_side_is_shorter_than_the_model_allows() -> None:
    rule = SizeRule(multiple=32, max_pixels=1440 * 1440, max_side=1440, min_side=256)
    assert rule.cover(64, 1024) == (256, 1024)
    assert rule.cover(100, 100) == (256, 256)
    assert not rule.allows(224, 1024)


def test_ratios_become_sizes_of_about_so_many_pixels() -> None:
    found = ratio_sizes(("16:9", "1:1", "9:16"), 1024 * 1024)
    assert found == {(1365, 768): "16:9", (1024, 1024): "1:1", (768, 1365): "9:16"}


@pytest.mark.parametrize("ratio", ["", "16", "16x9", "0:1", "1:0", "-1:1", "1.5:1", "16:9 "])
def test_what_is_no_ratio_is_said(ratio: str) -> None:
    with pytest.raises(ValueError, match="16:9"):
        ratio_sizes((ratio,), 1024)
