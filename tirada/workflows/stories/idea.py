"""Reads an idea: who the story is about, what they do, and with whom.

Invariant: reading is pure and never fails; of an idea that it cannot take apart, the whole is the hero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DETERMINERS = (
    "a",
    "an",
    "the",
    "two",
    "three",
    "some",
    "one",
    "my",
    "our",
    "his",
    "her",
    "its",
    "their",
    "every",
    "no",
)
#: How a hero begins that is more than one.
SEVERAL = ("two", "three", "four", "some", "many", "all")
#: After these a thing begins that says more about the one before.
JOINTS = {
    *("with", "in", "on", "at", "by", "from", "under", "over", "behind", "near", "who", "that", "which", "and", "but"),
    *("while", "because", "when", "until", "for", "to", "into", "of", "through", "across", "beneath", "between"),
    *("beyond", "during", "without", "before", "after", "about"),
}
LEADS = re.compile(
    r"^(?:write |tell )?(?:me )?(?:(?:a|an|the) )?(?:story|tale|book) (?:about|of|in which|where) ", re.I
)
IRREGULAR = {"goes": "go", "has": "have", "is": "be", "does": "do", "loses": "lose", "dies": "die", "lies": "lie"}
#: Verbs that are not a deed yet -> the deed they come to; {} is what follows the verb.
TURNS = {
    "wants to": "{}",
    "tries to": "{}",
    "decides to": "{}",
    "wishes to": "{}",
    "has to": "{}",
    "needs to": "{}",
    "plans to": "{}",
    "starts to": "{}",
    "begins to": "{}",
    "longs to": "{}",
    "learns how to": "learn to {}",
    "dreams of": "make the dream of {} come true",
    "loses": "find {} again",
    "misses": "find {} again",
    "forgets": "remember {}",
    "fears": "make peace with {}",
    "hates": "make peace with {}",
    "is afraid of": "stop being afraid of {}",
    "is scared of": "stop being afraid of {}",
}
#: What follows these says nothing of what is to be done.
EMPTY = ("is", "has", "lives", "are", "have", "was")


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """An idea taken apart."""

    #: With its article: "a shy lighthouse keeper". Or a name alone: "Mira".
    hero: str
    #: The infinitive: "befriend a whale"; "" where the idea names no deed.
    deed: str = ""
    #: With its article: "a whale"; "" where nobody keeps the hero company.
    friend: str = ""

    #: she, he or they, where the idea says so.
    pronoun: str = ""

    @property
    def named(self) -> bool:
        """Is the hero a name?"""
        return self.hero[:1].isupper() and self.hero.split()[0].casefold() not in DETERMINERS


def read(text: str, lore: Mapping[str, Any]) -> Idea:
    """Take an idea apart; ``lore`` is what ``worlds.toml`` says."""
    words = LEADS.sub("", " ".join(text.split()).rstrip(" .!?…")).split()
    if not any(char.isalpha() for char in "".join(words)):
        return Idea(hero="a child")
    at = _verb(words, lore["verbs"]["known"])
    if at is None:
        return _without_deed(words, lore)
    hero = _bare(words[:at])
    verb, rest = words[at].casefold(), words[at + 1 :]
    friend = _company(verb, rest, lore)
    return Idea(hero=_lowered(hero), deed=_deed(verb, rest), friend=friend, pronoun=_pronoun(hero, rest))


def head(phrase: str) -> str:
    """The noun of a phrase: ``a shy lighthouse keeper with a lamp`` -> keeper."""
    words = phrase.split()
    ends = (at for at, word in enumerate(words) if at and word.casefold() in (*JOINTS, *DETERMINERS))
    end = next(ends, len(words))
    return words[end - 1].casefold().strip(",.;:'’") if words else ""


def without_article(phrase: str) -> str:
    """``a whale`` -> whale."""
    first, _, rest = phrase.partition(" ")
    return rest if first.casefold() in DETERMINERS and rest else phrase


def is_being(phrase: str, lore: Mapping[str, Any]) -> bool:
    """Can it keep somebody company?"""
    return is_person(phrase, lore) or _noun(phrase) in lore["creatures"]["nouns"]


def is_person(phrase: str, lore: Mapping[str, Any]) -> bool:
    """Does the phrase name a human being, as far as its noun tells?"""
    noun, people = _noun(phrase), lore["people"]
    if noun in people["not_people"] or noun in lore["creatures"]["nouns"]:
        return False
    return noun in people["nouns"] or bool(re.search(r"[a-z]{2}(?:er|or|ist|ian|man|woman)$", noun))


def _noun(phrase: str) -> str:
    return head(phrase)


def _verb(words: Sequence[str], known: Sequence[str]) -> int | None:
    """Where the verb of the sentence is: a known one, or what looks like one between a noun and an object."""
    lowered = [word.casefold().strip(",;:") for word in words]
    several = bool(words) and (lowered[0] in SEVERAL or "and" in lowered)
    forms = {*known, *(infinitive(verb) for verb in known)} if several else {*known}
    for at, word in enumerate(lowered[1:], start=1):
        if lowered[at - 1] in (*DETERMINERS, "and"):
            continue
        if word in forms:
            return at
        ends = word.endswith("s") and not word.endswith(("ss", "us", "'s", "’s")) and len(word) > 3
        after = lowered[at + 1] if at + 1 < len(words) else ""
        if ends and at >= 2 and (after in DETERMINERS or after in ("to", "how", "for", "into")):
            return at
    return None


def _bare(words: Sequence[str]) -> str:
    """The hero's phrase without a dangling ``who``."""
    kept = list(words)
    while len(kept) > 1 and kept[-1].casefold().strip(",") in (
        "who",
        "that",
        "which",
        "and",
        "also",
        "always",
        "never",
    ):
        kept.pop()
    return " ".join(kept).strip(",;: ")


def _lowered(phrase: str) -> str:
    first, space, rest = phrase.partition(" ")
    return f"{first.casefold()}{space}{rest}" if first.casefold() in DETERMINERS else phrase


def _pronoun(hero: str, rest: Sequence[str]) -> str:
    """By the first word of the deed that speaks of the hero: ``loses her tail``."""
    if hero.split()[0].casefold() in SEVERAL:
        return "they"
    for word in rest:
        for pronoun, forms in (("she", ("she", "her", "herself")), ("he", ("he", "his", "him", "himself"))):
            if word.casefold().strip(",.;") in forms:
                return pronoun
    return ""


def _without_deed(words: Sequence[str], lore: Mapping[str, Any]) -> Idea:
    lowered = [word.casefold() for word in words]
    if "and" in lowered[1:-1]:
        at = lowered.index("and", 1)
        hero, other = " ".join(words[:at]).strip(","), _phrase(words[at + 1 :])
        company = is_being(other, lore) and other.split()[0].casefold() in DETERMINERS
        return Idea(hero=_lowered(hero), friend=_lowered(other) if company else "")
    return Idea(hero=_lowered(" ".join(words)))


def _company(verb: str, rest: Sequence[str], lore: Mapping[str, Any]) -> str:
    """Whom the deed brings in; "" for a thing."""
    if verb not in lore["verbs"]["company"] or not rest or rest[0].casefold() not in ("a", "an", "the"):
        return ""
    phrase = _lowered(_phrase(rest))
    return phrase if is_being(phrase, lore) or verb in ("befriends", "meets", "adopts", "tames") else ""


def _phrase(words: Sequence[str]) -> str:
    end = next((at for at, word in enumerate(words) if at and word.casefold().strip(",") in JOINTS), len(words))
    return " ".join(words[:end]).strip(",;:")


def _deed(verb: str, rest: Sequence[str]) -> str:
    said = " ".join([verb, *rest])
    for turn, becomes in sorted(TURNS.items(), key=lambda pair: -len(pair[0])):
        if said.casefold().startswith(f"{turn} "):
            return becomes.format(said[len(turn) + 1 :])
    if verb in EMPTY:
        return ""
    return " ".join([infinitive(verb), *rest])


def infinitive(verb: str) -> str:
    """``befriends`` -> befriend; ``flies`` -> fly; ``teaches`` -> teach."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    if re.search(r"(?:ss|sh|ch|x|zz|o)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") else verb
