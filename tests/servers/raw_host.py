"""A host that says whatever a test wants it to, byte for byte: broken, endless, lying or slow.

Invariant: every request is recorded, whole and as text, before a byte is answered.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Self


def reply(body: bytes = b"", status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    """An answer in HTTP/1.1 with the length of its body, or the one that it lies about."""
    said = {"Content-Length": str(len(body) if length is None else length)}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(where: str, status: str = "302 Found") -> bytes:
    return reply(status=status, Location=where)


class RawHost:
    """``answers`` maps a path to the bytes (or chunks of bytes) that follow a request for it; use it with ``with``."""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        """``certificate``: files of a certificate and its key, to speak TLS."""
        self.answers: dict[str, bytes | Iterable[bytes]] = {}
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._thread = threading.Thread(target=self._serve, name="raw-host", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake up who waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # Whoever hangs up early, or does not trust the certificate, is no trouble of ours.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                if self._context is None:
                    self._answer(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as encrypted:
                        self._answer(encrypted)

    def _answer(self, connection: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            chunk = connection.recv(4096)
            asked += chunk
            # Nothing more, or the hello of TLS to one who speaks none: it hangs up.
            if not chunk or asked.startswith(b"\x16"):
                return
        self.requests.append(asked.decode())
        path = asked.split(b" ", 2)[1].decode()
        answer = self.answers.get(path, reply(status="404 Not Found"))
        for part in [answer] if isinstance(answer, bytes) else answer:
            connection.sendall(part)
