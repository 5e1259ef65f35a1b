"""How many calls may be under way at once, learnt from what the service says.

A 429 halves the limit, successes grow it again by one for each full round: additive increase, multiplicative decrease,
as TCP does it (RFC 5681). Invariant: never more calls under way than the backend allows, and always at least one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """``enter`` before a call, ``leave`` after it; thread-safe."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._changed = threading.Condition()
        self._under_way = 0
        self._not_before = 0.0
        self._halved_at = 0.0
        #: Calls that may be under way now; grows in fractions.
        self.limit = float(most)
        #: The most there ever were at once, for reports.
        self.peak = 0

    @property
    def busy(self) -> bool:
        """Is a call under way?"""
        return self._under_way > 0

    def enter(self, stopping: Callable[[], bool], tick: float) -> float | None:
        """Wait for a place; returns the moment the call began, or None when ``stopping`` says so first."""
        with self._changed:
            while not stopping():
                wait = self._not_before - self._clock()
                if wait <= 0 and self._under_way < int(self.limit):
                    self._under_way += 1
                    self.peak = max(self.peak, self._under_way)
                    return self._clock()
                self._changed.wait(min(tick, wait) if wait > 0 else tick)
        return None

    def leave(self, *, succeeded: bool) -> None:
        """A call has ended; success makes room for more."""
        with self._changed:
            self._under_way -= 1
            if succeeded and self.limit < self._most:
                self.limit = min(float(self._most), self.limit + 1 / self.limit)
            self._changed.notify()

    def slow_down(self, began: float, wait: float) -> None:
        """The service said 429 to a call that ``began`` then, and wants ``wait`` seconds of silence.

        Calls that left before the last halving say nothing new, so a burst of 429s halves once.
        """
        with self._changed:
            now = self._clock()
            self._not_before = max(self._not_before, now + wait)
            if began >= self._halved_at:
                self.limit = max(1.0, self.limit / 2)
                self._halved_at = now
