"""No two concepts are alike: among many, the same counts as a repetition as if each were compared with each."""

from __future__ import annotations

import pytest

from tests.run_tools import dice
from tirada.engine.novelty import NEAR, NoveltyIndex, _sorted_words

WORDS = [
    f"{a}{b}{c}" for a in ("lan", "riv", "mor", "tes") for b in ("tern", "er", "ning", "sel") for c in ("", "s", "ish")
]
KANJI = "一盏灯在海边的夜里照着归来船只和远山雾霭树林小路月光星河雪花春风秋雨"


def texts(count: int, letters: bool = False) -> list[tuple[str, str]]:
    rolls = dice(f"novelty/{letters}")
    if letters:
        return [(f"{n}", "".join(rolls.choices(KANJI, k=60))) for n in range(count)]
    return [(f"Title {n}", " ".join(rolls.choices(WORDS, k=34))) for n in range(count)]


def test_a_paraphrase_is_found_among_thousands_as_by_comparing_each_with_each() -> None:
    from rapidfuzz import fuzz, process

    rolls = dice("paraphrases")
    existing = texts(1500)
    sorted_words = [_sorted_words(*one) for one in existing]
    index = NoveltyIndex(lambda: existing)
    near = 0
    for _ in range(300):
        title, description = rolls.choice(existing)
        words = description.split()
        for _ in range(rolls.randint(1, 14)):
            words[rolls.randrange(len(words))] = rolls.choice(WORDS)
        told_again = f"{title} now", " ".join(words)
        found = process.extractOne(_sorted_words(*told_again), sorted_words, scorer=fuzz.ratio, score_cutoff=NEAR)
        expected = existing[found[2]][0] if found else None
        near += found is not None
        assert index.claim(*told_again, near=True, instead_of=told_again) == expected
        if expected is None:
            existing.append(told_again)
            sorted_words.append(_sorted_words(*told_again))
    assert 50 < near < 300


def test_scripts_without_spaces_are_compared_by_their_letters() -> None:
    existing = texts(1200, letters=True)
    index = NoveltyIndex(lambda: existing)
    assert index.claim("新", existing[700][1][:-2] + "火车", near=True) == "700"
    assert index.claim("新", "".join(reversed(existing[700][1])), near=True) is None
    assert index.rejected == 1


@pytest.mark.parametrize("text", ["", "a", "ab", "\ud83d", "🦊"])
def test_texts_too_short_for_three_letters(text: str) -> None:
    index = NoveltyIndex(lambda: [("Lamp", "a lamp by the sea")])
    assert index.claim(text, "", near=True) is None
    assert index.claim(text, "", near=True) == text


def test_what_is_replaced_does_not_stand_in_its_own_way() -> None:
    old = ("Lamp", "an old lamp by the grey sea at dusk")
    index = NoveltyIndex(lambda: [old, ("Boat", "a red boat on the quiet river in the morning")])
    again = ("Lamp", "an old lamp by the grey sea at dusk again")
    assert index.claim(*again, near=True) == "Lamp"
    assert index.claim(*again, near=True, instead_of=old) is None
