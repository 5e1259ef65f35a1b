"""IP-Adapters: what lets Stable Diffusion and SDXL look at reference images.

Invariant: only safetensors files are opened, and the reference images are encoded once for all images of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.backends.local import hub
from models.backends.local.options import Options
from models.backends.local.pictures import reference_image
from models.backends.local.source import SAFE
from models.backends.local.trouble import PICKLE_REASON, translated
from models.catalog import Adapter, Weights
from models.contract import Download, ImageRequest
from models.errors import SetupError, UnsupportedRequest

#: What an encoder of pictures is made of.
ENCODER_FILES = ("config.json", f"model{SAFE}")


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the parts lie on this machine; None = at the hub, under these names."""

    file: Path | None
    encoder: Path | None
    missing: tuple[str, ...]


def check(weights: Weights, options: Options, token: str | None) -> None:
    """Raise ModelError where the adapter cannot be had; the hub is asked for what is not here."""
    if find(weights, options).missing:
        _survey(weights, options, token)


def to_fetch(weights: Weights, options: Options, token: str | None) -> int:
    """Bytes that come from the hub before the first image; raises SetupError."""
    return _survey(weights, options, token).left() if find(weights, options).missing else 0


def fetch(weights: Weights, options: Options, token: str | None, listener: Download | None = None) -> None:
    """Have the adapter on this machine."""
    if find(weights, options).missing:
        hub.fetch(_survey(weights, options, token), token=token, listener=listener)


def find(weights: Weights, options: Options) -> Parts:
    """What is on this machine; raises UnsupportedRequest where the option names nothing that can be used."""
    adapter = _of(weights)
    file, encoder = (
        _named(adapter, options.ip_adapter) if options.ip_adapter else (_cached(adapter, adapter.file), None)
    )
    names = [f"{adapter.encoder}/{name}" for name in ENCODER_FILES]
    if encoder is None:
        here = [_cached(adapter, name) for name in names]
        encoder = None if None in here or here[0] is None else here[0].parent
    missing = [] if file is not None else [adapter.file]
    return Parts(file, encoder, (*missing, *(names if encoder is None else ())))


def _of(weights: Weights) -> Adapter:
    assert weights.adapter is not None
    return weights.adapter


def _named(adapter: Adapter, name: str) -> tuple[Path, Path | None]:
    """The adapter that the user names: a folder laid out like the published one, or a file, its encoder beside it."""
    path = Path(name).expanduser()
    file = path / adapter.file if path.is_dir() else path
    if not file.is_file():
        raise UnsupportedRequest(
            f"There is no IP-Adapter {str(file)!r}.",
            hint=f"Name a {SAFE} file, or a folder laid out like {adapter.repository}.",
        )
    if file.suffix != SAFE:
        raise UnsupportedRequest(f"The IP-Adapter {str(file)!r} is refused.", hint=PICKLE_REASON.split(", or say")[0])
    near = (path / adapter.encoder, file.parent / "image_encoder", file.parent.parent / adapter.encoder)
    found = [folder for folder in near if all((folder / one).is_file() for one in ENCODER_FILES)]
    return file.resolve(), found[0].resolve() if found else None


def _cached(adapter: Adapter, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(adapter.repository, name)
    return Path(found) if isinstance(found, str) else None


def _survey(weights: Weights, options: Options, token: str | None) -> hub.Survey:
    adapter, missing = _of(weights), find(weights, options).missing
    if hub.is_offline():
        raise SetupError(
            f"The IP-Adapter for reference images ({adapter.repository}) is not on this machine, and the hub is not "
            "asked (HF_HUB_OFFLINE is set).",
            hint="Use --reference once while online, or name one that is here: --option ip_adapter=FOLDER.",
        )
    return hub.survey_files(adapter.repository, missing, token=token)


# --- in use -----------------------------------------------------------------------------------------------------------


def load(pipe: Any, weights: Weights, options: Options, token: str | None) -> None:
    """Put the adapter into a pipeline that is in main memory; raises ModelError."""
    from transformers import CLIPVisionModelWithProjection

    fetch(weights, options, token)
    parts = find(weights, options)
    assert parts.file is not None and parts.encoder is not None
    with translated(str(parts.file)):
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            parts.encoder, dtype=pipe.dtype, local_files_only=True, use_safetensors=True
        )
        pipe.register_modules(image_encoder=encoder)
        pipe.load_ip_adapter(
            str(parts.file.parent),
            subfolder="",
            weight_name=parts.file.name,
            image_encoder_folder=None,
            local_files_only=True,
        )
    pipe.set_ip_adapter_scale(options.ip_adapter_scale)


def record(weights: Weights, options: Options) -> dict[str, str]:
    """What was used, for the record of every image."""
    used = options.ip_adapter or f"{_of(weights).repository}/{_of(weights).file}"
    return {"ip_adapter": used, "ip_adapter_scale": f"{options.ip_adapter_scale:g}"}


class PictureReader:
    """Encodes the reference images of a run, once; ``present`` has the encoder on the device for that long."""

    def __init__(self, pipe: Any, device: str, present: Callable[[], AbstractContextManager[None]]) -> None:
        self._pipe = pipe
        self._device = device
        self._present = present
        self._known: tuple[tuple[tuple[Path, ...], bool], Any] | None = None

    def arguments(self, request: ImageRequest, *, guided: bool) -> dict[str, Any]:
        """What the pipeline is given for a batch of any size."""
        import torch

        key = (request.references, guided)
        if self._known is None or self._known[0] != key:
            pictures = [reference_image(path) for path in request.references]
            with torch.no_grad(), self._present():
                # One adapter that looks at all of them.
                embeds = self._pipe.prepare_ip_adapter_image_embeds([pictures], None, self._device, 1, guided)
            self._known = (key, embeds)
        return {"ip_adapter_image_embeds": self._known[1]}
