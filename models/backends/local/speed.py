"""What makes rendering fast without changing what is asked for, and the caches that do change it, where wanted.

Invariant: what cannot be had on this machine is left out quietly, and the record says what was used.
"""

from __future__ import annotations

from typing import Any

from models.backends.local.device import Device
from models.backends.local.memory import denoiser
from models.backends.local.options import Cache, Options
from models.errors import UnsupportedRequest

#: From so many images on compiling pays, by kind of denoiser: a minute at most, won back a fraction of a second each.
PAYS_FROM = {"unet": 64, "transformer": 24}
#: How much the first block's output may change from step to step and the rest still be taken from the step before.
THRESHOLDS: dict[Cache, float] = {"balanced": 0.05, "fast": 0.12}
#: Attention backends worth trying on a CUDA card, the best first; torch's own is always there.
ATTENTION = ("_flash_3", "flash", "_native_cudnn")


def is_unet(pipe: Any) -> bool:
    return getattr(pipe, "unet", None) is not None


def tune(pipe: Any, device: Device, options: Options) -> dict[str, str]:
    """Set a freshly placed pipeline up for speed; returns what was used, for the record."""
    import torch

    if hasattr(pipe.vae, "enable_slicing"):
        # One picture at a time: decoding one fills a card, and its memory would grow with the batch.
        pipe.vae.enable_slicing()
    if device.kind == "cuda":
        # No cudnn.benchmark: it may choose otherwise the next time, and a rerun is to give the same pixels.
        pipe.vae.to(memory_format=torch.channels_last)
        if is_unet(pipe):
            pipe.unet.to(memory_format=torch.channels_last)
    return {"attention": _attention(pipe, device, options.attention)}


def _attention(pipe: Any, device: Device, asked: str) -> str:
    part = denoiser(pipe)
    settable = hasattr(part, "set_attention_backend") and not is_unet(pipe)
    if asked and not settable:
        raise UnsupportedRequest("This model has one kind of attention only.", hint="Leave the option 'attention' out.")
    if asked:
        try:
            part.set_attention_backend(asked)
        except (RuntimeError, ValueError, ImportError) as exc:
            raise UnsupportedRequest(f"The attention {asked!r} cannot be had here: {exc}.") from None
        return asked
    for name in _worth_trying(device) if settable else ():
        try:
            part.set_attention_backend(name)
        except (RuntimeError, ValueError, ImportError):
            continue
        return name
    return "native"


def _worth_trying(device: Device) -> tuple[str, ...]:
    return ATTENTION if device.kind == "cuda" else ()


def plain_attention(pipe: Any) -> None:
    """Go back to torch's own, which takes every shape and mask."""
    denoiser(pipe).set_attention_backend("native")


def wants_compile(pipe: Any, device: Device, options: Options, plan: str, images: int) -> bool:
    """Is it asked for, or likely to be won back within so many images?"""
    if options.compile != "auto":
        return options.compile == "on"
    kind = "unet" if is_unet(pipe) else "transformer"
    return device.kind == "cuda" and plan in ("card", "text") and images >= PAYS_FROM[kind]


def compile_blocks(pipe: Any) -> None:
    """Compile the blocks that the denoiser repeats; the work is done when it first runs."""
    part = denoiser(pipe)
    if getattr(part, "_repeated_blocks", None):
        part.compile_repeated_blocks(fullgraph=not is_unet(pipe), dynamic=True)
    else:
        part.compile(dynamic=True)


def uncompile(pipe: Any) -> None:
    """Undo it, where the machine turns out to have no compiler."""
    import torch

    for part in denoiser(pipe).modules():
        part._compiled_call_impl = None
    torch._dynamo.reset()


def is_compile_failure(exc: BaseException) -> bool:
    """Did the compiler fail, rather than the model?"""
    module = type(exc).__module__
    return module.startswith(("torch._dynamo", "torch._inductor", "torch.fx", "triton"))


def set_cache(pipe: Any, cache: Cache) -> None:
    """Let steps reuse what changes little from one to the next; raises UnsupportedRequest where it cannot."""
    part = denoiser(pipe)
    if getattr(part, "is_cache_enabled", False):
        part.disable_cache()
    if cache == "off":
        return
    from diffusers import FirstBlockCacheConfig

    if is_unet(pipe) or not hasattr(part, "enable_cache"):
        raise UnsupportedRequest("A model with a UNet has no step cache.", hint="Leave --cache out.")
    part.enable_cache(FirstBlockCacheConfig(threshold=THRESHOLDS[cache]))
