"""The one seam to the OpenAI SDK: clients are made here, and its exceptions become ours here.

Invariant: the SDK never retries by itself (each attempt is counted once, by the engine), and no message that comes out of
here holds a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from models.errors import (
    BadAnswer,
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    Refused,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from models.redaction import redact, register

if TYPE_CHECKING:
    import openai
    from openai import APIStatusError, OpenAI

#: Codes with which the services say "no credit" on a 429 or 403, and "content policy" on a 400.
NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
POLICY = {"moderation_blocked", "content_policy_violation", "content_filter"}


def make_client(*, key: str | None, base_url: str | None, timeout: float, connections: int = 8) -> OpenAI:
    """A thread-safe client for any OpenAI-compatible endpoint, with ``timeout`` in seconds and no retries of its own.

    Raises SetupError without a key for the official endpoint; a local server usually needs none.
    """
    if not key and not base_url:
        raise SetupError("No OpenAI key is set.", hint="Put OPENAI_API_KEY=... into the environment or .env.")
    import httpx2
    from openai import DefaultHttpx2Client, OpenAI

    register(key)
    limits = httpx2.Limits(max_connections=connections + 4, max_keepalive_connections=connections + 4)
    return OpenAI(
        api_key=key or "none",
        base_url=base_url or None,
        max_retries=0,
        timeout=httpx2.Timeout(timeout, connect=10.0),
        http_client=DefaultHttpx2Client(limits=limits),
    )


def translate(exc: Exception, *, what: str, setting: str = "OPENAI_API_KEY") -> ModelError:
    """One of our errors for an exception of the SDK.

    ``what`` names the service in the message, ``setting`` the key to check.
    """
    import openai

    if isinstance(exc, ModelError):
        return exc
    if isinstance(exc, openai.APIStatusError):
        return _from_status(exc, what, setting)
    if isinstance(exc, openai.APIConnectionError):
        return _from_connection(exc, what)
    if isinstance(exc, openai.APIResponseValidationError | openai.LengthFinishReasonError | ValueError):
        return BadAnswer(f"{what}: the answer cannot be read: {_short(str(exc))}")
    if isinstance(exc, openai.ContentFilterFinishReasonError):
        return Refused(f"{what}: the content filter stopped the answer.")
    raise exc


def _from_status(exc: APIStatusError, what: str, setting: str) -> ModelError:
    status = exc.status_code
    code = str(exc.code or "")
    message = f"{what}: {_short(exc.message)}"
    if code in NO_CREDIT or status == 402:
        return OutOfCredit(message, hint="Add credit to the account, then `python main.py resume`.")
    if code in POLICY or exc.type == "image_generation_user_error":
        return Refused(message)
    if status in (401, 403):
        return SetupError(message, hint=f"Check {setting}.")
    if status == 404:
        return UnsupportedRequest(message, hint="Check the model name and the base URL.")
    if status == 429:
        return RateLimited(message, retry_after=retry_after(exc.response.headers))
    if status in (408, 409) or status >= 500:
        return Unavailable(f"{message} (HTTP {status})", retry_after=retry_after(exc.response.headers))
    return UnsupportedRequest(f"{message} (HTTP {status})")


def _from_connection(exc: openai.APIConnectionError, what: str) -> ModelError:
    """Whether the request had left decides: a call that may have been billed is in doubt."""
    import httpx2

    cause = exc.__cause__
    reason = _short(str(cause) or type(cause).__name__)
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return Unavailable(f"{what} cannot be reached: {reason}")
    if isinstance(cause, httpx2.TransportError):
        return InDoubt(f"{what} took the request and never answered: {reason or type(cause).__name__}")
    return Unavailable(f"{what} cannot be reached: {reason}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the service asks: ``retry-after-ms``, ``Retry-After`` in seconds or as a date; None if unsaid."""
    millis = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if millis is not None:
            return max(0.0, float(millis) / 1000)
        if value is not None:
            return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value or "")
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _short(text: str) -> str:
    """One line of at most 300 characters, without keys."""
    line = " ".join(redact(text).split())
    return line if len(line) <= 300 else line[:299] + "…"
