"""Exit codes, as documented in the README."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ExitStatus(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SETUP = 3
    PARTIAL = 4
    BUDGET = 5
    CTRL_C = 130
    #: As if ended by SIGPIPE, which is how other tools end when nobody reads on.
    READER_GONE = 141
