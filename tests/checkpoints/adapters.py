"""IP-Adapters for the checkpoints of UNets, in a folder laid out like the published one (h94/IP-Adapter)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

#: Where the published one has the adapter of each family, and the encoder of pictures they share.
FILES = {"sd": "models/ip-adapter_sd15.safetensors", "sdxl": "sdxl_models/ip-adapter_sdxl_vit-h.safetensors"}
ENCODER = "models/image_encoder"
WIDTH, TOKENS = 16, 4


def write(source: Path, folder: Path) -> Path:
    """The adapter for the UNet of ``source``, an SD or SDXL checkpoint."""
    unet = UNet2DConditionModel.from_pretrained(source / "unet", local_files_only=True)
    context = unet.config.cross_attention_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = {
            "image_proj.proj.weight": torch.randn(TOKENS * context, WIDTH),
            "image_proj.proj.bias": torch.zeros(TOKENS * context),
            "image_proj.norm.weight": torch.ones(context),
            "image_proj.norm.bias": torch.zeros(context),
        }
        # They are numbered as they come, between those that look at the picture only.
        across = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        for number, name in enumerate(across):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for part in ("k", "v"):
                width = getattr(layer, f"to_{part}").out_features
                weights[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = torch.randn(width, context)
        encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                projection_dim=WIDTH,
                num_attention_heads=2,
                num_hidden_layers=2,
                image_size=32,
                patch_size=8,
            )
        )
    file = folder / FILES["sdxl" if unet.config.addition_embed_type else "sd"]
    file.parent.mkdir(parents=True)
    save_file(weights, file)
    encoder.save_pretrained(folder / ENCODER)
    return folder


def write_clip(folder: Path) -> Path:
    """A whole CLIP model, as transformers saves it."""
    shared = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_attention_heads": 2, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CLIPConfig(
            text_config={**shared, "vocab_size": 64},
            vision_config={**shared, "image_size": 32, "patch_size": 8},
            projection_dim=WIDTH,
        )
        CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
