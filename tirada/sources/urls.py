"""Takes apart a URL that a stranger may have written, and turns away whatever programs read in different ways.

Invariant: nothing is looked up here; what comes out has one meaning only, in ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from tirada.errors import UsageError, reason
from tirada.sources import addresses

SCHEMES = {"http": 80, "https": 443}
#: Where pictures are served; other ports belong to services that were never meant to be spoken to in HTTP.
PORTS = frozenset({80, 443, 8080, 8443})
URL_MAX = 4096
#: What a path or query may hold as it is; the rest is sent as %XX.
_PLAIN = "/%:@!$&'()*+,;=~-._?"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart and found harmless as far as its text goes."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def label(self) -> str:
        """The host as messages and the Host header write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES[self.scheme] else f"{host}:{self.port}"


def is_url(text: str) -> bool:
    """Whether the text is meant as a URL and not as the name of a file; of whatever scheme."""
    scheme, colon, rest = text.strip().partition(":")
    # A single letter is a drive of Windows.
    return bool(colon) and len(scheme) > 1 and scheme.isalnum() and (rest.startswith("//") or scheme.lower() == "data")


def read_url(text: str, *, ports: frozenset[int] = PORTS) -> Target:
    """Take a URL apart; raises UsageError, without having looked anything up, for one that is not to be followed."""
    text = text.strip()
    if len(text) > URL_MAX:
        raise UsageError(f"The URL has {len(text):,} characters; {URL_MAX:,} is the limit.")
    # Programs disagree about these, and some drop them silently; a URL that needs them can write %XX.
    if any(sign <= " " or sign in "\\\x7f" for sign in text):
        raise UsageError(f"{text!r} holds a space, a line break or a backslash, which no URL does.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise UsageError(f"{text!r} is no URL: {reason(exc)}.") from None
    if parts.scheme not in SCHEMES:
        raise UsageError(f"{parts.scheme or text!r}: only http and https URLs are fetched.")
    if "@" in parts.netloc:
        raise UsageError("The URL holds a user name or a password; give one without.")
    host = _read_host(parts)
    port = SCHEMES[parts.scheme] if port is None else port
    if port not in ports:
        raise UsageError(f"Port {port} is not fetched from; pictures are served on {_listed(ports)}.")
    path = quote(parts.path or "/", safe=_PLAIN) + (f"?{quote(parts.query, safe=_PLAIN)}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _read_host(parts: SplitResult) -> str:
    """The host in ASCII and lower case, without a last dot: full-width digits and other dots become plain ones."""
    host = parts.hostname or ""
    try:
        if ":" not in host:
            if "[" in parts.netloc:
                raise ValueError("brackets without an address")
            host = host.encode("idna").decode("ascii").lower()
        host = host.removesuffix(".")
        if not host or not all(sign.isalnum() or sign in "-._:" for sign in host) or ".." in host:
            raise ValueError("no host name")
        addresses.read_host(host)
    except (ValueError, UnicodeError):
        raise UsageError(f"{parts.netloc!r} is no host: give a name, or an address like 93.184.215.14.") from None
    return host


def _listed(ports: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
