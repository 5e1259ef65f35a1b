"""What one image of a job is told, in safer words, where a content policy refused it.

Invariant: what comes out is not longer than a prompt may be, and does not say what was refused once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from models.contract import Scribe
from models.writers.answers import plain
from models.writers.prompting import HARMLESS, QUOTED, prompt_max

RULES = f"""You put what an image model is told into safer words. An image service has declined to make the picture \
below: its content policy minds something in it. Say it anew: nothing is left to mind, and it is still the same picture.

Rules
- Keep subject, place, light, colours, mood and composition, and every name: the picture takes its old place in a \
series. What is said of style, medium, technique, camera, light and colours stays word for word, unless it is what the \
policy minds.
{HARMLESS}
- At most {{most}} characters, in the language it is in now."""


def safer_prompt(scribe: Scribe, prompt: str, reason: str, keep: Sequence[str] = ()) -> str:
    """The same in safer words; raises ModelError.

    ``reason`` is what the service said when it refused; ``keep`` are passages that stay as they are.
    """
    from pydantic import AfterValidator, create_model

    most = prompt_max(prompt)
    refused, kept = plain(prompt).casefold(), [plain(passage) for passage in keep]

    def check(text: str) -> str:
        text = plain(text)
        if not text:
            raise ValueError("there is no prompt")
        if len(text) > most:
            raise ValueError(f"it has {len(text)} characters; at most {most} are allowed")
        if lost := [passage for passage in kept if passage not in text]:
            raise ValueError(f"it must hold {lost[0]!r} as it is")
        if text.casefold() == refused:
            raise ValueError("it says the same as before, and would be declined again")
        return text

    shape = create_model("Safer", prompt=(Annotated[str, AfterValidator(check)], ...))
    question = f"{prompt}\n\nThe service said: {plain(reason)[:QUOTED]}"
    question += "".join(f"\nKeep as it is: {passage}" for passage in kept)
    answer = scribe.answer(RULES.format(most=most), question, shape)
    return str(answer.prompt)  # type: ignore[attr-defined]
