"""Runs Tirada through its front door, in this process or in one of its own, and says what it answered."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.openai_api import OpenAIServer
from tirada.cli.main import main
from tirada.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
MAIN = ROOT / "main.py"
#: What every test runs with: nothing sleeps, a nearly full disk is no reason to fail, and no hub is asked for models.
CALM = {"RETRY_WAIT_SECONDS": "0", "RETRY_MAX_WAIT_SECONDS": "0", "MIN_FREE_MB": "1"}
#: Read once by the libraries behind local rendering; several threads only make so small a model slower.
LIBRARIES = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
#: Nobody on this machine shows a certificate that the authorities of the world have signed: none of them is read.
NO_AUTHORITIES = {"SSL_CERT_DIR": str(ROOT / "tests" / "no-authorities")}
CALM |= LIBRARIES | NO_AUTHORITIES
os.environ |= LIBRARIES
#: Everything in the environment that could change what Tirada does.
SETTINGS = {name.upper() for name in Settings.model_fields}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
#: Would be read in place of a folder of authorities.
AUTHORITIES = "SSL_CERT_FILE"
#: Small, so that a test draws in milliseconds.
TINY = "64x64"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def folders(self) -> list[Path]:
        """The folders that were named on stdout."""
        return [Path(line) for line in self.out.splitlines() if Path(line).is_dir()]


Tirada = Callable[..., Result]


class BlockedNetwork(RuntimeError):
    """A test wanted to reach something that is not on this machine."""


def affects_tirada(name: str) -> bool:
    upper = name.upper()
    return upper in SETTINGS or upper in PROXIES or upper == AUTHORITIES or upper.startswith(("OPENAI_", "TIRADA_"))


def is_local(address: Any) -> bool:
    """Unix sockets, and addresses of this machine."""
    if not isinstance(address, tuple):
        return True
    return str(address[0]) in ("127.0.0.1", "::1", "localhost", "")


def guard_network(setattr_: Callable[[Any, str, Any], None]) -> None:
    """Let sockets reach this machine only; ``setattr_`` is monkeypatch's."""

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any, *rest: Any) -> Any:
            if not is_local(address):
                raise BlockedNetwork(f"Tests use no network: something wanted to connect to {address!r}.")
            return original(self, address, *rest)

        return connect

    def resolve(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name.endswith(".invalid"):
            # Reserved for names that never resolve (RFC 2606): nobody needs to be asked.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if name is not None and not is_local((name,)):
            raise BlockedNetwork(f"Tests use no network: something wanted to look up {name!r}.")
        return lookup(host, *rest, **named)

    lookup = socket.getaddrinfo
    setattr_(socket.socket, "connect", guarded(socket.socket.connect))
    setattr_(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    setattr_(socket, "getaddrinfo", resolve)


@contextlib.contextmanager
def changed_environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def call(*args: object, **env: str) -> Result:
    """``main([...])`` in this process, as if it had been typed."""
    arguments = [str(arg) for arg in args]
    out, err = io.StringIO(), io.StringIO()
    typed, sys.argv = sys.argv, [str(MAIN), *arguments]
    try:
        with changed_environment(env), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        sys.argv = typed
    return Result(int(code), out.getvalue(), err.getvalue())


def on_terminal(*args: object, **env: str) -> Result:
    """A process of its own whose stderr is a terminal; nobody is there to answer."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, str(MAIN), *map(str, args)],
            env=clean_environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass  # how a terminal says that everyone has left
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=60)
    return Result(process.returncode, out.decode(), seen.decode())


def clean_environment(**changes: str) -> dict[str, str]:
    """For a process of its own: no settings, and no way out to the network."""
    kept = {name: value for name, value in os.environ.items() if not affects_tirada(name)}
    dead = "http://127.0.0.1:9"
    return {**kept, **CALM, "HTTP_PROXY": dead, "HTTPS_PROXY": dead, "NO_PROXY": "127.0.0.1", **changes}


def start(*args: object, before: Callable[[], None] | None = None, **env: str) -> subprocess.Popen[str]:
    """``python main.py ...`` in the current folder, left running; ``before`` is called in the new process."""
    return subprocess.Popen(
        [sys.executable, str(MAIN), *map(str, args)],
        env=clean_environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=before or _default_interrupt,
    )


def _default_interrupt() -> None:
    # Background jobs of a shell start with Ctrl-C ignored, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(process: subprocess.Popen[str]) -> Result:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=60)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Result(process.returncode, out, err)


def call_process(*args: object, **env: str) -> Result:
    """``python main.py ...`` in the current folder, to its end."""
    return finish(start(*args, **env))


def endpoint(server: OpenAIServer) -> dict[str, str]:
    """The settings that lead to a stand-in."""
    return {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url}


def write_csv(path: Path, *rows: tuple[str, ...], header: tuple[str, ...] = ("title", "description", "prompt")) -> Path:
    """A prompt file made by hand."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def prompts(name: str, *texts: str) -> Path:
    """A prompt file of one column."""
    return write_csv(Path(name), *((text,) for text in texts), header=("prompt",))


def own_catalog(*rows: str) -> str:
    """A catalog file of the user's own with these rows, for CATALOG_FILE."""
    rest = 'about = "x"\nsource = "me"\nchecked = 2026-11-20\n'
    Path("own.toml").write_text("".join(f"{row}\n{rest}" for row in rows), encoding="utf-8")
    return "own.toml"


def made() -> list[str]:
    """What there is in the current folder."""
    return sorted(path.name for path in Path().iterdir())


def info_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    return loaded


def hashes(folders: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """(title, sha256 of every image) of each folder."""
    infos = sorted((info_of(folder) for folder in folders), key=lambda info: str(info["title"]))
    return [(info["title"], [image["sha256"] for image in info["images"]]) for info in infos]


class WaitingServer(OpenAIServer):
    """A stand-in that keeps image requests waiting until it is told to ``go_on``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def answer(self, method: str, path: str, headers: Any, payload: Any) -> Any:
        if path.endswith("/images/generations"):
            self.asked.set()
            assert self.go_on.wait(30), "the test never let the server go on"
        return super().answer(method, path, headers, payload)
