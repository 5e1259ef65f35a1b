"""Which files of a repository are taken, and what is noticed of files that are not whole."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from models.backends.local.files import choose, missing, verify
from models.errors import SetupError

SDXL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "feature_extractor": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
#: As its repository has them, with every format it has ever been given.
SDXL = re.findall(
    r"\S+",
    """
.gitattributes 01.png LICENSE.md README.md model_index.json pipeline.png scheduler/scheduler_config.json
sd_xl_base_1.0.safetensors sd_xl_base_1.0_0.9vae.safetensors sd_xl_offset_example-lora_1.0.safetensors
text_encoder/config.json text_encoder/flax_model.msgpack text_encoder/model.fp16.safetensors text_encoder/model.onnx
text_encoder/model.safetensors text_encoder/openvino_model.bin text_encoder/openvino_model.xml
text_encoder_2/config.json text_encoder_2/model.fp16.safetensors text_encoder_2/model.onnx
text_encoder_2/model.onnx_data text_encoder_2/model.safetensors text_encoder_2/openvino_model.bin
tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json
tokenizer_2/merges.txt tokenizer_2/special_tokens_map.json tokenizer_2/tokenizer_config.json tokenizer_2/vocab.json
unet/config.json unet/diffusion_flax_model.msgpack unet/diffusion_pytorch_model.fp16.safetensors
unet/diffusion_pytorch_model.safetensors unet/model.onnx unet/openvino_model.bin
unet/diffusion_pytorch_model.non_ema.safetensors unet/diffusion_pytorch_model.bin
vae/config.json vae/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors
vae_1_0/config.json vae_1_0/diffusion_pytorch_model.safetensors vae_decoder/model.onnx vae_encoder/config.json
""",
)
SMALL_SDXL = {name for name in SDXL if name.count("/") and name.endswith((".json", ".txt"))}
SMALL_SDXL = {name for name in SMALL_SDXL if not name.startswith(("vae_1_0", "vae_encoder"))} | {"model_index.json"}

FLUX_INDEX = {"transformer": ["diffusers", "FluxTransformer2DModel"], "text_encoder_2": ["transformers", "T5"]}
FLUX_INDEX |= {"_class_name": "FluxPipeline"}  # type: ignore[dict-item]
SHARDS = [f"transformer/diffusion_pytorch_model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
FLUX = [
    "model_index.json",
    "flux1-schnell.safetensors",
    "ae.safetensors",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    *SHARDS,
    "text_encoder_2/config.json",
    "text_encoder_2/model.fp16-00001-of-00002.safetensors",
    "text_encoder_2/model.fp16-00002-of-00002.safetensors",
    "text_encoder_2/model.safetensors.index.fp16.json",
    "text_encoder_2/model-00001-of-00002.safetensors",
    "text_encoder_2/model-00002-of-00002.safetensors",
    "text_encoder_2/model.safetensors.index.json",
]


def chosen(names: list[str], index: dict[str, Any], variant: str = "", **more: Any) -> tuple[set[str], str]:
    found = choose("maker/model", names, index, variant=variant, **more)
    assert len(set(found.files)) == len(found.files)
    return set(found.files), found.variant


@pytest.mark.parametrize(("variant", "part"), [("fp16", ".fp16"), ("", ""), ("bf16", "")])
def test_of_sdxl_the_weights_of_one_precision_are_taken_and_nothing_else(variant: str, part: str) -> None:
    weights = {f"{folder}/model{part}.safetensors" for folder in ("text_encoder", "text_encoder_2")}
    weights |= {f"{folder}/diffusion_pytorch_model{part}.safetensors" for folder in ("unet", "vae")}
    assert chosen(SDXL, SDXL_INDEX, variant) == (SMALL_SDXL | weights, part.removeprefix("."))


def test_small_files_come_first() -> None:
    files = choose("sdxl", SDXL, SDXL_INDEX, variant="fp16").files
    assert files[0] == "model_index.json"
    assert all(name.endswith(".safetensors") for name in files[-4:])
    assert not any(name.endswith(".safetensors") for name in files[:-4])


def test_a_part_without_the_variant_gives_its_plain_weights() -> None:
    names = [name for name in SDXL if name != "vae/diffusion_pytorch_model.fp16.safetensors"]
    files, variant = chosen(names, SDXL_INDEX, "fp16")
    assert variant == "fp16"
    assert {name for name in files if name.startswith("vae/")} == {
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_shards_come_with_their_list() -> None:
    files, variant = chosen(FLUX, FLUX_INDEX)
    assert variant == ""
    assert files == {name for name in FLUX if "fp16" not in name and "/" in name} | {"model_index.json"}
    files, variant = chosen(FLUX, FLUX_INDEX, "fp16")
    assert variant == "fp16"
    assert {name for name in files if name.startswith("text_encoder_2/model")} == {
        name for name in FLUX if "model" in name and "fp16" in name
    }
    assert set(SHARDS) < files


def test_the_older_way_to_name_shards_is_known() -> None:
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    names = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.fp16.safetensors" for i in (1, 2)]
    names += ["unet/diffusion_pytorch_model.fp16.safetensors.index.json", "unet/config.json"]
    other = ["unet/diffusion_pytorch_model.safetensors"]
    assert chosen([*names, *other], index, "fp16") == ({*names, "model_index.json"}, "fp16")


def test_pickles_are_taken_only_where_they_are_allowed_and_needed() -> None:
    names = [name for name in SDXL if name not in ("unet/diffusion_pytorch_model.safetensors",)]
    with pytest.raises(SetupError, match="maker/model has no safetensors files") as caught:
        chosen(names, SDXL_INDEX)
    assert "--allow-pickle" in caught.value.hint
    files, _ = chosen(names, SDXL_INDEX, allow_pickle=True)
    assert {name for name in files if name.endswith(".bin")} == {"unet/diffusion_pytorch_model.bin"}
    files, _ = chosen(SDXL, SDXL_INDEX, allow_pickle=True)
    assert not any(name.endswith(".bin") for name in files)


# --- whole or not -----------------------------------------------------------------------------------------------------


def tensors(data: bytes = b"\0" * 8, said: int | None = None) -> bytes:
    """A safetensors file of one tensor."""
    end = len(data) if said is None else said
    header = json.dumps({"t": {"dtype": "U8", "shape": [end], "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def model(folder: Path, **more: bytes | None) -> list[str]:
    """A model of one part in two shards; ``more`` are further files, or None for those that are not there."""
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files: dict[str, bytes | None] = {
        "model_index.json": json.dumps({"text_encoder": ["transformers", "T5"]}).encode(),
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors.index.json": json.dumps(
            {"weight_map": dict(zip("ab", shards, strict=True))}
        ).encode(),
        **{f"text_encoder/{name}": tensors() for name in shards},
        **more,
    }
    for name, content in files.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    names = [name for name, content in files.items() if content is not None]
    return list(choose("m", names, {"text_encoder": ["transformers", "T5"]}, variant="").files)


def test_a_whole_model_is_whole(tmp_path: Path) -> None:
    files = model(tmp_path)
    assert missing(tmp_path, files) == []
    verify("m", tmp_path, files)


@pytest.mark.parametrize(
    "name", ["model_index.json", "text_encoder/config.json", "text_encoder/model-00002-of-00002.safetensors"]
)
def test_a_file_that_is_gone_is_missed(tmp_path: Path, name: str) -> None:
    files = model(tmp_path)
    (tmp_path / name).unlink()
    assert name in missing(tmp_path, files)
    with pytest.raises(SetupError, match=r"m is incomplete: .* cannot be found\. Try again"):
        verify("m", tmp_path, files)


def test_a_shard_that_only_the_list_names_is_missed(tmp_path: Path) -> None:
    files = model(tmp_path, **{"text_encoder/model-00002-of-00002.safetensors": None})
    assert missing(tmp_path, files) == ["text_encoder/model-00002-of-00002.safetensors"]


def test_a_part_without_weights_is_missed(tmp_path: Path) -> None:
    gone = {f"text_encoder/model-0000{i}-of-00002.safetensors": None for i in (1, 2)}
    gone["text_encoder/model.safetensors.index.json"] = None
    files = model(tmp_path, **gone)
    assert missing(tmp_path, files) == ["the weights of text_encoder"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no header"),
        (b"<html>Not found</html>", "no header"),
        (struct.pack("<Q", 20) + b"x" * 20, "cannot be opened"),
        (tensors(said=9), r"it has \d+ bytes of \d+"),
        (struct.pack("<Q", 2) + b"[]", "cannot be opened"),
        (struct.pack("<Q", 8) + b'{"t": 1}', "cannot be opened"),
    ],
)
def test_broken_weights_are_noticed(tmp_path: Path, content: bytes, why: str) -> None:
    files = model(tmp_path, **{"text_encoder/model-00002-of-00002.safetensors": content})
    with pytest.raises(SetupError, match=why) as caught:
        verify("m", tmp_path, files)
    assert "model-00002-of-00002" in str(caught.value)


def test_a_broken_configuration_is_noticed(tmp_path: Path) -> None:
    files = model(tmp_path, **{"text_encoder/config.json": b"{"})
    with pytest.raises(SetupError, match=r"config\.json' cannot be opened"):
        verify("m", tmp_path, files)
