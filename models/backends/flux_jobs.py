"""Jobs of the Black Forest Labs service: their text, what the service says of them, and whom the key may be shown.

Invariant: an address gets the key only if ``Service.trusts`` it; a job text holds no key and all that is needed to
collect it in another process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BadAnswer, Refused, SetupError
from models.wire import is_url, short

WHAT = "Black Forest Labs"
GLOBAL = "https://api.bfl.ai"
REGIONS = {"global": GLOBAL, "eu": "https://api.eu.bfl.ai", "us": "https://api.us.bfl.ai"}
DOMAIN = "bfl.ai"
PORTS = {"http": 80, "https": 443}
#: An address on which all parsers agree: no user, no backslash, nothing that is not printable ASCII.
PLAIN_URL = re.compile(
    r"(https?)://([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*|\[[0-9A-Fa-f:]+\])(?::(\d{1,5}))?(?:[/?][!-\[\]-~]*)?"
)

#: How a job may end without a picture.
MODERATED = ("Request Moderated", "Content Moderated")
UNKNOWN_TASK = "Task not found"

Origin = tuple[str, str, int]


def origin(url: str) -> Origin | None:
    """(scheme, host, port) of a plain http or https address, or None where it is anything else."""
    match = PLAIN_URL.fullmatch(url)
    if match is None:
        return None
    port = int(match[3] or PORTS[match[1]])
    return (match[1], match[2].lower().strip("[]"), port) if 0 < port < 65536 else None


class Service:
    """Where the service is: ``setting`` is "eu", "us", a base URL, or nothing for the global one."""

    def __init__(self, setting: str | None) -> None:
        word = (setting or "global").strip()
        base_url = REGIONS.get(word.lower(), word).rstrip("/").removesuffix("/v1")
        self.base_url = base_url
        self.usable = is_url(base_url)
        self._origin: Origin = ("", "", 0)
        if self.usable:
            parts = urlsplit(base_url)
            self._origin = (parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme])
        self.official = _is_official(self._origin)

    def check(self) -> None:
        """Raise SetupError for a setting that is neither a region nor a URL."""
        if not self.usable:
            raise SetupError(
                f"BFL_BASE_URL={short(self.base_url)!r} is neither a region nor a URL.",
                hint="Use eu, us, or a URL such as https://host; leave it out for the global service.",
            )

    def trusts(self, url: str) -> bool:
        """True where the key may go: https on bfl.ai, or else the very server the user has named."""
        found = origin(url)
        return found is not None and (_is_official(found) if self.official else found == self._origin)

    def delivers(self, url: str) -> bool:
        """True where a picture may be fetched from, without the key: https, or http where the user's server is http."""
        found = origin(url)
        return found is not None and found[0] in ("https", self._origin[0])


def _is_official(found: Origin) -> bool:
    scheme, host, port = found
    return scheme == "https" and port == PORTS["https"] and (host == DOMAIN or host.endswith(f".{DOMAIN}"))


class Job(BaseModel):
    """A job the service has taken: the text that ``submit`` returns. ``cost`` is USD, ``submitted`` epoch seconds."""

    model_config = ConfigDict(frozen=True)

    id: str
    polling_url: str
    model: str
    cost: Decimal | None
    seed: int | None
    submitted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A finished job: a link to its picture, which dies after ten minutes."""

    sample: str
    seed: int | None


def accepted(
    answer: Mapping[str, Any], *, model: str, price: Decimal | None, seed: int | None, submitted: float
) -> Job:
    """The job that a submission was answered with; ``price`` stands in for a cost the service does not say."""
    id_, polling_url = answer.get("id"), answer.get("polling_url")
    if not isinstance(polling_url, str) or not polling_url:
        raise BadAnswer(f"{WHAT}: the answer holds no job.")
    cost = usd(answer.get("cost"))
    return Job(
        id=id_ if isinstance(id_, str) else "",
        polling_url=polling_url,
        model=model,
        cost=price if cost is None else cost,
        seed=seed,
        submitted=submitted,
    )


def read_job(text: str) -> Job:
    """A job from its text; raises BadAnswer for anything that ``submit`` did not write."""
    try:
        return Job.model_validate_json(text)
    except ValidationError:
        raise BadAnswer(f"{WHAT}: the job {short(text)[:60]!r} cannot be read.") from None


def usd(credits: object) -> Decimal | None:
    """USD for what the service says in credits of a cent each; None where that is no price."""
    if isinstance(credits, bool) or not isinstance(credits, int | float | str):
        return None
    try:
        found = Decimal(str(credits)) / 100
    except ArithmeticError:
        return None
    # A service that does not count says 0; that is not the same as free.
    return found if found.is_finite() and found > 0 else None


def outcome(answer: Mapping[str, Any], job: Job) -> Ready | None:
    """What a look at a job means: its result, None while it is pending; raises Refused or BadAnswer for the rest."""
    status = answer.get("status")
    if status == "Pending":
        return None
    if status == "Ready":
        return _ready(answer.get("result"), job)
    said = _said(answer.get("details")) or _said(answer.get("error"))
    more = f": {short(said)}" if said else ""
    if status in MODERATED:
        # Documented as free: only a job that becomes ready is billed.
        raise Refused(f"{WHAT}: {status}{more}.", cost_usd=Decimal(0))
    if status == UNKNOWN_TASK:
        raise BadAnswer(f"{WHAT} does not know job {short(job.id)} (any more){more}.")
    if status == "Error":
        # As free as a refusal.
        raise BadAnswer(f"{WHAT}: job {short(job.id)} failed{more}.", cost_usd=Decimal(0))
    # Never looked at again: a status that nobody knows may last for ever.
    raise BadAnswer(f"{WHAT}: job {short(job.id)} is in an unknown state, {short(repr(status))}{more}.")


def is_end(answer: Mapping[str, Any]) -> bool:
    """True where the body says that the job has ended, although the HTTP status is that of an error."""
    return answer.get("status") in (UNKNOWN_TASK, *MODERATED)


def _ready(result: object, job: Job) -> Ready:
    sample = result.get("sample") if isinstance(result, Mapping) else None
    if not isinstance(sample, str) or not sample:
        raise BadAnswer(f"{WHAT}: job {short(job.id)} is ready, but its answer holds no picture.")
    seed = result.get("seed") if isinstance(result, Mapping) else None
    return Ready(sample=sample, seed=seed if type(seed) is int else job.seed)


def _said(details: object) -> str:
    """The words in a job's details, in whichever shape they come."""
    if isinstance(details, Mapping):
        return "; ".join(filter(None, map(_said, details.values())))
    if isinstance(details, list):
        return ", ".join(filter(None, map(_said, details)))
    return details if isinstance(details, str) else ""
