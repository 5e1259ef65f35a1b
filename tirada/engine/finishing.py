"""Writes down what became of a concept: ``info.json`` and its companions, from the rows of the store.

Invariant: the files say what the store says, so writing them again at any time is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tirada.engine.events import FolderDone
from tirada.engine.plan import PRIVATE, heeded_negative, request_from_json
from tirada.engine.source import ActiveConcept
from tirada.engine.state import RunState
from tirada.store.store import SETTLED

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.output.info import Info


def finish_folder(state: RunState, concept: ActiveConcept) -> None:
    """Every image of the concept is settled: write its files and mark it as done."""
    write_folder(state, concept.id, concept.folder)
    state.parts.store.finish_concepts([concept.id])


def write_folder(state: RunState, concept_id: str, folder: Path) -> None:
    """Write the folder's files as things stand."""
    from tirada.output.info import write_info

    store = state.parts.store
    row = store.concept(concept_id)
    # Nothing of it is given a name here: with 10,000 images each of these takes tens of megabytes.
    write_info(folder, build_info(state, row, store.images_of(concept_id)))
    figures = store.concept_figures(concept_id)
    done = figures.pop("done", 0)
    failed = sum(count for settled, count in figures.items() if settled in SETTLED)
    state.emit(FolderDone(folder, row["title"], done, failed))


def build_info(state: RunState, row: RowMapping, images: Sequence[RowMapping]) -> Info:
    """The record of one concept."""
    from tirada.output.info import Info

    run = state.parts.store.run(state.run_id)
    backend, label = state.own
    request = row["request"]
    common = _common([image["details"] or {} for image in images if image["state"] == "done"])
    costs = [image["cost"] for image in images if image["state"] in SETTLED]
    return Info.model_validate(
        {
            "batch_id": row["id"],
            "run_id": state.run_id,
            "created_at": datetime.fromisoformat(row["created_at"]),
            "status": _status(images),
            "ai": label,
            "backend": run["backend"],
            "model": run["model"],
            "writer": row["writer"],
            "writer_model": row["writer_model"],
            "role": row["role"],
            "theme": state.plan.theme,
            "language": state.plan.language,
            "brief": row["brief"],
            "title": row["title"],
            "description": row["description"],
            "metatags": row["metatags"],
            "prompt": request["prompt"],
            "rewrite": row["rewrite"],
            "negative_prompt": heeded_negative(backend, request_from_json(request, None)),
            "size": f"{request['width']}x{request['height']}",
            "quantity": len(images),
            "seeds": [image["seed"] for image in images],
            "steps": request.get("steps"),
            "cfg_scale": request.get("guidance"),
            "scheduler": request.get("scheduler"),
            "loras": request.get("loras") or [],
            "init_image": request.get("init_image"),
            "mask": request.get("mask"),
            "strength": request.get("strength"),
            "references": request.get("references") or [],
            "user": state.plan.user,
            "workflow": run["workflow"],
            "job": _job(state, images),
            "options": request.get("options") or {},
            "format": state.plan.format,
            "embed": state.plan.embed,
            "cost_usd": None if None in costs else sum(map(Decimal, costs), Decimal(0)),
            "details": common,
            "images": [_entry(state, image, common) for image in images if image["state"] == "done"],
            "failures": [_failure(image) for image in images if image["state"] in SETTLED and image["state"] != "done"],
            "command": run["command"],
            "tool": state.parts.tool,
        }
    )


def _status(images: Sequence[RowMapping]) -> str:
    states = {image["state"] for image in images}
    if states - set(SETTLED):
        return "interrupted"
    if states == {"done"}:
        return "done"
    return "partial" if "done" in states else "failed"


def _common(details: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of them say alike."""
    first, *others = details or [{}]
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def _job(state: RunState, images: Sequence[RowMapping]) -> dict[str, object] | None:
    if state.parts.job is None:
        return None
    told = {name: value for name, value in state.plan.job.items() if name != PRIVATE}
    steps = [dict(step) for step in state.plan.steps]
    missing = [_missing(image) for image in images if image["state"] != "done"]
    return {"settings": told, "steps": steps, "missing": missing}


def _missing(image: RowMapping) -> dict[str, object]:
    own = {name: image[name] for name in ("name", "title", "prompt", "kind", "step", "seed")}
    return {**own, "index": image["position"], "facts": image["facts"] or {}, "settings": image["asked"] or {}}


def _entry(state: RunState, image: RowMapping, common: Mapping[str, str]) -> dict[str, object]:
    details = image["details"] or {}
    own: dict[str, object] = {}
    if image["name"] is not None:
        own = {name: image[name] for name in ("title", "kind", "step")}
        own |= {"facts": image["facts"] or {}, "settings": image["asked"] or {}}
    return {
        **own,
        "file": image["file"],
        "seed": image["seed"],
        "width": image["width"],
        "height": image["height"],
        "rendered_size": f"{image['rendered_width']}x{image['rendered_height']}",
        "sha256": image["sha256"],
        "attempts": max(1, image["attempts"]),
        "cost_usd": image["cost"],
        "sidecar": image["sidecar"],
        "model": image["model"] or "",
        "prompt": image["prompt"],
        "note": image["note"],
        "details": {name: value for name, value in details.items() if common.get(name) != value},
    }


def _failure(image: RowMapping) -> dict[str, object]:
    return {
        "index": image["position"],
        "name": image["name"] or "",
        "seed": image["seed"],
        "error": image["error_kind"] or "unknown",
        "message": image["error"] or "",
        "attempts": image["attempts"],
    }
