"""A backend is one file and one row: whoever adds one gets its flag and its listing, and, by a line in
``backend_tools``, the tests every backend passes (``test_backends_contract.py``)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from models import registry
from models.catalog import load_catalog
from models.errors import SetupError
from models.registry import BackendConfig, BackendRow
from tests.cli_tools import ROOT, TINY, Result, Tirada, clean_environment, info_of

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
    config = BackendConfig(catalog=load_catalog(), settings={}, timeout=20)
    row = BackendRow(name="far", label="x", summary="x", target="no_such_module:build", paid=False, extra="local")
    with pytest.raises(SetupError, match=r"needs 'no_such_module'.*pip install -e \"\.\[local\]\""):
        registry.build(row, config)
    with pytest.raises(ModuleNotFoundError):
        registry.build(replace(row, extra=""), config)
