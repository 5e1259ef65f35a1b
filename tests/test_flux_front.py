"""Jobs of Black Forest Labs from the command line: who leaves is let go, and what was paid for is collected later."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from tests.backend_tools import never_pause
from tests.cli_tools import TINY, Tirada
from tests.flux_tools import KEY
from tests.servers.base import Answer
from tests.servers.bfl_api import BflServer
from tirada.engine import service_jobs


class Impatient(BflServer):
    """Somebody presses Ctrl-C at the second look at a job."""

    looks = 0

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        if method == "GET":
            self.looks += 1
            if self.looks == 2:
                os.kill(os.getpid(), signal.SIGINT)
        return super().answer(method, path, headers, payload)


def test_ctrl_c_does_not_wait_for_slow_jobs(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    never_pause(monkeypatch.setattr)
    monkeypatch.setattr(service_jobs, "GRACE", 0.0)
    settings = {"BFL_API_KEY": KEY, "IMAGES_IN_FLIGHT": "1"}
    with Impatient(key=KEY, image_size=(64, 64), pending=10**9) as server:
        settings["BFL_BASE_URL"] = server.url
        wanted = (2, TINY, "--flux-api", "--writer", "composer", "--role", "artist", "--json")
        left = tirada(*wanted, **settings)
        assert (left.code, left.json["status"], left.json["done"]) == (130, "interrupted", 0), left.err
        assert len(server.jobs) == 1
        server.pending = 0
        whole = tirada("resume", "--json", **settings)
        assert (whole.code, whole.json["done"], len(server.jobs)) == (0, 2, 2), whole.err
