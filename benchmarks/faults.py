"""10,000 images of a service that fails in every way: ``python benchmarks/faults.py`` from the project folder.

The real command line against a stand-in of OpenAI in a process of its own, which deals faults from a shuffled deck and
keeps its own bill. Then the same with a budget that does not suffice. Some minutes; --quick makes 500 images.
Ends with exit code 1 where a claim fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from common import ROOT, Child, Claims, machine, row, run, scratch, title
from standins import Standin, standin

IMAGES, QUICK_IMAGES = 10_000, 500
#: The run that memory is compared with.
FEW = 100
PER_IDEA = 20
SIDE = 64
DELAY, IN_FLIGHT = 0.05, 32
#: Waits of our own choosing are short here: what is measured is what becomes of the items.
SETTINGS = {"IMAGES_IN_FLIGHT": str(IN_FLIGHT), "RETRY_WAIT_SECONDS": "0.05", "RETRY_MAX_WAIT_SECONDS": "0.5"}
SHARE = Decimal("0.6")
CENT = Decimal("0.01")
PARTIAL, OUT_OF_BUDGET = 4, 5
#: States an image may end in.
TYPED = ("done", "failed", "refused", "in_doubt")


@dataclass(frozen=True, slots=True)
class Books:
    """A finished run as the store has it, and as the service has it."""

    report: dict[str, Any]
    images: Counter[str]
    #: Calls for images by (state, kind of error, whether the service told the tokens), and their cost.
    calls: Counter[tuple[str, str, bool]]
    cost: dict[tuple[str, str, bool], Decimal]
    text: Decimal
    account: Decimal
    fates: Counter[str]
    #: The service's own bill by fate; texts are "text".
    billed: Counter[str]
    bill: dict[str, Decimal]
    attempts: int

    @property
    def paid(self) -> Decimal:
        return sum(self.bill.values(), Decimal(0))

    @property
    def spent(self) -> Decimal:
        return sum(self.cost.values(), self.text)


def batch(folder: Path, images: int, service: Standin, *money: str) -> Child:
    """``main.py 20 64x64 --dalle --prompts ...``, written by GPT and rendered by the stand-in."""
    ideas = ["--prompts", str(images // PER_IDEA), "--role", "artist"]
    command = [str(ROOT / "main.py"), str(PER_IDEA), f"{SIDE}x{SIDE}", "--dalle", *ideas, "--json", *money]
    return run([*command, "--output", folder], settings=SETTINGS | service.settings, codes=(0, PARTIAL, OUT_OF_BUDGET))


def read(folder: Path, child: Child, service: Standin) -> Books:
    """Both sides' books."""
    calls, cost, text = Counter[tuple[str, str, bool]](), dict[tuple[str, str, bool], Decimal](), Decimal(0)
    with contextlib.closing(sqlite3.connect(folder / "tirada.db")) as store:
        images = Counter(dict(store.execute("SELECT state, count(*) FROM images GROUP BY state").fetchall()))
        for kind, state, error, usage, usd in store.execute("SELECT kind, state, error_kind, usage, cost FROM calls"):
            if kind == "text":
                text += Decimal(usd or 0)
                continue
            key = (state, error or "", bool(json.loads(usage or "{}")))
            calls[key] += 1
            cost[key] = cost.get(key, Decimal(0)) + Decimal(usd or 0)
        (account,) = store.execute("SELECT amount FROM accounts WHERE name LIKE 'run:%'").fetchone()
    said = service.bill()
    billed, bill = Counter[str](), dict[str, Decimal]()
    for entry in said["done"]:
        fate = "text" if entry["kind"] == "text" else entry["fate"]
        billed[fate] += 1
        bill[fate] = bill.get(fate, Decimal(0)) + Decimal(entry["usd"])
    return Books(
        report=json.loads(child.stdout),
        images=images,
        calls=calls,
        cost=cost,
        text=text,
        account=Decimal(account),
        fates=Counter(said["fates"]),
        billed=billed,
        bill=bill,
        attempts=calls.total(),
    )


def files(folder: Path) -> tuple[int, int, int]:
    """Images on disk, how many of them do not decode, and files left over."""
    from PIL import Image

    broken = 0
    paths = list(folder.glob("*/[0-9]*.png"))
    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, SyntaxError, ValueError):
            broken += 1
    left = sum(1 for path in folder.rglob("*") if path.suffix in (".tmp", ".received"))
    return len(paths), broken, left


def settled(books: Books, folder: Path, wanted: int, claims: Claims) -> None:
    """What became of the items."""
    title(f"{wanted:,} images, {books.attempts:,} requests: what became of them")
    for state in TYPED:
        row(f"images {state.replace('_', ' ')}", f"{books.images[state]:,}")
    claims.equal("images in any other state", books.images.total() - sum(books.images[s] for s in TYPED), 0)
    claims.equal("images settled in a typed state", sum(books.images[s] for s in TYPED), wanted)
    claims.equal("ideas that could not be written", books.report["concepts_failed"], 0)
    claims.equal("refused, against refusals of the service", books.images["refused"], books.fates["refused"])
    claims.equal("in doubt, against connections cut", books.images["in_doubt"], books.fates["cut"])
    claims.equal("calls left open", sum(n for (state, *_), n in books.calls.items() if state == "open"), 0)
    there, broken, left = files(folder)
    claims.equal("image files, against images done", there, books.images["done"])
    claims.equal("files that do not decode, or are left over", broken + left, 0)


def faults(books: Books) -> None:
    """What the service dealt."""
    title("What the service did")
    requests = books.fates.total()
    row("image requests", f"{requests:,}")
    for label, prefix in (("429", "429"), ("5xx", "50"), ("cut after the request was read, and billed", "cut")):
        number = sum(count for fate, count in books.fates.items() if fate.startswith(prefix))
        row(f"  {label}", f"{number:,} ({number / requests:.1%})")
    for fate in ("refused", "garbage"):
        row(f"  {fate}", f"{books.fates[fate]:,} ({books.fates[fate] / requests:.1%})")


def money(books: Books, claims: Claims) -> None:
    """The ledger against the service's own bill.

    Answers that came with their tokens are compared exactly. What was cut off or was garbage is on the bill too; nobody
    told us its cost, so that it is counted as estimated: as many calls, and in sum no less than billed.
    """
    title("Ledger (the store) against the service's own bill, USD")
    told = [key for key in books.calls if key[0] == "settled" and key[2]]
    lost = [key for key in books.calls if key[0] == "in_doubt"]
    useless = [key for key in books.calls if not key[2] and (key[1] == "bad_answer" or key[0] == "settled")]
    refused = [key for key in books.calls if key[1] in ("refused", "rate_limited", "unavailable")]
    sums = {name: sum((books.cost[key] for key in keys), Decimal(0)) for name, keys in _named(told, lost, useless)}
    numbers = {name: sum(books.calls[key] for key in keys) for name, keys in _named(told, lost, useless)}
    claims.equal("texts", books.text, books.bill["text"])
    claims.equal("images answered: calls", numbers["told"], books.billed["good"])
    claims.equal("images answered: USD, exactly", sums["told"], books.bill["good"])
    for name, fate, label in (("lost", "cut", "in doubt"), ("useless", "garbage", "garbage")):
        claims.equal(f"{label}: calls", numbers[name], books.billed[fate])
        theirs = books.bill.get(fate, Decimal(0))
        row(f"{label}: USD (ours is the estimate)", f"{sums[name]:.6f}", f">= {theirs:.6f}")
        claims.hold(f"{label} counted for no less than billed", sums[name] >= theirs)
    nothing = sum((books.cost[key] for key in refused), Decimal(0))
    claims.equal("429, 5xx and refusals: USD", nothing, Decimal(0))
    claims.equal("run's account, against the sum of its calls", books.account, books.spent)
    difference = books.spent - books.paid
    row("everything together, ours - theirs", f"{difference:+.6f}", f"< {CENT}", float(difference / CENT))
    claims.hold("ledger equal to the bill to the cent", Decimal(0) <= difference < CENT)
    row("bill of the service", f"{books.paid:.4f}")
    row("ledger", f"{books.spent:.4f}")
    row("report", books.report["cost_usd"][:10])
    claims.equal("cost in the report, against the ledger", Decimal(books.report["cost_usd"]), books.spent)


def _named(*keys: Sequence[tuple[str, str, bool]]) -> list[tuple[str, Sequence[tuple[str, str, bool]]]]:
    return list(zip(("told", "lost", "useless"), keys, strict=True))


def limited(service: Standin, wanted: int, full: Decimal, claims: Claims) -> None:
    """The same with a budget that does not suffice."""
    budget = (full * SHARE).quantize(CENT)
    service.forget()
    with scratch() as folder:
        child = batch(folder, wanted, service, "--budget", str(budget))
        books = read(folder, child, service)
        title(f"The same with --budget {budget} ({SHARE:.0%} of that bill)")
        claims.equal("exit code", child.code, OUT_OF_BUDGET)
        row("images done", f"{books.images['done']:,}")
        row("bill of the service, USD", f"{books.paid:.4f}", f"<= {budget}", float(books.paid / budget))
        claims.hold("budget not passed by the bill", books.paid <= budget)
        claims.hold("budget not passed by the ledger", books.spent <= budget and books.account <= budget)
        claims.hold("ledger equal to the bill to the cent", Decimal(0) <= books.spent - books.paid < CENT)
        claims.equal("calls left open", sum(n for (state, *_), n in books.calls.items() if state == "open"), 0)
        there, broken, left = files(folder)
        claims.equal("image files, against images done", there, books.images["done"])
        claims.equal("files that do not decode, or are left over", broken + left, 0)
        row("wall time", f"{child.wall:.0f} s")


def main() -> int:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_IMAGES} images")
    parser.add_argument("--seed", type=int, default=7, help="of the deck of faults")
    options = parser.parse_args()
    wanted = QUICK_IMAGES if options.quick else IMAGES
    print(machine())
    claims = Claims()
    with standin("openai", delay=DELAY, image_size=[SIDE, SIDE], faults=options.seed) as service:
        with scratch() as folder:
            small = batch(folder, FEW, service, "--yes")
        service.forget()
        with scratch() as folder:
            child = batch(folder, wanted, service, "--yes")
            books = read(folder, child, service)
            settled(books, folder, wanted, claims)
        faults(books)
        money(books, claims)
        title("What it took")
        row("wall time", f"{child.wall:.0f} s")
        row("images settled per second", f"{wanted / child.wall:.0f}")
        row("tries per image", f"{books.attempts / wanted:.3f}")
        row("calls tried again", f"{books.attempts - wanted:,}")
        row(f"peak memory of main.py ({FEW} images: {small.peak:.0f} MB)", f"{child.peak:.0f} MB")
        limited(service, wanted, books.paid, claims)
    return claims.conclude()


if __name__ == "__main__":
    sys.exit(main())
