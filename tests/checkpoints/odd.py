"""Checkpoints that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from tests.checkpoints import families


def nan_frames() -> StableDiffusionXLPipeline:
    """Its VAE overflows, as SDXL's does at 16 bit: every picture is NaN."""
    pipeline = families.stable_diffusion_xl()
    torch.nn.init.constant_(pipeline.vae.decoder.conv_out.bias, float("nan"))
    return pipeline


BUILDERS: dict[str, Callable[[Path], None]] = {
    "sd-prude": lambda folder: families.save(
        lambda: families.stable_diffusion(families.safety_checker(threshold=-2.0)), folder
    ),
    "sdxl-nan": lambda folder: families.save(nan_frames, folder),
    "sdxl-pickled": lambda folder: families.save(families.stable_diffusion_xl, folder, safe_serialization=False),
}
