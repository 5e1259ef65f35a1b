"""What the tests of whole runs share: a stand-in that keeps a bill, processes that can be killed, and a look at the
result.

Invariant: nothing here waits without a limit, and a process started here runs the real command line from the start.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import functools
import gc
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from models.catalog import load_catalog
from tests.cli_tools import ROOT, TINY, Result, Tirada, clean_environment, endpoint
from tests.servers.base import Answer, Fault
from tests.servers.openai_api import OpenAIServer

IMAGES, CHAT = "/images/generations", "/chat/completions"
COMPANIONS = {"info.json", "info.md", "batch.csv", "index.html"}
#: The least of each workflow.
JOBS = (
    ("avatar",),
    ("collection", "1"),
    ("brand", "--kit", "bank", "--product", "car"),
    ("story", "a shy lighthouse keeper befriends a whale", "--pages", "1", "--writer", "composer"),
    ("campaign", "A phone on a desk", "--industry", "technology", "--writer", "composer"),
)
#: Nothing that is waited for takes longer, in seconds.
PATIENCE = 60.0


def until(condition: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """Poll until the condition holds and return what it says."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        time.sleep(0.004)
    return found


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


# --- processes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KillAt:
    """Kill the process the moment it calls a function for the nth time, or right after that call."""

    target: str
    call: int = 1
    after: bool = False

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'}-{self.target.rpartition(':')[2]}-{self.call}"


class Child:
    """A process that runs the command line; ended by itself or by a signal."""

    def __init__(self, nursery: Nursery, pid: int, out: Path, err: Path) -> None:
        self._nursery = nursery
        self.pid = pid
        self._out, self._err = out, err
        self._code: int | None = None

    def running(self) -> bool:
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid, "patience": 0})
        return self._code is None

    def signal(self, number: int) -> None:
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self) -> Result:
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid, "patience": PATIENCE})
        assert self._code is not None, f"process {self.pid} does not end: {self._err.read_text()}"
        return Result(self._code, self._out.read_text(), self._err.read_text())

    def says(self, words: str) -> None:
        """Wait until it has said so on stderr."""
        until(lambda: words in self._err.read_text(), f"process {self.pid} to say {words!r}: {self._err.read_text()}")

    def kill(self) -> Result:
        self.signal(signal.SIGKILL)
        return self.wait()


class Nursery:
    """A process with everything imported that forks for each command line: hundreds can be killed in a minute."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tirada-nursery-")
        self._number = count()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.run_tools"],
            cwd=ROOT,
            env=clean_environment(PYTHONPATH=str(ROOT), OPENBLAS_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, *args: object, kill_at: KillAt | None = None, **env: str) -> Child:
        number = next(self._number)
        out, err = (Path(self._folder.name, f"{number}.{name}") for name in ("out", "err"))
        for path in (out, err):
            path.touch()
        kill = None if kill_at is None else [kill_at.target, kill_at.call, kill_at.after]
        what = {"args": [*map(str, args)], "env": clean_environment(**env), "cwd": str(Path.cwd()), "kill": kill}
        return Child(self, self.ask({**what, "out": str(out), "err": str(err)}), out, err)


@functools.cache
def _nursery() -> Nursery:
    return Nursery()


def start(*args: object, server: OpenAIServer | None = None, kill_at: KillAt | None = None, **env: str) -> Child:
    """``python main.py ...`` in the current folder as a process of its own, left running."""
    return _nursery().start(*args, kill_at=kill_at, **{**(endpoint(server) if server else {}), **env})


def run(*args: object, server: OpenAIServer | None = None, kill_at: KillAt | None = None, **env: str) -> Result:
    """The same, to its end."""
    return start(*args, server=server, kill_at=kill_at, **env).wait()


def _serve() -> None:
    """The nursery's own loop: fork on demand, and tell how a child ended."""
    from tests import warm
    from tirada.cli.main import main

    # Everything that is done on first use is done once, here.
    warm.remember()
    sink = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
        with OpenAIServer(image_size=(64, 64)) as server:
            os.environ |= endpoint(server)
            for backend in ("--draft", "--dalle", "--only-prompts"):
                assert main(["1", "64x64", backend, "--output", folder]) == 0, sink.getvalue()
            assert main(["1", "--only-prompts", "--writer", "composer", "--output", folder]) == 0, sink.getvalue()
            for job in JOBS:
                assert main([*job, "--draft", "--size", "64x64", "--output", folder]) == 0, sink.getvalue()
        assert main(["resume", "--output", folder]) == 0, sink.getvalue()
    until(lambda: threading.active_count() == 1, "the threads to end")
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            answer = _ended(order["poll"], order["patience"])
        else:
            answer = os.fork()
            if not answer:
                _be_child(order)
        print(json.dumps(answer), flush=True)


def _ended(pid: int, patience: float) -> int | None:
    """The exit code of a child, None where it is still running after so many seconds."""
    end = time.monotonic() + patience
    while True:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.003)


def _be_child(order: dict[str, Any]) -> None:
    from tirada.cli.main import main

    code = 99
    try:
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = [str(ROOT / "main.py"), *order["args"]]
        if order["kill"]:
            _set_trap(*order["kill"])
        code = main(order["args"])
    except BaseException:  # noqa: BLE001 - shown, and the process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _set_trap(target: str, call: int, after: bool) -> None:
    """Replace ``module:name`` or ``module:Class.name`` by the same that kills this process at its nth call."""
    module, _, path = target.partition(":")
    holder: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    original = getattr(holder, name)
    calls = count(1)

    def trapped(*args: Any, **named: Any) -> Any:
        number = next(calls)
        if number == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **named)
        if number == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, trapped)


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


if __name__ == "__main__":
    _serve()
