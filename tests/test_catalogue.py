"""The files of a collection: the foxes that come along, and a line for every fault of one's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.cli_tools import ROOT, TINY, Tirada
from tirada.errors import UsageError
from tirada.workflows.tokens.catalogue import Collection, load

HEAD = """
title = "Owls"
description = "Two owls."
prompt = "an owl"
template = "an owl with {hat} and {coat}"
[tiers]
common = 10
rare = 1
"""
TRAITS = """
[hat]
values = [
    { value = "Cap", tier = "common", prompt = "a cap", groups = ["cloth"] },
    { value = "Helmet", tier = "rare", prompt = "a helmet" },
]
[coat]
default = "None"
stays = 0.75
values = [
    { value = "None", tier = "common", prompt = "no coat" },
    { value = "Cape", weight = 3, prompt = "a cape" },
]
"""


def owls(head: str = HEAD, traits: str = TRAITS) -> Collection:
    folder = Path("data/collections/owls")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "collection.toml").write_text(head, encoding="utf-8")
    (folder / "traits.toml").write_text(traits, encoding="utf-8")
    return load(Path("data"), "owls")


def faults(head: str = HEAD, traits: str = TRAITS) -> list[str]:
    with pytest.raises(UsageError) as caught:
        owls(head, traits)
    first, *lines = str(caught.value).splitlines()
    assert first == "The collection 'owls' cannot be used:"
    assert all(line.startswith("- ") for line in lines)
    return [line.removeprefix("- ") for line in lines]


def test_a_collection_of_ones_own() -> None:
    found = owls()
    assert (found.token, found.size, found.base) == ("Owls", (1024, 1024), None)
    assert found.prompt_of({"hat": "Cap", "coat": "Cape"}) == "an owl with a cap and a cape"
    assert found.trait("hat").shares() == {"Cap": 10 / 11, "Helmet": 1 / 11}
    assert found.trait("Coat").shares() == {"None": 0.75, "Cape": 0.25}


def test_constraints_forbid_and_force() -> None:
    rules = """
[[incompatible]]
because = "it would fall off"
hat = ["@cloth"]
coat = ["Cape"]
[[forced]]
when = { coat = ["None"] }
then = { hat = ["Cap"] }
"""
    found = owls(HEAD + rules)
    allowed = {
        (hat, coat)
        for hat in ("Cap", "Helmet")
        for coat in ("None", "Cape")
        if found.broken({"hat": hat, "coat": coat}) is None
    }
    assert allowed == {("Cap", "None"), ("Helmet", "Cape")}
    assert found.space().count() == 2
    broken = found.broken({"hat": "Cap", "coat": "Cape"})
    assert broken is not None
    assert broken.because == "it would fall off"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Owls"', "", "collection.toml: title: Field required."),
        ("[tiers]", "[teirs]", "collection.toml: tiers: Field required."),
        ("title", "titel", "collection.toml: titel: Extra inputs are not permitted."),
        ("{coat}", "", "collection.toml: template: it has no place for {coat}."),
        ("{coat}", "{coat} {face}", "collection.toml: template: {face} is no trait."),
        ("{coat}", "{coat", "collection.toml: template: expected '}' before end of string."),
        ('"an owl"', '"an owl"\nbase = "no.png"', "collection.toml: base: there is no file 'no.png' in"),
        ('"an owl"', '"an owl"\nsymbol = "MUCHTOOLONG"', "symbol: String should have at most 10 characters."),
        ('"an owl"', '"an owl"\nstrength = 2', "collection.toml: strength: Input should be less than or equal to 1."),
        ("common = 10", "common = -1", "collection.toml: tiers.common: a weight is 0 or more."),
        ("common = 10", "common = ", "collection.toml: Invalid value (at line"),
    ],
)
def test_faults_of_the_character(old: str, new: str, said: str) -> None:
    assert any(said in fault for fault in faults(HEAD.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tier = "rare"', 'tier = "rrae"', "hat: Helmet: no tier is called 'rrae': did you mean 'rare'?"),
        ('tier = "rare", ', "", "traits.toml: hat: Helmet: it needs a tier or a weight."),
        ("weight = 3", "weight = -3", "coat: values.1.weight: Input should be greater than or equal to 0."),
        ("weight = 3", "weight = 0", "traits.toml: coat: none of its values has a weight above 0."),
        ('"Helmet"', '"cap"', "traits.toml: hat: the value 'cap' is there twice."),
        ('default = "None"', 'default = "Nothing"', "coat: its default 'Nothing' is none of its values."),
        ("stays = 0.75", "stays = 1.5", "coat: stays: Input should be less than or equal to 1."),
        ("[hat]", "[Hat]", "traits.toml: Hat: a trait is called by a word of small letters."),
        ("[coat]", '[coat]\ntitle = "Hat"', "traits.toml: 2 traits have the title 'hat'."),
        ("[hat]", "[hat", "traits.toml: Expected ']'"),
    ],
)
def test_faults_of_the_traits(old: str, new: str, said: str) -> None:
    assert any(said in fault for fault in faults(traits=TRAITS.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('[[incompatible]]\nhat = ["Cap"]', "incompatible 1: it takes two traits or more to be incompatible."),
        ('[[incompatible]]\nhta = ["Cap"]\ncoat = ["Cape"]', "no trait called 'hta': did you mean 'hat'?"),
        ('[[incompatible]]\nhat = ["Cop"]\ncoat = ["Cape"]', "hat has no value 'Cop': did you mean 'Cap'?"),
        ('[[incompatible]]\nhat = ["@wool"]\ncoat = ["Cape"]', "no value of hat is in a group called '@wool'"),
        ('[[incompatible]]\nhat = "Cap"\ncoat = ["Cape"]', "hat takes a list of values, as in hat = ['Cap']."),
        ('[[forced]]\nwhen = { hat = ["Cap"] }', "forced.0.then: Field required."),
        ('[[forced]]\nwhen = { hat = ["Cap"] }\nthen = { hat = ["Cap"] }', "forced 1: hat cannot force itself."),
        (
            '[[incompatible]]\nhat = ["Helmet"]\ncoat = ["None", "Cape"]',
            "collection.toml: the constraints leave no token with hat=Helmet.",
        ),
    ],
)
def test_faults_of_constraints(rule: str, said: str) -> None:
    assert any(said in fault for fault in faults(f"{HEAD}\n{rule}\n"))


def test_quotas_that_only_three_traits_make_impossible_are_refused_when_none_are_found(tirada: Tirada) -> None:
    """Four tokens are left, of which no two differ in all three traits; any two traits alone would allow the quotas."""
    odd = [("Cap", "None", "Left"), ("Cap", "Cape", "Right"), ("Helmet", "None", "Right"), ("Helmet", "Cape", "Left")]
    rules = [f'[[incompatible]]\nhat = ["{hat}"]\ncoat = ["{coat}"]\nwing = ["{wing}"]\n' for hat, coat, wing in odd]
    values = ", ".join(f'{{ value = "{side}", weight = 1, prompt = "{side}" }}' for side in ("Left", "Right"))
    wing = f"[wing]\nvalues = [{values}]\n"
    found = owls("\n".join([HEAD.replace("{coat}", "{coat} {wing}"), *rules]), TRAITS + wing)
    assert found.space().count() == 4
    asked = [part for quota in ("hat=Cap:1", "coat=Cape:1", "wing=Left:1") for part in ("--quota", quota)]
    done = tirada("collection", 2, "--collection", "owls", *asked, "--draft", DATA_DIR="data")
    assert done.code == 2
    assert "No 2 tokens were found that meet all quotas and constraints together: " in done.err
    assert "Loosen one of these." in done.err
    assert not Path("output").exists()


def test_every_fault_is_told_at_once() -> None:
    found = faults(HEAD.replace("{coat}", ""), TRAITS.replace('"Helmet", tier = "rare"', '"Cap", tier = "gold"'))
    assert len(found) == 2
    (Path("data/collections/owls") / "traits.toml").unlink()
    with pytest.raises(UsageError, match=r"traits.toml: there is no such file"):
        load(Path("data"), "owls")


def test_a_faulty_collection_ends_in_one_message(tirada: Tirada) -> None:
    with pytest.raises(UsageError):
        owls(HEAD.replace("{coat}", ""))
    done = tirada("collection", 2, "--collection", "owls", "--draft", "--size", TINY, DATA_DIR="data")
    assert (done.code, "template: it has no place for {coat}" in done.err) == (2, True)
    done = tirada("collection", 2, "--collection", "owl", "--draft", DATA_DIR="data")
    assert (done.code, "did you mean 'owls'?" in done.err) == (2, True)


# --- the foxes --------------------------------------------------------------------------------------------------------

FOXES = load(ROOT / "data", "foxes")


def test_the_foxes_have_twenty_values_of_every_trait_in_all_tiers() -> None:
    assert [trait.name for trait in FOXES.traits] == ["skin", "expression", "face", "body", "head"]
    for trait in FOXES.traits:
        assert len(trait.values) >= 20
        assert {value.tier for value in trait.values} == {"common", "uncommon", "rare", "epic", "legendary"}
        assert len({value.prompt for value in trait.values}) == len(trait.values)
    assert [trait.name for trait in FOXES.traits if trait.default is not None] == ["face", "body", "head"]
    assert all(rule.because for rule in FOXES.rules)


def test_the_foxes_use_no_names_of_others() -> None:
    forbidden = tomllib.loads((ROOT / "data" / "forbidden_names.toml").read_text(encoding="utf-8"))
    names = [name.casefold() for listed in forbidden.values() for name in listed]
    words = " ".join(
        [FOXES.title, FOXES.description, FOXES.prompt, FOXES.template]
        + [f"{value.name} {value.prompt}" for trait in FOXES.traits for value in trait.values]
    ).casefold()
    assert [name for name in names if f" {name} " in f" {words} "] == []


def test_the_prompt_of_the_longest_fox_can_be_read_by_every_model() -> None:
    """The traits come first: of CLIP's 77 tokens a word takes about 1.3, and these must be seen."""
    longest = {trait.name: max(trait.values, key=lambda value: len(value.prompt)).name for trait in FOXES.traits}
    seen = FOXES.prompt_of(longest).partition(", standing upright")[0]
    assert len(seen.split()) * 1.3 < 75
