"""LoRAs: small changes to a model, stacked with a weight each.

Invariant: a LoRA that changes no layer of the model is an error, never a shrug.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from models.backends.local.source import PICKLED, REPOSITORY, SAFE
from models.backends.local.trouble import PICKLE_REASON, translated
from models.contract import Lora
from models.errors import SetupError, UnsupportedRequest
from models.wire import short

WEIGHT_MAX = 10.0
#: The name that save_lora_weights gives a file.
USUAL = "pytorch_lora_weights.safetensors"


def check_loras(loras: Sequence[Lora], *, allow_pickle: bool) -> None:
    """Raise UnsupportedRequest unless each is a file, a folder or a repository, with a weight that can be meant."""
    for lora in loras:
        if not isfinite(lora.weight) or abs(lora.weight) > WEIGHT_MAX:
            raise UnsupportedRequest(f"The weight of LoRA {lora.source!r} is {lora.weight}; use a number such as 0.8.")
        path = Path(lora.source).expanduser()
        if path.suffix in PICKLED and not allow_pickle:
            raise UnsupportedRequest(f"The LoRA {lora.source!r} is refused.", hint=PICKLE_REASON)
        if path.is_file() or path.is_dir():
            continue
        if path.suffix == SAFE and not _repository_file(lora.source):
            raise UnsupportedRequest(f"There is no LoRA file {lora.source!r}.", hint="Check its name.")
        if not REPOSITORY.fullmatch(lora.source) and not _repository_file(lora.source):
            raise UnsupportedRequest(
                f"There is no LoRA {lora.source!r}.",
                hint="Name a .safetensors file, a folder, or a repository of the hub: --lora FILE:0.8.",
            )


def _repository_file(source: str) -> tuple[str, str] | None:
    """The repository and file of "owner/name/file.safetensors"."""
    parts = source.split("/")
    if len(parts) >= 3 and source.endswith(SAFE) and not source.startswith((".", "/", "~")):
        return "/".join(parts[:2]), "/".join(parts[2:])
    return None


class LoraStack:
    """The LoRAs of a loaded pipeline; what is loaded stays, and is switched on and off."""

    def __init__(self, pipe: Any, token: str | None, *, allow_pickle: bool) -> None:
        self._pipe = pipe
        self._token = token
        self._allow_pickle = allow_pickle
        #: Source -> the name of its adapter.
        self._adapters: dict[str, str] = {}
        self._active: tuple[Lora, ...] = ()

    def use(self, loras: tuple[Lora, ...]) -> bool:
        """Have exactly these on; True where that changed something. Raises ModelError."""
        if loras == self._active:
            return False
        if loras and not hasattr(self._pipe, "load_lora_weights"):
            raise UnsupportedRequest("This model takes no LoRA.")
        for lora in loras:
            if lora.source not in self._adapters:
                self._adapters[lora.source] = self._load(lora.source, f"lora{len(self._adapters) + 1}")
        if loras:
            self._pipe.enable_lora()
            names = [self._adapters[lora.source] for lora in loras]
            self._pipe.set_adapters(names, [lora.weight for lora in loras])
        elif self._adapters:
            self._pipe.disable_lora()
        self._active = loras
        return True

    def _load(self, source: str, name: str) -> str:
        """Load one and make sure that it changes something."""
        where, more = _place(source)
        try:
            with translated(source):
                self._pipe.load_lora_weights(
                    where,
                    adapter_name=name,
                    token=self._token,
                    use_safetensors=None if self._allow_pickle else True,
                    **more,
                )
        except SetupError as error:
            raise UnsupportedRequest(
                f"LoRA {source!r} cannot be used with this model: {short(str(error.__cause__ or error))}.",
                hint="It may be made for another family of models.",
            ) from error
        if not self._changes(name):
            self._pipe.delete_adapters([name])
            raise UnsupportedRequest(
                f"LoRA {source!r} changes no layer of this model.", hint="It is made for another family of models."
            )
        return name

    def _changes(self, name: str) -> bool:
        """Does any layer hold weights of it that are not all zero?"""
        for component in self._pipe.components.values():
            for part in getattr(component, "modules", list)():
                layers = getattr(part, "lora_B", None)
                if layers is not None and name in layers and bool(layers[name].weight.count_nonzero()):
                    return True
        return False


def _place(source: str) -> tuple[str, dict[str, str]]:
    """Where diffusers looks for it, and the file it is to take there."""
    path = Path(source).expanduser()
    if path.is_file():
        return str(path.parent), {"weight_name": path.name}
    if path.is_dir():
        files = sorted(one.name for one in path.glob(f"*{SAFE}"))
        return str(path), {"weight_name": files[0]} if files and USUAL not in files else {}
    if (found := _repository_file(source)) is not None:
        return found[0], {"weight_name": found[1]}
    return source, {}
