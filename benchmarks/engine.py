"""What the engine costs beside the images themselves: ``python benchmarks/engine.py`` from the project folder.

First drafts of 64x64 through the real command line, against a loop in one process that draws the very same ones and
saves them with Pillow; with the memory of small and large runs. Then a stand-in of OpenAI Images that takes 200 ms for
each answer, 32 under way at once, against what these delays alone add up to. It takes some minutes; --quick one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from common import ROOT, Child, machine, ratio, row, run, scratch, title

SIDE = 64
SEED = 7
DELAY, IN_FLIGHT, ANSWERS = 0.2, 32, 1_000
GOAL_WALL, GOAL_MEMORY = 1.05, 50
KEY = "sk-bench"


# --- drafts


def draft(folder: Path, count: int, ideas: int) -> Child:
    """``main.py COUNT 64x64 --draft`` in a process of its own, into a new folder."""
    command = [ROOT / "main.py", count, f"{SIDE}x{SIDE}", "--draft", "--seed", SEED, "--quiet", "--output", folder]
    more = ["--prompts", ideas] if ideas > 1 else []
    return run([str(part) for part in [*command, *more]])


def plain(folder: Path) -> None:
    """The images of a finished run once more, drawn and saved one after the other; prints what that takes."""
    from models.backends.draft import DraftBackend
    from tirada.engine.plan import request_from_json

    query = "SELECT c.request, i.seed FROM images i JOIN concepts c ON c.id = i.concept_id ORDER BY i.id"
    requests = [
        request_from_json(json.loads(text), seed) for text, seed in sqlite3.connect(folder / "tirada.db").execute(query)
    ]
    backend = DraftBackend()
    target = folder / "plain"
    target.mkdir()
    start, start_cpu = time.perf_counter(), time.process_time()
    for number, request in enumerate(requests):
        (drawn,) = backend.generate([request])
        drawn.image.save(target / f"{number}.png")
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    print(json.dumps({"images": len(requests), "seconds": seconds, "cpu": cpu}))


def drafts(quick: bool) -> None:
    """Time per image and memory, by the size of the run."""
    small, large = (200, 1_000) if quick else (1_000, 10_000)
    pairs = 1 if quick else 3
    peaks: dict[int, list[float]] = {100: [], small: [], large: []}
    title(f"Drafts of {SIDE}x{SIDE}, main.py against a loop that only draws and saves; processor time")
    with scratch() as folder:
        # The first one fills the caches.
        start = min((draft(folder / str(turn), 1, 1) for turn in range(3)), key=attrgetter("cpu"))
    row("main.py with 1 image: imports, the store, the folder's pages", f"{start.cpu * 1e3:.0f} ms")
    for ideas_of in (None, 100):
        with scratch() as folder:
            peaks[100].append(draft(folder, *split(100, ideas_of and 10)).peak)
        for size, turns in ((small, pairs), (large, 1)):
            peaks[size].append(compare(size, ideas_of, turns, start))
    title("Peak memory of main.py")
    for label, column in (("one idea", 0), ("100 images of each idea (10 in the smallest run)", 1)):
        for size, found in peaks.items():
            more = found[column] - peaks[100][column]
            last = size == large
            goal, share = (f"<= +{GOAL_MEMORY} MB", more / GOAL_MEMORY) if last else ("", None)
            row(f"{size:,} images, {label}", f"{found[column]:.0f} ({more:+.0f}) MB", goal, share)


def split(size: int, each: int | None) -> tuple[int, int]:
    """COUNT and how many ideas."""
    return (size, 1) if each is None else (each, size // each)


def compare(size: int, each: int | None, turns: int, start: Child) -> float:
    """Run and loop in turn; prints, and returns the largest peak in MB. ``start`` is what a run takes anyway."""
    count, ideas = split(size, each)
    ours: list[Child] = []
    loops: list[dict[str, float]] = []
    for _ in range(turns):
        with scratch() as folder:
            ours.append(draft(folder, count, ideas))
            loops.append(json.loads(run([__file__, "--plain", folder]).stdout))
        assert loops[-1]["images"] == size, loops[-1]
    cpu = [(child.cpu, loop["cpu"]) for child, loop in zip(ours, loops, strict=True)]
    wall = [(child.wall, loop["seconds"]) for child, loop in zip(ours, loops, strict=True)]
    extra = statistics.median(mine - start.cpu - bare for mine, bare in cpu)
    what = f"{size:,} images" + (f" of {ideas:,} ideas" if ideas > 1 else "")
    row(f"{what}: the loop, per image", f"{statistics.median(bare for _, bare in cpu) / size * 1e3:.2f} ms")
    row(f"{what}: main.py, per image", f"{statistics.median(mine for mine, _ in cpu) / size * 1e3:.2f} ms")
    row(f"{what}: the engine's part, start-up aside", f"{extra / size * 1e3:.2f} ms")
    row(f"{what}: main.py / loop", f"{ratio(cpu):.2f}")
    row(f"{what}: main.py / loop, by the clock", f"{ratio(wall):.2f}")
    return max(child.peak for child in ours)


# --- a service that takes its time


def service(quick: bool) -> None:
    """Many answers of 200 ms, for us and for a loop that throws them away."""
    from tests.servers.openai_api import OpenAIServer

    class Clocked(OpenAIServer):
        """Knows when the first request came."""

        first = math.inf

        def handle(self, *request: Any) -> Any:
            self.first = min(self.first, time.time())
            return super().handle(*request)

    answers = 320 if quick else ANSWERS
    rounds = math.ceil(answers / IN_FLIGHT) * DELAY
    pairs = 1 if quick else 3
    phases, engines, walls, bares = [], [], [], []
    for _ in range(pairs):
        with Clocked(key=KEY, delay=DELAY, image_size=(SIDE, SIDE), record=False) as server:
            bares.append(float(run([__file__, "--bare", server.url, "--answers", str(answers)]).stdout))
            server.first = math.inf
            with scratch() as folder:
                settings = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "IMAGES_IN_FLIGHT": str(IN_FLIGHT)}
                settings["CONFIRM_ABOVE_USD"] = "1000"
                child, report = render(folder, answers, settings)
                phases.append(last_saved(folder) - server.first)
            engines.append(report["seconds"])
            walls.append(child.wall)
    title(
        f"{answers:,} images of a service that takes {DELAY * 1e3:.0f} ms, {IN_FLIGHT} in flight, answers {SIDE}x{SIDE}"
    )
    row(f"ideal: {math.ceil(answers / IN_FLIGHT)} rounds", f"{rounds:.2f} s")
    for label, times in (
        ("a loop that posts and throws the answers away", bares),
        ("first request to last image saved", phases),
        ("the engine's own count (the OpenAI SDK's import included)", engines),
        ("whole process (Python, imports, writing the prompt)", walls),
    ):
        median = statistics.median(times)
        goal = f"<= {rounds * GOAL_WALL:.2f} s" if times is phases else ""
        row(label, f"{median:.2f} s", goal, median / rounds)
    share = ratio(list(zip(phases, bares, strict=True)))
    row("first request to last image saved / the loop, pair by pair", f"{share:.2f}")
    smooth = answers / IN_FLIGHT * DELAY
    print(f"(ratio = measured / ideal; were the last round full too, the ideal would be {smooth:.2f} s)")


def render(folder: Path, answers: int, settings: Mapping[str, str]) -> tuple[Child, dict[str, Any]]:
    """``main.py COUNT 64x64 --dalle``: the size is rendered larger there, but the stand-in sends 64x64 all the same."""
    command = [ROOT / "main.py", str(answers), f"{SIDE}x{SIDE}", "--dalle", "--writer", "composer", "--seed", str(SEED)]
    child = run([*command, "--json", "--output", folder], settings=settings)
    report = json.loads(child.stdout)
    assert report["done"] == answers, report
    return child, report


def last_saved(folder: Path) -> float:
    """When the last image was on disk and its row in the store."""
    (stamp,) = sqlite3.connect(folder / "tirada.db").execute("SELECT max(updated_at) FROM images").fetchone()
    return datetime.fromisoformat(stamp).timestamp()


def bare(url: str, answers: int) -> None:
    """The same requests from as many threads, with nothing done about the answers; prints the seconds that takes."""
    host, _, root = url.removeprefix("http://").partition("/")
    body = json.dumps({"model": "gpt-image-2", "prompt": "word " * 90, "n": 1, "size": "1024x1024", "quality": "low"})
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    local = threading.local()

    def post(_: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(host)
        local.connection.request("POST", f"/{root}/images/generations", body, headers)
        answer = local.connection.getresponse()
        assert answer.status == 200 and answer.read(), answer.status

    start = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(post, range(answers)))
    print(time.perf_counter() - start)


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--only", choices=("drafts", "service"), help="one half of it")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--answers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        return plain(options.plain)
    if options.bare:
        return bare(options.bare, options.answers)
    print(machine())
    # In this order: the stand-in makes this process larger, and the peak of a child is never below its parent's.
    if options.only != "service":
        drafts(options.quick)
    if options.only != "drafts":
        service(options.quick)
    return None


if __name__ == "__main__":
    sys.exit(main())
