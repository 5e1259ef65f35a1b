"""Rows as they are written the first time.

Invariant: lists and mappings are copied, so that a row never changes with what it was made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.contract import Concept
from tirada.store.calls import now


def concept_row(
    run_id: str,
    concept_id: str,
    position: int,
    concept: Concept,
    brief: Mapping[str, Any],
    request: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The columns of a concept that was written just now."""
    return {
        "id": concept_id,
        "run_id": run_id,
        "position": position,
        "status": "written",
        "created_at": now(),
        "role": concept.role,
        "brief": dict(brief),
        "title": concept.title,
        "description": concept.description,
        "metatags": list(concept.metatags),
        "prompt": concept.prompt,
        "negative": concept.negative,
        "writer": concept.writer,
        "writer_model": concept.model,
        "request": None if request is None else dict(request),
    }
