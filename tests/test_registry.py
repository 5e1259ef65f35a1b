"""A backend is one file and one row: whoever adds one gets its flag, its listing and the tests every backend passes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from models import registry
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageBackend, ImageRequest, Lora
from models.errors import ModelError, SetupError, UnsupportedRequest
from models.registry import BackendConfig, BackendRow
from models.sizes import MAX_ENLARGEMENT, enlargement
from tests.cli_tools import ROOT, TINY, Result, Tirada, clean_environment, endpoint, info_of, prompts
from tests.servers.openai_api import OpenAIServer

# --- a backend from elsewhere -----------------------------------------------------------------------------------------

THROWAWAY = '''
"""Everything that a backend needs."""

from decimal import Decimal

from PIL import Image

from models.contract import Capabilities, GeneratedImage
from models.errors import UnsupportedRequest
from models.registry import BackendRow

ROW = BackendRow(
    name="throwaway", label="Throw-away", summary="one colour for a test", target="throwaway:build", paid=True,
    settings=("THROWAWAY_KEY",),
)


class Throwaway:
    name = "throwaway"
    capabilities = Capabilities(summary="one colour", paid=True, seeds=True, negative=False, max_batch=4)

    def __init__(self, colour):
        self.colour = colour

    def model_for(self, request):
        return request.model or "flat-1"

    def check(self, request):
        if request.options:
            raise UnsupportedRequest("No options here.")

    def render_size(self, request):
        return request.width * 2, request.height * 2

    def price(self, request):
        return Decimal("0.25")

    def generate(self, batch):
        assert len(batch) <= 4
        return [self._one(request) for request in batch]

    def _one(self, request):
        size = self.render_size(request)
        picture = Image.new("RGB", size, self.colour)
        return GeneratedImage(image=picture, width=size[0], height=size[1], seed=request.seed, model="flat-1",
                              cost_usd=Decimal("0.25"))

    def close(self):
        pass


def build(config):
    return Throwaway(config.settings["THROWAWAY_KEY"])
'''


def announce(name: str, target: str, module: str = "") -> None:
    """A package as pip would leave it, in the folder ``site``."""
    info = Path("site") / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[tirada.backends]\n{name} = {target}\n", encoding="utf-8")
    if module:
        (Path("site") / f"{name}.py").write_text(module, encoding="utf-8")


@pytest.fixture
def installed(tirada_process: Tirada) -> Tirada:
    """Tirada beside an installed package that brings a backend."""
    announce("throwaway", "throwaway:ROW", THROWAWAY)
    path = f"{Path('site').resolve()}:{ROOT}"

    def run(*args: object, **env: str) -> Result:
        return tirada_process(*args, PYTHONPATH=path, **{"THROWAWAY_KEY": "#aa3311", **env})

    return run


def test_a_backend_from_another_package_renders(installed: Tirada) -> None:
    result = installed("3", "96x64", "--backend", "throwaway", "--seed", "5", "--json")
    assert result.code == 0, result.err
    assert (result.json["done"], result.json["cost_usd"]) == (3, "0.75")
    folder = Path(result.json["folders"][0])
    info = info_of(folder)
    assert (info["backend"], info["ai"], info["model"], info["cost_usd"]) == (
        "throwaway",
        "Throw-away",
        "flat-1",
        "0.75",
    )
    assert (info["images"][0]["rendered_size"], info["seeds"]) == ("192x128", [5, 6, 7])
    with Image.open(folder / "01.png") as picture:
        assert picture.size == (96, 64)
        assert picture.getpixel((1, 1)) == (0xAA, 0x33, 0x11)


def test_a_backend_from_another_package_is_listed_and_suggested(installed: Tirada) -> None:
    announce("broken", "no_such_module:ROW")
    announce("strange", "throwaway:build")
    listed = {row["name"]: row for row in installed("backends", "--json", THROWAWAY_KEY="").json}
    assert listed["throwaway"]["state"] == "needs THROWAWAY_KEY"
    assert listed["throwaway"]["paid"]
    assert listed["broken"]["state"] == listed["strange"]["state"] == "broken"
    result = installed("1", TINY, "--backend", "throwawy")
    assert result.code == 2
    assert "Did you mean 'throwaway'?" in result.err
    result = installed("1", TINY, "--backend", "broken")
    assert result.code == 3
    assert "Backend 'broken' cannot be loaded (ModuleNotFoundError: No module named 'no_such_module')" in result.err
    assert "Traceback" not in result.err


def test_one_file_and_one_row_are_a_flag_of_their_own() -> None:
    Path("flat.py").write_text(THROWAWAY.replace("throwaway", "flat"), encoding="utf-8")
    program = (
        "import sys, flat, models.registry as r; r.BACKENDS = (*r.BACKENDS, flat.ROW); "
        "from tirada.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*args: str) -> Result:
        env = clean_environment(PYTHONPATH=f"{Path.cwd()}:{ROOT}", FLAT_KEY="white", THROWAWAY_KEY="white")
        done = subprocess.run([sys.executable, "-c", program, *args], env=env, capture_output=True, text=True)
        return Result(done.returncode, done.stdout, done.stderr)

    assert "--flat" in run("--help").out
    assert "--flat" in run("rerun", "--help").out
    result = run("2", TINY, "--flat", "--draft")
    assert result.code == 0, result.err
    assert "'draft' is ignored: 'flat' was named first" in result.err
    assert info_of(result.folders[0])["backend"] == "flat"


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_rows_are_complete_and_alike() -> None:
    names = [row.name for row in registry.BACKENDS]
    assert len(set(names)) == len(names)
    assert registry.BACKENDS[0].name == "draft"
    for row in registry.BACKENDS:
        assert row.name == row.name.lower().strip()
        assert row.label
        assert row.summary
        assert not row.summary.endswith(".")
        assert row.flag == f"--{row.name}"


def test_a_missing_extra_names_what_to_install() -> None:
    row = BackendRow(name="far", label="x", summary="x", target="no_such_module:build", paid=False, extra="local")
    with pytest.raises(SetupError, match=r"needs 'no_such_module'.*pip install 'tirada\[local\]'"):
        registry.build(row, config({}))
    with pytest.raises(ModuleNotFoundError):
        registry.build(replace(row, extra=""), config({}))


# --- what every backend keeps to --------------------------------------------------------------------------------------

READY = [row for row in registry.BACKENDS if row.target]


def config(settings: dict[str, str]) -> BackendConfig:
    return BackendConfig(catalog=load_catalog(), settings=settings, timeout=20)


@contextmanager
def openai_settings() -> Iterator[dict[str, str]]:
    with OpenAIServer() as server:
        yield endpoint(server)


#: Backend -> the settings that lead to its stand-in. A backend that calls a service adds its own here.
STANDINS: dict[str, Callable[[], AbstractContextManager[dict[str, str]]]] = {
    "draft": lambda: nullcontext({}),
    "dalle": openai_settings,
}


@pytest.fixture(params=READY, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> BackendRow:
    found: BackendRow = request.param
    return found


@pytest.fixture
def backend(row: BackendRow) -> Iterator[ImageBackend]:
    with STANDINS[row.name]() as settings:
        made = registry.build(row, config(settings))
        yield made
        made.close()
        made.close()


def ask(width: int = 64, height: int = 64, prompt: str = "a lighthouse at dusk") -> ImageRequest:
    return ImageRequest(prompt=prompt, width=width, height=height, seed=7)


SIZES = [(64, 64), (96, 64), (256, 256), (333, 777), (1024, 1024), (1792, 1008), (1008, 1792), (4096, 64), (4096, 4096)]


def test_it_is_what_its_row_says(row: BackendRow, backend: ImageBackend) -> None:
    assert backend.name == row.name
    assert backend.capabilities.paid == row.paid
    assert backend.capabilities.max_batch >= 1
    assert backend.capabilities.max_in_flight >= 1
    assert backend.capabilities.summary


def test_it_knows_its_model(backend: ImageBackend) -> None:
    backend.check(ask())
    model = backend.model_for(ask())
    found = load_catalog().find("image", model)
    assert found is not None
    assert found.backend == backend.name
    assert backend.model_for(replace(ask(), model=model)) == model


@pytest.mark.parametrize(
    "change",
    [
        {"init_image": Path("a.png")},
        {"strength": 0.5},
        {"references": (Path("a.png"),)},
        {"loras": (Lora("a.safetensors"),)},
        {"steps": 20},
        {"guidance": 7.5},
        {"scheduler": "euler"},
        {"options": {"no-such-option": "1"}},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_what_it_cannot_do_is_refused_before_anything_is_spent(
    backend: ImageBackend, change: dict[str, object]
) -> None:
    able = backend.capabilities
    (setting,) = change
    if setting in able.settings or getattr(able, setting, None) not in (None, False, 0, able.options):
        backend.check(replace(ask(), **change))  # type: ignore[arg-type]
        return
    with pytest.raises(UnsupportedRequest) as refused:
        backend.check(replace(ask(), **change))  # type: ignore[arg-type]
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_what_it_renders_covers_what_was_asked(backend: ImageBackend, size: tuple[int, int]) -> None:
    try:
        backend.check(ask(*size))
    except UnsupportedRequest as refused:
        assert f"{size[0]}x{size[1]}" in str(refused)
        return
    assert enlargement(backend.render_size(ask(*size)), *size) <= MAX_ENLARGEMENT


def test_its_price_is_known_or_unknown_and_never_free_by_default(backend: ImageBackend) -> None:
    price = backend.price(ask())
    assert price is None or isinstance(price, Decimal)
    assert (price == 0) == (not backend.capabilities.paid)


def test_it_answers_each_request_in_order(backend: ImageBackend) -> None:
    batch = [ask(64, 64), ask(160, 64), ask(64, 160)]
    answers = [answer for one in batch for answer in backend.generate([one])]
    if backend.capabilities.max_batch > 1:
        answers = backend.generate(batch[: backend.capabilities.max_batch])
    for request, answer in zip(batch, answers, strict=False):
        assert isinstance(answer, GeneratedImage), answer
        assert (answer.width, answer.height) == backend.render_size(request)
        image = answer.image if isinstance(answer.image, Image.Image) else Image.open(io.BytesIO(answer.image))
        with image:
            assert image.size == (answer.width, answer.height)
        assert answer.model
        assert answer.seed == (7 if backend.capabilities.seeds else None)
        assert isinstance(answer.cost_usd, Decimal)
        assert (answer.cost_usd == 0) == (not backend.capabilities.paid)


def test_a_failure_is_an_answer(backend: ImageBackend) -> None:
    (answer,) = backend.generate([replace(ask(), options={"no-such-option": "1"})])
    assert isinstance(answer, ModelError)


def test_equal_seeds_make_equal_pictures(backend: ImageBackend) -> None:
    if not backend.capabilities.seeds:
        pytest.skip(f"{backend.name} takes no seeds")

    def pixels(seed: int) -> bytes:
        (answer,) = backend.generate([replace(ask(), seed=seed)])
        assert isinstance(answer, GeneratedImage)
        assert isinstance(answer.image, Image.Image)
        return answer.image.tobytes()

    assert pixels(1) == pixels(1)
    assert pixels(1) != pixels(2)


def test_it_renders_through_the_front_door(row: BackendRow, tirada: Tirada) -> None:
    with STANDINS[row.name]() as settings:
        result = tirada("1", TINY, row.flag, "--from", prompts("in.csv", "a lighthouse"), **settings)
    assert result.code == 0
    assert info_of(result.folders[0])["ai"] == row.label
