"""What a campaign says to an image model: sparse and detailed prompts, dealt hands, steering, and the catalogues."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from models.writers.checks import ForbiddenNames
from tests.cli_tools import ROOT
from tirada.errors import UsageError
from tirada.workflows.marketing import catalog, detail
from tirada.workflows.marketing.catalog import DEFAULT_INDUSTRY, LISTS, Industry, Style
from tirada.workflows.marketing.prompts import (
    GOALS,
    SHAPES,
    TONES,
    Wish,
    as_written,
    deal,
    dealt,
    negative_of,
    shape_of,
)

DATA = ROOT / "data"
INDUSTRIES = catalog.names(DATA, "industries")
STYLES = catalog.names(DATA, "styles")
SECTORS = {"technology", "retail", "healthcare", "finance", "education", "automotive", "manufacturing", "food"}
SECTORS |= {"travel", "real-estate"}
TECHNOLOGY = catalog.load_industry(DATA, "technology")
PROFESSIONAL = catalog.load_style(DATA, "professional")
WISH = Wish(prompt="Professional product photo of a smartphone", variants=4, shape="square")

# --- sparse or detailed ---------------------------------------------------------------------------------------------

SPARSE = {
    # prompt -> what it speaks of
    "smartphone": "",
    "Professional product photo of a smartphone": "",
    "A photo of a photo of a photo of a picture of an image of a shot of a pic of a photo, please": "",
    "our new electric city bike": "",
    "a light blue kitchen table": "",
    "A light-weight jacket for women who like to be outside a lot": "",
    "a smartphone on a marble table in soft morning light": "setting light",
    "watercolour of a bicycle, close-up, at dusk": "style camera light",
    "Family of four laughing while unpacking moving boxes from their new electric car with the dog watching": "",
    "A bottle of perfume in a shallow pool with white petals, silk ribbon, pearls, orchids, gold dust": "setting",
    "ein Smartphone auf einem Tisch aus Marmor im weichen Licht des Morgens": "",
    "in front of a brick wall": "setting",
    "!?": "",
}
DETAILED = {
    "A ceramic coffee mug on a weathered oak table beside a rain-streaked window, soft grey morning light from the "
    "left, shallow depth of field, muted earthy palette": "setting light camera style",
    "Close-up of a runner's shoes striking a wet pavement at dawn, low angle, water frozen mid-splash, cinematic teal "
    "and orange": "light camera style",
    "Two nurses sharing a joke in a sunny hospital corridor, warm daylight, plants, wooden handrail, pale green "
    "walls, tea trolley": "setting light",
    "red leather armchair, brass lamp, stack of books, sleeping cat, 35 mm lens, vintage colour grade": "camera style",
    " ".join(f"word{number}" for number in range(40)): "",
}


@pytest.mark.parametrize(("prompt", "facets"), SPARSE.items())
def test_sparse_prompts(prompt: str, facets: str) -> None:
    found = detail.look_at(prompt)
    assert not found.detailed
    assert found.facets == set(facets.split())
    assert str(found.words) in found.reason


@pytest.mark.parametrize(("prompt", "facets"), DETAILED.items())
def test_detailed_prompts(prompt: str, facets: str) -> None:
    found = detail.look_at(prompt)
    assert found.detailed
    assert found.facets == set(facets.split())


def test_the_borders_of_the_rule() -> None:
    """12 content words and two facets; one less of either is sparse, as is a text of 39 words without any."""
    nouns = "kettle toaster grinder scales jug tin spoon whisk pan"
    assert detail.look_at(f"{nouns} tray, close-up, at dusk").words == 12
    assert detail.look_at(f"{nouns} tray, close-up, at dusk").detailed
    assert not detail.look_at(f"{nouns}, close-up, at dusk").detailed
    assert not detail.look_at(f"{nouns} tray napkin saucer, at dusk").detailed
    assert not detail.look_at(" ".join(f"word{number}" for number in range(39))).detailed


def test_how_a_setting_is_found() -> None:
    assert detail.look_at("a phone on a slab of black marble, lit from behind").setting == ""
    assert (
        detail.look_at("a phone on a cold black marble surface, lit from behind").setting
        == "on a cold black marble surface"
    )
    assert detail.look_at("kitchen tables").setting == ""


# --- dealing --------------------------------------------------------------------------------------------------------


def test_hands_are_dealt_without_repeats() -> None:
    lists = [("a", "abcdefghijkl"), ("b", "123456789xyz"), ("c", "ABCDEFGH")]
    hands = deal([(name, list(entries)) for name, entries in lists], 144, 7)
    assert hands == deal([(name, list(entries)) for name, entries in lists], 144, 7)
    assert len({(hand["a"], hand["b"]) for hand in hands}) == 144
    for name, entries in lists:
        assert len({hand[name] for hand in hands[: len(entries)]}) == len(entries)
        assert set(Counter(hand[name] for hand in hands).values()) == {144 // len(entries)}
    assert hands != deal([(name, list(entries)) for name, entries in lists], 144, 8)


@pytest.mark.parametrize("name", INDUSTRIES)
def test_variants_of_a_sparse_prompt(name: str) -> None:
    industry = catalog.load_industry(DATA, name)
    scenes = dealt(replace(WISH, variants=60), industry, PROFESSIONAL, 3)
    assert len({scene.prompt for scene in scenes}) == 60
    first = len(industry.settings)
    assert len({scene.facts["setting"] for scene in scenes[:first]}) == first
    for scene in scenes:
        light = f"lit by {scene.facts['light']}" if "light" in scene.facts else PROFESSIONAL.words
        begin = f"{WISH.prompt} {scene.facts['setting']}, with {scene.facts['props']}, {light}, "
        assert scene.prompt.startswith(begin)
        assert all(text in scene.prompt for text in (*scene.facts.values(), PROFESSIONAL.words))
        assert scene.title[1:] == scene.facts["setting"][1:] and scene.title[0].isupper()
        assert "  " not in scene.prompt and ", ," not in scene.prompt and len(scene.prompt) < 900


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("a mug on a marble table.", "setting"),
        ("a mug at sunset", "light"),
        ("a mug, close-up", "view"),
        ("a mug in pastel", "palette"),
    ],
)
def test_what_a_prompt_says_is_not_said_twice(prompt: str, missing: str) -> None:
    for scene in dealt(replace(WISH, prompt=prompt), TECHNOLOGY, None, 3):
        assert scene.facts.keys() | {"light"} == {"setting", "props", "light", "view", "palette"} - {missing} | {
            "light"
        }
        assert missing != "light" or "lit by" not in scene.prompt
        assert scene.prompt.startswith(prompt.rstrip("."))


@pytest.mark.parametrize("name", INDUSTRIES)
def test_a_place_with_a_light_of_its_own_gets_no_other(name: str) -> None:
    lit = re.compile(r"\b(?:light|dusk|dawn|sunlit|sunny|morning|evening|sunrise|skylight)\b")
    scenes = dealt(replace(WISH, variants=60), catalog.load_industry(DATA, name), None, 3)
    assert any("lit by " in scene.prompt for scene in scenes)
    for scene in scenes:
        if lit.search(scene.facts["setting"]):
            assert "lit by " not in scene.prompt and "light" not in scene.facts


def test_nobody_stands_on_a_shelf() -> None:
    industry = catalog.load_industry(DATA, "healthcare")

    def places(prompt: str) -> set[str]:
        return {scene.facts["setting"] for scene in dealt(replace(WISH, prompt=prompt, variants=12), industry, None, 3)}

    things = places("a jar of balm for nurses")
    assert "on a bathroom shelf in morning light" in things and "on a white tray beside a folded towel" in things
    for prompt in ("a friendly nurse", "two doctors talking", "portrait of a woman"):
        assert len(places(prompt)) >= 6
        assert not [place for place in places(prompt) if "shelf" in place or "tray" in place or "surface" in place]


@pytest.mark.parametrize(
    ("prompt", "people"),
    [
        ("a friendly nurse", True),
        ("a family having breakfast", True),
        ("happy customers in a shop", True),
        ("a student loan", False),
        ("a children's book", False),
        ("running shoes for women", False),
        ("team jersey", False),
    ],
)
def test_people_are_told_from_things(prompt: str, people: bool) -> None:
    assert detail.look_at(prompt).people is people


def test_a_detailed_prompt_is_left_as_it_is() -> None:
    (prompt, *_) = DETAILED
    wish = replace(WISH, prompt=f"{prompt}.")
    assert {scene.prompt for scene in as_written(wish, None)} == {f"{prompt}."}
    assert {scene.title for scene in as_written(wish, None)} == {"Variant 1", "Variant 2", "Variant 3", "Variant 4"}
    steered = as_written(replace(wish, tone="calm", cta="Shop now"), PROFESSIONAL)[0].prompt
    assert steered.startswith(f"{prompt}, {PROFESSIONAL.words}, a calm mood with slow, open space, the upper quarter")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tone": "Luxurious"}, "an unhurried, luxurious mood"),
        ({"tone": "Bold & Colorful"}, "a bold, high-contrast mood"),
        ({"tone": "Wistful"}, "a mood that is wistful"),
        ({"goal": "limited time offer"}, "an urgent, bright and generous arrangement"),
        ({"goal": "sell 40 canoes"}, "made for a campaign with one goal: sell 40 canoes"),
        ({"cta": "Shop now"}, "the upper quarter of the picture calm and empty"),
        ({"brand": "Lumo", "shape": "landscape"}, "the left third of the picture calm and empty"),
        ({"cta": "Shop now", "lettering": True}, 'the words "Shop now" lettered once, large and clean, in the upper'),
        ({"brand": "Lumo", "lettering": True}, 'the name "Lumo" lettered small and clean'),
        ({"no_negative": True}, "free of any added text"),
        ({"backdrop": True}, "the middle left free, with a clean surface to stand on"),
    ],
)
def test_options_steer(change: dict[str, object], said: str) -> None:
    plain = dealt(WISH, TECHNOLOGY, PROFESSIONAL, 3)
    for scene, before in zip(dealt(replace(WISH, **change), TECHNOLOGY, PROFESSIONAL, 3), plain, strict=True):  # type: ignore[arg-type]
        assert said in scene.prompt and said not in before.prompt
        assert scene.facts == before.facts
        if not change.get("lettering"):
            assert "Lumo" not in scene.prompt and "Shop now" not in scene.prompt


def test_a_backdrop_is_empty() -> None:
    wish = replace(WISH, prompt="a smartphone on a marble table", backdrop=True)
    for scene in dealt(wish, TECHNOLOGY, PROFESSIONAL, 3):
        assert scene.prompt.startswith("An empty scene for a product photograph on a marble table, with ")
        assert "smartphone" not in scene.prompt


def test_what_is_kept_out() -> None:
    told = negative_of(WISH, TECHNOLOGY, PROFESSIONAL).split(", ")
    assert {*TECHNOLOGY.dont, "text", "watermark", "harsh flash"} <= set(told)
    assert len(told) == len(set(told))
    assert not {"text", "lettering"} & set(negative_of(replace(WISH, lettering=True), TECHNOLOGY, None).split(", "))


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((1024, 1024), "square"),
        ((1100, 1000), "square"),
        ((800, 1000), "portrait"),
        ((900, 1300), "portrait"),
        ((1536, 1024), "landscape"),
        ((4000, 500), "landscape"),
        ((512, 1024), "story"),
        ((64, 4096), "story"),
    ],
)
def test_the_nearest_shape(size: tuple[int, int], shape: str) -> None:
    assert shape_of(*size) == shape


# --- the catalogues -------------------------------------------------------------------------------------------------


def test_every_sector_and_style_there_must_be_is_there() -> None:
    assert set(INDUSTRIES) == SECTORS | {DEFAULT_INDUSTRY}
    assert {"realistic", "professional", "cartoon", "3d", "minimalist", "watercolor"} < set(STYLES)
    assert len(STYLES) >= 10
    assert all(shape_of(*size) == name for name, size in SHAPES.items())


@pytest.mark.parametrize("name", INDUSTRIES)
def test_the_phrases_of_an_industry(name: str) -> None:
    industry: Industry = catalog.load_industry(DATA, name)
    forbidden = ForbiddenNames.load(DATA / "forbidden_names.toml")
    least = {"settings": 10, "props": 10, "lights": 8, "palettes": 8, "views": 6}
    for key in LISTS:
        entries: tuple[str, ...] = getattr(industry, key)
        assert len(entries) >= least[key], key
        for entry in entries:
            assert not re.search(r"[{}\n\t;:]|\.$", entry) and len(entry) <= 70, entry
            assert entry[0].islower(), entry
    places = {"on", "in", "at", "beside", "under", "half", "outdoors", "through"}
    assert {entry.split()[0] for entry in industry.settings} <= places
    everything = " ".join(
        [industry.about, *industry.do, *industry.dont, *(e for k in LISTS for e in getattr(industry, k))]
    )
    assert forbidden.find(everything) is None
    assert all("," not in entry for entry in industry.dont)


@pytest.mark.parametrize("name", STYLES)
def test_the_words_of_a_style(name: str) -> None:
    style: Style = catalog.load_style(DATA, name)
    assert len(style.words.split(", ")) >= 4 and len(style.negative.split(", ")) >= 4
    assert not set(style.words.split(", ")) & set(style.negative.split(", "))


def toml(**changes: str) -> str:
    """A sound industry with some keys written differently; an empty text leaves one out."""
    lists = dict.fromkeys(LISTS, '["on one", "on two", "on three"]')
    keys = {"title": '"Own"', "about": '"Mine."', "do": '["well"]', "dont": '["ill"]', **lists, **changes}
    return "\n".join(f"{key} = {value}" for key, value in keys.items() if value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (toml(title=""), "'title' must be a text"),
        (toml(about='" "'), "'about' must be a text"),
        (toml(settings=""), "'settings' must be a list of texts"),
        (toml(settings='"on one"'), "'settings' must be a list of texts"),
        (toml(lights='["a", 2, "c"]'), "'lights' must be a list of texts"),
        (toml(props='["a", "b"]'), "'props' has 2 entries; give 3 or more"),
        (toml(views='["a", "b", "A"]'), "'views' holds 'a' twice"),
        (toml(views=f'["a", "b", "{"c" * 200}"]'), "an entry of 200 characters"),
        (toml(setings='["a"]'), "unknown key 'setings'; did you mean 'settings'"),
        (toml(zzz="1"), "unknown key 'zzz'; known are about"),
        (toml(lora='"x"'), "'lora' must be a table"),
        (toml(lora="{ weight = 1.0 }"), "'source' must be a text"),
        (toml(lora='{ source = "x", weight = 9 }'), "'lora.weight' must be a number above 0, up to 4"),
        (toml(lora='{ source = "x", trigger = 1 }'), "'lora.trigger' must be a text"),
        (toml(lora='{ source = "x", wieght = 1 }'), "unknown key 'lora.wieght'; did you mean 'weight'"),
        ("title = ", "is no valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file_of_ones_own(text: str, message: str) -> None:
    Path("own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refusal:
        catalog.load_industry(DATA, "own.toml")
    assert message in str(refusal.value) and "own.toml" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "A"\nwords = "b"', "'negative' must be a text"),
        ('title = "A"\nwords = "b"\nnegative = "c"\nguidance = 7', "'guidance' must be a table"),
        ('title = "A"\nwords = "b"\nnegative = "c"\nguidance = { sdapi = "x" }', "'guidance.sdapi' must be a number"),
        ('title = "A"\nword = "b"', "unknown key 'word'; did you mean 'words'"),
    ],
)
def test_what_is_wrong_with_a_style_of_ones_own(text: str, message: str) -> None:
    Path("own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(message)):
        catalog.load_style(DATA, "own.toml")


def test_a_lora_lies_beside_its_file() -> None:
    Path("mine").mkdir()
    Path("mine/own.toml").write_text(toml(lora='{ source = "house.safetensors", trigger = "hse" }'), encoding="utf-8")
    found = catalog.load_industry(DATA, "mine/own.toml").lora
    assert found is not None and (found.source, found.weight, found.trigger) == ("house.safetensors", 1.0, "hse")
    Path("mine/house.safetensors").write_bytes(b"x")
    found = catalog.load_industry(DATA, "mine/own.toml").lora
    assert found is not None and found.source == str(Path("mine/house.safetensors").absolute())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tehcnology", "did you mean 'technology'?"),
        ("qqqq", "or a TOML file of your own"),
        ("no.toml", "There is no file"),
    ],
)
def test_names_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        catalog.load_industry(DATA, name)


def test_names_are_found_as_people_write_them() -> None:
    assert catalog.load_industry(DATA, "Real Estate").name == "real-estate"
    assert catalog.load_style(DATA, "pop_art").name == "pop-art"


def test_the_paper_names_what_there_is() -> None:
    text = (ROOT / "docs" / "campaign.md").read_text(encoding="utf-8")
    listed = text.partition("## Industries and styles")[2].partition("\n\n")[2].partition("\n\n")[0]
    for name in (*INDUSTRIES, *STYLES):
        assert re.search(rf"\b{name}\b", listed), name
    for name in (*TONES, *GOALS):
        assert re.search(rf"\b{name}\b", " ".join(text.split())), name
    for shape, (width, height) in SHAPES.items():
        assert re.search(rf"\| `{shape}`.* \| {width} x {height} \|", text), shape
    assert f"at least {detail.WORDS_DETAILED} content words" in text and f"With {detail.WORDS_ENOUGH} content" in text
