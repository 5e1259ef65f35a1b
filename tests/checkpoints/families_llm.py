"""The checkpoints of families that read the prompt with a language model: FLUX.2, Z-Image, Qwen-Image.

FLUX.2 takes the hidden states of the layers 10, 20 and 30, klein those of 9, 18 and 27, Z-Image the last but one: the
language models here are as deep as that needs, and as thin as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from tests.checkpoints import vocabularies

WIDTH = 16
VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def decoder(layers: int) -> dict[str, Any]:
    """The settings that the language models have in common."""
    return {
        "vocab_size": vocabularies.VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": WIDTH // 2,
        "max_position_embeddings": vocabularies.LLM_LENGTH,
    }


def shifting(**more: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, **more)


def blocks(channels: int) -> dict[str, Any]:
    return {
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": channels,
        "sample_size": 64,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }


# --- FLUX.2 ---------------------------------------------------------------------------------------------------------


def flux2_transformer(*, guided: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4 * 4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guided,
    )


def flux2() -> Flux2Pipeline:
    tokenizer = vocabularies.mistral(SYSTEM_MESSAGE)
    image = tokenizer.convert_tokens_to_ids("[IMG]")
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "head_dim": 16,
        "image_size": 112,
        "patch_size": 14,
    }
    config = Mistral3Config(
        text_config={"model_type": "mistral", **decoder(30)},
        vision_config={"model_type": "pixtral", **vision},
        image_token_index=image,
    )
    return Flux2Pipeline(
        transformer=flux2_transformer(guided=True),
        vae=AutoencoderKLFlux2(**blocks(4)),
        text_encoder=Mistral3ForConditionalGeneration(config),
        # The published one has a processor of pictures around it, which needs torchvision.
        tokenizer=tokenizer,
        scheduler=shifting(),
    )


def klein() -> Flux2KleinPipeline:
    return Flux2KleinPipeline(
        transformer=flux2_transformer(guided=False),
        vae=AutoencoderKLFlux2(**blocks(4)),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**decoder(28))),
        tokenizer=vocabularies.qwen(),
        scheduler=shifting(),
        is_distilled=True,
    )


# --- Z-Image --------------------------------------------------------------------------------------------------------


def z_image() -> ZImagePipeline:
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 512, 512],
        ),
        vae=AutoencoderKL(
            **blocks(4), use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1159, scaling_factor=0.3611
        ),
        text_encoder=Qwen3Model(Qwen3Config(**decoder(3))),
        tokenizer=vocabularies.qwen(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


# --- Qwen-Image -----------------------------------------------------------------------------------------------------


def qwen_image() -> QwenImagePipeline:
    tokenizer = vocabularies.qwen(*VISION)
    ids = dict(zip(VISION, tokenizer.convert_tokens_to_ids(list(VISION)), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            **decoder(2),
            "bos_token_id": None,
            "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [0],
        },
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    # Else its pictures are almost flat.
    vae.decoder.conv_out.weight.data *= 6
    # Those of other families say it of themselves: how large a picture they know.
    vae.register_to_config(sample_size=64)
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=4 * 4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(8, 4, 4),
        ),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        scheduler=shifting(base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02),
    )


PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "flux2": flux2,
    "klein": klein,
    "z-image": z_image,
    "qwen-image": qwen_image,
}
