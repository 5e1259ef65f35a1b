"""``--keep-product``: a product's pixels come out as they went in, whatever cuts it out or renders around it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from tests.backend_tools import never_pause
from tests.cli_tools import Tirada, info_of
from tests.flux_tools import KEY
from tests.sdapi_tools import work
from tests.servers.bfl_api import BflServer
from tests.servers.openai_api import OpenAIServer
from tests.servers.sd_webui import SdWebui
from tests.servers.stability_api import StabilityServer
from tests.stability_tools import KEY as STABILITY_KEY
from tests.test_campaign import WISH, campaign_of, sent_pictures, striped
from tirada.errors import UsageError
from tirada.workflows.marketing.cutout import cut_out
from tirada.workflows.marketing.inputs import decoded, in_srgb, read_file
from tirada.workflows.marketing.product import composite, place_product

SIZE = (120, 90)
#: Where the product is.
BOX = (40, 20, 80, 70)
WHITE, RED = (250, 250, 248), (180, 40, 40)
KEEP = ("--keep-product", "--size", "120x90", "--seed", "7", "--variants", "2")
Pixels = np.ndarray[Any, Any]


def speckled(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = BOX, ground: Any = WHITE) -> Image.Image:
    """A product that has no two pixels alike, on a plain ground."""
    picture = Image.new("RGB", size, ground)
    width, height = box[2] - box[0], box[3] - box[1]
    down, across = np.mgrid[:height, :width]
    product = np.stack([120 + across % 80, 20 + down % 60, 30 + (across + down) % 50], axis=-1).astype(np.uint8)
    picture.paste(Image.fromarray(product), box[:2])
    return picture


def pixels(picture: Image.Image | Path) -> Pixels:
    return np.asarray((Image.open(picture) if isinstance(picture, Path) else picture).convert("RGB")).astype(int)


def within(array: Pixels, box: tuple[int, int, int, int] = BOX) -> Pixels:
    return array[box[1] : box[3], box[0] : box[2]]


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Image.Image:
    mask = Image.new("RGBA", size, (0, 0, 0, 0))
    mask.paste((0, 0, 0, 255), box)
    return mask


def made(folder: Path) -> list[Path]:
    return [folder / image["file"] for image in info_of(folder)["images"]]


# --- the very pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mask", "transparency", "background #fafaf8"])
def test_the_products_pixels_are_unchanged(tirada: Tirada, by: str) -> None:
    base, more = speckled(), []
    if by == "mask":
        # A ground that no colour could be told from.
        base = Image.open(striped("ground.png", SIZE))
        base.paste(speckled().crop(BOX), BOX[:2])
        mask_of(BOX).save("mask.png")
        more = ["--mask", "mask.png"]
    elif by == "transparency":
        base.putalpha(mask_of(BOX).getchannel("A"))
    base.save("base.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP, *more)
    assert done.code == 0, done.err
    (folder,) = done.folders
    for file in made(folder):
        kept = pixels(file)
        assert np.array_equal(within(kept), within(pixels(base.convert("RGB"))))
        # Its surroundings are new.
        assert np.abs(kept[:15] - pixels(base)[:15]).mean() > 3
    info = info_of(folder)
    assert {image["facts"]["product"] for image in info["images"]} == {"2,000 of 2,000 pixels unchanged"}
    assert campaign_of(folder)["base_image"]["cut_by"] == by
    assert campaign_of(folder)["base_image"]["used"] == "product kept; the rest painted anew around it"


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_they_are_those_that_a_lossy_file_shows(tirada: Tirada, form: str) -> None:
    speckled().save("base.bin", form, quality=85)
    mask_of(BOX).save("mask.png")
    done = tirada("campaign", WISH, "--base-image", "base.bin", *KEEP, "--mask", "mask.png")
    assert done.code == 0, done.err
    for file in made(done.folders[0]):
        assert np.array_equal(within(pixels(file)), within(pixels(Path("base.bin"))))


def test_a_smaller_picture_is_centred_and_never_enlarged(tirada: Tirada) -> None:
    speckled().save("base.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP, "--size", "400x300")
    assert done.code == 0, done.err
    moved = (BOX[0] + 140, BOX[1] + 105, BOX[2] + 140, BOX[3] + 105)
    assert np.array_equal(within(pixels(made(done.folders[0])[0]), moved), within(pixels(speckled())))
    assert "never enlarged" in done.err
    assert campaign_of(done.folders[0])["base_image"]["scale"] == "1"


def test_a_larger_picture_is_scaled_once(tirada: Tirada) -> None:
    big = speckled((480, 360), (160, 80, 320, 280))
    big.save("base.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP)
    assert done.code == 0, done.err
    one, two = (pixels(file) for file in made(done.folders[0]))
    inner = (BOX[0] + 2, BOX[1] + 2, BOX[2] - 2, BOX[3] - 2)
    assert np.array_equal(within(one, inner), within(two, inner))
    smaller = pixels(big.resize(SIZE, Image.Resampling.LANCZOS))
    assert np.abs(within(one, inner) - within(smaller, inner)).max() <= 1
    assert campaign_of(done.folders[0])["base_image"]["scale"] == "0.25"


def test_a_product_survives_its_sitting_and_its_file(tirada: Tirada, openai: OpenAIServer) -> None:
    base = speckled()
    base.save("base.png")
    mask_of(BOX).save("mask.png")
    options = ("--base-image", "base.png", "--mask", "mask.png", *KEEP, "--writer", "composer")
    started = tirada("campaign", WISH, "--dalle", *options, "--budget", "0.01", "--json")
    assert (started.code, started.json["done"]) == (5, 1), started.err
    Path("base.png").unlink()
    Path("mask.png").unlink()
    again = tirada("resume", "--budget", "1", "--json")
    assert (again.code, again.json["done"]) == (0, 2), again.err
    forms = [one.json for one in openai.requests if one.path.endswith("/images/edits")]
    assert len(forms) == 2 and all({"image", "mask"} <= {*form} or {"image[]", "mask"} <= {*form} for form in forms)
    for file in made(Path(again.json["folders"][0])):
        assert np.array_equal(within(pixels(file)), within(pixels(base)))


def test_what_is_kept_upright_and_in_srgb(tirada: Tirada) -> None:
    """A phone's picture lies on its side and has a profile of its own: colours, not numbers, are kept then."""
    upright = speckled()
    exif = Image.Exif()
    exif[0x0112] = 6
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    upright.transpose(Image.Transpose.ROTATE_90).save("base.png", exif=exif)
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP)
    assert np.array_equal(within(pixels(made(done.folders[0])[0])), within(pixels(upright)))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, same in ((srgb, True), (b"no profile", True), (own, True)):
        upright.info["icc_profile"] = profile
        plain = in_srgb(upright)
        assert np.array_equal(pixels(plain), pixels(upright)) == same and "icc_profile" not in plain.info


# --- backends -------------------------------------------------------------------------------------------------------


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> Iterator[SdWebui]:
    with SdWebui() as server:
        monkeypatch.setenv("STABLE_DIFFUSION_URL", server.url)
        yield server


def test_a_backend_with_masks_paints_around_it(tirada: Tirada, webui: SdWebui) -> None:
    speckled((512, 384), (160, 96, 352, 288)).save("base.png")
    done = tirada("campaign", WISH, "--sdapi", "--base-image", "base.png", *KEEP, "--size", "512x384")
    assert done.code == 0, done.err
    request = work(webui)[0]
    start, mask = sent_pictures(request)
    assert request["denoising_strength"] == 0.95
    white = np.asarray(mask.convert("L").resize((512, 384))) > 127
    assert not within(white, (162, 98, 350, 286)).any() and white[:90].all() and white[:, :150].all()
    inner = (180, 120, 330, 260)
    sent, own = (within(pixels(picture), inner) for picture in (start.resize((512, 384)), Image.open("base.png")))
    assert np.abs(sent - own).mean() < 3


def test_a_backend_without_start_images_renders_the_scene(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    never_pause(monkeypatch.setattr)
    speckled((320, 256), (120, 60, 200, 200)).save("base.png")
    with BflServer(key=KEY) as server:
        settings = {"BFL_API_KEY": KEY, "BFL_BASE_URL": server.url}
        options = ("--base-image", "base.png", *KEEP, "--size", "320x256", "--yes")
        done = tirada("campaign", "a red box on a marble table", "--flux-api", *options, **settings)
        assert done.code == 0, done.err
        kept = tirada("campaign", "a red box", "--flux-api", *options, "--enrich", "never", **settings)
        assert kept.code == 0 and "is rendered behind the product too" in kept.err
    (folder,) = done.folders
    told = campaign_of(folder)
    assert told["variants"][0]["prompt"].startswith("An empty scene for a product photograph on a marble table, with")
    assert told["base_image"]["used"] == "product kept; laid over a scene rendered without it"
    assert "takes no start image" in done.err
    for file in made(folder):
        box = (120, 60, 200, 200)
        assert np.array_equal(within(pixels(file), box), within(pixels(Path("base.png")), box))


def test_a_model_without_start_images_renders_the_scene(tirada: Tirada) -> None:
    speckled((320, 256), (120, 60, 200, 200)).save("base.png")
    settings = {"STABILITY_API_KEY": STABILITY_KEY}
    with StabilityServer(key=STABILITY_KEY) as server:
        settings["STABILITY_BASE_URL"] = server.url
        options = ("--stability", "--base-image", "base.png", *KEEP, "--size", "1024x1024")
        done = tirada("campaign", "a red box", *options, **settings)
        assert done.code == 0, done.err
        assert "takes no start image with this model" in done.err
        (folder,) = done.folders
        assert campaign_of(folder)["base_image"]["used"] == "product kept; laid over a scene rendered without it"
        other = tirada("campaign", "a red box", *options, "--model", "sd3.5-medium", "--dry-run", **settings)
        assert other.code == 0 and "takes no start image" not in other.err


def test_a_device_without_an_end_is_no_picture(tirada: Tirada) -> None:
    done = tirada("campaign", "a red box", "--base-image", "/dev/zero")
    assert done.code == 2 and "is larger than 32 MB" in done.err


# --- cutting --------------------------------------------------------------------------------------------------------


def smooth(ground: tuple[int, int, int], colour: tuple[int, int, int] = RED) -> tuple[Image.Image, Pixels]:
    """A disc with a smooth edge, and how much of each pixel it covers (0 to 255)."""
    cover = Image.new("L", (800, 800))
    ImageDraw.Draw(cover).ellipse((160, 160, 640, 640), fill=255)
    cover = cover.resize((200, 200), Image.Resampling.BOX)
    picture = Image.new("RGB", (200, 200), ground)
    picture.paste(colour, mask=cover)
    return picture, np.asarray(cover).astype(int)


@pytest.mark.parametrize("ground", [(255, 255, 255), (20, 20, 24), (60, 160, 90)], ids=["white", "black", "green"])
def test_no_rim_of_the_old_background_comes_along(ground: tuple[int, int, int]) -> None:
    picture, cover = smooth(ground)
    cut = cut_out(picture.convert("RGBA")).image
    alpha = np.asarray(cut.getchannel("A")).astype(int)
    inner = (cover > 0.1 * 255) & (cover < 0.88 * 255)
    assert np.abs(alpha - cover)[inner].max() <= 24 and np.abs(alpha - cover)[inner].mean() < 8
    new = composite(Image.new("RGB", (200, 200), RED), cut)
    assert np.abs(pixels(new) - np.array(RED)).max() <= 30, "on its own colour nothing of the edge is to be seen"


@pytest.mark.parametrize("quality", [90, 70, 50])
def test_traces_of_compression_are_no_product(quality: int) -> None:
    picture, cover = smooth((250, 250, 248), (120, 70, 20))
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    with Image.open(sink) as opened:
        seams = (np.abs(pixels(opened) - np.array((250, 250, 248))).max(axis=-1) > 10) & (cover == 0)
        cut = cut_out(opened.convert("RGBA")).image
    alpha = np.asarray(cut.getchannel("A"))
    assert quality > 70 or seams.sum() > 50, "there is nothing to test"
    near = np.asarray(Image.fromarray((cover > 0).astype(np.uint8)).filter(ImageFilter.MaxFilter(5))) > 0
    assert not alpha[~near].any()
    assert (alpha[cover == 255] == 255).mean() > 0.98


def test_a_hard_edge_is_softened_outside_of_it_only() -> None:
    product = place_product(speckled().convert("RGBA"), mask_of(BOX), SIZE)
    alpha = np.asarray(product.image.getchannel("A"))
    assert (within(alpha) == 255).all()
    assert (alpha == 255).sum() == 2000 and 0 < ((alpha > 0) & (alpha < 255)).sum() <= 2 * (42 + 52)
    assert (np.asarray(product.mask.getchannel("A")) == np.where(alpha == 255, 255, 0)).all()


def test_noise_and_specks_are_no_product() -> None:
    picture = np.asarray(speckled()).astype(int)
    source = np.random.default_rng(3)
    noisy = np.clip(picture + source.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8)
    noisy[5, 5] = noisy[80:82, 110:112] = (0, 0, 0)
    alpha = np.asarray(cut_out(Image.fromarray(noisy).convert("RGBA")).image.getchannel("A"))
    outside = alpha.copy()
    outside[BOX[1] - 1 : BOX[3] + 1, BOX[0] - 1 : BOX[2] + 1] = 0
    assert not outside.any()
    assert (within(alpha, (BOX[0] + 1, BOX[1] + 1, BOX[2] - 1, BOX[3] - 1)) == 255).all()


def test_what_is_enclosed_is_kept_and_told(tirada: Tirada) -> None:
    base = speckled()
    base.paste(WHITE, (50, 35, 70, 55))
    base.save("base.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP)
    assert "20% of the product nearly has its background's colour" in " ".join(done.err.split())
    assert np.array_equal(within(pixels(made(done.folders[0])[0])), within(pixels(base)))


def test_a_clean_background_does_not_leak_into_a_pale_label() -> None:
    """A cream label that reaches the edge of the product, on a background 14 steps away from it."""
    base = speckled()
    base.paste((246, 240, 240), (BOX[0], 35, BOX[2], 55))
    cut = cut_out(base.convert("RGBA"))
    assert (within(np.asarray(cut.image.getchannel("A"))) == 255).all()
    assert np.array_equal(within(pixels(cut.image)), within(pixels(base)))
    assert cut.doubtful > 0.2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("striped", "of the picture's border is near one colour"),
        ("blank", "0.0% of the picture would be left"),
        ("full", "of the picture's border is near one colour"),
        ("clear", "By its transparency, the product is 0.0%"),
        ("faint", "By its transparency, the product is 0.0%"),
    ],
)
def test_pictures_without_a_product(tirada: Tirada, name: str, message: str) -> None:
    make = {
        "striped": lambda: Image.open(striped("ground.png", SIZE)),
        "blank": lambda: Image.new("RGB", SIZE, WHITE),
        "full": lambda: speckled(SIZE, (0, 0, *SIZE)),
        "clear": lambda: Image.new("RGBA", SIZE),
        "faint": lambda: Image.new("RGBA", SIZE, (200, 0, 0, 90)),
    }
    make[name]().save("base.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP)
    said = " ".join(done.err.split())
    assert done.code == 2 and message in said and "Give --mask FILE" in said, said


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda: mask_of(BOX, (60, 45)), "The mask is 60x45, the base image 120x90"),
        (lambda: Image.new("L", SIZE, 255), "The mask has no transparent pixels"),
        (lambda: mask_of((0, 0, 0, 0)), "By the mask, the product is 0.0%"),
    ],
    ids=["size", "opaque", "empty"],
)
def test_masks_that_are_none(tirada: Tirada, mask: Any, message: str) -> None:
    speckled().save("base.png")
    mask().save("mask.png")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP, "--mask", "mask.png")
    assert done.code == 2 and message in " ".join(done.err.split()), done.err


def test_a_mask_that_is_no_picture(tirada: Tirada) -> None:
    speckled().save("base.png")
    Path("mask.png").write_text("none")
    done = tirada("campaign", WISH, "--base-image", "base.png", *KEEP, "--mask", "mask.png")
    assert done.code == 2 and "'mask.png' is no image that can be read" in done.err
    with pytest.raises(UsageError, match="is broken"):
        Path("cut.png").write_bytes(Path("base.png").read_bytes()[:-60])
        decoded(read_file(Path("cut.png")), "'cut.png'")


def test_its_measure_is_honest() -> None:
    from tirada.workflows.marketing.product import kept_pixels

    product = place_product(speckled().convert("RGBA"), mask_of(BOX), SIZE).image
    whole = composite(Image.new("RGB", SIZE, "blue"), product)
    assert kept_pixels(whole, product) == (2000, 2000)
    whole.putpixel((50, 50), (0, 0, 0))
    assert kept_pixels(whole, product) == (1999, 2000)
    assert json.dumps(kept_pixels(Image.new("RGB", SIZE), product)) == "[0, 2000]"
