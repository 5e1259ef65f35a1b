"""Turns prompts into what a model reads, once for all images of a prompt.

CLIP reads 77 tokens at a time: for Stable Diffusion and SDXL longer prompts are read in pieces by compel, which also
obeys weights, ``(word:1.3)`` or ``(word)1.3``. T5 and language models read prose up to a limit of their own.
Invariant: what a prompt becomes does not depend on the others of its batch.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.catalog import Weights
from models.contract import ImageRequest

if TYPE_CHECKING:
    import torch

#: Prompts whose embeddings are kept.
KEPT = 64
#: "(red dress:1.3)" as AUTOMATIC1111 writes it, "(red dress)1.3" as compel does.
WEIGHTED = re.compile(r"\(([^()]+?)(?::(\d+(?:\.\d+)?)\)|\)(\d+(?:\.\d+)?))")
WEIGHT_MAX = 2.0


@dataclass(slots=True)
class Encoded:
    """A prompt as arguments of the pipeline: tensors (or lists of them) with one row, and remarks for the record."""

    arguments: dict[str, Any]
    details: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Only prompts of one shape can be rendered together."""
        return tuple((name, _shape(value)) for name, value in sorted(self.arguments.items()))


class Encoder:
    """Encodes for one loaded pipeline. ``present`` brings its text encoders to the device for as long as it lasts."""

    def __init__(
        self,
        pipe: Any,
        weights: Weights,
        device: Callable[[], str],
        present: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._pipe = pipe
        self._weights = weights
        self._device = device
        self._present = present
        self._kept: OrderedDict[tuple[object, ...], Encoded] = OrderedDict()
        self._long: _LongPrompts | None = None

    def forget(self) -> None:
        """The text encoders read otherwise from now on (a LoRA changed them)."""
        self._kept.clear()

    def encode(self, requests: Sequence[ImageRequest], *, guided: bool) -> list[Encoded]:
        """The prompts of the requests, each encoded alone; ``guided`` = a negative side is wanted too."""
        import torch

        keys = [(one.prompt, one.negative if self._weights.negative else "", guided) for one in requests]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            with torch.inference_mode(False), torch.no_grad(), self._present():
                for key in missing:
                    self._kept[key] = self._encode(*key)
        found = [self._kept[key] for key in keys]
        for key in keys:
            self._kept.move_to_end(key)
        while len(self._kept) > max(KEPT, len(keys)):
            self._kept.popitem(last=False)
        return found

    def _encode(self, prompt: str, negative: str, guided: bool) -> Encoded:
        family = self._weights.family
        if self._weights.long_prompts == "compel":
            return Encoded(self._clip(prompt, negative, guided))
        if family == "qwen-image-edit":
            # Its encoder looks at the picture too.
            return Encoded({"prompt": [prompt], **({"negative_prompt": [negative or " "]} if guided else {})})
        details = self._cut(prompt)
        if family == "sd3":
            return Encoded(self._sd3(prompt, negative, guided), details)
        if family in ("flux", "kontext"):
            embeds, pooled, _ = self._pipe.encode_prompt(
                prompt, None, device=self._device(), max_sequence_length=self._most
            )
            return Encoded({"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}, details)
        if family == "z-image":
            return Encoded(self._z_image(prompt, negative, guided), details)
        return Encoded(self._plain(prompt, negative, guided), details)

    @property
    def _most(self) -> int:
        return self._weights.max_tokens or 512

    def _sd3(self, prompt: str, negative: str, guided: bool) -> dict[str, Any]:
        embeds, negative_embeds, pooled, negative_pooled = self._pipe.encode_prompt(
            prompt,
            None,
            None,
            device=self._device(),
            do_classifier_free_guidance=guided,
            negative_prompt=negative,
            max_sequence_length=self._most,
        )
        return _both("prompt_embeds", embeds, negative_embeds) | _both("pooled_prompt_embeds", pooled, negative_pooled)

    def _z_image(self, prompt: str, negative: str, guided: bool) -> dict[str, Any]:
        embeds, negative_embeds = self._pipe.encode_prompt(
            prompt,
            device=self._device(),
            do_classifier_free_guidance=guided,
            negative_prompt=negative,
            max_sequence_length=self._most,
        )
        return _both("prompt_embeds", embeds, negative_embeds or None)

    def _plain(self, prompt: str, negative: str, guided: bool) -> dict[str, Any]:
        """FLUX.2, klein, Qwen-Image: the embeddings, and where it has one their mask."""
        masked = self._weights.family.startswith("qwen")
        found: dict[str, Any] = {}
        for prefix, text in (("", prompt), *((("negative_", negative or (" " if masked else "")),) if guided else ())):
            embeds, other = self._pipe.encode_prompt(text, device=self._device(), max_sequence_length=self._most)
            found[f"{prefix}prompt_embeds"] = embeds
            if masked and other is not None:
                found[f"{prefix}prompt_embeds_mask"] = other
        return found

    def _cut(self, prompt: str) -> dict[str, str]:
        """A remark where a prompt has more tokens than its encoder reads."""
        tokenizers = ("tokenizer_3", "tokenizer_2", "tokenizer")
        tokenizer = next((one for name in tokenizers if (one := getattr(self._pipe, name, None)) is not None), None)
        if tokenizer is None:
            return {}
        tokens = len(tokenizer(prompt)["input_ids"])
        return {"prompt_cut": f"{tokens} tokens to {self._most}"} if tokens > self._most else {}

    def _clip(self, prompt: str, negative: str, guided: bool) -> dict[str, Any]:
        pipe = self._pipe
        device = self._device()
        if not self._reads_whole(prompt) or (guided and not self._reads_whole(negative)):
            if self._long is None:
                self._long = _LongPrompts(pipe)
            return self._long.encode(prompt, negative, guided, device)
        # The pipeline's own way, so that short prompts give the very pixels of plain diffusers.
        texts: dict[str, Any] = {"do_classifier_free_guidance": guided, "negative_prompt": negative or None}
        if self._weights.family == "sdxl":
            embeds, negative_embeds, pooled, negative_pooled = pipe.encode_prompt(prompt, device=device, **texts)
            both = _both("prompt_embeds", embeds, negative_embeds)
            return both | _both("pooled_prompt_embeds", pooled, negative_pooled)
        embeds, negative_embeds = pipe.encode_prompt(prompt, device=device, num_images_per_prompt=1, **texts)
        return _both("prompt_embeds", embeds, negative_embeds)

    def _reads_whole(self, text: str) -> bool:
        """Can CLIP read it in one piece, without weights?"""
        tokenizer = self._pipe.tokenizer or self._pipe.tokenizer_2
        return len(tokenizer(text)["input_ids"]) <= tokenizer.model_max_length and WEIGHTED.search(text) is None


def _both(name: str, embeds: Any, negative: Any) -> dict[str, Any]:
    return {name: embeds} if negative is None else {name: embeds, f"negative_{name}": negative}


def combine(encoded: Sequence[Encoded]) -> dict[str, Any]:
    """The arguments for a batch of prompts of one shape."""
    import torch

    found: dict[str, Any] = {}
    for name, value in encoded[0].arguments.items():
        rows = [one.arguments[name] for one in encoded]
        found[name] = [each for row in rows for each in row] if isinstance(value, list) else torch.cat(rows)
    return found


def _shape(value: Any) -> object:
    if isinstance(value, list):
        return tuple(_shape(one) for one in value)
    return "text" if isinstance(value, str) else tuple(value.shape)


# --- CLIP in pieces ---------------------------------------------------------------------------------------------------


def fragments(text: str) -> Iterator[tuple[str, float]]:
    """The parts of a prompt with the weight each was given; brackets without a number are text."""
    place = 0
    for match in WEIGHTED.finditer(text):
        if before := text[place : match.start()].strip():
            yield before, 1.0
        yield match[1].strip() or ",", min(float(match[2] or match[3]), WEIGHT_MAX)
        place = match.end()
    if (rest := text[place:].strip()) or place == 0:
        yield rest, 1.0


class _LongPrompts:
    """Reads prompts of any length through compel, in pieces of 75 tokens."""

    def __init__(self, pipe: Any) -> None:
        from compel import EmbeddingsProvider, ReturnedEmbeddingsType

        double = getattr(pipe, "text_encoder_2", None) is not None
        kind = (
            ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
            if double
            else ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED
        )
        pairs = [(pipe.tokenizer, pipe.text_encoder)] if pipe.text_encoder is not None else []
        if double:
            pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
        self._providers = [
            EmbeddingsProvider(tokenizer=tokenizer, text_encoder=encoder, truncate=False, returned_embeddings_type=kind)
            for tokenizer, encoder in pairs
        ]
        self._double = double

    def encode(self, prompt: str, negative: str, guided: bool, device: str) -> dict[str, Any]:
        texts = [prompt, negative] if guided else [prompt]
        sides = [[self._one(provider, text, device) for provider in self._providers] for text in texts]
        longest = max(tensor.shape[1] for side in sides for tensor in side)
        joined = [self._join(side, longest, device) for side in sides]
        found = _both("prompt_embeds", joined[0], joined[1] if guided else None)
        if self._double:
            pooled = [self._pooled(text, device) for text in texts]
            found |= _both("pooled_prompt_embeds", pooled[0], pooled[1] if guided else None)
        return found

    def _one(self, provider: Any, text: str, device: str) -> torch.Tensor:
        parts = list(fragments(text))
        tensor: torch.Tensor = provider.get_embeddings_for_weighted_prompt_fragments(
            text_batch=[[part for part, _ in parts]], fragment_weights_batch=[[w for _, w in parts]], device=device
        )
        return tensor

    def _join(self, side: Sequence[torch.Tensor], longest: int, device: str) -> torch.Tensor:
        """All encoders side by side, the shorter ones filled up with what no words at all become."""
        import torch

        filled = []
        for provider, tensor in zip(self._providers, side, strict=True):
            if missing := longest - tensor.shape[1]:
                empty = self._one(provider, "", device)
                tensor = torch.cat([tensor, empty.repeat(1, missing // empty.shape[1], 1)], dim=1)
            filled.append(tensor)
        return torch.cat(filled, dim=-1)

    def _pooled(self, text: str, device: str) -> torch.Tensor:
        words = " ".join(part for part, _ in fragments(text))
        pooled: torch.Tensor = self._providers[-1].get_pooled_embeddings([words], device=device)
        return pooled
