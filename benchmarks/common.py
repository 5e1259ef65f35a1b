"""What the benchmarks share: the machine in one line, child processes with their time and memory, and the table.

Invariant: whoever measures children imports nothing heavy, because Linux counts what a parent held at its largest
towards the peak of the child it starts.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

#: Settings that would change what is measured; a child gets none of the user's.
OURS = (
    *("OPENAI_", "WRITER", "DALLE_", "BFL_", "FLUX_", "BACKEND", "SIZE", "FORMAT", "CATALOG_FILE"),
    *("IMAGES_IN_FLIGHT", "SAVE_THREADS", "MIN_FREE_MB", "OUTPUT_DIR", "DATA_DIR", "TUNING_DIR"),
    *("RETRY_", "REQUEST_", "JOB_", "BUDGET_", "CONFIRM_", "STABLE_DIFFUSION_", "HF_TOKEN"),
)


@dataclass(frozen=True, slots=True)
class Child:
    """A finished process: wall time and processor time in seconds, peak resident memory in MB, stdout, exit code."""

    wall: float
    cpu: float
    peak: float
    stdout: str
    code: int


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: ours without the user's settings, and with these."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(OURS)}, **(settings or {})}


def run(
    arguments: Sequence[str | Path],
    *,
    settings: Mapping[str, str] | None = None,
    python: Path | None = None,
    codes: Sequence[int] = (0,),
) -> Child:
    """Run Python (this very one by default) to its end; an exit code not among ``codes`` ends the benchmark here."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(python or sys.executable), *map(str, arguments)],
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=environment(settings),
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode not in codes:
            sys.exit(f"{' '.join(map(str, arguments))} ended with {child.returncode}:\n{err.read()[-2000:]}")
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return Child(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit, out.read(), child.returncode)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what a benchmark writes, gone afterwards; on the disk of the system's temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="tirada-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> str:
    """The facts that figures depend on, in one line."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores{load}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Median of first/second over measurements taken in pairs, so that a busy minute spoils both alike."""
    return statistics.median(first / second for first, second in pairs)


def title(text: str) -> None:
    print(f"\n{text}\n{'':<58}{'measured':>14}{'goal':>14}{'ratio':>8}")


def row(figure: str, measured: str, goal: str = "", share: float | None = None) -> None:
    """A line of the table; ``share`` is what the last column shows."""
    print(f"{figure:<58}{measured:>14}{goal:>14}{'' if share is None else f'{share:.2f}':>8}", flush=True)


class Claims:
    """What has to be so: counts and shows what is not."""

    def __init__(self) -> None:
        self.made = 0
        self.failed: list[str] = []

    def hold(self, what: str, truth: bool, measured: str = "", goal: str = "") -> bool:
        """A claim; without figures only one that fails is shown."""
        self.made += 1
        if not truth:
            self.failed.append(what)
        if measured or not truth:
            row(what, measured or "no", goal)
        return truth

    def equal(self, what: str, measured: int | Decimal, goal: int | Decimal) -> bool:
        """The claim that two figures are one."""
        return self.hold(what, measured == goal, f"{measured:,}", f"{goal:,}")

    def conclude(self) -> int:
        """Say so; the exit code."""
        for what in self.failed:
            print(f"FAILED: {what}")
        print(f"\n{self.made - len(self.failed)} of {self.made} claims hold.", flush=True)
        return 1 if self.failed else 0
