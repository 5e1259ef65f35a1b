"""A collection: many tokens of one character, all different, with exact numbers of every trait.

Which tokens there are is decided while it is planned, before anything is spent, and kept in the plan: a resume makes
the very same ones, whatever became of the catalogue or of earlier collections.
Invariant: what the job writes follows from the images that were made and what they are called, not from chance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from models.contract import Concept, Scribe
from models.errors import SetupError
from tirada.engine.job import Composed, Item, Job, Made
from tirada.engine.plan import PRIVATE, Plan
from tirada.errors import UsageError
from tirada.output.atomic import write_text
from tirada.output.text import counted
from tirada.workflows.tokens import metadata
from tirada.workflows.tokens.catalogue import Collection, load
from tirada.workflows.tokens.deciding import Decision, decide, read_quotas, read_taken
from tirada.workflows.tokens.passes import BASE, REFINED, TRAITS, Passes, passes_of, refinement_of
from tirada.workflows.tokens.rarity import Rarity, rarities
from tirada.workflows.workflow import Common, Opt, Workflow

COUNT_MAX = 100_000
PAGE_FILE = "collection.html"
#: How many of the rarest tokens ``--json`` names.
RAREST = 10


def _check_url(text: str) -> None:
    if not text.startswith(("https://", "http://")):
        raise ValueError("it is not an address: write https://...")


@dataclass(frozen=True, kw_only=True)
class CollectionOptions:
    """What the user asked for."""

    count: Annotated[int, Opt(help="How many tokens.", argument=True, metavar="N", min=1, max=COUNT_MAX)]
    collection: Annotated[str, Opt(help="The characters: a folder of data/collections.", metavar="NAME")] = "foxes"
    quota: Annotated[
        list[str],
        Opt(help='An exact number of a value, e.g. "head=Top Hat:12"; repeatable.', metavar="TRAIT=VALUE:NUMBER"),
    ] = field(default_factory=list)
    exclude: Annotated[
        list[Path], Opt(help="Make no token of this earlier collection again; repeatable.", metavar="FOLDER")
    ] = field(default_factory=list)
    base: Annotated[
        Path | None, Opt(help="Start from this picture of the character instead of making one.", metavar="FILE")
    ] = None
    refine: Annotated[
        str | None, Opt(help="Refine the pictures with this backend, too; --lora is then its.", metavar="BACKEND")
    ] = None
    refine_model: Annotated[str | None, Opt(help="The model of the refinement.", metavar="NAME")] = None
    refine_strength: Annotated[
        float | None, Opt(help="How far the refinement may go, 1 = anywhere.", min=0, max=1, metavar="0..1")
    ] = None
    external_url: Annotated[
        str | None, Opt(help="The collection's page, for the metadata.", metavar="URL", check=_check_url)
    ] = None
    images_at: Annotated[
        str | None, Opt(help="Where the images will be, for the metadata, e.g. ipfs://CID.", metavar="URI")
    ] = None


# --- planning ---------------------------------------------------------------------------------------------------------


def plan_collection(options: CollectionOptions, common: Common) -> Plan:
    """Decide on the tokens and plan the passes. Raises UsageError, NotFound, and what a backend not set up raises."""
    collection = load(common.data, options.collection)
    wishes = read_quotas(collection, options.quota)
    taken = read_taken(collection, options.exclude)
    passes = passes_of(
        common, collection, options.base, refinement_of(options.refine, options.refine_model, options.refine_strength)
    )
    steps = [
        {**step, "images": 1 if name == BASE else options.count}
        for name, step in zip(passes.names, passes.steps, strict=True)
    ]
    plan = passes.common.plan("collection", size=collection.size, steps=steps, job={})
    decision = decide(collection, options.count, wishes, taken, plan.seed)
    return replace(plan, job=_job(collection, options, passes, decision))


def _unfinished(folders: Sequence[Path]) -> list[str]:
    """What can be made here and there, too: nobody can read which tokens an earlier collection still lacks."""
    return [
        f"{counted(lacking, 'token')} of {str(folder)!r} {'was' if lacking == 1 else 'were'} never made, so that this"
        " collection may have the same: retry that one first, or leave it as it is."
        for folder in folders
        if (lacking := metadata.missing_in(folder))
    ]


def _job(collection: Collection, options: CollectionOptions, passes: Passes, decision: Decision) -> dict[str, Any]:
    space = collection.space()
    about = metadata.About(
        title=collection.title,
        description=collection.description,
        token=collection.token,
        symbol=collection.symbol,
        licence=collection.licence,
        creator=collection.creator,
        external_url=options.external_url or collection.external_url,
        images_at=options.images_at or "",
    )
    return {
        "collection": collection.name,
        "count": options.count,
        "quotas": list(options.quota),
        "possible": decision.possible,
        "excluded": decision.excluded,
        "about": asdict(about),
        "values": {
            trait.title: [
                {"value": value.name, "tier": "" if value.name == trait.default else value.tier, "by_weight": number}
                for value, number in zip(trait.values, wanted, strict=True)
            ]
            for trait, wanted in zip(collection.traits, decision.wanted, strict=True)
        },
        "passes": list(passes.names),
        "notes": [*passes.notes, *_unfinished(options.exclude), *decision.notes],
        # Each token as one number among all combinations of values: short, also for a hundred thousand.
        PRIVATE: {"tokens": [space.code(token) for token in decision.tokens]},
    }


# --- the job ----------------------------------------------------------------------------------------------------------


class Tokens(Job):
    """The tokens that the plan decided on, in its passes."""

    def __init__(self, plan: Plan, data: Path) -> None:
        self._plan = plan
        self._job = plan.job
        self._data = data
        self._about = metadata.About(**plan.job["about"])

    def compose(self, scribe: Scribe | None) -> Composed:
        collection = self._collection()
        count, possible, excluded = (int(self._job[name]) for name in ("count", "possible", "excluded"))
        tags = ["collection", "character", *collection.token.lower().split(), "cartoon", "traits"]
        return Composed(
            concept=Concept(
                title=collection.title,
                description=collection.description,
                metatags=tuple(dict.fromkeys(tags)),
                prompt=collection.prompt,
                negative=collection.negative,
            ),
            items=self._items(collection),
            brief={
                "collection": collection.title,
                "tokens": f"{count:,} of {possible:,} that there can be",
                **({"excluded": f"{excluded:,} of earlier collections"} if excluded else {}),
                **({"quotas": "; ".join(self._job["quotas"])} if self._job["quotas"] else {}),
            },
            notes=list(self._job["notes"]),
        )

    def _collection(self) -> Collection:
        """The catalogue, as it was when the tokens were decided on."""
        name, planned = self._job["collection"], self._job["values"]
        try:
            collection = load(self._data, name)
        except UsageError as exc:
            raise SetupError(str(exc)) from exc
        found = {trait.title: list(trait.names) for trait in collection.traits}
        if found != {title: [one["value"] for one in listed] for title, listed in planned.items()}:
            raise SetupError(f"The traits of {name!r} are not those that this run was planned with: plan it anew.")
        return collection

    def _items(self, collection: Collection) -> list[Item]:
        space, names = collection.space(), list(self._job["passes"])
        codes: Sequence[int] = self._job[PRIVATE]["tokens"]
        width = max(2, len(str(len(codes))))
        items = []
        if BASE in names:
            items.append(Item(name=BASE, title="The character as it is", prompt=collection.prompt, kind="step"))
        for number, code in enumerate(codes, start=1):
            chosen = zip(collection.traits, space.decode(code), strict=True)
            values = {trait.name: trait.names[value] for trait, value in chosen}
            items += self._passes(collection, f"{number:0{width}d}", number, values)
        return sorted(items, key=lambda item: item.step)

    def _passes(self, collection: Collection, name: str, number: int, values: Mapping[str, str]) -> list[Item]:
        """The images of one token."""
        steps = {one: step for step, one in enumerate(self._job["passes"])}
        title, prompt = f"{self._about.token} #{number}", collection.prompt_of(values)
        facts = {trait.title: values[trait.name] for trait in collection.traits}
        if REFINED not in steps:
            return [Item(name=name, title=title, prompt=prompt, step=steps[TRAITS], facts=facts)]
        plain = f"{name}-{TRAITS}"
        words = ", ".join(part for part in (prompt, collection.refine) if part)
        return [
            Item(name=plain, title=f"{title}, with its traits", prompt=prompt, step=steps[TRAITS], kind="step"),
            Item(
                name=name,
                title=title,
                prompt=words,
                step=steps[REFINED],
                request=self._start(steps[REFINED], plain),
                facts=facts,
            ),
        ]

    def _start(self, step: int, plain: str) -> dict[str, Any]:
        """What the requests of the refinement say of the image they start from, for this one."""
        own = self._plan.steps[step]["request"]
        return {
            name: f"@{plain}" if name == "init_image" else [f"@{plain}"]
            for name in ("init_image", "references")
            if name in own
        }

    # --- what it comes to

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        tokens, found = self._outcome(made)
        metadata.write_tokens(folder, self._about, tokens)
        metadata.write_rarity(folder, self._about, tokens, found)
        provenance = metadata.write_provenance(folder, self._about, tokens, self._job["count"])
        from tirada.workflows.tokens import page

        values = self._job["values"]
        numbers = page.Numbers(
            wanted={title: {one["value"]: one["by_weight"] for one in listed} for title, listed in values.items()},
            tiers={title: {one["value"]: one["tier"] for one in listed} for title, listed in values.items()},
        )
        request = self._plan.request
        text = page.render(
            self._about,
            tokens,
            found,
            (request["width"], request["height"]),
            planned=self._job["count"],
            numbers=numbers,
            provenance=provenance,
        )
        write_text(folder / PAGE_FILE, text)

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        tokens, found = self._outcome(made)
        ranked = sorted(zip(tokens, found, strict=True), key=lambda pair: (pair[1].rank, pair[0].number))
        record = json.loads((folder / metadata.PROVENANCE).read_text(encoding="utf-8"))
        return {
            "collection": self._job["collection"],
            "tokens": len(tokens),
            "wanted": self._job["count"],
            "possible": self._job["possible"],
            "provenance": record["provenance"],
            "page": str(folder / PAGE_FILE),
            "rarest": [
                {"rank": rarity.rank, "number": token.number, "file": token.file, "score": round(rarity.score, 6)}
                for token, rarity in ranked[:RAREST]
            ],
            "notes": list(self._job["notes"]),
        }

    def _outcome(self, made: Sequence[Made]) -> tuple[list[metadata.Made], list[Rarity]]:
        """The tokens there are, by number, and how rare each is among them."""
        titles = list(self._job["values"])
        tokens = [
            metadata.Made(
                number=int(one.item.name),
                file=one.file.name,
                attributes={title: one.facts[title] for title in titles},
            )
            for one in made
            if one.file is not None and one.item.kind == "result"
        ]
        tokens.sort(key=lambda token: token.number)
        return tokens, rarities([token.attributes for token in tokens])


COLLECTION = Workflow(
    options=CollectionOptions,
    plan=plan_collection,
    job=Tokens,
    examples=[
        "python main.py collection 24 --draft",
        'python main.py collection 100 --quota "head=Top Hat:12" --quota "skin=Moonlight:1" --draft',
        "python main.py collection 50 --exclude output/2026-11-21-lantern-foxes-1a2b --dalle",
        "python main.py collection 500 --base fox.png --stable-diffusion --refine flux --lora style.safetensors:0.8",
    ],
)
