"""What all HTTP services have in common: statuses, Retry-After, and messages fit for people.

Invariant: nothing that comes out of here holds a key, a line break or a page of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from urllib.parse import urlsplit

from models.errors import (
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from models.redaction import redact

#: A gateway gave up waiting: the service behind it may have done the work.
GATEWAY_TIMEOUTS = {504, 524}
#: Characters of a service's own words that are passed on.
LONGEST = 300


def error_for_status(status: int, message: str, headers: Mapping[str, str], *, setting: str) -> ModelError:
    """The error that an HTTP status of 400 or more means where the service says nothing more telling.

    ``setting`` names the key to check; ``headers`` must answer to lower-case names.
    """
    if status == 402:
        return out_of_credit(message)
    if status in (401, 403):
        return SetupError(message, hint=f"Check {setting}.")
    if status == 404:
        return UnsupportedRequest(message, hint="Check the model name and the base URL.")
    if status == 413:
        return UnsupportedRequest(f"{message} (HTTP 413)", hint="Give smaller images, or fewer of them.")
    if status == 429:
        return RateLimited(message, retry_after=retry_after(headers))
    if status in GATEWAY_TIMEOUTS:
        return InDoubt(f"{message} (HTTP {status}: a gateway gave up waiting; the work may have been done and billed)")
    if status in (408, 409) or status >= 500:
        return Unavailable(f"{message} (HTTP {status})", retry_after=retry_after(headers))
    return UnsupportedRequest(f"{message} (HTTP {status})")


def out_of_credit(message: str) -> OutOfCredit:
    return OutOfCredit(message, hint="Add credit to the account, then `python main.py resume`.")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the service asks (``retry-after-ms``, ``Retry-After`` as seconds or date); None if unsaid."""
    value = headers.get("retry-after")
    for said, unit in ((headers.get("retry-after-ms"), 1000), (value, 1)):
        try:
            seconds = float(said or "") / unit
        except ValueError:
            continue
        if isfinite(seconds):
            return max(0.0, seconds)
    try:
        moment = parsedate_to_datetime(value or "")
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def is_url(text: str) -> bool:
    """True for an http or https URL with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def short(text: str) -> str:
    """One line of at most ``LONGEST`` characters, without keys."""
    line = " ".join(redact(text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def words_of(body: object, otherwise: str) -> str:
    """What an error's body says, in whichever of the usual places it says it; pages of HTML say nothing."""
    if isinstance(body, Mapping):
        for key in ("message", "detail", "errors", "error"):
            said = body.get(key)
            if isinstance(said, Mapping):
                return words_of(said, otherwise)
            if isinstance(said, list) and said:
                said = "; ".join(words_of(part, str(part)) if isinstance(part, Mapping) else str(part) for part in said)
            if said:
                return str(said)
        if body.get("msg"):
            return str(body["msg"])
        return otherwise
    return body if isinstance(body, str) and body and not body.lstrip().startswith("<") else otherwise
