"""What a brand image is wanted of: metadata in both spellings, faults field by field, and kits of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import SetupError
from tests.cli_tools import ROOT, Tirada, info_of
from tirada.errors import UsageError
from tirada.workflows.branding import kit as kits
from tirada.workflows.branding.kit_file import read
from tirada.workflows.branding.metadata import BYTES_MAX, read_metadata, understand

BANK = kits.load(ROOT / "data", "bank")
OLD = "{'sex': 'male', 'age': 30, 'product': 'people', 'custom_prompt': 'at the sea', 'height': 720, 'width': 640}"
WHOLE = {"sex": "male", "age": 30, "product": "people", "custom_prompt": "at the sea", "height": 720, "width": 640}


def wish_of(metadata: dict[str, Any], **options: Any) -> tuple[dict[str, Any], list[str]]:
    wish, notes = understand(BANK, metadata, options)
    return wish.to_json(), notes


def fault_of(metadata: dict[str, Any], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        understand(BANK, metadata, options)
    return str(caught.value)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(WHOLE),
        OLD,
        f"  {OLD}\n",
        json.dumps(OLD),
        OLD.replace("}", ",}"),
        OLD.replace("'sex'", "u'sex'").replace("'", '"').replace('u"', 'u"'),
    ],
    ids=["json", "literal", "spaces", "literal in json", "comma", "unicode prefix"],
)
def test_both_spellings_say_the_same_inline_and_in_a_file(text: str) -> None:
    assert read_metadata(text) == WHOLE
    Path("wish.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_metadata("wish.txt") == WHOLE
    assert wish_of(read_metadata(text)) == ({**WHOLE}, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{'a': __import__('os').getcwd()}", '"__import__'),
        ("{'age': 10**10**10}", "'**10**10}' is no value"),
        ("{'age': 1 + 1}", "'+ 1}' is no value"),
        ("{'age': [x for x in 'abc']}", "is no value"),
        ("{'age': }", "nor a Python literal"),
        ("{'age': 3", "nor a Python literal"),
        ('{"age": 3', "neither a JSON object (Expecting ',' delimiter at line 1, column 10)"),
        ("{'age': 1, 'age': 2}", "'age' twice"),
        ('{"age": 1, "age": 2}', "'age' twice"),
        ("{[1]: 2}", "nor a Python literal"),
        ("{**{'age': 1}}", "\"**{'age': 1}}\" is no value"),
        ('{"age": ' + "1" * 5_000 + "}", "a number that is too long"),
        ("{'age': " + "1" * 5_000 + "}", "nor a Python literal"),
        ("{" * 5 + "}" * 5, "nested too deeply"),
        ("[" * 9_000, "nested too deeply"),
        ("{'a': " + "(" * 5_000, "nested too deeply"),
        ("{'a': '" + "x" * BYTES_MAX + "'}", "too long: at most 16,384 bytes"),
        ("['age', 3]", "must be an object such as {'product': 'car'}, not a list"),
        ('"age"', "neither a JSON object"),
        ("missing.json", "There is no file 'missing.json'"),
        ("x" * 4_000, "cannot be read: File name too long"),
        (".", "cannot be read: Is a directory"),
    ],
)
def test_what_is_no_metadata_is_said_and_never_run(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_metadata(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_that_is_no_text_or_too_large() -> None:
    Path("picture.png").write_bytes(b"{\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_metadata("picture.png")
    Path("large.json").write_text("{" + " " * 10_000_000 + "}", encoding="utf-8")
    with pytest.raises(UsageError, match="too long"):
        read_metadata("large.json")


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("sex", "mail", "sex: must be male, female or empty, not 'mail'. Did you mean 'male'?"),
        ("sex", "Woman", "sex: must be male, female or empty, not 'Woman'. Did you mean 'female'?"),
        ("sex", "x", "sex: must be male, female or empty, not 'x'. Known are: male, female."),
        ("sex", 1, "sex: must be a text, not a number."),
        ("age", "thirty", "age: must be a whole number of years, not 'thirty'."),
        ("age", 30.5, "age: must be a whole number of years, not 30.5."),
        ("age", True, "age: must be a whole number of years, not true or false."),
        ("age", [30], "age: must be a whole number of years, not a list."),
        ("age", -1, "age: must be 0 to 120 years, not -1."),
        ("age", 121, "age: must be 0 to 120 years, not 121."),
        ("product", "cart", "product: kit 'bank' has no product 'cart'. Did you mean 'car'?"),
        ("product", "yacht", "product: kit 'bank' has no product 'yacht'. There are: people, car, house, credit card."),
        ("product", {"a": 1}, "product: must be a text, not an object."),
        ("custom_prompt", 7, "custom_prompt: must be a text, not a number."),
        ("custom_prompt", "x" * 501, "custom_prompt: has 501 characters; at most 500 are taken."),
        ("custom_prompt", "a\x07b", "custom_prompt: has control characters in it."),
        ("height", "tall", "height: must be a whole number of pixels, not 'tall'."),
        ("height", 63, "height: must be 64 to 16384 pixels, not 63."),
        ("width", 0, "width: must be 64 to 16384 pixels, not 0."),
        ("width", float("nan"), "width: must be a whole number of pixels, not nan."),
        ("width", 10**40, f"width: must be 64 to 16384 pixels, not {10**40}."),
        ("prompt", "x", "prompt: there is no such field. Did you mean 'custom_prompt'?"),
        ("hight", 700, "hight: there is no such field. Did you mean 'height'?"),
        ("colour", "x", "colour: there is no such field. There are: sex, age, product, custom_prompt, height, width."),
        (7, "x", "7: there is no such field. There are:"),
    ],
)
def test_one_message_for_each_faulty_field(field: Any, value: Any, says: str) -> None:
    sound = {"product": "people", "height": 720, "width": 720}
    assert fault_of({**sound, field: value}).startswith(says)


def test_all_faults_are_told_at_once() -> None:
    said = fault_of({"sex": "x", "age": "y", "product": "z", "hight": 1}, product="cart")
    lines = said.splitlines()
    assert lines[0] == "5 fields are wrong:"
    assert [line.split(":")[0].strip(" -") for line in lines[1:]] == ["sex", "age", "product", "hight", "product"]
    assert "  - --product: kit 'bank' has no product 'cart'. Did you mean 'car'?" in lines


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"height": 720}, "width: is missing; a size needs both."),
        ({"width": 720}, "height: is missing; a size needs both."),
        (
            {"product": "car", "custom_prompt": "a Woman at the wheel"},
            "custom_prompt: 'woman' is against the rule 'no people in product shots', which kit 'bank' has for product"
            " 'car'; say it without, or take another product.",
        ),
        ({"product": "credit card", "custom_prompt": "with gold letters"}, "'letters' is against the rule"),
        ({"product": "credit card", "custom_prompt": "with the number 1234"}, "'number' is against the rule"),
    ],
)
def test_faults_between_fields(metadata: dict[str, Any], says: str) -> None:
    assert says in fault_of(metadata)


def test_rules_look_for_whole_words() -> None:
    for custom in ("a hand-made basket on the roof", "a personal touch", "in Manhattan"):
        assert wish_of({"product": "car", "custom_prompt": custom})[0]["custom_prompt"] == custom
    assert wish_of({"product": "people", "custom_prompt": "a woman at the wheel"})[1] == []


def test_an_age_that_a_kit_does_not_show() -> None:
    bakery = kits.load(ROOT / "data", "bakery")
    with pytest.raises(UsageError, match="age: kit 'bakery' shows people of 16 to 34, 35 to 80, not of 7"):
        understand(bakery, {"product": "bakers", "age": 7}, {})


def test_lenient_where_the_meaning_is_plain() -> None:
    wish, _ = wish_of({"sex": " Male ", "age": "30", "product": "PEOPLE", "height": 720.0, "width": "640"})
    assert wish == {**WHOLE, "custom_prompt": ""}
    for spelt in ("credit card", "Credit-Card", "credit_card", "CREDIT  CARD"):
        assert wish_of({"product": spelt})[0]["product"] == "credit card"
    empty = {"sex": "", "age": None, "product": "", "custom_prompt": "", "height": None, "width": None}
    assert wish_of(empty)[0]["product"] == "people"


def test_options_win_and_it_is_said() -> None:
    wish, notes = wish_of(WHOLE, age="70", product="people", width=512, height=512)
    assert (wish["age"], wish["width"], wish["height"]) == (70, 512, 512)
    assert notes == [
        "--age 70 is taken, instead of age 30 in the metadata.",
        "--size 512 is taken, instead of height 720 in the metadata.",
        "--size 512 is taken, instead of width 640 in the metadata.",
    ]


def test_what_is_not_used_is_said() -> None:
    assert wish_of({**WHOLE, "product": "house"})[1] == [
        "Sex and age are not used: a picture of product 'house' shows nobody."
    ]


def test_faults_come_before_anything_is_made(tirada: Tirada) -> None:
    done = tirada("brand", "--metadata", "{'sex': 'x', 'age': 'y'}", "--draft")
    assert done.code == 2
    assert "sex: must be" in done.err and "age: must be" in done.err
    assert not Path("output").exists()


def test_the_old_spelling_through_the_front_door(tirada: Tirada) -> None:
    done = tirada("brand", "--metadata", OLD, "--draft", "--seed", 1, "--age", 16)
    assert done.code == 0, done.err
    assert "--age 16 is taken, instead of age 30 in the metadata." in done.err
    info = info_of(done.folders[0])
    assert info["size"] == "640x720"
    assert "teenage boy" in info["prompt"] and "At the sea" not in info["title"]
    assert "at the sea" in info["prompt"]


# --- kits of the user's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", kits.names(ROOT / "data"))
def test_the_kits_that_come_along_are_sound(name: str) -> None:
    kit = kits.load(ROOT / "data", name)
    assert sum(kit.size) <= kit.sides
    for product in kit.products.values():
        assert kit.negative_for(product)
        assert all(any(colour in text for colour in kit.palette) for text in product.colours)
        for text in (*product.subjects, *(scene.text for scene in product.scenes), *product.places, *product.styles):
            assert not text.endswith("."), text
            assert kit.breach(product, text) is None, text


def test_the_bank_is_as_its_brand_says() -> None:
    assert dict(BANK.palette) == {"light salmon": "#FFA07A", "pale turquoise": "#AFEEEE", "royal blue": "#4169E1"}
    assert (BANK.size, BANK.sides) == ((720, 720), 3500)
    assert list(BANK.products) == ["people", "car", "house", "credit card"]
    groups = [BANK.age_group(age) for age in (10, 11, 17, 18, 25, 26, 50, 51)]
    names = [group.name for group in groups if group is not None]
    assert names == ["child", *["teenager"] * 2, *["young adult"] * 2, *["adult"] * 2, "senior"]


SMALL = """\
title = "Shop"
description = "A shop."
size = "256x256"
places = ["on a shelf"]
lights = ["daylight"]
styles = ["a photograph"]
[palette]
teal = "#008080"
[products.lamp]
subjects = ["a lamp"]
scenes = ["switched on"]
"""


def test_a_small_kit_is_enough(tirada: Tirada) -> None:
    folder = Path("own/brands")
    folder.mkdir(parents=True)
    (folder / "shop.toml").write_text(SMALL, encoding="utf-8")
    done = tirada("brand", "--kit", "shop", "--draft", DATA_DIR="own")
    assert done.code == 0, done.err
    info = info_of(done.folders[0])
    assert info["prompt"] == (
        "A photograph: a lamp, switched on, on a shelf. The light is daylight. The colour is teal. It fills most of the"
        " picture."
    )
    assert 40 <= len(info["description"]) <= 400 and len(info["metatags"]) >= 5


LAMP = "[products.lamp]"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("title =", "titel =", "titel: is not known here. Did you mean 'title'?"),
        ('title = "Shop"', "", "title: is missing"),
        ('title = "Shop"', 'title = " "', "title: is empty"),
        ('title = "Shop"', "title = 3", "title: must be a text, not 3"),
        ('"256x256"', '"large"', "size: must be WIDTHxHEIGHT in pixels, e.g. 720x720, not 'large'"),
        ('"256x256"', '"3000x600"', "size: is 3600 pixels wide and high together, more than width_plus_height = 3500"),
        ('"256x256"', '"32x600"', "size: must be at least 64 pixels a side"),
        ('title = "Shop"', 'title = "Shop"\nmin_palette = 50', "min_palette: must be 0 to 1, not 50"),
        ('"#008080"', '"teal"', "palette.teal: must be a hex code such as #FFA07A, not 'teal'"),
        ('"#008080"', '"#008080"\ngreen = "#008080"', "palette.green: is the same colour as 'teal'"),
        ('teal = "#008080"', "", "palette: must have 1 to 12 colours, not 0"),
        ('["on a shelf"]', '"on a shelf"', "places: must be a list, not 'on a shelf'"),
        ('["on a shelf"]', '["", 3]', "places: entry 2 must be a text, and not empty"),
        ('places = ["on a shelf"]', "", "products.lamp.places: is missing here, and the kit has none for all products"),
        ('subjects = ["a lamp"]', "", "products.lamp.subjects: is missing"),
        ('subjects = ["a lamp"]', "people = true", "products.lamp.people: needs [[ages]]"),
        ('["switched on"]', "[3]", "products.lamp.scenes: entry 1 must be a text, or {"),
        ('["switched on"]', '[{text = "on", age = []}]', "scenes[1].age: is not known here. Did you mean 'ages'?"),
        ('["switched on"]', '[{text = "on", ages = ["old"]}]', "there is no age group 'old'. There are none"),
        (LAMP, f'[models]\ndale = "x"\n{LAMP}', "models.dale: there is no such backend. Did you mean 'dalle'?"),
        (LAMP, f'[[rules]]\nname = "x"\n{LAMP}', "rules[1]: says nothing: it needs a prompt, a negative or words"),
        (
            LAMP,
            f'[[rules]]\nname = "x"\nproducts = ["lamb"]\nprompt = "y"\n{LAMP}',
            "rules[1].products: there is no product 'lamb'. Did you mean 'lamp'?",
        ),
        ("[palette]", "[palette", "it is not valid TOML"),
    ],
)
def test_faults_of_a_kit_say_where(before: str, after: str, says: str) -> None:
    kit, faults = read("shop", SMALL.replace(before, after, 1))
    assert kit is None
    assert any(says in fault for fault in faults), faults


AGES = """
[[ages]]
name = "young"
from = 10
to = 30
male = "a"
female = "b"
anyone = "c"
[[ages]]
name = "old"
from = 30
to = 20
male = "a"
female = "b"
anyone = "c"
"""


def test_faults_of_age_groups() -> None:
    whole = SMALL.replace('subjects = ["a lamp"]', "people = true")
    whole = whole.replace('["switched on"]', '[{text = "on", ages = ["young"]}]')
    assert read("shop", whole + AGES)[1] == [
        "ages[2].to: is 20, before 'from', 30",
        "products.lamp.scenes: there is none for the age group 'old'",
    ]
    assert "ages[2].from: 30 to 40 overlaps the group 'young'" in read("shop", whole + AGES.replace("20", "40"))[1]


def test_kits_that_are_not_there_or_not_sound(tirada: Tirada) -> None:
    assert "There is no kit 'bnak'. Did you mean 'bank'?" in tirada("brand", "--kit", "bnak").err
    assert "There are: bakery, bank, cycling." in tirada("brand", "--kit", "../roles/artist").err
    folder = Path("own/brands")
    folder.mkdir(parents=True)
    (folder / "shop.toml").write_text(SMALL.replace("title", "titel"), encoding="utf-8")
    broken = tirada("brand", "--kit", "shop", DATA_DIR="own")
    assert broken.code == 3
    assert "titel: is not known here" in broken.err and "title: is missing" in broken.err
    with pytest.raises(SetupError, match="No kits found"):
        kits.load(Path("nowhere"), "bank")
