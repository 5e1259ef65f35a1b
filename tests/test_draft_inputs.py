"""Drafts that start from a picture, keep part of it, or take their colours from others."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.backends.draft import DraftBackend
from models.backends.drawing.colours import to_lab
from models.backends.drawing.tones import COUNT, tones
from models.contract import GeneratedImage, ImageRequest
from models.errors import UnsupportedRequest
from tests.cli_tools import TINY, Tirada, prompts
from tests.run_tools import check_output

SIZE = (160, 120)
ASKED = ImageRequest(prompt="a lake at dawn", width=SIZE[0], height=SIZE[1], seed=4, title="Lake")


def pixels(request: ImageRequest) -> np.ndarray[Any, Any]:
    answer = DraftBackend().generate([request])[0]
    assert isinstance(answer, GeneratedImage), answer
    assert isinstance(answer.image, Image.Image) and answer.image.mode == "RGB"
    assert answer.image.size == (request.width, request.height)
    return np.asarray(answer.image).astype(np.int16)


def refused(**change: Any) -> UnsupportedRequest:
    with pytest.raises(UnsupportedRequest) as found:
        DraftBackend().check(replace(ASKED, **change))
    assert isinstance(DraftBackend().generate([replace(ASKED, **change)])[0], UnsupportedRequest)
    return found.value


def away(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    return float(np.abs(one - two).mean())


@pytest.fixture
def start() -> Path:
    """A start image of the size that is asked for: stripes."""
    image = Image.new("RGB", SIZE, (230, 80, 40))
    image.paste((20, 120, 140), (0, 0, SIZE[0], SIZE[1] // 2))
    image.save("start.png")
    return Path("start.png")


@pytest.fixture
def mask() -> Path:
    """Its left half may change."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, SIZE[0] // 2, SIZE[1]))
    image.save("mask.png")
    return Path("mask.png")


# --- a picture to start from ----------------------------------------------------------------------------------------


def test_strength_goes_from_the_start_image_to_the_sketch(start: Path) -> None:
    below = np.asarray(Image.open(start)).astype(np.int16)
    sketch = pixels(ASKED)
    steps = [pixels(replace(ASKED, init_image=start, strength=share)) for share in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert np.array_equal(steps[0], below)
    assert np.array_equal(steps[-1], sketch)
    distances = [away(step, below) for step in steps]
    assert distances == sorted(distances) and len(set(distances)) == len(steps)
    assert away(steps[1], below) < away(steps[1], sketch)
    assert away(steps[3], below) > away(steps[3], sketch)


def test_without_a_strength_it_is_three_fifths(start: Path) -> None:
    request = replace(ASKED, init_image=start)
    assert np.array_equal(pixels(request), pixels(replace(request, strength=0.6)))
    assert np.array_equal(pixels(request), pixels(request))


def test_a_start_image_of_another_shape_is_scaled_and_cropped() -> None:
    wide = Image.new("RGB", (600, 100), "red")
    wide.paste("lime", (250, 0, 350, 100))
    wide.save("wide.webp", lossless=True)
    made = pixels(replace(ASKED, init_image=Path("wide.webp"), strength=0.0, width=100, height=100))
    assert np.abs(made[5:95, 5:95] - (0, 255, 0)).max() <= 1


def test_a_photograph_taken_sideways_is_upright() -> None:
    image = Image.new("RGB", (SIZE[1], SIZE[0]), "black")
    image.paste("white", (0, 0, SIZE[1] // 2, SIZE[0]))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise: its left half is the upper one
    image.save("turned.png", exif=exif)
    made = pixels(replace(ASKED, init_image=Path("turned.png"), strength=0.0))
    assert (made[:50] > 250).all() and (made[70:] < 5).all()


def test_what_is_transparent_in_a_start_image_is_white() -> None:
    Image.new("RGBA", SIZE, (0, 0, 0, 0)).save("clear.png")
    assert (pixels(replace(ASKED, init_image=Path("clear.png"), strength=0.0)) == 255).all()


def test_the_new_title_can_be_read_over_an_old_one() -> None:
    large = replace(ASKED, width=320, height=320)
    sketch = pixels(large)
    Image.new("RGB", (320, 320), "white").save("white.png")
    glazed = pixels(replace(large, init_image=Path("white.png"), strength=0.3))
    foot = np.s_[288:304, 16:80]
    assert np.abs(glazed[foot] - sketch[foot]).max() <= 4
    assert away(glazed[100:200], sketch[100:200]) > 20


# --- a mask ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [None, 0.4, 1.0])
def test_only_the_holes_of_a_mask_change(start: Path, mask: Path, strength: float | None) -> None:
    below = np.asarray(Image.open(start)).astype(np.int16)
    free = replace(ASKED, init_image=start, strength=strength)
    made = pixels(replace(free, mask=mask))
    half = SIZE[0] // 2
    assert np.array_equal(made[:, half:], below[:, half:])
    assert np.array_equal(made[:, :half], pixels(free)[:, :half])


def test_a_mask_that_is_scaled_keeps_to_its_holes(start: Path, mask: Path) -> None:
    double = {"width": SIZE[0] * 2, "height": SIZE[1] * 2}
    still = pixels(replace(ASKED, init_image=start, strength=0.0, **double))
    made = pixels(replace(ASKED, init_image=start, mask=mask, strength=1.0, **double))
    assert np.array_equal(made[:, SIZE[0] :], still[:, SIZE[0] :])
    assert away(made[:, : SIZE[0]], still[:, : SIZE[0]]) > 10


# --- references -----------------------------------------------------------------------------------------------------


def hue(picture: np.ndarray[Any, Any]) -> tuple[float, float]:
    """How red (or green) and how yellow (or blue) a picture is on the whole, in OKLab."""
    red, green, blue = (int(value) for value in picture.reshape(-1, 3).mean(0))
    return to_lab((red, green, blue))[1:]


def test_references_decide_the_colours_whatever_the_prompt_names() -> None:
    for name in ("crimson", "seagreen"):
        Image.new("RGB", (40, 40), name).save(f"{name}.png")
    prompt = "a meadow in violet tones"
    red, green = (
        pixels(replace(ASKED, prompt=prompt, references=(Path(f"{n}.png"),))) for n in ("crimson", "seagreen")
    )
    assert hue(red)[0] > 0.02 > -0.02 > hue(green)[0]


def test_pages_that_share_a_reference_look_more_alike() -> None:
    def spread(*references: Path) -> float:
        places = ("a beach", "a forest", "a city skyline", "the desert", "a coral reef underwater")
        hues = [hue(pixels(replace(ASKED, prompt=f"{one} by day", references=references))) for one in places]
        return float(np.std(hues, axis=0).sum())

    picture = DraftBackend().generate([replace(ASKED, prompt="a whale under the water", width=320)])[0]
    assert isinstance(picture, GeneratedImage) and isinstance(picture.image, Image.Image)
    picture.image.save("sheet.png")
    assert spread(Path("sheet.png")) < spread() / 2


def test_references_go_with_a_start_image(start: Path) -> None:
    Image.new("RGB", (40, 40), "crimson").save("red.png")
    request = replace(ASKED, init_image=start, references=(Path("red.png"),))
    assert np.array_equal(
        pixels(replace(request, strength=0.0)), pixels(replace(ASKED, init_image=start, strength=0.0))
    )
    assert away(pixels(request), pixels(replace(request, references=()))) > 3


def test_tones_are_those_that_strike_the_eye() -> None:
    image = Image.new("RGB", (200, 100), (20, 40, 60))
    image.paste((240, 230, 200), (0, 0, 200, 30))
    image.paste((250, 120, 20), (90, 60, 100, 70))
    found = tones([image])
    assert set(found) == {(20, 40, 60), (240, 230, 200), (250, 120, 20)}
    assert tones([]) == ()
    assert tones([Image.new("RGB", (3000, 1), "gray")]) == ((128, 128, 128),)
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(tones([Image.fromarray(noise)])) == COUNT


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "value"), [("strength", 0.5), ("mask", Path("mask.png"))])
def test_what_needs_a_start_image(mask: Path, setting: str, value: Any) -> None:
    assert f"A {setting} needs a start image." in str(refused(**{setting: value}))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_strength_out_of_range(start: Path, strength: float) -> None:
    assert "use 0 to 1" in str(refused(init_image=start, strength=strength))


def test_a_mask_must_fit_and_have_holes(start: Path) -> None:
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save("small.png")
    assert "'small.png' is 50x50, its start image 160x120" in str(refused(init_image=start, mask=Path("small.png")))
    Image.new("RGB", SIZE).save("solid.png")
    assert "has no transparent pixels" in str(refused(init_image=start, mask=Path("solid.png")))
    Image.new("RGB", SIZE).save("mask.jpg")
    assert "is a JPEG" in str(refused(init_image=start, mask=Path("mask.jpg")))


def test_references_are_counted_and_looked_at(start: Path) -> None:
    assert "5 reference images are too many" in str(refused(references=(start,) * 5))
    assert "There is no file 'gone.png'" in str(refused(references=(start, Path("gone.png"))))


@pytest.mark.parametrize("setting", ["init_image", "references"])
def test_a_picture_that_ends_in_the_middle(start: Path, setting: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save("whole.png")
    Path("cut.png").write_bytes(Path("whole.png").read_bytes()[:4000])
    value: Any = (Path("cut.png"),) if setting == "references" else Path("cut.png")
    assert "'cut.png' is broken" in str(refused(**{setting: value}))


# --- through the front door -----------------------------------------------------------------------------------------


def test_a_run_of_drafts_from_a_start_image(tirada: Tirada, start: Path, mask: Path) -> None:
    source = prompts("in.csv", "a kettle")
    given = ("--init-image", start, "--mask", mask, "--strength", "0.4", "--reference", start)
    result = tirada(1, TINY, "--draft", "--from", source, *given)
    assert result.code == 0, result.err
    (info,) = check_output(Path("output"))
    assert (Path(info["init_image"]).name, Path(info["mask"]).name, info["strength"]) == ("start.png", "mask.png", 0.4)
    assert [Path(path).name for path in info["references"]] == ["start.png"]


def test_a_start_image_that_is_none_stops_the_run_before_it_starts(tirada: Tirada) -> None:
    Path("text.png").write_text("no picture")
    result = tirada(1, TINY, "--draft", "--init-image", "text.png")
    assert result.code == 2 and "text.png' is no PNG, JPEG or WebP image" in result.err
    assert not Path("output").exists()


def test_a_picture_with_too_many_pixels_is_not_opened() -> None:
    """60,000 pixels a side would take 10 GB, and the file has no hundred bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    Path("bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4))
    assert "has too many pixels" in str(refused(init_image=Path("bomb.png")))
