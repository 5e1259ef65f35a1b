"""A model that is loaded and ready: its pipeline, its place in memory, and what is set on it from image to image.

Invariant: whatever happens, the next request finds the pipeline in a state it can use, or loads it anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from models.backends.local import adapters, eight_bit, memory, speed
from models.backends.local.device import Device, find_device, is_out_of_memory
from models.backends.local.loading import load
from models.backends.local.loras import LoraStack
from models.backends.local.options import Options
from models.backends.local.prompts import Encoder
from models.backends.local.schedulers import make_scheduler
from models.backends.local.source import Source
from models.contract import ImageRequest
from models.errors import UnsupportedRequest


class Studio:
    """One model in memory; used by one thread at a time."""

    def __init__(self, source: Source, options: Options, token: str | None, *, adapted: bool = False) -> None:
        self.source = source
        self.options = options
        #: It looks at reference images through an adapter: then all of its images have some.
        self.adapted = adapted
        self._token = token
        self.device: Device = find_device()
        self.plan = memory.choose(source.weights, self.device, options.memory)
        #: Images the run still needs, as far as it is known; decides whether compiling pays.
        self.expected = 0
        self._compile = "off"
        self._record: dict[str, str] = {}
        weights = source.weights
        terms = "" if weights.commercial else " (not for commercial use)"
        self._licence = {"licence": f"{weights.licence}{terms}"} if weights.licence else {}
        self._open()

    # --- loading and memory

    def _open(self) -> None:
        """Load the pipeline and place it, under a more sparing plan where there is no room."""
        while True:
            try:
                self._load()
                return
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc) or not self._step_down():
                    raise
            self._drop()

    def _load(self) -> None:
        self.dtype = self.device.dtype(self.source.weights)
        self.pipe: Any = load(self.source, self.options, self.dtype, self._token, in_eight_bit=self.plan == "8bit")
        if self.adapted:
            # Before it is placed: what moves layers to and fro has to know of the new ones.
            adapters.load(self.pipe, self.source.weights, self.options, self._token)
        memory.place(self.pipe, self.plan, self.device)
        self._record = speed.tune(self.pipe, self.device, self.options)
        if self.plan == "8bit":
            self._record["eight_bit"] = eight_bit.name(memory.denoiser(self.pipe))
        if self.adapted:
            self._record |= adapters.record(self.source.weights, self.options)
        self._own_scheduler = self.pipe.scheduler
        self._variants: dict[str, Any] = {"text": self.pipe}
        self._loras = LoraStack(self.pipe, self._token, allow_pickle=self.options.allow_pickle)
        self._compile, self._cache = "off", "off"
        checker = "safety_checker" in self.pipe.components
        self._checked = {"safety_checker": "on" if self.pipe.safety_checker else "off"} if checker else {}
        self.encoder = Encoder(self.pipe, self.source.weights, lambda: self.device.kind, self._encoders)
        self.pictures = adapters.PictureReader(self.pipe, self.device.kind, self._encoders)

    def _encoders(self) -> AbstractContextManager[None]:
        return memory.encoders_present(self.pipe, self.plan, self.device, self.source.weights)

    def _step_down(self) -> bool:
        following = memory.next_plan(self.plan, self.device)
        if following is None:
            return False
        self.plan = following
        return True

    def use_less_memory(self) -> bool:
        """Go to the next plan; False where there is none."""
        before = self.plan
        if not self._step_down():
            return False
        if before in memory.FINAL or self.plan in memory.FINAL:
            self._drop()
            self._open()
        else:
            memory.place(self.pipe, self.plan, self.device)
        return True

    def _drop(self, *, collect: bool = True) -> None:
        self.encoder = self.pictures = self._loras = self._own_scheduler = self.pipe = None  # type: ignore[assignment]
        self._variants = {}
        self.device.empty_cache(collect=collect)

    def close(self, *, collect: bool = False) -> None:
        """Let go of the model; ``collect`` where another one needs its room at once."""
        self._drop(collect=collect)

    def recover(self) -> None:
        """After a call that was cut short: let go of what it left on the card."""
        self.pipe.maybe_free_model_hooks()
        self.device.empty_cache(collect=True)

    # --- what an image needs

    def ready(self, request: ImageRequest) -> Any:
        """The pipeline with everything set that the request asks for. Raises ModelError."""
        if self._loras.use(request.loras):
            self.encoder.forget()
        if self._cache != self.options.cache:
            speed.set_cache(self.pipe, self.options.cache)
            self._cache = self.options.cache
        if self._compile == "off" and speed.wants_compile(
            self.pipe, self.device, self.options, self.plan, self.expected
        ):
            speed.compile_blocks(self.pipe)
            self._compile = "blocks"
        pipe = self._variant("text" if request.init_image is None else "image")
        # A fresh one each time: schedulers remember where they are.
        pipe.scheduler = make_scheduler(request.scheduler, self.source.weights, self._own_scheduler)
        return pipe

    def _variant(self, kind: str) -> Any:
        if kind not in self._variants:
            from diffusers import AutoPipelineForImage2Image

            try:
                variant = AutoPipelineForImage2Image.from_pipe(self.pipe)
            except ValueError:
                raise UnsupportedRequest(f"{self.source.name} does not start from an image.") from None
            variant.set_progress_bar_config(disable=True)
            self._variants[kind] = variant
        return self._variants[kind]

    def do_without_compiling(self, exc: BaseException) -> bool:
        """Where the compiler failed, go on as if it had not been asked for; True where that was the trouble."""
        if self._compile != "blocks" or not speed.is_compile_failure(exc):
            return False
        speed.uncompile(self.pipe)
        self._compile = "failed"
        return True

    def do_without_fast_attention(self) -> bool:
        """Where something failed under a kind of attention that nobody asked for, go on with torch's own.

        Whether a kind takes the masks and shapes of a model shows only when it is used. True where there is one to
        leave.
        """
        used = self._record["attention"]
        if self.options.attention or used.startswith("native"):
            return False
        speed.plain_attention(self.pipe)
        self._record["attention"] = f"native ({used} failed)"
        return True

    def record(self) -> dict[str, str]:
        """How it renders, for the record of every image."""
        kind = self.device.name if self.device.kind != "cpu" else "CPU"
        return {
            "device": kind,
            "dtype": str(self.dtype).removeprefix("torch."),
            "memory": self.plan,
            **self._record,
            "compile": self._compile,
            "cache": self._cache,
            **self._checked,
            **self._licence,
        }
