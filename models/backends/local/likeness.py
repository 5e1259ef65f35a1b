"""How alike two pictures are to a CLIP model on this machine.

Invariant: nothing is fetched; only safetensors files are opened, and each picture is embedded once.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backends.local.loading import quieten
from models.backends.local.pictures import reference_image
from models.errors import SetupError

if TYPE_CHECKING:
    import torch


#: What the config of a model that only looks at pictures calls itself.
EYE = "clip_vision_model"


class ClipLikeness:
    """Compares pictures by the cosine of their embeddings. Thread-safe; the model is loaded on first use."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds a CLIP model as transformers saves it. Raises SetupError where it cannot be used."""
        check(folder)
        self._folder = folder
        self._lock = threading.Lock()
        self._parts: tuple[Any, Any] | None = None
        self._known: dict[tuple[Path, int], torch.Tensor] = {}

    def __call__(self, one: Path, other: Path) -> float:
        """max(0, cosine): 0 to 1."""
        import torch

        with self._lock:
            first, second = self._embedding(one), self._embedding(other)
            return max(0.0, min(1.0, float(torch.dot(first, second))))

    def _embedding(self, path: Path) -> torch.Tensor:
        import torch

        key = path, path.stat().st_mtime_ns
        if key not in self._known:
            processor, model = self._loaded()
            pixels = processor(images=reference_image(path), return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                found = _embeds(model, pixels)
            self._known[key] = found / found.norm()
        return self._known[key]

    def _loaded(self) -> tuple[Any, Any]:
        if self._parts is None:
            from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionModelWithProjection

            quieten()
            try:
                processor = CLIPImageProcessor.from_pretrained(self._folder, local_files_only=True)
                config, _ = CLIPConfig.get_config_dict(self._folder, local_files_only=True)
                # Of a whole model the eye alone would be built with the wrong size where the two halves differ in it.
                kind = CLIPVisionModelWithProjection if config.get("model_type") == EYE else CLIPModel
                model = kind.from_pretrained(self._folder, local_files_only=True, use_safetensors=True)
            except (OSError, ValueError, RuntimeError) as exc:
                raise SetupError(f"{str(self._folder)!r} holds no CLIP model that can be read: {_line(exc)}") from exc
            self._parts = processor, model.eval()
        return self._parts


def check(folder: Path) -> None:
    """Raise SetupError where there is no such model, or nothing to run it with; nothing is loaded."""
    from importlib.util import find_spec

    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SetupError(
            f"{str(folder)!r} holds no CLIP model.",
            hint="CLIP_MODEL is a folder with config.json, preprocessor_config.json and model.safetensors.",
        )
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise SetupError("CLIP_MODEL needs the local extra.", hint='Install it: pip install "tirada[local]"')


def _embeds(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The embedding of one picture, by whichever name the model and the version of transformers have it."""
    if hasattr(model, "get_image_features"):
        said = model.get_image_features(pixel_values=pixels)
        found = said if hasattr(said, "norm") else said.pooler_output
    else:
        found = model(pixel_values=pixels).image_embeds
    embedding: torch.Tensor = found[0].float()
    return embedding


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200]
