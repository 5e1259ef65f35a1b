"""Models with random weights, of their true size or smaller: ``python benchmarks/random_models.py sdxl full FOLDER``.

The numbers are those of the published configurations (stabilityai/stable-diffusion-xl-base-1.0 and
black-forest-labs/FLUX.1-dev); nothing is downloaded. What they paint is noise, but in the time that the real ones take.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT  # noqa: F401 - and with it the way to the rest

from models.backends.local.loading import quieten

#: Pixels to a latent, both ways.
SHRINKS = 8


@dataclass(frozen=True, slots=True)
class Clip:
    """A text encoder of CLIP."""

    width: int
    layers: int
    heads: int
    act: str = "quick_gelu"


@dataclass(frozen=True, slots=True)
class Dimensions:
    """How large a model is."""

    #: Of the picture it is made for, in pixels.
    side: int
    clip_l: Clip
    vae: tuple[int, ...]
    denoiser: Mapping[str, Any]
    clip_g: Clip | None = None
    t5: Mapping[str, int] | None = None
    vocabulary: int = 49408


CLIP_L = Clip(768, 12, 12)
TINY_CLIP = Clip(32, 2, 4)
TRUE_VAE, MIDDLE_VAE, TINY_VAE = (128, 256, 512, 512), (16, 32, 64, 64), (8, 8, 8, 8)

SIZES: Mapping[tuple[str, str], Dimensions] = {
    ("sdxl", "full"): Dimensions(
        side=1024,
        clip_l=CLIP_L,
        clip_g=Clip(1280, 32, 20, "gelu"),
        vae=TRUE_VAE,
        denoiser={"channels": (320, 640, 1280), "heads": (5, 10, 20), "depth": (1, 2, 10), "time": 256, "groups": 32},
    ),
    # A second or more for each image on a processor, so that what is beside the model shows in proportion.
    ("sdxl", "middle"): Dimensions(
        side=512,
        clip_l=TINY_CLIP,
        clip_g=Clip(48, 2, 4, "gelu"),
        vae=MIDDLE_VAE,
        denoiser={"channels": (32, 64, 128), "heads": (1, 2, 4), "depth": (1, 1, 2), "time": 32, "groups": 32},
        vocabulary=1024,
    ),
    ("sdxl", "tiny"): Dimensions(
        side=64,
        clip_l=TINY_CLIP,
        clip_g=Clip(48, 2, 4, "gelu"),
        vae=TINY_VAE,
        denoiser={"channels": (8, 16, 16), "heads": (1, 2, 2), "depth": (1, 1, 1), "time": 8, "groups": 4},
        vocabulary=1024,
    ),
    ("flux", "full"): Dimensions(
        side=1024,
        clip_l=CLIP_L,
        vae=TRUE_VAE,
        t5={"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128},
        denoiser={"layers": 19, "single": 38, "heads": 24, "head": 128, "axes": (16, 56, 56), "latents": 16},
    ),
    ("flux", "tiny"): Dimensions(
        side=64,
        clip_l=TINY_CLIP,
        vae=TINY_VAE,
        t5={"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 1024},
        denoiser={"layers": 2, "single": 2, "heads": 2, "head": 16, "axes": (4, 4, 8), "latents": 4},
        vocabulary=1024,
    ),
}


def write(family: str, size: str, folder: Path) -> Path:
    """Make the model where it is quickest, in the numbers it is run in there, and save it."""
    import torch

    quieten()
    card = torch.cuda.is_available()
    torch.manual_seed(0)
    if card:
        torch.set_default_dtype(torch.float16 if family == "sdxl" else torch.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(family, SIZES[family, size], "cuda" if card else "cpu").save_pretrained(folder)
    return folder


def make(family: str, size: Dimensions, device: str) -> Any:
    """The pipeline, its parts on that device."""
    import torch

    with torch.device(device):
        parts = _sdxl(size) if family == "sdxl" else _flux(size)
    pipeline, scheduler = (_sdxl_around if family == "sdxl" else _flux_around)()
    return pipeline(**parts, scheduler=scheduler)


def _sdxl(size: Dimensions) -> dict[str, Any]:
    from diffusers import UNet2DConditionModel

    from tests.checkpoints import vocabularies

    assert size.clip_g is not None
    own = size.denoiser
    unet = UNet2DConditionModel(
        sample_size=size.side // SHRINKS,
        in_channels=4,
        out_channels=4,
        block_out_channels=own["channels"],
        layers_per_block=2,
        attention_head_dim=own["heads"],
        transformer_layers_per_block=own["depth"],
        cross_attention_dim=size.clip_l.width + size.clip_g.width,
        norm_num_groups=own["groups"],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=own["time"],
        projection_class_embeddings_input_dim=6 * own["time"] + size.clip_g.width,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    return {
        "unet": unet,
        "vae": _vae(size, 4, scaling_factor=0.13025),
        "text_encoder": _clip(size.clip_l, size.vocabulary),
        "tokenizer": vocabularies.clip(),
        "text_encoder_2": _clip(size.clip_g, size.vocabulary, projects=True),
        "tokenizer_2": vocabularies.clip(),
    }


def _sdxl_around() -> tuple[Any, Any]:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    return StableDiffusionXLPipeline, EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )


def _flux(size: Dimensions) -> dict[str, Any]:
    from diffusers import FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    from tests.checkpoints import vocabularies

    assert size.t5 is not None
    own = size.denoiser
    latents = own["latents"]
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * latents,
        num_layers=own["layers"],
        num_single_layers=own["single"],
        attention_head_dim=own["head"],
        num_attention_heads=own["heads"],
        joint_attention_dim=size.t5["d_model"],
        pooled_projection_dim=size.clip_l.width,
        guidance_embeds=True,
        axes_dims_rope=own["axes"],
    )
    t5 = T5Config(**size.t5, feed_forward_proj="gated-gelu", pad_token_id=0, decoder_start_token_id=0)
    vae = _vae(
        size, latents, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False
    )
    return {
        "transformer": transformer,
        "vae": vae,
        "text_encoder": _clip(size.clip_l, size.vocabulary),
        "tokenizer": vocabularies.clip(),
        "text_encoder_2": T5EncoderModel(t5),
        "tokenizer_2": vocabularies.t5(),
    }


def _flux_around() -> tuple[Any, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    return FluxPipeline, FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_image_seq_len=256,
        max_image_seq_len=4096,
        base_shift=0.5,
        max_shift=1.15,
    )


def _vae(size: Dimensions, channels: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=size.vae,
        layers_per_block=2,
        norm_num_groups=32 if size.vae[0] >= 32 else 4,
        latent_channels=channels,
        sample_size=size.side,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        force_upcast=True,
        **more,
    )


def _clip(size: Clip, vocabulary: int, *, projects: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from tests.checkpoints import vocabularies

    tokenizer = vocabularies.clip()
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        projection_dim=size.width,
        intermediate_size=4 * size.width,
        num_attention_heads=size.heads,
        num_hidden_layers=size.layers,
        max_position_embeddings=vocabularies.CLIP_LENGTH,
        hidden_act=size.act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
