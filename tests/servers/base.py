"""The HTTP machinery of every stand-in: keep-alive connections, scripted faults and a record of what came in.

Invariant: a scripted fault is used by exactly one request, in the order the faults were given; every request is
recorded before it is answered.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

#: Bodies up to this size leave in one write together with their headers.
SMALL = 64 * 1024


class Recorded(NamedTuple):
    """One request as it came in: header names in lower case; ``json`` is None when the body is no JSON."""

    path: str
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back over the wire."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request.

    ``status`` answers with that status and the service's own error for it (``code`` picks another one) instead of doing
    the work. ``body`` replaces the answer: with a status of 400 or more, or none of the work is done; else it is done
    (and billed) first. ``cut`` does the work, then closes the connection without a word; ``truncate`` closes it after
    half of the body, ``stall`` says nothing for so many seconds then; ``drip`` sends the body byte by byte, with so
    many seconds between them. ``delay`` waits so many seconds before answering. ``path`` limits the fault to requests
    whose path contains it, ``method`` to those of that method.
    """

    status: int | None = None
    code: str = ""
    body: bytes | Mapping[str, Any] | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    truncate: bool = False
    stall: float = 0.0
    drip: float = 0.0
    delay: float = 0.0
    path: str = ""
    method: str = ""


def as_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, body=json.dumps(body).encode(), headers=headers or {})


class Service:
    """A stand-in: subclass it, implement ``answer`` and ``error``; use it with ``with``.

    ``faults`` is a list the test fills; ``requests`` is what came in; ``peak`` is the most requests there ever were at
    once.
    """

    #: What follows the port in ``url``.
    root = ""

    def __init__(self, *, port: int = 0, delay: float = 0.0, record: bool = True) -> None:
        self.delay = delay
        self.faults: list[Fault] = []
        self.requests: list[Recorded] = []
        self.peak = 0
        self._record = record
        self._now = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._http = _Server(("127.0.0.1", port), self)
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{self.root}"
        self._thread = threading.Thread(target=self._serve, name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # Wakes up who waits for a connection at once, where the system does that; else its wait is short.
        with contextlib.suppress(OSError):
            self._http.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._http.server_close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._http.handle_request()

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        self._thread.join()

    def pause(self, seconds: float) -> bool:
        """Wait so long; True when the stand-in stops meanwhile."""
        return self._stopping.wait(seconds)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        """What the service answers when nothing goes wrong."""
        raise NotImplementedError

    def error(self, status: int, code: str = "") -> Answer:
        """The service's own error for a status."""
        raise NotImplementedError

    def parse(self, headers: Mapping[str, str], body: bytes) -> Any:
        """What ``Recorded.json`` holds and ``answer`` gets: the JSON of the body, or None."""
        try:
            return json.loads(body) if body else None
        except ValueError:
            return None

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Answer, Fault | None]:
        """One request from record to answer; the fault, if any, still has its say on how the answer travels."""
        payload = self.parse(headers, body)
        with self._lock:
            self._now += 1
            self.peak = max(self.peak, self._now)
            if self._record:
                self.requests.append(Recorded(path, headers, payload))
            fault = next((one for one in self.faults if one.path in path and one.method in (method, "")), None)
            if fault is not None:
                self.faults.remove(fault)
        try:
            wait = self.delay + (fault.delay if fault else 0.0)
            if wait:
                self._stopping.wait(wait)
            return self._answer_with(fault, method, path, headers, payload), fault
        finally:
            with self._lock:
                self._now -= 1

    def _answer_with(
        self, fault: Fault | None, method: str, path: str, headers: Mapping[str, str], payload: Any
    ) -> Answer:
        if fault is None:
            return self.answer(method, path, headers, payload)
        status = fault.status or 200
        if status >= 400:
            answer = self.error(status, fault.code)
        else:
            answer = self.answer(method, path, headers, payload)
            status = fault.status or answer.status
        body, content_type = answer.body, answer.content_type
        if fault.body is not None:
            body = fault.body if isinstance(fault.body, bytes) else json.dumps(fault.body).encode()
            content_type = fault.content_type
        headers_out = {**answer.headers, **fault.headers}
        return Answer(status=status, body=body, content_type=content_type, headers=headers_out)


class _Server(ThreadingHTTPServer):
    """Many connections at once, all of them closed when the stand-in stops."""

    request_queue_size = 256
    #: Seconds that ``handle_request`` waits for a connection.
    timeout = 0.05

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        # First: a port that is taken closes the server while it is being made.
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)
        self.service = service

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hung up is no news; anything else is a bug of the stand-in and is shown.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError("the client left in the middle of its request")
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer, fault = self.server.service.handle(self.command, self.path, headers, body)
        if fault is not None and fault.cut:
            self.close_connection = True
            return
        stall = 0.0 if fault is None else fault.stall
        half = fault is not None and (fault.truncate or stall > 0)
        self._send(answer, half=half, drip=fault.drip if fault is not None else 0.0)
        if stall:
            self.server.service.pause(stall)

    def do_GET(self) -> None:
        self.do_POST()

    def do_HEAD(self) -> None:
        self.do_POST()

    def _send(self, answer: Answer, *, half: bool, drip: float) -> None:
        lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}", f"Content-Length: {len(answer.body)}"]
        lines.append(f"Content-Type: {answer.content_type}")
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if self.close_connection:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = b"" if self.command == "HEAD" else answer.body
        if half:
            body = body[: len(body) // 2]
            self.close_connection = True
        if drip:
            self.wfile.write(head)
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                if self.server.service.pause(drip):
                    return
        elif len(body) <= SMALL:
            self.wfile.write(head + body)
        else:
            self.wfile.write(head)
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests and benchmarks read the record instead."""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
