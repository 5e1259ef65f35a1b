"""How the tests are shared out among the processes of pytest-xdist.

Invariant: every test runs exactly once, in whatever process; only who waits for what depends on it.
"""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling

#: Tests with models on this machine: the libraries for these take seconds to import, which one process does for all.
LOCAL = re.compile(r"test_(avatar_local|checkpoints|local_\w+|pull)\.py|[\[-](stable-diffusion|flux)(?!-api)[\]-]")


class Sharing(LoadScopeScheduling):
    """Whoever is free takes the next test function with all of its cases; those of local models stay together."""

    def _split_scope(self, nodeid: str) -> str:
        if LOCAL.search(nodeid):
            return "local"
        # All of these read every source file.
        return nodeid.partition("::" if "test_layers.py" in nodeid else "[")[0]


def scheduler(config: Any, log: Any) -> Sharing | None:
    """Ours, unless another way to share was asked for."""
    return Sharing(config, log) if config.getvalue("dist") == "load" else None
