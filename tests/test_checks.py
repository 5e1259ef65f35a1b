"""The rules every concept obeys, and the names none may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import SetupError
from models.writers.checks import ForbiddenNames, faults

TITLE = "A Fox at the Edge of a Birch Forest"
DESCRIPTION = "A fox crossing a frozen stream at the edge of a birch forest, lit by low winter sun."
TAGS = ("fox", "winter", "birch forest", "wildlife", "stream")


def check(title: str = TITLE, description: str = DESCRIPTION, tags: tuple[str, ...] = TAGS) -> list[str]:
    return faults(title, description, tags, forbidden=None)


def test_a_sound_concept_has_no_faults() -> None:
    assert check() == []
    assert check(title="x" * 120, description="y" * 400, tags=tuple("abcdefghij")) == []
    assert check(description="y" * 40) == []
    assert check(description="A first paragraph of text,\nand then a second one.") == []


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"title": " "}, "The title is empty."),
        ({"title": "x" * 143}, "The title has 143 characters; at most 120 are allowed."),
        ({"title": "one\ntwo"}, "The title holds a line break or another control character"),
        ({"title": "one\x00two"}, "The title holds a line break or another control character"),
        ({"title": "one\ud83dtwo"}, "The title holds a line break or another control character"),
        ({"description": "x" * 39}, "The description has 39 characters; at least 40 are needed."),
        ({"description": "x" * 20 + " " * 30}, "The description has 20 characters; at least 40 are needed."),
        ({"description": "x" * 401}, "The description has 401 characters; at most 400 are allowed."),
        ({"description": "x" * 50 + "\x0b"}, "The description holds control characters"),
        ({"tags": TAGS[:4]}, "There are 4 metatags; at least 5 are needed."),
        ({"tags": tuple("abcdefghijk")}, "There are 11 metatags; at most 10 are allowed."),
        ({"tags": (*TAGS, "  ")}, "A metatag is empty."),
        ({"tags": (*TAGS, "FOX ")}, "The metatag 'FOX ' is given twice."),
        ({"tags": (*TAGS, "x" * 41)}, "has 41 characters; at most 40 are allowed."),
        ({"tags": (*TAGS, "a\nb")}, "The metatag 'a\\nb' holds a line break"),
    ],
)
def test_each_fault_is_one_sentence(broken: dict[str, str], sentence: str) -> None:
    found = check(**broken)  # type: ignore[arg-type]
    assert len(found) == 1
    assert sentence in found[0]
    assert found[0].endswith(".")


def test_every_fault_is_told_at_once() -> None:
    assert len(check(title="", description="", tags=())) == 3


NAMES = ForbiddenNames(
    ["Coca-Cola", "Studio Ghibli", "Mark", "Mark Rothko", "Frida Kahlo", "L'Oréal", "Yahoo!", "Søren"]
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a can of coca cola", "Coca-Cola"),
        ("a can of COCA-COLA.", "Coca-Cola"),
        ("in the manner of studio\n ghibli", "Studio Ghibli"),
        ("mark rothko's red", "Mark Rothko"),
        ("mark, who waits", "Mark"),
        ("Mark Rothkow", "Mark"),
        ("Frída Kahlo", "Frida Kahlo"),
        ("the l’oreal lobby", "L'Oréal"),
        ("yahoo! he cried", "Yahoo!"),
        ("a portrait of Søren", "Søren"),
        ("Ｍａｒｋ", "Mark"),
    ],
)
def test_names_are_found_in_every_spelling(text: str, name: str) -> None:
    assert NAMES.find(text) == name


@pytest.mark.parametrize(
    "text", ["", "a bookmark", "market day", "remarkable", "coca colander", "yahoo", "frida", "mark_up"]
)
def test_names_are_not_found_inside_longer_words(text: str) -> None:
    assert NAMES.find(text) is None


def test_a_forbidden_name_is_a_fault_wherever_it_stands() -> None:
    names = ForbiddenNames(["Acme"])
    assert "'Acme'" in faults("An Acme Anvil", DESCRIPTION, TAGS, forbidden=names)[0]
    assert "'Acme'" in faults(TITLE, DESCRIPTION + " ACME made it.", TAGS, forbidden=names)[0]
    assert "'Acme'" in faults(TITLE, DESCRIPTION, (*TAGS, "acme"), forbidden=names)[0]
    assert faults(TITLE, DESCRIPTION, TAGS, forbidden=names) == []


def test_no_name_is_read_across_two_texts() -> None:
    names = ForbiddenNames(["Forest Lake"])
    assert faults("Birch Forest", "Lake and reeds under a grey sky, with a heron.", TAGS, forbidden=names) == []


def test_the_list_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "forbidden_names.toml"
    path.write_text('artists = ["Frida Kahlo"]\nbrands = ["Acme"]\npeople = []\ncharacters = ["Robin Hood"]\n')
    names = ForbiddenNames.load(path)
    assert len(names) == 3
    assert names.find("robin hood in the rain") == "Robin Hood"


def test_a_missing_file_forbids_nothing(tmp_path: Path) -> None:
    names = ForbiddenNames.load(tmp_path / "none.toml")
    assert len(names) == 0
    assert names.find("anything at all") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"artists = [", "Cannot read"),
        (b"artists = ['\xff']", "Cannot read"),
        (b"artist = ['x']", "unknown list 'artist'"),
        (b"artists = 'x'", "'artists' must be a list of names"),
        (b"artists = [1]", "'artists' must be a list of names"),
        (b"artists = [' ']", "'artists' must be a list of names"),
    ],
)
def test_a_broken_file_is_said_with_its_name(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "forbidden_names.toml"
    path.write_bytes(text)
    with pytest.raises(SetupError, match="forbidden_names") as caught:
        ForbiddenNames.load(path)
    assert said in str(caught.value)


def test_the_list_that_ships_is_sound() -> None:
    ForbiddenNames.load(Path(__file__).parent.parent / "data" / "forbidden_names.toml")
