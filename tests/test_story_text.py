"""The words of stories: ideas taken apart, arcs of every length, cards, ages, and what a text model must answer."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.writers.scribe import schema_of
from tests.cli_tools import ROOT
from tests.servers.openai_chat import _not_strict
from tests.story_tools import IDEA, answer
from tirada.errors import UsageError
from tirada.workflows.stories import wordlist
from tirada.workflows.stories.asking import Wanted, question, rules, shape_for
from tirada.workflows.stories.composer import Order, compose
from tirada.workflows.stories.idea import infinitive, read
from tirada.workflows.stories.somebody import is_person
from tirada.workflows.stories.text import (
    Character,
    age_from,
    card,
    character_from,
    characters_of,
    page_prompt,
    setting_of,
    sheet_prompt,
    story_from,
    words_per_page,
)
from tirada.workflows.story import contrast, styles

FOLDER = ROOT / "data" / "stories"
LORE = tomllib.loads((FOLDER / "worlds.toml").read_text(encoding="utf-8"))
SENTENCE = re.compile(r"[^.!?]+[.!?]+[”]?")
IDEAS = [
    IDEA,
    "A small robot learns to paint.",
    "two mice build a boat",
    "Mira and the moon",
    "the moon",
    "a story about a bear who is afraid of the dark",
    "🦊",
    "x",
    "Ein Bär",
]


def words(text: str) -> int:
    return len(text.split())


# --- ideas ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idea", "hero", "deed", "friend"),
    [
        (IDEA, "a shy lighthouse keeper", "befriend a whale", "a whale"),
        ("A robot learns to paint", "a robot", "learn to paint", ""),
        ("a fox who loses her tail", "a fox", "find her tail again", ""),
        ("a boy wants to fly to Mars", "a boy", "fly to Mars", ""),
        ("a story about a small bear who is afraid of the dark", "a small bear", "stop being afraid of the dark", ""),
        ("a girl and a dragon", "a girl", "", "a dragon"),
        ("a princess rescues a knight from a tower", "a princess", "rescue a knight from a tower", "a knight"),
        ("a farmer saves a village", "a farmer", "save a village", ""),
        ("two mice build a boat", "two mice", "build a boat", ""),
        ("a plumber unclogs the sea", "a plumber", "unclog the sea", ""),
        ("the moon", "the moon", "", ""),
    ],
)
def test_ideas_are_taken_apart(idea: str, hero: str, deed: str, friend: str) -> None:
    found = read(idea, LORE)
    assert (found.hero, found.deed, found.friend) == (hero, deed, friend)


@pytest.mark.parametrize(
    ("idea", "hero", "name", "deed", "friend"),
    [
        ("a girl named Lily finds an umbrella", "a girl", "Lily", "find an umbrella", ""),
        ("lily finds an umbrella", "a child", "Lily", "find an umbrella", ""),
        ("Peter the penguin wants to fly", "the penguin", "Peter", "fly", ""),
        ("Emma, a brave girl, learns to swim", "a brave girl", "Emma", "learn to swim", ""),
        ("my daughter Emma learns to swim", "a daughter", "Emma", "learn to swim", ""),
        ("Mira and her dog go camping", "a child", "Mira", "go camping", "a dog"),
        ("a bear and a mouse share a blanket", "a bear", "", "share a blanket", "a mouse"),
        ("a boy who can't sleep", "a boy", "", "sleep", ""),
        ("the unicorn that couldn't fly", "the unicorn", "", "fly", ""),
        ("a bee doesn't like flowers", "a bee", "", "learn to like flowers", ""),
        ("the king's cook is lost", "the king's cook", "", "find the way home", ""),
        ("a mouse eats cheese", "a mouse", "", "eat cheese", ""),
        ("children plant a tree", "two children", "", "plant a tree", ""),
        ("the boys run away", "two boys", "", "run away", ""),
        ("two mice want to fly", "two mice", "", "fly", ""),
        ("3 bears", "three bears", "", "", ""),
        ("dragons", "two dragons", "", "", ""),
        ("grandma's birthday cake", "a grandma", "", "", ""),
        ("how the elephant got a short nose", "a child", "", "find out how the elephant got a short nose", ""),
        ("why is the sky blue?", "a child", "", "", ""),
        ("a story about sharing toys", "a child", "", "find out all about sharing toys", ""),
        ("no one wants to play with the dragon", "a child", "", "", ""),
        ("a day at the beach", "a child", "", "have a day at the beach", ""),
        ("the three kittens lost their mittens", "three kittens", "", "", ""),
        ("Grandma's robot learns to knit", "a robot", "", "learn to knit", ""),
        ("the day the rain forgot to fall", "a child", "", "", ""),
        ("snow", "a child", "", "find out all about snow", ""),
        ("Christmas", "a child", "", "find out all about Christmas", ""),
        ("A LION WHO CANNOT ROAR", "a lion", "", "roar", ""),
    ],
)
def test_who_is_found_can_stand_in_a_sentence(idea: str, hero: str, name: str, deed: str, friend: str) -> None:
    found = read(idea, LORE)
    assert (found.hero, found.name, found.deed, found.friend) == (hero, name, deed, friend)


@pytest.mark.parametrize(
    ("idea", "begins", "title"),
    [
        ("the unicorn that couldn't fly", "there lived a unicorn called", "The Unicorn Who Wanted to Fly"),
        ("an hour-hand learns to sing", "there lived an hour-hand called", "The Hour-hand Who Wanted to Learn to Sing"),
        ("Tom builds a raft", "there lived a child called Tom. He had", "Tom Wants to Build a Raft"),
        ("Tom and Anna build a raft", "there lived a child called Tom. He had", "Tom and Anna Want to Build a Raft"),
        ("Zyx learns to fly", "there lived a child called Zyx. They had", "Zyx Wants to Learn to Fly"),
        ("three pigs build a house", "there lived three pigs called", "The Pigs Who Wanted to Build a House"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_articles_names_and_pronouns_agree(idea: str, begins: str, title: str, seed: int) -> None:
    story = compose(Order(idea=idea, pages=5, seed=seed), FOLDER)
    assert begins in story.pages[0].text
    assert story.title == title


def test_brothers_have_names_of_brothers() -> None:
    for seed in range(6):
        story = compose(Order(idea="two brothers and a wolf", pages=17, seed=seed), FOLDER)
        one, other = story.characters[0].name.split(" and ")
        assert one != other and {one, other} <= set(LORE["names"]["he"])
        whole = " ".join(page.text for page in story.pages)
        assert "They knew" in whole and not re.search(r"\bthey (?:does|has|is|knows)\b", whole)
        assert f"{story.characters[0].name} still does" not in whole


def test_nobody_shares_what_only_they_have() -> None:
    for seed in range(30):
        hero, friend = compose(Order(idea="a fox and an owl", pages=2, seed=seed), FOLDER).characters
        assert hero.look.partition(" with ")[2].split(" and ", 1)[1] not in friend.look


@pytest.mark.parametrize(
    ("verb", "base"),
    [
        ("befriends", "befriend"),
        ("flies", "fly"),
        ("teaches", "teach"),
        ("goes", "go"),
        ("chases", "chase"),
        ("ties", "tie"),
    ],
)
def test_infinitives(verb: str, base: str) -> None:
    assert infinitive(verb) == base


def test_people_are_told_from_creatures() -> None:
    assert all(
        is_person(one, LORE) for one in ("a lighthouse keeper", "an old sailor", "a girl with a lamp", "a pianist")
    )
    assert not any(is_person(one, LORE) for one in ("an otter", "a tiger", "a robot", "a river", "a whale"))


# --- the offline writer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idea", IDEAS)
def test_every_length_of_every_idea(idea: str) -> None:
    for pages in (1, 2, 3, 7, 15, 16, 17, 18, 31, 60):
        story = compose(Order(idea=idea, pages=pages, seed=3), FOLDER)
        assert len(story.pages) == pages
        texts = [page.text for page in story.pages] + [page.picture for page in story.pages] + [story.title]
        assert all(texts) and not any("{" in text for text in texts)
        assert len(story.title) <= 80


@pytest.mark.parametrize("idea", [IDEA, "a small robot learns to paint"])
@pytest.mark.parametrize("seed", range(5))
def test_no_sentence_stands_in_a_book_twice(idea: str, seed: int) -> None:
    story = compose(Order(idea=idea, pages=60, seed=seed, age=(9, 12)), FOLDER)
    # "asked Moss." closes a question; whole sentences are longer.
    said = [one.strip() for page in story.pages for one in SENTENCE.findall(page.text) if words(one) > 3]
    assert len(said) > 120
    assert len(said) == len(set(said))
    assert len({page.picture for page in story.pages}) == 60


def test_a_book_begins_and_ends_whatever_its_length() -> None:
    for pages in range(2, 61):
        story = compose(Order(idea=IDEA, pages=pages, seed=1), FOLDER)
        assert story.pages[0].text.startswith("Once, by the sea, there lived a shy lighthouse keeper called")
        last = "And far out, something turned around." if pages == 5 else "Now there are a great many spoons"
        assert story.pages[-1].text.startswith(last)


def test_the_seed_decides() -> None:
    def told(seed: int) -> Any:
        return compose(Order(idea=IDEA, pages=30, seed=seed), FOLDER)

    assert told(1) == told(1)
    assert len({told(seed).characters[0].name for seed in range(12)}) > 3
    assert told(1).pages != told(2).pages


def test_little_readers_get_few_words() -> None:
    counts = {}
    for age in ((1, 3), (4, 7), (8, 12)):
        story = compose(Order(idea=IDEA, pages=15, seed=2, age=age), FOLDER)
        counts[age] = sum(words(page.text) for page in story.pages) / 15
    assert counts[1, 3] < counts[4, 7] <= counts[8, 12]
    assert counts[1, 3] <= 22


def test_a_hero_starts_at_home() -> None:
    first = compose(Order(idea="a beekeeper who wants to fly to the moon", pages=2, seed=1), FOLDER).pages[0].text
    assert first.startswith("Once, among wide meadows,")


def test_what_the_user_says_is_used() -> None:
    given = (Character("Ada", "a girl in a red coat"), Character("Zed", "a green bird"), Character("Oz", "a cook"))
    order = Order(idea=IDEA, pages=8, seed=1, title="Mine", characters=given, setting="a harbour in winter")
    story = compose(order, FOLDER)
    assert (story.title, story.characters, story.setting) == ("Mine", given, "a harbour in winter")
    assert "in a harbour in winter" in story.pages[0].text
    told = " ".join(page.text for page in story.pages)
    assert "Ada" in told and "Zed" in told and not re.search(r"\b(he|his|him)\b", told)


def test_a_setting_of_dots_is_none() -> None:
    assert "by the sea" in compose(Order(idea=IDEA, pages=2, seed=1, setting=" .. "), FOLDER).pages[0].text


def test_two_heroes_are_they() -> None:
    first = compose(Order(idea="two mice build a boat", pages=1, seed=1), FOLDER).pages[0].text
    assert "their mind" in first and " and " in first


def test_nobody_lives_on_themselves() -> None:
    first = compose(Order(idea="the moon takes a day off", pages=2, seed=1), FOLDER).pages[0].text
    assert "a moon called" in first and "on a small round moon" not in first
    first = (
        compose(Order(idea="the moon takes a day off", pages=2, seed=1, setting="on the moon"), FOLDER).pages[0].text
    )
    assert "on the moon" in first


def test_the_words_of_a_title() -> None:
    assert compose(Order(idea="Mira and the moon", pages=2, seed=1), FOLDER).title == "Mira and the Moon"
    assert compose(Order(idea="a fox who loses her tail", pages=2, seed=1), FOLDER).title == (
        "The Fox Who Wanted to Find Her Tail Again"
    )


# --- cards and ages ---------------------------------------------------------------------------------------------------


def test_a_card_can_be_read_again() -> None:
    cast = [Character("Mira", "a girl: small, in red"), Character("Ondo", "a whale")]
    common = card("soft watercolor", "a bay", cast)
    assert (characters_of(common), setting_of(common)) == (cast, "a bay")
    assert characters_of("a prompt without a card") == []
    for prompt in (page_prompt(common, "Mira waves."), sheet_prompt(common)):
        assert prompt.startswith("soft watercolor. ")
        assert "Mira: a girl: small, in red. Ondo: a whale." in prompt
        assert "\n" not in prompt
    assert "soft watercolor. Mira waves. Setting: a bay." in page_prompt(common, "Mira waves.")


@pytest.mark.parametrize("text", ["Mira", "Mira:", ": red", f"{'x' * 41}: red", f"Mira: {'x' * 301}"])
def test_characters_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        character_from(text)


def test_ages() -> None:
    assert (age_from("4-7"), age_from(" 6 "), age_from("4 – 7")) == ((4, 7), (6, 6), (4, 7))
    for wrong in ("", "7-4", "4-", "100-101", "-3"):
        with pytest.raises(ValueError):
            age_from(wrong)
    limits = [words_per_page((age, age)) for age in range(20)]
    assert limits == sorted(limits)


# --- the shape of an answer -------------------------------------------------------------------------------------------


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{"idea": IDEA, "pages": 2, "age": (4, 7), "language": "el", **changes})


def test_a_sound_answer_becomes_a_story() -> None:
    story = story_from(shape_for(wanted()).model_validate(answer(2)), (), "", "gpt")
    assert [page.picture for page in story.pages] == [page["picture"] for page in answer(2)["pages"]]
    assert story.characters[1].name == "Ondo" and story.model == "gpt"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pages": answer(3)["pages"]}, "exactly 2 pages, not 3"),
        ({"title": "  "}, "the title must have 1 to 80"),
        ({"title": "x" * 81}, "the title must have 1 to 80"),
        ({"characters": []}, "1 to 6 characters, not 0"),
        ({"characters": [{"name": "A: B", "look": "a girl in red"}]}, "no colon"),
        ({"characters": [{"name": "A", "look": "girl"}]}, "a look must have"),
        ({"cover": ""}, "the cover must have"),
        ({"pages": [{"text": "Hi.", "picture": "Mira in the boat"}] * 2}, "the text of a page must have"),
        ({"pages": [{"text": "word " * 200, "picture": "Mira in the boat"}] * 2}, "the text of a page must have"),
        ({"pages": [{"text": answer(1)["pages"][0]["text"], "picture": "Mira"}] * 2}, "a picture must have"),
        ({"moral": "Be good."}, "Extra inputs"),
    ],
)
def test_answers_that_will_not_do(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        shape_for(wanted()).model_validate({**answer(2), **changes})


def test_the_schema_is_strict_and_the_order_complete() -> None:
    order = wanted(title="Mine", setting="a bay", characters=(Character("Ada", "a fox"),), age=(6, 6), pages=1)
    assert _not_strict(schema_of(shape_for(order)), "root") == ""
    assert "Greek" in rules(order) and "exactly one page" in rules(order) and "6 years old" in rules(order)
    assert all(part in question(order) for part in (IDEA, "Mine", "a bay", "Ada: a fox"))


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_styles_are_sound(tmp_path: Path) -> None:
    found = styles(FOLDER)
    assert {"watercolor", "comic-book"} < found.keys() and 8 <= len(found) <= 12
    assert len({style["words"] for style in found.values()}) == len(found)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for wrong in ('title = "A"\n', 'title = "A"\nwords = "b"\npaper = "white"\nink = "#000000"\naccent = "#000000"\n'):
        (tmp_path / "styles.toml").write_text(f"[a]\n{wrong}")
        with pytest.raises(UsageError, match="data/stories/styles"):
            styles(tmp_path)


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        (IDEA, []),
        ("A skilled Essex therapist in Scunthorpe shoots a photograph of a bomb-proof grape", []),
        ("Murders in PORNO land", ["sexual", "violence"]),
        ("ｍurder", ["violence"]),
        ("she wants to  kill\nherself", ["self-harm"]),
    ],
)
def test_the_word_list(text: str, categories: list[str]) -> None:
    assert wordlist.flagged(text, FOLDER) == categories
