"""Has a text model write the scenes of a campaign's variants, all of them in one answer.

Invariant: an answer that comes out has as many scenes as were asked for, each names the subject, and no two are alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, model_validator

from tirada.workflows.marketing import detail
from tirada.workflows.marketing.catalog import Industry, Style
from tirada.workflows.marketing.prompts import COPY_AREA, Scene, Wish, copy_words, triggered, without_text

if TYPE_CHECKING:
    from models.contract import Scribe

#: Two prompts that share a larger part of their words are alike.
ALIKE = 0.75
PROMPT_MIN, PROMPT_MAX = 80, 1200
#: Tokens of a question, and of each scene of the answer; measured with the ten industries, and rounded up.
QUESTION_TOKENS, SCENE_TOKENS = 1400, 280

RULES = """\
You are the art director of a marketing campaign. Somebody gives you a short wish; you write prompts for an image model,
one for each variant of the campaign.

- Keep the subject of the wish. `subject` names it in English in at most eight words; every prompt contains these very
  words once, and nothing the wish says may be lost or contradicted.
- A prompt is one paragraph of 40 to 90 English words. It says, in this order: the subject and what it does, the place,
  two or three concrete things around it, the light, the viewpoint or lens, the colours, the style.
- Be concrete: name materials, times of day, directions of light. No empty praise (stunning, breathtaking, perfect), no
  "8k", no lists of keywords.
- The variants differ in place, light and viewpoint; do not write the same picture twice.
- No names of real people, living artists, brands or film characters, and nothing that is not to be shown.
- `title` says in three to eight words, in the language you are told, what makes this variant special.
- `setting`, `props`, `light`, `view` and `palette` repeat in a few English words what the prompt chose."""


class _Scene(BaseModel):
    title: str = Field(description="Three to eight words.")
    setting: str
    props: str
    light: str
    view: str
    palette: str
    prompt: str = Field(description="One paragraph of 40 to 90 English words that contains the subject.")


class _Scenes(BaseModel):
    subject: str = Field(description="The subject in English, in at most eight words.")
    scenes: list[_Scene]


def written(wish: Wish, industry: Industry, style: Style | None, scribe: Scribe, language: str) -> list[Scene]:
    """The variants, as the text model writes them; raises ModelError."""
    answer = scribe.answer(RULES, question(wish, industry, style, language), _shape(wish))
    # What must be there word for word is said by us: a model would put it in its own words, or forget it.
    exact = "".join(f", {words}" for words in (*copy_words(wish), *without_text(wish)))
    return [
        Scene(
            title=one.title.strip(),
            prompt=triggered(wish, one.prompt.strip().rstrip(".") + exact),
            facts={
                "setting": one.setting,
                "props": one.props,
                "light": one.light,
                "view": one.view,
                "palette": one.palette,
            },
        )
        for one in answer.scenes
    ]


def question(wish: Wish, industry: Industry, style: Style | None, language: str) -> str:
    """The wish and everything that steers it."""
    lines = [
        f"Wish: {wish.prompt}",
        f"Variants: {wish.variants}",
        f"Language of the titles: {language}",
        f"Shape: {wish.shape}",
        f"Sector: {industry.title}. {industry.about}",
        f"Places it likes, to go beyond: {'; '.join(industry.settings[:6])}",
        f"Do: {'; '.join(industry.do)}",
        f"Do not show: {'; '.join(industry.dont)}",
    ]
    if style is not None:
        lines.append(f"Style of all variants: {style.title} - {style.words}")
    steered = {"Brand (never to be shown as text)": wish.brand, "Tone": wish.tone, "Goal": wish.goal}
    lines += [f"{name}: {text}" for name, text in steered.items() if text]
    if (wish.brand or wish.cta) and not wish.lettering:
        lines.append(f"Keep {COPY_AREA[wish.shape]} calm and empty: copy is set there later.")
    if not wish.lettering:
        lines.append("No text, lettering or logos in the picture.")
    if wish.backdrop:
        lines.append(
            "Only the place is rendered; the product itself is laid over the picture afterwards. Each prompt describes "
            "the empty place with a clear surface in the middle, without the product. `subject` is then the surface "
            "or place the product stands on."
        )
    return "\n".join(lines)


def _shape(wish: Wish) -> type[_Scenes]:
    """The shape of an answer to this very wish."""

    class Scenes(_Scenes):
        @model_validator(mode="after")
        def _sound(self) -> Self:
            _check(self, wish)
            return self

    return Scenes


def _check(answer: _Scenes, wish: Wish) -> None:
    """Raise ValueError for whatever is wrong, all of it at once."""
    faults = []
    if len(answer.scenes) != wish.variants:
        faults.append(f"there are {len(answer.scenes)} scenes instead of {wish.variants}")
    subject = _plain(answer.subject)
    if not subject or len(subject.split()) > 8:
        faults.append("the subject must have one to eight words")
    for number, scene in enumerate(answer.scenes, 1):
        if not PROMPT_MIN <= len(scene.prompt) <= PROMPT_MAX:
            faults.append(f"prompt {number} has {len(scene.prompt)} characters, not {PROMPT_MIN} to {PROMPT_MAX}")
        if subject not in _plain(scene.prompt):
            faults.append(f"prompt {number} does not contain the subject {answer.subject!r} word for word")
        if not scene.title.strip() or len(scene.title) > 120:
            faults.append(f"title {number} must have 1 to 120 characters")
        twin = next((other for other, seen in enumerate(answer.scenes[: number - 1], 1) if _alike(scene, seen)), 0)
        if twin:
            faults.append(f"prompts {twin} and {number} are nearly the same")
    if faults:
        raise ValueError("; ".join(faults))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _alike(one: _Scene, other: _Scene) -> bool:
    first, second = (set(detail.content_words(scene.prompt.casefold())) for scene in (one, other))
    return len(first & second) > ALIKE * max(1, min(len(first), len(second)))
