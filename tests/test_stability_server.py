"""The stand-in of Stability's service, and its reader of forms, keep the rules that our backend is tested against."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.multipart import Upload, parse_form
from tests.servers.pictures import encoded
from tests.servers.stability_api import ROOT, StabilityServer

PNG = ("start.png", encoded(64, 64), "image/png")
EXAMPLE = {"prompt": "Lighthouse on a cliff overlooking the ocean", "output_format": "webp"}


@pytest.fixture
def server() -> Iterator[StabilityServer]:
    with StabilityServer(image_size=(64, 64)) as server:
        yield server


def post(server: StabilityServer, endpoint: str = "core", **fields: Any) -> requests.Response:
    files = {name: value if isinstance(value, tuple) else (None, value) for name, value in fields.items()}
    headers = {"Authorization": f"Bearer {server.key}", "Accept": "application/json"}
    with requests.Session() as session:
        return session.post(f"{server.url}{ROOT}{endpoint}", files=files, headers=headers, timeout=10)


def wrong(reply: requests.Response, status: int = 400) -> str:
    body = reply.json()
    assert reply.status_code == status
    assert set(body) == {"id", "name", "errors"}
    return "; ".join(body["errors"])


def test_the_example_of_the_reference_works(server: StabilityServer) -> None:
    headers = {"authorization": f"Bearer {server.key}", "accept": "image/*"}
    with requests.Session() as session:
        reply = session.post(f"{server.url}{ROOT}core", headers=headers, files={"none": ""}, data=EXAMPLE, timeout=10)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "image/webp"
    assert reply.headers["finish-reason"] == "SUCCESS"
    assert reply.content == encoded(64, 64, "webp")


def test_a_form_that_is_not_multipart_is_refused(server: StabilityServer) -> None:
    headers = {"authorization": f"Bearer {server.key}", "accept": "image/*"}
    with requests.Session() as session:
        reply = session.post(f"{server.url}{ROOT}core", headers=headers, data=EXAMPLE, timeout=10)
        assert "multipart" in wrong(reply)
        headers["accept"] = "text/html"
        assert "accept" in wrong(session.post(f"{server.url}{ROOT}core", headers=headers, timeout=10))


@pytest.mark.parametrize(
    ("endpoint", "fields", "said"),
    [
        ("core", {"prompt": ""}, "prompt: is required"),
        ("core", {"prompt": "x" * 10_001}, "prompt: cannot"),
        ("core", {"negative_prompt": "x" * 10_001}, "negative_prompt: cannot"),
        ("core", {"width": "1024"}, "width: is not a known field"),
        ("core", {"image": PNG, "strength": "0.5"}, "image: is not a known field"),
        ("core", {"model": "sd3.5-large"}, "model: is not"),
        ("ultra", {"mode": "image-to-image"}, "mode: is not"),
        ("ultra", {"cfg_scale": "4"}, "cfg_scale: is not"),
        ("ultra", {"image": PNG}, "strength: is required"),
        ("ultra", {"image": "text", "strength": "0.5"}, "image: must be a file"),
        ("ultra", {"image": ("a.png", b"text"), "strength": "0.5"}, "image: must be a jpeg"),
        ("ultra", {"image": ("a.png", encoded(63, 64)), "strength": "0.5"}, "image: each side"),
        ("core", {"aspect_ratio": "4:3"}, "aspect_ratio: must be one of"),
        ("core", {"style_preset": "baroque"}, "style_preset: must be one of"),
        ("core", {"output_format": "gif"}, "output_format: must be one of"),
        ("core", {"seed": "4294967295"}, "seed: must be a number"),
        ("core", {"seed": "-1"}, "seed: must be a number"),
        ("core", {"seed": "1.5"}, "seed: must be a number"),
        ("core", {"seed": ("seed.txt", "1")}, "seed: must be a text"),
        ("sd3", {"cfg_scale": "0.5"}, "cfg_scale: must be a number"),
        ("sd3", {"cfg_scale": "1e1"}, "cfg_scale: must be a number"),
        ("sd3", {"model": "sd3-large"}, "model: must be one of"),
        ("sd3", {"mode": "image-to-image"}, "image: is required; strength: is required"),
        ("sd3", {"image": PNG}, "image: is only allowed"),
        ("sd3", {"strength": "0.5"}, "strength: is only allowed"),
        (
            "sd3",
            {"mode": "image-to-image", "image": PNG, "strength": "0.5", "aspect_ratio": "1:1"},
            "aspect_ratio: is only allowed for text-to-image",
        ),
    ],
)
def test_every_field_is_looked_at(server: StabilityServer, endpoint: str, fields: dict[str, Any], said: str) -> None:
    assert said in wrong(post(server, endpoint, **{"prompt": "A lighthouse", **fields}))
    assert server.billed == server.bill == 0


def test_errors_of_the_service(server: StabilityServer) -> None:
    assert "moderation" in wrong(post(server, prompt="FORBIDDEN"), 403)
    assert "English" in wrong(post(server, prompt="灯台"), 422)
    assert "exist" in wrong(post(server, "sdxl", prompt="A lighthouse"), 404)
    big = ("big.png", b"x" * (10 * 1024 * 1024))
    assert "10MiB" in wrong(post(server, "ultra", prompt="A", image=big, strength="1"), 413)
    server.key, wrong_key = "another", post(server, prompt="A").request.headers["Authorization"]
    with requests.Session() as session:
        headers = {"Authorization": str(wrong_key).replace("another", "guess")}
        assert "authorization" in wrong(session.post(f"{server.url}{ROOT}core", headers=headers, timeout=10), 401)


def test_what_is_made_is_billed(server: StabilityServer) -> None:
    for endpoint, fields, seed in (
        ("core", {"seed": "5"}, 5),
        ("ultra", {"seed": "0"}, 1_000_002),
        ("sd3", {"model": "sd3.5-medium"}, 1_000_003),
        ("sd3", {}, 1_000_004),
    ):
        body = post(server, endpoint, prompt="A lighthouse", **fields).json()
        assert (body["finish_reason"], body["seed"]) == ("SUCCESS", seed)
    assert post(server, prompt="BLURRED").json()["finish_reason"] == "CONTENT_FILTERED"
    assert (server.billed, server.bill) == (5, Decimal("0.24"))


def test_it_runs_as_a_program() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.servers.stability_api",
        "--port",
        "0",
        "--key",
        "abc",
        "--image-size",
        "64x64",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as program:
        try:
            assert program.stdout is not None
            said = dict(word.split("=", 1) for word in program.stdout.readline().split())
            headers = {"Authorization": f"Bearer {said['STABILITY_API_KEY']}", "Accept": "image/*"}
            with requests.Session() as session:
                url = f"{said['STABILITY_BASE_URL']}{ROOT}core"
                reply = session.post(url, headers=headers, files={"prompt": (None, "A lighthouse")}, timeout=10)
            assert reply.content == encoded(64, 64)
        finally:
            program.terminate()


# --- forms ----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_\[\]]{1,12}", fullmatch=True), st.text() | st.binary(), min_size=1))
def test_a_form_is_read_as_it_was_written(fields: dict[str, str | bytes]) -> None:
    files = [
        (name, (None, value) if isinstance(value, str) else ("a.png", value, "image/png"))
        for name, value in fields.items()
    ]
    sent = requests.Request("POST", "http://host", files=files).prepare()
    assert isinstance(sent.body, bytes)
    form = parse_form({"content-type": sent.headers["content-type"]}, sent.body)
    assert form == {
        name: [value if isinstance(value, str) else Upload("a.png", "image/png", value)]
        for name, value in fields.items()
    }


def test_values_of_one_name_keep_their_order() -> None:
    files = [("image[]", (f"{n}.png", bytes([n]), "image/png")) for n in range(3)]
    sent = requests.Request("POST", "http://host", files=files).prepare()
    assert isinstance(sent.body, bytes)
    form = parse_form({"content-type": sent.headers["content-type"]}, sent.body)
    assert form == {"image[]": [Upload(f"{n}.png", "image/png", bytes([n])) for n in range(3)]}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nb\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--'),
    ],
)
def test_what_is_no_form(content_type: str, body: bytes) -> None:
    assert parse_form({"content-type": content_type}, body) is None
