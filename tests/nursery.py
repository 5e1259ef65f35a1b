"""Processes of their own for whole runs, forked from one that has everything imported; they can be killed at any call.

Invariant: nothing here waits without a limit, and a process started here runs the real command line from the start.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from tests.cli_tools import ROOT, Result, clean_environment, endpoint
from tests.servers.openai_api import OpenAIServer

#: The least of each workflow.
JOBS = (
    ("avatar",),
    ("collection", "1"),
    ("brand", "--kit", "bank", "--product", "car"),
    ("story", "a shy lighthouse keeper befriends a whale", "--pages", "1", "--writer", "composer"),
    ("campaign", "A phone on a desk", "--industry", "technology", "--writer", "composer"),
)
#: What local rendering imports and what reads no settings at that time; others do, and each process does that itself.
LIBRARIES = ("torch", "torch._dynamo", "scipy.stats")
#: Nothing that is waited for takes longer, in seconds.
PATIENCE = 60.0


def until(condition: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """Poll until the condition holds and return what it says."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        time.sleep(0.004)
    return found


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
        self._has_libraries = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"],
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

    def start(self, *args: object, kill_at: KillAt | None = None, local: bool = False, **env: str) -> Child:
        if local and not self._has_libraries:
            self._has_libraries = self.ask({"import": LIBRARIES})
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


def start(
    *args: object, server: OpenAIServer | None = None, kill_at: KillAt | None = None, local: bool = False, **env: str
) -> Child:
    """``python main.py ...`` in the current folder as a process of its own, left running.

    ``local`` is for those that load a model on this machine: quicker, and nothing else.
    """
    return _nursery().start(*args, kill_at=kill_at, local=local, **{**(endpoint(server) if server else {}), **env})


def run(
    *args: object, server: OpenAIServer | None = None, kill_at: KillAt | None = None, local: bool = False, **env: str
) -> Result:
    """The same, to its end."""
    return start(*args, server=server, kill_at=kill_at, local=local, **env).wait()


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
    _settle()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            answer = _ended(order["poll"], order["patience"])
        elif "import" in order:
            answer = all(map(import_module, order["import"]))
            _settle()
        else:
            answer = os.fork()
            if not answer:
                _be_child(order)
        print(json.dumps(answer), flush=True)


def _settle() -> None:
    """What is there now is shared with every process to come."""
    until(lambda: threading.active_count() == 1, "the threads to end")
    gc.collect()
    gc.freeze()


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


if __name__ == "__main__":
    _serve()
