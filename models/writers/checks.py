"""The rules every concept obeys, whoever wrote it; each breach is a sentence that can go back to a text model.

Invariant: checking changes nothing and reads nothing but its arguments; the limits are those of ``models.contract``.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from models.contract import DESCRIPTION_MAX, DESCRIPTION_MIN, TAGS_MAX, TAGS_MIN, TITLE_MAX
from models.errors import SetupError

TAG_MAX = 40
#: The lists data/forbidden_names.toml may hold.
KINDS = ("artists", "brands", "people", "characters")

# Control characters, line and paragraph separators, and lone surrogates, which no file could be written with.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A description may break its lines; XML and CSV take those, and nothing else from above.
_UNPRINTABLE_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Within a name a space and a hyphen are the same: Coca-Cola is Coca Cola.
_SEPARATORS = re.compile(r"[\s\-]+")

#: A character -> what may follow it; "" marks the end of a name.
_Tree: TypeAlias = "dict[str, _Tree]"


class ForbiddenNames:
    """Names no concept may hold: found as whole words, whatever the case and the accents."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {_key(name): name.strip() for name in names if _key(name)}
        self._pattern = re.compile(rf"(?<!\w){_alternation(self._names)}(?!\w)") if self._names else None

    @classmethod
    def load(cls, path: Path) -> ForbiddenNames:
        """Read the user's list; no file forbids nothing, a broken one raises SetupError."""
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as exc:
            raise SetupError(f"Cannot read {str(path)!r}: {exc}.", hint="Mend the file, or remove it.") from exc
        names: list[str] = []
        for kind, listed in data.items():
            if kind not in KINDS:
                raise SetupError(f"{path}: unknown list {kind!r}.", hint=f"The lists are: {', '.join(KINDS)}.")
            if not isinstance(listed, list) or not all(isinstance(name, str) and _key(name) for name in listed):
                raise SetupError(f"{path}: {kind!r} must be a list of names, none of them empty.")
            names.extend(listed)
        return cls(names)

    def __len__(self) -> int:
        return len(self._names)

    def find(self, text: str) -> str | None:
        """The first forbidden name in the text, spelled as in the list, or None."""
        if self._pattern is None:
            return None
        found = self._pattern.search(_fold(text))
        return self._names[_key(found.group())] if found else None


def _fold(text: str) -> str:
    """Lower case without accents and with plain apostrophes, so that every spelling of a name is one."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    return text.casefold()


def _key(name: str) -> str:
    return _SEPARATORS.sub(" ", _fold(name)).strip()


def _alternation(keys: Iterable[str]) -> str:
    """One pattern for all keys, sharing their beginnings: a plain ``a|b|c`` tries every name at every word."""
    tree: _Tree = {}
    for key in keys:
        branch = tree
        for char in key:
            branch = branch.setdefault(char, {})
        branch[""] = {}
    return _pattern_of(tree)


def _pattern_of(tree: _Tree) -> str:
    run = ""
    while len(tree) == 1 and "" not in tree:
        char, tree = next(iter(tree.items()))
        run += r"[\s\-]+" if char == " " else re.escape(char)
    branches = [_pattern_of({char: rest}) for char, rest in tree.items() if char]
    if not branches:
        return run
    # Longest first: where a name is the beginning of another, the optional rest is greedy.
    return f"{run}(?:{'|'.join(branches)}){'?' if '' in tree else ''}"


def faults(title: str, description: str, metatags: Sequence[str], *, forbidden: ForbiddenNames | None) -> list[str]:
    """What is wrong with a concept, one sentence each; an empty list when nothing is."""
    found = _title_faults(title) + _description_faults(description) + _tag_faults(metatags)
    if forbidden is not None:
        # The bar is no separator, so no name is read out of the end of one text and the beginning of the next.
        name = forbidden.find(" | ".join((title, description, *metatags)))
        if name:
            found.append(f"The name {name!r} is not allowed; describe what it stands for instead.")
    return found


def _title_faults(title: str) -> list[str]:
    found = []
    if not title.strip():
        found.append("The title is empty.")
    if len(title) > TITLE_MAX:
        found.append(f"The title has {len(title)} characters; at most {TITLE_MAX} are allowed.")
    if _UNPRINTABLE.search(title):
        found.append("The title holds a line break or another control character; it must be one line of plain text.")
    return found


def _description_faults(description: str) -> list[str]:
    found = []
    length = len(description.strip())
    if length < DESCRIPTION_MIN:
        found.append(f"The description has {length} characters; at least {DESCRIPTION_MIN} are needed.")
    if len(description) > DESCRIPTION_MAX:
        found.append(f"The description has {len(description)} characters; at most {DESCRIPTION_MAX} are allowed.")
    if _UNPRINTABLE_IN_TEXT.search(description):
        found.append("The description holds control characters; it must be plain text.")
    return found


def _tag_faults(metatags: Sequence[str]) -> list[str]:
    found = []
    if len(metatags) < TAGS_MIN:
        found.append(f"There are {len(metatags)} metatags; at least {TAGS_MIN} are needed.")
    if len(metatags) > TAGS_MAX:
        found.append(f"There are {len(metatags)} metatags; at most {TAGS_MAX} are allowed.")
    seen: set[str] = set()
    for tag in metatags:
        key = tag.strip().casefold()
        if not key:
            found.append("A metatag is empty.")
        elif key in seen:
            found.append(f"The metatag {tag!r} is given twice.")
        seen.add(key)
        if len(tag) > TAG_MAX:
            found.append(f"The metatag {tag!r} has {len(tag)} characters; at most {TAG_MAX} are allowed.")
        if _UNPRINTABLE.search(tag):
            found.append(f"The metatag {tag!r} holds a line break or another control character.")
    return found
