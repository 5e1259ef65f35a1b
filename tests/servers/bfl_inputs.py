"""What the Black Forest Labs service takes, model by model, and what it charges: for its stand-in.

Invariant: written from the service's documentation and official client alone, so that the backend is checked by
something that does not share its tables; unknown fields and wrong types are refused.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from decimal import Decimal
from math import ceil, sqrt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MEGAPIXEL = 1024 * 1024
FILE_MAX = 20 * 1024 * 1024

Side2 = Annotated[int, Field(ge=64, multiple_of=16)]
Side1 = Annotated[int, Field(ge=256, le=1440, multiple_of=32)]


class Inputs(BaseModel):
    """What all models take."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, Field(min_length=1)]
    seed: int | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = None

    @field_validator("*")
    @classmethod
    def _images_are_images(cls, value: Any, info: Any) -> Any:
        if value is not None and info.field_name.startswith("input_image"):
            picture_size(value)
        return value

    def images(self) -> Iterator[tuple[int, int]]:
        for name in type(self).model_fields:
            if name.startswith("input_image") and getattr(self, name) is not None:
                yield picture_size(getattr(self, name))

    def size(self) -> tuple[int, int]:
        raise NotImplementedError

    def format(self) -> str:
        return str(getattr(self, "output_format", "jpeg"))


def picture_size(text: str) -> tuple[int, int]:
    """(width, height) of an image in base64; raises ValueError for anything else."""
    from PIL import Image

    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("Invalid base64 encoding") from None
    if len(data) > FILE_MAX:
        raise ValueError("Image file size exceeds 20MB limit")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except OSError:
        raise ValueError("Error processing image") from None


class Flux2(Inputs):
    width: Side2 = 1024
    height: Side2 = 1024
    safety_tolerance: Annotated[int, Field(ge=0, le=5)] = 2
    output_format: Literal["jpeg", "png", "webp"] = "jpeg"
    transparent_bg: bool = False
    input_image: str | None = None
    input_image_2: str | None = None
    input_image_3: str | None = None
    input_image_4: str | None = None

    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @model_validator(mode="after")
    def _fits(self) -> Flux2:
        if self.width * self.height > 2048 * 2048:
            raise ValueError("width*height exceeds the 4MP limit")
        if self.transparent_bg and self.output_format == "jpeg":
            raise ValueError("transparent_bg requires output_format 'png' or 'webp'")
        return self


class Klein9B(Flux2):
    input_image_5: str | None = None


class Eight(Klein9B):
    input_image_6: str | None = None
    input_image_7: str | None = None
    input_image_8: str | None = None


class Pro2(Eight):
    disable_pup: bool = False


class Flex(Eight):
    prompt_upsampling: bool = True
    guidance: Annotated[float, Field(ge=1.5, le=10)] = 5.0
    steps: Annotated[int, Field(ge=1, le=50)] = 50


class Flux1(Inputs):
    safety_tolerance: Annotated[int, Field(ge=0, le=6)] = 2
    output_format: Literal["jpeg", "png"] = "jpeg"
    prompt_upsampling: bool = False


class Pro11(Flux1):
    width: Side1 = 1024
    height: Side1 = 768

    def size(self) -> tuple[int, int]:
        return self.width, self.height


class Dev(Pro11):
    guidance: Annotated[float, Field(ge=1.5, le=5)] = 3.0
    steps: Annotated[int, Field(ge=1, le=50)] = 28


class Shaped(Flux1):
    aspect_ratio: str = "16:9"

    @field_validator("aspect_ratio")
    @classmethod
    def _in_range(cls, value: str) -> str:
        across, _, down = value.partition(":")
        if not (across.isdigit() and down.isdigit() and 9 / 21 <= int(across) / int(down) <= 21 / 9):
            raise ValueError("Aspect ratio must be between 21:9 and 9:21")
        return value

    def shaped(self, pixels: int) -> tuple[int, int]:
        across, _, down = self.aspect_ratio.partition(":")
        ratio = int(across) / int(down)
        return round(sqrt(pixels * ratio) / 16) * 16, round(sqrt(pixels / ratio) / 16) * 16


class Ultra(Shaped):
    raw: bool = False

    def size(self) -> tuple[int, int]:
        return self.shaped(4 * MEGAPIXEL)


class Kontext(Shaped):
    aspect_ratio: str = "1:1"
    input_image: str | None = None
    input_image_2: str | None = None
    input_image_3: str | None = None
    input_image_4: str | None = None

    def size(self) -> tuple[int, int]:
        return self.shaped(MEGAPIXEL)


#: Model -> what it takes, and cents for the first megapixel and for each other one (0: the price is flat).
MODELS: dict[str, tuple[type[Inputs], Decimal, Decimal]] = {
    "flux-2-pro": (Pro2, Decimal("3"), Decimal("1.5")),
    "flux-2-max": (Pro2, Decimal("7"), Decimal("3")),
    "flux-2-flex": (Flex, Decimal("5"), Decimal("5")),
    "flux-2-klein-4b": (Flux2, Decimal("1.4"), Decimal("0.1")),
    "flux-2-klein-9b": (Klein9B, Decimal("1.5"), Decimal("0.2")),
    "flux-pro-1.1": (Pro11, Decimal("4"), Decimal(0)),
    "flux-pro-1.1-ultra": (Ultra, Decimal("6"), Decimal(0)),
    "flux-dev": (Dev, Decimal("2.5"), Decimal(0)),
    "flux-kontext-pro": (Kontext, Decimal("4"), Decimal(0)),
    "flux-kontext-max": (Kontext, Decimal("8"), Decimal(0)),
}


def cents(model: str, inputs: Inputs) -> Decimal:
    """What a job costs: whole megapixels, rounded up."""
    _, first, further = MODELS[model]
    width, height = inputs.size()
    made = ceil(width * height / MEGAPIXEL)
    given = sum(ceil(across * down / MEGAPIXEL) for across, down in inputs.images())
    return first + (made - 1 + given) * further
