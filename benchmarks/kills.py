"""1,000 SIGKILLs at random instants, each followed by a resume: ``python benchmarks/kills.py`` from the project folder.

Drafts, OpenAI images written by GPT, jobs of Black Forest Labs, and lists of prompts; the real command line, two runs
at a time, against stand-ins that survive and keep their own bills. About 15 minutes; --kills N, --quick does 25.
Ends with exit code 1 where a claim fails; the folder of a run in which one failed is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from common import Claims, machine, row, scratch, title
from standins import Standin, standin
from wrecks import KINDS, PHASES, Campaign, Kind, Tally

KILLS, QUICK_KILLS = 1_000, 25
AT_ONCE = 2
#: A run that takes longer hangs, in seconds.
PATIENCE = 120.0
#: Share of the kills that fall into the start-up; all others come after the first write to the store.
START_UP = 0.1

#: What must not be: all that a campaign counts as a fault.
NEVER = (
    "received images lost",
    "received images paid again",
    "half files",
    "temporary files left",
    "folders that are not sound",
    "torn CSV lines",
    "prompts missing in the CSV",
    "prompts twice in the CSV",
    "jobs with an id paid twice",
    "jobs with an id not collected",
    "jobs nobody knows",
    "jobs known that were never billed",
    "calls cut off and not listed as in doubt",
    "calls in doubt that `costs` does not count",
    "calls left open",
    "billed, and neither on disk nor in doubt",
    "settled, and never billed",
    "images settled twice",
    "ledgers below the bill",
    "accounts unlike their calls",
    "items missing",
    "runs not done",
    "processes that failed",
    "bugs of this benchmark",
)


class Worker:
    """Does campaign after campaign until there were enough kills."""

    def __init__(self, number: int, seed: int, tally: Tally, folder: Path, services: Mapping[str, Standin]) -> None:
        self._dice = random.Random(f"kills/{seed}/{number}")
        self._tally = tally
        self._folder = folder
        self._services = services
        self._number = number
        #: Kind -> seconds until the store is there, and until the end.
        self._times: dict[str, tuple[float, float]] = {}

    def work(self) -> None:
        try:
            deck = [kind for kind in KINDS for _ in range(kind.share)]
            for kind in KINDS:
                self._times[kind.name] = self._measure(kind)
            turn = 0
            while self._tally.more:
                if turn % len(deck) == 0:
                    self._dice.shuffle(deck)
                self._campaign(deck[turn % len(deck)], f"{self._number}-{turn}")
                turn += 1
        except BaseException:
            self._tally.fault("bugs of this benchmark", 1, self._folder, traceback.format_exc()[-500:])
            raise

    def _measure(self, kind: Kind) -> tuple[float, float]:
        """A run that nobody kills."""
        with self._made(kind, f"{self._number}-{kind.name.replace(' ', '-')}") as campaign:
            began = time.monotonic()
            child = campaign.start()
            while child.poll() is None and not (campaign.output / "tirada.db").exists():
                time.sleep(0.005)
            opened = time.monotonic() - began
            child.wait(PATIENCE)
            campaign.ended(child)
            whole = time.monotonic() - began
            campaign.finish()
        return opened, whole

    @contextlib.contextmanager
    def _made(self, kind: Kind, name: str) -> Iterator[Campaign]:
        folder = self._folder / name
        folder.mkdir()
        before = len(self._tally.wrong)
        yield Campaign(kind, folder, self._services.get(kind.service), self._tally)
        if not any(str(folder) in text for text in self._tally.wrong[before:]):
            shutil.rmtree(folder)

    def _campaign(self, kind: Kind, name: str) -> None:
        with self._made(kind, name) as campaign:
            while self._tally.reserve():
                child = campaign.start()
                if not self._kill(child, kind, campaign):
                    self._tally.give_back()
                    break
                self._tally.killed(kind.name, campaign.look())
            else:
                child = campaign.start()
                child.wait(PATIENCE)
            campaign.ended(child)
            campaign.finish()

    def _kill(self, child: subprocess.Popen[bytes], kind: Kind, campaign: Campaign) -> bool:
        """Kill the process in its start-up, or at any time after; False where it has come to its end before."""
        opened, whole = self._times[kind.name]
        if self._dice.random() < START_UP:
            delay = self._dice.uniform(0, opened)
        else:
            before = campaign.written()
            while child.poll() is None and campaign.written() == before:
                time.sleep(0.002)
            delay = self._dice.uniform(0, (whole - opened) * max(campaign.missing, 0.7) * campaign.longer * 1.1)
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
        return child.wait() == -signal.SIGKILL


def report(tally: Tally) -> int:
    """The tables."""
    kinds = [kind.name for kind in KINDS]
    print(f"\n{'Kills by the moment they hit':<44}" + "".join(f"{name:>14}" for name in kinds) + f"{'all':>8}")
    for phase in PHASES:
        counts = [tally.kills[name, phase] for name in kinds]
        print(f"{phase:<44}" + "".join(f"{count:>14,}" for count in counts) + f"{sum(counts):>8,}")
    counts = [sum(count for (name, _), count in tally.kills.items() if name == kind) for kind in kinds]
    print(f"{'all':<44}" + "".join(f"{count:>14,}" for count in counts) + f"{sum(counts):>8,}")
    figures, claims = tally.figures, Claims()
    title("What was there in the end")
    claims.equal("kills", tally.kills.total(), tally.wanted)
    row("runs, every one finished by resume", f"{figures['runs']:,}")
    row("images on disk; rows in lists of prompts", f"{figures['files']:,}; {figures['rows']:,}")
    row("images seen received right after a kill", f"{figures['safe']:,}")
    row("jobs with an id waiting right after a kill", f"{figures['jobs_open']:,}")
    row("calls cut off by a kill", f"{figures['cut']:,}")
    row("calls listed as in doubt (images; all)", f"{figures['image_doubts']:,}; {figures['doubts']:,}")
    reached = figures["billed"] - figures["paid_files"]
    row("images billed by the services", f"{figures['billed']:,}")
    row("  of these on disk", f"{figures['paid_files']:,}")
    row("  of these in doubt", f"{reached:,}", f"<= {figures['image_doubts']:,}")
    row("bill of the services; ledger, USD", f"{tally.money['billed']:.2f}; {tally.money['ledger']:.2f}")
    title("Claims")
    for what in NEVER:
        claims.equal(what, figures[what], 0)
    for text in tally.wrong[:20]:
        print(text)
    row("it took", f"{time.monotonic() - tally.began:.0f} s")
    return claims.conclude()


def main() -> int:
    """Kill, resume, look and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(machine(), flush=True)
    tally = Tally(QUICK_KILLS if options.quick else options.kills)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch())
        workers = []
        for number in range(AT_ONCE):
            services = {
                "openai": stack.enter_context(standin("openai", delay=0.05, image_size=[64, 64])),
                "bfl": stack.enter_context(standin("bfl", delay=0.02, seconds=0.3, image_size=[64, 64])),
            }
            workers.append(Worker(number, options.seed, tally, folder, services))
        threads = [threading.Thread(target=worker.work) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if tally.wrong:
            kept = Path(tempfile.mkdtemp(prefix="tirada-kills-"))
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            print(f"\nkept: {kept}")
        return report(tally)


if __name__ == "__main__":
    sys.exit(main())
