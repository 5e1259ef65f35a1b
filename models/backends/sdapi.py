"""Any AUTOMATIC1111-style server, the backend behind ``--sdapi``: AUTOMATIC1111, Forge, SD.Next, Draw Things.

Invariant: names the server would silently replace by its own (checkpoint, sampler, schedule, LoRA, VAE) are looked up
in its lists first, and a picture that an interruption left unfinished is never handed out.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from models.backends import sdapi_images as images
from models.backends.sdapi_server import START, Kind, SdServer
from models.catalog import Catalog, ModelRow
from models.contract import Capabilities, GeneratedImage, ImageRequest, Lora, Progress
from models.errors import BadAnswer, ModelError, SetupError, Unavailable, UnsupportedRequest
from models.sizes import SizeRule

if TYPE_CHECKING:
    from models.registry import BackendConfig

#: Any size in steps of 8; below 512x512 these models draw nothing sensible, so that is rendered and scaled down.
#: A catalog row of the user's own with ``backend = "sdapi"`` says otherwise for its model.
SIZES = SizeRule(multiple=8, min_pixels=512 * 512, max_pixels=2048 * 2048, max_side=2048, max_ratio=32)
SEEDS = 2**32
#: File endings that people type after the name of a LoRA.
LORA_FILES = (".safetensors", ".ckpt", ".pt")
SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class _Number:
    """What a number may be."""

    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"

    def takes(self, value: float) -> bool:
        return isfinite(value) and self.low <= value <= self.high and (not self.whole or value == int(value))


#: What the options may be: a number, a switch (bool) or a name (str).
OPTIONS: Mapping[str, _Number | type[bool] | type[str]] = {
    "clip_skip": _Number(1, 12, whole=True),
    "schedule": str,
    "vae": str,
    "restore_faces": bool,
    "tiling": bool,
    "distilled_guidance": _Number(0, 100),
    "mask_blur": _Number(0, 64, whole=True),
}
LIMITS = {"steps": _Number(1, 1000, whole=True), "guidance": _Number(0, 100), "strength": _Number(0, 1)}


class _Answer(BaseModel):
    images: list[str] | None = None
    #: JSON as text; Draw Things has none.
    info: Any = None


class SdapiBackend:
    """Renders on a server of the user's own; free, one image at a time.

    One image per call although these servers can batch: only AUTOMATIC1111 and its children promise seed+1 for the
    second image, a batch needs several times the memory, its pixels differ a little from those of single images (so
    ``rerun`` would not give them again), and one failure would take all of them along.
    """

    name = "sdapi"

    def __init__(self, *, url: str | None, catalog: Catalog, model: str | None = None, timeout: float = 300) -> None:
        """``url`` None is the usual address; it may hold user and password. Nothing is asked of the server yet."""
        self.capabilities = Capabilities(
            summary="a Stable Diffusion server of your own: AUTOMATIC1111, Forge, SD.Next, Draw Things; free",
            paid=False,
            seeds=True,
            negative=True,
            max_batch=1,
            # A GPU does one thing at a time: more would only queue up there and run out of time.
            max_in_flight=1,
            init_image=True,
            mask=True,
            progress=True,
            settings=frozenset({"steps", "guidance", "scheduler", "strength", "loras"}),
            options=frozenset(OPTIONS),
        )
        self._url = url
        self._catalog = catalog
        self._model = model
        self._timeout = timeout
        self._server: SdServer | None = None
        self._lock = threading.Lock()
        self._under_way = 0
        self._interruptions = 0

    # --- before any work ------------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        """The checkpoint named by the request or the settings; nothing means the one the server has loaded."""
        name = request.model or self._model or ""
        row = self._row(name)
        return row.id if row is not None else name

    def check(self, request: ImageRequest) -> None:
        """Check everything here first, then that the server is there and knows the names; SetupError if it is not."""
        self._check_settings(request)
        _read_options(request.options)
        _lora_tags(request.loras)
        self.render_size(request)
        self._check_pictures(request)
        try:
            server = self._connect()
            server.reach()
            self._names(server, request)
        except Unavailable as error:
            # A server that is merely busy will do; one that is not there has to be started before anything is spent.
            if error.hint == START:
                raise SetupError(error.message, hint=error.hint) from None

    def _check_settings(self, request: ImageRequest) -> None:
        if not request.prompt.strip():
            raise UnsupportedRequest("The prompt is empty.")
        if request.references:
            raise UnsupportedRequest(
                f"{self.name} takes no reference images.",
                hint="Use a start image (init_image), or a backend that does: `python main.py backends` lists them.",
            )
        for setting, limits in LIMITS.items():
            value = getattr(request, setting)
            if value is not None and not limits.takes(value):
                raise UnsupportedRequest(f"{setting} is {value}; use {limits}.")
        if request.seed is not None and not 0 <= request.seed < SEEDS:
            raise UnsupportedRequest(f"Seed {request.seed} is out of range; use 0 to {SEEDS - 1}.")

    def _check_pictures(self, request: ImageRequest) -> None:
        if request.init_image is not None:
            images.check_start_image(request.init_image, request.mask)
            return
        for setting in ("strength", "mask"):
            if getattr(request, setting) is not None:
                raise UnsupportedRequest(f"A {setting} needs a start image.", hint="Name one: init_image.")

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        row = self._row(self.model_for(request))
        rule = row.sizes.rule() if row is not None and row.sizes is not None else SIZES
        return rule.cover(request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        return Decimal(0)

    def _row(self, model: str) -> ModelRow | None:
        row = self._catalog.find("image", model) if model else None
        return row if row is not None and row.backend == self.name else None

    # --- rendering ------------------------------------------------------------------------------------------------

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        return [self._generate(request) for request in batch]

    def _generate(self, request: ImageRequest) -> GeneratedImage | ModelError:
        with self._lock:
            self._under_way += 1
            interruptions = self._interruptions
        try:
            server = self._connect()
            answer = server.render(
                "txt2img" if request.init_image is None else "img2img", self._payload(server, request)
            )
            if self._interruptions != interruptions:
                raise Unavailable(f"{server.what} was interrupted: the picture is not finished.")
            return self._read(answer, request, server.what)
        except ModelError as error:
            return error
        finally:
            with self._lock:
                self._under_way -= 1

    def _names(self, server: SdServer, request: ImageRequest) -> dict[str, str]:
        """The names in a request as the server spells them."""
        asked: dict[Kind, str | None] = {
            "model": self.model_for(request),
            "sampler": request.scheduler,
            "schedule": request.options.get("schedule"),
            "VAE": request.options.get("vae"),
        }
        for lora in request.loras:
            server.find("LoRA", _lora_name(lora))
        return {kind: server.find(kind, name) for kind, name in asked.items() if name}

    def _payload(self, server: SdServer, request: ImageRequest) -> dict[str, Any]:
        names, options = self._names(server, request), _read_options(request.options)
        width, height = self.render_size(request)
        settings = {
            "sd_model_checkpoint": names.get("model"),
            "sd_vae": names.get("VAE"),
            "CLIP_stop_at_last_layers": options.get("clip_skip"),
        }
        payload = {
            "prompt": " ".join([request.prompt, *_lora_tags(request.loras)]),
            "negative_prompt": request.negative,
            "seed": -1 if request.seed is None else request.seed,
            "width": width,
            "height": height,
            "steps": request.steps,
            # Draw Things has names of its own for some of these; the others pass over them.
            "cfg_scale": request.guidance,
            "guidance_scale": request.guidance,
            "sampler_name": names.get("sampler"),
            "sampler_index": names.get("sampler"),
            "model": names.get("model"),
            "scheduler": names.get("schedule"),
            "clip_skip": options.get("clip_skip"),
            "restore_faces": options.get("restore_faces"),
            "tiling": options.get("tiling"),
            "distilled_cfg_scale": options.get("distilled_guidance"),
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            "override_settings": {name: value for name, value in settings.items() if value is not None},
            "override_settings_restore_afterwards": True,
            **self._start(request, (width, height), options.get("mask_blur")),
        }
        return {name: value for name, value in payload.items() if value is not None}

    def _start(self, request: ImageRequest, size: tuple[int, int], mask_blur: int | None) -> dict[str, Any]:
        """What img2img needs beyond txt2img."""
        if request.init_image is None:
            return {}
        start: dict[str, Any] = {
            "init_images": [images.start_image(request.init_image, size)],
            "denoising_strength": request.strength,
        }
        if request.mask is not None:
            start |= {
                "mask": images.mask_image(request.mask, size),
                "mask_blur": mask_blur,
                # Begin from the picture itself, and look at all of it: the rest must fit what stays.
                "inpainting_fill": 1,
                "inpaint_full_res": False,
                "inpainting_mask_invert": 0,
            }
        return start

    def _read(self, body: Mapping[str, Any], request: ImageRequest, what: str) -> GeneratedImage:
        try:
            answer = _Answer.model_validate(body)
        except ValidationError as exc:
            # Without the input, which may be anything.
            raise BadAnswer(f"{what}: the answer cannot be read: {exc.errors()[0]['msg']}.") from None
        if not answer.images or not answer.images[0]:
            raise BadAnswer(f"{what}: the answer holds no picture.")
        picture = images.rendered(answer.images[0], what)
        info = _object(answer.info)
        seed, model = info.get("seed"), info.get("sd_model_name")
        used = {
            "sampler": info.get("sampler_name"),
            "schedule": _object(info.get("extra_generation_params")).get("Schedule type"),
            "model_hash": info.get("sd_model_hash"),
        }
        return GeneratedImage(
            image=picture.data,
            width=picture.width,
            height=picture.height,
            seed=seed if type(seed) is int and seed >= 0 else request.seed,
            model=model if isinstance(model, str) and model else self.model_for(request),
            cost_usd=Decimal(0),
            details={name: value for name, value in used.items() if isinstance(value, str) and value},
        )

    # --- the server, and what it does meanwhile -------------------------------------------------------------------

    def models(self) -> list[str]:
        return self._connect().models()

    def progress(self) -> Progress | None:
        try:
            return self._connect().progress()
        except SetupError:
            return None

    def interrupt(self) -> None:
        """Only with work of ours under way: the server stops whatever it is at, also what others asked for."""
        with self._lock:
            if not self._under_way:
                return
            self._interruptions += 1
        try:
            self._connect().interrupt()
        except UnsupportedRequest:
            # The picture will be whole after all.
            with self._lock:
                self._interruptions -= 1
            raise

    def _connect(self) -> SdServer:
        with self._lock:
            if self._server is None:
                self._server = SdServer(self._url, timeout=self._timeout)
            return self._server

    def close(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()


def build(config: BackendConfig) -> SdapiBackend:
    """The backend from the settings its row in the registry names."""
    return SdapiBackend(
        url=config.settings.get("STABLE_DIFFUSION_URL"),
        catalog=config.catalog,
        model=config.settings.get("SDAPI_MODEL"),
        timeout=config.timeout,
    )


def _read_options(options: Mapping[str, str]) -> dict[str, Any]:
    """The options as what they mean; raises UnsupportedRequest naming what would work."""
    return {name: _option(name, text) for name, text in options.items()}


def _option(name: str, text: str) -> Any:
    if name not in OPTIONS:
        close = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(OPTIONS)}."
        raise UnsupportedRequest(f"sdapi has no option {name!r}.", hint=hint)
    kind = OPTIONS[name]
    if kind is bool:
        if text.casefold() in SWITCH:
            return SWITCH[text.casefold()]
        raise UnsupportedRequest(f"{name} is {text!r}; use true or false.")
    if isinstance(kind, _Number):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not kind.takes(value):
            raise UnsupportedRequest(f"{name} is {text!r}; use {kind}.")
        return int(value) if kind.whole else value
    if not text.strip():
        raise UnsupportedRequest(f"{name} is empty.", hint="Leave it out for the server's own choice.")
    return text


def _lora_name(lora: Lora) -> str:
    """The name a server knows a LoRA by: its file without folder and ending."""
    name = lora.source.replace("\\", "/").rpartition("/")[2]
    for ending in LORA_FILES:
        name = name.removesuffix(ending)
    return name


def _lora_tags(loras: Sequence[Lora]) -> list[str]:
    tags = []
    for lora in loras:
        name = _lora_name(lora)
        if not name.strip() or set(name) & set("<>:\n"):
            raise UnsupportedRequest(f"{lora.source!r} is no name of a LoRA.", hint="Use the name the server lists.")
        if not isfinite(lora.weight):
            raise UnsupportedRequest(f"The weight of LoRA {name!r} is {lora.weight}; use a number such as 0.8.")
        tags.append(f"<lora:{name}:{lora.weight:g}>")
    return tags


def _object(said: object) -> Mapping[str, Any]:
    """What the server said as an object, also where it is text that holds one; else an empty one."""
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            return {}
    return said if isinstance(said, dict) else {}
