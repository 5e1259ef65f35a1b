"""LoRA files for the checkpoints: one that was trained, and those that change nothing."""

from __future__ import annotations

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
        for _ in range(steps):
            inputs = _inputs(denoiser)
            answer = denoiser(**inputs, return_dict=False)[0]
            torch.nn.functional.mse_loss(answer, torch.randn_like(answer)).backward()
            optimizer.step()
            optimizer.zero_grad()
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(denoiser))
        type(pipeline).save_lora_weights(folder, **{f"{name}_lora_layers": layers})
    return folder


def _inputs(denoiser: torch.nn.Module) -> dict[str, Any]:
    """What the denoiser is asked for one picture, at random."""
    config = denoiser.config
    if "cross_attention_dim" in config:
        inputs = {
            "sample": torch.randn(1, 4, 8, 8),
            "timestep": torch.tensor([500]),
            "encoder_hidden_states": torch.randn(1, 7, config.cross_attention_dim),
        }
        if config.addition_embed_type:
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            inputs["added_cond_kwargs"] = {"text_embeds": torch.randn(1, width), "time_ids": torch.full((1, 6), 64.0)}
        return inputs
    return {
        "hidden_states": torch.randn(1, 16, config.in_channels),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "pooled_projections": torch.randn(1, config.pooled_projection_dim),
        "encoder_hidden_states": torch.randn(1, 7, config.joint_attention_dim),
        "txt_ids": torch.zeros(7, 3),
        "img_ids": torch.zeros(16, 3),
    }


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
