"""A stand-in of Stability's REST service (v2beta, stable-image/generate), as strict as its reference.

    with StabilityServer() as server:
        requests.post(f"{server.url}/v2beta/stable-image/generate/core", files={"prompt": (None, "A lighthouse")}, ...)

By hand: ``python -m tests.servers.stability_api --port 8124 [--delay 0.2] [--key test-key] [--image-size 64x64]``.
A prompt with FORBIDDEN in it is refused, one with BLURRED is made and blurred, one without a Latin letter turned down.
Invariant: ``billed`` and ``bill`` count every image that was made, whether or not its answer arrived.
"""

from __future__ import annotations

import argparse
import io
import re
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.multipart import Form, Upload, parse_form
from tests.servers.pictures import encoded, encoded_text

__all__ = ["Fault", "StabilityServer"]

ROOT = "/v2beta/stable-image/generate/"
COMMON = {"prompt", "negative_prompt", "aspect_ratio", "seed", "output_format", "style_preset"}
FIELDS = {
    "core": COMMON,
    "ultra": COMMON | {"image", "strength"},
    "sd3": COMMON | {"image", "strength", "model", "mode", "cfg_scale"},
}
#: USD per image; those of sd3 go by the model.
PRICES = {
    "core": Decimal("0.03"),
    "ultra": Decimal("0.08"),
    "sd3.5-large": Decimal("0.065"),
    "sd3.5-large-turbo": Decimal("0.04"),
    "sd3.5-medium": Decimal("0.035"),
}
#: What is rendered for each ratio, at about one megapixel and at about one and a half.
SIZES = {
    "16:9": ((1344, 768), (1600, 896)),
    "1:1": ((1024, 1024), (1216, 1216)),
    "21:9": ((1536, 640), (1856, 768)),
    "2:3": ((832, 1216), (960, 1472)),
    "3:2": ((1216, 832), (1472, 960)),
    "4:5": ((896, 1088), (1088, 1344)),
    "5:4": ((1088, 896), (1344, 1088)),
    "9:16": ((768, 1344), (896, 1600)),
    "9:21": ((640, 1536), (768, 1856)),
}
STYLES = (
    *("3d-model", "analog-film", "anime", "cinematic", "comic-book", "digital-art", "enhance", "fantasy-art"),
    *("isometric", "line-art", "low-poly", "modeling-compound", "neon-punk", "origami", "photographic"),
    *("pixel-art", "tile-texture"),
)
CHOICES: dict[str, tuple[str, ...]] = {
    "aspect_ratio": tuple(SIZES),
    "output_format": ("jpeg", "png", "webp"),
    "style_preset": STYLES,
    "model": tuple(name for name in PRICES if name.startswith("sd3")),
    "mode": ("image-to-image", "text-to-image"),
}
NUMBERS = {"seed": (0, 4294967294), "strength": (0, 1), "cfg_scale": (1, 10)}
LENGTHS = {"prompt": 10_000, "negative_prompt": 10_000}
REQUEST_MAX = 10 * 1024 * 1024
#: The documented error of a status: name and words.
ERRORS = {
    400: ("bad_request", "some-field: is required"),
    401: ("unauthorized", "authorization: invalid or missing header value"),
    402: (
        "payment_required",
        "You lack sufficient credits to make this request. Please purchase more credits at "
        "https://platform.stability.ai/account/credits and try again.",
    ),
    403: (
        "content_moderation",
        "Your request was flagged by our content moderation system, as a result your request was denied and you were "
        "not charged.",
    ),
    404: ("not_found", "The requested resource does not exist."),
    413: ("payload_too_large", "payloads cannot be larger than 10MiB"),
    422: ("invalid_language", "English is the only supported language for this service."),
    429: (
        "rate_limit_exceeded",
        "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed out for 60 "
        "seconds.",
    ),
    500: ("internal_error", "An unexpected server error has occurred, please try again later."),
}


class Problem(Exception):
    """An answer that is an error, on its way out of the validation."""

    def __init__(self, status: int, *errors: str, name: str = "") -> None:
        super().__init__(*errors)
        default, words = ERRORS.get(status, ("internal_error", "Something went wrong."))
        body = {"id": "ea8877d647fd34d56e00e688823294ab", "name": name or default, "errors": list(errors or [words])}
        self.answer = as_json(body, status)


class StabilityServer(Service):
    """The service. ``billed`` is how many images it made, ``bill`` what they cost in USD."""

    def __init__(
        self,
        *,
        key: str = "test-key",
        port: int = 0,
        delay: float = 0.0,
        image_size: tuple[int, int] | None = None,
        record: bool = True,
    ) -> None:
        super().__init__(port=port, delay=delay, record=record)
        #: Empty for a server that asks for none.
        self.key = key
        #: Every image has this size, whatever was asked: small ones keep a benchmark off the encoder.
        self.image_size = image_size
        self.billed = 0
        self.bill = Decimal(0)
        self._count_lock = threading.Lock()

    def parse(self, headers: Mapping[str, str], body: bytes) -> Form | None:
        return parse_form(headers, body)

    def error(self, status: int, code: str = "") -> Answer:
        return Problem(status, name=code).answer

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        try:
            self._authorize(headers)
            endpoint = path.partition("?")[0].removeprefix(ROOT)
            if method != "POST" or not path.startswith(ROOT) or endpoint not in FIELDS:
                raise Problem(404)
            if int(headers.get("content-length", 0)) > REQUEST_MAX:
                raise Problem(413)
            accept = headers.get("accept", "image/*")
            if accept not in ("application/json", "image/*"):
                raise Problem(400, "accept: must be one of: application/json, image/*")
            if payload is None:
                raise Problem(400, "content-type: must be multipart/form-data")
            return self._generate(endpoint, check(endpoint, payload), as_text=accept == "application/json")
        except Problem as problem:
            return problem.answer

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if self.key and (scheme.lower() != "bearer" or offered != self.key):
            # The key comes back, which the real service avoids: whoever shows the message has to redact it.
            raise Problem(401, f"authorization: invalid or missing header value {offered}")

    def _generate(self, endpoint: str, fields: Mapping[str, str | Upload], *, as_text: bool) -> Answer:
        prompt = str(fields["prompt"])
        if "FORBIDDEN" in prompt:
            raise Problem(403)
        if not re.search("[A-Za-z]", prompt):
            raise Problem(422)
        filtered = "BLURRED" in prompt
        width, height = self.image_size or rendered(endpoint, fields)
        output_format = str(fields.get("output_format", "png"))
        if filtered:
            width, height = 8, 8
        with self._count_lock:
            self.billed += 1
            self.bill += PRICES[str(fields.get("model", "sd3.5-large")) if endpoint == "sd3" else endpoint]
            seed = int(str(fields.get("seed", "0"))) or 1_000_000 + self.billed
        reason = "CONTENT_FILTERED" if filtered else "SUCCESS"
        if as_text:
            return as_json({"image": encoded_text(width, height, output_format), "finish_reason": reason, "seed": seed})
        return Answer(
            body=encoded(width, height, output_format),
            content_type=f"image/{output_format}",
            headers={"finish-reason": reason, "seed": str(seed)},
        )


def check(endpoint: str, form: Form) -> dict[str, str | Upload]:
    """The fields, each once; raises Problem with everything that is wrong, as the service does."""
    form = dict(form)
    # Its own examples in Python send an empty file of this name, so that the form becomes multipart.
    if form.get("none") == [Upload("none", "text/plain", b"")]:
        del form["none"]
    wrong = [f"{name}: is not a known field" for name in form if name not in FIELDS[endpoint]]
    wrong += [f"{name}: must be given once" for name, values in form.items() if len(values) > 1]
    fields = {name: values[0] for name, values in form.items()}
    wrong += [f"{name}: {words}" for name, value in fields.items() if (words := check_field(name, value))]
    wrong += check_together(endpoint, fields)
    if wrong:
        raise Problem(400, *wrong)
    return fields


def check_field(name: str, value: str | Upload) -> str:
    """What is wrong with one field by itself; empty when it is fine."""
    if name == "image":
        return check_image(value)
    if isinstance(value, Upload):
        return "must be a text"
    if name in CHOICES and value not in CHOICES[name]:
        return f"must be one of: {', '.join(CHOICES[name])}"
    if name in LENGTHS and len(value) > LENGTHS[name]:
        return f"cannot be longer than {LENGTHS[name]} characters"
    if name in NUMBERS:
        low, high = NUMBERS[name]
        if not re.fullmatch(r"\d+" if name == "seed" else r"\d+(\.\d+)?", value) or not low <= float(value) <= high:
            return f"must be a number between {low} and {high}"
    return ""


def check_image(value: str | Upload) -> str:
    if isinstance(value, str):
        return "must be a file"
    try:
        width, height = size_of(value.data)
    except (OSError, ValueError):
        return "must be a jpeg, png or webp"
    if not (min(width, height) >= 64 and max(width, height) <= 16_384):
        return "each side must be between 64 and 16384 pixels"
    return ""


def check_together(endpoint: str, fields: Mapping[str, str | Upload]) -> list[str]:
    """What is wrong with the fields beside one another."""
    wrong = []
    if not str(fields.get("prompt", "")).strip():
        wrong.append("prompt: is required")
    from_image = fields.get("mode") == "image-to-image" if endpoint == "sd3" else "image" in fields
    for name in ("image", "strength"):
        if from_image and name not in fields:
            wrong.append(f"{name}: is required")
        if endpoint == "sd3" and not from_image and name in fields:
            wrong.append(f"{name}: is only allowed for image-to-image")
    if endpoint == "sd3" and from_image and "aspect_ratio" in fields:
        wrong.append("aspect_ratio: is only allowed for text-to-image")
    return wrong


def rendered(endpoint: str, fields: Mapping[str, str | Upload]) -> tuple[int, int]:
    image = fields.get("image")
    if endpoint == "sd3" and isinstance(image, Upload):
        width, height = size_of(image.data)
        scale = (1024 * 1024 / (width * height)) ** 0.5
        return max(64, int(width * scale) // 64 * 64), max(64, int(height * scale) // 64 * 64)
    return SIZES[str(fields.get("aspect_ratio", "1:1"))][endpoint == "core"]


def size_of(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        return picture.size


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in of Stability's REST service on localhost.")
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--image-size", default="", help="answer every request with an image of this size, e.g. 64x64")
    options = parser.parse_args()
    size = None
    if options.image_size:
        width, _, height = options.image_size.partition("x")
        size = (int(width), int(height))
    server = StabilityServer(key=options.key, port=options.port, delay=options.delay, image_size=size, record=False)
    with server:
        print(f"STABILITY_BASE_URL={server.url} STABILITY_API_KEY={server.key}", flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print(f"\n{server.billed} images for {server.bill} USD, {server.peak} at once.")


if __name__ == "__main__":
    main()
