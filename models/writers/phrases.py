"""English word craft for the composer: articles, capitals, titles, and the core of a noun phrase.

Invariant: every function here is pure, and none makes its text longer than what it was given plus an article.
"""

from __future__ import annotations

import re
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


#: Words a title keeps small, unless they stand first or last.
SMALL_WORDS = word_set("a an and as at but by for from in into nor of on onto or over per the to via with o'")
PREPOSITIONS = word_set("""
    about above across after against along alongside amid among around as at atop before behind below beneath beside
    between beyond by down during for from in inside into like near of off on onto out outside over past since through
    throughout to toward towards under underneath until up upon via with within without
""")
_DETERMINERS = word_set("""
    a an the its his her their our my your this that these those each every another
    everything everyone nothing it them
""")
#: Words that, like a preposition, come after a noun and not inside it.
_RELATIVES = word_set(
    "who whose that where which while when what seen left caught held lit asleep awake alone far enough next mid-leap"
)
#: Words that look like participles and are nouns.
_NOT_ACTIONS = word_set("""
    ceiling clothing earring evening king lighting lightning morning nothing railing ring sibling spring string swing
    thing wedding wing something everything anything
""")
#: Nouns as often as participles; only an article after them tells ("painting a wall", "a painting on a wall").
_MAYBE_ACTIONS = word_set("building clearing painting")
#: Nouns only where a place is named ("by a ferry landing with wet cobbles").
_PLACES = word_set("crossing landing opening parking setting")
#: Participles left hanging at the end of a cut phrase ("a chess set left").
_DANGLING = word_set("""
    left seen lost built caught held torn worn drawn laid hung made kept half alone together and or but still just
    mid seated perched tucked lit dressed wrapped covered filled bent spread
    thick long unable stuck close shown cut gone
""")
_ED_NOUNS = word_set("bed riverbed seabed streambed flowerbed shed woodshed watershed sled moped")
_NO_NAMES = SMALL_WORDS | word_set("first last next old young own other only")
_LY_NOUNS = word_set("family butterfly dragonfly firefly fly lily belly jelly assembly")
#: Past participles that do not end in -ed.
_DONE = word_set("""
    bent blown broken built drawn fallen frozen given gone grown hidden hung kept laid lost made risen run shaken
    split spread strewn strung swept taken thrown torn woven worn written wrung
""")
_ADVERBS = word_set("high low wide open half full back so as too just still far flat tight loose upright")
_COUNTS = word_set("a an the one two three four five six seven eight nine ten dozen some several many few half")
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
    first = text.partition(" ")[0].partition("-")[0]
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


def uncounted(phrase: str) -> str:
    """The phrase without leading articles and numbers: "half a watermelon" -> "watermelon"."""
    words = phrase.split(" ")
    while len(words) > 1 and words[0].casefold() in _COUNTS:
        words = words[1:]
    return " ".join(words)


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
            cased.append(_cap_compound(word) if "-" in word else _cap_word(word))
        after_stop = word.endswith((":", "—", "?", "!", "."))
    return " ".join(cased)


def _cap_compound(word: str) -> str:
    first, *parts = word.split("-")
    inner = [part if part in SMALL_WORDS else _cap_word(part) for part in parts[:-1]]
    return "-".join([_cap_word(first), *inner, *map(_cap_word, parts[-1:])])


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
    start = 1 if words[0].casefold() in _DETERMINERS | _COUNTS else 0
    kept = _core(words, start, scene=True)
    return " ".join(kept) if _names(kept, 6) else ""


@lru_cache(maxsize=16384)
def site(place: str) -> str:
    """The thing a place is named after, without article: "at the edge of a birch forest" -> "birch forest"."""
    words = place.split(" ")
    cut = 0
    for index, word in enumerate(words[:-1]):
        if word in PREPOSITIONS and words[index + 1] in ("a", "an", "the"):
            cut = index + 2
            # "the edge of a forest" goes on to the forest; "a forest in the hills" is the forest.
            if word == "of" or "of" not in words[cut : cut + 2]:
                break
    if not cut:
        return ""
    kept = _core(words[cut:], 0)
    return " ".join(kept) if _names(kept, 5) else ""


@lru_cache(maxsize=16384)
def short(phrase: str) -> str:
    """A noun phrase without what follows it: "low winter sun through mist" -> "low winter sun"."""
    words = phrase.split(" ")
    core = " ".join(_core(words, 1 if words[0].casefold() in _DETERMINERS else 0))
    # "light from everywhere at once" says nothing without its end.
    return phrase if bare(core) in ("", "light", "glow", "sunlight", "shade") else core


def _core(words: list[str], start: int, *, scene: bool = False) -> list[str]:
    """The words up to the end of the first noun, which begins at ``start``; none where that is unclear.

    In a scene somebody does something, so that a participle ends the noun; elsewhere it may well be part of it ("a
    thousand drifting spores").
    """
    kept = words[: start + 1]
    for index in range(start + 1, len(words)):
        if _ends_noun(words[index]) or _acts(words, index, scene) or _was_done(words, index):
            break
        kept.append(words[index])
    if any(word.endswith(",") for word in kept):
        return []  # "a small, round owl" or "a lemon, a knife": no telling which
    while len(kept) > start + 1 and _dangles(kept[-1]):
        kept.pop()
    return kept


def _ends_noun(word: str) -> bool:
    return (word in PREPOSITIONS and word != "of") or word in _RELATIVES


def _was_done(words: list[str], index: int) -> bool:
    """True where the word is what was done to the noun before it ("a ribbon twirled high")."""
    if not _is_participle(words[index]) and words[index] not in _DONE:
        return False
    after = words[index + 1] if index + 1 < len(words) else ""
    return not after or after in PREPOSITIONS or after in _DETERMINERS or after in _ADVERBS or after.endswith("ly")


def _names(words: list[str], most: int) -> bool:
    return 0 < len(words) <= most and words[-1] not in _NO_NAMES and not _dangles(words[-1])


def _dangles(word: str) -> bool:
    return word in _DANGLING or _is_participle(word) or (word.endswith("ly") and word not in _LY_NOUNS)


def _is_participle(word: str) -> bool:
    return word.endswith("ed") and not word.endswith("eed") and word not in _ED_NOUNS


def _acts(words: list[str], index: int, scene: bool) -> bool:
    """True where the word is what the noun before it does, and not part of the noun ("an old fishing boat resting")."""
    word = words[index].rstrip(",")
    after = words[index + 1] if index + 1 < len(words) else ""
    if not word.endswith("ing") or word in _NOT_ACTIONS or len(word) < 5:
        return False
    if after in _DETERMINERS or (scene and (not after or words[index].endswith(","))):
        return True
    if word in _MAYBE_ACTIONS or (not scene and word in _PLACES):
        return False
    # "an open sewing box spilling threads": what comes two words later is the action, so this belongs to the noun.
    later = words[index + 2] if index + 2 < len(words) else ""
    part_of_noun = later.endswith("ing") or _is_participle(later)
    return after in PREPOSITIONS or (scene and not part_of_noun)


def is_plain_adjective(mood: str) -> bool:
    """True for adjectives that may stand before a noun: "hushed and expectant", not "solemn as a lullaby"."""
    return not any(word in PREPOSITIONS or word in _DETERMINERS for word in mood.replace(",", " ").split())
