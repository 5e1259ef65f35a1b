"""The image half of the OpenAI stand-in: what a request may say, what its pictures cost, and pictures to answer with.

Invariant: every field is judged as the documentation says; nothing here counts or keeps anything.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

from PIL import Image

from tests.servers.multipart import Form, Upload
from tests.servers.openai_errors import Problem, blocked, invalid

FIXED_SIZES = ("1024x1024", "1536x1024", "1024x1536")
QUALITIES_2 = ("low", "medium", "high", "auto")
QUALITIES_25 = ("low", "medium", "high", "xhigh", "max", "auto")
#: Living image models: their qualities, and whether they take any size.
IMAGE_MODELS: dict[str, tuple[tuple[str, ...], bool]] = {
    "gpt-image-2.6-flare": (QUALITIES_25, True),
    "gpt-image-2.6-sunburst": (QUALITIES_25, True),
    "gpt-image-2.5-flare": (QUALITIES_25, True),
    "gpt-image-2.5-flare-2026-09-08": (QUALITIES_25, True),
    "gpt-image-2.5-sunburst": (QUALITIES_25, True),
    "gpt-image-2.5-sunburst-2026-09-08": (QUALITIES_25, True),
    "gpt-image-2": (QUALITIES_2, True),
    "gpt-image-2-2026-04-21": (QUALITIES_2, True),
    "gpt-image-1.5": (QUALITIES_2, False),
    "gpt-image-1-mini": (QUALITIES_2, False),
    "chatgpt-image-latest": (QUALITIES_2, False),
}
#: Output tokens of one 1024x1024 image.
TOKENS = {"low": 196, "medium": 439, "high": 1756, "xhigh": 3122, "max": 7024}
CHOICES = {
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "webp", "jpeg"),
    "complexity": ("low", "medium", "high"),
}
FIELDS = {"model", "prompt", "n", "size", "quality", "output_compression", "user", "safety_identifier", *CHOICES}
#: What only one of the two endpoints knows.
GENERATE_ONLY = {"moderation": ("low", "auto")}
EDIT_ONLY = {"input_fidelity": ("high", "low")}
#: Models that take ``input_fidelity``, and how.
FIDELITY = {"gpt-image-1.5": ("high", "low"), "gpt-image-1-mini": ("low",), "chatgpt-image-latest": ("high", "low")}
IMAGES_MAX, BYTES_MAX, MASK_BYTES_MAX = 16, 50_000_000, 4_000_000
#: Text around each input image.
TEXT_TOKENS = 32


class Wanted(NamedTuple):
    """What a valid request asks for."""

    prompt: str
    quality: str
    size: tuple[int, int]
    count: int
    output_format: str
    #: Tokens of the input images, and how many there are.
    image_tokens: int = 0
    inputs: int = 0


def check_request(
    request: Mapping[str, Any],
    models: Mapping[str, tuple[tuple[str, ...], bool]],
    *,
    free_sizes: bool,
    response_format: bool,
    edit: bool = False,
) -> Wanted:
    """What the fields of a request ask for; raises Problem as the service would."""
    own = EDIT_ONLY if edit else GENERATE_ONLY
    known = FIELDS | set(own) | ({"response_format"} if response_format else set())
    for name in request:
        if name not in known:
            raise Problem(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    qualities, free = models[request["model"]]
    prompt = request.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Problem("Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt")
    if len(prompt) > 32_000:
        raise Problem("Invalid 'prompt': string too long.", code="string_above_max_length", param="prompt")
    for name, legal in (*CHOICES.items(), *own.items(), ("quality", qualities)):
        if request.get(name) is not None and request[name] not in legal:
            raise invalid(name, request[name], legal)
    count = request.get("n") or 1
    if type(count) is not int or not 1 <= count <= 10:
        raise Problem(f"Invalid 'n': {count!r} is not between 1 and 10.", code="invalid_value", param="n")
    _check_output(request)
    if "FORBIDDEN" in prompt:
        raise blocked()
    quality = request.get("quality") or "auto"
    size = image_size(request.get("size"), free=free and free_sizes)
    return Wanted(prompt, "high" if quality == "auto" else quality, size, count, request.get("output_format") or "png")


def _check_output(request: Mapping[str, Any]) -> None:
    output_format = request.get("output_format") or "png"
    if request.get("background") == "transparent" and output_format == "jpeg":
        raise Problem("Transparent background needs png or webp.", code="invalid_value", param="background")
    compression = request.get("output_compression")
    if compression is None:
        return
    if type(compression) is not int or not 0 <= compression <= 100:
        raise Problem("Invalid 'output_compression'.", code="invalid_value", param="output_compression")
    if output_format == "png":
        message = "Compression less than 100 is not supported for PNG output format."
        raise Problem(message, code="invalid_value", param="output_compression")


def check_edit(form: Form, models: Mapping[str, tuple[tuple[str, ...], bool]], **rules: bool) -> Wanted:
    """What a form asks for, its files included."""
    request: dict[str, Any] = {}
    for name, values in form.items():
        if name in ("image", "image[]", "mask"):
            continue
        (value,) = values
        if not isinstance(value, str):
            raise Problem(f"Invalid type for '{name}'.", code="invalid_type", param=name)
        request[name] = int(value) if name in ("n", "output_compression") and value.isdecimal() else value
    fidelity = request.get("input_fidelity")
    if fidelity is not None and fidelity not in FIDELITY.get(request["model"], ()):
        message = f"The model '{request['model']}' does not support the 'input_fidelity' parameter."
        raise Problem(message, code="invalid_input_fidelity_model", param="input_fidelity")
    wanted = check_request(request, models, edit=True, **rules)
    images = [value for name in ("image", "image[]") for value in form.get(name, [])]
    masks = form.get("mask", [])
    sizes = _check_files(images, masks)
    tokens = sum(input_tokens(*size) for size in sizes)
    return wanted._replace(image_tokens=tokens, inputs=len(sizes))


def _check_files(images: list[str | Upload], masks: list[str | Upload]) -> list[tuple[int, int]]:
    """Width and height of every file, the mask's last."""
    if not images:
        raise Problem("Missing required parameter: 'image'.", code="missing_required_parameter", param="image")
    if len(images) > IMAGES_MAX:
        message = f"Invalid 'image': array too long. Expected at most {IMAGES_MAX} items."
        raise Problem(message, code="array_above_max_length", param="image")
    opened = [_open(value, number, ("PNG", "JPEG", "WEBP"), BYTES_MAX) for number, value in enumerate(images, start=1)]
    sizes = [picture.size for picture in opened]
    for value in masks:
        mask = _open(value, 0, ("PNG",), MASK_BYTES_MAX)
        if not mask.has_transparency_data:
            raise Problem("Invalid mask image: it has no alpha channel.", code="invalid_mask_file", param="mask")
        if mask.size != sizes[0]:
            message = "Invalid mask image: its size does not match the size of the image."
            raise Problem(message, code="invalid_mask_file", param="mask")
        sizes.append(mask.size)
    return sizes


def _open(value: str | Upload, number: int, formats: tuple[str, ...], below: int) -> Image.Image:
    name = f"image {number}" if number else "mask"
    if not isinstance(value, Upload):
        raise Problem(f"Invalid type for '{name}': expected a file.", code="invalid_type", param="image")
    if len(value.data) >= below:
        raise Problem(f"The file of {name} is too large.", status=413, code="file_too_large", param="image")
    try:
        picture = Image.open(io.BytesIO(value.data), formats=formats)
        picture.load()
    except (OSError, SyntaxError, ValueError):
        message = f"Invalid image file or mode for {name}, please check your image file."
        raise Problem(message, code="invalid_image_file", type_="image_generation_user_error") from None
    if value.content_type != f"image/{(picture.format or '').lower()}":
        message = f"Invalid file '{value.filename}': unsupported mimetype ('{value.content_type}')."
        raise Problem(message, code="unsupported_file_mimetype", param="image")
    return picture


def input_tokens(width: int, height: int) -> int:
    """Tokens of one input image: 32-pixel squares, small images enlarged, never more than 1,536."""
    long, short = max(width, height), min(width, height)
    short = max(short, long / 3)
    if long < 1024:
        scale = min(2.0, 1024 / long)
        long, short = long * scale, short * scale
    return min(1536, ceil(long / 32) * ceil(round(short, 6) / 32))


def image_size(size: Any, *, free: bool) -> tuple[int, int]:
    """The size to make, or Problem: the rule of gpt-image-2, or the three standard sizes."""
    if size in (None, "auto"):
        return 1024, 1024
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size) if isinstance(size, str) else None
    if match is None or (not free and size not in FIXED_SIZES):
        raise invalid("size", size, (*FIXED_SIZES, "auto"))
    width, height = int(match[1]), int(match[2])
    if width % 16 or height % 16:
        raise Problem(f"Invalid size '{size}': sides must be divisible by 16.", code="invalid_value", param="size")
    long, short = max(width, height), min(width, height)
    if not (655_360 <= width * height <= 8_294_400 and long <= 3840 and long <= 3 * short):
        raise Problem(f"Invalid size '{size}': out of the model's limits.", code="invalid_value", param="size")
    return width, height


@lru_cache(maxsize=256)
def encoded(width: int, height: int, output_format: str = "png") -> str:
    """Base64 of a real picture of that size; made once per size."""
    ramp = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.point(lambda v: 255 - v)))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 1} if output_format == "png" else {"quality": 80}
    picture.save(buffer, output_format, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
