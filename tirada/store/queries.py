"""What ``history``, ``show`` and ``resume`` read from the store.

Invariant: nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, and_, case, func, or_, select

from tirada.errors import NotFound
from tirada.store.accounts import accounts_of, balance
from tirada.store.calls import COST_OR_ESTIMATE, now
from tirada.store.schema import calls, concepts, images, runs
from tirada.store.store import PAGE, Store

#: States of a run that was left before its end.
UNFINISHED = ("running", "interrupted", "stopped")
#: What the newest run may be called.
LATEST = "latest"
_NEWEST = select(runs).order_by(runs.c.created_at.desc()).limit(1)


def list_runs(store: Store, limit: int, user: str | None = None) -> list[dict[str, Any]]:
    """The newest runs first (those for one user), each with its figures and its cost (USD)."""
    query = select(runs).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    if user is not None:
        query = query.where(runs.c.user == user)
    with store.database.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    for row in found:
        row.update(figures(store, row["id"]))
    return found


def figures(store: Store, run_id: str) -> dict[str, Any]:
    """Images by state, concepts and the cost (USD) of a run."""
    states = store.run_figures(run_id)
    written, failed = store.concept_counts(run_id)
    return {
        "images": sum(states.values()),
        "done": states.get("done", 0),
        "states": states,
        "concepts": written,
        "concepts_failed": failed,
        "cost_usd": store.run_bill(run_id).cost,
    }


def find_run(store: Store, name: str) -> RowMapping:
    """The run whose id starts so, or the newest for "latest"; raises NotFound where there is none or more than one."""
    with store.database.read() as connection:
        if name == LATEST and (row := connection.execute(_NEWEST).mappings().first()) is not None:
            return row
        rows = connection.execute(select(runs).where(runs.c.id.startswith(name, autoescape=True))).mappings().all()
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise NotFound(f"There is no run {name!r}; `python main.py history` lists them.")
    raise NotFound(f"{name!r} fits {len(rows)} runs: {', '.join(row['id'] for row in rows[:5])}; type more of it.")


def find_concept(store: Store, name: str) -> RowMapping | None:
    """The concept whose id starts so, or whose folder is called so; None where there is no single one."""
    where = or_(concepts.c.id.startswith(name, autoescape=True), concepts.c.folder == name)
    with store.database.read() as connection:
        rows = connection.execute(select(concepts).where(where).limit(2)).mappings().all()
    return rows[0] if len(rows) == 1 else None


def concepts_of(store: Store, run_id: str, limit: int) -> Sequence[RowMapping]:
    """The first concepts of a run, each with how many of its images are done."""
    done = func.count(images.c.id).filter(images.c.state == "done").label("done")
    total = func.count(images.c.id).label("total")
    query = (
        select(concepts, done, total)
        .select_from(concepts)
        .outerjoin(images, images.c.concept_id == concepts.c.id)
        .where(concepts.c.run_id == run_id)
        .group_by(concepts.c.id)
        .order_by(concepts.c.position)
        .limit(limit)
    )
    with store.database.read() as connection:
        return connection.execute(query).mappings().all()


def folders_of(store: Store, run_id: str) -> list[str]:
    """Names of the folders of a run that hold a finished image, in order."""
    query = (
        select(concepts.c.folder)
        .join(images, images.c.concept_id == concepts.c.id)
        .where(concepts.c.run_id == run_id, concepts.c.folder.is_not(None), images.c.state == "done")
        .group_by(concepts.c.id)
        .order_by(concepts.c.position)
    )
    with store.database.read() as connection:
        return list(connection.execute(query).scalars())


def latest_run_with_images(store: Store) -> str | None:
    """Id of the newest run that has a finished image."""
    made = select(images.c.id).where(images.c.run_id == runs.c.id, images.c.state == "done").exists()
    query = select(runs.c.id).where(made).order_by(runs.c.created_at.desc()).limit(1)
    with store.database.read() as connection:
        return connection.execute(query).scalar_one_or_none()


def resumable(store: Store) -> list[str]:
    """Ids of runs with something left to do, the newest first."""
    doubtful = select(images.c.run_id).where(images.c.state == "in_doubt")
    query = (
        select(runs.c.id)
        .where(or_(runs.c.status.in_(UNFINISHED), and_(runs.c.status != "preparing", runs.c.id.in_(doubtful))))
        .order_by(runs.c.created_at.desc())
    )
    with store.database.read() as connection:
        return list(connection.execute(query).scalars())


def spending(store: Store, by: str | None) -> list[dict[str, Any]]:
    """What calls cost (USD), the newest first: by day, backend and model together, or by one of them, month, run or
    user ("" where a run was made for nobody)."""
    columns = {
        "day": func.substr(calls.c.started_at, 1, 10),
        "month": func.substr(calls.c.started_at, 1, 7),
        "backend": calls.c.backend,
        "model": calls.c.model,
        "run": calls.c.run_id,
        "user": func.coalesce(runs.c.user, ""),
    }
    keys = ("day", "backend", "model") if by is None else (by,)
    query = select(*(columns[key].label(key) for key in keys), calls.c.state, COST_OR_ESTIMATE)
    if by == "user":
        query = query.join(runs, calls.c.run_id == runs.c.id)
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    with store.database.read() as connection:
        for row in connection.execute(query):
            *names, state, cost = row
            entry = sums.setdefault(
                tuple(names),
                {**dict(zip(keys, names, strict=True)), "calls": 0, "in_doubt": 0, "usd": Decimal(0)},
            )
            entry["calls"] += 1
            entry["in_doubt"] += state in ("in_doubt", "open")
            entry["usd"] += Decimal(cost or 0)
    return [sums[names] for names in sorted(sums, reverse=True)]


def month_spent(store: Store) -> tuple[str, Decimal]:
    """This calendar month (UTC), and what was spent and reserved in it (USD)."""
    _, month = accounts_of("", now())
    with store.database.read() as connection:
        return month.removeprefix("month:"), balance(connection, month)


@dataclass(frozen=True, slots=True)
class Missing:
    """What taking a run up again would still make."""

    #: Images to be asked for whose concept is written, those in doubt that are asked for again included.
    images: int
    #: Images whose answer was lost; asked for again, or left as they are.
    in_doubt: int
    #: Images that are paid for: jobs that wait at the service, and bytes that only need saving.
    paid: int
    #: Concepts that are written, or failed for good.
    concepts_there: int


def missing_of(
    store: Store,
    run_id: str,
    *,
    forgiven: Collection[str],
    failed_too: bool,
    skip_in_doubt: bool,
    late: Collection[int],
) -> Missing:
    """Count what a resume would make: failures of a ``forgiven`` kind again, and with ``failed_too`` all of them.

    ``late`` are ids of images that look submitted or failed, and whose bytes arrived.
    """
    job = select(calls.c.id).where(calls.c.image_id == images.c.id, calls.c.state == "open", calls.c.job.is_not(None))
    query = select(images.c.id, images.c.state, images.c.error_kind, job.exists()).where(
        images.c.run_id == run_id, images.c.state != "done"
    )
    again = {"planned"} | ({"failed", "refused"} if failed_too else set())
    asked = doubtful = paid = 0
    with store.database.read() as connection:
        for image, state, kind, waits in connection.execute(query.execution_options(yield_per=PAGE)):
            if state == "received" or image in late or (state == "submitted" and waits):
                paid += 1
            elif state in ("submitted", "in_doubt"):
                doubtful += 1
            elif state in again or (state == "failed" and kind in forgiven):
                asked += 1
        spoiled = connection.execute(
            select(concepts.c.status, concepts.c.error_kind).where(concepts.c.run_id == run_id)
        ).all()
    there = sum(status != "failed" or not (failed_too or kind in forgiven) for status, kind in spoiled)
    return Missing(asked + (0 if skip_in_doubt else doubtful), doubtful, paid, there)


def made_by(store: Store, run_id: str) -> list[dict[str, Any]]:
    """The backends and models that made the finished images of a run, each with how many, the first to make one first.

    The call that left last is the one that an image came from. Free backends leave no calls: theirs are images of the
    run's own backend if that never made a call, and of an unknown one otherwise.
    """
    mine = (calls.c.run_id == run_id, calls.c.kind == "image")
    last = (
        select(calls.c.image_id, calls.c.backend, func.max(calls.c.started_at))
        .where(*mine, calls.c.state == "settled")
        .group_by(calls.c.image_id)
        .subquery()
    )
    paid = select(calls.c.id).where(*mine, calls.c.backend == runs.c.backend).exists()
    own = select(case((paid, ""), else_=runs.c.backend)).where(runs.c.id == run_id).scalar_subquery()
    backend, model = func.coalesce(last.c.backend, own), func.coalesce(images.c.model, "")
    query = (
        select(backend.label("backend"), model.label("model"), func.count().label("images"))
        .select_from(images)
        .outerjoin(last, last.c.image_id == images.c.id)
        .where(images.c.run_id == run_id, images.c.state == "done")
        .group_by(backend, model)
        .order_by(func.min(images.c.updated_at))
    )
    with store.database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
