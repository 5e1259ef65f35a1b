"""The measure of a palette and the grade towards it: the formula, the table behind it, and what happens to pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.backends.drawing.scene import draw
from tests.cli_tools import ROOT
from tirada.workflows.branding import kit, palette
from tirada.workflows.branding.colour import Floats, ciede2000, to_lab, to_rgb
from tirada.workflows.branding.grade import grade, shift
from tirada.workflows.branding.palette import Fit, exact, measure, rgb_of

BANK = ("#FFA07A", "#AFEEEE", "#4169E1")
PALETTES = [kit.load(ROOT / "data", name).hexes for name in kit.names(ROOT / "data")]
#: L1, a1, b1, L2, a2, b2 and the difference: the test data of Sharma, Wu and Dalal (2005), table 1.
SHARMA = """\
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
PAIRS = np.array([[float(figure) for figure in line.split()] for line in SHARMA.splitlines()])


def flat(colour: str, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, colour)


def halves(left: str, right: str, mode: str = "RGB") -> Image.Image:
    picture = Image.new(mode, (40, 30), left)
    picture.paste(Image.new(mode, (20, 30), right), (20, 0))
    return picture


def noise(side: int = 256, seed: int = 1) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sky(side: int = 200) -> Image.Image:
    """A smooth picture: a gradient in two directions."""
    down, across = np.mgrid[0:side, 0:side] / (side - 1)
    pixels = np.stack([90 + 130 * across, 120 + 90 * down, 210 - 60 * across * down], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8))


# --- the formula ------------------------------------------------------------------------------------------------------


def test_the_difference_is_the_published_one() -> None:
    assert len(PAIRS) == 34
    for one, two in ((PAIRS[:, :3], PAIRS[:, 3:6]), (PAIRS[:, 3:6], PAIRS[:, :3])):
        assert np.abs(ciede2000(one, two) - PAIRS[:, 6]).max() < 0.0001
    assert ciede2000(PAIRS[:, :3], PAIRS[:, :3]).max() == 0


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ("#FFFFFF", (100, 0, 0)),
        ("#000000", (0, 0, 0)),
        ("#808080", (53.585, 0, 0)),
        ("#FF0000", (53.241, 80.092, 67.203)),
        ("#00FF00", (87.735, -86.183, 83.179)),
        ("#0000FF", (32.297, 79.188, -107.860)),
    ],
)
def test_srgb_in_cielab(colour: str, lab: tuple[float, float, float]) -> None:
    """The corners of sRGB with the white of D65, as they are widely published."""
    found = to_lab(rgb_of([colour]))[0]
    assert np.abs(found - lab).max() < 0.02


def test_there_and_back_again() -> None:
    colours = np.random.default_rng(3).random((5000, 3))
    assert np.abs(to_rgb(to_lab(colours)) - colours).max() < 1e-9


# --- the measure ------------------------------------------------------------------------------------------------------


def test_a_picture_in_a_brand_colour_fits_and_another_does_not() -> None:
    for colour in BANK:
        fit = measure(flat(colour), BANK)
        assert fit is not None
        assert (fit.share, fit.shares[colour]) == (1, 1)
        assert fit.mean < 1.5
    green = measure(flat("#1E7B1E"), BANK)
    assert green is not None
    assert (green.share, green.mean > 40, set(green.shares.values())) == (0, True, {0})


def test_each_colour_has_its_share() -> None:
    fit = measure(halves("#4169E1", "#FFA07A"), BANK)
    assert fit is not None
    assert fit.shares == {"#FFA07A": 0.5, "#AFEEEE": 0, "#4169E1": 0.5}
    half = measure(halves("#4169E1", "#101010"), BANK)
    assert half is not None
    assert half.share == 0.5
    assert half.mean == pytest.approx(float(exact(rgb_of(["#101010"]), BANK)[0][0]) / 2, abs=1.5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_left_out(mode: str) -> None:
    clear = halves("#4169E1FF", "#1E7B1E00", "RGBA")
    if mode == "LA":
        # Grey is in none of the colours, and what is clear does not count for that.
        fit = measure(halves("#777777FF", "#00000000", "RGBA").convert("LA"), ("#777777",))
    elif mode == "P":
        picture = clear.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
        picture.info["transparency"] = picture.getpixel((39, 0))
        fit = measure(picture, BANK)
    else:
        fit = measure(clear, BANK)
    assert fit is not None
    assert fit.share == 1
    assert measure(Image.new("RGBA", (8, 8), (255, 160, 122, 127)), BANK) is None
    assert measure(Image.new("RGBA", (8, 8), (255, 160, 122, 128)), BANK) is not None


@pytest.mark.parametrize("colours", PALETTES, ids=["bakery", "bank", "cycling"])
def test_the_table_is_close_to_the_formula(colours: tuple[str, ...]) -> None:
    """The bounds that the module promises: for single pixels, and for the figures of a picture."""
    picture = noise(512)
    pixels = np.asarray(picture).reshape(-1, 3)
    true, nearest = exact(pixels / 255, colours)
    distance = palette._table(colours).distance
    cells = pixels.astype(np.intp) >> (8 - palette.BITS)
    looked_up = distance[cells[:, 0] | cells[:, 1] << palette.BITS | cells[:, 2] << 2 * palette.BITS]
    error = looked_up - true
    assert np.abs(error).max() < 6
    assert np.abs(error).mean() < 0.3
    fit = measure(picture, colours)
    assert fit is not None
    assert fit.mean == pytest.approx(float(true.mean()), abs=0.01)
    check_shares(fit, true, nearest, colours)


@pytest.mark.parametrize("colours", PALETTES, ids=["bakery", "bank", "cycling"])
def test_smooth_pictures_are_measured_as_closely(colours: tuple[str, ...]) -> None:
    """A wall in soft light has most of its pixels in a few cells, and they may all be on the edge of what is near."""
    across, down = np.meshgrid(np.linspace(0, 1, 160), np.linspace(0, 1, 160))
    for start, far, under in (
        ((214, 206, 196), (12, 6, -14), (-30, -24, -20)),
        ((90, 120, 190), (25, 40, 30), (9, 9, 9)),
    ):
        wall = np.array(start) + across[..., None] * far + down[..., None] * under
        wall = wall.round().astype(np.uint8)
        fit = measure(Image.fromarray(wall), colours)
        assert fit is not None
        check_shares(fit, *exact(wall.reshape(-1, 3) / 255, colours), colours)


def check_shares(fit: Fit, true: Floats, nearest: NDArray[np.intp], colours: tuple[str, ...]) -> None:
    near = true <= palette.NEAR
    assert fit.share == pytest.approx(float(near.mean()), abs=0.0005)
    for number, colour in enumerate(colours):
        assert fit.shares[colour] == pytest.approx(float((near & (nearest == number)).mean()), abs=0.001)


def test_pictures_of_any_size_are_measured_whole() -> None:
    """Blocks of pixels are looked at one after the other; none is left out, and none counted twice."""
    side = math.isqrt(palette._BLOCK) + 1
    picture = Image.new("RGB", (side, side), "#4169E1")
    picture.putpixel((side - 1, side - 1), (0, 0, 0))
    fit = measure(picture, BANK)
    assert fit is not None
    assert fit.share == (side * side - 1) / (side * side)


# --- the grade --------------------------------------------------------------------------------------------------------


def test_no_strength_is_the_very_same_picture() -> None:
    picture = noise(16)
    assert grade(picture, BANK, 0) is picture


@pytest.mark.parametrize("colours", PALETTES, ids=["bakery", "bank", "cycling"])
def test_more_strength_is_nearer_to_the_palette(colours: tuple[str, ...]) -> None:
    for picture in (noise(128), sky()):
        fits = [measure(grade(picture, colours, strength), colours) for strength in (0, 0.3, 0.6, 1)]
        means = [fit.mean for fit in fits if fit is not None]
        assert means == sorted(means, reverse=True)
        assert means[3] < means[0] - 1


@pytest.mark.parametrize("seed", range(4))
def test_a_grade_takes_nothing_out_of_the_palette(seed: int) -> None:
    prompt = "a car on a coastal road, light salmon, pale turquoise and royal blue tones"
    picture = draw(prompt, "", seed, 200, 200).convert("RGB")
    before = measure(picture, BANK)
    for strength in (0.4, 1):
        after = measure(grade(picture, BANK, strength), BANK)
        assert before is not None and after is not None
        assert after.share >= before.share - 0.01
        assert after.mean < before.mean


def test_form_stays_only_colour_moves() -> None:
    colours = np.random.default_rng(5).random((4000, 3))
    for strength in (0.4, 1):
        graded = shift(colours, BANK, strength)
        assert graded.min() >= 0 and graded.max() <= 1
        assert np.abs(to_lab(graded)[:, 0] - to_lab(colours)[:, 0]).max() < 0.5


def test_black_white_and_the_brand_colours_stay() -> None:
    for colour in ("#000000", "#FFFFFF"):
        assert np.abs(shift(rgb_of([colour]), BANK, 1) - rgb_of([colour])).max() < 0.01
    stays = ciede2000(to_lab(shift(rgb_of(BANK), BANK, 1)), to_lab(rgb_of(BANK)))
    assert stays.max() < 4


def test_a_smooth_picture_stays_smooth() -> None:
    """No step appears where there was none: neighbours differ by little more than before."""
    before = sky()
    after = grade(before, BANK, 1)
    for axis in (0, 1):
        steps_before, steps_after = (
            np.abs(np.diff(np.asarray(picture).astype(int), axis=axis)).max() for picture in (before, after)
        )
        assert steps_after <= steps_before + 4
    assert len(after.getcolors(maxcolors=1 << 20) or []) > 0.3 * len(before.getcolors(maxcolors=1 << 20) or [])


def test_skin_is_kept_where_it_is_to_be() -> None:
    skins = rgb_of(["#F6D7C3", "#EDB98A", "#D8A38B", "#C68642", "#A1665E", "#8D5524", "#5C3836", "#3B2219"])
    moved, kept = (ciede2000(to_lab(shift(skins, BANK, 0.8, keep_skin=keep)), to_lab(skins)) for keep in (False, True))
    assert kept.max() < 5
    assert kept.mean() < 0.5 * moved.mean()
    other = rgb_of(["#1E7B1E", "#7B1EA8", "#2040FF"])
    assert np.abs(shift(other, BANK, 0.8, keep_skin=True) - shift(other, BANK, 0.8)).max() < 0.01


def test_transparency_is_kept() -> None:
    picture = noise(32).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((32, 32)))
    graded = grade(picture, BANK, 0.5)
    assert (graded.mode, graded.size) == ("RGBA", (32, 32))
    assert graded.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    assert graded.convert("RGB").tobytes() != picture.convert("RGB").tobytes()
