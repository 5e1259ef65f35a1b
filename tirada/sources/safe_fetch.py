"""Fetches a picture from a URL that a stranger may have written, without being led back into our own network.

The host is looked up once per hop; all its addresses must be public, the connection goes to one of those very
addresses, and the socket is asked once more whom it reached: a name that changes its mind in between gains nothing.
Redirects are followed one by one, each judged like a URL typed by hand. No proxy, cookie, credential or referrer is
sent. The answer is bounded in bytes, in time as a whole and in pixels, and only taken as it is: not compressed.

Invariant: no byte leaves for an address that was not judged public, and nothing outside this module's callers in code
(no setting, no variable, no option) can loosen that.
"""

from __future__ import annotations

import io
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from tirada.errors import UsageError, reason
from tirada.sources import addresses, pictures
from tirada.sources.addresses import Address
from tirada.sources.pictures import Picture
from tirada.sources.urls import PORTS, Target, read_url

if TYPE_CHECKING:
    from ssl import SSLContext

REDIRECTS_MAX = 5
#: Seconds for everything together: lookups, redirects, and the last byte.
SECONDS = 30.0
CHUNK = 64 * 1024
_MOVED = {301, 302, 303, 307, 308}

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], socket.socket]


class Fetcher:
    """Fetches pictures. All but the limits is for tests, which have nothing but their own machine to fetch from."""

    def __init__(
        self,
        *,
        bytes_max: int = pictures.BYTES_MAX,
        pixels_max: int = pictures.PIXELS_MAX,
        seconds: float = SECONDS,
        ports: frozenset[int] = PORTS,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        public: Callable[[Address], bool] = addresses.is_public,
        clock: Callable[[], float] = time.monotonic,
        trust: str | None = None,
    ) -> None:
        """``resolve`` gives the addresses of a host, ``connect`` a socket to one of them; ``trust`` is a file of
        certificates other than those that come with requests."""
        self._bytes_max, self._pixels_max, self._seconds, self._ports = bytes_max, pixels_max, seconds, ports
        self._resolve = resolve or _resolve
        self._connect = connect or _connect
        self._public = public
        self._clock = clock
        self._trust = trust

    def fetch(self, url: str) -> Picture:
        """The picture at a URL; raises UsageError for everything that is not one, or not to be had safely."""
        end = self._clock() + self._seconds
        came_by: Target | None = None
        for _ in range(REDIRECTS_MAX + 1):
            target = read_url(url, ports=self._ports)
            if came_by is not None and came_by.scheme == "https" and target.scheme == "http":
                raise UsageError(f"{came_by.label} leads from https to plain http, which is not followed.")
            try:
                answer = self._ask(target, end)
            except TimeoutError:
                raise UsageError(f"{target.label} took longer than {self._seconds:g} seconds.") from None
            except (OSError, HTTPException) as exc:
                raise UsageError(f"{target.label} cannot be fetched from: {_printable(reason(exc))}.") from None
            if isinstance(answer, bytes):
                return pictures.look(answer, f"What {target.label} sent", pixels_max=self._pixels_max)
            url, came_by = _join(url.strip(), answer), target
        raise UsageError(f"{target.label} leads on and on: more than {REDIRECTS_MAX} redirects.")

    # --- one hop ------------------------------------------------------------------------------------------------------

    def _ask(self, target: Target, end: float) -> bytes | str:
        """The body of the answer, or where it says to look instead."""
        connection = HTTPConnection(target.host, target.port)
        sock = self._reach(target, end)
        try:
            connection.sock = _Timed(sock, lambda: self._left(end))
            connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", target.label)
            connection.putheader("User-Agent", "Tirada")
            connection.putheader("Accept", "image/png, image/jpeg, image/webp")
            connection.putheader("Accept-Encoding", "identity")
            connection.putheader("Connection", "close")
            connection.endheaders()
            with connection.getresponse() as response:
                return self._read(response, target)
        finally:
            sock.close()

    def _reach(self, target: Target, end: float) -> socket.socket:
        """A socket to one of the host's addresses, all of which are public; encrypted where the URL says so."""
        found = self._resolve_in_time(target, end)
        for address in found:
            self._judge(address, target)
        failure: OSError = OSError("it has no address")
        for address in found:
            try:
                sock = self._connect(address, target.port, self._left(end))
            except TimeoutError:
                raise
            except OSError as exc:
                failure = exc
                continue
            try:
                # What counts is whom the socket reached, whatever was asked of whom before.
                self._judge(str(sock.getpeername()[0]), target)
                sock.settimeout(self._left(end))
                return (
                    sock if target.scheme == "http" else self._context().wrap_socket(sock, server_hostname=target.host)
                )
            except BaseException:
                sock.close()
                raise
        raise failure

    def _resolve_in_time(self, target: Target, end: float) -> Sequence[str]:
        """The host's addresses; a lookup cannot be broken off, so it is left behind where it takes too long."""
        answers: queue.SimpleQueue[Sequence[str] | BaseException] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(self._resolve(target.host, target.port))
            except BaseException as exc:  # noqa: BLE001 - handed on to whoever waits
                answers.put(exc)

        threading.Thread(target=look_up, name="lookup", daemon=True).start()
        try:
            answer = answers.get(timeout=self._left(end))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _judge(self, address: str, target: Target) -> None:
        try:
            public = self._public(ip_address(address))
        except ValueError:
            public = False
        if not public:
            raise UsageError(
                f"{target.label} is at {address}, which is no public address: nothing is fetched from there."
            )

    def _left(self, end: float) -> float:
        left = end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _context(self) -> SSLContext:
        import ssl

        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        # Naming the file keeps variables of the environment out of it.
        return ssl.create_default_context(cafile=self._trust or DEFAULT_CA_BUNDLE_PATH)

    # --- the answer ---------------------------------------------------------------------------------------------------

    def _read(self, response: HTTPResponse, target: Target) -> bytes | str:
        if response.status in _MOVED and (where := response.getheader("Location")):
            # Headers are read as Latin-1; what they hold is UTF-8 where it is not ASCII.
            return where.encode("latin-1").decode("utf-8", "replace")
        if response.status != 200:
            raise UsageError(f"{target.label} answers with HTTP {response.status}.")
        for header, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
            if (said := (response.getheader(header) or plain).strip().lower()) != plain:
                raise UsageError(f"{target.label} sends its answer packed as {said!r}; only plain bytes are taken.")
        if (response.length or 0) > self._bytes_max:
            raise self._too_large(target)
        body = bytearray()
        while chunk := response.read1(CHUNK):
            body += chunk
            if len(body) > self._bytes_max:
                raise self._too_large(target)
        if response.length:
            raise UsageError(f"{target.label} broke off in the middle of its answer.")
        return bytes(body)

    def _too_large(self, target: Target) -> UsageError:
        return UsageError(f"{target.label} sends more than {self._bytes_max / 1024**2:g} MB, which is the limit.")


class _Reads(io.RawIOBase):
    """What comes from a socket; each read may take what is left of the time for everything."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock, self._left = sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


class _Timed:
    """As much of a socket as ``http.client`` asks for; whoever made the real one closes it."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock, self._left = sock, left

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reads(self._sock, self._left))

    def close(self) -> None:
        """Nothing is held."""


def _join(url: str, where: str) -> str:
    """The URL that a redirect names; one that cannot be read is left for ``read_url`` to refuse."""
    try:
        return urljoin(url, where)
    except ValueError:
        return where


def _printable(text: str) -> str:
    """One short line without anything a terminal might obey: some of it was said by the host."""
    line = "".join(sign if sign.isprintable() else "?" for sign in text)
    return line if len(line) <= 200 else line[:199] + "…"


def _resolve(host: str, port: int) -> list[str]:
    """The host's addresses, each once, in the order of the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def _connect(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to a numeric address, for which nothing is looked up."""
    return socket.create_connection((address, port), timeout=seconds)


def fetch_picture(url: str) -> Picture:
    """The picture at a URL; raises UsageError for everything that is not one, or not to be had safely."""
    return Fetcher().fetch(url)
