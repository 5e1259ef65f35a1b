"""OpenAI Images, the backend behind ``--dalle``: whatever image model OpenAI offers now, through the official SDK.

Invariant: ``generate`` makes at most one paid call per request; only a refusal of the size, which is not billed, is
followed by a second one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from models import openai_api
from models.backends import dalle_answer, dalle_inputs, dalle_options
from models.catalog import Catalog, ModelRow
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import BadAnswer, ModelError, SetupError, UnsupportedRequest
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
        free: bool = False,
        needs_model: bool = False,
        key_setting: str = "OPENAI_API_KEY",
    ) -> None:
        """``timeout`` is in seconds, for a whole answer; ``base_url`` None is OpenAI itself.

        ``free``: the user says that this endpoint costs nothing. ``needs_model``: our default model means nothing
        there. ``key_setting`` is where the key comes from, for messages.
        """
        self._official = openai_api.is_official(base_url)
        self._claims_free = free
        self._free = free and not self._official
        self.capabilities = Capabilities(
            summary="OpenAI's image models, paid by the token; no seeds, no negative prompts",
            paid=not self._free,
            seeds=False,
            negative=False,
            max_batch=1,
            max_in_flight=max_in_flight,
            init_image=True,
            mask=True,
            references=dalle_inputs.IMAGES_MAX,
            options=frozenset(dalle_options.OPTIONS),
        )
        self._key = key
        self._base_url = base_url
        self._needs_model = needs_model
        self._key_setting = key_setting
        #: What messages call the service.
        self._what = "OpenAI Images" if self._official else f"{self.name} ({redact(base_url or '')})"
        self._catalog = catalog
        self._model = model
        self._timeout = timeout
        #: Models that turned out to render their fallback sizes only.
        self._fixed_sizes: set[str] = set()
        #: The server answers with links unless it is asked for the picture itself.
        self._ask_for_base64 = False
        self._client: OpenAI | None = None
        self._lock = threading.Lock()

    # --- before any spend -----------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        """The model named by the request, the settings or the catalog; snapshots and unknown names stay as typed."""
        name = request.model or self._model
        if not name and self._needs_model:
            raise SetupError(
                f"No image model is named for {redact(self._base_url or '')}.",
                hint="Name one of that server with --model, or DALLE_MODEL=... in the environment or .env.",
            )
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
        if self._claims_free and self._official:
            raise SetupError(
                "OPENAI_IMAGES_FREE says that images cost nothing, but they come from OpenAI, which bills them.",
                hint="Take it out, or set OPENAI_IMAGES_BASE_URL to the server that is free.",
            )
        model = self.model_for(request)
        dalle_options.check_settings(request, self.name)
        dalle_options.check_options(
            request.options,
            name=self.name,
            model=model,
            row=self._row(model),
            official=self._official,
            edits=dalle_inputs.is_edit(request),
        )
        dalle_inputs.check_inputs(request, self.name)
        if not request.prompt.strip():
            raise UnsupportedRequest("The prompt is empty.")
        if len(request.prompt) > PROMPT_MAX:
            raise UnsupportedRequest(
                f"The prompt has {len(request.prompt)} characters; {model} takes {PROMPT_MAX} at most."
            )
        self.render_size(request)

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        model = self.model_for(request)
        rule = self._rule(model)
        # A model that nobody has described is asked for exactly what the user asked for.
        return rule.cover(request.width, request.height) if rule else (request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        """Tokens of the quality, in proportion to the pixels, and of what is sent, at the prices of the catalog."""
        if self._free:
            return Decimal(0)
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
        given = dalle_inputs.input_tokens(request, row)
        if tokens is None or given is None or "image_out" not in row.per_million:
            return None
        width, height = self.render_size(request)
        image_out = ceil(Fraction(tokens * width * height, 1024 * 1024))
        # Bytes, not characters: a character beyond ASCII is more often a token of its own.
        text_in = ceil(len(request.prompt.encode()) / 4) + given["text_in"]
        return row.cost({"text_in": text_in, "image_in": given["image_in"], "image_out": image_out})

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
        options = dalle_options.as_sent(request.options, row.default_quality if row else "")
        if self._ask_for_base64:
            options["response_format"] = "b64_json"
        asked: dict[str, Any] = {
            "model": model,
            "prompt": request.prompt,
            "n": 1,
            "size": format_size(size),
            "extra_body": options,
        }
        edits = dalle_inputs.is_edit(request)
        files = dalle_inputs.uploads(request) if edits else {}
        images: Any = self._connect().images.with_streaming_response
        try:
            with images.edit(**files, **asked) if edits else images.generate(**asked) as response:
                return self._body(response.iter_bytes())
        except openai.BadRequestError as exc:
            if _is_about_size(exc) and row and row.fallback_sizes and format_size(size) not in row.fallback_sizes:
                raise _SizeRefused from exc
            raise self._translate(exc) from None
        except (openai.OpenAIError, httpx2.HTTPError) as exc:
            raise self._translate(exc) from None

    def _body(self, chunks: Iterable[bytes]) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > ANSWER_MAX:
                raise BadAnswer(f"{self._what}: the answer is larger than {ANSWER_MAX // 1024**2} MB.")
        return bytes(body)

    def _translate(self, exc: Exception) -> ModelError:
        return openai_api.translate(exc, what=self._what, setting=self._key_setting)

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
            picture, usage, details = dalle_answer.read(body, what=self._what)
        except dalle_answer.LinkAnswer as exc:
            raise self._link(exc) from None
        row = self._row(model)
        cost = row.cost(usage) if row is not None and (usage or row.price is not None) else None
        return GeneratedImage(
            image=picture.data,
            width=picture.width,
            height=picture.height,
            model=model,
            cost_usd=Decimal(0) if self._free else cost,
            usage=usage,
            details=details,
        )

    def _link(self, exc: dalle_answer.LinkAnswer) -> BadAnswer:
        """What to say of a link; the picture behind it may be paid for, so asking again is left to the engine."""
        if self._official or self._ask_for_base64:
            return BadAnswer(exc.message, hint="It must answer with b64_json; look for such a setting of the server.")
        self._ask_for_base64 = True
        return BadAnswer(
            exc.message,
            hint="From now on it is asked for b64_json; --option response_format=b64_json does so from the start.",
        )

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def build(config: BackendConfig) -> DalleBackend:
    """The backend from the settings its row in the registry names."""
    settings = config.settings
    own = settings.get("OPENAI_IMAGES_BASE_URL")
    key, key_setting = _key(settings)
    return DalleBackend(
        key=key,
        key_setting=key_setting,
        base_url=own or settings.get("OPENAI_BASE_URL"),
        catalog=config.catalog,
        model=settings.get("DALLE_MODEL"),
        timeout=config.timeout,
        max_in_flight=config.max_in_flight or IN_FLIGHT,
        free=(settings.get("OPENAI_IMAGES_FREE") or "").casefold() == "true",
        needs_model=bool(own) and not openai_api.is_official(own),
    )


def _key(settings: Mapping[str, str | None]) -> tuple[str | None, str]:
    """The key, and the setting it comes from. OPENAI_API_KEY is never sent to a host that it was not set for."""
    own_url, own_key = settings.get("OPENAI_IMAGES_BASE_URL"), settings.get("OPENAI_IMAGES_API_KEY")
    shared = (
        not own_url
        or openai_api.is_official(own_url)
        or openai_api.host_of(own_url) == openai_api.host_of(settings.get("OPENAI_BASE_URL"))
    )
    if own_key or not shared:
        return own_key, "OPENAI_IMAGES_API_KEY"
    return settings.get("OPENAI_API_KEY"), "OPENAI_API_KEY"


class _SizeRefused(Exception):
    """The service does not render this size; nothing was made or billed."""


def _is_about_size(exc: BadRequestError) -> bool:
    """Whether the size to render was refused, and not that of a file."""
    if exc.param:
        return exc.param == "size"
    words = set(exc.message.casefold().replace("'", " ").split())
    return "size" in words and not words & {"mask", "file", "mb", "megabytes"}


def _casefolded(names: Sequence[str]) -> set[str]:
    return {name.casefold() for name in names}
