"""The data that comes along: roles, few-shot examples, and the names that neither may hold."""

from __future__ import annotations

import random
import re
from string import Formatter

import pytest

from models.contract import DESCRIPTION_MAX, DESCRIPTION_MIN, TAGS_MAX, TAGS_MIN, TITLE_MAX, Role
from models.roles import RoleLibrary, SeededDealer, compose_prompt, make_briefs
from models.writers.checks import ForbiddenNames, faults
from tests.cli_tools import ROOT

REQUIRED = {
    "photographer",
    "photographer_people",
    "photographer_animals",
    "photographer_landscape",
    "photographer_food",
    "photographer_architecture",
    "artist",
    "artist_fantasy",
    "artist_monster",
    "illustrator_2d",
    "render_3d",
    "cartoonist",
}
LIBRARY = RoleLibrary(ROOT / "data", ROOT / "tuning")
NAMES = LIBRARY.names()
FORBIDDEN = ForbiddenNames.load(ROOT / "data" / "forbidden_names.toml")
ENTRIES_MIN, ENTRIES_MAX = 30, 80
EXAMPLES_MIN = 10


@pytest.fixture(params=NAMES)
def role(request: pytest.FixtureRequest) -> Role:
    return LIBRARY.load(request.param)


def texts_of(role: Role) -> list[str]:
    entries = [entry for listed in role.lists.values() for entry in listed]
    return [role.title, role.description, role.template, *entries, *role.tags]


def test_every_role_there_must_be_is_there() -> None:
    assert set(NAMES) >= REQUIRED


def test_every_few_shot_file_belongs_to_a_role() -> None:
    assert {path.stem for path in (ROOT / "tuning").glob("*.jsonl")} == set(NAMES)


def test_nothing_is_wrong_with_any_file() -> None:
    library = RoleLibrary(ROOT / "data", ROOT / "tuning")
    assert {loaded.name for loaded in library.load_usable()} == set(NAMES)
    assert library.problems == []


def test_lists_are_long_and_not_too_long(role: Role) -> None:
    for key, entries in {**role.lists, "tags": role.tags}.items():
        assert ENTRIES_MIN <= len(entries) <= ENTRIES_MAX, key


def test_a_role_has_what_its_craft_needs(role: Role) -> None:
    if role.name.startswith("photographer"):
        assert {"camera", "lens"} <= role.lists.keys()
    else:
        assert "render" in role.lists


def test_entries_are_parts_of_a_sentence(role: Role) -> None:
    for entry in (entry for listed in role.lists.values() for entry in listed):
        assert entry == entry.strip()
        assert not entry.endswith((".", ",", ";", ":")), entry
        assert not re.search(r"[{}\n\t]", entry), entry
        assert len(entry) <= 90, entry
    assert all(tag == tag.strip() and len(tag) <= 40 and "," not in tag for tag in role.tags)


def test_no_name_that_stock_sites_refuse(role: Role) -> None:
    assert len(FORBIDDEN) > 100
    assert [(text, name) for text in texts_of(role) if (name := FORBIDDEN.find(text))] == []


def test_negatives_suit_the_role(role: Role) -> None:
    negative = role.negative.casefold()
    assert re.search(r"watermark|text|signature", negative)
    if re.search(r"people|animals", role.name):
        assert re.search(r"deform|malform|disfigur|wrong anatomy", negative)
        assert re.search(r"extra (fingers|legs|limbs|arms)", negative)
    if role.name.startswith("photographer"):
        assert re.search(r"\b(3d|cgi)\b", negative)
        assert re.search(r"\b(2d|illustration|painting|drawing)\b", negative)


def test_templates_fill(role: Role) -> None:
    used = {name for _, name, _, _ in Formatter().parse(role.template) if name}
    assert {"description", "style", "light"} <= used
    for brief in make_briefs([role], SeededDealer(3), 5, rng=random.Random(3)):
        prompt = compose_prompt(brief, "A Title", "A description of it all.", brief.tags)
        assert "A description of it all." in prompt
        assert brief.choices["style"] in prompt
        assert not re.search(r"[{}]|  |,,|\.\.|\s,", prompt), prompt
        assert len(prompt) < 1500


def test_examples_are_answers_we_would_accept(role: Role) -> None:
    assert len(role.examples) >= EXAMPLES_MIN
    for example in role.examples:
        found = faults(example.title, example.description, example.metatags, forbidden=FORBIDDEN)
        assert found == [], example.title
        assert len(example.title) <= TITLE_MAX
        assert DESCRIPTION_MIN <= len(example.description) <= DESCRIPTION_MAX
        assert TAGS_MIN <= len(example.metatags) <= TAGS_MAX


def test_no_two_examples_are_alike() -> None:
    examples = [example for name in NAMES for example in LIBRARY.load(name).examples]
    assert len({example.title.casefold() for example in examples}) == len(examples)
    assert len({example.description.casefold() for example in examples}) == len(examples)
    openings = [" ".join(example.description.casefold().split()[:3]) for example in examples]
    assert max(openings.count(opening) for opening in openings) <= len(openings) * 0.05


def test_roles_are_not_copies_of_each_other() -> None:
    for key in ("scene", "element", "environment"):
        entries = [entry.casefold() for name in NAMES for entry in LIBRARY.load(name).lists[key]]
        assert len(set(entries)) >= 0.97 * len(entries), key
