"""The job of a campaign: its variants, the product that is laid over them, and ``campaign.json``.

Invariant: all that it needs is in its plan, in the data folder, and under the run's output folder.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.contract import TAGS_MAX, TITLE_MAX, Concept, Scribe
from tirada.engine.job import Composed, Item, Job, Made
from tirada.engine.plan import Plan
from tirada.output.atomic import write_text
from tirada.workflows.marketing import catalog, detail, prompts
from tirada.workflows.marketing.catalog import DEFAULT_INDUSTRY, Industry, Style
from tirada.workflows.marketing.prompts import COPY_AREA, Scene, Wish

if TYPE_CHECKING:
    from PIL.Image import Image


class Campaign(Job):
    """Variants of one wish."""

    def __init__(self, plan: Plan, data: Path) -> None:
        self._plan = plan
        self._data = data
        self._job = plan.job
        self._wish = Wish(**{field.name: plan.job[field.name] for field in dataclasses.fields(Wish)})

    def compose(self, scribe: Scribe | None) -> Composed:
        industry = catalog.load_industry(self._data, self._job["industry"])
        style = catalog.load_style(self._data, self._job["style"]) if self._job["style"] else None
        scenes = self._scenes(industry, style, scribe)
        writer = ("composer" if scribe is None else "gpt") if self._job["enriched"] else ""
        wish, digits = self._wish, len(str(self._wish.variants))
        items = [
            Item(
                name=f"variant-{number:0{digits}}",
                title=scene.title,
                prompt=scene.prompt,
                facts=scene.facts,
            )
            for number, scene in enumerate(scenes, 1)
        ]
        shown = style.title if style else "as the prompt says"
        concept = Concept(
            title=_shortened(wish.prompt[:1].upper() + wish.prompt[1:], TITLE_MAX),
            description=_shortened(f"Marketing images, {industry.title.lower()}, {shown.lower()}: {wish.prompt}", 400),
            metatags=_tags(wish.prompt, industry, style),
            prompt=wish.prompt,
            negative=prompts.negative_of(wish, industry, style),
            writer=writer,
            model=scribe.model if writer == "gpt" and scribe is not None else "",
        )
        brief = {"industry": industry.title, "style": shown, "enrichment": self._why(concept), **self._steering()}
        return Composed(concept=concept, items=items, brief=brief, notes=self._job["notes"])

    def _scenes(self, industry: Industry, style: Style | None, scribe: Scribe | None) -> list[Scene]:
        if not self._job["enriched"]:
            return prompts.as_written(self._wish, style)
        if scribe is None:
            return prompts.dealt(self._wish, industry, style, self._plan.seed)
        from tirada.workflows.marketing.scenes import written

        return written(self._wish, industry, style, scribe, self._plan.language)

    def _why(self, concept: Concept) -> str:
        """Whether the prompt was written out, and why."""
        author = concept.model or "the lists of its industry"
        done = f"written out by {author}" if self._job["enriched"] else "left as it was written"
        if self._job["enrich"] != "auto":
            return f"{done}, as --enrich {self._job['enrich']} says"
        kind = "sparse" if self._job["enriched"] else "detailed"
        return f"{done}: the prompt is {kind} ({detail.look_at(self._wish.prompt).reason})"

    def _steering(self) -> dict[str, str]:
        return {name: self._job[name] for name in ("brand", "tone", "goal", "cta") if self._job[name]}

    def kept_words(self, item: Item) -> Sequence[str]:
        """The LoRA's word, and what is said of lettering and of room for it."""
        wish = self._wish
        words = [wish.trigger, *prompts.copy_words(wish), *prompts.without_text(wish)]
        return [passage for passage in words if passage]

    def treat(self, picture: Image, item: Item) -> Image:
        """Lay the product over its new background."""
        if not self._job["product"]:
            return picture
        from tirada.workflows.marketing.product import composite

        return composite(picture, _loaded(self._job["product"]))

    def measure(self, picture: Image, item: Item) -> Mapping[str, str]:
        """How much of the product is in the picture as it was: all of it, or something went wrong."""
        if not self._job["product"]:
            return {}
        from tirada.workflows.marketing.product import kept_pixels

        kept, all_of_it = kept_pixels(picture, _loaded(self._job["product"]))
        return {"product": f"{kept:,} of {all_of_it:,} pixels unchanged"}

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        """``campaign.json``: the brief as it was understood, and every variant with its prompt and file."""
        lettered = self._job["lettering"]
        has_copy = bool(self._job["brand"] or self._job["cta"])
        request = self._plan.request
        told = {
            "brief": {
                "prompt": self._wish.prompt,
                "industry": self._job["industry"],
                "style": self._job["style"],
                "format": self._job["shape"],
                "size": f"{request['width']}x{request['height']}",
                **{name: self._job[name] for name in ("brand", "tone", "goal", "cta")},
                "negative": self._plan.request_for(concept)["negative"],
            },
            "enrichment": {
                "used": self._job["enriched"],
                "by": concept.model or concept.writer,
                "why": self._why(concept),
            },
            "copy": {
                "lettered": lettered,
                "area": COPY_AREA[self._wish.shape] if has_copy else "",
            },
            "base_image": dict(self._job["base"]) or None,
            "notes": list(self._job["notes"]),
            "variants": [_told(one) for one in made],
        }
        write_text(folder / "campaign.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        files = [str(one.file) for one in made if one.file is not None]
        return {
            "generated_image_path": files[0] if files else "",
            "generation_time": f"{seconds:.1f}s",
            "images": files,
        }


def _told(one: Made) -> dict[str, Any]:
    found = {
        "name": one.item.name,
        "title": one.item.title,
        "file": one.file.name if one.file is not None else None,
        "state": one.state,
        "prompt": one.item.prompt,
        "seed": one.seed,
        "model": one.model,
        "facts": dict(one.facts),
    }
    return {**found, "error": one.error} if one.error else found


def _shortened(text: str, limit: int) -> str:
    """Whole words up to the limit."""
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def _tags(prompt: str, industry: Industry, style: Style | None) -> tuple[str, ...]:
    """Words to find it by: those of the prompt first, and always enough of them."""
    words = [word.lower() for word in detail.content_words(prompt)]
    sector = () if industry.name == DEFAULT_INDUSTRY else (industry.title.lower(),)
    manner = (style.title.lower(),) if style else ()
    tags = [*words[: TAGS_MAX - 5], *sector, *manner, "marketing", "campaign", "advertising", "commercial", "promotion"]
    return tuple(dict.fromkeys(tags))[:TAGS_MAX]


@functools.lru_cache(maxsize=4)
def _loaded(path: str) -> Image:
    from PIL import Image

    with Image.open(path) as opened:
        return opened.convert("RGBA")
