"""What the tests of whole runs share: a stand-in that keeps a bill, processes that can be killed, and a look at the
result.

Invariant: nothing here waits without a limit.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import random
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.catalog import load_catalog
from tests.cli_tools import ROOT, TINY, Result, Tirada
from tests.nursery import PATIENCE
from tests.nursery import Child as Child
from tests.nursery import KillAt as KillAt
from tests.nursery import run as run
from tests.nursery import start as start
from tests.nursery import until as until
from tests.servers.base import Answer, Fault
from tests.servers.openai_api import OpenAIServer

IMAGES, CHAT = "/images/generations", "/chat/completions"
COMPANIONS = {"info.json", "info.md", "batch.csv", "index.html"}


# --- the service ----------------------------------------------------------------------------------------------------


class BillingServer(OpenAIServer):
    """The stand-in with a bill of all that it did, faults by number, and a gate that requests wait at."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"image_size": (64, 64), **options})
        #: (kind, model, tokens as the catalog counts them) of everything that was done.
        self.bill: list[tuple[str, str, dict[str, int]]] = []
        #: Image request number (from 1) -> what goes wrong with it.
        self.on_image: dict[int, Fault] = {}
        #: From this image request on they wait until ``gate`` is set; and the same for chat requests.
        self.hold_images = self.hold_chats = sys.maxsize
        self.gate = threading.Event()
        #: Image requests that pass the gate at any time.
        self.no_wait: set[int] = set()
        self.asked: Counter[str] = Counter()
        self._asked_lock = threading.Lock()

    def __exit__(self, *exc: object) -> None:
        self.gate.set()
        super().__exit__(*exc)

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Answer, Fault | None]:
        kind = "image" if path.endswith(IMAGES) else "text"
        with self._asked_lock:
            self.asked[kind] += 1
            number = self.asked[kind]
            if kind == "image" and number in self.on_image:
                self.faults.append(replace(self.on_image[number], path=IMAGES))
        held = number >= (self.hold_images if kind == "image" else self.hold_chats)
        if held and not (kind == "image" and number in self.no_wait):
            assert self.gate.wait(PATIENCE), "the test never opened the gate"
        return super().handle(method, path, headers, body)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        answer = super().answer(method, path, headers, payload)
        if answer.status == 200 and path.endswith((IMAGES, CHAT)):
            usage = json.loads(answer.body)["usage"]
            if path.endswith(IMAGES):
                tokens = {"text_in": usage["input_tokens"], "image_out": usage["output_tokens"]}
            else:
                tokens = {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}
            with self._asked_lock:
                self.bill.append(("image" if path.endswith(IMAGES) else "text", payload["model"], tokens))
        return answer

    def total(self, *kinds: str) -> Decimal:
        """USD by the prices of the catalog."""
        return sum((cost for kind, cost in self.costs() if kind in kinds or not kinds), Decimal(0))

    def costs(self) -> Iterator[tuple[str, Decimal]]:
        catalog = load_catalog()
        for kind, model, tokens in self.bill:
            row = catalog.find("image" if kind == "image" else "text", model)
            assert row is not None
            cost = row.cost(tokens)
            assert cost is not None
            yield kind, cost


#: One call at a time, so that the nth request is the nth image.
SERIAL = {"IMAGES_IN_FLIGHT": "1", "WRITER_IN_FLIGHT": "1", "WRITER_BATCH": "1"}


def render(tirada: Tirada, images: int = 4, *more: object, **env: str) -> Result:
    """So many images of one idea that costs nothing to write."""
    return tirada(images, TINY, "--dalle", "--writer", "composer", "--role", "artist", "--json", *more, **env)


def figures(result: Result, *names: str) -> tuple[Any, ...]:
    return tuple(result.json[name] for name in names)


# --- the result -----------------------------------------------------------------------------------------------------


def rows(output: Path, table: str, order: str = "rowid") -> list[dict[str, Any]]:
    """A whole table of the store."""
    with contextlib.closing(sqlite3.connect(output / "tirada.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]


def run_row(output: Path) -> dict[str, Any]:
    """The only run there is."""
    (row,) = rows(output, "runs")
    return row


def batch_folders(output: Path) -> list[Path]:
    return sorted(path for path in output.iterdir() if path.is_dir() and path.name != ".tirada")


def read_info(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    return loaded


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    schema = json.loads((ROOT / "tirada" / "output" / "info.schema.json").read_text(encoding="utf-8"))
    assert validator_for(schema) is Draft202012Validator
    return Draft202012Validator(schema)


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder holds exactly what its info.json says, and all of it is sound; returns the info."""
    from PIL import Image

    info = read_info(folder)
    _validator().validate(info)
    files = {image["file"] for image in info["images"]}
    sidecars = {image["sidecar"] for image in info["images"] if image["sidecar"]}
    assert {path.name for path in folder.iterdir()} == files | sidecars | COMPANIONS
    for image in info["images"]:
        path = folder / image["file"]
        assert sha256(path.read_bytes()).hexdigest() == image["sha256"]
        with Image.open(path) as picture:
            picture.load()
            assert picture.size == (image["width"], image["height"])
            assert info["size"] == "{}x{}".format(*picture.size)
    assert [row["file"] for row in read_csv(folder / "batch.csv")] == [image["file"] for image in info["images"]]
    page, text = (folder / "index.html").read_text("utf-8"), (folder / "info.md").read_text("utf-8")
    assert all(file in page and file in text for file in files)
    return info


def check_output(output: Path) -> list[dict[str, Any]]:
    """Every folder is sound, nothing half-done lies about, and files and store agree; returns the infos."""
    left = [path for path in output.rglob("*") if path.suffix in (".tmp", ".received")]
    assert not left, left
    infos = [check_folder(folder) for folder in batch_folders(output)]
    done = Counter(row["concept_id"] for row in rows(output, "images") if row["state"] == "done")
    assert {info["batch_id"]: len(info["images"]) for info in infos if info["images"]} == dict(done)
    return infos


def check_money(output: Path, server: BillingServer) -> None:
    """No call is forgotten: what the service billed is settled in the store, or listed there as in doubt."""
    calls = [call for call in rows(output, "calls") if call["kind"] == "image"]
    states = Counter(call["state"] for call in calls)
    assert states["open"] == 0
    assert states["settled"] <= server.billed <= states["settled"] + states["in_doubt"]
    assert all(call["cost"] for call in calls if call["state"] in ("settled", "in_doubt"))


def image_hashes(output: Path) -> dict[str, str]:
    """Title and file of every image -> hash of its bytes."""
    infos = [read_info(folder) for folder in batch_folders(output)]
    return {f"{info['title']}/{image['file']}": image["sha256"] for info in infos for image in info["images"]}


def dice(name: str) -> random.Random:
    return random.Random(f"tirada/{name}")


def write_role(data: Path, name: str, scenes: Sequence[str]) -> Path:
    """A small role whose scenes are these; everything else there is enough of."""
    words = {
        "elements": [f"element {n} of glass" for n in range(40)],
        "environments": [f"in valley number {n}" for n in range(40)],
        "styles": [f"school {n} painting" for n in range(40)],
        "lights": [f"lamp {n} behind fog" for n in range(40)],
        "moods": ["calm", "brisk", "solemn", "merry"],
        "palettes": ["rust and teal", "bone and black", "lime and plum"],
        "tags": [f"tag{n}" for n in range(24)],
        "scenes": list(scenes),
    }
    texts = {
        "title": name,
        "description": "You are a tester.",
        "template": "{description} {style}, {scene}, {tags}",
        "negative": "blurry",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**texts, **words}.items()]
    folder = data / "roles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data
