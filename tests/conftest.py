"""What holds for every test: no network, no settings from outside, an empty folder to work in, and nothing sleeps."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models import redaction
from tests import cli_tools, warm
from tests.cli_tools import Tirada
from tests.servers.openai_api import OpenAIServer

warm.remember()


def pytest_collection_finish() -> None:
    """The tests themselves and all they import stay to the end: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Asked by pytest-xdist, where tests run in several processes."""
    from tests.sharing import scheduler

    return scheduler(config, log)


@pytest.fixture(autouse=True)
def _sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if cli_tools.affects_tirada(name):
            monkeypatch.delenv(name)
    for name, value in cli_tools.CALM.items():
        monkeypatch.setenv(name, value)
    # Programs that a test starts find the packages from any folder, also where the project is not installed.
    monkeypatch.setenv("PYTHONPATH", str(cli_tools.ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(redaction, "_secrets", set())
    cli_tools.guard_network(monkeypatch.setattr)


@pytest.fixture
def tirada() -> Tirada:
    """``tirada("4", "64x64", "--draft", OPENAI_API_KEY="...")``: the command line in this process."""
    return cli_tools.call


@pytest.fixture
def tirada_process() -> Tirada:
    """The same as a process of its own, with a clean environment."""
    return cli_tools.call_process


@pytest.fixture
def start_tirada() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The same, left running; whatever is still there at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: object, **env: str) -> subprocess.Popen[str]:
        started.append(cli_tools.start(*args, **env))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """The OpenAI API on this machine, with the settings that lead to it."""
    with OpenAIServer() as server:
        for name, value in cli_tools.endpoint(server).items():
            monkeypatch.setenv(name, value)
        yield server
