"""The images of a job in the store: planned with names and words of their own, and read back as what became of them.

Invariant: a concept is written together with all of its first images, so that a kill leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from models.contract import Concept
from tirada.store.calls import new_id, now
from tirada.store.database import Database
from tirada.store.rows import concept_row
from tirada.store.schema import concepts, images
from tirada.store.store import PAGE, SETTLED

#: What an item brings along: name, title, prompt, step, kind, seed, asked (overrides of the request) and facts.
Columns = Mapping[str, Any]


class Items:
    """The images of one run's job."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id

    def compose(
        self, concept: Concept, brief: Mapping[str, Any], request: Mapping[str, Any], items: Sequence[Columns]
    ) -> str:
        """Write the concept of the run, and its first images; returns the concept's id."""
        concept_id = new_id(16)
        row = concept_row(self._run_id, concept_id, 0, concept, brief, request)

        def work(connection: Connection) -> None:
            connection.execute(insert(concepts), [row])
            self._add(connection, concept_id, items, first=1)

        self._database.change(work)
        return concept_id

    def add(self, concept_id: str, items: Sequence[Columns]) -> None:
        """Plan further images, behind those there are."""

        def work(connection: Connection) -> None:
            last = select(func.max(images.c.position)).where(images.c.concept_id == concept_id)
            self._add(connection, concept_id, items, first=(connection.execute(last).scalar() or 0) + 1)
            reopened = update(concepts).where(concepts.c.id == concept_id).values(status="written")
            connection.execute(reopened)

        self._database.change(work)

    def _add(self, connection: Connection, concept_id: str, items: Sequence[Columns], *, first: int) -> None:
        fixed = {"run_id": self._run_id, "concept_id": concept_id, "state": "planned", "updated_at": now()}

        def planned() -> Iterator[dict[str, Any]]:
            for position, item in enumerate(items, start=first):
                yield {**fixed, "position": position, **item}

        rest = planned()
        while page := list(islice(rest, PAGE)):
            connection.execute(insert(images), page)

    def concept(self) -> RowMapping | None:
        """The concept of the run's job; None where it is not composed yet, or could not be."""
        where = (concepts.c.run_id == self._run_id, concepts.c.status != "failed")
        with self._database.read() as connection:
            return connection.execute(select(concepts).where(*where)).mappings().first()

    def next_step(self, concept_id: str) -> int | None:
        """The first step in which something is left to do; None where all images are settled."""
        where = (images.c.concept_id == concept_id, images.c.state.not_in(SETTLED))
        with self._database.read() as connection:
            return connection.execute(select(func.min(images.c.step)).where(*where)).scalar()

    def finished(self, concept_id: str) -> dict[str, str]:
        """The files of the finished images, by name."""
        where = (images.c.concept_id == concept_id, images.c.name.is_not(None), images.c.state == "done")
        with self._database.read() as connection:
            return {
                row.name: row.file for row in connection.execute(select(images.c.name, images.c.file).where(*where))
            }

    def add_facts(self, concept_id: str, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Facts about images, by name, beside those there are; of the same fact the new one counts."""

        def work(connection: Connection) -> None:
            for name, found in facts.items():
                where = (images.c.concept_id == concept_id, images.c.name == name)
                known = connection.execute(select(images.c.facts).where(*where)).scalar() or {}
                connection.execute(update(images).where(*where).values(facts={**known, **found}))

        if facts:
            self._database.change(work)

    def set_kinds(self, concept_id: str, kinds: Mapping[str, str]) -> None:
        """Images that turned out to be of another kind than planned, by name."""
        if not kinds:
            return
        statement = (
            update(images)
            .where(images.c.concept_id == concept_id, images.c.name == bindparam("called"))
            .values(kind=bindparam("turned"))
        )
        rows = [{"called": name, "turned": kind} for name, kind in kinds.items()]
        self._database.change(lambda c: c.execute(statement, rows))
