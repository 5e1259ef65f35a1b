"""A stand-in of the Black Forest Labs service: jobs that are submitted, looked at, and fetched over links that die.

    with BflServer() as server:
        requests.post(f"{server.url}/v1/flux-2-pro", headers={"x-key": server.key}, json={"prompt": "a fox"})

By hand: ``python -m tests.servers.bfl_api --port 8124 [--seconds 0.2] [--pending 1] [--key test-key]``.
Invariant: ``jobs`` holds every job that was taken, whether or not its answer arrived; ``bill`` counts those that become
ready, once each, as the service says it does: moderated and failed jobs are free.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.bfl_inputs import MODELS, Inputs, cents
from tests.servers.pictures import encoded

__all__ = ["BflServer", "Fault", "Job"]

#: The word in a prompt -> what becomes of its job.
FATES = {"FORBIDDEN": "Request Moderated", "UNSEEMLY": "Content Moderated", "UNLUCKY": "Error"}
DETAILS = {
    "Request Moderated": {"Moderation Reasons": ["Derivative Works Filter"]},
    "Content Moderated": {"Moderation Reasons": ["Content Filter"]},
    "Error": {"error": "CUDA out of luck"},
}
ERRORS = {
    400: "Bad request.",
    401: "Not authenticated.",
    402: "Insufficient credits. Add more credits to continue.",
    403: "Not authenticated - invalid key.",
    404: "Not Found",
    429: "Too many concurrent requests.",
    500: "Internal Server Error",
    503: "Service temporarily unavailable.",
}
GONE = b'<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code><Message>Signature not valid.</Message></Error>'


@dataclass(slots=True)
class Job:
    """A job as the service sees it."""

    id: str
    model: str
    inputs: Inputs
    cents: Decimal
    #: The status it ends with.
    fate: str
    ready_at: float
    polls: int = 0
    fetched: int = 0


class BflServer(Service):
    """The service. Switches a test may set at any time:

    ``pending``: looks at a job that find it pending; ``seconds``: it takes that long besides. ``status``: what every
    finished job says instead of its own. ``links_dead``: no link works any more; ``link_uses``: fetches a link is good
    for. ``polling_base``, ``sample_base``: where links point to, if elsewhere. ``says_cost``: whether submissions are
    told what they cost. ``credit``: USD left, None for plenty. A job is in flight until it is no longer pending, so
    that with ``pending`` above 0 a job that nobody looks at takes up room.
    """

    def __init__(
        self,
        *,
        key: str = "test-key",
        port: int = 0,
        delay: float = 0.0,
        pending: int = 0,
        seconds: float = 0.0,
        image_size: tuple[int, int] | None = None,
        record: bool = True,
    ) -> None:
        super().__init__(port=port, delay=delay, record=record)
        self.key = key
        self.pending = pending
        self.seconds = seconds
        self.image_size = image_size
        self.in_flight_max = 24
        self.status = ""
        self.links_dead = False
        self.link_uses: int | None = None
        self.polling_base = ""
        self.sample_base = ""
        self.says_cost = True
        self.credit: Decimal | None = None
        self.jobs: dict[str, Job] = {}
        #: The most jobs there ever were in flight.
        self.peak_jobs = 0
        self._open: list[Job] = []
        self._jobs_lock = threading.Lock()

    @property
    def billed(self) -> int:
        """Jobs that are charged for."""
        with self._jobs_lock:
            return sum(job.fate == "Ready" for job in self.jobs.values())

    @property
    def bill(self) -> Decimal:
        """USD that all jobs together cost."""
        with self._jobs_lock:
            return sum((job.cents for job in self.jobs.values() if job.fate == "Ready"), Decimal(0)) / 100

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        parts = urlsplit(path)
        if method == "GET" and parts.path.startswith("/results/"):
            return self._result(parts.path.split("/")[2])
        if headers.get("x-key") != self.key:
            # The whole key comes back, which the real service avoids: whoever shows the message has to redact it.
            return _detail(f"Not authenticated - invalid key {headers.get('x-key', '')}", 403)
        if method == "GET" and parts.path == "/v1/get_result":
            return self._status(parse_qs(parts.query).get("id", [""])[0])
        model = parts.path.removeprefix("/v1/")
        if method == "POST" and model in MODELS:
            return self._submit(model, payload)
        return _detail("Not Found", 404)

    def error(self, status: int, code: str = "") -> Answer:
        return _detail(code or ERRORS.get(status, "Something went wrong."), status)

    def _submit(self, model: str, payload: Any) -> Answer:
        try:
            inputs = MODELS[model][0].model_validate(payload)
        except ValidationError as exc:
            details = [{"loc": ["body", *e["loc"]], "msg": e["msg"], "type": e["type"]} for e in exc.errors()]
            return as_json({"detail": details}, 422)
        fate = next((fate for word, fate in FATES.items() if word in inputs.prompt), "Ready")
        price = cents(model, inputs)
        now = time.monotonic()
        with self._jobs_lock:
            self._open = [job for job in self._open if self._in_flight(job, now)]
            busy = len(self._open)
            if busy >= self.in_flight_max:
                return _detail(ERRORS[429], 429)
            if self.credit is not None:
                if self.credit < price / 100:
                    return _detail(ERRORS[402], 402)
                self.credit -= price / 100 if fate == "Ready" else 0
            job = Job(str(uuid.uuid4()), model, inputs, price, fate, now + self.seconds)
            self.jobs[job.id] = job
            self._open.append(job)
            self.peak_jobs = max(self.peak_jobs, busy + 1)
        width, height = inputs.size()
        said = {"cost": float(price), "input_mp": 0.0, "output_mp": round(width * height / 1e6, 2)}
        where = f"{self.polling_base or self.url}/v1/get_result?id={job.id}"
        return as_json({"id": job.id, "polling_url": where, **(said if self.says_cost else {})})

    def _in_flight(self, job: Job, now: float) -> bool:
        return now < job.ready_at or job.polls < self.pending

    def _status(self, id_: str) -> Answer:
        with self._jobs_lock:
            job = self.jobs.get(id_)
            if job is None:
                return as_json({"id": id_, "status": "Task not found", "result": None}, 404)
            waiting = self._in_flight(job, time.monotonic())
            job.polls += 1
        body: dict[str, Any] = {"id": id_, "result": None, "progress": None, "details": None, "preview": None}
        if waiting:
            return as_json({**body, "status": "Pending", "progress": 0.5})
        status = self.status or job.fate
        if status != "Ready":
            return as_json({**body, "status": status, "details": DETAILS.get(status)})
        link = f"{self.sample_base or self.url}/results/{job.id}/sample.{job.inputs.format()}?sig=0a1b2c3d4e5f&se=2026"
        seed = 42 if job.inputs.seed is None else job.inputs.seed
        result = {"sample": link, "seed": seed, "prompt": job.inputs.prompt, "duration": 2.5}
        return as_json({**body, "status": "Ready", "progress": 1.0, "result": result})

    def _result(self, id_: str) -> Answer:
        with self._jobs_lock:
            job = self.jobs.get(id_)
            if job is None:
                return Answer(status=404, body=GONE, content_type="application/xml")
            job.fetched += 1
            if self.links_dead or (self.link_uses is not None and job.fetched > self.link_uses):
                return Answer(status=403, body=GONE, content_type="application/xml")
        width, height = self.image_size or job.inputs.size()
        kind = job.inputs.format()
        return Answer(body=rendered(width, height, kind, job.inputs.seed), content_type=f"image/{kind}")


@lru_cache(maxsize=256)
def rendered(width: int, height: int, output_format: str, seed: int | None) -> bytes:
    """A picture of that size; equal seeds make equal ones."""
    if seed is None:
        return encoded(width, height, output_format)
    from PIL import Image

    buffer = io.BytesIO()
    colour = (seed % 256, seed // 256 % 256, 128)
    Image.new("RGB", (width, height), colour).save(buffer, output_format)
    return buffer.getvalue()


def _detail(message: str, status: int) -> Answer:
    return as_json({"detail": message}, status)


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in of the Black Forest Labs service on localhost.")
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--seconds", type=float, default=0.0, help="seconds a job takes")
    parser.add_argument("--pending", type=int, default=0, help="looks at a job that find it pending")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--image-size", default="", help="answer every job with an image of this size, e.g. 64x64")
    options = parser.parse_args()
    size = None
    if options.image_size:
        width, _, height = options.image_size.partition("x")
        size = (int(width), int(height))
    server = BflServer(
        key=options.key,
        port=options.port,
        delay=options.delay,
        pending=options.pending,
        seconds=options.seconds,
        image_size=size,
        record=False,
    )
    with server:
        print(f"BFL_BASE_URL={server.url} BFL_API_KEY={server.key}", flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print(f"\n{len(server.jobs)} jobs, {server.billed} billed, {server.bill} USD.")


if __name__ == "__main__":
    main()
