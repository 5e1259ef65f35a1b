"""The job of a brand run: composes prompts, measures and grades what comes, has made again what does not fit.

Invariant: the palette and everything else that judges an image is in the plan; the kit's file is read to compose, and
never again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.contract import Concept, Scribe
from tirada.engine.job import Composed, Item, Job, Kind, Made
from tirada.engine.plan import Plan
from tirada.output.atomic import write_text
from tirada.output.folders import image_stem
from tirada.workflows.branding import kit as kits
from tirada.workflows.branding import prompts, tries
from tirada.workflows.branding.kit import Kit, Product
from tirada.workflows.branding.metadata import Wish
from tirada.workflows.branding.prompts import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

RECORD = "brand.json"
#: Where a graded picture carries the measure of what it was before, from ``treat`` to ``measure``.
_BEFORE = "tirada-palette-before"
#: Characters of an image's title.
_TITLE_MAX = 90


class BrandJob(Job):
    """Made from a plan whose ``job`` is what ``brand.plan`` put there."""

    def __init__(self, plan: Plan, data: Path) -> None:
        self._plan, self._data = plan, data
        told = plan.job
        self._palette: dict[str, str] = dict(told["palette"])
        self._hexes = tuple(self._palette.values())
        self._wish = Wish(**told["wish"])
        self._grade = float(told["grade"])
        self._goal = tries.Goal(least=float(told["min_palette"]), tries=int(told["tries"]))
        self.keeps_original = self._grade > 0

    # --- composing

    def compose(self, scribe: Scribe | None) -> Composed:
        told = self._plan.job
        kit = kits.load(self._data, str(told["kit"]))
        product = kit.products[self._wish.product]
        scenes = prompts.deal(kit, product, self._wish, self._plan.seed, int(told["count"]))
        if scribe is None:
            concept, pictures = self._composed(kit, product, scenes)
        else:
            concept, pictures = self._written(scribe, kit, product, scenes)
        texts = [
            prompts.prompt_of(kit, product, scene, picture, hexes=bool(told["hex"]))
            for scene, picture in zip(scenes, pictures, strict=True)
        ]
        own = [prompts.short_of(scene, self._wish.custom_prompt) for scene in scenes]
        titles = own if scribe is None else pictures
        items = [
            Item(name=image_stem(n, len(texts)), title=prompts.shortened(title.rstrip("."), _TITLE_MAX), prompt=text)
            for n, (title, text) in enumerate(zip(titles, texts, strict=True), start=1)
        ]
        common = prompts.common_of(kit, product, self._wish, texts)
        return Composed(
            concept=replace(concept, prompt=common, negative=kit.negative_for(product)),
            items=items,
            brief={"kit": kit.title, "product": product.name},
            notes=tuple(map(str, told["notes"])),
        )

    def _composed(self, kit: Kit, product: Product, scenes: Sequence[Scene]) -> tuple[Concept, list[str]]:
        """Title and so on, and what is in each picture, from the kit's lists."""
        pictures = [prompts.picture_of(scene, self._wish.custom_prompt) for scene in scenes]
        concept = Concept(
            title=prompts.title_of(kit, product, self._wish, scenes),
            description=prompts.description_of(kit, self._wish, scenes),
            metatags=prompts.tags_of(kit, product),
            prompt="",
            writer="composer",
        )
        return concept, pictures

    def _written(
        self, scribe: Scribe, kit: Kit, product: Product, scenes: Sequence[Scene]
    ) -> tuple[Concept, list[str]]:
        """The same with one scene by a text model for all pictures; style, light and colours still differ."""
        from models.writers.checks import ForbiddenNames
        from tirada.workflows.branding.writing import write

        forbidden = ForbiddenNames.load(self._data / "forbidden_names.toml")
        answer = write(scribe, kit, product, self._wish, scenes[0], self._plan.language, forbidden)
        concept = Concept(
            title=answer.title,
            description=answer.description,
            metatags=answer.metatags,
            prompt="",
            writer="gpt",
            model=scribe.model,
        )
        return concept, [answer.scene] * len(scenes)

    # --- each image

    def reword(self, concept: Concept, item: Item, reason: str, scribe: Scribe) -> Item:
        """Another scene, which obeys the kit as the first one did; colours and rules are said as they were."""
        from models.writers.rewording import safer_prompt

        kit = kits.load(self._data, str(self._plan.job["kit"]))
        product = kit.products[self._wish.product]

        def fault(text: str) -> str:
            breach = kit.breach(product, text)
            return f"it says {breach[1]!r}, which is against the rule {breach[0].name!r}" if breach else ""

        opening, seen, rest = prompts.apart(item.prompt, self._palette)
        return replace(item, prompt=f"{opening}{safer_prompt(scribe, seen, reason, fault=fault)}{rest}")

    def treat(self, picture: Image, item: Item) -> Image:
        if not self._grade:
            return picture
        from tirada.workflows.branding.grade import grade
        from tirada.workflows.branding.palette import measure

        graded = grade(picture, self._hexes, self._grade, keep_skin=bool(self._plan.job["people"]))
        # The picture itself carries it: a job keeps no state.
        graded.info[_BEFORE] = measure(picture, self._hexes)
        return graded

    def measure(self, picture: Image, item: Item) -> Mapping[str, str]:
        from tirada.workflows.branding.palette import measure

        facts = tries.facts_of(measure(picture, self._hexes), self._palette, picture.info.pop(_BEFORE, None))
        return facts | self._goal.verdict(facts)

    def more(self, concept: Concept, made: Sequence[Made]) -> Sequence[Item]:
        return tries.more(self._goal, self._palette, made)

    def kinds(self, made: Sequence[Made]) -> Mapping[str, Kind]:
        return tries.kinds(made)

    # --- the whole

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        told = self._plan.job
        record = {
            "kit": told["kit"],
            "product": self._wish.product,
            "user": self._plan.user,
            "metadata": {
                **self._wish.to_json(),
                "width": self._plan.request["width"],
                "height": self._plan.request["height"],
            },
            "notes": list(told["notes"]),
            "title": concept.title,
            "prompt": concept.prompt,
            "negative": concept.negative,
            "palette": [{"name": name, "hex": code} for name, code in self._palette.items()],
            "min_palette": self._goal.least,
            "grade": self._grade,
            "images": [self._entry(one) for one in made if one.done],
            "missing": [name for name, each in tries.by_image(made).items() if tries.best_of(each) is None],
        }
        write_text(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=2) + "\n")

    def _entry(self, one: Made) -> dict[str, Any]:
        assert one.file is not None
        entry = {
            "file": one.file.name,
            "kind": one.item.kind,
            "prompt": one.item.prompt,
            "seed": one.seed,
            "model": one.model,
            "palette": tries.share_of(one.facts),
            "mean_delta_e": tries.mean_of(one.facts),
            "fits": self._goal.reached(one.facts),
        }
        if self._grade:
            entry |= {
                "original": one.facts.get("original"),
                "palette_before": tries.share_of(one.facts, tries.SHARE_BEFORE),
                "mean_delta_e_before": tries.mean_of(one.facts, tries.MEAN_BEFORE),
            }
        return entry

    def remarks(self, concept: Concept, made: Sequence[Made]) -> Sequence[str]:
        poor = [one for one in self._best(made) if not self._goal.reached(one.facts)]
        if not poor:
            return ()
        named = ", ".join(f"{one.item.name} ({one.facts[tries.SHARE]})" for one in poor)
        return [f"Too little of these is in the palette, {tries.percent(self._goal.least)} was wanted: {named}."]

    def _best(self, made: Sequence[Made]) -> list[Made]:
        return [one for each in tries.by_image(made).values() if (one := tries.best_of(each)) is not None]

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        return {
            "kit": self._plan.job["kit"],
            "product": self._wish.product,
            "images": [
                {
                    "file": str(one.file),
                    "palette": tries.share_of(one.facts),
                    "mean_delta_e": tries.mean_of(one.facts),
                    "fits": self._goal.reached(one.facts),
                }
                for one in self._best(made)
            ],
        }
