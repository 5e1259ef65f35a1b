"""What each model of Black Forest Labs takes, and the request made for it.

Invariant: a field that a model does not know never leaves (the service refuses unknown fields), and what a model cannot
do is said before any spend.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.backends.input_images import look_at, read_input
from models.catalog import ModelRow
from models.contract import ImageRequest
from models.errors import UnsupportedRequest

PROMPT_MAX = 32_000
#: Bytes of the file of a reference image.
REFERENCE_MAX = 20 * 1024 * 1024
FLAGS = ("true", "false")
#: What is asked for when the user names no format: nothing is lost in it.
FORMAT = "png"
#: Settings of a request that no model here has, and what to call them.
LACKING = {
    "init_image": "start image",
    "strength": "strength",
    "mask": "mask",
    "loras": "LoRAs",
    "scheduler": "scheduler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a model takes beyond prompt, seed and size."""

    #: Option -> its legal values.
    options: Mapping[str, tuple[str, ...]]
    references: int = 0
    #: (least, most), where the model has them.
    steps: tuple[int, int] | None = None
    guidance: tuple[float, float] | None = None
    #: The field behind the option ``prompt_upsampling``; ``disable_pup`` means its opposite.
    upsampling: Literal["prompt_upsampling", "disable_pup"] = "prompt_upsampling"


def _upto(most: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(most + 1))


FLUX_2 = {"output_format": ("png", "jpeg", "webp"), "safety_tolerance": _upto(5), "transparent_bg": FLAGS}
FLUX_1 = {"output_format": ("png", "jpeg"), "safety_tolerance": _upto(6), "prompt_upsampling": FLAGS}
_PRO_2 = Takes(options={**FLUX_2, "prompt_upsampling": FLAGS}, references=8, upsampling="disable_pup")
_KONTEXT = Takes(options=FLUX_1, references=4)

MODELS: Mapping[str, Takes] = {
    "flux-2-pro": _PRO_2,
    "flux-2-max": _PRO_2,
    "flux-2-flex": Takes(
        options={**FLUX_2, "prompt_upsampling": FLAGS}, references=8, steps=(1, 50), guidance=(1.5, 10.0)
    ),
    "flux-2-klein-4b": Takes(options=FLUX_2, references=4),
    "flux-2-klein-9b": Takes(options=FLUX_2, references=5),
    "flux-pro-1.1": Takes(options=FLUX_1),
    "flux-pro-1.1-ultra": Takes(options={**FLUX_1, "raw": FLAGS}),
    "flux-dev": Takes(options=FLUX_1, steps=(1, 50), guidance=(1.5, 5.0)),
    "flux-kontext-pro": _KONTEXT,
    "flux-kontext-max": _KONTEXT,
}
#: For models that users add to the catalog themselves: what all of their family take.
FAMILIES: Mapping[str, Takes] = {
    "flux-2-": Takes(options=FLUX_2, references=4),
    "flux-kontext": _KONTEXT,
    "": Takes(options={"output_format": ("png", "jpeg"), "safety_tolerance": _upto(5)}),
}
OPTIONS = tuple(dict.fromkeys(name for takes in MODELS.values() for name in takes.options))
REFERENCES = max(takes.references for takes in MODELS.values())


def takes(model: str) -> Takes:
    """What the model takes; what its family takes, for one that only the user's own catalog knows."""
    known = MODELS.get(model)
    return known or next(family for prefix, family in FAMILIES.items() if model.startswith(prefix))


def check(request: ImageRequest, model: str) -> None:
    """Raise UnsupportedRequest for all that the model cannot do, naming what would work; sizes are left out."""
    can = takes(model)
    for setting, words in LACKING.items():
        if getattr(request, setting) not in (None, ()):
            hint = "Give the picture with --reference instead." if setting in ("init_image", "strength", "mask") else ""
            raise UnsupportedRequest(f"flux-api takes no {words}.", hint=hint or "Leave it out.")
    if not request.prompt.strip():
        raise UnsupportedRequest("The prompt is empty.")
    if len(request.prompt) > PROMPT_MAX:
        raise UnsupportedRequest(
            f"The prompt has {len(request.prompt)} characters; {model} takes {PROMPT_MAX} at most."
        )
    _check_range("steps", request.steps, can.steps, model)
    _check_range("guidance", request.guidance, can.guidance, model)
    _check_options(request.options, can, model)
    _check_references(request, can, model)


def fields(request: ImageRequest, model: str, row: ModelRow, size: tuple[int, int]) -> dict[str, Any]:
    """The request as the service wants it, with the reference images inside; raises UnsupportedRequest."""
    can = takes(model)
    options = {"output_format": FORMAT, **request.options}
    sent: dict[str, Any] = {"prompt": request.prompt, "output_format": options["output_format"]}
    if ratio := row.sizes.by_ratio().get(size) if row.sizes else None:
        sent["aspect_ratio"] = ratio
    else:
        sent["width"], sent["height"] = size
    for name in ("seed", "steps", "guidance"):
        if getattr(request, name) is not None:
            sent[name] = getattr(request, name)
    if "safety_tolerance" in options:
        sent["safety_tolerance"] = int(options["safety_tolerance"])
    for name in ("transparent_bg", "raw"):
        if name in options:
            sent[name] = options[name] == "true"
    if "prompt_upsampling" in options:
        sent[can.upsampling] = (options["prompt_upsampling"] == "true") != (can.upsampling == "disable_pup")
    for number, path in enumerate(request.references, start=1):
        name = "input_image" if number == 1 else f"input_image_{number}"
        sent[name] = base64.b64encode(read_input(path, max_bytes=REFERENCE_MAX)).decode("ascii")
    return sent


def _check_range(name: str, value: float | None, legal: tuple[float, float] | None, model: str) -> None:
    if value is None:
        return
    if legal is None:
        able = [each for each, can in MODELS.items() if getattr(can, name)]
        raise UnsupportedRequest(f"{model} takes no {name}.", hint=f"Leave it out, or use {' or '.join(able)}.")
    # Written so that a NaN is out of range as well.
    if not legal[0] <= value <= legal[1]:
        raise UnsupportedRequest(f"{model} takes {name} from {legal[0]} to {legal[1]}, not {value}.")


def _check_options(options: Mapping[str, str], can: Takes, model: str) -> None:
    for name, value in options.items():
        if name not in can.options:
            if name in OPTIONS:
                hint = f"It has: {', '.join(can.options)}."
            else:
                close = difflib.get_close_matches(name, can.options, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(can.options)}."
            raise UnsupportedRequest(f"{model} has no option {name!r}.", hint=hint)
        if value not in can.options[name]:
            legal = ", ".join(can.options[name])
            raise UnsupportedRequest(f"{model} has no {name} {value!r}.", hint=f"Use one of: {legal}.")
    if options.get("transparent_bg") == "true" and options.get("output_format") == "jpeg":
        raise UnsupportedRequest("A JPEG cannot be transparent.", hint="Use output_format png or webp.")


def _check_references(request: ImageRequest, can: Takes, model: str) -> None:
    count = len(request.references)
    if count > can.references:
        able = [each for each, other in MODELS.items() if other.references >= count]
        more = f"Use {' or '.join(able)}." if able else f"There are never more than {REFERENCES}."
        most = f"{can.references} reference images at most, not {count}" if can.references else "no reference images"
        raise UnsupportedRequest(f"{model} takes {most}.", hint=more)
    for path in request.references:
        look_at(path, max_bytes=REFERENCE_MAX)


def reference_pixels(request: ImageRequest) -> Iterator[int]:
    """How many pixels each reference image has."""
    for path in request.references:
        found = look_at(path, max_bytes=REFERENCE_MAX)
        yield found.width * found.height
