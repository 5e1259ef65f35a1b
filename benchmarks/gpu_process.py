"""What runs in the processes of benchmarks/gpu.py: ``plain`` diffusers or ``ours``, batch by batch, without and with
compiling. A line of JSON for each measurement goes to stdout as soon as there is one.

Invariant: nothing is begun that would not be done in time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT  # noqa: F401 - and with it the way to the rest
from local_process import plain_arguments, plain_pipeline, wait_for_card

from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageRequest
from models.registry import BackendConfig, build, find

PROMPT = "a quiet fox under the moon in the forest, soft morning light"
GUIDANCE = {"sdxl": 5.0, "flux": 3.5}
BACKENDS = {"sdxl": "stable-diffusion", "flux": "flux"}
WARM_STEPS = 2
#: A measurement is repeated, so often at most, until it took so many seconds.
REPEATS, ENOUGH = 3, 8.0
#: Seconds that compiling is expected to take.
COMPILING = 20.0
#: So many images are said to come that compiling pays.
MANY = 10_000
GIB = 1024**3

Pixels = list[np.ndarray]
Render = Callable[[Sequence[ImageRequest]], Pixels]


class Meter:
    """Measures one way to render, for batches of several sizes, and says what it found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._until = time.monotonic() + options.seconds
        self._single: Pixels = []
        self._seconds = 0.0

    def measure(self, render: Render, batches: Sequence[int], compiled: bool, record: Callable[[], str]) -> None:
        for number, batch in enumerate(batches):
            left = max(0.0, self._until - time.monotonic() - COMPILING * compiled)
            # Images of a batch take no longer than alone; the first of a kind is the one that counts most.
            if self._seconds * batch >= (left if number == 0 else left / 2):
                self._say(compiled, batch, skipped=f"{left:.0f} s left")
                continue
            self._measure(render, batch, compiled, record)

    def _measure(self, render: Render, batch: int, compiled: bool, record: Callable[[], str]) -> None:
        requests = [self._request(seed) for seed in range(batch)]
        began = time.perf_counter()
        render([replace(one, steps=min(WARM_STEPS, self._options.steps)) for one in requests])
        first = time.perf_counter() - began
        reset_peak()
        times: list[float] = []
        pixels: Pixels = []
        while len(times) < REPEATS and sum(times) < ENOUGH:
            began = time.perf_counter()
            # Other seeds each time where there is one image, so that there are some to compare.
            part = [self._request(len(times))] if batch == 1 else requests
            found = render(part)
            times.append(time.perf_counter() - began)
            pixels = [*pixels, *found] if batch == 1 else found
        seconds = statistics.median(times) / batch
        self._seconds = self._seconds or seconds
        if batch == 1 and not compiled:
            self._single = pixels
        name = f"{'compiled' if compiled else 'eager'}-{batch}"
        np.save(self._options.pixels / f"{self._options.who}-{name}.npy", np.stack(pixels))
        self._say(
            compiled,
            batch,
            seconds=seconds,
            first=first,
            peak=peak(),
            single=_apart(pixels, self._single),
            plain=_apart(pixels, self._theirs(name)),
            record=record(),
        )

    def _request(self, seed: int) -> ImageRequest:
        options = self._options
        return ImageRequest(
            prompt=PROMPT,
            width=options.side,
            height=options.side,
            seed=seed,
            steps=options.steps,
            guidance=GUIDANCE[options.family],
            model=str(options.model),
        )

    def _theirs(self, name: str) -> Pixels:
        """What plain diffusers made of the same, where it did."""
        path = self._options.pixels / f"plain-{name}.npy"
        return list(np.load(path)) if self._options.who == "ours" and path.exists() else []

    def _say(self, compiled: bool, batch: int, **figures: Any) -> None:
        print(json.dumps({"compiled": compiled, "batch": batch, **figures}), flush=True)


def _apart(pixels: Pixels, others: Pixels) -> list[float] | None:
    """The largest and the mean difference between images of the same seeds, in steps of 8 bits."""
    pairs = list(zip(pixels, others, strict=False))
    if not pairs:
        return None
    apart = [np.abs(one.astype(int) - other.astype(int)) for one, other in pairs]
    return [float(max(one.max() for one in apart)), float(np.mean([one.mean() for one in apart]))]


def reset_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> float | None:
    """GiB of the card that tensors took at most."""
    import torch

    return torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else None


def measure_plain(options: argparse.Namespace, meter: Meter) -> None:
    """The pipeline as it is, which makes Pillow images; compiled as its documentation says."""
    import torch

    from models.backends.local.loading import quieten

    quieten()
    pipe = plain_pipeline(options.model)

    def render(requests: Sequence[ImageRequest]) -> Pixels:
        generators = [torch.Generator("cpu").manual_seed(one.seed or 0) for one in requests]
        images = pipe(**plain_arguments(pipe, list(requests)), generator=generators).images
        wait_for_card()
        return [np.asarray(image) for image in images]

    meter.measure(render, options.batches, False, lambda: "")
    if options.compile:
        part = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
        part.compile_repeated_blocks(fullgraph=True)
        meter.measure(render, options.batches, True, lambda: "")


def measure_ours(options: argparse.Namespace, meter: Meter) -> None:
    """The backend, built as the command line builds it."""
    import torch

    row = find(BACKENDS[options.family])
    config = BackendConfig(catalog=load_catalog(), settings=dict.fromkeys(row.settings), timeout=60)
    backend: Any = build(row, config)
    details: dict[str, str] = {}
    more: dict[str, str] = {}

    def render(requests: Sequence[ImageRequest]) -> Pixels:
        found: Pixels = []
        for answer in backend.generate([replace(one, options=more) for one in requests]):
            if not isinstance(answer, GeneratedImage):
                raise answer
            details.update(answer.details)
            found.append(np.asarray(answer.image))
        return found

    def record() -> str:
        return ", ".join(f"{key} {details[key]}" for key in ("memory", "attention", "compile", "batch"))

    meter.measure(render, options.batches, False, record)
    if options.compile:
        if torch.cuda.is_available():
            # What the program itself does where many images are to come.
            backend.warm_up(meter._request(0), MANY)
        else:
            more["compile"] = "on"
        meter.measure(render, options.batches, True, record)
    backend.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=("plain", "ours"))
    parser.add_argument("--family", choices=("sdxl", "flux"), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batches", type=lambda text: [int(one) for one in text.split(",")], required=True)
    parser.add_argument("--compile", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pixels", type=Path, required=True)
    options = parser.parse_args()
    measure = measure_plain if options.who == "plain" else measure_ours
    measure(options, Meter(options))


if __name__ == "__main__":
    main()
