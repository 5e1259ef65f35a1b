"""The checkpoints of all families; each builder makes the pipeline and saves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tests.checkpoints import families_llm, vocabularies

#: Widths of the text encoders; the two of CLIP differ, as single files are told apart by them.
CLIP_L, CLIP_G, T5 = 32, 48, 80
#: The picture that is 64 pixels wide.
LATENTS = 8
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def vae(channels: int, **more: Any) -> AutoencoderKL:
    """Shrinks by 8, as the large ones do."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=8 * LATENTS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **more,
    )


def vae_of_flows() -> AutoencoderKL:
    return vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035)


def clip(width: int, *, projects: bool = False, layers: int = 3) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=vocabularies.VOCABULARY,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=2 * width,
        num_attention_heads=4,
        num_hidden_layers=layers,
        max_position_embeddings=vocabularies.CLIP_LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=vocabularies.clip().bos_token_id,
        eos_token_id=vocabularies.clip().eos_token_id,
        pad_token_id=vocabularies.clip().pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)


def t5(width: int) -> T5EncoderModel:
    config = T5Config(
        vocab_size=vocabularies.VOCABULARY,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config)


def unet(width: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=LATENTS,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=width,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **more,
    )


# --- Stable Diffusion -----------------------------------------------------------------------------------------------


def stable_diffusion(checker: StableDiffusionSafetyChecker | None = None) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        unet=unet(CLIP_L, attention_head_dim=4),
        vae=vae(4),
        text_encoder=clip(CLIP_L),
        tokenizer=vocabularies.clip(),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **BETAS),
        safety_checker=checker,
        feature_extractor=None if checker is None else CLIPImageProcessor(size=32, crop_size=32),
        requires_safety_checker=checker is not None,
    )


def safety_checker(threshold: float = 1.5) -> StableDiffusionSafetyChecker:
    """Lets every picture pass; with a threshold below -1, none."""
    config = CLIPConfig(
        text_config={"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=8,
    )
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(threshold)
    checker.special_care_embeds_weights.data.fill_(threshold)
    return checker


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        unet=unet(
            CLIP_L + CLIP_G,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + CLIP_G,
        ),
        vae=vae(4, scaling_factor=0.13025),
        text_encoder=clip(CLIP_L),
        tokenizer=vocabularies.clip(),
        # Libraries tell a single file of SDXL by the tenth layer of this.
        text_encoder_2=clip(CLIP_G, projects=True, layers=10),
        tokenizer_2=vocabularies.clip(),
        scheduler=EulerDiscreteScheduler(steps_offset=1, timestep_spacing="leading", **BETAS),
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=LATENTS,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=T5,
            pooled_projection_dim=CLIP_L + CLIP_G,
            pos_embed_max_size=96,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        vae=vae_of_flows(),
        text_encoder=clip(CLIP_L, projects=True),
        tokenizer=vocabularies.clip(),
        text_encoder_2=clip(CLIP_G, projects=True),
        tokenizer_2=vocabularies.clip(),
        text_encoder_3=t5(T5),
        tokenizer_3=vocabularies.t5(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


# --- FLUX.1 ---------------------------------------------------------------------------------------------------------


def flux(kind: type[FluxPipeline | FluxKontextPipeline] = FluxPipeline, *, guided: bool = True) -> DiffusionPipeline:
    """``guided``: it was distilled with guidance, like dev and unlike schnell."""
    return kind(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * 4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=T5,
            pooled_projection_dim=CLIP_L,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guided,
        ),
        vae=vae_of_flows(),
        text_encoder=clip(CLIP_L),
        tokenizer=vocabularies.clip(),
        text_encoder_2=t5(T5),
        tokenizer_2=vocabularies.t5(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if guided else 1.0, use_dynamic_shifting=guided, max_image_seq_len=4096
        ),
    )


# --- saving ---------------------------------------------------------------------------------------------------------

PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd": stable_diffusion,
    "sd-checked": lambda: stable_diffusion(safety_checker()),
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux": flux,
    "schnell": lambda: flux(guided=False),
    "kontext": lambda: flux(FluxKontextPipeline),
    **families_llm.PIPELINES,
}


def save(make: Callable[[], DiffusionPipeline], folder: Path, **options: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = make()
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            enliven(module)
    pipeline.save_pretrained(folder, **options)
    _name_as_everywhere(folder / "model_index.json")


def enliven(module: torch.nn.Module) -> None:
    """Give values to what a new model leaves empty, as if it had been trained."""
    for name, parameter in module.named_parameters():
        if name.endswith("pad_token"):
            torch.nn.init.zeros_(parameter)


def _name_as_everywhere(path: Path) -> None:
    """Without torchvision transformers saves image processors under a name that published checkpoints have not."""
    index = json.loads(path.read_text(encoding="utf-8"))
    for value in index.values():
        if isinstance(value, list) and isinstance(value[1], str):
            value[1] = value[1].removesuffix("Pil")
    path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _builder(make: Callable[[], DiffusionPipeline]) -> Callable[[Path], None]:
    return lambda folder: save(make, folder)


BUILDERS: dict[str, Callable[[Path], None]] = {name: _builder(make) for name, make in PIPELINES.items()}
