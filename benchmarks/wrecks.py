"""One run that is killed again and again: what a kill leaves behind, and what has to be there in the end.

Invariant: right after a kill the store is only looked at in a copy, because to open it would already mend it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from common import ROOT, environment
from standins import Standin, prompt_id

from tests.run_tools import check_output
from tirada.store.queries import spending
from tirada.store.store import Store

PER_IDEA, SIZE = 4, "64x64"
LONGER = 1.3
CALM = {"RETRY_WAIT_SECONDS": "0", "MIN_FREE_MB": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: what is typed and set, and how many of its items it makes."""

    name: str
    command: tuple[str, ...]
    items: int
    share: int
    settings: Mapping[str, str] = field(default_factory=dict)
    service: str = ""


def _images(ideas: int, *more: str) -> tuple[str, ...]:
    return (str(PER_IDEA), SIZE, "--prompts", str(ideas), "--role", "artist", *more)


GPT = {"WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "2"}
KINDS = (
    Kind("draft", _images(15, "--draft"), 60, 2),
    Kind("dalle", _images(10, "--dalle"), 40, 3, {**GPT, "IMAGES_IN_FLIGHT": "4"}, "openai"),
    Kind("flux-api", _images(10, "--flux-api"), 40, 3, {"IMAGES_IN_FLIGHT": "12"}, "bfl"),
    Kind("only prompts", ("100", "--only-prompts", "--role", "artist"), 100, 2, GPT, "openai"),
)
PHASES = (
    "start-up, before the run is in the store",
    "start-up of a resume",
    "writing prompts",
    "rendering",
    "saving",
    "finishing",
    "after the last row",
)


class Tally:
    """What all campaigns found, and how many kills there are still to do; safe to share between threads."""

    def __init__(self, kills: int) -> None:
        self.wanted = kills
        self.began = time.monotonic()
        self.figures: Counter[str] = Counter()
        self.money: dict[str, Decimal] = {"billed": Decimal(0), "ledger": Decimal(0)}
        self.kills: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self._reserved = 0
        self._lock = threading.Lock()

    def reserve(self) -> bool:
        """Take one of the kills still to do."""
        with self._lock:
            free = self.kills.total() + self._reserved < self.wanted and not self.hopeless
            self._reserved += free
            return free

    def give_back(self) -> None:
        """It met no living process."""
        with self._lock:
            self._reserved -= 1

    @property
    def more(self) -> bool:
        return self.kills.total() < self.wanted and not self.hopeless

    @property
    def hopeless(self) -> bool:
        """So much is wrong that more of it helps nobody."""
        return len(self.wrong) > 50 or self.figures["bugs of this benchmark"] > 0

    def killed(self, kind: str, phase: str) -> None:
        with self._lock:
            self.kills[kind, phase] += 1
            self._reserved -= 1
            done = self.kills.total()
        if done % max(10, self.wanted // 20) == 0:
            took = time.monotonic() - self.began
            print(f"  {done} kills, {self.figures['runs']} runs, {took:.0f} s", file=sys.stderr, flush=True)

    def add(self, **figures: int) -> None:
        with self._lock:
            self.figures.update(figures)

    def spend(self, billed: Decimal, ledger: Decimal) -> None:
        with self._lock:
            self.money["billed"] += billed
            self.money["ledger"] += ledger

    def fault(self, what: str, number: int, where: Path, details: Any = "") -> None:
        """Count something that must not be."""
        if number:
            with self._lock:
                self.figures[what] += number
                self.wrong.append(f"{what}: {number} in {where} {details}"[:600])


class Campaign:
    """One run from its start to its end, with all the kills on the way."""

    def __init__(self, kind: Kind, folder: Path, service: Standin | None, tally: Tally) -> None:
        self.kind = kind
        self.output = folder / "output"
        self.tally = tally
        self._folder = folder
        self._service = service
        self._settings = {**CALM, **kind.settings, **(service.settings if service else {})}
        #: Image -> (calls it had, hash of its file if finished) when it was first seen received.
        self._safe: dict[int, tuple[int, str | None]] = {}
        #: Calls whose answers a kill took; jobs that the service had confirmed by then.
        self._cut: set[str] = set()
        self._jobs: set[str] = set()
        self._looked_at: set[tuple[Path, int]] = set()
        self._last: Any = None
        #: Share of the items still to be made, and how much longer the next life may be than the last: a run whose
        #: every life ends before it has made anything would never end.
        self.missing = 1.0
        self.longer = 1.0
        if service:
            service.forget()

    def start(self) -> subprocess.Popen[bytes]:
        """The run, or its resume where the store knows of one."""
        command = ["resume"] if self._begun() else list(self.kind.command)
        command = [sys.executable, str(ROOT / "main.py"), *command, "--quiet", "--output", str(self.output)]
        with (self._folder / "out").open("ab") as out, (self._folder / "err").open("wb") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            return subprocess.Popen(command, cwd=ROOT, env=environment(self._settings), **streams)

    def ended(self, child: subprocess.Popen[bytes]) -> None:
        """A process came to its end by itself."""
        if child.returncode:
            said = (self._folder / "err").read_text(errors="replace")[-400:]
            self.tally.fault("processes that failed", 1, self._folder, f"exit code {child.returncode}: {said}")

    def written(self) -> int:
        """Changes with every write to the store."""
        with contextlib.suppress(FileNotFoundError):
            return (self.output / "tirada.db-wal").stat().st_mtime_ns
        return 0

    def _begun(self) -> bool:
        with self._store() as store:
            return store is not None and bool(_one(store, "SELECT count(*) FROM runs WHERE status != 'preparing'"))

    @contextlib.contextmanager
    def _store(self) -> Iterator[sqlite3.Connection | None]:
        """A copy of the store as it lies there: to open it would already mend it. None before there are tables."""
        with tempfile.TemporaryDirectory(prefix="tirada-wreck-") as folder:
            for name in ("tirada.db", "tirada.db-wal"):
                if (self.output / name).exists():
                    shutil.copy(self.output / name, folder)
            with contextlib.closing(sqlite3.connect(Path(folder) / "tirada.db")) as store:
                tables = _one(store, "SELECT count(*) FROM sqlite_master WHERE name = 'memory'")
                yield store if tables else None

    # --- right after a kill

    def look(self) -> str:
        """What a kill left behind; returns the phase that it hit."""
        self._look_at_files()
        with self._store() as store:
            if store is None or not _one(store, "SELECT count(*) FROM runs WHERE status != 'preparing'"):
                return PHASES[0]
            states = Counter(dict(store.execute("SELECT state, count(*) FROM images GROUP BY state").fetchall()))
            self._note_safe(store)
            self._note_calls(store)
            return self._phase(store, states)

    def _phase(self, store: sqlite3.Connection, states: Counter[str]) -> str:
        concepts = Counter(dict(store.execute("SELECT status, count(*) FROM concepts GROUP BY status").fetchall()))
        prompts_only = self.kind.name == "only prompts"
        done = concepts["done"] if prompts_only else states["done"]
        missing = 1 - done / self.kind.items
        self.longer = 1.0 if missing < self.missing else self.longer * LONGER
        self.missing = missing
        calls = _one(store, "SELECT count(*) FROM calls")
        ended = _one(store, "SELECT count(*) FROM runs WHERE status = 'done'")
        now = (states, concepts, calls, self._left())
        before, self._last = self._last, now
        if ended:
            return "after the last row"
        if now == before:
            return "start-up of a resume"
        if done == self.kind.items:
            return "finishing"
        if prompts_only or not states or states.total() == states["planned"]:
            return "writing prompts"
        return "saving" if states["received"] or self._left() else "rendering"

    def _left(self) -> int:
        """Files that are under way."""
        return sum(1 for path in self.output.rglob("*") if path.suffix in (".tmp", ".received"))

    def _look_at_files(self) -> None:
        """Files under their final names are whole at any instant."""
        for path in self.output.glob("*/[0-9]*.png"):
            seen = (path, path.stat().st_mtime_ns)
            if seen not in self._looked_at:
                self._looked_at.add(seen)
                self.tally.fault("half files", not _decodes(path), self._folder, path)
        self.tally.fault("torn CSV lines", _torn(self.output / "batch_prompts.csv"), self._folder)

    def _note_safe(self, store: sqlite3.Connection) -> None:
        """Images whose bytes had arrived: their row says so, or the bytes lie there."""
        query = """SELECT i.id, i.state, i.position, i.sha256, i.file, c.folder,
                   (SELECT count(*) FROM calls WHERE image_id = i.id)
                   FROM images i JOIN concepts c ON c.id = i.concept_id"""
        for image, state, position, sha256, file, folder, calls in store.execute(query):
            spool = self.output / f"{folder}/.{position}.received"
            if state == "done":
                self.tally.fault("received images lost", not (self.output / folder / file).exists(), self._folder, file)
                self._safe[image] = (calls, sha256)
            elif state == "received" or spool.exists():
                self._safe.setdefault(image, (calls, None))
                self.tally.fault("received images lost", not spool.exists(), self._folder, spool)

    def _note_calls(self, store: sqlite3.Connection) -> None:
        """Calls that were under way."""
        for call, image, job in store.execute("SELECT id, image_id, job FROM calls WHERE state = 'open'"):
            if job is not None:
                self._jobs.add(call)
            elif image not in self._safe:
                self._cut.add(call)

    # --- at the end

    def finish(self) -> None:
        """The run has come to its end: everything has to be there, once, and paid once or listed."""
        self._look_at_files()
        fault = self.tally.fault
        fault("temporary files left", self._left(), self._folder)
        try:
            check_output(self.output)
        except (AssertionError, OSError, KeyError, ValueError) as exc:
            fault("folders that are not sound", 1, self._folder, repr(exc))
        with self._store() as store:
            assert store is not None
            states = Counter(dict(store.execute("SELECT state, count(*) FROM images GROUP BY state").fetchall()))
            done = states["done"]
            if self.kind.name == "only prompts":
                done = _one(store, "SELECT count(*) FROM concepts WHERE status = 'done'")
                self._compare_csv(store)
            fault("items missing", abs(self.kind.items - done), self._folder, states)
            fault(
                "runs not done",
                _one(store, "SELECT count(*) FROM runs WHERE status NOT IN ('done', 'preparing')"),
                self._folder,
            )
            self._check_safe(store)
            self._check_listed(store)
            self._check_bill(store)
        self.tally.add(runs=1, files=states["done"], rows=done - states["done"])

    def _compare_csv(self, store: sqlite3.Connection) -> None:
        with (self.output / "batch_prompts.csv").open(encoding="utf-8", newline="") as file:
            found = Counter((one["title"], one["prompt"]) for one in csv.DictReader(file))
        wanted = Counter(store.execute("SELECT title, prompt FROM concepts").fetchall())
        self.tally.fault("prompts missing in the CSV", (wanted - found).total(), self._folder)
        self.tally.fault("prompts twice in the CSV", (found - wanted).total(), self._folder)

    def _check_safe(self, store: sqlite3.Connection) -> None:
        """What was received once is done, as it was, and was never asked for again."""
        query = "SELECT id, state, sha256, (SELECT count(*) FROM calls WHERE image_id = images.id) FROM images"
        now = {image: rest for image, *rest in store.execute(query)}
        for image, (calls, sha256) in self._safe.items():
            state, hash_now, calls_now = now.get(image, ("gone", "", 0))
            same = state == "done" and sha256 in (None, hash_now)
            self.tally.fault("received images lost", not same, self._folder, f"image {image}: {state}")
            self.tally.fault("received images paid again", calls_now > calls, self._folder, f"image {image}")
        self.tally.add(safe=len(self._safe))

    def _check_listed(self, store: sqlite3.Connection) -> None:
        """Calls cut off are listed as in doubt, jobs with an id are settled, and nothing else is open."""
        states = dict(store.execute("SELECT id, state FROM calls").fetchall())
        unlisted = [call for call in self._cut if states[call] != "in_doubt"]
        self.tally.fault("calls cut off and not listed as in doubt", len(unlisted), self._folder, unlisted)
        lost = [call for call in self._jobs if states[call] != "settled"]
        self.tally.fault("jobs with an id not collected", len(lost), self._folder, lost)
        self.tally.fault("calls left open", sum(state == "open" for state in states.values()), self._folder)
        listed = Store(self.output / "tirada.db")
        try:
            said = sum(entry["in_doubt"] for entry in spending(listed, None))
        finally:
            listed.close()
        doubts = sum(state == "in_doubt" for state in states.values())
        self.tally.fault("calls in doubt that `costs` does not count", abs(said - doubts), self._folder)
        self.tally.add(cut=len(self._cut), jobs_open=len(self._jobs), doubts=doubts)

    def _check_bill(self, store: sqlite3.Connection) -> None:
        """Image by image as far as the service can tell them apart: billed = on disk + in doubt."""
        if self._service is None:
            return
        done = self._service.bill()["done"]
        settled, doubted = Counter[Any](), Counter[Any]()
        query = """SELECT k.kind, k.state, k.cost, c.prompt, i.seed FROM calls k
                   LEFT JOIN images i ON i.id = k.image_id LEFT JOIN concepts c ON c.id = i.concept_id"""
        ledger = Decimal(0)
        for kind, state, cost, prompt, seed in store.execute(query):
            ledger += Decimal(cost or 0)
            key = (kind, prompt_id(prompt or ""), seed)
            settled[key] += state == "settled"
            doubted[key] += state == "in_doubt"
        billed = Counter((one["kind"], one["prompt"], one.get("seed")) for one in done)
        fault = self.tally.fault
        unknown = billed - settled - doubted
        fault("billed, and neither on disk nor in doubt", unknown.total(), self._folder, unknown)
        fault("settled, and never billed", (settled - billed).total(), self._folder, settled - billed)
        doubles = "SELECT count(*) - count(DISTINCT image_id) FROM calls WHERE kind = 'image' AND state = 'settled'"
        fault("images settled twice", _one(store, doubles), self._folder)
        usd = sum((Decimal(one["usd"]) for one in done), Decimal(0))
        fault("ledgers below the bill", ledger < usd, self._folder, f"{ledger} < {usd}")
        account = store.execute("SELECT sum(amount) FROM accounts WHERE name LIKE 'run:%'").fetchone()[0]
        fault("accounts unlike their calls", abs(Decimal(str(account)) - ledger) > Decimal("1e-9"), self._folder)
        if self.kind.service == "bfl":
            self._check_jobs(store, [one["job"] for one in done])
        images = sum(count for key, count in billed.items() if key[0] == "image")
        self.tally.add(billed=images, texts=billed.total() - images)
        self.tally.add(image_doubts=sum(count for key, count in doubted.items() if key[0] == "image"))
        if self.kind.service:
            self.tally.add(paid_files=_one(store, "SELECT count(*) FROM images WHERE state = 'done'"))
        self.tally.spend(usd, ledger)

    def _check_jobs(self, store: sqlite3.Connection, billed: list[str]) -> None:
        """A job with an id is the last one of its image; every other job billed is a call in doubt."""
        query = """SELECT image_id, job FROM calls WHERE kind = 'image' ORDER BY rowid"""
        known = Counter[int]()
        after = 0
        ids = set()
        for image, job in store.execute(query):
            after += known[image] > 0
            if job is not None:
                known[image] += 1
                ids.add(json.loads(job)["id"])
        self.tally.fault("jobs with an id paid twice", after, self._folder)
        doubts = _one(store, "SELECT count(*) FROM calls WHERE state = 'in_doubt'")
        self.tally.fault("jobs nobody knows", max(0, len(set(billed) - ids) - doubts), self._folder)
        self.tally.fault("jobs known that were never billed", len(ids - set(billed)), self._folder)
        self.tally.add(jobs=len(ids))


def _one(store: sqlite3.Connection, query: str) -> int:
    (value,) = store.execute(query).fetchone()
    return int(value)


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _torn(path: Path) -> int:
    """Lines of the prompt list that are not whole."""
    if not path.exists() or not (data := path.read_bytes()):
        return 0
    with path.open(encoding="utf-8", newline="") as file:
        try:
            torn = sum(len(record) != 4 for record in csv.reader(file, strict=True))
        except (csv.Error, UnicodeDecodeError):
            return 1
    return torn + (not data.endswith(b"\r\n"))
