"""English word craft for the composer: articles, capitals, titles, and the core of a noun phrase.

Invariant: every function here is pure, and none makes its text longer than what it was given plus an article.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Words a title keeps small, unless they stand first or last.
SMALL_WORDS = frozenset(
    "a an and as at but by for from in into nor of on onto or over per the to via with".split()
)
PREPOSITIONS = frozenset(
    "about above across after against along alongside amid among around as at atop before behind below beneath beside "
    "between beyond by down during for from in inside into like near of off on onto out outside over past since through "
    "throughout to toward towards under underneath until up upon via with within without".split()
)
_DETERMINERS = frozenset("a an the its his her their our my your this that these those each every another".split())
#: Words that look like participles and are nouns, or adjectives before one.
_NOT_ACTIONS = frozenset(
    "building ceiling clearing clothing crossing dressing drawing during earring evening gathering glowing-eyed king "
    "landing lightning lining living morning offering opening painting railing ring setting sibling spring standing "
    "string swing thing wedding wing nothing something everything anything".split()
)
#: Participles left hanging at the end of a cut phrase ("a chess set left").
_DANGLING = frozenset(
    "left seen lost built caught held torn worn drawn laid set hung made kept half alone together and or but still just "
    "mid seated perched tucked lit dressed wrapped covered filled bent spread".split()
)
_AN_SOUNDS = re.compile(r"(?i)(?:[aeiou]|hour|honest|honou?r|heir|8|11\b|18\b)")
_A_SOUNDS = re.compile(r"(?i)(?:one\b|once|uni(?!n|m)|use|usu|eu|ewe|ubiq|utop|utili|u-)")
_WORD_START = re.compile(r"[^\W_]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def tidy(text: str, most: int) -> str:
    """One line without control characters, doubled spaces or closing punctuation, at most ``most`` characters."""
    return clip(" ".join(_CONTROLS.sub(" ", text).split()), most).rstrip(" .,;:!?")


def clip(text: str, most: int) -> str:
    """The text, or as many whole words of it as fit; a single long word is cut."""
    if len(text) <= most:
        return text
    cut = text[: most + 1].rsplit(" ", 1)[0] if " " in text[: most + 1] else text[:most]
    words = cut.rstrip(" ,;:-").split(" ")
    while len(words) > 1 and words[-1].casefold() in SMALL_WORDS:
        words.pop()
    return " ".join(words)


def capital(text: str) -> str:
    """The text with its first letter large, except in a word that has capitals of its own (iPhone)."""
    first = text.partition(" ")[0]
    if any(char.isupper() for char in first[1:]):
        return text
    return text[:1].upper() + text[1:]


def with_article(phrase: str) -> str:
    """``phrase`` after a or an, by its sound."""
    vowel = _AN_SOUNDS.match(phrase) and not _A_SOUNDS.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def bare(phrase: str) -> str:
    """The phrase without its leading article."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first.casefold() in ("a", "an", "the") else phrase


@lru_cache(maxsize=16384)
def title_case(text: str) -> str:
    """Title Case with small words small; first and last words, and those after a colon, are always large."""
    words = text.split(" ")
    last = len(words) - 1
    cased = []
    after_stop = True
    for index, word in enumerate(words):
        if word.casefold() in SMALL_WORDS and word.islower() and not after_stop and index != last:
            cased.append(word)
        else:
            cased.append("-".join(_cap_word(part) for part in word.split("-")) if "-" in word else _cap_word(word))
        after_stop = word.endswith((":", "—", "?", "!", "."))
    return " ".join(cased)


def _cap_word(word: str) -> str:
    if any(char.isupper() for char in word):
        return word
    found = _WORD_START.search(word)
    if found is None:
        return word
    at = found.start()
    return word[:at] + word[at].upper() + word[at + 1 :]


@lru_cache(maxsize=16384)
def head(phrase: str) -> str:
    """What a scene is about, without what it does: "a fox crossing a frozen stream" -> "a fox"; "" where unclear."""
    words = phrase.split(" ")
    start = 1 if words[0].casefold() in _DETERMINERS else 0
    end = len(words)
    for index in range(start + 1, len(words)):
        word = words[index]
        if word in PREPOSITIONS and word != "of" or word in ("who", "that", "where", "which", "while", "mid-leap"):
            end = index
            break
        if _acts(words, index):
            end = index
            break
        if word.endswith(","):
            words = [*words[:index], word.rstrip(","), *words[index + 1 :]]
            end = index + 1
            break
    kept = words[:end]
    while len(kept) > start + 1 and (kept[-1].casefold() in _DANGLING or kept[-1].endswith(("ed", "ly"))):
        kept.pop()
    return " ".join(kept) if len(kept) <= 6 and kept[-1].casefold() not in SMALL_WORDS else ""


def _acts(words: list[str], index: int) -> bool:
    """True where the word is a participle with something after it that a noun would not have."""
    word = words[index].rstrip(",")
    if not word.endswith("ing") or word in _NOT_ACTIONS or len(word) < 5:
        return False
    after = words[index + 1] if index + 1 < len(words) else ""
    return not after or words[index].endswith(",") or after in _DETERMINERS or after in PREPOSITIONS


@lru_cache(maxsize=16384)
def site(place: str) -> str:
    """The thing a place is named after, without article: "at the edge of a birch forest" -> "birch forest"."""
    words = place.split(" ")
    cut = 0
    for index, word in enumerate(words[:-1]):
        if word in PREPOSITIONS and words[index + 1] in ("a", "an", "the"):
            cut = index + 2
            if word != "of":
                # The first article after a preposition starts the name; "the edge of a forest" goes on to the forest.
                rest = words[index + 2 : index + 4]
                if "of" not in rest:
                    break
            else:
                break
    kept: list[str] = []
    for word in words[cut:]:
        if kept and (word in PREPOSITIONS and word != "of" or word in ("where", "and", "that")):
            break
        kept.append(word.rstrip(","))
        if word.endswith(","):
            break
    return " ".join(kept) if cut and 0 < len(kept) <= 5 else ""


@lru_cache(maxsize=16384)
def short(phrase: str) -> str:
    """A noun phrase up to its first preposition or comma: "low winter sun through mist" -> "low winter sun"."""
    words = phrase.split(" ")
    for index, word in enumerate(words):
        if index and word in PREPOSITIONS and word != "of" or _acts(words, index) and index > 1:
            return " ".join(words[:index])
        if word.endswith(","):
            return " ".join([*words[:index], word[:-1]])
    return phrase
