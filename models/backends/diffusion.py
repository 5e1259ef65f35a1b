"""Local diffusion through diffusers, the backends behind ``--stable-diffusion`` and ``--flux``.

They differ in their default model only; either renders any model of ``local/source.py``. Invariant: everything that
can be wrong with a request is found before a model is loaded, and images are rendered by one thread at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.util import find_spec
from math import isfinite
from typing import TYPE_CHECKING, Any

from models.backends.local import adapters, loading, references
from models.backends.local.device import UNETS
from models.backends.local.loras import check_loras
from models.backends.local.options import NAMES, Options, read_options
from models.backends.local.pictures import check_picture
from models.backends.local.rendering import Renderer, Watch, two_sided
from models.backends.local.schedulers import find_scheduler
from models.backends.local.source import Source, find_source
from models.backends.local.studio import Studio
from models.catalog import Catalog
from models.contract import Capabilities, Download, GeneratedImage, ImageRequest, Notice, Progress, alike
from models.errors import ModelError, SetupError, UnsupportedRequest
from models.registry import EXTRAS

if TYPE_CHECKING:
    from models.registry import BackendConfig

SEEDS = 2**32
STEPS_MAX, GUIDANCE_MAX = 1000, 100.0
#: Images that are rendered together at most; fewer where the memory says so.
MAX_BATCH = 8
#: Seconds that ``close`` waits for images under way.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class _Key:
    """What decides which loaded model can be used."""

    name: str
    options: Options
    adapted: bool


class DiffusionBackend:
    """Renders on this machine; free, one batch at a time. Nothing is loaded before the first image, or ``warm_up``."""

    def __init__(self, name: str, *, catalog: Catalog, model: str | None = None, token: str | None = None) -> None:
        self.name = name
        self.capabilities = Capabilities(
            summary="diffusion models on your own GPU; free",
            paid=False,
            seeds=True,
            negative=True,
            max_batch=MAX_BATCH,
            max_in_flight=1,
            init_image=True,
            references=8,
            progress=True,
            local=True,
            settings=frozenset({"steps", "guidance", "scheduler", "strength", "loras"}),
            options=NAMES,
        )
        self._catalog = catalog
        self._model = model
        self._token = token
        self._sources: dict[tuple[str, str], Source] = {}
        self._studio: tuple[_Key, Studio, Renderer] | None = None
        self._watch = Watch()
        self._rendering = threading.Lock()

    # --- before any work ------------------------------------------------------------------------------------------

    def model_for(self, request: ImageRequest) -> str:
        return self._source(request).name

    def check(self, request: ImageRequest) -> None:
        """Check everything that can be known without loading the model, also that it can be had."""
        options = read_options(self.name, request.options)
        self._check_numbers(request)
        source = self._source(request)
        weights = source.weights
        self.render_size(request)
        if request.scheduler:
            find_scheduler(request.scheduler, weights)
        if options.cache != "off" and weights.family in UNETS:
            raise UnsupportedRequest(f"{source.name} has no step cache: its denoiser is a UNet.", hint="Leave it out.")
        check_loras(request.loras, allow_pickle=options.allow_pickle)
        self._check_pictures(request, source)
        loading.check(source, options, self._token)
        if self._is_adapted(request):
            adapters.check(weights, options, self._token)

    def _check_numbers(self, request: ImageRequest) -> None:
        if not request.prompt.strip():
            raise UnsupportedRequest("The prompt is empty.")
        if request.steps is not None and not 1 <= request.steps <= STEPS_MAX:
            raise UnsupportedRequest(f"steps is {request.steps}; use 1 to {STEPS_MAX}.")
        guidance = request.guidance
        if guidance is not None and not (isfinite(guidance) and 0 <= guidance <= GUIDANCE_MAX):
            raise UnsupportedRequest(f"guidance is {guidance}; use 0 to {GUIDANCE_MAX:g}.")
        if request.seed is not None and not 0 <= request.seed < SEEDS:
            raise UnsupportedRequest(f"Seed {request.seed} is out of range; use 0 to {SEEDS - 1}.")

    def _check_pictures(self, request: ImageRequest, source: Source) -> None:
        if request.mask is not None:
            raise UnsupportedRequest(f"{self.name} takes no mask.", hint="Leave it out, or use --dalle or --sdapi.")
        references.check_references(source, request)
        if request.init_image is None:
            if request.strength is not None:
                raise UnsupportedRequest("A strength needs a start image.", hint="Name one: --init-image FILE.")
            return
        check_picture(request.init_image)
        if request.references and source.weights.adapter is None:
            raise UnsupportedRequest("A start image and reference images do not go together.", hint="Use one of them.")
        if source.weights.references == "image":
            raise UnsupportedRequest(
                f"{source.name} does not start from an image.", hint="Give it as one to keep to: --reference FILE."
            )
        strength = 1.0 if request.strength is None else request.strength
        if not isfinite(strength) or not 0 < strength <= 1:
            raise UnsupportedRequest(f"strength is {strength}; use more than 0, up to 1.")
        steps = request.steps or source.weights.steps
        if int(steps * strength) < 1:
            raise UnsupportedRequest(
                f"A strength of {strength:g} leaves none of {steps} steps.", hint=f"Use {1 / steps:.2g} or more."
            )

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        return self._source(request).sizes.cover(request.width, request.height)

    def price(self, request: ImageRequest) -> Decimal | None:
        return Decimal(0)

    def _source(self, request: ImageRequest) -> Source:
        name = request.model or self._model or self._catalog.default("image", self.name).id
        key = (name, request.options.get("config", ""))
        if key not in self._sources:
            reader = loading.repository_reader(self._token)
            self._sources[key] = find_source(self._catalog, self.name, name, reader, key[1])
        return self._sources[key]

    # --- what a local model can say beforehand --------------------------------------------------------------------

    def defaults(self, request: ImageRequest) -> Mapping[str, Any]:
        """Settings that the request leaves open, as they will be: a later run is to find the same."""
        weights = self._source(request).weights
        found: dict[str, Any] = {}
        if request.steps is None:
            found["steps"] = weights.steps
        if request.guidance is None and weights.guidance_argument:
            found["guidance"] = weights.guidance
        if request.init_image is not None and request.strength is None:
            found["strength"] = 0.6
        return found

    def heeds_negative(self, request: ImageRequest) -> bool:
        """Does the request's model keep out what the negative prompt says?"""
        weights = self._source(request).weights
        return weights.negative and two_sided(weights, request)

    def notices(self, request: ImageRequest) -> list[Notice]:
        """What the user should know before the first image."""
        from models.backends.local.device import find_device

        source = self._source(request)
        weights = source.weights
        found = [Notice(find_device().line())]
        if weights.licence:
            terms = "" if weights.commercial else "; not for commercial use"
            page = f"{weights.repository} at the Hugging Face hub"
            found.append(
                Notice(f"{source.name}: licence {weights.licence}{terms} ({page}).", once=f"licence {source.name}")
            )
        if not self.heeds_negative(request):
            found.append(Notice(f"{source.name} has no negative prompt: what it says is not heeded."))
        return found

    def diagnosis(self) -> list[str]:
        """Lines for ``doctor``: the device, its memory, and the plan for the default model."""
        from models.backends.local import memory
        from models.backends.local.device import find_device

        device = find_device()
        source = self._source(ImageRequest(prompt="", width=1024, height=1024))
        plan = memory.choose(source.weights, device)
        parts = source.weights.memory
        line = (
            f"--{self.name}: {source.name} needs {parts.whole:.1f} GiB in 16 bit; plan {plan!r} ({memory.PLANS[plan]})"
        )
        if device.kind == "cpu":
            # In 32 bit, or in 16 where there is no room for that.
            needed = 2 * (parts.model + parts.text) + parts.work
            needed = needed if needed < device.free() else parts.whole
            line = f"--{self.name}: {source.name} needs {needed:.1f} GiB of memory; {device.free():.1f} are free"
        return [device.line(), line]

    def to_fetch(self, request: ImageRequest) -> int:
        source, options = self._source(request), read_options(self.name, request.options)
        more = adapters.to_fetch(source.weights, options, self._token) if self._is_adapted(request) else 0
        return loading.to_fetch(source, options, self._token) + more

    def fetch(self, request: ImageRequest, listener: Download) -> None:
        source, options = self._source(request), read_options(self.name, request.options)
        loading.fetch(source, options, self._token, listener)
        if self._is_adapted(request):
            adapters.fetch(source.weights, options, self._token, listener)

    def _is_adapted(self, request: ImageRequest) -> bool:
        """Does it take an adapter to look at the request's reference images?"""
        return bool(request.references) and self._source(request).weights.adapter is not None

    # --- rendering ------------------------------------------------------------------------------------------------

    def warm_up(self, request: ImageRequest, images: int) -> None:
        """Load the model for requests like this one, of which there will be so many. Raises ModelError."""
        with self._rendering:
            studio, _ = self._open(request)
            studio.expected = images
            studio.ready(request)
            # What is rendered one by one is to be saved one by one: nobody waits for eight pictures of minutes each.
            most = studio.options.batch or (MAX_BATCH if studio.device.batches else 1)
            self.capabilities = replace(self.capabilities, max_batch=most)

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        with self._rendering:
            self._watch.begin()
            try:
                answers: list[GeneratedImage | ModelError] = []
                while len(answers) < len(batch):
                    first = batch[len(answers)]
                    part = [first]
                    for one in batch[len(answers) + 1 :]:
                        if not alike(one, first):
                            break
                        part.append(one)
                    answers += self._render(part)
                return answers
            finally:
                self._watch.end()

    def _render(self, part: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        """The answers for requests that differ in prompt and seed only."""
        try:
            self._check_numbers(part[0])
            size = self.render_size(part[0])
            _, renderer = self._open(part[0])
            return renderer.render(part, size)
        except ModelError as error:
            return [error] * len(part)

    def _open(self, request: ImageRequest) -> tuple[Studio, Renderer]:
        """The loaded model for a request; another one leaves the memory first."""
        source = self._source(request)
        key = _Key(source.name, read_options(self.name, request.options), self._is_adapted(request))
        if self._studio is None or self._studio[0] != key:
            self._shut(collect=True)
            studio = self._load(source, key)
            self._studio = (key, studio, Renderer(studio, self._watch, MAX_BATCH))
        return self._studio[1:]

    def _load(self, source: Source, key: _Key) -> Studio:
        if key.adapted:
            source = replace(source, weights=source.weights.with_adapter())
        try:
            return Studio(source, key.options, self._token, adapted=key.adapted)
        except (RuntimeError, MemoryError) as exc:
            from models.backends.local.device import is_out_of_memory

            if not is_out_of_memory(exc):
                raise
        raise SetupError(f"There is not enough memory for {source.name}.", hint="Choose a smaller model: --model.")

    def _shut(self, *, collect: bool = False) -> None:
        opened, self._studio = self._studio, None
        if opened is not None:
            opened[1].close(collect=collect)

    # --- while it renders -----------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        return [row.id for row in self._catalog.rows("image") if row.weights is not None]

    def progress(self) -> Progress | None:
        return self._watch.look()

    def interrupt(self) -> None:
        self._watch.interrupt()

    def make_room(self) -> None:
        with self._rendering:
            self._shut(collect=True)

    def close(self) -> None:
        """Let go of the model; who is still rendering, or loading, is waited for a moment only."""
        if self._rendering.acquire(timeout=PATIENCE):
            try:
                self._shut()
            finally:
                self._rendering.release()


def build_stable_diffusion(config: BackendConfig) -> DiffusionBackend:
    """``--stable-diffusion``, from the settings its row in the registry names."""
    return _build("stable-diffusion", config, "STABLE_DIFFUSION_MODEL")


def build_flux(config: BackendConfig) -> DiffusionBackend:
    """``--flux``, from the settings its row in the registry names."""
    return _build("flux", config, "FLUX_MODEL")


def _build(name: str, config: BackendConfig, setting: str) -> DiffusionBackend:
    for module in EXTRAS["local"]:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    settings = config.settings
    return DiffusionBackend(name, catalog=config.catalog, model=settings.get(setting), token=settings.get("HF_TOKEN"))
