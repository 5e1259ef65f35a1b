"""The role selector: ``data/roles/*.toml`` and ``tuning/*.jsonl`` become roles, and roles become briefs.

A role file holds a title, a description, a prompt template, a negative prompt, tags, and lists to choose from. The
entries of each list have one grammatical shape, so that a sentence can be built around any of them:

=============  ==============================================  ===========================================
list           shape                                           example
=============  ==============================================  ===========================================
scenes         noun phrase with its action                     a fox crossing a frozen stream
elements       noun phrase, reads after "with"                 breath hanging in the cold air
environments   place with its preposition                      at the edge of a birch forest
styles         genre as a noun phrase without article          quiet documentary photography
lights         noun phrase, reads after "lit by" and "in"      low winter sun through mist
moods          adjectives, read after "the mood is"            hushed and expectant
palettes       two to four colours                             rust, teal and bone white
renders        noun phrase with article (not photographers)    an isometric claymation diorama
cameras        noun phrase with article (photographers)        a medium-format film camera
lenses         noun phrase with article (photographers)        an 85 mm lens at f/1.8
=============  ==============================================  ===========================================

Invariant: a broken line or file never stops a run; it becomes a ``Problem`` that names the file and the line.
"""

from __future__ import annotations

import difflib
import json
import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

from models.contract import Brief, Dealer, Example, Hand, Role
from models.errors import SetupError, UnsupportedRequest

#: Plural name in the TOML -> singular name of the choice.
REQUIRED_LISTS = {
    "scenes": "scene",
    "elements": "element",
    "environments": "environment",
    "styles": "style",
    "lights": "light",
    "moods": "mood",
    "palettes": "palette",
}
OPTIONAL_LISTS = {"renders": "render", "cameras": "camera", "lenses": "lens"}
LISTS = REQUIRED_LISTS | OPTIONAL_LISTS
TEXTS = ("title", "description", "template", "negative")
#: Tags a brief proposes; the writer keeps those that fit.
TAGS_PER_BRIEF = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a user-editable file, said so that it can be found and mended."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {self.message}"


def parse_role(name: str, text: str) -> Role:
    """Read one role file; raises ValueError saying what is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ValueError(f"not valid TOML: {exc}") from exc
    for key in TEXTS:
        if not isinstance(data.get(key), str) or not data[key].strip():
            raise ValueError(f"{key!r} must be a text")
    unknown = set(data) - set(TEXTS) - set(LISTS) - {"tags"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; known: {', '.join([*TEXTS, *LISTS, 'tags'])}")
    lists = {
        singular: _entries(data, plural)
        for plural, singular in LISTS.items()
        if plural in REQUIRED_LISTS or plural in data
    }
    placeholders = {field for _, field, _, _ in Formatter().parse(data["template"]) if field is not None}
    if strange := placeholders - {"title", "description", "tags", *lists}:
        raise ValueError(f"template uses {{{sorted(strange)[0]}}}, which this role does not have")
    if "description" not in placeholders:
        raise ValueError("template must use {description}")
    return Role(
        name=name,
        title=data["title"].strip(),
        description=" ".join(data["description"].split()),
        template=" ".join(data["template"].split()),
        negative=" ".join(data["negative"].split()),
        lists=lists,
        tags=_entries(data, "tags"),
    )


def _entries(data: dict[str, Any], key: str) -> tuple[str, ...]:
    entries = data.get(key)
    if not isinstance(entries, list) or not entries or not all(isinstance(e, str) and e.strip() for e in entries):
        raise ValueError(f"{key!r} must be a list of texts, and not empty")
    cleaned = tuple(" ".join(entry.split()) for entry in entries)
    if len({entry.casefold() for entry in cleaned}) != len(cleaned):
        twice = next(e for i, e in enumerate(cleaned) if e.casefold() in {x.casefold() for x in cleaned[:i]})
        raise ValueError(f"{key!r} holds {twice!r} twice")
    return cleaned


def parse_example(line: str) -> Example:
    """Read one line of a tuning file; raises ValueError saying what is wrong.

    Three shapes are known: the answer itself ({"title", "description", "metatags"}), a ``prompt`` key whose text holds
    such an answer after a word such as "Example:", and chat ``messages`` whose last assistant turn is the answer.
    """
    try:
        data = json.loads(line)
    except json.JSONDecodeError as exc:
        raise ValueError(f"not valid JSON: {exc.msg} at column {exc.colno}") from exc
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("the line is not a JSON object")
    data = _answer_in(data)
    for key in ("title", "description"):
        if not isinstance(data.get(key), str) or not data[key].strip():
            raise ValueError(f"{key!r} must be a text")
    return Example(title=data["title"].strip(), description=data["description"].strip(), metatags=_tags_in(data))


def _answer_in(data: dict[str, Any]) -> dict[str, Any]:
    """The answer itself, out of whichever of the three shapes."""
    if isinstance(data.get("prompt"), str) and "title" not in data:
        return _embedded_answer(data["prompt"], "prompt")
    if isinstance(data.get("messages"), list):
        answers = [m.get("content") for m in data["messages"] if isinstance(m, dict) and m.get("role") == "assistant"]
        if not answers or not isinstance(answers[-1], str):
            raise ValueError("'messages' has no assistant turn")
        return _embedded_answer(answers[-1], "messages")
    return data


def _tags_in(data: dict[str, Any]) -> tuple[str, ...]:
    tags = data.get("metatags")
    if isinstance(tags, str):
        tags = tags.split(",")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("'metatags' must be a list of texts, or one text with commas")
    kept = tuple(tag.strip() for tag in tags if tag.strip())
    if not kept:
        raise ValueError("'metatags' is empty")
    return kept


def _embedded_answer(text: str, key: str) -> dict[str, Any]:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError(f"{key!r} holds no JSON object")
    try:
        found: dict[str, Any] = json.loads(text[start : end + 1])
    except json.JSONDecodeError as exc:
        raise ValueError(f"the JSON inside {key!r} is broken: {exc.msg}") from exc
    except RecursionError:
        raise ValueError(f"the JSON inside {key!r} is broken: nested too deeply") from None
    return found


class RoleLibrary:
    """The roles of one data folder, read when asked for."""

    def __init__(self, data: Path, tuning: Path) -> None:
        self._folder = data / "roles"
        self._tuning = tuning
        self._loaded: dict[str, Role] = {}
        #: What was wrong in the files read so far.
        self.problems: list[Problem] = []

    def names(self) -> list[str]:
        """Every role there is a file for, sorted; raises SetupError where there is none."""
        found = sorted(path.stem for path in self._folder.glob("*.toml"))
        if not found:
            raise SetupError(
                f"No roles found in {str(self._folder)!r}.", hint="Run from the project folder, or set DATA_DIR."
            )
        return found

    def load(self, name: str) -> Role:
        """The role of that name; raises UnsupportedRequest with a suggestion where there is none."""
        if name in self._loaded:
            return self._loaded[name]
        names = self.names()
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."
            raise UnsupportedRequest(f"There is no role {name!r}.", hint=hint)
        path = self._folder / f"{name}.toml"
        try:
            role = parse_role(name, path.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as exc:
            raise SetupError(f"{path}: {exc}.") from exc
        self._loaded[name] = replace(role, examples=self._read_examples(name))
        return self._loaded[name]

    def load_usable(self) -> list[Role]:
        """Every role whose file is sound; the others are named in ``problems``."""
        roles = []
        for name in self.names():
            try:
                roles.append(self.load(name))
            except SetupError as exc:
                problem = Problem(self._folder / f"{name}.toml", None, exc.message.partition(": ")[2])
                if problem not in self.problems:
                    self.problems.append(problem)
        if not roles:
            raise SetupError(f"No usable role in {str(self._folder)!r}: {self.problems[0]}")
        return roles

    def _read_examples(self, name: str) -> tuple[Example, ...]:
        path = self._tuning / f"{name}.jsonl"
        if not path.exists():
            return ()
        examples = []
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if not line.strip():
                continue
            try:
                examples.append(parse_example(line.decode("utf-8")))
            except (ValueError, UnicodeDecodeError) as exc:
                self.problems.append(Problem(path, number, str(exc)))
        return tuple(examples)


class SeededDealer:
    """Decks that start full and follow one seed: the same seed deals the same choices anywhere."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._decks: dict[str, tuple[random.Random, list[str]]] = {}

    def deal(self, hands: Sequence[Hand]) -> list[list[str]]:
        dealt = []
        for hand in hands:
            rng, rest = self._decks.setdefault(hand.deck, (random.Random(f"{self._seed}/{hand.deck}"), []))
            dealt.append(draw(rng, rest, hand.cards, hand.count))
        return dealt


def draw(rng: random.Random, rest: list[str], cards: Sequence[str], count: int) -> list[str]:
    """Take ``count`` cards off the pile ``rest`` (changed in place), shuffling a new pile whenever it is empty."""
    dealt: list[str] = []
    while len(dealt) < count:
        if not rest:
            rest.extend(cards)
            rng.shuffle(rest)
            if dealt and len(rest) > 1 and rest[-1] == dealt[-1]:
                rest.reverse()
        dealt.append(rest.pop())
    return dealt


def make_briefs(
    roles: Sequence[Role], dealer: Dealer, count: int, *, rng: random.Random, theme: str = "", language: str = "en"
) -> list[Brief]:
    """Deal ``count`` briefs: first the roles, then every list of each role, in two deals."""
    by_name = {role.name: role for role in roles}
    names = list(by_name)
    chosen = names * count if len(names) == 1 else dealer.deal([Hand("roles", names, count)])[0]
    counts = Counter(chosen)
    columns = _columns(dealer, [(by_name[name], counts[name]) for name in sorted(counts)])
    rows: Counter[str] = Counter()
    briefs = []
    for name in chosen:
        row = rows[name]
        rows[name] += 1
        choices = {key: columns[name, key][row] for key in by_name[name].lists}
        each = len(columns[name, "tags"]) // counts[name]
        tags = tuple(dict.fromkeys(columns[name, "tags"][row * each : (row + 1) * each]))
        briefs.append(
            Brief(
                role=by_name[name],
                choices=choices,
                tags=tags,
                theme=theme,
                language=language,
                seed=rng.getrandbits(48),
            )
        )
    return briefs


def _columns(dealer: Dealer, wanted: Sequence[tuple[Role, int]]) -> dict[tuple[str, str], list[str]]:
    """What is dealt from every list of these roles, by role and list; ``TAGS_PER_BRIEF`` tags for each brief."""
    hands: dict[tuple[str, str], Hand] = {}
    for role, count in wanted:
        for key, cards in sorted(role.lists.items()):
            hands[role.name, key] = Hand(f"{role.name}/{key}", cards, count)
        tags = count * min(TAGS_PER_BRIEF, len(role.tags))
        hands[role.name, "tags"] = Hand(f"{role.name}/tags", role.tags, tags)
    return dict(zip(hands, dealer.deal(list(hands.values())), strict=True))


def compose_prompt(brief: Brief, title: str, description: str, metatags: Sequence[str]) -> str:
    """Fill the role's template with what was written and what was chosen."""
    words = {"title": title, "description": description.rstrip(), "tags": ", ".join(metatags), **brief.choices}
    return brief.role.template.format_map(words).strip()
