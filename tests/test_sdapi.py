"""The backend ``sdapi`` renders: over HTTP, against the stand-in of an AUTOMATIC1111-style server."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.contract import GeneratedImage, Lora
from models.errors import BadAnswer, ModelError, OutOfCredit, RateLimited, SetupError, Unavailable, UnsupportedRequest
from tests.sdapi_tools import Make, ask, backends, fail, in_base64, picture, render, work
from tests.servers.base import Fault
from tests.servers.sd_webui import SdWebui, encoded

SMALL = base64.b64encode(encoded(64, 64)).decode()


@pytest.fixture
def server() -> Iterator[SdWebui]:
    with SdWebui() as server:
        yield server


@pytest.fixture
def make(server: SdWebui) -> Iterator[Make]:
    with backends(server) as build:
        yield build


# --- what is sent, and what comes back ------------------------------------------------------------------------------


def test_a_plain_request_sends_what_decides_the_image_and_nothing_else(server: SdWebui, make: Make) -> None:
    image = render(make(), ask(768, 512, seed=7, negative="text, watermark"))
    (sent,) = server.requests
    assert sent.path == "/sdapi/v1/txt2img"
    assert "authorization" not in sent.headers
    assert sent.json == {
        "prompt": "A lighthouse on a cliff",
        "negative_prompt": "text, watermark",
        "seed": 7,
        "width": 768,
        "height": 512,
        "batch_size": 1,
        "n_iter": 1,
        "send_images": True,
        "save_images": False,
        "do_not_save_samples": True,
        "do_not_save_grid": True,
        "override_settings": {},
        "override_settings_restore_afterwards": True,
    }
    assert (image.width, image.height) == (768, 512)
    assert (image.seed, image.cost_usd, image.model) == (7, Decimal(0), "v1-5-pruned-emaonly")


def test_every_setting_reaches_the_server_under_its_name(server: SdWebui, make: Make) -> None:
    request = ask(
        prompt="(masterpiece:1.2), a fox <lora:add_detail:0.5>",
        model="sd_xl_base_1.0",
        steps=30,
        guidance=6.5,
        scheduler="dpm++ 2m karras",
        loras=(Lora("pixel-art-xl.safetensors", 0.8), Lora("/loras/add_detail", 1)),
        options={
            "clip_skip": "2",
            "restore_faces": "yes",
            "tiling": "false",
            "schedule": "sgm_uniform",
            "vae": "Automatic",
            "distilled_guidance": "3.5",
        },
    )
    backend = make()
    backend.check(request)
    image = render(backend, request)
    (sent,) = work(server)
    assert sent["prompt"] == (
        "(masterpiece:1.2), a fox <lora:add_detail:0.5> <lora:pixel-art-xl:0.8> <lora:add_detail:1>"
    )
    assert sent["sampler_name"] == sent["sampler_index"] == "DPM++ 2M Karras"
    assert (sent["steps"], sent["cfg_scale"], sent["scheduler"]) == (30, 6.5, "SGM Uniform")
    assert (sent["clip_skip"], sent["restore_faces"], sent["tiling"]) == (2, True, False)
    assert sent["distilled_cfg_scale"] == 3.5
    title = sent["override_settings"].pop("sd_model_checkpoint")
    assert title.startswith("sd_xl_base_1.0.safetensors [")
    assert sent["override_settings"] == {"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 2}
    assert image.model == "sd_xl_base_1.0"
    assert image.details["sampler"] == "DPM++ 2M"
    assert image.details["schedule"] == "SGM Uniform"
    assert image.seed == 1234567890
    assert sent["seed"] == -1


@pytest.mark.parametrize(
    ("asked", "rendered"),
    [
        ((1024, 576), (1024, 576)),
        ((1000, 1000), (1000, 1000)),
        ((1001, 1001), (1008, 1008)),
        ((64, 64), (512, 512)),
        ((4096, 4096), (2048, 2048)),
    ],
)
def test_sizes_are_steps_of_eight_from_what_these_models_can_draw(
    server: SdWebui, make: Make, asked: tuple[int, int], rendered: tuple[int, int]
) -> None:
    backend, request = make(), ask(*asked)
    assert backend.render_size(request) == rendered
    server.picture = SMALL
    image = render(backend, request)
    assert (work(server)[0]["width"], work(server)[0]["height"]) == rendered
    # What came is what is recorded: some servers round in larger steps.
    assert (image.width, image.height) == (64, 64)


def test_the_servers_bytes_are_kept_and_carry_its_text(make: Make) -> None:
    image = render(make(), ask(seed=3))
    assert "Seed: 3" in picture(image.image).info["parameters"]


@pytest.mark.parametrize("flavour", ["a1111", "old", "forge", "drawthings"])
def test_every_flavour_renders(server: SdWebui, make: Make, flavour: Any) -> None:
    server.flavour = flavour
    backend, request = make(), ask(scheduler="DPM++ 2M Karras", seed=2**32 - 1)
    backend.check(request)
    image = render(backend, request)
    assert image.seed == 2**32 - 1
    assert image.model == ("" if flavour == "drawthings" else "v1-5-pruned-emaonly")


def test_a_name_is_looked_up_once(server: SdWebui, make: Make) -> None:
    backend, request = make(model="juggernautXL"), ask(scheduler="Euler")
    for _ in range(3):
        render(backend, request)
    assert len(work(server)) == 3
    assert len(server.requests) == 5


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "PNG"])
def test_other_formats_and_data_urls_are_taken(server: SdWebui, make: Make, fmt: str) -> None:
    kind = fmt.lower()
    server.picture = f"data:image/{kind};base64,{in_base64(Image.new('RGB', (64, 64), 'teal'), fmt)}"
    image = render(make())
    assert picture(image.image).format == fmt


@pytest.mark.parametrize("info", [None, "", "no JSON", "[1]", '{"seed": "7", "sd_model_name": 3}', 7, "[" * 100_000])
def test_an_unreadable_info_costs_no_picture(server: SdWebui, make: Make, info: object) -> None:
    server.faults = [Fault(body={"images": [SMALL], "info": info})]
    image = render(make(), ask(seed=5))
    assert (image.seed, image.model, image.details) == (5, "", {})


# --- start images and masks -----------------------------------------------------------------------------------------


def test_a_start_image_is_cropped_to_the_size_and_sent_with_its_strength(
    server: SdWebui, make: Make, tmp_path: Path
) -> None:
    start = tmp_path / "start.jpg"
    Image.new("RGB", (900, 300), "orange").save(start)
    backend, request = make(), ask(init_image=start, strength=0.4)
    backend.check(request)
    render(backend, request)
    (sent,) = work(server)
    assert server.requests[-1].path == "/sdapi/v1/img2img"
    assert sent["denoising_strength"] == 0.4
    assert "mask" not in sent
    (came,) = sent["init_images"]
    assert picture(came).size == (512, 512)
    assert picture(came).getpixel((5, 5)) == pytest.approx((255, 165, 0), abs=3)


def test_a_mask_is_white_where_ours_is_transparent(server: SdWebui, make: Make, tmp_path: Path) -> None:
    start, mask = tmp_path / "start.png", tmp_path / "mask.png"
    Image.new("RGB", (512, 512), "navy").save(start)
    holes = Image.new("RGBA", (512, 512), (0, 0, 0, 255))
    holes.paste((0, 0, 0, 0), (0, 0, 256, 512))
    holes.save(mask)
    backend = make()
    request = ask(init_image=start, mask=mask, options={"mask_blur": "8"})
    backend.check(request)
    render(backend, request)
    (sent,) = work(server)
    came = picture(sent["mask"])
    assert came.mode == "L"
    assert (came.getpixel((10, 10)), came.getpixel((500, 10))) == (255, 0)
    assert (sent["mask_blur"], sent["inpainting_fill"], sent["inpainting_mask_invert"]) == (8, 1, 0)
    assert sent["inpaint_full_res"] is False
    assert "denoising_strength" not in sent


def test_a_start_image_that_vanished_is_an_error_of_ours(make: Make, tmp_path: Path) -> None:
    assert isinstance(fail(make(), ask(init_image=tmp_path / "gone.png")), UnsupportedRequest)


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=400), UnsupportedRequest),
        (Fault(status=401), SetupError),
        (Fault(status=402), OutOfCredit),
        (Fault(status=403), SetupError),
        (Fault(status=404, code="Not Found"), SetupError),
        (Fault(status=404, body=b"<html>404</html>", content_type="text/html"), SetupError),
        (Fault(status=405, code="Method Not Allowed"), SetupError),
        (Fault(status=404, code="Sampler not found"), UnsupportedRequest),
        (Fault(status=400, code="Sampler not found"), UnsupportedRequest),
        (Fault(status=413), UnsupportedRequest),
        (Fault(status=422), UnsupportedRequest),
        (Fault(status=422, body={"detail": [None, {"loc": 3}]}), UnsupportedRequest),
        (Fault(status=429), RateLimited),
        (Fault(status=500), Unavailable),
        (Fault(status=500, code="RuntimeError"), Unavailable),
        (Fault(status=500, code="OutOfMemoryError"), BadAnswer),
        (Fault(status=500, code="NansException"), BadAnswer),
        (Fault(status=500, body=b"Internal Server Error", content_type="text/plain"), Unavailable),
        (Fault(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(status=504), Unavailable),
        (Fault(status=524), Unavailable),
        (Fault(status=307, headers={"Location": "/login"}), SetupError),
        (Fault(cut=True), Unavailable),
        (Fault(truncate=True), Unavailable),
        (Fault(body=b"<html>Welcome!</html>", content_type="text/html"), BadAnswer),
        (Fault(body=b""), BadAnswer),
        (Fault(body=b'{"images": ["iVBO'), BadAnswer),
        (Fault(body=b"null"), BadAnswer),
        (Fault(body=b"[]"), BadAnswer),
        (Fault(body=b"[" * 200_000), BadAnswer),
        (Fault(body={}), BadAnswer),
        (Fault(body={"images": None}), BadAnswer),
        (Fault(body={"images": []}), BadAnswer),
        (Fault(body={"images": [""]}), BadAnswer),
        (Fault(body={"images": [None]}), BadAnswer),
        (Fault(body={"images": "iVBO"}), BadAnswer),
        (Fault(body={"images": ["no base64!"]}), BadAnswer),
        (Fault(body={"images": ["data:image/png"]}), BadAnswer),
        (Fault(body={"images": ["bm8gcGljdHVyZQ=="]}), BadAnswer),
        (Fault(body={"images": [SMALL[: len(SMALL) // 8 * 4]]}), BadAnswer),
        (Fault(body={"images": [in_base64(Image.new("RGB", (64, 64)))]}), BadAnswer),
        (Fault(body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}), BadAnswer),
    ],
)
def test_every_fault_is_an_error_of_ours(server: SdWebui, make: Make, fault: Fault, expected: type[ModelError]) -> None:
    server.faults = [fault]
    error = fail(make())
    assert type(error) is expected, error
    assert len(work(server)) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=404, code="Not Found"), ["--api", "STABLE_DIFFUSION_URL"]),
        (Fault(status=404, code="Sampler not found"), ["Sampler not found", "DPM++ 2M, Euler a, Euler, DDIM"]),
        (Fault(status=422), ["steps: value is not a valid integer"]),
        (Fault(status=500, code="OutOfMemoryError"), ["not enough memory", "smaller size"]),
        (Fault(status=500, code="NansException"), ["NaN", "--no-half-vae"]),
        (Fault(status=500, code="RuntimeError"), ["same device"]),
        (Fault(status=401), ["user:password@"]),
    ],
)
def test_the_message_says_what_to_do(server: SdWebui, make: Make, fault: Fault, words: list[str]) -> None:
    server.faults = [fault]
    said = str(fail(make()))
    for word in words:
        assert word in said


def test_after_a_fault_the_next_request_goes_through(server: SdWebui, make: Make) -> None:
    server.faults = [Fault(cut=True), Fault(status=500), Fault(truncate=True)]
    backend = make()
    assert [fail(backend).kind for _ in range(3)] == ["unavailable"] * 3
    render(backend)


def test_nobody_at_home_is_told_how_to_start(make: Make) -> None:
    with SdWebui() as gone:
        url = gone.url
    backend = make(url=url)
    error = fail(backend)
    assert isinstance(error, Unavailable)
    assert "cannot be reached" in str(error)
    assert "--api" in str(error)
    assert "STABLE_DIFFUSION_URL" in str(error)
    with pytest.raises(SetupError, match="--api"):
        backend.check(ask())


def test_a_slow_server_is_told_apart_from_a_missing_one(server: SdWebui, make: Make) -> None:
    server.faults = [Fault(delay=30)]
    error = fail(make(timeout=0.2))
    assert isinstance(error, Unavailable)
    assert "REQUEST_TIMEOUT_SECONDS" in str(error)


# --- watching and stopping ------------------------------------------------------------------------------------------


def test_progress_and_interruption_of_an_image_under_way(server: SdWebui, make: Make) -> None:
    backend = make()
    assert backend.progress() is None
    server.hold()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(backend.generate([ask(steps=40)])))
    thread.start()
    assert server.started.wait(10)
    seen = backend.progress()
    backend.interrupt()
    thread.join(10)
    assert seen is not None
    assert seen.share == pytest.approx(0.51)
    assert (seen.step, seen.steps) == (20, 40)
    # The server hands out the half-rendered picture as if nothing had happened.
    assert isinstance(answers[0], Unavailable)
    assert "interrupted" in str(answers[0])
    assert server.interruptions == 1
    render(backend)


def test_a_server_that_cannot_be_interrupted_finishes_its_image(server: SdWebui, make: Make) -> None:
    server.flavour = "drawthings"
    backend = make()
    server.hold()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(backend.generate([ask()])))
    thread.start()
    assert server.started.wait(10)
    with pytest.raises(UnsupportedRequest, match="cannot be interrupted"):
        backend.interrupt()
    server.release()
    thread.join(10)
    assert isinstance(answers[0], GeneratedImage)


def test_nothing_of_ours_under_way_is_no_reason_to_stop_others(server: SdWebui, make: Make) -> None:
    make().interrupt()
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=404),
        Fault(cut=True),
        Fault(body=b"[]"),
        Fault(body={"progress": "half"}),
        Fault(body=b'{"progress": NaN, "state": 3}'),
    ],
)
def test_progress_that_is_not_said_is_none(server: SdWebui, make: Make, fault: Fault) -> None:
    server.faults = [fault]
    assert make().progress() is None


def test_progress_without_steps_is_a_share_alone(server: SdWebui, make: Make) -> None:
    server.faults = [Fault(body={"progress": 1.5, "state": None})]
    assert make().progress() == (1.0, 0, 0)


def test_the_models_are_those_of_the_server(server: SdWebui, make: Make) -> None:
    backend = make()
    names = backend.models()
    assert names == ["v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "juggernautXL.safetensors"]
    for name in names:
        backend.check(ask(model=name))
    server.flavour = "drawthings"
    assert make().models() == []
