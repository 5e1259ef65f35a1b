"""What a writer is told about the world outside, and an empty world for one that is only asked for its price.

Invariant: nothing in the empty world remembers, counts or costs anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.contract import Memory, Meter, Novelty


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a writer is told about the world outside."""

    meter: Meter
    novelty: Novelty
    memory: Memory


class Nothing:
    """A world for a writer that is only asked for its price."""

    def __init__(self) -> None:
        self.meter = self.novelty = self.memory = self

    rejected = 0

    def reserve(self, **_: object) -> str:
        return ""

    def settle(self, call: str, **_: object) -> None:
        return None

    def claim(
        self, title: str, description: str, *, near: bool, instead_of: tuple[str, str] | None = None
    ) -> str | None:
        return None

    def recall(self, key: str) -> str | None:
        return None

    def remember(self, key: str, value: str) -> None:
        return None
