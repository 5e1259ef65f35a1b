"""A stand-in of the OpenAI API: models, image generation and chat completions, as strict as the documentation.

    with OpenAIServer() as server:
        client = openai.OpenAI(api_key=server.key, base_url=server.url)

By hand: ``python -m tests.servers.openai_api --port 8123 [--delay 0.2] [--key test-key] [--image-size 64x64]``.
Invariant: ``billed`` counts every image that was made, whether or not its answer arrived.
"""

from __future__ import annotations

import argparse
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.openai_chat import ChatRules, completion, default_chat

__all__ = ["Fault", "OpenAIServer"]

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
RETIRED = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-4", "gpt-3.5-turbo", "gpt-4.1-nano")
TEXT_MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-astra", "gpt-5.6-luna", "gpt-4.1-mini")
#: Output tokens of one 1024x1024 image.
TOKENS = {"low": 196, "medium": 439, "high": 1756, "xhigh": 3122, "max": 7024}
CHOICES = {
    "background": ("transparent", "opaque", "auto"),
    "moderation": ("low", "auto"),
    "output_format": ("png", "webp", "jpeg"),
    "complexity": ("low", "medium", "high"),
}
IMAGE_FIELDS = {"model", "prompt", "n", "size", "quality", "output_compression", "user", "safety_identifier", *CHOICES}
#: The documented error of a status: type, code and words.
ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Something in the request is wrong."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("billing_error", "billing_not_active", "Your account is not active, please check your billing details."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country or region not supported."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout_error", None, "Request timed out."),
    409: ("conflict_error", None, "Another request changed the resource."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", "server_overloaded", "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "Gateway timeout."),
}
#: Errors that are picked by their code.
BY_CODE = {
    "insufficient_quota": ("insufficient_quota", "You exceeded your current quota, please check your plan."),
    "billing_hard_limit_reached": ("billing_limit_user_error", "Billing hard limit has been reached."),
    "moderation_blocked": ("image_generation_user_error", "Your request was rejected by the safety system."),
}


class Problem(Exception):
    """An answer that is an error, on its way out of the validation."""

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, status: int = 400, type_: str = ""
    ) -> None:
        super().__init__(message)
        self.answer = error(message, code=code, param=param, status=status, type_=type_)


def error(
    message: str, *, code: str | None = None, param: str | None = None, status: int = 400, type_: str = ""
) -> Answer:
    body = {"message": message, "type": type_ or "invalid_request_error", "param": param, "code": code}
    return as_json({"error": body}, status, {"x-request-id": "req_standin"})


class OpenAIServer(Service):
    """The service. Switches a test may set at any time: ``free_sizes``, ``chat`` and the fields of ``rules``.

    ``chat`` makes the answers of chat completions: it takes the request's JSON and returns the content as text, or as
    something to be sent as JSON, or (status, whole body). ``models`` may be extended with names of your own.
    """

    root = "/v1"

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
        self.key = key
        #: Every image has this size, whatever was asked: small ones keep a benchmark off the encoder.
        self.image_size = image_size
        #: Models of free size refuse all but the three standard sizes when this is off.
        self.free_sizes = True
        self.image_models = dict(IMAGE_MODELS)
        self.text_models = [*TEXT_MODELS]
        self.rules = ChatRules()
        self.chat: Callable[[Any], Any] = default_chat
        #: Goes into the answers as ``revised_prompt`` when set.
        self.revised_prompt = ""
        #: Images made, and chat answers given.
        self.billed = 0
        self.chats = 0
        self._count_lock = threading.Lock()

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        try:
            self._authorize(headers)
            match method, path.partition("?")[0].removeprefix(self.root):
                case "GET", "/models":
                    return self._models()
                case "POST", "/images/generations":
                    return self._generate(_object(payload))
                case "POST", "/chat/completions":
                    return self._chat(_object(payload))
            raise Problem(f"Invalid URL ({method} {path})", status=404)
        except Problem as problem:
            return problem.answer

    def error(self, status: int, code: str = "") -> Answer:
        type_, default_code, message = ERRORS.get(status, ("server_error", None, "Something went wrong."))
        if code:
            type_, message = BY_CODE.get(code, (type_, message))
        return error(message, code=code or default_code, status=status, type_=type_)

    def _authorize(self, headers: Mapping[str, str]) -> None:
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and offered == self.key:
            return
        if not offered:
            raise Problem("You didn't provide an API key.", status=401)
        # The whole key comes back, which the real service avoids: whoever shows the message has to redact it.
        raise Problem(
            f"Incorrect API key provided: {offered}. You can find your API key at https://platform.openai.com.",
            code="invalid_api_key",
            status=401,
        )

    def _models(self) -> Answer:
        ids = [*self.image_models, *self.text_models]
        rows = [{"id": id_, "object": "model", "created": 1770000000, "owned_by": "system"} for id_ in ids]
        return as_json({"object": "list", "data": rows})

    # --- images ---------------------------------------------------------------------------------------------------

    def _generate(self, request: dict[str, Any]) -> Answer:
        quality, size, count = self._check_image_request(request)
        width, height = self.image_size or size
        output_format = request.get("output_format") or "png"
        picture = {"b64_json": encoded(width, height, output_format)}
        if self.revised_prompt:
            picture["revised_prompt"] = self.revised_prompt
        text = max(1, len(request["prompt"]) // 4)
        output = round(TOKENS.get(quality, 1000) * size[0] * size[1] / 1024**2) * count
        with self._count_lock:
            self.billed += count
        return as_json(
            {
                "created": int(time.time()),
                "background": "opaque",
                "output_format": output_format,
                "quality": quality,
                "size": f"{size[0]}x{size[1]}",
                "data": [picture] * count,
                "usage": {
                    "input_tokens": text,
                    "output_tokens": output,
                    "total_tokens": text + output,
                    "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
                },
            },
            headers={"x-request-id": f"req_{self.billed}"},
        )

    def _check_image_request(self, request: dict[str, Any]) -> tuple[str, tuple[int, int], int]:
        """(quality, size, number of images); raises Problem as the service would."""
        for name in request:
            if name not in IMAGE_FIELDS:
                raise Problem(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
        qualities, free = self._image_model(request.get("model"))
        prompt = request.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise Problem("Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt")
        if len(prompt) > 32_000:
            raise Problem("Invalid 'prompt': string too long.", code="string_above_max_length", param="prompt")
        for name, legal in (*CHOICES.items(), ("quality", qualities)):
            if request.get(name) is not None and request[name] not in legal:
                raise _invalid(name, request[name], legal)
        count = request.get("n") or 1
        if type(count) is not int or not 1 <= count <= 10:
            raise Problem(f"Invalid 'n': {count!r} is not between 1 and 10.", code="invalid_value", param="n")
        if request.get("background") == "transparent" and request.get("output_format") == "jpeg":
            raise Problem("Transparent background needs png or webp.", code="invalid_value", param="background")
        if "FORBIDDEN" in prompt:
            type_, message = BY_CODE["moderation_blocked"]
            raise Problem(message, code="moderation_blocked", type_=type_)
        quality = request.get("quality") or "auto"
        size = image_size(request.get("size"), free=free and self.free_sizes)
        return ("high" if quality == "auto" else quality), size, count

    def _image_model(self, model: Any) -> tuple[tuple[str, ...], bool]:
        if model in self.image_models:
            return self.image_models[model]
        raise _no_such_model(model)

    # --- chat -----------------------------------------------------------------------------------------------------

    def _chat(self, request: dict[str, Any]) -> Answer:
        if request.get("model") not in self.text_models:
            raise _no_such_model(request.get("model"))
        if fault := self.rules.fault(request):
            raise Problem(fault.message, code=fault.code, param=fault.param)
        reply = self.chat(request)
        with self._count_lock:
            self.chats += 1
        if isinstance(reply, tuple):
            status, body = reply
            return as_json(body, status)
        return as_json(completion(request, reply))


def _object(payload: Any) -> dict[str, Any]:
    if not isinstance(payload, dict):
        raise Problem("We could not parse the JSON body of your request.")
    return payload


def _no_such_model(model: Any) -> Problem:
    if model in RETIRED:
        return Problem(
            f"The model `{model}` has been deprecated, learn more here: https://platform.openai.com/docs/deprecations",
            code="model_not_found",
            status=404,
        )
    if not model:
        return Problem("you must provide a model parameter", param="model")
    return Problem(f"The model '{model}' does not exist.", code="model_not_found", status=404, param="model")


def _invalid(name: str, value: Any, legal: tuple[str, ...]) -> Problem:
    words = ", ".join(f"'{one}'" for one in legal)
    return Problem(f"Invalid value: '{value}'. Supported values are: {words}.", code="invalid_value", param=name)


def image_size(size: Any, *, free: bool) -> tuple[int, int]:
    """The size to make, or Problem: the rule of gpt-image-2, or the three standard sizes."""
    if size in (None, "auto"):
        return 1024, 1024
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size) if isinstance(size, str) else None
    if match is None or (not free and size not in FIXED_SIZES):
        raise _invalid("size", size, (*FIXED_SIZES, "auto"))
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
    import base64
    import io

    from PIL import Image

    ramp = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.point(lambda v: 255 - v)))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 1} if output_format == "png" else {"quality": 80}
    picture.save(buffer, output_format, **options)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in of the OpenAI API on localhost.")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--image-size", default="", help="answer every request with an image of this size, e.g. 64x64")
    options = parser.parse_args()
    size = None
    if options.image_size:
        width, _, height = options.image_size.partition("x")
        size = (int(width), int(height))
    server = OpenAIServer(key=options.key, port=options.port, delay=options.delay, image_size=size, record=False)
    with server:
        print(f"OPENAI_BASE_URL={server.url} OPENAI_API_KEY={server.key}", flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print(f"\n{server.billed} images, {server.chats} chat answers, {server.peak} at once.")


if __name__ == "__main__":
    main()
