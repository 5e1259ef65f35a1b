"""The one seam to hosted services other than OpenAI: a session, and its exceptions and statuses as our errors.

Invariant: every request is sent at most once, every answer has a byte cap and a time by which it is there whole, and no
message holds a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import BadAnswer, InDoubt, ModelError, SetupError, Unavailable
from models.redaction import register
from models.wire import error_for_status, is_url, short, words_of

if TYPE_CHECKING:
    from requests import Response, Session
    from requests.exceptions import RequestException

#: Seconds to connect; the time for the whole answer is the caller's.
CONNECT = 10.0
#: No answer and no image is larger.
ANSWER_MAX = 128 * 1024 * 1024
CHUNK = 256 * 1024


def check_setup(*, key: str | None, base_url: str | None, what: str, setting: str) -> None:
    """Raise SetupError for a key or a base URL that no request can be made with; quick, and without requests.

    A service at an address of the user's own (``base_url``) may do without a key.
    """
    if not key and not base_url:
        raise SetupError(f"No key for {what} is set.", hint=f"Put {setting}=... into the environment or .env.")
    if key and not re.fullmatch(r"[!-~]+", key):
        raise SetupError(f"{setting} holds a space or a character that no key has.", hint="Copy it once more.")
    if base_url and not is_url(base_url):
        raise _no_base_url(base_url)


def _no_base_url(text: str) -> SetupError:
    return SetupError(f"{short(text)!r} is no base URL.", hint="It looks like https://host or http://host:7860.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, read whole."""

    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError where it is none."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class HttpApi:
    """Calls one service; thread-safe. ``what`` names it in messages, ``setting`` the key to check."""

    def __init__(
        self,
        base_url: str,
        *,
        what: str,
        setting: str,
        headers: Mapping[str, str],
        timeout: float,
        connections: int = 8,
        largest: int | None = None,
    ) -> None:
        """Raises SetupError for a base URL that is none. Values of ``headers`` are secrets and are never shown.

        ``timeout`` is in seconds, from the moment a request has left until its answer is there whole; an answer of more
        than ``largest`` bytes (None = ``ANSWER_MAX``) is a BadAnswer.
        """
        if not is_url(base_url):
            raise _no_base_url(base_url)
        from models.backends.deadline import TimedAdapter

        for value in headers.values():
            register(value, value.removeprefix("Bearer "))
        self.base_url = base_url.rstrip("/")
        self.what = what
        self._setting = setting
        self._timeout = (CONNECT, timeout)
        self._headers = dict(headers)
        self._largest = largest
        self._session = _session()
        # Neither proxies nor .netrc: a key goes to the service and nowhere else.
        self._session.trust_env = False
        adapter = TimedAdapter(pool_connections=connections, pool_maxsize=connections + 4, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def call(
        self,
        method: str,
        path: str,
        *,
        payload: Any = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        paid: bool = True,
        secret: bool = True,
    ) -> Reply:
        """One request to ``path`` (below the base URL, or a whole URL), answered with a status below 300.

        ``payload`` is sent as JSON; ``form`` (texts) and ``files`` (what requests takes) as multipart, with or without
        a file. ``paid`` says whether a lost answer may have cost money: then it is InDoubt, else Unavailable.
        ``secret=False`` leaves the key out, for links to results. Raises a ModelError for everything else; a status of
        300 or more becomes one through ``error``.
        """
        reply = self.raw(method, path, payload=payload, form=form, files=files, accept=accept, paid=paid, secret=secret)
        if reply.status >= 300:
            raise self.error(reply)
        return reply

    def raw(
        self,
        method: str,
        path: str,
        *,
        payload: Any = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        paid: bool = True,
        secret: bool = True,
    ) -> Reply:
        """``call`` that hands back every status, for services that say more in the body."""
        from requests.exceptions import RequestException

        url = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        headers = {"Accept": accept, **(self._headers if secret else {})}
        try:
            with self._session.request(
                method,
                url,
                json=payload,
                files=_parts(form, files),
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                return Reply(status=response.status_code, headers=_lower(response), body=self._read(response))
        except RequestException as exc:
            raise self._translate(exc, paid=paid) from None

    def error(self, reply: Reply) -> ModelError:
        """What a status of 300 or more means where the service says nothing more telling."""
        if reply.status < 400:
            where = short(reply.headers.get("location", "elsewhere").partition("?")[0])
            return SetupError(f"{self.what} sends us on to {where}.", hint="Check the base URL: nothing is followed.")
        try:
            body: object = reply.json()
        except ValueError:
            body = reply.body[:2000].decode("utf-8", "replace")
        message = f"{self.what}: {short(words_of(body, f'HTTP {reply.status}'))}"
        return error_for_status(reply.status, message, reply.headers, setting=self._setting)

    def object(self, reply: Reply) -> dict[str, Any]:
        """The body as a JSON object; raises BadAnswer where it is something else."""
        try:
            found = reply.json()
        except ValueError:
            raise BadAnswer(f"{self.what}: the answer is no JSON.") from None
        if not isinstance(found, dict):
            raise BadAnswer(f"{self.what}: the answer is no JSON object.")
        return found

    def close(self) -> None:
        self._session.close()

    def _read(self, response: Response) -> bytes:
        body = bytearray()
        largest = self._largest or ANSWER_MAX
        for chunk in response.iter_content(CHUNK):
            body += chunk
            if len(body) > largest:
                raise BadAnswer(f"{self.what}: the answer is larger than {largest // 1024**2} MB.")
        return bytes(body)

    def _translate(self, exc: RequestException, *, paid: bool) -> ModelError:
        """Whether the request had left decides: a call that may have been billed is in doubt."""
        from requests import exceptions
        from urllib3.exceptions import MaxRetryError, NewConnectionError

        inner = exc.args[0] if exc.args else None
        # What is around the reason names the URL, and with it the signature of a link.
        reason = short(str(inner.reason if isinstance(inner, MaxRetryError) else exc)) or type(exc).__name__
        # Encryption that breaks while the answer is read comes without a MaxRetryError.
        unencrypted = isinstance(exc, exceptions.SSLError) and isinstance(inner, MaxRetryError)
        if unencrypted or isinstance(exc, exceptions.ConnectTimeout | exceptions.ProxyError):
            return Unavailable(f"{self.what} cannot be reached: {reason}")
        if isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError):
            return Unavailable(f"{self.what} cannot be reached: {reason}")
        if isinstance(exc, exceptions.ContentDecodingError):
            return BadAnswer(f"{self.what}: the answer cannot be unpacked: {reason}")
        if isinstance(exc, exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.InvalidHeader):
            return SetupError(f"{self.what} cannot be asked: {reason}", hint=f"Check {self._setting}.")
        broke_off = f"{self.what} took the request, and its answer never came or broke off: {reason}"
        return InDoubt(broke_off) if paid else Unavailable(broke_off)


def _session() -> Session:
    import requests

    class Straight(requests.Session):
        """Has no eye for redirects: even where none is followed, requests would read such an answer whole, uncapped."""

        def get_redirect_target(self, resp: Response) -> None:
            return None

    return Straight()


def _parts(form: Mapping[str, str] | None, files: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Everything as ``files``: a form without a file would be sent url-encoded, which some services refuse."""
    if form is None and files is None:
        return None
    return {**{name: (None, text) for name, text in (form or {}).items()}, **(files or {})}


def _lower(response: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
