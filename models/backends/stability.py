"""Stability's REST service (v2beta), the backend behind ``--stability``.

Invariant: ``generate`` makes exactly one call per request, and a picture that the service blurred never counts as a
result.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import sqrt
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from models.backends import http, output_images
from models.backends.input_images import InputImage, look_at, read_input
from models.catalog import Catalog, ModelRow, Sizes
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import BadAnswer, ModelError, RateLimited, Refused, UnsupportedRequest
from models.redaction import redact
from models.registry import BackendConfig
from models.sizes import SizeRule
from models.wire import short

OFFICIAL_URL = "https://api.stability.ai"
PATH = "v2beta/stable-image/generate"
#: Models with an address of their own; every other one is a model of the address ``sd3``.
ENDPOINTS = {"stable-image-core": "core", "stable-image-ultra": "ultra"}
SD3 = "sd3"
#: What the addresses take beyond prompt, shape, seed and options.
TAKES: Mapping[str, frozenset[str]] = {
    "core": frozenset(),
    "ultra": frozenset({"init_image"}),
    SD3: frozenset({"init_image", "guidance"}),
}
RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
#: For a row of the user's own that says nothing of sizes.
STANDARD_SIZES = Sizes(ratios=RATIOS)
#: Characters of the prompt and of the negative prompt.
TEXT_MAX = 10_000
#: The largest seed; 0 stands for any.
SEED_MAX = 4_294_967_294
GUIDANCE = (1, 10)
#: Bytes of a whole request, of which the fields and their separators need a little.
REQUEST_MAX = 10 * 1024 * 1024
SEPARATORS = 8 * 1024
#: Pixels of a side of a start image.
START_MIN, START_MAX = 64, 16_384
#: Calls under way at once, unless the user says otherwise; 150 may begin in 10 seconds.
IN_FLIGHT = 8
#: Seconds for which the service shuts out whoever asks too often.
SHUT_OUT = 60.0
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "style_preset": (
        *("3d-model", "analog-film", "anime", "cinematic", "comic-book", "digital-art", "enhance", "fantasy-art"),
        *("isometric", "line-art", "low-poly", "modeling-compound", "neon-punk", "origami", "photographic"),
        *("pixel-art", "tile-texture"),
    ),
    "output_format": ("png", "jpeg", "webp"),
}
#: Settings of a request that no model here has, and what to call them.
LACKING = {
    "mask": "mask",
    "references": "reference images",
    "loras": "LoRAs",
    "steps": "steps",
    "scheduler": "scheduler",
}
#: What to call the settings that some of the models have.
SOME_HAVE = {"init_image": "start image", "guidance": "guidance"}


class _Answer(BaseModel):
    image: str | None = None
    finish_reason: str | None = None
    #: Read on its own: a picture that was paid for is not thrown away over its seed.
    seed: Any = None


class StabilityBackend:
    """Renders with Stability's own service, which is told an aspect ratio and picks the size itself."""

    name = "stability"

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
        """``timeout`` is in seconds, for a whole answer; ``base_url`` None is Stability itself."""
        self.capabilities = Capabilities(
            summary="Stability's image models at a flat price per image; seeds, negative prompts, styles",
            paid=True,
            seeds=True,
            negative=True,
            max_batch=1,
            max_in_flight=max_in_flight,
            init_image=True,
            settings=frozenset({"guidance", "strength"}),
            options=frozenset(OPTIONS),
        )
        self._key = key
        #: None is Stability itself, also where the user spells that out.
        self._base_url = base_url if base_url and base_url.rstrip("/") != OFFICIAL_URL else None
        #: What messages call the service.
        self._what = f"{self.name} ({redact(self._base_url)})" if self._base_url else "Stability"
        self._catalog = catalog
        self._model = model
        self._timeout = timeout
        self._api: http.HttpApi | None = None
        self._lock = threading.Lock()

    # --- before any spend -----------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        return self._row(request).id

    def check(self, request: ImageRequest) -> None:
        self._check_setup()
        row = self._row(request)
        self._check_settings(request, row)
        _check_options(request.options, row.id)
        _check_texts(request, row.id)
        if request.seed is not None and not 0 <= request.seed <= SEED_MAX + 1:
            raise UnsupportedRequest(f"Seed {request.seed} is out of range.", hint=f"Use 1 to {SEED_MAX}.")
        if request.init_image is not None:
            _look_at_start(request.init_image, request)
        self.render_size(request)

    def _check_setup(self) -> None:
        http.check_setup(key=self._key, base_url=self._base_url, what=self._what, setting="STABILITY_API_KEY")

    def _check_settings(self, request: ImageRequest, row: ModelRow) -> None:
        for setting, words in LACKING.items():
            if getattr(request, setting) not in (None, ()):
                raise UnsupportedRequest(
                    f"{self.name} takes no {words}.",
                    hint="Leave it out, or choose a backend that does: `python main.py backends` lists them.",
                )
        for setting, words in SOME_HAVE.items():
            if getattr(request, setting) is not None and setting not in TAKES[_endpoint(row)]:
                raise UnsupportedRequest(f"{row.id} takes no {words}.", hint=f"Models that do: {self._which(setting)}.")
        if (request.init_image is None) != (request.strength is None):
            raise UnsupportedRequest(
                f"{row.id} needs both a start image and a strength, or neither.",
                hint="The strength is 0 to 1: a little above 0 keeps close to the start image, 1 ignores it.",
            )
        for name, value, (low, high) in (
            ("strength", request.strength, (0, 1)),
            ("guidance", request.guidance, GUIDANCE),
        ):
            # Written so that NaN is refused too.
            if value is not None and not low <= value <= high:
                raise UnsupportedRequest(f"{row.id} has no {name} {value:g}.", hint=f"Use {low} to {high}.")

    def _which(self, setting: str) -> str:
        """The living models that have the setting."""
        today = self._catalog.today
        rows = [row for row in self._catalog.rows("image") if row.backend == self.name and not row.retired(today)]
        return ", ".join(row.id for row in rows if setting in TAKES[_endpoint(row)])

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        """About the size that comes back: the service publishes no exact ones."""
        row = self._row(request)
        sizes = _sizes(row)
        rule = sizes.rule()
        if request.init_image is not None and _endpoint(row) == SD3:
            # This address takes its shape from the start image.
            start = _look_at_start(request.init_image, request)
            shape = start.width / start.height
            rule = SizeRule(fixed=((round(sqrt(sizes.pixels * shape)), round(sqrt(sizes.pixels / shape))),))
        return rule.cover(request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        return self._row(request).price

    def _row(self, request: ImageRequest) -> ModelRow:
        name = request.model or self._model
        if not name:
            return self._catalog.default("image", self.name)
        return self._catalog.resolve("image", name, self.name)

    # --- rendering ------------------------------------------------------------------------------------------------

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        return [self._generate(request) for request in batch]

    def _generate(self, request: ImageRequest) -> GeneratedImage | ModelError:
        try:
            row = self._row(request)
            form = self._form(request, row)
            files = _files(request)
            api = self._connect()
            reply = api.raw("POST", f"{PATH}/{_endpoint(row)}", form=form, files=files)
            if reply.status >= 300:
                raise self._error(api.error(reply), reply)
            return self._read(reply.body, row, form)
        except ModelError as error:
            return error

    def _form(self, request: ImageRequest, row: ModelRow) -> dict[str, str]:
        """The text fields, of those that the model knows."""
        endpoint = _endpoint(row)
        form = {"prompt": request.prompt}
        if request.negative.strip():
            form["negative_prompt"] = request.negative
        if endpoint == SD3:
            form["model"] = row.id
            form["mode"] = "text-to-image" if request.init_image is None else "image-to-image"
        if endpoint != SD3 or request.init_image is None:
            form["aspect_ratio"] = _sizes(row).by_ratio()[_sizes(row).rule().cover(request.width, request.height)]
        if request.strength is not None:
            form["strength"] = _decimal(request.strength)
        if request.guidance is not None:
            form["cfg_scale"] = _decimal(request.guidance)
        # One of our seeds is beyond the range, and 0 means any: then the service deals one, and its answer says which.
        if request.seed is not None and 0 < request.seed <= SEED_MAX:
            form["seed"] = str(request.seed)
        return {**form, **request.options}

    def _error(self, error: ModelError, reply: http.Reply) -> ModelError:
        """The error of a status, where Stability says more than the status does."""
        if _name_of(reply) == "content_moderation" or reply.status == 422:
            # 422 is how it turns down a prompt that is well-formed, e.g. one that is not English.
            return Refused(error.message, cost_usd=Decimal(0))
        if isinstance(error, RateLimited) and error.retry_after is None and not self._base_url:
            error.retry_after = SHUT_OUT
        return error

    def _connect(self) -> http.HttpApi:
        with self._lock:
            if self._api is None:
                self._check_setup()
                self._api = http.HttpApi(
                    self._base_url or OFFICIAL_URL,
                    what=self._what,
                    setting="STABILITY_API_KEY",
                    headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                    timeout=self._timeout,
                    connections=self.capabilities.max_in_flight,
                )
            return self._api

    def _read(self, body: bytes, row: ModelRow, form: Mapping[str, str]) -> GeneratedImage:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError as exc:
            # Without the input, which may be anything.
            raise BadAnswer(f"{self._what}: the answer cannot be read: {exc.errors()[0]['msg']}.") from None
        if answer.finish_reason == "CONTENT_FILTERED":
            # Documented as a successful generation that was blurred, and successful generations as billed.
            raise Refused(
                f"{self._what}: the picture was made, found to be against the content policy, and blurred.",
                cost_usd=row.price,
                hint="It is counted as paid for.",
            )
        if answer.finish_reason not in (None, "SUCCESS"):
            raise BadAnswer(f"{self._what}: the work ended with {short(answer.finish_reason)!r}.")
        picture = output_images.from_base64(answer.image or "", what=self._what)
        return GeneratedImage(
            image=picture.data,
            width=picture.width,
            height=picture.height,
            seed=_seed(answer.seed, form.get("seed")),
            model=row.id,
            cost_usd=row.price,
        )

    def close(self) -> None:
        with self._lock:
            api, self._api = self._api, None
        if api is not None:
            api.close()


def build(config: BackendConfig) -> StabilityBackend:
    """The backend from the settings its row in the registry names."""
    return StabilityBackend(
        key=config.settings.get("STABILITY_API_KEY"),
        base_url=config.settings.get("STABILITY_BASE_URL"),
        catalog=config.catalog,
        model=config.settings.get("STABILITY_MODEL"),
        timeout=config.timeout,
        max_in_flight=config.max_in_flight or IN_FLIGHT,
    )


def _endpoint(row: ModelRow) -> str:
    return ENDPOINTS.get(row.id, SD3)


def _sizes(row: ModelRow) -> Sizes:
    return row.sizes if row.sizes is not None and row.sizes.ratios else STANDARD_SIZES


def _check_options(options: Mapping[str, str], model: str) -> None:
    for name, value in options.items():
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(OPTIONS)}."
            raise UnsupportedRequest(f"stability has no option {name!r}.", hint=hint)
        if value not in OPTIONS[name]:
            raise UnsupportedRequest(
                f"{model} has no {name} {value!r}.", hint=f"Use one of: {', '.join(OPTIONS[name])}."
            )


def _check_texts(request: ImageRequest, model: str) -> None:
    if not request.prompt.strip():
        raise UnsupportedRequest("The prompt is empty.")
    for words, text in (("prompt", request.prompt), ("negative prompt", request.negative)):
        if len(text) > TEXT_MAX:
            raise UnsupportedRequest(f"The {words} has {len(text)} characters; {model} takes {TEXT_MAX} at most.")


def _room(request: ImageRequest) -> int:
    """Bytes that the texts of the request leave for a start image."""
    return REQUEST_MAX - SEPARATORS - len(request.prompt.encode()) - len(request.negative.encode())


def _look_at_start(path: Path, request: ImageRequest) -> InputImage:
    start = look_at(path, max_bytes=_room(request))
    if min(start.size) < START_MIN or max(start.size) > START_MAX:
        raise UnsupportedRequest(
            f"The start image {str(path)!r} has {start.width}x{start.height} pixels.",
            hint=f"Each side must be {START_MIN} to {START_MAX}.",
        )
    return start


def _files(request: ImageRequest) -> dict[str, Any] | None:
    if request.init_image is None:
        return None
    start = _look_at_start(request.init_image, request)
    # Not the name of the user's file, which is nobody's business.
    data = read_input(request.init_image, max_bytes=_room(request))
    return {"image": (f"start.{start.format}", data, start.media_type)}


def _decimal(value: float) -> str:
    """Without an exponent, which not every reader of forms knows."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _name_of(reply: http.Reply) -> str:
    """The ``name`` in an error's body; empty where it has none."""
    try:
        body = reply.json()
    except ValueError:
        return ""
    return str(body.get("name", "")) if isinstance(body, dict) else ""


def _seed(answered: Any, sent: str | None) -> int | None:
    """The seed the service names; failing that the one it was sent, which may be none."""
    if type(answered) is int and 0 < answered <= SEED_MAX:
        return answered
    return int(sent) if sent else None
