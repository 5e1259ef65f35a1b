"""The offline writer: composes concepts from a brief's choices with the sentences of ``models.writers.grammar``.

Invariant: the brief alone decides every word (and, on a clash with what the novelty memory holds, the next try does).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from models.contract import DESCRIPTION_MAX, TAGS_MAX, TITLE_MAX, Brief, Concept, Novelty
from models.errors import BadAnswer, ModelError, UnsupportedRequest
from models.roles import compose_prompt
from models.writers import grammar, phrases
from models.writers.checks import TAG_MAX, ForbiddenNames
from models.writers.themes import Theme, read_theme

#: How often a concept is rewritten because the memory knows it already.
MAX_TRIES: Final = 12
#: Entries are kept this short, so that scene, place and the longest theme fit one description whatever a user writes.
_ENTRY_MAX = 110
#: What a title should keep to, in characters: "Sea: Heron" says too little.
_TITLE_LEAST, _TITLE_WISH = 14, 76
#: Of a hundred descriptions with a plain theme: where it is the subject, and where it is the motif of the scene. The
#: others end with it. Of those with a quoted theme: where it comes first.
_AS_SUBJECT, _AS_MOTIF, _QUOTED_FIRST = 46, 34, 60
#: How many titles of a hundred name the theme beside the scene.
_THEMED_TITLES_SHARE = 45

#: For roles with too little to tag.
_LAST_TAGS = ("picture", "image", "artwork", "composition", "visual", "motif")

_FACETS = ("scene", "place", "light", "element", "mood", "palette", "style", "render", "camera", "lens")
#: A choice that a sentence may use, as a bit; "tone" is the mood where it can stand before a noun.
_BITS = {facet: 1 << index for index, facet in enumerate((*_FACETS, "tone"))}
#: Choice as the role names it -> facet as the grammar does, and what an entry may not repeat from the frames around it.
_DERIVED = {
    "scene_place": ("scene", "place"),
    "a_mood": ("mood", "tone"),
    "tone": ("mood", "tone"),
    "subject": ("scene",),
    "head": ("scene",),
    "head_a": ("scene",),
    "site": ("place",),
    "glow": ("light",),
}
_CHOICES = {facet: facet for facet in _FACETS} | {"environment": "place"}
_ECHOES = {
    "element": re.compile(r"(?i)^(?:and )?with\s+"),
    "light": re.compile(r"(?i)^(?:lit by|in|under)\s+"),
    "mood": re.compile(r"(?i)^(?:the )?mood (?:is|of)\s+"),
    "palette": re.compile(r"(?i)^(?:a palette of|in)\s+"),
}
_T = TypeVar("_T")
_SLOT = re.compile(r"\{(\w+)\}")
_DOUBLED = re.compile(r"\b(\w+)\W+\1\b")
_LIGHT = re.compile(r"\b(?:light|glow|lit)\b")
_ENUMERATION = re.compile(r",? (?:and|but) |, ")
_ALTERNATIVES = re.compile(r"<([^<>]*)>")


class Frame(NamedTuple):
    """One sentence pattern: the choices it uses as bits, and its wordings."""

    uses: int
    wordings: tuple[str, ...]


def _frame(pattern: str) -> Frame:
    # A scene and its place meet in most frames, and how they join depends on the scene.
    pattern = pattern.replace("{scene} {place}", "{scene_place}").replace("{Scene} {place}", "{Scene_place}")
    pieces = _ALTERNATIVES.split(pattern)
    choices = [piece.split("|") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    uses = 0
    for slot in _SLOT.findall(pattern):
        for facet in _DERIVED.get(slot.lower(), (slot.lower(),)):
            uses |= _BITS.get(facet, 0)
    return Frame(uses, tuple("".join(parts) for parts in itertools.product(*choices)))


_TITLES = tuple(_frame(pattern) for pattern in grammar.TITLES)
_THEMED_TITLES = tuple(_frame(pattern) for pattern in grammar.THEMED_TITLES)
_MOTIF_TITLES = tuple(_frame(pattern) for pattern in grammar.MOTIF_TITLES)
_OPENINGS = tuple(_frame(pattern) for pattern in grammar.OPENINGS)
_FOLLOWERS = tuple(_frame(pattern) for pattern in grammar.FOLLOWERS)
_SUBJECTS = tuple(_frame(pattern) for pattern in grammar.SUBJECTS)
_MOTIFS = tuple(_frame(pattern) for pattern in grammar.MOTIFS)
_QUOTED = tuple(_frame(pattern) for pattern in grammar.QUOTED)
_THEME_CLOSERS = tuple(_frame(pattern) for pattern in grammar.THEME_CLOSERS)
_QUOTED_CLOSERS = tuple(_frame(pattern) for pattern in grammar.QUOTED_CLOSERS)


@lru_cache(maxsize=4096)
def _usable(frames: tuple[Frame, ...], available: int) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames if not frame.uses & ~available)


@lru_cache(maxsize=4096)
def _placing(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames if frame.uses & _BITS["place"])


@lru_cache(maxsize=32768)
def _entry(facet: str, raw: str) -> str:
    """A role's entry, ready to stand inside a sentence."""
    text = phrases.tidy(raw, _ENTRY_MAX)
    echo = _ECHOES.get(facet)
    # An entry of signs alone ("?") leaves nothing; its own name is then the least wrong thing to say.
    return (echo.sub("", text) if echo else text) or text or facet


@lru_cache(maxsize=512)
def _slots_of(pattern: str) -> tuple[str, ...]:
    return tuple(_SLOT.findall(pattern))


def _slots(choices: Mapping[str, str]) -> dict[str, str]:
    """Every slot the choices can fill, in both cases."""
    words: dict[str, str] = {}
    for choice, raw in choices.items():
        facet = _CHOICES.get(choice)
        if facet is not None:
            text = _entry(facet, raw)
            words[facet] = text
            words[facet.capitalize()] = phrases.capital(text)
    scene, place = words["scene"], words["place"]
    # "a ram standing still, breath showing" would otherwise show its breath "on the bank of a river", and "a pangolin
    # with its claws tucked in" sit "in in a clearing".
    apart = "," in scene or scene.rpartition(" ")[2] in phrases.PREPOSITIONS
    words["scene_place"] = f"{scene}, {place}" if apart else f"{scene} {place}"
    words["Scene_place"] = phrases.capital(words["scene_place"])
    if phrases.is_plain_adjective(words["mood"]):
        words |= {"tone": words["mood"], "Tone": words["Mood"], "a_mood": phrases.with_article(words["mood"])}
        words["A_mood"] = phrases.capital(words["a_mood"])
    return words


def _clumsy(text: str) -> bool:
    """True where two pieces begin the same way, which reads like a form being filled in."""
    lower = text.lower()
    if lower.count("with ") > 1 or lower.count("lit by") > 1 or lower.count(",") > 4:
        return True
    return _DOUBLED.search(lower) is not None or len(_LIGHT.findall(lower)) > 1


def _repeats(title: str) -> bool:
    """True where a word of weight stands twice ("Autumn in Autumn Sun")."""
    words = [word for word in title.lower().replace(":", " ").replace(",", " ").split() if len(word) > 3]
    return len(set(words)) < len(words)


def _parts(enumeration: str) -> list[str]:
    """ "rust, teal and bone white" as its parts."""
    return _ENUMERATION.split(enumeration)


class ComposerWriter:
    """Writes in English, without a key or a network, thousands of concepts a second."""

    name = "composer"
    model = "composer"
    batch = 200
    max_in_flight = 1
    one_role = False

    def __init__(self, novelty: Novelty | None = None, forbidden: ForbiddenNames | None = None) -> None:
        self._novelty = novelty
        self._forbidden = forbidden

    def price(self, concepts: int) -> Decimal | None:
        """Nothing, however many."""
        return Decimal(0)

    def write(self, briefs: Sequence[Brief]) -> list[Concept | ModelError]:
        """One concept or one error per brief, in order."""
        return [self._write_one(brief) for brief in briefs]

    def close(self) -> None:
        """Nothing is held."""

    def _write_one(self, brief: Brief) -> Concept | ModelError:
        if brief.language != "en":
            return UnsupportedRequest(
                f"The composer writes English only, not {brief.language!r}.",
                hint="Use --writer gpt with OPENAI_API_KEY for other languages.",
            )
        if self._forbidden is not None and (name := self._forbidden.find(brief.theme)):
            return UnsupportedRequest(f"The theme names {name!r}, which data/forbidden_names.toml forbids.")
        draft = _Draft(brief)
        for _ in range(MAX_TRIES):
            description = draft.description()
            title = draft.title(description)
            if self._novelty is not None and self._novelty.claim(title, description, near=False) is not None:
                continue
            metatags = draft.metatags()
            return Concept(
                title=title,
                description=description,
                metatags=metatags,
                prompt=compose_prompt(brief, title, description, metatags),
                negative=brief.role.negative,
                role=brief.role.name,
                writer=self.name,
                model=self.model,
            )
        return BadAnswer(f"The composer found no new wording for {title!r} in {MAX_TRIES} tries.")


class _Draft:
    """One brief on its way to a concept; every call goes on with the brief's own dice."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._dice = random.Random(brief.seed)
        self._theme: Theme | None = read_theme(brief.theme)
        #: The choices the description speaks of, as bits.
        self._used = 0
        self._words = _slots(brief.choices)
        first = self._words["place"].partition(" ")[0]
        #: "a dog waiting beside a basket beside a pool": such a scene and place are better kept apart.
        self._place_echoes = first not in ("in", "on", "at") and f" {first} " in self._words["scene"]
        if self._theme is not None:
            self._words["theme"] = self._theme.text
            self._words["Theme"] = phrases.capital(self._theme.text)
        self._available = 0
        for facet, bit in _BITS.items():
            if facet in self._words:
                self._available |= bit

    def description(self) -> str:
        """Two to four sentences that fit the limits."""
        frames, closers = self._theme_frames()
        rest, closer = DESCRIPTION_MAX, ""
        if closers:
            closer = self._pick(self._pick(closers).wordings).format_map(self._words)
            rest -= len(closer) + 1
        opening, used = self._sentence(_usable(frames, self._available), rest)
        if not opening:
            opening, used, closer, rest = self._shortest(), _BITS["scene"], "", DESCRIPTION_MAX
        sentences, self._used = [opening], used
        closer_at = self._below(2) if closer else -1
        if closer_at == 1:
            sentences.append(closer)
        self._follow(sentences, rest - len(opening), wish=max(1, 150 + self._below(130) - len(opening)))
        if closer_at == 0:
            sentences.append(closer)
        return " ".join(sentences)

    def _theme_frames(self) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        """What to open with, and what to close with where the opening leaves the theme out."""
        if self._theme is None:
            return _OPENINGS, ()
        roll = self._below(100)
        if not self._theme.plain:
            return (_QUOTED, ()) if roll < _QUOTED_FIRST else (_OPENINGS, _QUOTED_CLOSERS)
        if roll < _AS_SUBJECT:
            return _SUBJECTS, ()
        return (_MOTIFS, ()) if roll < _AS_SUBJECT + _AS_MOTIF else (_OPENINGS, _THEME_CLOSERS)

    def _follow(self, sentences: list[str], rest: int, wish: int) -> None:
        """Add sentences on what was left out, about ``wish`` characters of them and at most ``rest``."""
        # A theme may have taken the scene's part; then the scene stays out altogether.
        open_facets = self._available & ~self._used & ~_BITS["scene"]
        while wish > 0 and open_facets:
            frames = _usable(_FOLLOWERS, open_facets)
            if open_facets & _BITS["place"]:
                # Where it is comes first: the template of a role need not say it again.
                frames = _placing(frames)
            sentence, uses = self._sentence(frames, rest - 1, after=sentences[-1])
            if not sentence:
                break
            sentences.append(sentence)
            self._used |= uses
            open_facets &= ~uses
            rest -= len(sentence) + 1
            wish -= len(sentence) + 1

    def _shortest(self) -> str:
        text = f"{self._words['Scene']} {self._words['place']}."
        return text if self._theme is None else f"{self._words['Scene']}. The theme: “{self._theme.text}”."

    def _sentence(self, frames: Sequence[Frame], most: int, after: str = "") -> tuple[str, int]:
        """A sentence of at most ``most`` characters and the choices it uses; ("", 0) where none was found."""
        previous = after[:4]
        best, best_uses = "", 0
        for _ in range(8 if frames else 0):
            frame = self._pick(frames)
            wording = self._pick(frame.wordings)
            text = wording.format_map(self._words)
            if len(text) > most:
                continue
            best, best_uses = text, frame.uses
            echoing = self._place_echoes and "cene_place}" in wording
            if not (echoing or text[:4] == previous or _clumsy(text)):
                break
        return best, best_uses

    def title(self, description: str) -> str:
        """A title that names only what the description does, and does not repeat its first words."""
        words = self._title_words()
        scene_named = self._used & _BITS["scene"]
        frames = _TITLES
        if self._theme is not None and self._theme.titled:
            if not scene_named:
                frames = _THEMED_TITLES
            elif self._below(100) < _THEMED_TITLES_SHARE:
                frames = _MOTIF_TITLES
        frames = _usable(frames, self._used)
        start = description[:24].casefold()
        for _ in range(10):
            pattern = self._pick(frames).wordings[0]
            if any(not words[slot] for slot in _slots_of(pattern)):
                continue
            text = pattern.format_map(words)
            if not _TITLE_LEAST <= len(text) <= _TITLE_WISH or _clumsy(text) or _repeats(text):
                continue
            if not start.startswith(text[:24].casefold()):
                return phrases.title_case(text)
        plainest = words["subject"] if scene_named else f"{words['theme']} {words['place']}"
        return phrases.title_case(phrases.clip(plainest, TITLE_MAX))

    def _title_words(self) -> dict[str, str]:
        words = self._words
        scene, place = words["scene"], words["place"]
        head = phrases.head(scene)
        return words | {
            "theme": self._theme.text if self._theme else "",
            "subject": phrases.bare(scene),
            "head": phrases.bare(head),
            "head_a": head,
            "site": phrases.site(place),
            "glow": phrases.short(words["light"]),
        }

    def metatags(self) -> tuple[str, ...]:
        """The theme, what the picture shows, and the role's own tags, mixed."""
        words = self._words
        own = self._brief.tags
        shown = []
        if self._used & _BITS["scene"]:
            shown.append(phrases.uncounted(phrases.head(words["scene"])))
        if self._used & _BITS["place"]:
            shown.append(phrases.site(words["place"]))
        more = [phrases.bare(phrases.short(words["light"])), words["style"], *_parts(words["palette"])[:2]]
        more.append(_parts(words.get("tone", ""))[0])
        self._dice.shuffle(more)
        wanted = 7 + self._below(TAGS_MAX - 7 + 1)
        themed = list(self._theme.tags) if self._theme else []
        tags: dict[str, str] = {}
        # The role's tags suit the role and not always the scene, so most tags are what the picture shows.
        rest = [*more[3:], *own[3:], *words["place"].split(), *words["element"].split(), *_LAST_TAGS]
        for raw in [*themed, *shown, *own[:3], *more[:3], *rest]:
            tag = phrases.tidy(raw.strip(" #\"'“”‘’()"), 4 * TAG_MAX)
            if (len(tag) > 2 or raw in themed) and len(tag) <= TAG_MAX and tag.casefold() not in phrases.PREPOSITIONS:
                tags.setdefault(tag.casefold(), tag)
            if len(tags) == wanted:
                break
        return tuple(tags.values())

    def _below(self, end: int) -> int:
        # A third of the cost of randrange, and as fair as these choices need.
        return int(self._dice.random() * end)

    def _pick(self, items: Sequence[_T]) -> _T:
        return items[int(self._dice.random() * len(items))]
