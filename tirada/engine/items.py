"""The images of a job on their way from what a workflow says to rows of the store, to requests, and back.

Invariant: what is read back of an item is what was planned; nothing is worked out a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.contract import Capabilities, Concept
from models.errors import ModelError
from tirada.engine.events import JobProgress
from tirada.engine.job import NAME, Composed, Item, Job, Made
from tirada.engine.plan import Plan
from tirada.engine.state import RunState
from tirada.errors import NotFound
from tirada.output.text import clean, clean_concept, clean_texts
from tirada.store.items import Items
from tirada.store.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image
    from sqlalchemy import RowMapping

#: Fields of a request that hold a file, and those that hold several.
FILES, FILE_LISTS = ("init_image", "mask"), ("references",)
#: How an item speaks of another one.
MARK = "@"


class MissingItem(ModelError):
    """The image that another one is made from is not there."""

    kind = "missing_item"


def items_of(state: RunState) -> Items:
    """The images of the run's job, in the store."""
    return Items(state.parts.store.database, state.run_id)


def plan_items(state: RunState, composed: Composed) -> str:
    """Write down what a job is to make; returns the id of its concept."""
    concept = clean_concept(composed.concept)
    request = state.plan.request_for(concept)
    brief = clean_texts(composed.brief)
    columns = columns_of(state.plan.seeds(0), composed.items)
    return items_of(state).compose(concept, brief, request, columns)


def columns_of(
    seeds: Sequence[int], items: Sequence[Item], *, taken: frozenset[str] = frozenset()
) -> list[dict[str, Any]]:
    """The rows of items; one without a seed of its own gets the next of ``seeds``.

    Raises ValueError for a name that is none, or ``taken``: a mistake of the workflow.
    """
    seen = set(taken)
    rows = []
    for number, item in enumerate(items):
        if not NAME.fullmatch(item.name) or item.name in seen:
            raise ValueError(f"{item.name!r} is no name for an image of a job, or there is one of that name")
        seen.add(item.name)
        rows.append(
            {
                "name": item.name,
                "title": clean(item.title),
                "prompt": clean(item.prompt),
                "step": item.step,
                "kind": item.kind,
                "seed": seeds[number % len(seeds)] if item.seed is None and seeds else item.seed,
                "asked": dict(item.request),
                "facts": clean_texts(item.facts),
            }
        )
    return rows


def add_to_job(store: Store, run: RowMapping, items: Sequence[Item]) -> None:
    """Plan further images of a run's job, which then is open again: a resume makes them and finishes it anew.

    Raises NotFound where the run has no job, or never came as far as to have images.
    """
    plan, planned = Plan.from_json(run["plan"]), Items(store.database, run["id"])
    row = planned.concept() if plan.steps else None
    if row is None:
        raise NotFound(f"Run {run['id']} has no images that others could be added to.")
    there = store.images_of(row["id"])
    seeds = plan.further_seeds(len(there), len(items))
    planned.add(row["id"], columns_of(seeds, items, taken=frozenset(image["name"] for image in there)))
    store.finish_run(run["id"], "stopped")


def item_of(image: RowMapping) -> Item:
    """The item that an image of the store was planned as, with the facts there are by now."""
    return Item(
        name=image["name"],
        title=image["title"],
        prompt=image["prompt"],
        step=image["step"],
        kind=image["kind"],
        seed=image["seed"],
        request=image["asked"] or {},
        facts=image["facts"] or {},
    )


def made_of(folder: Path, images: Sequence[RowMapping]) -> list[Made]:
    """What became of the images of a job, in order."""
    return [
        Made(
            item=item_of(image),
            state=image["state"],
            file=folder / image["file"] if image["state"] == "done" else None,
            seed=image["seed"],
            facts=image["facts"] or {},
            model=image["model"] or "",
            error=image["error"] or "",
        )
        for image in images
        if image["name"] is not None
    ]


def concept_of(row: RowMapping) -> Concept:
    """The concept as it is in the store."""
    return Concept(
        title=row["title"],
        description=row["description"],
        metatags=tuple(row["metatags"]),
        prompt=row["prompt"],
        negative=row["negative"],
        role=row["role"],
        writer=row["writer"],
        model=row["writer_model"],
    )


class Finishing:
    """What a job does to one picture on its way to the disk."""

    def __init__(self, job: Job | None, item: Item | None) -> None:
        self._job, self._item = job, item
        #: Those of the item, and what was measured.
        self.facts: dict[str, str] = dict(item.facts) if item is not None else {}

    @property
    def keeps_original(self) -> bool:
        return self._job is not None and self._job.keeps_original

    def touch(self, picture: Image) -> Image:
        """The picture as it is kept, measured."""
        if self._job is None or self._item is None:
            return picture
        kept = self._job.treat(picture, self._item)
        self.facts |= self._job.measure(kept, self._item)
        return kept


def tell_so_far(state: RunState, concept_id: str, folder: Path) -> None:
    """Tell listeners what a job has ready, where it has something to tell."""
    job = state.parts.job
    # Looking at all images after each one is only for jobs that want it: there may be ten thousand.
    if job is None or type(job).so_far is Job.so_far:
        return
    store = state.parts.store
    try:
        ready = job.so_far(concept_of(store.concept(concept_id)), made_of(folder, store.images_of(concept_id)))
    except Exception as exc:  # noqa: BLE001 - the image is finished, whatever can be told of it
        state.bug(exc)
        return
    if ready:
        state.emit(JobProgress(folder, ready))


def as_taken(asked: Mapping[str, Any], able: Capabilities) -> dict[str, Any]:
    """What a request of a step starts from, put as a backend takes it, for a job that has moved to another one.

    A start image is a reference where that is all there is, and there is no strength where none is taken. What the
    backend cannot do in any way stays, and its check says so.
    """
    taken = dict(asked)
    if "strength" not in able.settings:
        taken.pop("strength", None)
    if taken.get("init_image") and able.references and not able.init_image and not taken.get("mask"):
        taken["references"] = [taken.pop("init_image"), *(taken.get("references") or ())]
    return taken


def asked_of(
    state: RunState, files: Mapping[str, str], folder: Path, common: Mapping[str, Any], item: Item
) -> dict[str, Any]:
    """The whole request of an item, without its seed; ``files`` are those that others are made from, by name.

    Raises MissingItem where it builds on one that is not there.
    """
    own = {**state.plan.step_request(item.step), **item.request}
    if state.parts.backend is not None:
        own = as_taken(own, state.parts.backend.capabilities)

    def found(value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(MARK):
            return value
        name = value.removeprefix(MARK)
        file = files.get(name)
        if file is None:
            raise MissingItem(f"The image {name!r}, which this one is made from, was not made.")
        return str(folder / file)

    own |= {name: found(own[name]) for name in FILES if name in own}
    own |= {name: [found(value) for value in own[name] or ()] for name in FILE_LISTS if name in own}
    return {**common, "prompt": item.prompt, "title": item.title, **own}
