"""LoRA files for the checkpoints: one that was trained, and those that change nothing."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

FILE = "pytorch_lora_weights.safetensors"
LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]


def train(source: Path, folder: Path, *, steps: int = 2) -> Path:
    """Train the layers of attention for two steps, fast enough that the pictures change, and save them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = DiffusionPipeline.from_pretrained(source, local_files_only=True)
        name = "unet" if hasattr(pipeline, "unet") else "transformer"
        denoiser = getattr(pipeline, name).requires_grad_(False)
        denoiser.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=LAYERS))
        learned = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=0.5)
        inputs = _inputs(pipeline, denoiser)
        for _ in range(steps):
            answer = denoiser(**inputs)[0]
            answer = torch.stack(answer) if isinstance(answer, list) else answer
            torch.nn.functional.mse_loss(answer, torch.randn_like(answer)).backward()
            optimizer.step()
            optimizer.zero_grad()
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(denoiser))
        type(pipeline).save_lora_weights(folder, **{f"{name}_lora_layers": layers})
    return folder


class _Seen(Exception):
    """The denoiser was asked."""


def _inputs(pipeline: Any, denoiser: torch.nn.Module) -> dict[str, Any]:
    """What the pipeline asks of its denoiser for a picture, by the names of its arguments."""
    seen: dict[str, Any] = {}

    def look(_module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        names = inspect.signature(denoiser.forward).parameters
        seen.update(zip(names, given, strict=False))
        seen.update(named)
        raise _Seen

    pipeline.set_progress_bar_config(disable=True)
    handle = denoiser.register_forward_pre_hook(look, with_kwargs=True)
    with contextlib.suppress(_Seen):
        pipeline(prompt="a boat", width=64, height=64, num_inference_steps=2)
    handle.remove()
    return {**seen, "return_dict": False}


def strange(source: Path, folder: Path) -> Path:
    """Made for a model of another shape: no layer of ours has its names."""
    prefix = "unet" if (source / "unet").exists() else "transformer"
    layer = f"{prefix}.strange_blocks.7.attentions.0.to_q"
    return _save(folder, {f"{layer}.lora_A.weight": torch.ones(4, 32), f"{layer}.lora_B.weight": torch.ones(32, 4)})


def foreign(source: Path, folder: Path) -> Path:
    """Made for another kind of model: a transformer's for a UNet, and the reverse."""
    prefix = "transformer.transformer_blocks.0.attn" if (source / "unet").exists() else "unet.mid_block.attentions.0"
    layer = f"{prefix}.to_q"
    return _save(folder, {f"{layer}.lora_A.weight": torch.ones(4, 32), f"{layer}.lora_B.weight": torch.ones(32, 4)})


def untrained(source: Path, folder: Path) -> Path:
    """The names are right, the numbers are those before the first step: it adds nothing."""
    train(source, folder, steps=1)
    weights = load_file(folder / FILE)
    for name, value in weights.items():
        if "lora_B" in name or "lora.up" in name:
            weights[name] = torch.zeros_like(value)
    return _save(folder, weights)


def _save(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / FILE)
    return folder


KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "trained": train,
    "strange": strange,
    "foreign": foreign,
    "untrained": untrained,
}
