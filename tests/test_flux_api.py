"""The backend ``flux-api`` renders: jobs that are submitted, looked at and fetched, against a stand-in."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from models.backends import flux_api
from models.contract import GeneratedImage
from models.errors import BadAnswer, InDoubt, RateLimited, Refused, SetupError, Unavailable
from tests.flux_tools import KEY, Make, ask, backends, changed, fail, not_collected, render
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer, rendered

LONG_AGO = 1_700_000_000.0


@pytest.fixture
def server() -> Iterator[BflServer]:
    with BflServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: BflServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def paths(server: BflServer) -> list[str]:
    return [request.path.partition("?")[0].split("/")[-1] for request in server.requests]


# --- a job from beginning to end ------------------------------------------------------------------------------------


def test_a_job_is_submitted_looked_at_and_fetched(server: BflServer, make: Make) -> None:
    server.pending = 2
    backend = make()
    job = backend.submit(ask(seed=7))
    assert [backend.collect(job), backend.collect(job)] == [None, None]
    image = backend.collect(job)
    assert isinstance(image, GeneratedImage)
    assert image.image == rendered(64, 64, "png", 7)
    assert (image.width, image.height, image.seed, image.model) == (64, 64, 7, "flux-2-pro")
    assert image.cost_usd == Decimal("0.03") == server.bill
    assert image.details == {"job": json.loads(job)["id"]}
    assert paths(server) == ["flux-2-pro", "get_result", "get_result", "get_result", "sample.png"]
    assert server.billed == 1


def test_the_text_of_a_job_holds_all_that_another_process_needs(server: BflServer, make: Make) -> None:
    server.pending = 1
    first = make()
    job = first.submit(ask())
    first.close()
    del first
    second = make()
    assert KEY not in job
    assert second.collect(job) is None
    image = second.collect(job)
    assert isinstance(image, GeneratedImage)
    again = make(model="flux-dev").collect(job)
    assert isinstance(again, GeneratedImage)
    assert (image.image, image.model, image.cost_usd) == (again.image, "flux-2-pro", again.cost_usd)
    assert len(server.jobs) == server.billed == 1


def test_equal_seeds_make_equal_pictures(make: Make) -> None:
    first, second, other = (render(make(), ask(seed=seed)).image for seed in (1, 1, 2))
    assert first == second != other


def test_generate_does_all_of_it(server: BflServer, make: Make) -> None:
    server.pending = 3
    image = render(make())
    assert image.seed == 42
    assert paths(server) == ["flux-2-pro", *["get_result"] * 4, "sample.png"]


@pytest.mark.parametrize(
    ("model", "asked"), [("flux-2-pro", (1000, 562)), ("flux-dev", (1024, 1024)), ("flux-kontext-pro", (1024, 576))]
)
def test_what_comes_back_covers_what_was_asked(
    server: BflServer, make: Make, model: str, asked: tuple[int, int]
) -> None:
    server.image_size = None
    image = render(make(), ask(*asked, model=model))
    assert isinstance(image.image, bytes)
    with Image.open(io.BytesIO(image.image)) as opened:
        opened.load()
        assert opened.size == (image.width, image.height)
    assert image.width >= asked[0]
    assert image.height >= asked[1]


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        (4.5, "0.045"),
        (3, "0.03"),
        ("6", "0.06"),
        (0.1, "0.001"),
        *[(odd, "0.03") for odd in (None, 0, -3, "much", "NaN", True, [3], "1e999999999", float("inf"))],
    ],
)
def test_the_cost_is_what_the_service_says_or_else_that_of_the_catalog(
    server: BflServer, make: Make, cost: object, usd: str
) -> None:
    backend = make()
    taken = json.loads(backend.submit(ask()))
    body = {"id": taken["id"], "polling_url": taken["polling_url"], "cost": cost}
    server.faults = [Fault(body=json.dumps(body).encode())]
    image = backend.collect(backend.submit(ask()))
    assert image is not None
    assert image.cost_usd == Decimal(usd)


def test_the_estimate_is_what_the_service_charges(server: BflServer, make: Make) -> None:
    server.says_cost = False
    backend = make()
    requests = [
        ask(model=model, width=side, height=side) for model in ("flux-2-max", "flux-dev") for side in (512, 1440)
    ]
    expected = [backend.price(request) for request in requests]
    assert [render(backend, request).cost_usd for request in requests] == expected
    assert sum(filter(None, expected)) == server.bill


def test_many_threads_share_it(server: BflServer, make: Make) -> None:
    backend = make()
    barrier = threading.Barrier(12)

    def work(_: int) -> GeneratedImage:
        barrier.wait()
        return render(backend)

    with ThreadPoolExecutor(12) as pool:
        images = list(pool.map(work, range(12)))
    assert len({image.details["job"] for image in images}) == server.billed == 12


def test_closing_lets_go_and_may_be_repeated(make: Make) -> None:
    backend = make()
    backend.close()
    render(backend)
    backend.close()
    backend.close()


# --- how jobs end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected", "said"),
    [
        ("FORBIDDEN", Refused, "Request Moderated: Derivative Works Filter"),
        ("UNSEEMLY", Refused, "Content Moderated: Content Filter"),
        ("UNLUCKY", BadAnswer, "CUDA out of luck"),
    ],
)
def test_a_job_that_ends_without_a_picture(
    server: BflServer, make: Make, word: str, expected: type[Exception], said: str
) -> None:
    error = fail(make(), ask(prompt=f"{word} fruit"))
    assert type(error) is expected
    assert said in str(error)
    if isinstance(error, Refused):
        assert error.cost_usd == 0 == server.bill


@pytest.mark.parametrize("status", ["Moderating", "ready", "", "Queued\nup"])
def test_an_unknown_state_is_the_end(server: BflServer, make: Make, status: str) -> None:
    server.faults = [Fault(path="get_result", body={"status": status})]
    assert type(fail(make())) is BadAnswer
    assert paths(server) == ["flux-2-pro", "get_result"]


@pytest.mark.parametrize("status", [404, 200])
def test_a_job_that_the_service_does_not_know(server: BflServer, make: Make, status: int) -> None:
    backend = make()
    job = backend.submit(ask())
    server.jobs.clear()
    if status == 200:
        server.faults = [Fault(body={"status": "Task not found"})]
    error = not_collected(backend, job)
    assert type(error) is BadAnswer
    assert "does not know" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": None},
        {"status": 7},
        {"status": ["Ready"]},
        {"status": "Ready"},
        {"status": "Ready", "result": None},
        {"status": "Ready", "result": "https://bfl.ai/picture.png"},
        {"status": "Ready", "result": {"sample": 7}},
        {"status": "Ready", "result": {"sample": ""}},
        {"status": "Error", "details": {"a": [{"b": 7}, "x" * 9999]}},
    ],
)
def test_a_state_of_the_wrong_shape_is_the_end(server: BflServer, make: Make, body: dict[str, Any]) -> None:
    server.faults = [Fault(path="get_result", body=body)]
    error = fail(make())
    assert type(error) is BadAnswer
    assert len(str(error)) < 600


def test_a_seed_that_is_none_gives_way_to_the_one_asked_for(server: BflServer, make: Make) -> None:
    backend = make()
    job = backend.submit(ask(seed=9))
    link = f"{server.url}/results/{json.loads(job)['id']}/sample.png"
    server.faults = [Fault(path="get_result", body={"status": "Ready", "result": {"sample": link, "seed": "high"}})]
    image = backend.collect(job)
    assert image is not None
    assert image.seed == 9


@pytest.mark.parametrize("job", ["", "{}", "null", "7", '{"id": "a"}', "polling_url"])
def test_what_is_no_job_cannot_be_collected(server: BflServer, make: Make, job: str) -> None:
    assert type(not_collected(make(), job)) is BadAnswer
    assert server.requests == []


# --- who gets the key -----------------------------------------------------------------------------------------------


def test_the_key_goes_to_the_service_and_not_to_where_pictures_are(server: BflServer, make: Make) -> None:
    with BflServer(key=KEY, image_size=(64, 64)) as elsewhere:
        elsewhere.jobs = server.jobs
        server.sample_base = elsewhere.url
        render(make())
        assert [KEY in request.headers.values() for request in server.requests] == [True, True]
        (fetched,) = elsewhere.requests
        assert fetched.path.startswith("/results/")
        assert "x-key" not in fetched.headers
        assert KEY not in str(fetched)


def test_a_foreign_address_gets_no_request_at_all(server: BflServer, make: Make) -> None:
    with BflServer(key=KEY) as foreign:
        server.polling_base = foreign.url
        backend = make()
        job = backend.submit(ask())
        for _ in range(2):
            error = not_collected(backend, job)
            assert type(error) is SetupError
            assert "127.0.0.1" in str(error)
        assert type(fail(make())) is SetupError
        assert foreign.requests == []
        # The job is not lost: whoever knows the address can still have it collected.
        foreign.jobs, foreign.image_size = server.jobs, (64, 64)
        assert make(base_url=foreign.url).collect(job) is not None


def test_a_job_from_another_server_is_not_collected_here(server: BflServer, make: Make) -> None:
    backend = make()
    job = backend.submit(ask())
    for where in ("https://api.bfl.ai/v1/get_result?id=1", f"{server.url}@evil.example/", "file:///etc/passwd", ""):
        assert type(not_collected(backend, changed(job, polling_url=where))) is SetupError
    assert len(server.requests) == 1


@pytest.mark.parametrize("sample", ["file:///etc/passwd", "ftp://host/p.png", "//host/p.png", "p.png", "http://[::1"])
def test_a_picture_is_fetched_over_the_web_only(server: BflServer, make: Make, sample: str) -> None:
    server.faults = [Fault(path="get_result", body={"status": "Ready", "result": {"sample": sample}})]
    assert type(fail(make())) is BadAnswer
    assert paths(server) == ["flux-2-pro", "get_result"]


def test_redirects_to_a_picture_are_followed_without_the_key(server: BflServer, make: Make) -> None:
    with BflServer(key=KEY, image_size=(64, 64)) as other:
        other.jobs = server.jobs
        backend = make()
        job = backend.submit(ask())
        there = f"{other.url}/results/{json.loads(job)['id']}/sample.png"
        server.faults = [Fault(path="/results/", status=302, headers={"Location": there})]
        assert backend.collect(job) is not None
        assert "x-key" not in other.requests[0].headers


@pytest.mark.parametrize("location", ["ftp://host/p.png", "file:///etc/passwd", "http://[::1"])
def test_redirects_stay_on_the_web(server: BflServer, make: Make, location: str) -> None:
    server.faults = [Fault(path="/results/", status=302, headers={"Location": location})]
    assert type(fail(make())) is BadAnswer
    assert len(server.requests) == 3


def test_redirects_end(server: BflServer, make: Make) -> None:
    backend = make()
    job = backend.submit(ask())
    server.faults = [Fault(path="/results/", status=302, headers={"Location": "?again"}) for _ in range(9)]
    assert type(not_collected(backend, job)) is Unavailable
    assert paths(server).count("sample.png") + paths(server).count("") == 4


# --- links that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_link_is_looked_up_again_while_the_picture_may_be_there(
    server: BflServer, make: Make, status: int
) -> None:
    backend = make()
    job = backend.submit(ask())
    server.faults = [Fault(path="/results/", status=status)]
    assert type(not_collected(backend, job)) is Unavailable
    assert backend.collect(job) is not None
    assert server.billed == 1


def test_a_dead_link_to_an_old_job_is_the_end(server: BflServer, make: Make) -> None:
    backend = make()
    job = changed(backend.submit(ask()), submitted=LONG_AGO)
    assert backend.collect(job) is not None
    server.links_dead = True
    error = not_collected(backend, job)
    assert type(error) is BadAnswer
    assert "ten minutes" in str(error)


def test_generate_looks_up_a_dead_link_by_itself(server: BflServer, make: Make) -> None:
    server.faults = [Fault(path="/results/", status=404), Fault(path="/results/", truncate=True)]
    render(make())
    assert server.billed == 1


# --- waiting --------------------------------------------------------------------------------------------------------


def test_waiting_ends_and_leaves_the_job_in_doubt(
    server: BflServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _pause: None, time=time.time)
    monkeypatch.setattr(flux_api, "time", clock)
    server.pending = 10**9
    error = fail(make(timeout=20))
    assert type(error) is InDoubt
    assert next(iter(server.jobs)) in str(error)
    assert len(server.jobs) == 1


def test_generate_waits_as_long_as_it_is_told_but_never_beyond_its_time(server: BflServer, make: Make) -> None:
    server.faults = [Fault(path="get_result", status=429, headers={"Retry-After": "3600"})]
    assert type(fail(make())) is InDoubt
    assert len(server.requests) == 2


def test_the_service_takes_24_jobs_at_once(server: BflServer, make: Make) -> None:
    server.pending = 1
    backend = make()
    jobs = [backend.submit(ask()) for _ in range(24)]
    with pytest.raises(RateLimited):
        backend.submit(ask())
    assert [backend.collect(job) for job in jobs[:2]] == [None, None]
    backend.submit(ask())
    assert server.peak_jobs == backend.capabilities.max_in_flight == 24
