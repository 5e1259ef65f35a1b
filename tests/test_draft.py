"""The draft backend: same request, same pixels; words of the prompt decide colour and place; nothing makes it fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backends.draft import DraftBackend
from models.backends.drawing.colours import NAMES, from_lab, mix, to_lab
from models.backends.drawing.lettering import legible, title_of
from models.backends.drawing.scene import SCENES
from models.backends.drawing.words import read
from models.contract import GeneratedImage, ImageRequest, Lora
from models.errors import UnsupportedRequest

PLACES = {
    "mountains": "a mountain range",
    "snow": "a snowy tundra",
    "desert": "dunes of the Sahara",
    "meadow": "a wildflower meadow",
    "coast": "a sandy beach",
    "lake": "a quiet lake",
    "underwater": "a coral reef underwater",
    "forest": "a spruce forest",
    "cave": "a deep cave",
    "ruins": "the ruins of a temple",
    "space": "a far planet",
    "city": "a city skyline",
    "street": "a market street",
    "interior": "a small kitchen",
    "studio": "a bottle on a pedestal, studio light",
    "open": "",
}
SUBJECTS = (
    "woman astronaut gull heron oak cat dog wolf fox horse stag bear elephant hare sailboat canoe cottage village"
)
SUBJECTS += " lighthouse tower castle dragon ramen mug bottle vase bread apple koi whale jellyfish balloon rocket taxi"
SUBJECTS += " train shoe book kite greenhouse"


def draw(
    prompt: str, width: int = 160, height: int = 160, seed: int | None = 1, title: str = ""
) -> np.ndarray[Any, Any]:
    request = ImageRequest(prompt=prompt, width=width, height=height, seed=seed, title=title)
    answer = DraftBackend().generate([request])[0]
    assert isinstance(answer, GeneratedImage)
    assert not isinstance(answer.image, bytes)
    assert answer.image.mode == "RGB"
    assert answer.image.size == (answer.width, answer.height) == (width, height)
    return np.asarray(answer.image).astype(np.int16)


def difference(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    return float(np.abs(one - two).mean())


def test_the_same_request_gives_the_same_pixels() -> None:
    for prompt in PLACES.values():
        assert np.array_equal(draw(prompt), draw(prompt))


def test_threads_do_not_disturb_each_other() -> None:
    prompts = list(PLACES.values()) * 2
    alone = [draw(prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, prompts))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_no_seed_is_seed_nought_and_is_reported() -> None:
    assert np.array_equal(draw("a lake", seed=None), draw("a lake", seed=0))
    request = ImageRequest(prompt="a lake", width=64, height=64)
    answers = DraftBackend().generate([request, replace(request, seed=7)])
    assert [answer.seed for answer in answers if isinstance(answer, GeneratedImage)] == [0, 7]
    assert all(isinstance(a, GeneratedImage) and a.cost_usd == Decimal(0) and a.model == "draft" for a in answers)


@pytest.mark.parametrize("prompt", PLACES.values())
def test_another_seed_is_another_composition(prompt: str) -> None:
    pictures = [draw(prompt, seed=seed) for seed in (1, 2, 3)]
    assert min(difference(pictures[a], pictures[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 5


def test_every_place_is_read_and_looks_different() -> None:
    assert set(PLACES) == set(SCENES)
    tones = ", rust, teal and bone white"
    pictures = {}
    for place, prompt in PLACES.items():
        if place != "open":
            assert read(prompt).places[0] == place
        pictures[place] = draw(prompt + tones)
    names = list(pictures)
    for k, one in enumerate(names):
        for two in names[k + 1 :]:
            assert difference(pictures[one], pictures[two]) > 8, (one, two)


@pytest.mark.parametrize("place", ["a beach", "mountains", "a city skyline", "a kitchen", "a meadow"])
def test_named_colours_decide_the_palette(place: str) -> None:
    def distance(picture: np.ndarray[Any, Any], name: str) -> float:
        red, green, blue = (int(v) for v in picture.reshape(-1, 3).mean(0))
        _, a, b = to_lab((red, green, blue))
        _, x, y = to_lab(NAMES[name])
        return float(np.hypot(a - x, b - y))

    for name, other in (("rust", "teal"), ("violet", "ochre"), ("emerald", "crimson")):
        first, second = draw(f"{place}, {name} tones"), draw(f"{place}, {other} tones")
        assert distance(first, name) < distance(second, name)
        assert distance(second, other) < distance(first, other)


def test_light_words_decide_how_dark_it_is() -> None:
    assert draw("a lake at noon").mean() > draw("a lake in moonlight").mean() + 50


def test_colour_words_that_are_things_need_company() -> None:
    assert read("a woman selling salmon by a rose").colours == ()
    assert len(read("on a black-sand beach, rust, teal and bone white tones").colours) == 3
    assert read("all in salmon tones").colours == (NAMES["salmon"],)
    assert read("a house in dark teal and burnt sienna").colours[1] == NAMES["burnt sienna"]


def test_plain_words_are_read() -> None:
    reading = read("Two foxes crossing a frozen river at golden hour, hushed, light rain")
    assert reading.subjects[0] == "fox"
    assert reading.lights[0] == "golden"
    assert reading.moods == ("hushed",)
    assert reading.weather == ("rain",)
    assert read("").places == ()


@given(width=st.integers(64, 200), height=st.integers(64, 200), seed=st.integers(-(2**63), 2**64))
@settings(max_examples=30, deadline=None)
def test_any_size_and_seed(width: int, height: int, seed: int) -> None:
    prompt = list(PLACES.values())[(width * 31 + height) % len(PLACES)]
    draw(prompt, width, height, seed)


@pytest.mark.parametrize("prompt", PLACES.values())
def test_thin_and_tall_pictures(prompt: str) -> None:
    draw(prompt, 640, 64)
    draw(prompt, 64, 640)


def test_the_longest_side() -> None:
    draw("a lighthouse in a thunderstorm", 4096, 64)
    draw("a lighthouse in a thunderstorm", 64, 4096)


@pytest.mark.parametrize("subject", SUBJECTS.split())
def test_every_subject_can_be_drawn(subject: str) -> None:
    for place in ("on a hill, rain", "on a table in a kitchen", "by the sea at night", "in the city, snowfall"):
        draw(f"a {subject} {place}", 96, 96)


@given(st.text(max_size=80), st.text(max_size=400))
@settings(max_examples=25, deadline=None)
def test_any_text(title: str, prompt: str) -> None:
    draw(prompt, 160, 160, 1, title)


@pytest.mark.parametrize(
    "title",
    ["🦊🌊🔥", "山の上の狐", "مدينة", "word " * 80, "x" * 400, "Élan vital — “ça va”", "\x00\n\t", "\ud800"],
    ids=["emoji", "cjk", "arabic", "words", "long", "accents", "control", "surrogate"],
)
def test_lettering_takes_any_title(title: str) -> None:
    draw("a lake", 256, 200, 1, title)
    draw("a lake", 150, 1200, 1, title)


def test_lettering_keeps_what_the_typeface_has() -> None:
    assert legible("Fox 🦊 at dawn") == "Fox at dawn"
    assert legible("山の狐") == ""
    assert title_of("Кит, который", "A red fox, in snow") == "A red fox"
    assert title_of("", "A red fox, in snow") == "A red fox"
    assert title_of("Ember", "A red fox, in snow") == "Ember"


def test_the_title_shows_and_tiny_pictures_have_none() -> None:
    one, two = (draw("a lake", 320, 320, 1, title) for title in ("First light", "Something else entirely"))
    changed = np.argwhere((one != two).any(2))
    assert len(changed)
    assert changed[:, 0].min() > 200
    assert np.array_equal(draw("a lake", 64, 64, 1, "One"), draw("a lake", 64, 64, 1, "Two"))


def test_free_at_the_size_asked() -> None:
    backend = DraftBackend()
    request = ImageRequest(prompt="a lake", negative="blurry", width=100, height=70)
    backend.check(request)
    assert backend.price(request) == Decimal(0)
    assert backend.render_size(request) == (100, 70)
    assert backend.model_for(request) == backend.model_for(replace(request, model="draft")) == "draft"
    assert backend.capabilities.seeds
    assert not backend.capabilities.paid
    assert not backend.capabilities.negative
    backend.close()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"model": "sdxl"}, "sdxl"),
        ({"loras": (Lora("x"),)}, "loras"),
        ({"steps": 4}, "steps"),
        ({"guidance": 0.0}, "guidance"),
        ({"scheduler": "euler"}, "scheduler"),
        ({"options": {"quality": "high"}}, "quality"),
        ({"width": 63}, "width"),
        ({"height": 4097}, "height"),
    ],
)
def test_what_it_does_not_obey_is_refused_by_name(change: dict[str, Any], name: str) -> None:
    request = replace(ImageRequest(prompt="a lake", width=64, height=64), **change)
    with pytest.raises(UnsupportedRequest, match=name):
        DraftBackend().check(request)
    assert isinstance(DraftBackend().generate([request])[0], UnsupportedRequest)


def test_mixing_colours_stays_in_gamut() -> None:
    assert mix((255, 0, 0), (0, 0, 255), 0.0) == pytest.approx((255, 0, 0), abs=1)
    for colour in NAMES.values():
        assert from_lab(*to_lab(colour)) == pytest.approx(colour, abs=2)
