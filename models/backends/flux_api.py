"""FLUX over the Black Forest Labs service, the backend behind ``--flux-api``: paid jobs that survive a crash of ours.

Invariant: only ``submit`` costs money, and it asks once; of what ``collect`` raises, Refused and BadAnswer mean that
the job will never give a picture, and everything else that it may be collected again, for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from models.backends import flux_models
from models.backends.flux_jobs import WHAT, Job, Service, accepted, is_end, outcome, read_job
from models.backends.http import HttpApi, Reply, check_setup
from models.backends.output_images import from_bytes
from models.catalog import Catalog, ModelRow
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import (
    BadAnswer,
    InDoubt,
    ModelError,
    RateLimited,
    SetupError,
    Unavailable,
)
from models.wire import retry_after, short

if TYPE_CHECKING:
    from models.registry import BackendConfig

SETTING = "BFL_API_KEY"
#: The service takes no more jobs at once.
IN_FLIGHT = 24
#: Seconds until the link to a finished picture dies.
LINK_LIFE = 600
#: Redirects followed on the way to a picture.
REDIRECTS = 3
#: What a link to a picture answers that does not exist (any more).
DEAD = (403, 404, 410)


class FluxApiBackend:
    """Submits and collects jobs; thread-safe. ``base_url`` is "eu", "us", a URL, or None for the global service."""

    name = "flux-api"

    def __init__(
        self,
        *,
        key: str | None,
        base_url: str | None,
        catalog: Catalog,
        model: str | None = None,
        timeout: float = 300,
        max_in_flight: int = IN_FLIGHT,
        poll_seconds: float = 1.0,
    ) -> None:
        """``timeout`` is in seconds, for a whole answer and the longest ``generate`` waits for a job."""
        self.capabilities = Capabilities(
            summary="FLUX over the Black Forest Labs service, paid by the image; seeds and reference images",
            paid=True,
            seeds=True,
            negative=False,
            max_batch=1,
            max_in_flight=min(max_in_flight, IN_FLIGHT),
            references=flux_models.REFERENCES,
            jobs=True,
            settings=frozenset({"steps", "guidance"}),
            options=frozenset(flux_models.OPTIONS),
        )
        self.poll_seconds = poll_seconds
        self._key = key
        self._service = Service(base_url)
        self._catalog = catalog
        self._model = model
        self._timeout = timeout
        self._api: HttpApi | None = None
        self._lock = threading.Lock()

    # --- before any spend -----------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        """The model named by the request, the settings or the catalog."""
        return self._row(request).id

    def check(self, request: ImageRequest) -> None:
        self._check_setup()
        flux_models.check(request, self.model_for(request))
        self.render_size(request)

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        """For the models that are told an aspect ratio, about the size they render."""
        sizes = self._row(request).sizes
        # A model that nobody has described is asked for exactly what the user asked for.
        return sizes.rule().cover(request.width, request.height) if sizes else (request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        """The catalog's price for the size that is rendered and the reference images that are sent along."""
        row = self._row(request)
        width, height = self.render_size(request)
        return row.image_price(width * height, flux_models.reference_pixels(request))

    def _row(self, request: ImageRequest) -> ModelRow:
        name = request.model or self._model
        return self._catalog.resolve("image", name, self.name) if name else self._catalog.default("image", self.name)

    def _check_setup(self) -> None:
        self._service.check()
        own = None if self._service.official else self._service.base_url
        check_setup(key=self._key, base_url=own, what=WHAT, setting=SETTING)

    # --- jobs -----------------------------------------------------------------------------------------------------

    def submit(self, request: ImageRequest) -> str:
        self.check(request)
        row = self._row(request)
        payload = flux_models.fields(request, row.id, row, self.render_size(request))
        price = self.price(request)
        api = self._connect()
        answer = api.object(api.call("POST", f"/v1/{quote(row.id, safe='')}", payload=payload))
        job = accepted(answer, model=row.id, price=price, seed=request.seed, submitted=time.time())
        return job.model_dump_json()

    def collect(self, job: str) -> GeneratedImage | None:
        taken = read_job(job)
        ready = outcome(self._look_at(taken), taken)
        if ready is None:
            return None
        picture = from_bytes(self._fetch(ready.sample, taken), what=WHAT)
        return GeneratedImage(
            image=picture.data,
            width=picture.width,
            height=picture.height,
            seed=ready.seed,
            model=taken.model,
            cost_usd=taken.cost,
            details={"job": taken.id},
        )

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        return [self._generate(request) for request in batch]

    def close(self) -> None:
        with self._lock:
            api, self._api = self._api, None
        if api is not None:
            api.close()

    def _generate(self, request: ImageRequest) -> GeneratedImage | ModelError:
        try:
            return self._await(self.submit(request))
        except ModelError as error:
            return error

    def _await(self, job: str) -> GeneratedImage:
        """Collect until there is a picture; what would go away by itself is never said, lest the job be paid again."""
        deadline = time.monotonic() + self._timeout
        while True:
            pause, reason = self.poll_seconds, "it is not ready"
            try:
                image = self.collect(job)
                if image is not None:
                    return image
            except (Unavailable, RateLimited) as error:
                pause, reason = max(pause, error.retry_after or 0.0), error.message
            if time.monotonic() + pause >= deadline:
                raise InDoubt(
                    f"{WHAT} took job {short(read_job(job).id)}, and {self._timeout:g} s later: {reason.rstrip('.')}."
                )
            time.sleep(pause)

    def _look_at(self, job: Job) -> dict[str, Any]:
        """What the service says of a job. Looking costs nothing, so that nothing here is ever in doubt."""
        if not self._service.trusts(job.polling_url):
            raise SetupError(
                f"Job {short(job.id)} is to be collected at {_host(job.polling_url)}, which does not get your key.",
                hint="If you know that address, set BFL_BASE_URL to it, then `python main.py resume`.",
            )
        api = self._connect()
        try:
            reply = api.raw("GET", job.polling_url, paid=False)
        except BadAnswer as error:
            raise Unavailable(error.message) from None
        answer = _json_object(reply)
        if answer is not None and (reply.status < 300 or is_end(answer)):
            return answer
        raise _not_seen(reply, api, job)

    def _fetch(self, url: str, job: Job) -> bytes:
        """The bytes behind the link to a picture; the key stays here."""
        api = self._connect()
        for _ in range(1 + REDIRECTS):
            if not self._service.delivers(url):
                raise BadAnswer(f"{WHAT}: the picture of job {short(job.id)} is at {_host(url)}, which is not safe.")
            reply = api.raw("GET", url, accept="image/*", paid=False, secret=False)
            if not 300 <= reply.status < 400:
                break
            url = _joined(url, reply.headers.get("location", ""))
        if reply.status in DEAD and time.time() - job.submitted > LINK_LIFE:
            raise BadAnswer(f"{WHAT}: the picture of job {short(job.id)} was kept for ten minutes and is gone.")
        if reply.status != 200:
            raise Unavailable(
                f"{WHAT}: the picture of job {short(job.id)} does not come (HTTP {reply.status}).",
                retry_after=retry_after(reply.headers),
            )
        return reply.body

    def _connect(self) -> HttpApi:
        with self._lock:
            if self._api is None:
                self._check_setup()
                self._api = HttpApi(
                    self._service.base_url,
                    what=WHAT,
                    setting=SETTING,
                    headers={"x-key": self._key} if self._key else {},
                    timeout=self._timeout,
                    connections=self.capabilities.max_in_flight,
                )
            return self._api


def build(config: BackendConfig) -> FluxApiBackend:
    """The backend from the settings its row in the registry names."""
    return FluxApiBackend(
        key=config.settings.get(SETTING),
        base_url=config.settings.get("BFL_BASE_URL"),
        catalog=config.catalog,
        model=config.settings.get("FLUX_API_MODEL"),
        timeout=config.timeout,
        max_in_flight=config.max_in_flight or IN_FLIGHT,
    )


def _json_object(reply: Reply) -> dict[str, Any] | None:
    try:
        found = reply.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _not_seen(reply: Reply, api: HttpApi, job: Job) -> ModelError:
    """Why a look at a job showed nothing; the job itself is as it was."""
    if reply.status < 300:
        return Unavailable(f"{WHAT}: what it says of job {short(job.id)} cannot be read.")
    error = api.error(reply)
    return error if isinstance(error, SetupError | RateLimited | Unavailable) else Unavailable(error.message)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _host(url: str) -> str:
    """The host of an address, for messages: the rest may be a secret."""
    try:
        return short(repr(urlsplit(url).hostname or ""))
    except ValueError:
        return "an address that cannot be read"
