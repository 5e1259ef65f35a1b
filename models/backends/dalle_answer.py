"""What OpenAI Images answers, read with suspicion.

Invariant: a picture that was paid for is never thrown away over its bill.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from models.backends import output_images
from models.backends.output_images import Picture
from models.errors import BadAnswer


class LinkAnswer(BadAnswer):
    """The answer holds a link where the picture should be."""


class _Picture(BaseModel):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Answer(BaseModel):
    data: list[_Picture]
    #: Read on its own: a picture that was paid for is not thrown away over its bill.
    usage: Any = None


class _InputDetails(BaseModel):
    text_tokens: int = 0
    image_tokens: int = 0


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _InputDetails | None = None


def read(body: bytes, *, what: str) -> tuple[Picture, dict[str, int], dict[str, str]]:
    """(picture, tokens by the kinds that are priced, what else was said); raises BadAnswer."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as exc:
        # Without the input, which may be anything.
        raise BadAnswer(f"{what}: the answer cannot be read: {exc.errors()[0]['msg']}.") from None
    picture = answer.data[0] if answer.data else _Picture()
    if not picture.b64_json and picture.url:
        raise LinkAnswer(f"{what}: the answer holds a link instead of the picture.")
    if not picture.b64_json:
        raise BadAnswer(f"{what}: the answer holds no picture.")
    details = {"revised_prompt": picture.revised_prompt} if picture.revised_prompt else {}
    return output_images.from_base64(picture.b64_json, what=what), _tokens(answer.usage), details


def _tokens(usage: Any) -> dict[str, int]:
    """Empty when the service did not count, or not in a way we know."""
    try:
        counted = _Usage.model_validate(usage)
    except ValidationError:
        return {}
    details = counted.input_tokens_details
    image_in = details.image_tokens if details else 0
    # All of the output is priced as image: should some of it be text, the cost is a little too high, never too low.
    tokens = {"text_in": counted.input_tokens - image_in, "image_in": image_in, "image_out": counted.output_tokens}
    # A server that does not count says 0; that is not the same as free.
    return tokens if min(tokens.values()) >= 0 and counted.output_tokens else {}
