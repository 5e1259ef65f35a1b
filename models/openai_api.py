"""The one seam to the OpenAI SDK: clients are made here, and its exceptions become ours here.

Invariant: the SDK never retries by itself (each attempt is counted once, by the engine), and no message that comes out
of here holds a key.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models.errors import BadAnswer, InDoubt, ModelError, Refused, SetupError, Unavailable
from models.redaction import register
from models.wire import error_for_status, is_url, out_of_credit, short, words_of

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError, OpenAI

OFFICIAL_URL = "https://api.openai.com/v1"
#: What says that an input image is broken.
FILE_SIGNS = ("invalid image", "invalid_image", "invalid mask", "invalid_mask", "image file")
#: Codes with which the services say "no credit" on a 429 or 403, and "content policy" on a 400.
NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
POLICY = {"moderation_blocked", "content_policy_violation", "content_filter"}
#: How the services say that there is no such model, by code or in words (OpenAI, vLLM, Ollama, LiteLLM, LocalAI).
NO_MODEL = {"model_not_found", "invalid_model"}
NO_MODEL_WORDS = re.compile(
    r"\bmodel\b.{0,120}?(does not exist|doesn't exist|not found|has been deprecated)"
    r"|\b(unknown|invalid|no such) model\b",
    re.IGNORECASE | re.DOTALL,
)


def make_client(*, key: str | None, base_url: str | None, timeout: float, connections: int = 8) -> OpenAI:
    """A thread-safe client for any OpenAI-compatible endpoint, without retries of its own.

    ``timeout`` is in seconds: the longest silence, and the time by which the body of an answer is there whole.
    Raises SetupError without a key for the official endpoint; a local server usually needs none.
    """
    check_setup(key=key, base_url=base_url)
    import httpx2
    from openai import DefaultHttpx2Client, OpenAI

    register(key)
    limits = httpx2.Limits(max_connections=connections + 4, max_keepalive_connections=connections + 4)
    return OpenAI(
        api_key=key or "none",
        # Always said, or the SDK would look for one in the environment.
        base_url=base_url or OFFICIAL_URL,
        max_retries=0,
        timeout=httpx2.Timeout(timeout, connect=10.0),
        # A paid request goes where the user sent it and nowhere else, as with every other backend.
        http_client=DefaultHttpx2Client(
            limits=limits, follow_redirects=False, event_hooks={"response": [_within(timeout)]}
        ),
    )


def _within(timeout: float) -> Callable[[httpx2.Response], None]:
    """A hook that gives the body of every answer so many seconds: the timeouts of the SDK are the longest silences."""
    import httpx2

    class Timed(httpx2.SyncByteStream):
        def __init__(self, stream: httpx2.SyncByteStream, request: httpx2.Request) -> None:
            self._stream, self._request = stream, request

        def __iter__(self) -> Iterator[bytes]:
            end = time.monotonic() + timeout
            for chunk in self._stream:
                yield chunk
                if time.monotonic() > end:
                    raise httpx2.ReadTimeout(f"not all of it came within {timeout:g} s", request=self._request)

        def close(self) -> None:
            self._stream.close()

    def hook(response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = Timed(response.stream, response.request)

    return hook


def check_setup(*, key: str | None, base_url: str | None) -> None:
    """Raise SetupError for a key or a base URL that no request can be made with; quick, and without the SDK."""
    if not key and is_official(base_url):
        raise SetupError("No OpenAI key is set.", hint="Put OPENAI_API_KEY=... into the environment or .env.")
    if key and not re.fullmatch(r"[!-~]+", key):
        raise SetupError("The OpenAI key holds a space or a character that no key has.", hint="Copy it once more.")
    if base_url and not is_url(base_url):
        raise SetupError(
            f"{short(base_url)!r} is no base URL.", hint="It looks like http://localhost:8000/v1 or https://host/v1."
        )


def is_official(base_url: str | None) -> bool:
    """True for OpenAI's own endpoint, where every model name is known to us."""
    host = host_of(base_url)
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def host_of(base_url: str | None) -> str:
    """The host of an endpoint, in lower case; nothing for what is no URL. None is OpenAI itself."""
    url = base_url or OFFICIAL_URL
    return (urlsplit(url).hostname or "") if is_url(url) else ""


def translate(exc: Exception, *, what: str, setting: str = "OPENAI_API_KEY") -> ModelError:
    """One of our errors for an exception of the SDK.

    ``what`` names the service in the message, ``setting`` the key to check.
    """
    import httpx2
    import openai

    if isinstance(exc, ModelError):
        return exc
    if isinstance(exc, openai.APIStatusError):
        return _from_status(exc, what, setting)
    if isinstance(exc, openai.APIConnectionError):
        return _from_transport(exc.__cause__ or exc, what)
    if isinstance(exc, httpx2.RequestError):  # while a streamed body was read
        return _from_transport(exc, what)
    if isinstance(exc, openai.APIResponseValidationError | openai.LengthFinishReasonError | ValueError):
        return BadAnswer(f"{what}: the answer cannot be read: {short(str(exc))}")
    if isinstance(exc, openai.ContentFilterFinishReasonError):
        return Refused(f"{what}: the content filter stopped the answer.")
    raise exc


def _from_status(exc: APIStatusError, what: str, setting: str) -> ModelError:
    status = exc.status_code
    code, kind = str(exc.code or ""), str(exc.type or "")
    if status < 400:
        where = short(exc.response.headers.get("location", "elsewhere").partition("?")[0])
        return SetupError(f"{what} sends us on to {where}.", hint="Check the base URL: nothing is followed.")
    message = f"{what}: {short(words_of(exc.body, exc.message))}"
    if {code, kind} & NO_CREDIT:
        return out_of_credit(message)
    if code in POLICY or (kind == "image_generation_user_error" and not _is_about_a_file(exc)):
        return Refused(message)
    if status in (400, 404, 422) and _is_about_the_model(exc):
        # Not a matter of this one item: no other would fare better.
        return SetupError(message, hint="Check the model name and the base URL.")
    return error_for_status(status, message, exc.response.headers, setting=setting)


def _is_about_the_model(exc: APIStatusError) -> bool:
    """Whether it was refused because there is no model of that name."""
    if exc.code in NO_MODEL or exc.param == "model":
        return True
    return not exc.param and bool(NO_MODEL_WORDS.search(words_of(exc.body, "")))


def _is_about_a_file(exc: APIStatusError) -> bool:
    """OpenAI answers a broken input image with the type of error it has for its policy."""
    words = " ".join(str(part or "") for part in (exc.code, exc.param, exc.message)).casefold()
    return any(sign in words for sign in FILE_SIGNS)


def _from_transport(cause: BaseException, what: str) -> ModelError:
    """Whether the request had left decides: a call that may have been billed is in doubt."""
    import httpx2

    reason = short(str(cause)) or type(cause).__name__
    if isinstance(cause, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return SetupError(f"{what} cannot be asked: {reason}", hint="Check the base URL.")
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return Unavailable(f"{what} cannot be reached: {reason}")
    if isinstance(cause, httpx2.TransportError):
        return InDoubt(f"{what} took the request, and its answer never came or broke off: {reason}")
    if isinstance(cause, httpx2.DecodingError):
        return BadAnswer(f"{what}: the answer cannot be unpacked: {reason}")
    return Unavailable(f"{what} cannot be reached: {reason}")
