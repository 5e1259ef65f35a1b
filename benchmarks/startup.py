"""How long the command line takes to say something: ``python benchmarks/startup.py`` from the project folder.

Compared with Python itself and with ``llm --help`` (PyPI: llm), a tool of the same kind. Where llm is not installed it
goes into a temporary environment; our own is left alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from common import ROOT, machine, ratio, row, run, scratch, title

RUNS, QUICK_RUNS = 15, 5
GOAL_SECONDS, GOAL_SHARE = 0.3, 0.25


def install_llm(folder: Path) -> Path | None:
    """The Python of an environment with llm in it; None (and a line saying why) where it cannot be had."""
    if importlib.util.find_spec("llm") is not None:
        return Path(sys.executable)
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "llm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return python
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    print(f"llm cannot be installed here ({reason}); where there is a network: pip install llm, then run this again.")
    return None


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    runs = QUICK_RUNS if parser.parse_args().quick else RUNS
    with scratch() as folder:
        commands: dict[str, list[str | Path]] = {
            "python -c pass": ["-c", "pass"],
            "main.py --help": [ROOT / "main.py", "--help"],
            "main.py --version": [ROOT / "main.py", "--version"],
        }
        pythons: dict[str, Path] = {}
        if (other := install_llm(folder / "venv")) is not None:
            commands["llm --help"] = ["-m", "llm", "--help"]
            # Its settings and logs belong into the folder that goes away.
            pythons["llm --help"] = other
        times: dict[str, list[float]] = {name: [] for name in commands}
        settings = {"LLM_USER_PATH": str(folder)}
        for turn in range(runs + 1):
            for name, arguments in commands.items():
                wall = run(arguments, settings=settings, python=pythons.get(name)).wall
                # The first turn only fills the caches (compiled modules, pages of the disk).
                if turn:
                    times[name].append(wall)

    def pairs(one: str, two: str) -> list[tuple[float, float]]:
        return list(zip(times[one], times[two], strict=True))

    print(machine())
    title(f"Start-up, median of {runs} runs taken in turn")
    for name, walls in times.items():
        median = statistics.median(walls)
        if name == "main.py --help":
            row(name, f"{median:.3f} s", f"<= {GOAL_SECONDS} s", median / GOAL_SECONDS)
        else:
            row(name, f"{median:.3f} s")
    row("main.py --help / python -c pass", f"{ratio(pairs('main.py --help', 'python -c pass')):.1f}")
    if "llm --help" in times:
        share = ratio(pairs("main.py --help", "llm --help"))
        row("main.py --help / llm --help", f"{share:.3f}", f"<= {GOAL_SHARE}", share / GOAL_SHARE)
        row("main.py --version / llm --help", f"{ratio(pairs('main.py --version', 'llm --help')):.3f}")


if __name__ == "__main__":
    main()
