"""The stand-in of an AUTOMATIC1111-style server is as strict as the real ones, and runs as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sdapi_tools import picture
from tests.servers.sd_webui import SdWebui


@pytest.fixture
def server() -> Iterator[SdWebui]:
    with SdWebui() as server:
        yield server


def test_the_stand_in_refuses_like_fastapi_and_numbers_the_seeds_of_a_batch(server: SdWebui) -> None:
    def post(**request: Any) -> requests.Response:
        return requests.post(f"{server.url}/sdapi/v1/txt2img", json=request, timeout=10)

    for field, value in (("steps", "x"), ("seed", -2), ("width", 500), ("tiling", 1), ("promt", "a")):
        refused = post(**{field: value})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", field]
    answer = post(prompt="a", seed=5, batch_size=2, width=64, height=64).json()
    assert json.loads(answer["info"])["all_seeds"] == [5, 6]
    texts = [picture(image).info["parameters"] for image in answer["images"]]
    assert ["Seed: 5" in texts[0], "Seed: 6" in texts[1]] == [True, True]


def test_the_stand_in_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.servers.sd_webui", "--port", "0", "--login", "me:secret"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert line.startswith("STABLE_DIFFUSION_URL=http://me:secret@127.0.0.1:")
