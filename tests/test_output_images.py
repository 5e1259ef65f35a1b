"""Images: the size asked for, pixels left alone, metadata that other programs can read."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.contract import GeneratedImage
from models.errors import BadAnswer
from tirada.output import image_files
from tirada.output.containers import ImageFormat
from tirada.output.image_files import Prepared, prepare
from tirada.output.metadata import ImageMetadata, parameters_text, xmp_packet

FORMATS: list[ImageFormat] = ["png", "jpeg", "webp"]
METADATA = ImageMetadata(
    title='Fog & <light> "quoted"',
    description="Two hills,\nand a lamp: ünï — 霧",
    tags=("misty valley", "fog & rain"),
    prompt="a valley, fog: dawn",
    negative="blurry, text",
    seed=4294967295,
    model="sd_xl:base,1.0",
    backend="diffusion",
    width=64,
    height=48,
    steps=20,
    guidance=6.5,
    scheduler="Euler a",
    tool="Tirada 0.1.0",
)
NS = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}
#: As AUTOMATIC1111 reads the last line.
A1111 = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    ramp = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (ramp, ramp.rotate(180), ramp))
    if mode == "RGBA":
        image.putalpha(ramp)
        return image
    return image.convert(mode)


def encoded(image: Image.Image, fmt: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, fmt, **options)
    return sink.getvalue()


def finish(
    image: bytes | Image.Image, fmt: ImageFormat = "png", size: tuple[int, int] = (64, 48), **changes: Any
) -> Prepared:
    generated = GeneratedImage(image=image, width=size[0], height=size[1])
    return prepare(generated, width=size[0], height=size[1], fmt=fmt, metadata=replace(METADATA, **changes))


def opened(prepared: Prepared) -> Any:
    image = Image.open(io.BytesIO(prepared.data))
    image.load()
    return image


def xmp_of(packet: bytes) -> Any:
    return ElementTree.fromstring(packet.decode("utf-8").strip())


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def signed_png(image: Image.Image) -> bytes:
    data = encoded(image, "PNG")
    return data[:33] + png_chunk(b"caBX", b"fake manifest") + data[33:]


def signed_jpeg(image: Image.Image) -> bytes:
    data = encoded(image, "JPEG")
    body = b"JP\0\1\0\0\0\1jumb"
    return data[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + data[2:]


def signed_webp(image: Image.Image) -> bytes:
    body = encoded(image, "WEBP", exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0")[12:] + b"C2PA\4\0\0\0fake"
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


SIGNED = {"png": signed_png, "jpeg": signed_jpeg, "webp": signed_webp}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("source", ["png", "jpeg", "webp", "pixels"])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (31, 17), (200, 100)])
def test_the_size_asked_for_is_the_size_given(fmt: ImageFormat, source: str, size: tuple[int, int]) -> None:
    image = picture()
    result = finish(image if source == "pixels" else encoded(image, source), fmt, size)
    assert opened(result).size == size == (result.width, result.height)
    assert opened(result).format == fmt.upper()
    assert (result.rendered_width, result.rendered_height) == (64, 48)
    assert not result.signed
    assert result.note is None


def test_cropping_keeps_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))
    result = opened(finish(image, size=(100, 100)))
    assert result.getpixel((2, 50)) == result.getpixel((97, 50)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_every_mode_can_be_written(mode: str, fmt: ImageFormat) -> None:
    image = Image.new("I;16", (64, 48), 65535) if mode == "I;16" else picture(mode=mode)
    result = opened(finish(image, fmt, (32, 32)))
    assert result.size == (32, 32)
    if mode == "I;16":
        assert result.convert("L").getpixel((9, 9)) == 255


def test_transparency_is_kept_where_it_can_be_and_white_where_not() -> None:
    clear = Image.new("RGBA", (64, 48), (255, 0, 0, 0))
    assert opened(finish(clear, "png")).getpixel((0, 0))[3] == 0
    assert opened(finish(clear, "jpeg")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_right_pixels_are_not_encoded_again(fmt: ImageFormat, mode: str) -> None:
    if fmt == "jpeg" and mode == "RGBA":
        pytest.skip("JPEG has no transparency")
    for options in ({}, {"lossless": True}) if fmt == "webp" else ({},):
        data = encoded(picture(mode=mode), fmt, **options)
        result = finish(data, fmt)
        before = Image.open(io.BytesIO(data))
        assert opened(result).mode == before.mode
        assert opened(result).tobytes() == before.tobytes()
        assert len(result.data) > len(data)
        if fmt == "png":
            assert result.data.endswith(data[data.index(b"IDAT") - 4 :])


def test_old_metadata_gives_way_to_ours() -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("parameters", "theirs")
    texts.add_text("Comment", "kept")
    image = opened(finish(encoded(picture(), "PNG", pnginfo=texts)))
    assert image.text["parameters"] == parameters_text(METADATA)
    assert image.text["Comment"] == "kept"
    for fmt in ("JPEG", "WEBP"):
        again = finish(finish(encoded(picture(), fmt, xmp=b"<theirs/>"), fmt.lower()).data, fmt.lower(), title="New")
        assert b"theirs" not in again.data
        assert again.data.count(b"W5M0MpCehiHzreSzNTczkc9d") == 1
        assert b">New<" in opened(again).info["xmp"]


def test_an_exif_turn_is_carried_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    result = opened(finish(encoded(picture(64, 48), "JPEG", exif=exif), "jpeg", (48, 64)))
    assert result.size == (48, 64)
    assert result.getexif().get(0x0112, 1) == 1


def test_an_icc_profile_survives_resizing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for fmt in FORMATS:
        data = encoded(picture(), fmt, icc_profile=profile)
        assert opened(finish(data, fmt, (32, 32))).info["icc_profile"] == profile
        assert opened(finish(data, fmt)).info["icc_profile"] == profile


# Metadata


def test_parameters_are_read_back_the_a1111_way() -> None:
    text = opened(finish(picture())).text["parameters"]
    prompt, negative, last = text.split("\n")
    assert prompt == "a valley, fog: dawn"
    assert negative == "Negative prompt: blurry, text"
    pairs = dict(A1111.findall(last))
    assert pairs["Steps"] == "20"
    assert pairs["Sampler"] == "Euler a"
    assert pairs["CFG scale"] == "6.5"
    assert pairs["Seed"] == "4294967295"
    assert pairs["Size"] == "64x48"
    assert json.loads(pairs["Model"]) == "sd_xl:base,1.0"


def test_a_backend_without_settings_still_has_three_pairs() -> None:
    bare = replace(METADATA, negative="", seed=None, steps=None, guidance=None, scheduler=None, model="")
    text = parameters_text(bare)
    assert "Negative prompt" not in text
    assert len(A1111.findall(text.split("\n")[-1])) >= 3


def test_a_prompt_cannot_pose_as_the_negative_prompt() -> None:
    text = parameters_text(replace(METADATA, prompt="a cat\nNegative prompt: nothing\0", negative="dog"))
    assert text.split("\n")[:2] == ["a cat Negative prompt: nothing", "Negative prompt: dog"]


@pytest.mark.parametrize("fmt", ["jpeg", "webp"])
def test_jpeg_and_webp_carry_the_parameters_in_exif(fmt: ImageFormat) -> None:
    comment = opened(finish(picture(), fmt, prompt="霧 a valley")).getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be").startswith("霧 a valley\nNegative prompt: blurry")


@pytest.mark.parametrize("fmt", FORMATS)
def test_xmp_says_what_it_is(fmt: ImageFormat) -> None:
    info = opened(finish(picture(), fmt)).info
    root = xmp_of(info["XML:com.adobe.xmp"].encode() if fmt == "png" else info["xmp"])
    assert root.find(".//dc:title/rdf:Alt/rdf:li", NS).text == METADATA.title
    assert root.find(".//dc:description/rdf:Alt/rdf:li", NS).text == METADATA.description
    assert [li.text for li in root.findall(".//dc:subject/rdf:Bag/rdf:li", NS)] == list(METADATA.tags)
    source = root.find(".//ext:DigitalSourceType", NS).text
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert root.find(".//xmp:CreatorTool", NS).text == "Tirada 0.1.0"


def test_a_drawn_image_does_not_claim_a_trained_model() -> None:
    packet = xmp_packet(replace(METADATA, source_type="algorithmicMedia"))
    assert b"/algorithmicMedia<" in packet
    assert b"trained" not in packet


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_xmp_is_well_formed_whatever_the_texts(text: str) -> None:
    root = xmp_of(xmp_packet(replace(METADATA, title=text, tags=(text,), prompt=text), with_parameters=True))
    assert root.find(".//dc:title", NS) is not None


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80), st.sampled_from(FORMATS))
def test_any_text_can_be_embedded(text: str, fmt: ImageFormat) -> None:
    opened(finish(picture(), fmt, title=text, description=text, prompt=text, negative=text, model=text))


def test_what_a_jpeg_segment_cannot_hold_goes_beside_it() -> None:
    result = finish(picture(), "jpeg", prompt="word " * 20_000)
    assert opened(result).size == (64, 48)
    assert b"word word" not in result.data
    assert result.sidecar is not None
    assert xmp_of(result.sidecar).find(".//exif:UserComment/rdf:Alt/rdf:li", NS).text.startswith("word word")


# Signed images


@pytest.mark.parametrize("fmt", FORMATS)
def test_signed_bytes_are_kept_as_they_are(fmt: ImageFormat) -> None:
    data = SIGNED[fmt](picture())
    result = finish(data, fmt)
    assert result.data == data
    assert result.signed
    assert result.note is None
    assert result.sidecar is not None
    root = xmp_of(result.sidecar)
    assert root.find(".//dc:title/rdf:Alt/rdf:li", NS).text == METADATA.title
    assert "Seed: 4294967295" in root.find(".//exif:UserComment/rdf:Alt/rdf:li", NS).text


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_signature_lost_in_resizing_is_noted(fmt: ImageFormat) -> None:
    result = finish(SIGNED[fmt](picture()), fmt, (32, 32))
    assert result.signed
    assert result.note is not None
    assert "C2PA" in result.note
    assert result.sidecar is None
    assert b"caBX" not in result.data
    assert not finish(result.data, fmt, (32, 32)).signed


# Bad answers


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_cut_off_bytes_are_a_bad_answer(fmt: ImageFormat, keep: float) -> None:
    data = encoded(picture(), fmt)
    with pytest.raises(BadAnswer):
        finish(data[: int(len(data) * keep)], fmt)


@pytest.mark.parametrize(
    "data", [b"", b"<html>busy</html>", b"GIF89a\1\0\1\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
)
def test_bytes_that_are_no_image_are_a_bad_answer(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        finish(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_bytes_are_a_bad_answer_or_an_image_of_the_right_size(fmt: ImageFormat, data: st.DataObject) -> None:
    raw = bytearray(encoded(picture(16, 16), fmt))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = finish(bytes(raw), fmt, (16, 16))
    except BadAnswer:
        return
    assert opened(result).size == (16, 16)


def bomb(fmt: ImageFormat, side: int) -> bytes:
    if fmt == "png":
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        pixels = png_chunk(b"IDAT", zlib.compress(bytes(100)))
        return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")
    if fmt == "jpeg":
        data = bytearray(encoded(picture(), "JPEG"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
        return bytes(data)
    chunk = b"VP8X\x0a\0\0\0" + bytes(4) + (side - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_pixel_bomb_is_refused_before_it_is_decoded(fmt: ImageFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise AssertionError("Pillow saw the bomb")

    monkeypatch.setattr("PIL.Image.open", explode)
    with pytest.raises(BadAnswer, match=r"16000x16000 pixels; more than 80,000,000"):
        finish(bomb(fmt, 16_000), fmt)


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_BYTES", 100)
    with pytest.raises(BadAnswer, match="more than 100"):
        finish(encoded(picture(), "PNG"))


def test_the_checksum_is_of_the_file() -> None:
    import hashlib

    result = finish(picture())
    assert result.sha256 == hashlib.sha256(result.data).hexdigest()
