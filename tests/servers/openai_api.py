"""A stand-in of the OpenAI API: models, image generation and chat completions, as strict as the documentation.

    with OpenAIServer() as server:
        client = openai.OpenAI(api_key=server.key, base_url=server.url)

By hand: ``python -m tests.servers.openai_api --port 8123 [--delay 0.2] [--key test-key] [--image-size 64x64]``.
Invariant: ``billed`` counts every image that was made, whether or not its answer arrived.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.multipart import parse_form
from tests.servers.openai_chat import ChatRules, completion, default_chat
from tests.servers.openai_errors import Problem, documented
from tests.servers.openai_images import IMAGE_MODELS, TEXT_TOKENS, TOKENS, Wanted, check_edit, check_request, encoded
from tests.servers.openai_shapes import moderation

__all__ = ["Fault", "OpenAIServer", "encoded"]

RETIRED = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-4", "gpt-3.5-turbo", "gpt-4.1-nano")
TEXT_MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-astra", "gpt-5.6-luna", "gpt-4.1-mini")


class OpenAIServer(Service):
    """The service. Switches a test may set at any time: ``free_sizes``, ``links``, ``response_format``, ``chat`` and
    the fields of ``rules``.

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
        #: Other servers answer with links, unless ``response_format`` (where they know it) is b64_json.
        self.links = False
        self.response_format = False
        self.image_models = dict(IMAGE_MODELS)
        self.text_models = [*TEXT_MODELS]
        self.rules = ChatRules()
        self.chat: Callable[[Any], Any] = default_chat
        #: Words that the moderation flags, with the category of each; None = there is no such endpoint.
        self.flags: dict[str, str] | None = {}
        #: Texts that were moderated.
        self.moderated: list[Any] = []
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
                case "POST", "/images/edits":
                    return self._edit(headers, payload)
                case "POST", "/chat/completions":
                    return self._chat(_object(payload))
                case "POST", "/moderations" if self.flags is not None:
                    self.moderated.append(_object(payload).get("input"))
                    return as_json(moderation(_object(payload), self.flags))
            raise Problem(f"Invalid URL ({method} {path})", status=404)
        except Problem as problem:
            return problem.answer

    def error(self, status: int, code: str = "") -> Answer:
        return documented(status, code)

    def parse(self, headers: Mapping[str, str], body: bytes) -> Any:
        return super().parse(headers, body) if (form := parse_form(headers, body)) is None else form

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
        self._image_model(request.get("model"))
        return self._make(check_request(request, self.image_models, **self._rules()), request.get("response_format"))

    def _edit(self, headers: Mapping[str, str], form: Any) -> Answer:
        if not headers.get("content-type", "").startswith("multipart/form-data") or not isinstance(form, dict):
            raise Problem("Invalid body: failed to parse multipart/form-data.")
        (model,) = form.get("model", [None])
        self._image_model(model)
        (response_format,) = form.get("response_format", [None])
        return self._make(check_edit(form, self.image_models, **self._rules()), response_format)

    def _rules(self) -> dict[str, bool]:
        return {"free_sizes": self.free_sizes, "response_format": self.response_format}

    def _make(self, wanted: Wanted, response_format: str | None) -> Answer:
        width, height = self.image_size or wanted.size
        picture = {"b64_json": encoded(width, height, wanted.output_format)}
        if self.links and response_format != "b64_json":
            picture = {"url": f"{self.url}/files/picture.{wanted.output_format}"}
        if self.revised_prompt:
            picture["revised_prompt"] = self.revised_prompt
        text = max(1, len(wanted.prompt) // 4) + TEXT_TOKENS * wanted.inputs
        pixels = wanted.size[0] * wanted.size[1]
        output = round(TOKENS.get(wanted.quality, 1000) * pixels / 1024**2) * wanted.count
        with self._count_lock:
            self.billed += wanted.count
        return as_json(
            {
                "created": int(time.time()),
                "background": "opaque",
                "output_format": wanted.output_format,
                "quality": wanted.quality,
                "size": f"{wanted.size[0]}x{wanted.size[1]}",
                "data": [picture] * wanted.count,
                "usage": {
                    "input_tokens": text + wanted.image_tokens,
                    "output_tokens": output,
                    "total_tokens": text + wanted.image_tokens + output,
                    "input_tokens_details": {"text_tokens": text, "image_tokens": wanted.image_tokens},
                },
            },
            headers={"x-request-id": f"req_{self.billed}"},
        )

    def _image_model(self, model: Any) -> None:
        if model not in self.image_models:
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
