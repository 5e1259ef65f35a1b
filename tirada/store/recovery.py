"""Makes a run that was cut off ready to go on.

Invariant: what was received is kept, what has an unknown outcome is counted as spent, and only what is missing is
planned again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, delete, select, update

from tirada.store.calls import cost_of_image, now
from tirada.store.database import Database
from tirada.store.schema import calls, concepts, images
from tirada.store.store import SETTLED

#: States of a call that was or may have been paid for an image that is not there.
IN_VAIN = ("in_doubt", "settled")


class Recovery:
    """The steps between a crash and a resume, for one run."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id

    def doubt_open_work(self) -> tuple[int, Decimal]:
        """After a crash: calls still open and images still submitted have an unknown outcome.

        They become in_doubt. Returns how many calls there are and what they may have cost (estimates, USD).
        """

        def work(connection: Connection) -> tuple[int, Decimal]:
            where = (calls.c.run_id == self._run_id, calls.c.state == "open", calls.c.job.is_(None))
            estimates = connection.execute(select(calls.c.estimate).where(*where)).scalars().all()
            change = {"state": "in_doubt", "cost": calls.c.estimate, "finished_at": now()}
            connection.execute(update(calls).where(*where).values(**change))
            return len(estimates), sum((Decimal(value) for value in estimates if value), Decimal(0))

        return self._database.change(work)

    def submitted_images(self) -> Sequence[RowMapping]:
        """Images that were asked for when the run was cut off: id, position, and the folder they belong to."""
        return self._images_in("submitted")

    def _images_in(self, state: str) -> Sequence[RowMapping]:
        query = (
            select(images.c.id, images.c.position, concepts.c.folder)
            .join_from(images, concepts, images.c.concept_id == concepts.c.id)
            .where(images.c.run_id == self._run_id, images.c.state == state)
        )
        with self._database.read() as connection:
            return connection.execute(query).mappings().all()

    def receive_late(self, image_id: int) -> None:
        """A submitted image turns out to have arrived: its open call is settled, at its estimate."""

        def work(connection: Connection) -> None:
            where = (calls.c.image_id == image_id, calls.c.state == "open")
            model = connection.execute(select(calls.c.model).where(*where)).scalar()
            change = {"state": "settled", "cost": calls.c.estimate, "finished_at": now()}
            connection.execute(update(calls).where(*where).values(**change))
            image = {"state": "received", "model": model, "cost": cost_of_image(connection, image_id)}
            connection.execute(update(images).where(images.c.id == image_id).values(updated_at=now(), **image))

        self._database.change(work)

    def forgive(self, kinds: Iterable[str]) -> None:
        """Plan again what failed for one of these reasons, none of which is the item's own: images and concepts."""
        kinds = list(kinds)
        spoiled = (images.c.run_id == self._run_id, images.c.state == "failed", images.c.error_kind.in_(kinds))
        unwritten = (concepts.c.run_id == self._run_id, concepts.c.status == "failed", concepts.c.error_kind.in_(kinds))
        again = {"state": "planned", "error_kind": None, "error": None, "updated_at": now()}

        def work(connection: Connection) -> None:
            connection.execute(update(images).where(*spoiled).values(**again))
            connection.execute(delete(concepts).where(*unwritten))

        self._database.change(work)

    def doubt_submitted(self) -> None:
        """Images that were asked for when the run was cut off are in doubt, but for those that wait as a job."""
        jobs = select(calls.c.image_id).where(
            calls.c.run_id == self._run_id, calls.c.state == "open", calls.c.job.is_not(None)
        )
        where = (images.c.run_id == self._run_id, images.c.state == "submitted", images.c.id.not_in(jobs))
        why = {"error_kind": "in_doubt", "error": "The run was cut off before the answer came."}
        statement = update(images).where(*where).values(state="in_doubt", updated_at=now(), **why)
        self._database.change(lambda c: c.execute(statement))

    def doubtful_images(self) -> Sequence[Mapping[str, Any]]:
        """Images in doubt: folder, name or place in it, and what their calls may have cost in vain (USD)."""
        query = (
            select(images.c.id, concepts.c.folder, images.c.position, images.c.name, calls.c.cost)
            .join_from(images, concepts, images.c.concept_id == concepts.c.id)
            .join(calls, and_(calls.c.image_id == images.c.id, calls.c.state.in_(IN_VAIN)), isouter=True)
            .where(images.c.run_id == self._run_id, images.c.state == "in_doubt")
            .order_by(concepts.c.position, images.c.position)
        )
        found: dict[int, dict[str, Any]] = {}
        with self._database.read() as connection:
            for image, folder, position, name, cost in connection.execute(query):
                one = found.setdefault(image, {"folder": folder, "image": name or position, "cost": None})
                if cost is not None:
                    one["cost"] = str(Decimal(one["cost"] or 0) + Decimal(cost))
        return list(found.values())

    def failed_images(self) -> Sequence[RowMapping]:
        """Images that were given up: id, position, and the folder they belong to."""
        return self._images_in("failed")

    def receive_again(self, image_id: int) -> None:
        """The bytes of an image that could not be finished are still there: they are worked on once more."""
        change = {"state": "received", "error_kind": None, "error": None, "updated_at": now()}
        self._database.change(lambda c: c.execute(update(images).where(images.c.id == image_id).values(**change)))

    def forget_failed_concepts(self) -> None:
        """Concepts that could not be written are to be written again."""
        where = (concepts.c.run_id == self._run_id, concepts.c.status == "failed")
        self._database.change(lambda c: c.execute(delete(concepts).where(*where)))

    def reset_images(self, states: Iterable[str]) -> int:
        """Plan images again that are in one of these states; returns how many."""
        where = (images.c.run_id == self._run_id, images.c.state.in_(list(states)))
        statement = update(images).where(*where).values(state="planned", error_kind=None, error=None, updated_at=now())
        return self._database.change(lambda c: c.execute(statement).rowcount)

    def reopen_concepts(self) -> None:
        """Concepts with images that are planned again are not done."""
        waiting = select(images.c.concept_id).where(images.c.run_id == self._run_id, images.c.state.not_in(SETTLED))
        statement = update(concepts).where(concepts.c.id.in_(waiting)).values(status="written")
        self._database.change(lambda c: c.execute(statement))
