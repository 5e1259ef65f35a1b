"""Images of the store as commands name them, and as they say them to programs.

Invariant: a name is looked for in the output folder's own store; no other file is opened.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tirada.errors import NotFound, UsageError

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.store.marks import Picture
    from tirada.store.store import Store


def find(store: Store, output: Path, name: str) -> RowMapping:
    """The finished image that a word of the command line means: a file, FOLDER/NUMBER, FOLDER/NAME or RUN/NUMBER.

    Raises NotFound where there is none, UsageError where the word can mean none.
    """
    from tirada.store.marks import find_image

    path = Path(name)
    if path.is_file():
        folder = path.parent.resolve()
        if folder.parent != output.resolve():
            raise NotFound(f"{name!r} is not in the output folder {str(output)!r}; --output names another.")
        return find_image(store, folder.name, path.name)
    *rest, last = PurePath(name).parts or ("",)
    if not rest or rest[-1] in ("/", ".", ".."):
        raise UsageError(f"{name!r} is no image: name its file, FOLDER/NUMBER or RUN/NUMBER, such as latest/3.")
    return find_image(store, rest[-1], last)


def record(picture: Picture) -> dict[str, Any]:
    """What programs are told of an image beside where it is, JSON."""
    from dataclasses import asdict

    left_out = ("id", "folder", "file", "position", "concept_title")
    return {name: value for name, value in asdict(picture).items() if name not in left_out}
