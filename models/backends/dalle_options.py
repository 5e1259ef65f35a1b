"""What a request may ask of OpenAI Images beyond prompt, size and pictures.

Invariant: everything here is refused before any spend, with the name of what would work.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from models.catalog import ModelRow
from models.contract import ImageRequest
from models.errors import UnsupportedRequest

#: What the options may be, where that does not depend on the model.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "quality": (),
    "background": ("transparent", "opaque", "auto"),
    "moderation": ("low", "auto"),
    "output_format": ("png", "webp", "jpeg"),
    "output_compression": (),
    "input_fidelity": (),
    "response_format": ("b64_json",),
}
#: Settings of a request that this service does not have, and what to call them.
LACKING = {
    "strength": "strength",
    "loras": "LoRAs",
    "steps": "steps",
    "guidance": "guidance",
    "scheduler": "scheduler",
}


def check_settings(request: ImageRequest, name: str) -> None:
    """Raise UnsupportedRequest for a setting that OpenAI Images does not have."""
    for setting, words in LACKING.items():
        if getattr(request, setting) in (None, ()):
            continue
        hint = "Leave it out, or choose a backend that does: `python main.py backends` lists them."
        if setting == "strength":
            hint = "Leave it out and say in the prompt what is to stay, or use --sdapi or --stability."
        raise UnsupportedRequest(f"{name} takes no {words}.", hint=hint)


def check_options(
    options: Mapping[str, str], *, name: str, model: str, row: ModelRow | None, official: bool, edits: bool
) -> None:
    """Raise UnsupportedRequest for an option that ``model`` (``row`` where it is known) does not take.

    ``official`` is OpenAI itself, ``edits`` a request with pictures.
    """
    for option, value in options.items():
        if option not in OPTIONS:
            close = difflib.get_close_matches(option, OPTIONS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(OPTIONS)}."
            raise UnsupportedRequest(f"{name} has no option {option!r}.", hint=hint)
        legal = OPTIONS[option] or (row.qualities if row and option == "quality" else ())
        if legal and value not in legal:
            raise UnsupportedRequest(f"{model} has no {option} {value!r}.", hint=f"Use one of: {', '.join(legal)}.")
    if options.get("background") == "transparent" and options.get("output_format") == "jpeg":
        raise UnsupportedRequest("A JPEG cannot be transparent.", hint="Use output_format png or webp.")
    if edits and "moderation" in options:
        raise UnsupportedRequest(
            "With input images the service has no option 'moderation'.", hint="Leave out --option moderation."
        )
    if official and "response_format" in options:
        raise UnsupportedRequest(
            "OpenAI has no option 'response_format': its pictures never come as links.",
            hint="It is for other servers (OPENAI_IMAGES_BASE_URL).",
        )
    _check_compression(options)
    if "input_fidelity" in options:
        _check_fidelity(options["input_fidelity"], model=model, row=row, edits=edits)


def _check_compression(options: Mapping[str, str]) -> None:
    value = options.get("output_compression")
    if value is None:
        return
    if not (value.isascii() and value.isdecimal() and int(value) <= 100):
        raise UnsupportedRequest(f"output_compression is 0 to 100, not {value!r}.")
    if options.get("output_format") not in ("jpeg", "webp"):
        raise UnsupportedRequest(
            "output_compression is for output_format jpeg or webp.", hint="Add --option output_format=jpeg."
        )


def _check_fidelity(value: str, *, model: str, row: ModelRow | None, edits: bool) -> None:
    if not edits:
        raise UnsupportedRequest(
            "input_fidelity is about input images, and there is none.", hint="Add --init-image or --reference."
        )
    legal: Sequence[str] = row.input_fidelity if row else ("high", "low")
    if not legal:
        raise UnsupportedRequest(
            f"{model} has no option 'input_fidelity': it always keeps close to its input images.",
            hint="Leave it out.",
        )
    if value not in legal:
        raise UnsupportedRequest(f"{model} has no input_fidelity {value!r}.", hint=f"Use one of: {', '.join(legal)}.")


def as_sent(options: Mapping[str, str], default_quality: str) -> dict[str, Any]:
    """The options as the service wants them, without those left empty."""
    sent: dict[str, Any] = {"quality": default_quality, **options}
    if sent.get("output_compression"):
        sent["output_compression"] = int(sent["output_compression"])
    return {name: value for name, value in sent.items() if value not in (None, "")}
