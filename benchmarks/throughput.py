"""How many images a second the program takes from a service: ``python benchmarks/throughput.py``.

Against what one would write by hand: ``asyncio.gather`` over AsyncOpenAI with a semaphore, which decodes each answer
and writes the file. Both in processes of their own, in turn, against the same stand-in, whose clock counts from the
first request to the last answer; that leaves the start-up out. Whole processes are shown too. About 8 minutes; --quick
two.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, Child, machine, ratio, row, run, scratch, title
from standins import KEY, Standin, standin

SIDE = 64
GOAL = 0.95
PAIRS = 3
#: (in flight, seconds an answer takes, images).
CASES = ((32, 0.2, 1_280), (32, 1.0, 320), (256, 0.2, 2_560), (256, 1.0, 2_560))


@dataclass(frozen=True, slots=True)
class Result:
    """A finished program: images a second by the service's clock and by ours, CPU ms for each, the most at once."""

    rate: float
    whole: float
    cpu: float
    peak: int


def ours(service: Standin, images: int, in_flight: int, folder: Path) -> Result:
    """``main.py``, one idea from the offline writer."""
    command = [ROOT / "main.py", str(images), f"{SIDE}x{SIDE}", "--dalle", "--writer", "composer", "--yes", "--json"]
    settings = {**service.settings, "IMAGES_IN_FLIGHT": str(in_flight)}
    child = run([*command, "--output", folder], settings=settings)
    assert json.loads(child.stdout)["done"] == images, child.stdout
    return measured(service, child, images)


def theirs(service: Standin, images: int, in_flight: int, folder: Path) -> Result:
    """The loop below."""
    numbers = ["--images", str(images), "--in-flight", str(in_flight)]
    child = run([__file__, "--gather", service.url, *numbers, "--output", folder])
    assert len(list(folder.glob("*.png"))) == images
    return measured(service, child, images)


def measured(service: Standin, child: Child, images: int) -> Result:
    bill = service.bill()
    assert len(bill["done"]) == images
    return Result(images / bill["seconds"], images / child.wall, child.cpu / images * 1e3, bill["peak"])


def compare(in_flight: int, delay: float, images: int, pairs: int) -> None:
    """Both in turn, the first one changing."""
    found: dict[str, list[Result]] = {"ours": [], "theirs": []}
    with standin("openai", delay=delay, image_size=[SIDE, SIDE]) as service:
        for turn in range(pairs):
            for name, program in (("ours", ours), ("theirs", theirs))[:: -1 if turn % 2 else 1]:
                service.forget()
                with scratch() as folder:
                    found[name].append(program(service, images, in_flight, folder))
    title(f"{images:,} answers of {delay * 1e3:.0f} ms, {in_flight} in flight; median of {pairs} pairs")
    row("ideal", f"{in_flight / delay:.0f}/s")
    labels = {"ours": "main.py", "theirs": "asyncio.gather over AsyncOpenAI"}
    for name, label in labels.items():
        results = found[name]
        rates = f"{median([one.rate for one in results]):.0f}/s"
        row(f"{label}, first request to last answer", rates)
    row("  ratio", f"{share(found, 'rate'):.2f}", f">= {GOAL}", share(found, "rate") / GOAL)
    for name, label in labels.items():
        row(f"{label}, whole process", f"{median([one.whole for one in found[name]]):.0f}/s")
    row("  ratio", f"{share(found, 'whole'):.2f}")
    for name, label in labels.items():
        row(f"{label}, processor time per image", f"{median([one.cpu for one in found[name]]):.1f} ms")
    row("most requests at once, main.py; gather", "; ".join(str(max(r.peak for r in found[n])) for n in labels))


def share(found: dict[str, list[Result]], what: str) -> float:
    """Ours / theirs."""
    pairs = zip(found["ours"], found["theirs"], strict=True)
    return ratio([(getattr(one, what), getattr(other, what)) for one, other in pairs])


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


async def gather(url: str, images: int, in_flight: int, folder: Path) -> None:
    """What one would write by hand."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0, timeout=300)
    gate = asyncio.Semaphore(in_flight)
    prompt = "word " * 90

    async def one(number: int) -> None:
        async with gate:
            answer = await client.images.generate(
                model="gpt-image-2.6-flare", prompt=prompt, n=1, size="1024x1024", quality="medium"
            )
        assert answer.data and answer.data[0].b64_json
        (folder / f"{number}.png").write_bytes(base64.b64decode(answer.data[0].b64_json))

    await asyncio.gather(*(one(number) for number in range(images)))


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one pair of each, half the images")
    parser.add_argument("--gather", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--in-flight", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gather:
        asyncio.run(gather(options.gather, options.images, options.in_flight, options.output))
        return
    print(machine())
    for in_flight, delay, images in CASES:
        compare(in_flight, delay, images // 2 if options.quick else images, 1 if options.quick else PAIRS)


if __name__ == "__main__":
    sys.exit(main())
