"""What every backend of the registry keeps to, each against its stand-in over HTTP.

Invariant: nothing here knows a backend by more than its row, its capabilities and what ``backend_tools`` says of its
service.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageBackend, Lora
from models.errors import SetupError, UnsupportedRequest
from models.registry import BackendRow
from models.sizes import MAX_ENLARGEMENT, enlargement
from tests.backend_tools import (
    ADDRESS,
    HOSTED,
    LOCAL,
    MODERATED,
    READY,
    STANDINS,
    WRONG,
    Standin,
    ask,
    build,
    built,
    clean,
    every,
    fail,
    few_steps,
    picture,
    render,
    standin,
)


@pytest.fixture
def service(row: BackendRow) -> Iterator[Standin]:
    with standin(row) as found:
        yield found


@pytest.fixture
def small(row: BackendRow) -> Iterator[Standin]:
    """The stand-in with tiny pictures, for tests in which none matters."""
    with standin(row, (64, 64)) as found:
        yield found


@pytest.fixture
def backend(row: BackendRow, service: Standin) -> Iterator[ImageBackend]:
    with built(row, service) as made:
        yield made


def test_every_backend_has_a_stand_in() -> None:
    assert [row.name for row in READY] == list(STANDINS)
    assert {row.name for row in HOSTED} == set(ADDRESS) == set(WRONG)
    assert set(MODERATED) == {row.name for row in HOSTED if row.paid}


# --- what it is -----------------------------------------------------------------------------------------------------


@every
def test_it_is_what_its_row_says(row: BackendRow, backend: ImageBackend) -> None:
    able = backend.capabilities
    assert backend.name == row.name
    assert able.paid == row.paid
    assert able.max_batch >= 1 and able.max_in_flight >= 1
    assert able.summary and not able.summary.endswith(".")
    assert able.jobs == (hasattr(backend, "submit") and hasattr(backend, "collect"))
    assert able.progress == (hasattr(backend, "progress") and hasattr(backend, "interrupt"))
    assert not able.mask or able.init_image


@every
def test_it_takes_as_many_calls_at_once_as_the_user_says(row: BackendRow, service: Standin) -> None:
    with built(row, service, in_flight=3) as made:
        assert made.capabilities.max_in_flight <= 3


@every
def test_it_knows_its_model(row: BackendRow, backend: ImageBackend) -> None:
    backend.check(ask())
    model = backend.model_for(ask())
    if row.name == "sdapi":
        # The checkpoint its server has loaded, which only the server knows.
        assert model == "" and render(backend).model
        return
    if row in LOCAL:
        # The folder that stands in for a model of full size.
        assert Path(model).is_dir() and render(backend).model == model
        return
    found = load_catalog().find("image", model)
    assert found is not None and found.backend == backend.name
    assert backend.model_for(replace(ask(), model=model)) == model


@every
def test_its_price_is_known_or_unknown_and_never_free_by_default(row: BackendRow, backend: ImageBackend) -> None:
    for size in ((64, 64), (1024, 1024), (1792, 1008)):
        price = backend.price(ask(*size))
        assert price is None or (isinstance(price, Decimal) and price >= 0)
        assert (price == 0) == (not row.paid)


@every
def test_nothing_is_asked_of_the_service_for_a_price_or_a_size(row: BackendRow, service: Standin) -> None:
    with built(row, service) as made:
        made.model_for(ask())
        made.price(ask())
        made.render_size(ask())
    assert service.server is None or service.server.requests == []


# --- what it cannot do ----------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "init_image": Path("start.png"),
    "mask": Path("start.png"),
    "strength": 0.5,
    "references": (Path("start.png"),),
    "loras": (Lora("add_detail"),),
    "steps": 20,
    "guidance": 4.5,
    "scheduler": "Euler",
    "options": {"no-such-option": "1"},
}
#: Settings that mean nothing alone, and what goes with them.
TOGETHER = {"mask": {"init_image": Path("start.png")}, "init_image": {"strength": 0.5}}


def can(backend: ImageBackend, setting: str) -> bool:
    able = backend.capabilities
    return setting in able.settings or (setting != "options" and bool(getattr(able, setting, False)))


@every
@pytest.mark.parametrize("setting", CHANGES)
def test_what_it_cannot_do_is_refused_before_anything_is_sent(
    row: BackendRow, backend: ImageBackend, service: Standin, setting: str
) -> None:
    picture()
    request = ask(512, 512, **{setting: CHANGES[setting]})
    if can(backend, setting):
        # Then it does it; another model of the same service may have to be named, and what belongs to it given.
        try:
            backend.check(request)
        except (UnsupportedRequest, SetupError) as refused:
            # A part of a local model may not be on this machine.
            clean(refused)
        return
    with pytest.raises(UnsupportedRequest) as refusal:
        backend.check(request)
    clean(refusal.value)
    assert service.server is None or service.server.requests == []


@every
@pytest.mark.parametrize("setting", ["init_image", "mask", "references"])
@pytest.mark.parametrize("content", [None, b"", b"no picture at all"], ids=["missing", "empty", "text"])
def test_pictures_that_are_none_are_refused(
    row: BackendRow, backend: ImageBackend, service: Standin, setting: str, content: bytes | None
) -> None:
    path = Path("given.png")
    if content is not None:
        path.write_bytes(content)
    picture()
    value: Any = (path,) if setting == "references" else path
    with pytest.raises(UnsupportedRequest) as refusal:
        backend.check(ask(512, 512, **{**TOGETHER.get(setting, {}), setting: value}))
    clean(refusal.value)
    assert not service.requests()


@every
@pytest.mark.parametrize("size", [(100_000, 64), (64, 100_000), (30_000, 30_000)], ids=str)
def test_absurd_sizes_are_refused(
    row: BackendRow, backend: ImageBackend, service: Standin, size: tuple[int, int]
) -> None:
    with pytest.raises(UnsupportedRequest) as refusal:
        backend.check(ask(*size))
    clean(refusal.value)
    assert service.server is None or service.server.requests == []


SIZES = [(64, 64), (96, 64), (256, 256), (333, 777), (1024, 1024), (1792, 1008), (1008, 1792), (4096, 64), (4096, 4096)]


@every
def test_what_it_renders_covers_what_was_asked(row: BackendRow, backend: ImageBackend) -> None:
    for size in SIZES:
        try:
            backend.check(ask(*size))
        except UnsupportedRequest as refused:
            assert f"{size[0]}x{size[1]}" in str(refused)
            assert max(size) > 1024
            continue
        assert enlargement(backend.render_size(ask(*size)), *size) <= MAX_ENLARGEMENT


@every
@pytest.mark.parametrize("prompt", ["", "   \n"])
def test_an_empty_prompt_is_refused(row: BackendRow, backend: ImageBackend, prompt: str) -> None:
    if row.name == "draft":
        pytest.skip("it draws without words")
    with pytest.raises(UnsupportedRequest, match="prompt is empty"):
        backend.check(ask(prompt=prompt))


# --- what it makes --------------------------------------------------------------------------------------------------


@every
def test_it_answers_each_request_in_order(row: BackendRow, backend: ImageBackend, service: Standin) -> None:
    most = backend.capabilities.max_batch
    sizes = ((64, 64), (160, 64), (64, 160))
    batch = [ask(*size, seed=seed, **few_steps(row)) for seed, size in enumerate(sizes, start=5)]
    answers = [answer for n in range(0, 3, most) for answer in backend.generate(batch[n : n + most])]
    assert len(answers) == 3
    for request, answer in zip(batch, answers, strict=True):
        assert isinstance(answer, GeneratedImage), answer
        image = answer.image if isinstance(answer.image, Image.Image) else Image.open(io.BytesIO(answer.image))
        with image:
            image.load()
            assert image.size == (answer.width, answer.height)
        assert enlargement(image.size, request.width, request.height) <= MAX_ENLARGEMENT
        assert (image.width > image.height) == (request.width > request.height)
        assert answer.model
        assert answer.seed == (request.seed if backend.capabilities.seeds else None)
        assert isinstance(answer.cost_usd, Decimal) and (answer.cost_usd == 0) == (not row.paid)
    assert len(service.requests()) == (3 if service.server else 0)
    assert sum(one.cost_usd for one in answers if isinstance(one, GeneratedImage)) == service.bill()  # type: ignore[misc]


@every
def test_its_price_is_what_it_costs(row: BackendRow, backend: ImageBackend, service: Standin) -> None:
    # What is free is free at any size, and need not be rendered large.
    for size in ((1024, 1024), (1536, 1024)) if row.paid else ((64, 64),):
        request = ask(*size, prompt="word " * 90)
        price, cost = backend.price(request), render(backend, request).cost_usd
        # A budget is kept by setting the price aside: it may be a little too high.
        assert price is not None and cost is not None and cost <= price <= cost * Decimal("1.05")


@every
@pytest.mark.parametrize(
    "prompt",
    ['Ein Leuchtturm über der Förde, 灯台, маяк, 🌊\n\twith "quotes" & <tags> \\ % {x} \u202e', "a long word " * 417],
    ids=["unicode", "5000"],
)
def test_any_prompt_arrives_whole(row: BackendRow, backend: ImageBackend, service: Standin, prompt: str) -> None:
    prompt = prompt[:5000]
    render(backend, ask(prompt=prompt, **few_steps(row)))
    for one in service.requests():
        sent = one.json["prompt"]
        assert (sent[0] if isinstance(sent, list) else sent) == prompt


@every
def test_a_failure_is_an_answer(row: BackendRow, backend: ImageBackend) -> None:
    assert isinstance(fail(backend, ask(model="no-such-model-of-anybody")), UnsupportedRequest | SetupError)


@every
def test_equal_seeds_make_equal_pictures(row: BackendRow, backend: ImageBackend) -> None:
    if not backend.capabilities.seeds or row.name == "stability":
        pytest.skip("no seeds, or a stand-in that draws one picture only")

    def pixels(seed: int) -> Any:
        image = render(backend, ask(seed=seed, **few_steps(row))).image
        return image.tobytes() if isinstance(image, Image.Image) else image

    assert pixels(1) == pixels(1) != pixels(2)


@every
def test_eight_threads_at_once(row: BackendRow, small: Standin) -> None:
    with built(row, small, in_flight=8) as made, ThreadPoolExecutor(8) as threads:
        requests = [ask(prompt=f"lighthouse {n}", seed=100 + n, **few_steps(row)) for n in range(16)]
        answers = [one for batch in threads.map(made.generate, ([one] for one in requests)) for one in batch]
    assert all(isinstance(one, GeneratedImage) for one in answers), answers
    if made.capabilities.seeds:
        assert [one.seed for one in answers if isinstance(one, GeneratedImage)] == [one.seed for one in requests]
    assert len(small.requests()) == (16 if small.server else 0)


@every
def test_it_can_be_closed_at_any_time_and_twice(row: BackendRow, small: Standin) -> None:
    unused = build(row, small.settings)
    unused.close()
    unused.close()
    with built(row, small) as made:
        render(made, ask(**few_steps(row)))
        made.close()
        # Whoever still asks gets an answer.
        assert len(made.generate([ask()])) == 1
