"""What people think of images: good or bad, by user; and the images that were chosen so, with the words behind them.

Invariant: a user has at most one verdict on an image, the latest; only finished images have any.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, Select, delete, func, insert, or_, select

from tirada.errors import NotFound
from tirada.store.calls import now
from tirada.store.queries import find_concept, find_run
from tirada.store.schema import concepts, images, marks, runs
from tirada.store.store import PAGE, Store

Verdict = Literal["good", "bad"]
VERDICTS: tuple[Verdict, ...] = ("good", "bad")
#: Digits of a number that can be one of an image.
_DIGITS_MAX = 9
#: How many names are proposed where none fits.
SHOWN = 10
#: How many folders are named where several fit.
FOLDERS_SHOWN = 3
_UPSERT = insert(marks).prefix_with("OR REPLACE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One verdict."""

    #: Whose it is; "" where nobody said.
    user: str
    verdict: str
    #: ISO 8601, UTC.
    marked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A finished image with the words it was made with and what was said of it."""

    id: int
    run_id: str
    concept_id: str
    #: For whom it was made; "" where nobody said.
    user: str
    workflow: str
    #: ISO 639-1 code of the language of the words.
    language: str
    #: Names of the folder and of the file in it.
    folder: str
    file: str
    position: int
    #: "result", "step" or "try" (see ``engine.job``).
    kind: str
    title: str
    #: Of the concept, or of the words that took its place.
    concept_title: str
    description: str
    metatags: tuple[str, ...]
    prompt: str
    role: str
    brief: Mapping[str, Any]
    facts: Mapping[str, str]
    backend: str
    model: str
    seed: int | None
    width: int
    height: int
    sha256: str
    #: ISO 8601, UTC.
    made_at: str
    marks: tuple[Mark, ...]


# --- one image ------------------------------------------------------------------------------------------------------


def find_image(store: Store, owner: str, name: str) -> RowMapping:
    """The finished image of that file, name or number (from 1) in a folder or run: its row with folder and user.

    ``owner`` is a folder, a batch or run id (or how it begins), or "latest". Raises NotFound where there is none, where
    it was not made, and where several folders of a run have one.
    """
    concept = find_concept(store, owner)
    where = images.c.run_id == find_run(store, owner)["id"] if concept is None else images.c.concept_id == concept["id"]
    rows = _called(store, _one().where(where), name)
    if not rows:
        raise NotFound(f"{owner!r} has no image {name!r}{_instead(store, _one().where(where), name)}")
    if len(rows) > 1:
        # Of a run that is still going, some have none yet.
        folders = [row["folder"] for row in rows if row["folder"]]
        more = " ..." if len(folders) > FOLDERS_SHOWN else ""
        which = (
            f"name the folder: {', '.join(folders[:FOLDERS_SHOWN])}{more}" if folders else "none of them is made yet"
        )
        raise NotFound(f"{owner!r} has {len(rows)} images {name!r}; {which}.")
    if rows[0]["state"] != "done":
        raise NotFound(f"Image {name!r} of {owner!r} was not made ({rows[0]['state'].replace('_', ' ')}).")
    return rows[0]


def _one() -> Select[Any]:
    return (
        select(images, concepts.c.folder, concepts.c.title.label("concept_title"), runs.c.user)
        .join(concepts, images.c.concept_id == concepts.c.id)
        .join(runs, images.c.run_id == runs.c.id)
    )


def _called(store: Store, query: Select[Any], name: str) -> Sequence[RowMapping]:
    """Those of the file, else of the name, else of the number in the name, else of the place."""
    stem = PurePath(name).stem
    ways = [images.c.file == name, images.c.name == stem]
    if stem.isdecimal() and len(stem) <= _DIGITS_MAX:
        # Token 5 of a collection is called 05, and is its sixth image.
        number = str(int(stem))
        ways.append(images.c.name.in_([number.zfill(width) for width in range(len(number), _DIGITS_MAX + 1)]))
        ways.append(images.c.position == int(stem))
    with store.database.read() as connection:
        for way in ways:
            if rows := connection.execute(query.where(way).limit(PAGE)).mappings().all():
                return rows
    return []


def _instead(store: Store, query: Select[Any], name: str) -> str:
    """What may have been meant."""
    with store.database.read() as connection:
        rows = connection.execute(query.order_by(images.c.position).limit(PAGE)).mappings().all()
    names = {str(row["name"] or row["file"] or row["position"]): None for row in rows}
    if close := difflib.get_close_matches(name, names, n=1):
        return f"; did you mean {close[0]!r}?"
    more = " ..." if len(names) > SHOWN else ""
    return f"; there are: {', '.join(list(names)[:SHOWN])}{more}." if names else "."


def mark(store: Store, users: Mapping[int, str], verdict: Verdict | None) -> dict[int, str | None]:
    """Write a verdict down, or with None take it back, for each image and user; all or nothing.

    Returns what was said before, by image; None where nothing was.
    """
    stamp = now()

    def work(connection: Connection) -> dict[int, str | None]:
        before: dict[int, str | None] = {}
        for image_id, user in users.items():
            mine = (marks.c.image_id == image_id, marks.c.user == user)
            before[image_id] = connection.execute(select(marks.c.verdict).where(*mine)).scalar_one_or_none()
            if verdict is None:
                connection.execute(delete(marks).where(*mine))
            else:
                row = {"image_id": image_id, "user": user, "verdict": verdict, "marked_at": stamp}
                connection.execute(_UPSERT, row)
        return before

    return store.database.change(work)


def marks_of(store: Store, image_ids: Iterable[int]) -> dict[int, tuple[Mark, ...]]:
    """The verdicts on each image that has any, the oldest first."""
    with store.database.read() as connection:
        return _marks_of(connection, image_ids)


def _marks_of(connection: Connection, image_ids: Iterable[int]) -> dict[int, tuple[Mark, ...]]:
    found: dict[int, tuple[Mark, ...]] = {}
    rest = iter(image_ids)
    while page := list(islice(rest, PAGE)):
        query = select(marks).where(marks.c.image_id.in_(page)).order_by(marks.c.marked_at, marks.c.user)
        for row in connection.execute(query).mappings():
            one = Mark(user=row["user"], verdict=row["verdict"], marked_at=row["marked_at"])
            found[row["image_id"]] = (*found.get(row["image_id"], ()), one)
    return found


def verdicts(store: Store, run_id: str) -> dict[str, int]:
    """How many verdicts of each kind there are on the images of a run."""
    query = (
        select(marks.c.verdict, func.count())
        .join(images, marks.c.image_id == images.c.id)
        .where(images.c.run_id == run_id)
        .group_by(marks.c.verdict)
        .order_by(marks.c.verdict.desc())
    )
    with store.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


# --- users ----------------------------------------------------------------------------------------------------------


def check_user(store: Store, name: str) -> None:
    """Raise NotFound, with a suggestion, where nothing was made for or marked by someone of that name."""
    made, said = select(runs.c.user).distinct(), select(marks.c.user).distinct()
    with store.database.read() as connection:
        known = {user for query in (made, said) for user in connection.execute(query).scalars() if user}
    if name in known:
        return
    if not known:
        raise NotFound(f"There is no user {name!r}: nothing here was made or marked with --user.")
    close = difflib.get_close_matches(name, known, n=1)
    raise NotFound(
        f"There is no user {name!r}; did you mean {close[0]!r}?"
        if close
        else f"There is no user {name!r}; there are: {', '.join(sorted(known))}."
    )


# --- many images ----------------------------------------------------------------------------------------------------


def finished(
    store: Store,
    *,
    folders: Sequence[str] | None = None,
    user: str | None = None,
    verdict: Verdict | None = None,
    everything: bool = False,
) -> Iterator[Picture]:
    """Finished images, in the order of their runs, folders and numbers; a page at a time.

    In these folders or in all; made for that user; marked so by anyone. What was made on the way to a
    result is left out, unless ``everything`` is wanted or it is marked so.
    """
    query = _many().order_by(runs.c.created_at, runs.c.id, concepts.c.position, images.c.position)
    if user is not None:
        query = query.where(runs.c.user == user)
    if verdict is not None:
        query = query.where(select(marks.c.image_id).where(_is(verdict)).exists())
    elif not everything:
        query = query.where(or_(images.c.kind.is_(None), images.c.kind == "result"))
    if folders is None:
        yield from _pictures(store, query)
        return
    for start in range(0, len(folders), PAGE):
        page = list(folders[start : start + PAGE])
        yield from _pictures(store, query.where(concepts.c.folder.in_(page)))


def marked(store: Store, verdict: Verdict, user: str | None = None) -> Iterator[Picture]:
    """Images that someone, or that user, marked so: the latest verdict first."""
    mine = (_is(verdict),) if user is None else (_is(verdict), marks.c.user == user)
    when = select(func.max(marks.c.marked_at)).where(*mine).scalar_subquery()
    query = _many().where(select(marks.c.image_id).where(*mine).exists())
    yield from _pictures(store, query.order_by(when.desc(), images.c.id.desc()))


def _is(verdict: Verdict) -> Any:
    return (marks.c.image_id == images.c.id) & (marks.c.verdict == verdict)


def _many() -> Select[Any]:
    image = ("id", "run_id", "concept_id", "position", "file", "kind", "facts", "seed", "width", "height", "sha256")
    concept = ("folder", "description", "metatags", "role", "brief", "rewrite")
    return (
        select(
            *(images.c[name] for name in image),
            *(concepts.c[name] for name in concept),
            *(runs.c[name] for name in ("user", "workflow", "backend")),
            images.c.title.label("own_title"),
            images.c.prompt.label("own_prompt"),
            func.coalesce(images.c.model, runs.c.model).label("model"),
            images.c.updated_at.label("made_at"),
            concepts.c.title.label("concept_title"),
            concepts.c.prompt.label("concept_prompt"),
            runs.c.plan["language"].as_string().label("language"),
        )
        .join(concepts, images.c.concept_id == concepts.c.id)
        .join(runs, images.c.run_id == runs.c.id)
        .where(images.c.state == "done", images.c.file.is_not(None), concepts.c.folder.is_not(None))
    )


def _pictures(store: Store, query: Select[Any]) -> Iterator[Picture]:
    with store.database.read() as connection:
        for page in connection.execution_options(yield_per=PAGE).execute(query).mappings().partitions():
            said = _marks_of(connection, [row["id"] for row in page])
            for row in page:
                yield _picture(row, said.get(row["id"], ()))


def _picture(row: RowMapping, said: tuple[Mark, ...]) -> Picture:
    # An image of a job has a title and a prompt of its own; another one has a prompt where it was made with new words.
    rewritten = row["own_title"] is None and row["own_prompt"] is not None
    words = (row["rewrite"] if rewritten else None) or {
        "title": row["concept_title"],
        "description": row["description"],
        "metatags": row["metatags"],
        "prompt": row["concept_prompt"],
    }
    kept = ("id", "run_id", "concept_id", "folder", "file", "position", "role", "backend", "model", "seed")
    return Picture(
        **{name: row[name] for name in (*kept, "workflow", "width", "height", "sha256", "made_at")},
        user=row["user"] or "",
        language=row["language"] or "en",
        kind=row["kind"] or "result",
        title=row["own_title"] or words["title"],
        concept_title=words["title"],
        description=words["description"],
        metatags=tuple(words["metatags"]),
        prompt=row["own_prompt"] or words["prompt"],
        brief=row["brief"] or {},
        facts=row["facts"] or {},
        marks=said,
    )
