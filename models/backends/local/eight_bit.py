"""The denoiser in 8 bit: through torchao or bitsandbytes where one is installed, else stored as 8-bit floats.

Invariant: it is used only where it is asked for, or where nothing else is left, as it changes pixels a little.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from models.backends.local.device import UNETS
from models.catalog import Weights

#: Library -> the oldest version whose models can be moved to the card and back.
QUANTIZERS = {"torchao": (0, 15), "bitsandbytes": (0, 48)}


def installed() -> str:
    """The library that does it; empty = none."""
    return next((name for name, oldest in QUANTIZERS.items() if _version(name) >= oldest), "")


def _version(name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version(name).split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return ()


def arguments(weights: Weights) -> dict[str, Any]:
    """What a pipeline is loaded with so that its denoiser comes in 8 bit; nothing where no library can."""
    import diffusers

    try:
        match installed():
            case "torchao":
                whole_numbers = import_module("torchao.quantization").Int8WeightOnlyConfig()
                config: Any = diffusers.TorchAoConfig(whole_numbers)
            case "bitsandbytes":
                config = diffusers.BitsAndBytesConfig(load_in_8bit=True)
            case _:
                return {}
    except (ImportError, AttributeError, ValueError, RuntimeError):
        # Of another version than diffusers takes.
        return {}
    part = "unet" if weights.family in UNETS else "transformer"
    return {"quantization_config": diffusers.PipelineQuantizationConfig(quant_mapping={part: config})}


def finish(denoiser: Any) -> None:
    """Make a denoiser that was loaded in full small; one that came in 8 bit stays as it is."""
    import torch

    if not is_quantized(denoiser):
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=denoiser.dtype)


def is_quantized(denoiser: Any) -> bool:
    return getattr(denoiser, "hf_quantizer", None) is not None


def name(denoiser: Any) -> str:
    """How it was done, for the record."""
    return f"int8 ({installed()})" if is_quantized(denoiser) else "fp8"
