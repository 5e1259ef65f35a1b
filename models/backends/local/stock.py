"""The models that the hub's cache on this machine holds.

Invariant: what is said to be whole can be rendered with offline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.backends.local.files import INDEX
from models.backends.local.hub import cached, length


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A model in the cache, whole or not."""

    repository: str
    path: Path
    size: int
    #: Seconds since 1970.
    used: float
    #: It has an index, as what is rendered here has.
    renders: bool
    complete: bool


def stored(variants: Iterable[tuple[str, str]] = ()) -> list[Stored]:
    """The models in the cache, the largest first; ``variants`` are those by which repositories are loaded."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    by_repository = dict(variants)
    try:
        found = scan_cache_dir().repos
    except CacheNotFound:
        return []
    rows = [
        Stored(
            repository=repo.repo_id,
            path=repo.repo_path,
            size=repo.size_on_disk + sum(max(0, length(path)) for path in repo.repo_path.glob("blobs/*.incomplete")),
            used=repo.last_accessed,
            renders=any(file.file_name == INDEX for revision in repo.revisions for file in revision.files),
            complete=cached(repo.repo_id, variant=by_repository.get(repo.repo_id, ""), allow_pickle=True) is not None,
        )
        for repo in found
        if repo.repo_type == "model"
    ]
    return sorted(rows, key=lambda row: (-row.size, row.repository))
