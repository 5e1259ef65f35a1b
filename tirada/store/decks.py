"""Decks that outlive a run: a hundred cron runs deal all of the data before anything repeats.

Invariant: dealing is one transaction, so two runs at once never get the same card from one shuffle.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from models.contract import Hand
from models.roles import draw
from tirada.store.database import Database
from tirada.store.schema import decks


class StoredDealer:
    """Deals from decks kept in the store; what was added to or taken from the data is noticed."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self._database = database
        self._rng = rng

    def deal(self, hands: Sequence[Hand]) -> list[list[str]]:
        return self._database.change(lambda connection: [self._deal_one(connection, hand) for hand in hands])

    def _deal_one(self, connection: Connection, hand: Hand) -> list[str]:
        stored = connection.execute(select(decks.c.rest).where(decks.c.name == hand.deck)).scalar_one_or_none()
        rest = self._still_there(stored, hand.cards)
        dealt = draw(self._rng, rest, hand.cards, hand.count)
        row = {"name": hand.deck, "rest": {"rest": rest, "known": list(hand.cards)}}
        connection.execute(insert(decks).prefix_with("OR REPLACE"), row)
        return dealt

    def _still_there(self, stored: dict[str, list[str]] | None, cards: Sequence[str]) -> list[str]:
        """The pile without cards that were deleted since, with those that were added shuffled in."""
        if stored is None:
            return []
        present, known = set(cards), set(stored["known"])
        rest = [card for card in stored["rest"] if card in present]
        fresh = [card for card in cards if card not in known]
        if fresh and rest:
            rest.extend(fresh)
            self._rng.shuffle(rest)
        return rest
