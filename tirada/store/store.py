"""What the engine writes down and reads back: runs, concepts, images and calls.

Invariant: every change of state is one transaction, durable before the method returns; rows are written before a paid
call leaves and settled after it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Text, bindparam, func, insert, select, type_coerce, update

from models.contract import Concept
from tirada.store.calls import COST_OR_ESTIMATE, Limits, cost_of_image, new_id, note_job, now, open_call, settle_call
from tirada.store.database import Database
from tirada.store.rows import concept_row
from tirada.store.schema import calls, concepts, images, memory, runs

#: States in which an image needs nothing more from a run.
SETTLED = ("done", "failed", "refused", "in_doubt")
#: How many rows a page of a long listing holds.
PAGE = 500
# What runs for every image is built once: building costs several times as much as running.
_CHANGE_IMAGE = update(images).where(images.c.id == bindparam("row"))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not come to be: the kind of ``models.errors`` and a line for people."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of a run in USD, whether every price in it is known, and the tokens by kind."""

    cost: Decimal
    complete: bool
    tokens: Counter[str]


class Store:
    """The database behind a house of its own words; see ``schema`` for the states."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.path = path

    def close(self) -> None:
        self.database.close()

    # --- runs

    def add_run(self, **columns: Any) -> str:
        """Write a new run down and return its id; it can be resumed only after ``start_run``."""
        run_id = new_id()
        row = {"id": run_id, "created_at": now(), "status": "preparing", "message": "", **columns}
        self.database.change(lambda c: c.execute(insert(runs), row))
        return run_id

    def run(self, run_id: str) -> RowMapping:
        with self.database.read() as connection:
            return connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one()

    def finish_run(self, run_id: str, status: str, message: str = "") -> None:
        self._update_run(run_id, status=status, message=message, finished_at=now())

    def start_run(self, run_id: str) -> None:
        """From here on the run counts as begun: all that it needs is in the store."""
        self._update_run(run_id, status="running", finished_at=None, message="")

    def keep_plan(self, run_id: str, plan: Mapping[str, Any]) -> None:
        """The plan has changed for good, e.g. its budget."""
        self._update_run(run_id, plan=dict(plan))

    def move_run(self, run_id: str, backend: str, model: str, plan: Mapping[str, Any]) -> None:
        """What is still to be made goes to another backend or model; images that are done keep theirs."""
        moved = update(runs).where(runs.c.id == run_id).values(backend=backend, model=model, plan=dict(plan))
        open_images = select(images.c.concept_id).where(images.c.run_id == run_id, images.c.state != "done")
        waiting = (concepts.c.run_id == run_id, concepts.c.request.is_not(None), concepts.c.id.in_(open_images))

        def work(connection: Connection) -> None:
            before = connection.execute(select(runs.c.plan).where(runs.c.id == run_id)).scalar_one()["request"]
            connection.execute(moved)
            asked = type_coerce(_changed(concepts.c.request, before, plan["request"]), Text)
            connection.execute(update(concepts).where(*waiting).values(request=asked))

        self.database.change(work)

    def _update_run(self, run_id: str, **columns: Any) -> None:
        self.database.change(lambda c: c.execute(update(runs).where(runs.c.id == run_id).values(**columns)))

    # --- concepts and their images

    def add_concepts(
        self,
        run_id: str,
        items: Sequence[tuple[int, Concept, Mapping[str, Any], Mapping[str, Any] | None, Sequence[int | None]]],
    ) -> list[str]:
        """Write concepts and their planned images; an item is (position, concept, brief, request, seeds)."""
        stamp = now()
        ids = [new_id(16) for _ in items]
        rows = [
            concept_row(run_id, concept_id, position, concept, brief, request)
            for concept_id, (position, concept, brief, request, _) in zip(ids, items, strict=True)
        ]

        def planned() -> Iterator[dict[str, Any]]:
            for concept_id, (*_, seeds) in zip(ids, items, strict=True):
                for number, seed in enumerate(seeds, start=1):
                    row = {"run_id": run_id, "concept_id": concept_id, "position": number, "state": "planned"}
                    yield {**row, "seed": seed, "updated_at": stamp}

        def work(connection: Connection) -> None:
            connection.execute(insert(concepts), rows)
            rest = planned()
            while page := list(islice(rest, PAGE)):
                connection.execute(insert(images), page)

        self.database.change(work)
        return ids

    def add_failed_concept(self, run_id: str, position: int, role: str, brief: Mapping[str, Any], why: Failure) -> None:
        row = {
            "id": new_id(16),
            "run_id": run_id,
            "position": position,
            "status": "failed",
            "created_at": now(),
            "role": role,
            "brief": dict(brief),
            "metatags": [],
            "error_kind": why.kind,
            "error": why.message,
        }
        self.database.change(lambda c: c.execute(insert(concepts), row))

    def update_concept(self, concept_id: str, **columns: Any) -> None:
        self.database.change(lambda c: c.execute(update(concepts).where(concepts.c.id == concept_id).values(**columns)))

    def plan_rewritten(self, concept_id: str, rewrite: Mapping[str, Any], positions: Sequence[int]) -> None:
        """Give a concept its rewritten words from the start; the images at these positions are asked for with them."""
        words = update(concepts).where(concepts.c.id == concept_id).values(rewrite=dict(rewrite))
        asked = update(images).where(images.c.concept_id == concept_id, images.c.position.in_(bindparam("page")))

        def work(connection: Connection) -> None:
            connection.execute(words)
            for start in range(0, len(positions), PAGE):
                page = list(positions[start : start + PAGE])
                connection.execute(asked.values(prompt=rewrite["prompt"]), {"page": page})

        self.database.change(work)

    def finish_concepts(self, ids: Sequence[str]) -> None:
        """Mark concepts as done (all of their images settled, or their row in the CSV)."""
        statement = update(concepts).where(concepts.c.id.in_(list(ids))).values(status="done")
        self.database.change(lambda c: c.execute(statement))

    def concept(self, concept_id: str) -> RowMapping:
        with self.database.read() as connection:
            return connection.execute(select(concepts).where(concepts.c.id == concept_id)).mappings().one()

    def positions(self, run_id: str) -> set[int]:
        """Positions of the run for which there is a concept, written or failed."""
        with self.database.read() as connection:
            return set(connection.execute(select(concepts.c.position).where(concepts.c.run_id == run_id)).scalars())

    def unfinished_concepts(self, run_id: str) -> Iterator[RowMapping]:
        """Written concepts that are not done, in order, a page at a time."""
        last = -1
        while True:
            query = (
                select(concepts)
                .where(concepts.c.run_id == run_id, concepts.c.status == "written", concepts.c.position > last)
                .order_by(concepts.c.position)
                .limit(PAGE)
            )
            with self.database.read() as connection:
                page = connection.execute(query).mappings().all()
            if not page:
                return
            yield from page
            last = page[-1]["position"]

    def images_of(self, concept_id: str) -> Sequence[RowMapping]:
        """All images of a concept in order."""
        query = select(images).where(images.c.concept_id == concept_id).order_by(images.c.position)
        with self.database.read() as connection:
            return connection.execute(query).mappings().all()

    def concept_figures(self, concept_id: str, step: int | None = None) -> dict[str, int]:
        """How many images of the concept, or of one step of its job, are in each state."""
        where = images.c.concept_id == concept_id
        return self._figures(where if step is None else where & (images.c.step == step))

    def run_figures(self, run_id: str) -> dict[str, int]:
        """How many images of the run are in each state."""
        return self._figures(images.c.run_id == run_id)

    def _figures(self, where: ColumnElement[bool]) -> dict[str, int]:
        query = select(images.c.state, func.count()).where(where).group_by(images.c.state)
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def run_bill(self, run_id: str) -> Bill:
        """What the calls of the run cost, one that is still open what is set aside for it, and the tokens they used."""
        query = select(calls.c.state, COST_OR_ESTIMATE, calls.c.usage).where(calls.c.run_id == run_id)
        cost, complete, tokens = Decimal(0), True, Counter[str]()
        with self.database.read() as connection:
            for state, paid, usage in connection.execute(query):
                cost += Decimal(paid or 0)
                complete = complete and (paid is not None or state == "failed")
                tokens.update(usage or {})
        return Bill(cost, complete, tokens)

    def concept_counts(self, run_id: str) -> tuple[int, int]:
        """How many concepts of the run were written, and how many failed."""
        states = self._concept_states(run_id)
        failed = states.pop("failed", 0)
        return sum(states.values()), failed

    def done_concepts(self, run_id: str) -> int:
        return self._concept_states(run_id).get("done", 0)

    def _concept_states(self, run_id: str) -> dict[str, int]:
        query = select(concepts.c.status, func.count()).where(concepts.c.run_id == run_id).group_by(concepts.c.status)
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def failures(self, run_id: str, limit: int) -> list[dict[str, Any]]:
        """The first failures of a run: concepts that were not written, then images.

        Both are counted from 1, here as everywhere that people or their programs read: ``concept`` is its place in the
        run, ``image`` its place in ``folder``; the two are None for a concept that was not written.
        An image of a job has its ``name``, too.
        """
        kept = concepts.c.position, concepts.c.folder
        written = select(*kept, concepts.c.error_kind, concepts.c.error).order_by(concepts.c.position)
        made = select(*kept, images.c.position.label("image"), images.c.name, images.c.error_kind, images.c.error)
        with self.database.read() as connection:
            rows = connection.execute(
                written.where(concepts.c.run_id == run_id, concepts.c.status == "failed").limit(limit)
            ).all()
            found = [_failed(row[0], None, None, None, row[2], row[3]) for row in rows]
            spoiled = connection.execute(
                made.join_from(images, concepts, images.c.concept_id == concepts.c.id)
                .where(images.c.run_id == run_id, images.c.state.in_(("failed", "refused", "in_doubt")))
                .order_by(concepts.c.position, images.c.position)
                .limit(limit - len(found))
            ).all()
            found += [_failed(*row) for row in spoiled]
        return found

    def open_images(self, concept_id: str, step: int | None = None) -> Iterator[RowMapping]:
        """Images of the concept that are planned, wait as a job, or were received, in order, a page at a time.

        ``step`` leaves out those of other steps of a job.
        """
        same = () if step is None else (images.c.step == step,)
        last = -1
        while True:
            query = (
                select(images)
                .where(
                    images.c.concept_id == concept_id,
                    images.c.state.in_(("planned", "submitted", "received")),
                    images.c.position > last,
                    *same,
                )
                .order_by(images.c.position)
                .limit(PAGE)
            )
            with self.database.read() as connection:
                page = connection.execute(query).mappings().all()
            if not page:
                return
            yield from page
            last = page[-1]["position"]

    # --- the life of one image

    def submit_image(
        self, image_id: int, attempt: int, call: Mapping[str, Any], limits: Limits, prompt: str | None = None
    ) -> None:
        """The intent: the image is about to be asked for, and its call is open; raises BudgetReached past a limit.

        ``prompt`` is what it is asked for with, where that is not the prompt of its concept.
        """

        def work(connection: Connection) -> None:
            change = {"row": image_id, "state": "submitted", "attempts": attempt, "prompt": prompt, "updated_at": now()}
            open_call(connection, {"image_id": image_id, **call}, limits)
            connection.execute(_CHANGE_IMAGE, change)

        self.database.change(work)

    def set_image(self, image_id: int, state: str, *, settled: Mapping[str, Any] | None = None, **columns: Any) -> None:
        """Move an image to another state and, in the same transaction, settle its call (columns with the id).

        What an image cost is what all of its calls cost, those in vain too.
        """

        def work(connection: Connection) -> None:
            change = {"row": image_id, "state": state, "updated_at": now(), **columns}
            if settled is not None:
                settle_call(connection, settled)
                change["cost"] = cost_of_image(connection, image_id)
            connection.execute(_CHANGE_IMAGE, change)

        self.database.change(work)

    # --- calls

    def open_call(self, call: Mapping[str, Any], limits: Limits) -> None:
        """Write down that a paid call is about to leave (columns with its id); raises BudgetReached past a limit."""
        self.database.change(lambda c: open_call(c, call, limits))

    def open_calls(self, run_id: str) -> set[str]:
        """Ids of the calls of a run whose outcome is not written down."""
        with self.database.read() as connection:
            rows = connection.execute(select(calls.c.id).where(calls.c.run_id == run_id, calls.c.state == "open"))
            return set(rows.scalars())

    def note_job(self, call_id: str, job: str) -> None:
        """Keep the job id of a paid call: after a crash the job is collected instead of paid again."""
        self.database.change(lambda c: note_job(c, call_id, job))

    def open_job(self, image_id: int) -> RowMapping | None:
        """The open call of a submitted image whose job can be collected: id, job, estimate."""
        where = (calls.c.image_id == image_id, calls.c.state == "open", calls.c.job.is_not(None))
        with self.database.read() as connection:
            query = select(calls.c.id, calls.c.job, calls.c.estimate).where(*where).limit(1)
            return connection.execute(query).mappings().one_or_none()

    def settle_call(self, settled: Mapping[str, Any]) -> None:
        self.database.change(lambda c: settle_call(c, settled))

    # --- facts worth remembering

    def recall(self, key: str) -> str | None:
        with self.database.read() as connection:
            return connection.execute(select(memory.c.value).where(memory.c.key == key)).scalar_one_or_none()

    def remember(self, key: str, value: str) -> None:
        row = {"key": key, "value": value}
        statement = insert(memory).prefix_with("OR REPLACE")
        self.database.change(lambda c: c.execute(statement, row))

    def texts(self) -> Iterator[tuple[str, str]]:
        """(title, description) of every concept ever written, oldest first, and of what took the place of one."""
        query = select(concepts.c.title, concepts.c.description, concepts.c.rewrite)
        with self.database.read() as connection:
            written = query.where(concepts.c.status != "failed")
            for title, description, rewrite in connection.execution_options(yield_per=PAGE).execute(written):
                yield title, description
                if rewrite:
                    yield rewrite["title"], rewrite["description"]


def _changed(stored: ColumnElement[Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> ColumnElement[Any]:
    """The stored requests with what differs between the two, and otherwise as they are."""
    gone = [f"$.{name}" for name in before if name not in after]
    new = [(f"$.{name}", func.json(json.dumps(value))) for name, value in after.items() if before.get(name) != value]
    left = func.json_remove(stored, *gone) if gone else stored
    return func.json_set(left, *(part for pair in new for part in pair)) if new else left


def _failed(
    position: int, folder: str | None, image: int | None, name: str | None, kind: str | None, message: str | None
) -> dict[str, Any]:
    own = {} if name is None else {"name": name}
    return {"concept": position + 1, "folder": folder, "image": image, **own, "error": kind, "message": message}
