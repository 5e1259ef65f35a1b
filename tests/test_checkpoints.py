"""The tiny checkpoints that the tests of local rendering stand on: they load like real ones and render."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import checkpoints

pytestmark = [checkpoints.needs("torch", "diffusers"), pytest.mark.filterwarnings("ignore")]

PROMPT = "a quiet fox under the moon"
#: Reading the longest prompt takes most of the time; so many tokens are enough here.
TOKENS = {
    name: 128 if name == "flux2" else 32 for name in checkpoints.FAMILIES if name not in {"sd", "sd-checked", "sdxl"}
}


@cache
def load(name: str, task: str = "text") -> Any:
    checkpoints.settle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image

        if task == "image":
            return AutoPipelineForImage2Image.from_pipe(load(name))
        pipeline = AutoPipelineForText2Image.from_pretrained(checkpoints.checkpoint(name), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def render(pipeline: Any, name: str, *seeds: int, prompt: str = PROMPT, **more: Any) -> list[np.ndarray]:
    import torch

    if name in TOKENS:
        more["max_sequence_length"] = TOKENS[name]
    if name == "kontext":
        more |= {"max_area": 64 * 64, "_auto_resize": False}
    # Those of UNets take the size of the start image; all others would render 1024x1024.
    if "strength" not in more or not hasattr(pipeline, "unet"):
        more |= {"width": 64, "height": 64}
    answer = pipeline(
        prompt=[prompt] * len(seeds),
        num_inference_steps=4 if "strength" in more else 2,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
        **more,
    )
    return list(answer.images)


@pytest.mark.parametrize("name", checkpoints.FAMILIES)
def test_it_loads_renders_and_repeats_itself(name: str) -> None:
    pipeline = load(name)
    first, again, other = (render(pipeline, name, seed)[0] for seed in (7, 7, 8))
    assert first.shape == (64, 64, 3)
    assert np.isfinite(first).all()
    assert first.std() > 0.05, "it is no flat colour"
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("name", checkpoints.FAMILIES)
def test_the_prompt_counts_to_its_last_word(name: str) -> None:
    pipeline = load(name)
    one, other = (render(pipeline, name, 7, prompt=f"{PROMPT} {word}")[0] for word in ("red", "sea"))
    assert np.abs(one - other).max() > 1e-4


def test_what_qwen_image_says_before_a_prompt_is_cut_off_to_the_token() -> None:
    pipeline = load("qwen-image")
    before, _ = pipeline.prompt_template_encode.split("{}")
    assert len(pipeline.tokenizer(before).input_ids) == pipeline.prompt_template_encode_start_idx


@pytest.mark.parametrize("name", checkpoints.FAMILIES)
def test_a_batch_is_its_images_alone(name: str) -> None:
    pipeline = load(name)
    batch = render(pipeline, name, 3, 4, 5)
    for seed, image in zip((3, 4, 5), batch, strict=True):
        assert np.abs(image - render(pipeline, name, seed)[0]).max() < 1e-4


@pytest.mark.parametrize("name", checkpoints.IMAGE_TO_IMAGE)
def test_a_picture_becomes_another(name: str) -> None:
    start = Image.new("RGB", (64, 64), "orange")
    weak, strong = (render(load(name, "image"), name, 7, image=start, strength=share)[0] for share in (0.25, 1.0))
    assert weak.shape == (64, 64, 3)
    assert np.abs(weak - strong).mean() > 0.02


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_a_trained_lora_changes_the_picture(name: str) -> None:
    pipeline = load(name)
    plain = render(pipeline, name, 7)[0]
    pipeline.load_lora_weights(checkpoints.lora(name), weight_name="pytorch_lora_weights.safetensors", adapter_name="a")
    try:
        changed = render(pipeline, name, 7)[0]
    finally:
        pipeline.unload_lora_weights()
    assert np.abs(changed - plain).mean() > 0.01
    assert np.abs(render(pipeline, name, 7)[0] - plain).max() < 1e-6


def test_an_untrained_lora_changes_nothing() -> None:
    pipeline = load("sdxl")
    plain = render(pipeline, "sdxl", 7)[0]
    pipeline.load_lora_weights(checkpoints.lora("sdxl", "untrained"), adapter_name="a")
    try:
        assert np.abs(render(pipeline, "sdxl", 7)[0] - plain).max() < 1e-6
    finally:
        pipeline.unload_lora_weights()


def test_the_odd_ones() -> None:
    assert not render(load("sd-prude"), "sd-prude", 7)[0].any()
    assert np.isnan(render(load("sdxl-nan"), "sdxl-nan", 7)[0]).all()
    folder = checkpoints.checkpoint("sdxl-pickled")
    assert not list(folder.glob("unet/*.safetensors"))
    assert list(folder.glob("unet/*.bin"))


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_an_adapter_lets_pictures_speak(name: str) -> None:
    from tests.checkpoints.adapters import ENCODER, FILES

    pipeline = load(name)
    plain = render(pipeline, name, 7)[0]
    where, file = FILES[name].split("/")
    pipeline.load_ip_adapter(
        str(checkpoints.adapter(name)), subfolder=where, weight_name=file, image_encoder_folder=ENCODER
    )
    try:
        red, blue = (
            render(pipeline, name, 7, ip_adapter_image=Image.new("RGB", (80, 60), colour))[0]
            for colour in ("red", "blue")
        )
        pipeline.set_ip_adapter_scale(0.0)
        silent = render(pipeline, name, 7, ip_adapter_image=Image.new("RGB", (80, 60), "red"))[0]
    finally:
        pipeline.unload_ip_adapter()
    assert np.abs(red - blue).mean() > 0.001
    assert np.abs(silent - plain).max() < 1e-5


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_one_file_is_the_same_as_the_folder(name: str, suffix: str) -> None:
    pipeline = load(name)
    file, folder = checkpoints.single_file(name, suffix), checkpoints.checkpoint(name)
    other = type(pipeline).from_single_file(str(file), config=str(folder), local_files_only=True)
    other.set_progress_bar_config(disable=True)
    # Weights that lie elsewhere in memory may be summed in another order, on some processors.
    assert np.allclose(render(pipeline, name, 7)[0], render(other, name, 7)[0], atol=1 / 255)


def test_one_file_tells_its_family() -> None:
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

    for name, kind in (("sd", "v1"), ("sdxl", "xl_base")):
        weights = load_single_file_checkpoint(str(checkpoints.single_file(name)))
        assert infer_diffusers_model_type(weights) == kind


def test_a_checkpoint_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    for name in ("sdxl", "flux"):
        mine = checkpoints.build(name, tmp_path / name)
        shared = checkpoints.checkpoint(name)
        files = sorted(path.relative_to(mine) for path in mine.rglob("*") if path.is_file())
        assert files == sorted(path.relative_to(shared) for path in shared.rglob("*") if path.is_file())
        for path in files:
            assert (mine / path).read_bytes() == (shared / path).read_bytes(), path
