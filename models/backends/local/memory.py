"""Where the parts of a model lie while it renders, from the fastest plan to the one that needs least.

Invariant: only "tiled" and "8bit" change pixels (a little); both are used where they are asked for, or last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.backends.local import eight_bit
from models.backends.local.device import Device
from models.catalog import Weights

#: Plan -> what it means, from the fastest to the most sparing.
PLANS = {
    "card": "all on the card",
    "text": "text encoders leave the card after encoding",
    "model": "one part on the card at a time",
    "group": "one layer on the card at a time",
    "tiled": "one layer at a time, pictures decoded in tiles",
    "8bit": "the denoiser in 8 bit, text encoders leave the card",
}
CHANGING = ("8bit", "tiled")
#: Plans that a pipeline cannot leave again: for another one it is loaded anew.
FINAL = ("8bit", "group", "tiled")
#: Room that torch and the driver need beside the model, in GiB, and the share that is lost between blocks.
RESERVE, WASTE = 0.7, 1.05


def plans_for(device: Device) -> list[str]:
    """The plans that make sense there: what has one memory only has nowhere to put parts aside."""
    return list(PLANS) if device.kind == "cuda" else ["card", "tiled"]


def need(plan: str, weights: Weights) -> float:
    """GiB on the card for one image of 1024x1024."""
    memory = weights.memory
    parts = {
        "card": memory.model + memory.text + memory.work,
        "text": max(memory.model + memory.work, memory.text),
        # The work is hardest while pictures are decoded, with the denoiser gone.
        "model": max(memory.model + 0.4 * memory.work, memory.text, memory.work + 0.3),
        "8bit": memory.model / 2 + memory.work,
    }
    return parts.get(plan, memory.work) * WASTE + RESERVE


def choose(weights: Weights, device: Device, asked: str = "auto", free: float | None = None) -> str:
    """The first plan that fits into the free memory, or the one that is asked for."""
    plans = plans_for(device)
    if asked != "auto":
        return asked if asked in plans else plans[0]
    if device.kind != "cuda":
        return plans[0]
    room = device.free() if free is None else free
    fitting = [plan for plan in plans if need(plan, weights) <= room and plan not in CHANGING]
    return fitting[0] if fitting else "tiled"


def next_plan(plan: str, device: Device) -> str | None:
    """The next that needs less, or None. In 8 bit a model needs half the main memory, where a library can do that."""
    plans = plans_for(device)
    later = [one for one in plans[plans.index(plan) + 1 :] if one != "8bit" or eight_bit.installed()]
    return later[0] if later else None


def most_at_once(plan: str, weights: Weights, device: Device, pixels: int) -> int:
    """Images of so many pixels that fit beside the model; at least one."""
    if device.kind != "cuda":
        return 1 if device.kind == "cpu" else 4
    each = weights.memory.work * pixels / 1024**2
    room = device.free() - RESERVE
    return max(1, int(room / max(each, 0.05)))


def text_encoders(pipe: Any) -> list[Any]:
    """The parts that only read what is asked for: words, and reference images where an adapter looks at them."""
    names = ("text_encoder", "text_encoder_2", "text_encoder_3", "image_encoder")
    return [part for name in names if (part := getattr(pipe, name, None)) is not None]


def denoiser(pipe: Any) -> Any:
    """The part that does the work: a UNet or a transformer."""
    return getattr(pipe, "unet", None) or pipe.transformer


def place(pipe: Any, plan: str, device: Device) -> None:
    """Put the parts of a freshly loaded pipeline (or one under an earlier plan) where the plan wants them."""
    import torch

    pipe.remove_all_hooks()
    target = torch.device(device.kind)
    if plan == "card":
        pipe.to(target)
    elif device.kind != "cuda":
        pipe.to(target)
        pipe.vae.enable_tiling()
    elif plan in ("text", "8bit"):
        if plan == "8bit":
            eight_bit.finish(denoiser(pipe))
            pipe.vae.enable_tiling()
        _place_text(pipe, target)
    elif plan == "model":
        pipe.to("cpu")
        pipe.enable_model_cpu_offload(device=target)
    else:
        pipe.to("cpu")
        device.empty_cache()
        pipe.enable_group_offload(onload_device=target, offload_type="leaf_level", use_stream=True)
        if plan == "tiled":
            pipe.vae.enable_tiling()
    device.empty_cache()


def _place_text(pipe: Any, target: Any) -> None:
    import torch

    aside = {id(part) for part in text_encoders(pipe)}
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.to("cpu" if id(part) in aside else target)


@contextmanager
def encoders_present(pipe: Any, plan: str, device: Device, weights: Weights) -> Iterator[None]:
    """Have the text encoders on the card for a moment; where there is no room beside the denoiser, it leaves."""
    if plan not in ("text", "8bit") or device.kind != "cuda":
        yield
        return
    parts, main = text_encoders(pipe), denoiser(pipe)
    swap = device.free() < weights.memory.text * WASTE + RESERVE
    if swap:
        main.to("cpu")
        device.empty_cache()
    try:
        for part in parts:
            part.to(device.kind)
        yield
    finally:
        for part in parts:
            part.to("cpu")
        device.empty_cache()
        if swap:
            main.to(device.kind)
