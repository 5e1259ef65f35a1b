"""The machine that renders: a CUDA card, Apple's GPU or the processor, with its memory and its number format.

Invariant: what is said about speed is true for the device that is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from models.catalog import Weights

Kind = Literal["cuda", "mps", "cpu"]
GIB = 1024**3
#: Families whose denoiser is a UNet: on cards they are run as they were trained, in fp16.
UNETS = ("sd", "sdxl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where images are rendered. Memory is in GiB."""

    kind: Kind
    #: What people call it, e.g. "NVIDIA H200".
    name: str
    total: float
    #: bfloat16 is computed by the hardware.
    bf16: bool

    @property
    def batches(self) -> bool:
        """Does rendering several images at once pay? A processor takes as long, and rounds each a little otherwise."""
        return self.kind != "cpu"

    def free(self) -> float:
        """GiB that can be had now, with what torch holds unused counted as free."""
        import torch

        if self.kind == "cuda":
            unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return float(torch.cuda.mem_get_info()[0] + unused) / GIB
        if self.kind == "mps":
            return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()) / GIB
        return free_ram()

    def dtype(self, weights: Weights) -> torch.dtype:
        """The number format a model is loaded in."""
        import torch

        if self.kind == "cpu":
            # Twice the memory; only where that is not there, slower halves.
            halves = weights.memory.model + weights.memory.text
            return torch.float32 if 2 * halves + weights.memory.work < self.free() else torch.bfloat16
        if weights.family in UNETS or not self.bf16:
            return torch.float16
        return torch.bfloat16

    def line(self) -> str:
        """One honest line about what to expect."""
        if self.kind == "cuda":
            return f"Rendering on {self.name}, {self.free():.1f} of {self.total:.1f} GiB free."
        if self.kind == "mps":
            return f"Rendering on {self.name}: several times slower than on a CUDA card."
        return (
            "Rendering on the processor (no CUDA card, no Apple GPU): minutes for each image of a model of full size."
        )

    def empty_cache(self, *, collect: bool = False) -> None:
        """Give back what torch holds unused; ``collect``, a quarter of a second, also what only points to itself."""
        import gc

        import torch

        if collect:
            gc.collect()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()


def find_device() -> Device:
    """The best there is."""
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return Device(kind="cuda", name=facts.name, total=facts.total_memory / GIB, bf16=facts.major >= 8)
    if torch.backends.mps.is_available():
        return Device(kind="mps", name="Apple GPU", total=torch.mps.recommended_max_memory() / GIB, bf16=True)
    return Device(kind="cpu", name="processor", total=_ram("MemTotal"), bf16=False)


def free_ram() -> float:
    """GiB of main memory that can be had."""
    return _ram("MemAvailable")


def _ram(figure: str) -> float:
    from pathlib import Path

    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _ram_elsewhere()
    return next((int(line.split()[1]) / 1024**2 for line in lines if line.startswith(figure)), _ram_elsewhere())


def _ram_elsewhere() -> float:
    """All of it: systems without /proc do not say in one way what is free."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (ValueError, OSError, AttributeError):
        return 16.0


def is_out_of_memory(exc: BaseException) -> bool:
    """Did an allocator say no? Each device says it in its own way."""
    import torch

    if isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(
        words in said
        for words in ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc")
    )
