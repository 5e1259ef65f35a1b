"""The offline writer: limits, themes, grammar and variety, over every role there is."""

from __future__ import annotations

import random
import re
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import DESCRIPTION_MAX, TITLE_MAX, Brief, Concept, Role
from models.errors import BadAnswer, UnsupportedRequest
from models.roles import RoleLibrary, SeededDealer, make_briefs, parse_role
from models.writers import phrases
from models.writers.checks import ForbiddenNames, faults
from models.writers.composer import MAX_TRIES, ComposerWriter
from models.writers.themes import read_theme

ROOT = Path(__file__).parent.parent
FORBIDDEN = ForbiddenNames.load(ROOT / "data" / "forbidden_names.toml")

#: Small and awkward on purpose: names, commas, articles, moods that cannot stand before a noun, doubled words.
AWKWARD = """
title = "Awkward"
description = "A role of odd entries."
template = "{description} {style}, {tags}"
negative = "blurry"
scenes = ["a heron standing still, feathers ruffled", "an umbrella", "two owls with a lamp", "the hour between trains"]
elements = ["with a bell", "an eel in a jar with a lid", "ice."]
environments = ["on a pier", "in Oslo", "with the sea behind"]
styles = ["art nouveau", "quiet documentary photography"]
lights = ["lit by a lamp", "light with light behind it", "in fog"]
moods = ["solemn as a lullaby", "uneasy", "honest and unhurried", "the mood is odd"]
palettes = ["a palette of rust and teal", "ice white, umber and one red"]
renders = ["an ink drawing", "a one-line drawing"]
tags = ["odd"]
"""


@cache
def roles() -> tuple[Role, ...]:
    library = RoleLibrary(ROOT / "data", ROOT / "tuning")
    return (*(library.load(name) for name in library.names()), parse_role("awkward", AWKWARD))


def real_roles() -> list[Role]:
    return [role for role in roles() if role.name != "awkward"]


def deal(count: int, *, theme: str = "", among: list[Role] | None = None, seed: int = 1) -> list[Brief]:
    return make_briefs(among or roles(), SeededDealer(seed), count, rng=random.Random(seed), theme=theme)


def write(briefs: list[Brief]) -> list[Concept]:
    answers = ComposerWriter().write(briefs)
    assert len(answers) == len(briefs)
    concepts = [answer for answer in answers if isinstance(answer, Concept)]
    assert len(concepts) == len(answers), [answer for answer in answers if not isinstance(answer, Concept)][:1]
    return concepts


@cache
def sample(theme: str = "") -> tuple[Concept, ...]:
    return tuple(write(deal(2000, theme=theme)))


THEMES = ["", "arctic wildlife", "under the sea", "I love pizza! 🍕", "cats, dogs & birds", "St. John's day"]


@pytest.mark.parametrize("theme", THEMES)
def test_every_concept_obeys_the_rules(theme: str) -> None:
    for concept in sample(theme):
        assert faults(concept.title, concept.description, concept.metatags, forbidden=FORBIDDEN) == [], concept


@pytest.mark.parametrize("theme", THEMES)
def test_sentences_are_well_formed(theme: str) -> None:
    for concept in sample(theme):
        for text in (concept.title, concept.description):
            assert text == text.strip()
            assert not re.search(r"  | [,.;:]|[,;:][,.;:]|[{}<>|]", text), text
            # Two full stops, save where the theme brings one.
            assert ".." not in text
            assert not re.search(r"\b(with|lit by|in|a|an|the|of|and) \1\b", text, re.I), text
            assert not re.search(r"\blit by (?:lit|in)\b|\bin lit\b", text), text
        assert concept.description[0].isupper() or not concept.description[0].isalpha()
        assert concept.description.endswith(".")
        for start in re.findall(r"[a-z’”]\. (\w)", concept.description.replace("St. ", "")):
            assert start.isupper() or start.isdigit(), concept.description


def test_articles_fit_the_sound_that_follows() -> None:
    # Both "a herb" and "an herb" are English: what an entry says is its own business.
    entries = " ".join(entry.lower() for role in roles() for column in role.lists.values() for entry in column)
    for concept in sample() + sample("arctic wildlife"):
        for text in (concept.title, concept.description):
            for article, word in re.findall(r"\b(an?) ([\w-]+)", text, re.I):
                fits = phrases.with_article(word).split()[0] == article.lower()
                assert fits or f"{article} {word}".lower() in entries, (article, word, text)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("hour", "an"),
        ("honest man", "an"),
        ("one-eyed cat", "a"),
        ("unicorn", "a"),
        ("unimportant thing", "an"),
        ("uninhabited island", "an"),
        ("used car", "a"),
        ("umbrella", "an"),
        ("European city", "a"),
        ("8x10 camera", "an"),
        ("85 mm lens", "an"),
        ("heron", "a"),
        ("uneasy calm", "an"),
    ],
)
def test_a_or_an(phrase: str, expected: str) -> None:
    assert phrases.with_article(phrase) == f"{expected} {phrase}"


def test_titles_are_in_title_case() -> None:
    assert (
        phrases.title_case("a fox at the edge of a wood: a half-lit study by")
        == "A Fox at the Edge of a Wood: A Half-Lit Study By"
    )
    assert (
        phrases.title_case("a rag-and-button toy on will-o'-the-wisp hill")
        == "A Rag-and-Button Toy on Will-o'-the-Wisp Hill"
    )
    assert phrases.title_case("an iPhone in the “quiet” room") == "An iPhone in the “Quiet” Room"
    for concept in sample():
        words = concept.title.split()
        assert words[0][:1].upper() == words[0][:1]
        assert not [
            word for word in words if word[0].islower() and word not in phrases.SMALL_WORDS and word.islower()
        ], concept.title


@pytest.mark.parametrize(
    ("scene", "core"),
    [
        ("a fox crossing a frozen stream", "a fox"),
        ("a wedding party crossing a bridge", "a wedding party"),
        ("an old fishing boat resting on mud", "an old fishing boat"),
        ("a bull moose raising dripping antlers", "a bull moose"),
        ("a dry riverbed winding in loops", "a dry riverbed"),
        ("a row of terraced houses in the rain", "a row of terraced houses"),
        ("a small, round owl on a post", ""),
        ("a necromancer gently waking a garden", "a necromancer"),
        ("an open sewing box spilling threads and thimbles", "an open sewing box"),
        ("an old diving helmet turned into an aquarium", "an old diving helmet"),
        ("a lemon", "a lemon"),
    ],
)
def test_the_head_of_a_scene(scene: str, core: str) -> None:
    assert phrases.head(scene) == core


@pytest.mark.parametrize(
    "theme", ["arctic wildlife", "the sea", "iPhone repair", "under the sea", "I love pizza! 🍕", "x" * 200, "🦊"]
)
def test_the_theme_shows_word_for_word(theme: str) -> None:
    shown = theme.rstrip("!").strip()
    for concept in write(deal(300, theme=theme)):
        assert shown.casefold() in concept.description.casefold()
        assert shown.casefold() in concept.prompt.casefold()
    for concept in write(deal(50, theme="arctic wildlife")):
        assert "arctic wildlife" in concept.metatags


def test_a_long_theme_of_words_is_shown_whole_and_tagged_in_part() -> None:
    theme = " ".join(["harvest mice in barley fields at the end of a long dry summer"] * 3)
    assert len(theme) < 200
    for concept in write(deal(200, theme=theme)):
        assert theme in concept.description
        assert concept.metatags[0] in theme


@pytest.mark.parametrize("theme", ["..", "  ", "\n", '"', "?!", "\x00"])
def test_a_theme_without_words_is_none(theme: str) -> None:
    assert read_theme(theme) is None
    plain, odd = write(deal(50)), write(deal(50, theme=theme))
    assert [concept.description for concept in plain] == [concept.description for concept in odd]


@settings(max_examples=150, deadline=None)
@given(theme=st.text(max_size=260), seed=st.integers(0, 2**48 - 1))
def test_no_theme_breaks_limits_or_grammar(theme: str, seed: int) -> None:
    for concept in write(deal(4, theme=theme, seed=seed)):
        assert faults(concept.title, concept.description, concept.metatags, forbidden=None) == []
        assert "  " not in concept.description + concept.title
        assert concept.description.endswith(".")
        if ready := read_theme(theme):
            assert ready.text.casefold() in concept.description.casefold()


@settings(max_examples=60, deadline=None)
@given(
    entry=st.text(min_size=1, max_size=300).filter(lambda text: text.strip()),
    theme=st.sampled_from(["", "tea", "y" * 200]),
)
def test_no_entry_of_a_user_breaks_the_limits(entry: str, theme: str) -> None:
    singulars = ("scene", "element", "environment", "style", "light", "mood", "palette", "render")
    role = Role(
        name="odd", title="Odd", description="x", template="{description}", negative="n",
        lists=dict.fromkeys(singulars, (entry,)), tags=("odd",),
    )  # fmt: skip
    for concept in write(deal(3, among=[role], theme=theme)):
        assert len(concept.description) <= DESCRIPTION_MAX
        assert 0 < len(concept.title) <= TITLE_MAX
        assert faults(concept.title, concept.description, concept.metatags, forbidden=None) == []


def test_the_same_brief_gives_the_same_concept() -> None:
    assert write(deal(300)) == write(deal(300))
    assert write(deal(300, theme="tea")) == write(deal(300, theme="tea"))
    briefs = deal(40)
    assert write(briefs)[::-1] == write(briefs[::-1])


@pytest.mark.parametrize("theme", THEMES)
def test_no_two_are_equal_and_openings_vary(theme: str) -> None:
    concepts = [concept for concept in sample(theme) if concept.role != "awkward"]
    assert len({(concept.title, concept.description) for concept in concepts}) == len(concepts)
    assert worst_opening(concepts) <= 0.11


@pytest.mark.parametrize("theme", ["", "arctic wildlife", "a walk in the park", "I love pizza!"])
def test_openings_vary_within_each_role(theme: str) -> None:
    for role in real_roles():
        assert worst_opening(write(deal(500, among=[role], theme=theme))) <= 0.11, role.name


def worst_opening(concepts: list[Concept]) -> float:
    openings = Counter(" ".join(concept.description.lower().split()[:3]) for concept in concepts)
    return openings.most_common(1)[0][1] / len(concepts)


def test_titles_vary() -> None:
    titles = Counter(concept.title for concept in sample() if concept.role != "awkward")
    assert titles.most_common(1)[0][1] <= 6
    assert len(titles) > 0.85 * sum(titles.values())


def test_other_languages_are_the_gpt_writers() -> None:
    (brief,) = make_briefs(roles(), SeededDealer(1), 1, rng=random.Random(1), language="de")
    (answer,) = ComposerWriter().write([brief])
    assert isinstance(answer, UnsupportedRequest)
    assert "--writer gpt" in str(answer)
    assert "OPENAI_API_KEY" in str(answer)


def test_a_forbidden_theme_is_refused() -> None:
    writer = ComposerWriter(forbidden=ForbiddenNames(["Acme"]))
    (answer,) = writer.write(deal(1, theme="acme anvils"))
    assert isinstance(answer, UnsupportedRequest)
    assert "'Acme'" in str(answer)
    assert isinstance(writer.write(deal(1, theme="anvils"))[0], Concept)


def test_the_concept_says_where_it_comes_from() -> None:
    role = real_roles()[0]
    (concept,) = write(deal(1, among=[role]))
    assert (concept.role, concept.writer, concept.model) == (role.name, "composer", "composer")
    assert concept.negative == role.negative
    assert concept.description in concept.prompt
    writer = ComposerWriter()
    assert writer.price(1000) == Decimal(0)
    assert (writer.name, writer.model, writer.max_in_flight) == ("composer", "composer", 1)
    writer.close()


class Stubborn:
    """A memory that knows the first few of everything."""

    def __init__(self, known: int) -> None:
        self.left = known
        self.claims: list[tuple[str, str]] = []

    def claim(self, title: str, description: str, *, near: bool) -> str | None:
        assert not near
        self.claims.append((title, description))
        self.left -= 1
        return title if self.left >= 0 else None


def test_a_known_concept_is_written_anew() -> None:
    memory = Stubborn(3)
    (answer,) = ComposerWriter(memory).write(deal(1))
    assert isinstance(answer, Concept)
    assert len(set(memory.claims)) == len(memory.claims) == 4
    assert (answer.title, answer.description) == memory.claims[-1]


def test_tries_are_bounded() -> None:
    memory = Stubborn(1000)
    (answer,) = ComposerWriter(memory).write(deal(1))
    assert isinstance(answer, BadAnswer)
    assert len(memory.claims) == MAX_TRIES
