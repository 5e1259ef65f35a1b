"""The backend ``sdapi`` before any work: its address and login, names, settings, options and prices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from models import registry
from models.catalog import Catalog, ModelRow, Sizes
from models.contract import Lora
from models.errors import SetupError, UnsupportedRequest
from models.redaction import redact
from tests.sdapi_tools import CATALOG, PASSWORD, Make, ask, backends, fail, render, work
from tests.servers.base import Fault
from tests.servers.sd_webui import SdWebui


@pytest.fixture
def server() -> Iterator[SdWebui]:
    with SdWebui() as server:
        yield server


@pytest.fixture
def make(server: SdWebui) -> Iterator[Make]:
    with backends(server) as build:
        yield build


# --- address and login ----------------------------------------------------------------------------------------------


def test_user_and_password_travel_in_a_header_and_are_never_shown(server: SdWebui, make: Make) -> None:
    server.login = f"me:{PASSWORD}"
    quoted = quote(PASSWORD, safe="")
    url = server.url.replace("://", f"://me:{quoted}@")
    backend = make(url=url)
    backend.check(ask(scheduler="Euler"))
    render(backend)
    assert all(one.headers["authorization"].startswith("Basic ") for one in server.requests)
    server.login = "me:something-else"
    said = [str(fail(backend))]
    with pytest.raises(SetupError) as caught:
        make(url=url).check(ask())
    said.append(str(caught.value))
    server.faults = [Fault(status=500, body={"detail": f"{PASSWORD} {quoted}"})]
    said += [str(fail(backend)), redact(url)]
    token = server.requests[0].headers["authorization"].removeprefix("Basic ")
    for text in said:
        assert not any(secret in text for secret in (PASSWORD, quoted, token))
    assert "user:password@" in said[0]


def test_without_a_login_it_asks_for_one_before_any_work(server: SdWebui, make: Make) -> None:
    server.login = "me:secret"
    with pytest.raises(SetupError, match="user:password@"):
        make().check(ask())
    assert isinstance(fail(make()), SetupError)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:7860",
        "ftp://host",
        "http://",
        "http://me:topsecret@host:port",
        "http://me:top/secret@host:7860",
        "http://me:123/topsecret@host:7860",
        "http://me:top#secret@host:7860",
    ],
)
def test_an_address_that_is_none_is_said_without_its_password(make: Make, url: str) -> None:
    backend = make(url=url)
    with pytest.raises(SetupError, match="STABLE_DIFFUSION_URL") as caught:
        backend.check(ask())
    assert "secret" not in str(caught.value)
    assert isinstance(fail(backend), SetupError)
    assert backend.progress() is None


def test_the_address_may_end_as_it_was_copied(server: SdWebui, make: Make) -> None:
    for ending in ("/", "/sdapi/v1", "/sdapi/v1/"):
        render(make(url=server.url + ending))


def test_the_usual_address_is_the_default() -> None:
    from models.backends.sdapi_server import SdServer

    server = SdServer(None, timeout=5)
    assert server.what.endswith("127.0.0.1:7860")
    server.close()


def test_a_server_without_its_api_is_found_out_before_any_work(server: SdWebui, make: Make) -> None:
    server.api = False
    with pytest.raises(SetupError, match="--api"):
        make().check(ask())
    assert isinstance(fail(make()), SetupError)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(cut=True), Fault(body=b"nonsense"), Fault(body=b"{}")])
def test_a_server_that_stutters_is_left_to_the_work_itself(server: SdWebui, make: Make, fault: Fault) -> None:
    server.faults = [fault]
    backend = make()
    backend.check(ask())
    render(backend)


def test_a_server_is_reached_once(server: SdWebui, make: Make) -> None:
    backend = make()
    for _ in range(3):
        backend.check(ask())
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(server: SdWebui, make: Make) -> None:
    server.faults = [Fault(status=302, headers={"Location": "http://elsewhere.invalid/login"})]
    with pytest.raises(SetupError, match="another page"):
        make().check(ask())


def test_the_registry_builds_it_from_settings(server: SdWebui) -> None:
    settings = {"STABLE_DIFFUSION_URL": server.url, "SDAPI_MODEL": "juggernautXL"}
    config = registry.BackendConfig(catalog=CATALOG, settings=settings, timeout=20, max_in_flight=8)
    row = registry.find("sdapi")
    backend = registry.build(row, config)
    able = backend.capabilities
    assert (able.paid, able.seeds, able.negative, able.init_image, able.mask, able.progress) == (False, *[True] * 5)
    assert able.paid == row.paid
    assert (able.max_in_flight, able.max_batch, able.references, able.jobs) == (1, 1, 0, False)
    assert backend.model_for(ask()) == "juggernautXL"
    (image,) = backend.generate([ask()])
    backend.close()
    backend.close()
    assert getattr(image, "model", None) == "juggernautXL"


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from models.backends.sdapi import SdapiBackend; from models.catalog import load_catalog\n"
        "from models.contract import ImageRequest\n"
        "backend = SdapiBackend(url=None, catalog=load_catalog())\n"
        "request = ImageRequest(prompt='a', width=512, height=512)\n"
        "backend.model_for(request), backend.price(request), backend.render_size(request), backend.close()\n"
        "print([name for name in ('requests', 'PIL') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "[]"


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "changes", "message"),
    [
        ("a1111", {"scheduler": "DPM++ 3M"}, r"no sampler 'DPM\+\+ 3M'.*Did you mean 'DPM\+\+ 2M'.*DDIM.*Karras"),
        ("a1111", {"scheduler": "Euler Karas"}, "followed by one of: Automatic, Karras"),
        ("a1111", {"scheduler": "Karras"}, "no sampler 'Karras'"),
        ("forge", {"scheduler": "zzz"}, "It has: DPM"),
        ("old", {"scheduler": "DPM++ 2M"}, r"It has: DPM\+\+ 2M Karras, Euler a"),
        ("a1111", {"options": {"schedule": "cosine"}}, "no schedule 'cosine'.*SGM Uniform"),
        ("a1111", {"options": {"vae": "other"}}, "no VAE 'other'"),
        ("a1111", {"model": "sd_xl_bass_1.0"}, r"Did you mean 'sd_xl_base_1\.0'"),
        ("a1111", {"loras": (Lora("pixel-art"),)}, "no LoRA 'pixel-art'.*add_detail, pixel-art-xl"),
    ],
)
def test_a_name_the_server_would_silently_replace_is_found_out(
    server: SdWebui, make: Make, flavour: Any, changes: dict[str, Any], message: str
) -> None:
    server.flavour = flavour
    backend = make()
    with pytest.raises(UnsupportedRequest, match=message):
        backend.check(ask(**changes))
    assert isinstance(fail(backend, ask(**changes)), UnsupportedRequest)
    assert work(server) == []


@pytest.mark.parametrize(
    ("typed", "sent"),
    [("euler A", "Euler a"), ("k_euler_ancestral", "Euler a"), ("Euler a karras", "Euler a Karras"), ("ddim", "DDIM")],
)
def test_samplers_are_sent_as_the_server_spells_them(server: SdWebui, make: Make, typed: str, sent: str) -> None:
    render(make(), ask(scheduler=typed))
    assert work(server)[0]["sampler_name"] == sent


def test_a_checkpoint_is_known_by_each_of_its_names(server: SdWebui, make: Make) -> None:
    titles = set()
    for name in ("juggernautXL", "JUGGERNAUTXL.safetensors"):
        render(make(), ask(model=name))
        titles.add(work(server)[-1]["override_settings"]["sd_model_checkpoint"])
    (title,) = titles
    for name in (title, title.partition("[")[2].rstrip("]")):
        render(make(), ask(model=name))
        assert work(server)[-1]["override_settings"]["sd_model_checkpoint"] == title


def test_a_server_without_lists_gets_names_as_they_are(server: SdWebui, make: Make) -> None:
    server.flavour = "drawthings"
    backend = make()
    request = ask(model="flux_1_dev_q8p.ckpt", scheduler="UniPC Trailing", loras=(Lora("x.safetensors"),))
    backend.check(request)
    image = render(backend, request)
    assert work(server)[0]["model"] == "flux_1_dev_q8p.ckpt"
    assert work(server)[0]["sampler_index"] == "UniPC Trailing"
    assert image.model == "flux_1_dev_q8p.ckpt"


def test_a_long_list_is_cut_short(server: SdWebui, make: Make) -> None:
    server.models = [f"model{n}.safetensors" for n in range(100)]
    with pytest.raises(UnsupportedRequest, match="and 60 more"):
        make().check(ask(model="zzz"))
    server.models = []
    with pytest.raises(UnsupportedRequest, match="It has none"):
        make().check(ask(model="zzz"))


def test_a_checkpoint_that_left_after_it_was_found_is_said(server: SdWebui, make: Make) -> None:
    server.flavour = "forge"
    backend, request = make(), ask(model="juggernautXL")
    backend.check(request)
    server.models.remove("juggernautXL.safetensors")
    error = fail(backend, request)
    assert isinstance(error, UnsupportedRequest)
    assert "juggernautXL" in str(error)


@pytest.mark.parametrize("body", [b"{}", b"[]x", b'[null, 3, {"name": 4}, {"aliases": [1, null]}, {"name": "Euler"}]'])
def test_an_odd_list_is_no_reason_to_fail(server: SdWebui, make: Make, body: bytes) -> None:
    server.faults = [Fault(body=body, path="samplers")]
    render(make(), ask(scheduler="Euler"))


# --- settings, options and prices -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "  "}, "empty"),
        ({"references": (Path("a.png"),)}, "reference images"),
        ({"steps": 0}, "steps is 0; use a whole number from 1 to 1000"),
        ({"guidance": float("nan")}, "guidance"),
        ({"guidance": -1.0}, "guidance"),
        ({"seed": -1}, "Seed -1"),
        ({"seed": 2**32}, "Seed"),
        ({"strength": 0.5}, "strength needs a start image"),
        ({"mask": Path("a.png")}, "mask needs a start image"),
        ({"init_image": Path("gone.png")}, "gone.png"),
        ({"options": {"clip_skp": "2"}}, "Did you mean 'clip_skip'"),
        ({"options": {"zzz": "2"}}, "There are: clip_skip"),
        ({"options": {"clip_skip": "0"}}, "whole number from 1 to 12"),
        ({"options": {"clip_skip": "1.5"}}, "whole number"),
        ({"options": {"clip_skip": "two"}}, "whole number"),
        ({"options": {"mask_blur": "inf"}}, "whole number"),
        ({"options": {"distilled_guidance": "nan"}}, "number from 0 to 100"),
        ({"options": {"restore_faces": "maybe"}}, "true or false"),
        ({"options": {"vae": " "}}, "vae is empty"),
        ({"loras": (Lora("a>b"),)}, "no name of a LoRA"),
        ({"loras": (Lora("/loras/"),)}, "no name of a LoRA"),
        ({"loras": (Lora("add_detail", float("inf")),)}, "weight"),
    ],
)
def test_what_it_cannot_do_is_said_before_the_server_is_asked(
    server: SdWebui, make: Make, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedRequest, match=message):
        make().check(ask(**changes))
    assert server.requests == []


def test_start_images_and_masks_are_looked_at_first(server: SdWebui, make: Make, tmp_path: Path) -> None:
    start, opaque, small, broken = (tmp_path / f"{name}.png" for name in ("start", "opaque", "small", "broken"))
    Image.new("RGB", (64, 64), "red").save(start)
    Image.new("RGB", (64, 64), "red").save(opaque)
    Image.new("RGBA", (32, 64)).save(small)
    broken.write_bytes(start.read_bytes()[:80])
    backend = make()
    for changes, message in (
        ({"init_image": broken}, "broken"),
        ({"init_image": tmp_path}, "no file"),
        ({"init_image": Path(__file__)}, "no PNG"),
        ({"init_image": start, "strength": 1.5}, "strength is 1.5"),
        ({"init_image": start, "mask": opaque}, "no transparent pixels"),
        ({"init_image": start, "mask": small}, "32x64"),
        ({"init_image": start, "mask": Path(__file__)}, "PNG"),
    ):
        with pytest.raises(UnsupportedRequest, match=message):
            backend.check(ask(**changes))
    assert server.requests == []
    backend.check(ask(init_image=start, strength=0.0))


def test_it_is_free_and_a_row_of_the_users_own_decides_the_size(make: Make) -> None:
    today = date(2026, 11, 20)
    row = ModelRow(
        id="juggernautXL",
        kind="image",
        backend="sdapi",
        about="ours",
        aliases=("jugger",),
        sizes=Sizes(fixed=("1024x1024", "1344x768")),
        price=Decimal("0.5"),
        source="us",
        checked=today,
    )
    backend = make(catalog=Catalog([row], updated=today, today=today), model="jugger")
    assert backend.model_for(ask()) == "juggernautXL"
    assert backend.render_size(ask(640, 360)) == (1344, 768)
    assert backend.price(ask()) == 0
    assert render(backend).cost_usd == 0
