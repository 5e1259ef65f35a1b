"""The backend ``dalle`` with pictures of the user's own: images to edit, masks, references."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.backends import dalle_inputs, input_images
from models.errors import BadAnswer, InDoubt, ModelError, OutOfCredit, Refused, UnsupportedRequest
from tests.dalle_tools import KEY, Make, ask, backends, fail, render
from tests.servers.base import Fault
from tests.servers.multipart import Upload
from tests.servers.openai_api import OpenAIServer

EDITS = "/v1/images/edits"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: OpenAIServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def picture(name: str, size: tuple[int, int] = (96, 64), mode: str = "RGB", **options: Any) -> Path:
    """A file in the current folder, in the format of its extension."""
    path = Path(name)
    Image.new(mode, size, 0).save(path, **options)
    return path


def mask(name: str = "mask.png", size: tuple[int, int] = (96, 64)) -> Path:
    return picture(name, size, "RGBA")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_the_image_goes_first_then_the_references_and_no_file_name_leaves(server: OpenAIServer, make: Make) -> None:
    first = picture("geheim señor.png")
    others = (picture("b.webp", (32, 32)), picture("c.jpg", (48, 32)))
    options = {
        "quality": "low",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": "70",
    }
    request = ask(init_image=first, mask=mask(), references=others, options=options)
    backend = make()
    backend.check(request)
    image = render(backend, request)
    assert (image.width, image.height) == (64, 64)
    (sent,) = server.requests
    assert sent.path == EDITS
    form = sent.json
    texts = {name: values for name, values in form.items() if not isinstance(values[0], Upload)}
    assert texts == {
        "model": ["gpt-image-2.6-flare"],
        "prompt": [request.prompt],
        "n": ["1"],
        "size": ["1024x1024"],
        "quality": ["low"],
        "background": ["opaque"],
        "output_format": ["webp"],
        "output_compression": ["70"],
    }
    assert [(file.filename, file.content_type) for file in form["image[]"]] == [
        ("image-1.png", "image/png"),
        ("image-2.webp", "image/webp"),
        ("image-3.jpg", "image/jpeg"),
    ]
    assert [file.data for file in form["image[]"]] == [path.read_bytes() for path in (first, *others)]
    (sent_mask,) = form["mask"]
    assert sent_mask.data == Path("mask.png").read_bytes()


def test_references_alone_are_an_edit_too(server: OpenAIServer, make: Make) -> None:
    render(make(), ask(references=(picture("a.png"),)))
    assert server.requests[0].path == EDITS
    assert len(server.requests[0].json["image[]"]) == 1


def test_sixteen_images_are_taken(server: OpenAIServer, make: Make) -> None:
    request = ask(init_image=picture("a.png"), references=(picture("b.png"),) * 15)
    make().check(request)
    render(make(), request)
    assert len(server.requests[0].json["image[]"]) == 16


def test_compression_goes_out_as_a_number_where_no_file_does(server: OpenAIServer, make: Make) -> None:
    request = ask(options={"output_format": "jpeg", "output_compression": "0"})
    make().check(request)
    render(make(), request)
    assert server.requests[0].json["output_compression"] == 0


@pytest.mark.parametrize(("model", "value"), [("gpt-image-1.5", "high"), ("gpt-image-1-mini", "low")])
def test_input_fidelity_where_the_model_has_it(server: OpenAIServer, make: Make, model: str, value: str) -> None:
    request = ask(model=model, init_image=picture("a.png"), options={"input_fidelity": value})
    make().check(request)
    render(make(), request)
    assert server.requests[0].json["input_fidelity"] == [value]


def test_a_size_that_is_refused_falls_back_here_too(server: OpenAIServer, make: Make) -> None:
    server.free_sizes = False
    render(make(), ask(1024, 576, init_image=picture("a.png")))
    assert [sent.json["size"] for sent in server.requests] == [["1088x608"], ["1024x1024"]]


# --- before any spend -------------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_is_said_before_any_spend(server: OpenAIServer, make: Make) -> None:
    a = picture("a.png")
    Path("empty.png").touch()
    Path("text.png").write_text("no picture")
    Path("half.png").write_bytes(a.read_bytes()[:20])
    picture("a.gif", mode="P")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"init_image": Path("gone.png")}, r"no file 'gone\.png'"),
        ({"init_image": Path()}, "is no file"),
        ({"init_image": Path("empty.png")}, "is empty"),
        ({"init_image": Path("text.png")}, "PNG, JPEG or WebP"),
        ({"init_image": Path("half.png")}, "PNG, JPEG or WebP"),
        ({"init_image": Path("a.gif")}, "PNG, JPEG or WebP"),
        ({"references": (a, Path("gone.png"))}, r"gone\.png"),
        ({"init_image": a, "references": (a,) * 16}, "16 input images at most.*17"),
        ({"references": (a,) * 17}, "16 input images"),
        ({"mask": mask()}, "--init-image"),
        ({"mask": mask(), "references": (a,)}, "--init-image"),
        ({"init_image": a, "mask": a}, "no transparency"),
        ({"init_image": a, "mask": mask("big.png", (96, 65))}, "96x65, the image 96x64"),
        ({"init_image": a, "mask": picture("m.jpg")}, "is a JPEG"),
        ({"init_image": a, "mask": picture("m.webp", mode="RGBA")}, "is a WebP"),
        ({"init_image": a, "strength": 0.5}, "--sdapi or --stability"),
        ({"init_image": a, "options": {"moderation": "low"}}, "no option 'moderation'"),
        ({"init_image": a, "options": {"input_fidelity": "high"}}, "no option 'input_fidelity'"),
        ({"init_image": a, "model": "gpt-image-1-mini", "options": {"input_fidelity": "high"}}, "Use one of: low"),
    ]
    for changes, message in cases:
        with pytest.raises(UnsupportedRequest, match=message):
            make().check(ask(**changes))
    assert server.requests == []


@pytest.mark.parametrize(("limit", "path"), [("BYTES_MAX", "a.png"), ("MASK_BYTES_MAX", "mask.png")])
def test_files_that_are_too_large(make: Make, monkeypatch: pytest.MonkeyPatch, limit: str, path: str) -> None:
    request = ask(init_image=picture("a.png"), mask=mask())
    size = Path(path).stat().st_size
    monkeypatch.setattr(dalle_inputs, limit, size)
    make().check(request)
    monkeypatch.setattr(dalle_inputs, limit, size - 1)
    with pytest.raises(UnsupportedRequest, match="MB is the limit"):
        make().check(request)


def test_the_limits_are_those_of_the_documentation() -> None:
    assert (dalle_inputs.BYTES_MAX, dalle_inputs.MASK_BYTES_MAX) == (50_000_000 - 1, 4_000_000 - 1)


def test_a_palette_with_transparency_can_be_a_mask(make: Make) -> None:
    request = ask(init_image=picture("a.png"), mask=picture("m.png", mode="P", transparency=0))
    make().check(request)
    render(make(), request)


def test_a_thousand_images_open_each_file_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = Image.open

    def counted(path: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(path))
        return original(path, *args, **kwargs)

    request = ask(init_image=picture("once.png"), mask=mask("once-mask.png"), references=(picture("other.png"),))
    monkeypatch.setattr(Image, "open", counted)
    backend = make()
    for _ in range(1000):
        backend.check(request)
        backend.price(request)
    assert sorted(opened) == ["once-mask.png", "once.png", "other.png"]


def test_files_are_read_once_and_again_when_they_change(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture("changing.png")
    reads: list[Path] = []
    original = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert input_images.read_input(path) == input_images.read_input(path)
    assert reads == [path]
    picture("changing.png", (32, 32))
    os.utime(path, ns=(1, 1))
    assert input_images.look_at(path).size == (32, 32)
    assert input_images.read_input(path) == original(path)
    assert reads == [path, path]


def test_little_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_images, "KEPT_MAX", 1000)
    shelf = input_images._Shelf()
    monkeypatch.setattr(input_images, "_shelf", shelf)
    for number in range(20):
        input_images.read_input(picture(f"{number}.png", (64, 64)))
    assert sum(map(len, shelf._kept.values())) <= 1000


def test_a_file_that_vanishes_in_the_middle_fails_that_image(server: OpenAIServer, make: Make) -> None:
    path, backend = picture("a.png"), make()
    render(backend, ask(init_image=path))
    path.unlink()
    assert isinstance(fail(backend, ask(init_image=path)), UnsupportedRequest)
    assert len(server.requests) == 1


# --- refusals and faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=400, code="moderation_blocked"), Refused),
        (Fault(status=400, code="invalid_image_file"), UnsupportedRequest),
        (Fault(status=413), UnsupportedRequest),
        (Fault(status=413, body=b"<html>too large</html>", content_type="text/html"), UnsupportedRequest),
        (Fault(status=402), OutOfCredit),
        (Fault(cut=True), InDoubt),
        (Fault(truncate=True), InDoubt),
        (Fault(body=b"<html>Welcome!</html>", content_type="text/html"), BadAnswer),
    ],
)
def test_every_fault_is_an_error_of_ours(
    server: OpenAIServer, make: Make, fault: Fault, expected: type[ModelError]
) -> None:
    server.faults = [fault]
    error = fail(make(), ask(init_image=picture("a.png")))
    assert type(error) is expected, error
    assert len(server.requests) == 1
    if fault.status == 413:
        assert "smaller" in str(error)


def test_the_policy_reads_prompts_of_edits_too(server: OpenAIServer, make: Make) -> None:
    assert isinstance(fail(make(), ask(prompt="FORBIDDEN", init_image=picture("a.png"))), Refused)
    assert server.billed == 0


def test_pixels_that_are_broken_behind_a_sound_header(server: OpenAIServer, make: Make) -> None:
    path = Path("noise.png")
    Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    request = ask(init_image=path)
    make().check(request)
    error = fail(make(), request)
    assert isinstance(error, UnsupportedRequest)
    assert "Invalid image file" in str(error)


@pytest.mark.parametrize(
    ("words", "again"), [("The mask size does not fit.", False), ("Unsupported 'size' for this model.", True)]
)
def test_only_the_size_to_render_is_tried_again(server: OpenAIServer, make: Make, words: str, again: bool) -> None:
    refusal = {"error": {"message": words, "type": "invalid_request_error"}}
    server.faults = [Fault(status=400, body=refusal)]
    make().generate([ask(1024, 576, init_image=picture("a.png"))])
    assert len(server.requests) == 1 + again


# --- money ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1024, 1024), (64, 64), (300, 700), (3000, 200), (4000, 3000), (513, 512), (1, 1)])
def test_the_estimate_is_what_the_stand_in_then_bills(make: Make, size: tuple[int, int]) -> None:
    backend = make()
    request = ask(prompt="x" * 400, init_image=picture("a.png", size), mask=mask(size=size))
    estimate, image = backend.price(request), render(backend, request)
    assert estimate == image.cost_usd
    assert image.usage["image_in"] % 2 == 0
    assert 0 < image.usage["image_in"] <= 2 * 1536
    assert image.usage["text_in"] == 100 + 64


def test_input_images_cost_by_their_pixels_and_not_without_end(make: Make) -> None:
    backend = make()

    def image_in(*sizes: tuple[int, int]) -> Decimal:
        files = tuple(picture(f"{n}.png", size) for n, size in enumerate(sizes))
        with_files, without = backend.price(ask(references=files)), backend.price(ask())
        assert with_files is not None
        assert without is not None
        text = Decimal(5 * 32 * len(sizes)) / 1_000_000
        return (with_files - without - text) * 1_000_000 / 8

    assert image_in((1024, 1024)) == 1024
    assert image_in((1024, 512)) == 512
    assert image_in((2000, 2000)) == image_in((8000, 6000)) == 1536
    assert image_in((1024, 1024), (1024, 512)) == 1024 + 512


def test_without_a_rule_in_the_catalog_the_price_of_an_edit_is_unknown(make: Make) -> None:
    assert make().price(ask(model="gpt-image-1.5", init_image=picture("a.png"))) is None
