"""Does the prompt list stay as fast and as whole as it was when new: ``python benchmarks/csv_append.py`` from the
project folder.

One row at a time is appended to a short and to a long file, in turn; then many processes append to one file at once.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import ROOT, machine, ratio, row, scratch, title

from models.contract import Concept
from tirada.output.prompts_csv import append_rows, read_rows

SHORT, LONG = 100, 100_000
APPENDS, QUICK_APPENDS = 300, 60
PROCESSES = 8
EACH, QUICK_EACH = 200, 40
GOAL_RATIO = 1.2


def concept(name: str) -> Concept:
    """A row with what makes rows hard: quotes, commas, line ends and letters beyond ASCII."""
    return Concept(
        title=f'A "quiet" harbour, {name}',
        description=f"Fishing boats at first light, seen from the mole ({name}).\nÉtude nº 7; 写真, twelve in all.",
        metatags=("harbour", "boats", "dawn", "calm water", name),
        prompt=f'wide photograph of a "quiet" harbour at dawn, fishing boats, low mist, 35 mm, {name} ' * 4,
    )


def time_one(path: Path, name: str) -> float:
    """Seconds that one append takes."""
    rows = [concept(name)]
    start = time.perf_counter()
    append_rows(path, rows)
    return time.perf_counter() - start


def compare(folder: Path, appends: int) -> None:
    """The same append to a short and to a long file."""
    short, long = folder / "short.csv", folder / "long.csv"
    append_rows(short, [concept(f"row {number}") for number in range(SHORT)])
    append_rows(long, [concept(f"row {number}") for number in range(LONG)])
    pairs = [(time_one(long, f"new {number}"), time_one(short, f"new {number}")) for number in range(appends)]
    title(f"Append of one row, median of {appends} pairs")
    for label, size, times in (("short", SHORT, [p[1] for p in pairs]), ("long", LONG, [p[0] for p in pairs])):
        megabytes = (folder / f"{label}.csv").stat().st_size / 1e6
        row(f"onto {size:,} rows ({megabytes:.1f} MB)", f"{statistics.median(times) * 1e3:.3f} ms")
    share = ratio(pairs)
    row("long / short", f"{share:.2f}", f"<= {GOAL_RATIO}", share / GOAL_RATIO)


def race(folder: Path, each: int) -> None:
    """Many processes at once; every row has to be there, whole, once."""
    path = folder / "race.csv"
    gate = folder / "gate"
    command = [sys.executable, __file__, "--append", str(each), "--to", str(path), "--gate", str(gate)]
    children = [subprocess.Popen([*command, "--name", f"process {n}"], cwd=ROOT) for n in range(PROCESSES)]
    while len(list(folder.glob("ready-*"))) < PROCESSES and all(child.poll() is None for child in children):
        time.sleep(0.01)
    start = time.perf_counter()
    gate.touch()
    codes = [child.wait() for child in children]
    wall = time.perf_counter() - start
    expected = {concept(f"process {n}, row {number}").prompt for n in range(PROCESSES) for number in range(each)}
    found = [item.prompt for item in read_rows(path)]
    with path.open(encoding="utf-8", newline="") as file:
        torn = sum(len(record) != 4 for record in csv.reader(file))
    torn += not path.read_bytes().endswith(b"\r\n")
    title(f"{PROCESSES} processes at once, {each} appends each")
    row("torn lines", f"{torn}", "0")
    row("rows there, whole and once", f"{len(found):,}", f"{len(expected):,}", len(found) / len(expected))
    row("rows missing or not ours", f"{len(expected.symmetric_difference(found))}", "0")
    row("processes that failed", f"{sum(code != 0 for code in codes)}", "0")
    row("appends per second, all together", f"{len(expected) / wall:,.0f}")


def append(options: argparse.Namespace) -> None:
    """What each racing process does: wait for the start, then append row by row."""
    options.gate.with_name(f"ready-{options.name}").touch()
    while not options.gate.exists():
        time.sleep(0.001)
    for number in range(options.append):
        append_rows(options.to, [concept(f"{options.name}, row {number}")])


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer appends")
    parser.add_argument("--append", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.append:
        append(options)
        return
    print(machine())
    with scratch() as folder:
        compare(folder, QUICK_APPENDS if options.quick else APPENDS)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        race(folder, QUICK_EACH if options.quick else EACH)


if __name__ == "__main__":
    main()
