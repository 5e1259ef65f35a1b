"""A checkpoint as one file, with the names its first makers gave the weights: what model sites offer for download.

``StableDiffusionXLPipeline.from_single_file(file, config=folder, local_files_only=True)`` reads it back; ``config`` is
the folder it was made from, as the published sizes are not those of so small a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
#: Layers in each block of the UNet, and levels of the VAE.
LAYERS, LEVELS = 1, 4


def write(folder: Path, file: Path) -> Path:
    """Gather an SD or SDXL ``folder`` into ``file``; a ``.ckpt`` is pickled, as all were in 2022."""
    weights: Weights = {}
    weights |= _renamed(_load(folder / "unet"), "model.diffusion_model.", unet)
    weights |= _renamed(_load(folder / "vae"), "first_stage_model.", vae)
    clip = _load(folder / "text_encoder")
    if (folder / "text_encoder_2").exists():
        weights |= _renamed(clip, "conditioner.embedders.0.transformer.", text_model)
        weights |= {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip(_load(folder / "text_encoder_2"))}
    else:
        weights |= _renamed(clip, "cond_stage_model.transformer.", text_model)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, file)
    else:
        torch.save({"state_dict": weights, "global_step": 2}, file)
    return file


def _load(folder: Path) -> Weights:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def _renamed(weights: Weights, prefix: str, name: Callable[[str], str]) -> Weights:
    renamed = {}
    for old, value in weights.items():
        new = name(old)
        # Attention in the VAE was a convolution once.
        flat = value.ndim == 2 and re.search(r"attn_1\.(q|k|v|proj_out)\.", new)
        renamed[prefix + new] = value[:, :, None, None] if flat else value
    return renamed


def _replaced(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = re.sub(old, new, text)
    return text


def unet(name: str) -> str:
    if place := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name):
        side, block, part, layer, rest = place[1], int(place[2]), place[3], int(place[4]), place[5]
        if part.endswith("samplers"):
            layer = LAYERS
        number = block * (LAYERS + 1) + layer + (side == "down")
        # Blocks with attention are the last going down and the first going up.
        attends = block == (1 if side == "down" else 0)
        inside = {"resnets": "0", "attentions": "1", "downsamplers": "0", "upsamplers": "2" if attends else "1"}[part]
        rest = rest.replace("conv.", "op.") if part == "downsamplers" else rest
        name = f"{'input' if side == 'down' else 'output'}_blocks.{number}.{inside}.{rest}"
    pairs = [
        (r"^conv_in\.", "input_blocks.0.0."),
        (r"^conv_norm_out\.", "out.0."),
        (r"^conv_out\.", "out.2."),
        (r"^time_embedding\.linear_1\.", "time_embed.0."),
        (r"^time_embedding\.linear_2\.", "time_embed.2."),
        (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
        (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
        (r"^mid_block\.resnets\.0\.", "middle_block.0."),
        (r"^mid_block\.attentions\.0\.", "middle_block.1."),
        (r"^mid_block\.resnets\.1\.", "middle_block.2."),
    ]
    resnet = [
        (r"\.norm1\.", ".in_layers.0."),
        (r"\.conv1\.", ".in_layers.2."),
        (r"\.norm2\.", ".out_layers.0."),
        (r"\.conv2\.", ".out_layers.3."),
        (r"\.time_emb_proj\.", ".emb_layers.1."),
        (r"\.conv_shortcut\.", ".skip_connection."),
    ]
    return _replaced(name, pairs if "transformer_blocks" in name else pairs + resnet)


def vae(name: str) -> str:
    if place := re.match(r"decoder\.up_blocks\.(\d+)\.(.*)", name):
        name = f"decoder.up.{LEVELS - 1 - int(place[1])}.{place[2]}"
    return _replaced(
        name,
        [
            (r"down_blocks\.", "down."),
            (r"mid_block\.resnets\.0\.", "mid.block_1."),
            (r"mid_block\.resnets\.1\.", "mid.block_2."),
            (r"mid_block\.attentions\.0\.", "mid.attn_1."),
            (r"\.resnets\.", ".block."),
            (r"\.downsamplers\.0\.", ".downsample."),
            (r"\.upsamplers\.0\.", ".upsample."),
            (r"conv_norm_out", "norm_out"),
            (r"conv_shortcut", "nin_shortcut"),
            (r"group_norm", "norm"),
            (r"\.to_out\.0\.", ".proj_out."),
            (r"\.to_([qkv])\.", r".\1."),
        ],
    )


def text_model(name: str) -> str:
    return f"text_model.{name.removeprefix('text_model.')}"


def open_clip(weights: Weights) -> Iterable[tuple[str, torch.Tensor]]:
    """The larger CLIP of SDXL: its queries, keys and values are one matrix, its projection lies on its side."""
    plain = {name.removeprefix("text_model."): value for name, value in weights.items()}
    for name, value in plain.items():
        if name == "text_projection.weight":
            yield "text_projection", value.T
        elif ".q_proj." in name:
            three = torch.cat([plain[name.replace(".q_", f".{each}_")] for each in "qkv"])
            yield _resblock(name.replace("self_attn.q_proj.", "attn.in_proj_")), three
        elif not re.search(r"\.[kv]_proj\.", name):
            yield _resblock(name), value


def _resblock(name: str) -> str:
    return _replaced(
        name,
        [
            (r"^encoder\.layers\.", "transformer.resblocks."),
            (r"layer_norm(\d)", r"ln_\1"),
            (r"\.fc1\.", ".c_fc."),
            (r"\.fc2\.", ".c_proj."),
            (r"\.self_attn\.", ".attn."),
            (r"^final_layer_norm\.", "ln_final."),
            (r"^embeddings\.token_embedding\.", "token_embedding."),
            (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
        ],
    )
