"""OpenAI Images, the backend behind ``--dalle``: whatever image model OpenAI offers now, through the official SDK.

Invariant: ``generate`` makes at most one paid call per request; only a refusal of the size, which is not billed, is
followed by a second one.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import io
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from models import openai_api
from models.catalog import Catalog, ModelRow
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import BadAnswer, ModelError, UnsupportedRequest
from models.redaction import redact
from models.sizes import SizeRule, format_size, parse_size

if TYPE_CHECKING:
    from openai import BadRequestError, OpenAI

    from models.registry import BackendConfig

PROMPT_MAX = 32_000
#: Calls under way at once, unless the user says otherwise.
IN_FLIGHT = 8
#: No picture is larger (the largest size there is, as an uncompressed PNG in base64, is 44 million characters).
ANSWER_MAX = 128 * 1024 * 1024
#: What the options may be; ``quality`` depends on the model.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "quality": (),
    "background": ("transparent", "opaque", "auto"),
    "moderation": ("low", "auto"),
    "output_format": ("png", "webp", "jpeg"),
}
#: Settings of a request that this service does not have, and what to call them.
LACKING = {
    "init_image": "start image",
    "strength": "strength",
    "references": "reference images",
    "loras": "LoRAs",
    "steps": "steps",
    "guidance": "guidance",
    "scheduler": "scheduler",
}


class _Picture(BaseModel):
    b64_json: str | None = None
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


class DalleBackend:
    """Renders with OpenAI's image models, or with any server that speaks the same protocol."""

    name = "dalle"

    def __init__(
        self,
        *,
        key: str | None,
        base_url: str | None,
        catalog: Catalog,
        model: str | None = None,
        timeout: float = 300,
        max_in_flight: int = IN_FLIGHT,
    ) -> None:
        """``timeout`` is the longest silence in seconds; ``base_url`` None is OpenAI itself."""
        self.capabilities = Capabilities(
            summary="OpenAI's image models, paid by the token; no seeds, no negative prompts",
            paid=True,
            seeds=False,
            negative=False,
            max_batch=1,
            max_in_flight=max_in_flight,
            options=frozenset(OPTIONS),
        )
        self._key = key
        self._base_url = base_url
        self._official = openai_api.is_official(base_url)
        #: What messages call the service.
        self._what = "OpenAI Images" if self._official else f"{self.name} ({redact(base_url or '')})"
        self._catalog = catalog
        self._model = model
        self._timeout = timeout
        #: Models that turned out to render their fallback sizes only.
        self._fixed_sizes: set[str] = set()
        self._client: OpenAI | None = None
        self._lock = threading.Lock()

    # --- before any spend -----------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        """The model named by the request, the settings or the catalog; snapshots and unknown names stay as typed."""
        name = request.model or self._model
        if not name:
            return self._catalog.default("image", self.name).id
        row = self._row(name)
        if row is not None and (row.retired(self._catalog.today) or name.casefold() in _casefolded(row.aliases)):
            return self._catalog.resolve("image", name, self.name).id
        if row is None and self._official:
            return self._catalog.resolve("image", name, self.name).id
        return row.id if row is not None and name.casefold() == row.id.casefold() else name

    def check(self, request: ImageRequest) -> None:
        openai_api.check_setup(key=self._key, base_url=self._base_url)
        model = self.model_for(request)
        for setting, words in LACKING.items():
            if getattr(request, setting) not in (None, ()):
                raise UnsupportedRequest(
                    f"{self.name} takes no {words}.",
                    hint="Leave it out, or choose a backend that does: `python main.py backends` lists them.",
                )
        self._check_options(request.options, model)
        if not request.prompt.strip():
            raise UnsupportedRequest("The prompt is empty.")
        if len(request.prompt) > PROMPT_MAX:
            raise UnsupportedRequest(
                f"The prompt has {len(request.prompt)} characters; {model} takes {PROMPT_MAX} at most."
            )
        self.render_size(request)

    def _check_options(self, options: Mapping[str, str], model: str) -> None:
        row = self._row(model)
        for name, value in options.items():
            if name not in OPTIONS:
                close = difflib.get_close_matches(name, OPTIONS, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(OPTIONS)}."
                raise UnsupportedRequest(f"{self.name} has no option {name!r}.", hint=hint)
            legal = OPTIONS[name] or (row.qualities if row else ())
            if legal and value not in legal:
                raise UnsupportedRequest(f"{model} has no {name} {value!r}.", hint=f"Use one of: {', '.join(legal)}.")
        if options.get("background") == "transparent" and options.get("output_format") == "jpeg":
            raise UnsupportedRequest("A JPEG cannot be transparent.", hint="Use output_format png or webp.")

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        model = self.model_for(request)
        rule = self._rule(model)
        # A model that nobody has described is asked for exactly what the user asked for.
        return rule.cover(request.width, request.height) if rule else (request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        """Tokens of the quality, in proportion to the pixels, and those of the prompt, at the prices of the catalog."""
        row = self._row(self.model_for(request))
        if row is None:
            return None
        if row.price is not None:
            return row.price
        quality = request.options.get("quality") or row.default_quality or "auto"
        tokens = row.tokens.get(quality)
        if quality == "auto" and row.tokens:
            # "auto" is documented as the best quality of the model: a budget is kept only if the dearest is reserved.
            tokens = max(row.tokens.values())
        if tokens is None or "image_out" not in row.per_million:
            return None
        width, height = self.render_size(request)
        image_out = ceil(Fraction(tokens * width * height, 1024 * 1024))
        # Bytes, not characters: a character beyond ASCII is more often a token of its own.
        text_in = ceil(len(request.prompt.encode()) / 4)
        return row.cost({"text_in": text_in, "image_out": image_out})

    def _row(self, model: str) -> ModelRow | None:
        row = self._catalog.find("image", model)
        return row if row is not None and row.backend == self.name else None

    def _rule(self, model: str) -> SizeRule | None:
        row = self._row(model)
        if row is None:
            return None
        if model in self._fixed_sizes:
            return SizeRule(fixed=tuple(parse_size(size) for size in row.fallback_sizes))
        return row.sizes.rule() if row.sizes else None

    # --- rendering ------------------------------------------------------------------------------------------------

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        return [self._generate(request) for request in batch]

    def _generate(self, request: ImageRequest) -> GeneratedImage | ModelError:
        try:
            model = self.model_for(request)
            size = self.render_size(request)
            try:
                body = self._ask(request, model, size)
            except _SizeRefused:
                self._fixed_sizes.add(model)
                body = self._ask(request, model, self.render_size(request))
            return self._read(body, model)
        except ModelError as error:
            return error

    def _ask(self, request: ImageRequest, model: str, size: tuple[int, int]) -> bytes:
        """The body of the answer to one call; raises a ModelError, or _SizeRefused where other sizes may do."""
        import httpx2
        import openai

        row = self._row(model)
        options = {"quality": row.default_quality if row else "", **request.options}
        try:
            with self._connect().images.with_streaming_response.generate(
                model=model,
                prompt=request.prompt,
                n=1,
                size=format_size(size),
                extra_body={name: value for name, value in options.items() if value},
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MAX:
                        raise BadAnswer(f"{self._what}: the answer is larger than {ANSWER_MAX // 1024**2} MB.")
                return bytes(body)
        except openai.BadRequestError as exc:
            if _is_about_size(exc) and row and row.fallback_sizes and format_size(size) not in row.fallback_sizes:
                raise _SizeRefused from exc
            raise openai_api.translate(exc, what=self._what) from None
        except (openai.OpenAIError, httpx2.HTTPError) as exc:
            raise openai_api.translate(exc, what=self._what) from None

    def _connect(self) -> OpenAI:
        with self._lock:
            if self._client is None:
                self._client = openai_api.make_client(
                    key=self._key,
                    base_url=self._base_url,
                    timeout=self._timeout,
                    connections=self.capabilities.max_in_flight,
                )
            return self._client

    def _read(self, body: bytes, model: str) -> GeneratedImage:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError as exc:
            # Without the input, which may be anything.
            raise BadAnswer(f"{self._what}: the answer cannot be read: {exc.errors()[0]['msg']}.") from None
        if not answer.data or not answer.data[0].b64_json:
            raise BadAnswer(f"{self._what}: the answer holds no picture.")
        picture = answer.data[0]
        data = _decode(picture.b64_json or "", self._what)
        width, height = _dimensions(data, self._what)
        usage = _tokens(answer.usage)
        row = self._row(model)
        cost = row.cost(usage) if row is not None and (usage or row.price is not None) else None
        details = {"revised_prompt": picture.revised_prompt} if picture.revised_prompt else {}
        return GeneratedImage(
            image=data, width=width, height=height, model=model, cost_usd=cost, usage=usage, details=details
        )

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def build(config: BackendConfig) -> DalleBackend:
    """The backend from the settings its row in the registry names."""
    return DalleBackend(
        key=config.settings.get("OPENAI_API_KEY"),
        base_url=config.settings.get("OPENAI_BASE_URL"),
        catalog=config.catalog,
        model=config.settings.get("DALLE_MODEL"),
        timeout=config.timeout,
        max_in_flight=config.max_in_flight or IN_FLIGHT,
    )


class _SizeRefused(Exception):
    """The service does not render this size; nothing was made or billed."""


def _is_about_size(exc: BadRequestError) -> bool:
    if exc.param:
        return exc.param == "size"
    return "size" in exc.message.casefold().replace("'", " ").split()


def _casefolded(names: Sequence[str]) -> set[str]:
    return {name.casefold() for name in names}


def _decode(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswer(f"{what}: the picture is not valid base64.") from None
    if not data:
        raise BadAnswer(f"{what}: the picture is empty.")
    return data


def _dimensions(data: bytes, what: str) -> tuple[int, int]:
    """Width and height as the file itself says; its pixels are not decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadAnswer(f"{what}: what came is no PNG, JPEG or WebP picture.") from None


def _tokens(usage: Any) -> dict[str, int]:
    """Tokens by the kinds that are priced; empty when the service did not count, or not in a way we know."""
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
