"""Metadata in the image, beside it, or both: ``--embed``, read back by programs that are not ours."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sd_parsers import Eagerness, ParserManager

from models.contract import GeneratedImage
from tests.test_output_images import FORMATS, METADATA, NS, SIGNED, encoded, opened, picture, xmp_of
from tirada.output import containers
from tirada.output.containers import ImageFormat
from tirada.output.folders import EXTENSIONS
from tirada.output.image_files import Embed, Prepared, prepare

PLAIN = replace(METADATA, prompt="a valley, fog and 霧", model="sd_xl_base", scheduler="DPM++ 2M")
EXIFTOOL = shutil.which("exiftool")
#: (group, name) as exiftool calls them.
XMP = {
    "XMP:Title": PLAIN.title,
    "XMP:Description": PLAIN.description,
    "XMP:Subject": list(PLAIN.tags),
    "XMP:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "XMP:CreatorTool": PLAIN.tool,
}


_SEEN: list[Image.Image] = []


def finish(image: Any, fmt: ImageFormat, embed: Embed, size: tuple[int, int] = (64, 48)) -> Prepared:
    generated = GeneratedImage(image=image, width=size[0], height=size[1])
    return prepare(generated, width=size[0], height=size[1], fmt=fmt, metadata=PLAIN, embed=embed)


def seen_by_a_stranger(data: bytes) -> Any:
    """What sd-parsers, an independent reader, finds in an image."""
    # It remembers what it read by the address of the image, so that none may take the place of one before it.
    _SEEN.append(Image.open(io.BytesIO(data)))
    return ParserManager(eagerness=Eagerness.FAST).parse(_SEEN[-1])


def assert_readable(data: bytes) -> None:
    found = seen_by_a_stranger(data)
    assert found is not None
    (sampler,) = found.samplers
    assert [prompt.value for prompt in sampler.prompts] == [PLAIN.prompt]
    assert [prompt.value for prompt in sampler.negative_prompts] == [PLAIN.negative]
    assert sampler.name == PLAIN.scheduler
    assert sampler.model.name == PLAIN.model
    assert sampler.parameters == {"cfg_scale": "6.5", "seed": "4294967295", "steps": "20"}
    assert found.metadata["Size"] == "64x48"


@pytest.mark.parametrize("embed", ["auto", "always"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_an_independent_reader_finds_the_settings(fmt: ImageFormat, embed: Embed) -> None:
    for image in (picture(), encoded(picture(), fmt)):
        result = finish(image, fmt, embed)
        assert_readable(result.data)
        assert (result.sidecar, result.note) == (None, None)


@pytest.mark.parametrize("fmt", FORMATS)
def test_auto_leaves_signed_bytes_as_they_came(fmt: ImageFormat) -> None:
    data = SIGNED[fmt](picture())
    result = finish(data, fmt, "auto")
    assert result.data == data
    assert result.sidecar is not None
    assert result.note is None


@pytest.mark.parametrize("fmt", FORMATS)
def test_always_embeds_even_into_signed_bytes_and_says_so(fmt: ImageFormat) -> None:
    data = SIGNED[fmt](picture())
    result = finish(data, fmt, "always")
    assert_readable(result.data)
    assert opened(result).convert("RGB").tobytes() == opened(replace(result, data=data)).convert("RGB").tobytes()
    assert result.sidecar is None
    assert result.signed
    assert result.note is not None
    assert "C2PA" in result.note
    assert "taken out" in result.note
    # A signature that does not hold is worse than none.
    assert not containers.is_signed(result.data, fmt)
    assert b"fake" not in result.data and b"jumb" not in result.data


@pytest.mark.parametrize("fmt", FORMATS)
def test_never_leaves_every_byte_alone(fmt: ImageFormat) -> None:
    for data in (encoded(picture(), fmt), SIGNED[fmt](picture())):
        result = finish(data, fmt, "never")
        assert result.data == data
        assert result.note is None
        assert result.sidecar is not None
        root = xmp_of(result.sidecar)
        assert root.find(".//dc:title/rdf:Alt/rdf:li", NS).text == PLAIN.title
        assert "Seed: 4294967295" in root.find(".//exif:UserComment/rdf:Alt/rdf:li", NS).text


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("source", ["pixels", "png", "webp"])
def test_never_puts_nothing_into_what_we_encode_ourselves(fmt: ImageFormat, source: str) -> None:
    image = picture(80, 60) if source == "pixels" else encoded(picture(80, 60), source)
    result = finish(image, fmt, "never")
    assert opened(result).size == (64, 48)
    assert result.sidecar is not None
    assert b"Fog" not in result.data
    assert b"valley" not in result.data
    assert b"xmpmeta" not in result.data


@pytest.mark.parametrize("embed", ["auto", "always", "never"])
def test_a_signature_lost_in_resizing_is_noted_in_each_way(embed: Embed) -> None:
    result = finish(SIGNED["png"](picture()), "png", embed, (32, 32))
    assert result.note is not None
    assert "resizing" in result.note
    assert (result.sidecar is not None) == (embed == "never")


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
@pytest.mark.parametrize("fmt", FORMATS)
def test_exiftool_reads_the_same(fmt: ImageFormat, tmp_path: Path) -> None:
    path = tmp_path / f"01.{EXTENSIONS[fmt]}"
    path.write_bytes(finish(picture(), fmt, "auto").data)
    found = exiftool(path)
    assert {name: found.get(name) for name in XMP} == XMP
    settings = found["PNG:Parameters" if fmt == "png" else "EXIF:UserComment"]
    assert settings.startswith(PLAIN.prompt)
    assert "Sampler: DPM++ 2M" in settings


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
def test_exiftool_reads_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "01.xmp"
    sidecar = finish(picture(), "png", "never").sidecar
    assert sidecar is not None
    path.write_bytes(sidecar)
    found = exiftool(path)
    assert {name: found.get(name) for name in XMP} == XMP
    assert found["XMP:UserComment"].startswith(PLAIN.prompt)


def exiftool(path: Path) -> dict[str, Any]:
    command = [str(EXIFTOOL), "-json", "-G", "-charset", "utf8", str(path)]
    (found,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("scheduler", [None, "Euler a"])
@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("steps", [None, 20])
def test_what_services_do_not_tell_keeps_nobody_from_reading_the_rest(
    fmt: ImageFormat, steps: int | None, seed: int | None, scheduler: str | None
) -> None:
    told = {"steps": steps, "seed": seed, "scheduler": scheduler}
    metadata = replace(PLAIN, guidance=None, model="gpt-image-2.6-flare", backend="dalle", **told)
    image = GeneratedImage(image=picture(), width=64, height=48)
    found = seen_by_a_stranger(prepare(image, width=64, height=48, fmt=fmt, metadata=metadata).data)
    (sampler,) = found.samplers
    assert [prompt.value for prompt in sampler.prompts] == [PLAIN.prompt]
    assert sampler.model.name == "gpt-image-2.6-flare"
    # Nothing is made up.
    said = {"scheduler": sampler.name, "seed": sampler.parameters.get("seed"), "steps": sampler.parameters.get("steps")}
    for name, value in said.items():
        assert value == ("unknown" if told[name] is None else str(told[name])) or told[name] is value is None


@pytest.mark.parametrize("embed", ["auto", "always", "never"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_what_was_signed_is_kept_byte_for_byte_beside_what_was_edited(fmt: ImageFormat, embed: Embed) -> None:
    data = SIGNED[fmt](picture())
    generated = GeneratedImage(image=data, width=64, height=48)

    def edited(touch: Any) -> Prepared:
        return prepare(generated, width=64, height=48, fmt=fmt, metadata=PLAIN, embed=embed, touch=touch)

    changed = edited(lambda seen: seen.point(lambda value: value // 2))
    assert changed.untouched == data
    assert changed.signed and changed.note is not None and "lost in editing" in changed.note
    assert not containers.is_signed(changed.data, fmt)
    assert (changed.sidecar is None) == (embed != "never")
    # A look that changes nothing costs no signature.
    looked = edited(lambda seen: seen)
    assert looked.untouched is None and (looked.data == data) == (embed != "always")
