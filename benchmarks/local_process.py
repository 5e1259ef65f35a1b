"""What runs in the processes of benchmarks/local.py and gpu.py: our program with a clock in it, and a plain loop.

``ours FILE ARGUMENT...`` is ``main.py ARGUMENT...``; ``plain FILE OUTPUT SPARE`` renders what that wrote into OUTPUT
once more with diffusers alone. Either writes its figures into FILE as JSON.
Invariant: the clock starts when the model is loaded, and stops when everything is on disk.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ROOT  # noqa: F401 - and with it the way to the rest

from models.contract import ImageRequest


class Clock:
    """Adds up the seconds spent in what it is put around."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.model = 0.0
        self.began = self.ended = time.perf_counter()

    def around(self, owner: Any, name: str) -> None:
        """Count what happens in a function as time in the model."""
        inner: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*given, **named)
            finally:
                wait_for_card()
                self.ended = time.perf_counter()
                self.model += self.ended - began

        setattr(owner, name, timed)

    def figures(self) -> dict[str, float]:
        """Seconds in all, in the model, and after the model was needed last."""
        now = time.perf_counter()
        return {"seconds": now - self.began, "model": self.model, "after": now - self.ended}


def wait_for_card() -> None:
    """Cards compute while the program goes on."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ours(figures: Path, arguments: list[str]) -> int:
    """The real command line, in this process; nothing of it is replaced, only timed."""
    from models.backends import diffusion
    from models.backends.local import prompts, studio
    from tirada.cli.main import main

    clock = Clock()
    warm_up, load = diffusion.DiffusionBackend.warm_up, studio.Studio._load
    clocked: set[type] = set()

    def loaded(self: Any) -> None:
        load(self)
        kind = type(self.pipe)
        if kind not in clocked:
            clocked.add(kind)
            clock.around(kind, "__call__")

    def warmed(self: Any, request: ImageRequest, images: int) -> None:
        warm_up(self, request, images)
        clock.start()

    studio.Studio._load = loaded  # type: ignore[method-assign]
    diffusion.DiffusionBackend.warm_up = warmed  # type: ignore[method-assign]
    clock.around(prompts.Encoder, "encode")
    code = main(arguments)
    figures.write_text(json.dumps(clock.figures()), encoding="utf-8")
    return code


def rendered(output: Path) -> list[tuple[ImageRequest, Path]]:
    """What a finished run was asked for, and the files it made."""
    from tirada.engine.plan import request_from_json

    query = (
        "SELECT c.request, i.seed, c.folder, i.file FROM images i JOIN concepts c ON c.id = i.concept_id "
        "WHERE i.state = 'done' ORDER BY i.id"
    )
    rows = sqlite3.connect(output / "tirada.db").execute(query).fetchall()
    return [(request_from_json(json.loads(text), seed), output / folder / file) for text, seed, folder, file in rows]


def plain(figures: Path, output: Path, spare: Path) -> int:
    """What one would write by hand."""
    import torch

    from models.backends.local.loading import quieten

    quieten()
    jobs = rendered(output)
    pipe = plain_pipeline(Path(str(jobs[0][0].model)))
    spare.mkdir()
    clock = Clock()
    clock.around(type(pipe), "__call__")
    clock.start()
    for number, (request, _) in enumerate(jobs):
        generator = torch.Generator("cpu").manual_seed(request.seed or 0)
        pipe(**plain_arguments(pipe, [request]), generator=generator).images[0].save(spare / f"{number}.png")
    found: dict[str, float] = clock.figures()
    found |= {"images": len(jobs), "difference": difference([file for _, file in jobs], spare)}
    figures.write_text(json.dumps(found), encoding="utf-8")
    return 0


def plain_pipeline(folder: Path) -> Any:
    """The model as the documentation of diffusers loads it."""
    import torch
    from diffusers import AutoPipelineForText2Image

    card = torch.cuda.is_available()
    half = torch.float16 if (folder / "unet").exists() else torch.bfloat16
    pipe = AutoPipelineForText2Image.from_pretrained(
        folder, torch_dtype=half if card else torch.float32, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to("cuda" if card else "cpu")


def plain_arguments(pipe: Any, requests: list[ImageRequest]) -> dict[str, Any]:
    """What a pipeline is called with for requests that differ in prompt and seed only."""
    first = requests[0]
    found = {
        "prompt": [one.prompt for one in requests],
        "width": first.width,
        "height": first.height,
        "num_inference_steps": first.steps,
        "guidance_scale": first.guidance,
    }
    if hasattr(pipe, "unet"):
        found["negative_prompt"] = [one.negative for one in requests] if first.negative else None
    return found


def difference(files: list[Path], spare: Path) -> int:
    """The largest difference between ours and theirs, in steps of 8 bits."""
    import numpy as np
    from PIL import Image

    found = 0
    for number, file in enumerate(files):
        mine, theirs = (np.asarray(Image.open(path)).astype(int) for path in (file, spare / f"{number}.png"))
        found = max(found, int(np.abs(mine - theirs).max()))
    return found


if __name__ == "__main__":
    kind, target, *rest = sys.argv[1:]
    if kind == "ours":
        sys.exit(ours(Path(target), rest))
    sys.exit(plain(Path(target), *map(Path, rest)))
