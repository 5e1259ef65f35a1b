"""An avatar: somebody's posts, the personality they speak of, its traits, and a picture in one to three passes.

Posts are read while it is planned, before anything is spent, and kept in the plan, so that a resume asks nobody again.
Invariant: posts decide which personality is chosen and nothing else; but for the words that a reason names, none of
theirs gets into a prompt or a file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from models.contract import Concept, Scribe
from models.errors import Refused
from tirada.engine.job import Composed, Item, Job, Made
from tirada.engine.plan import PRIVATE, Plan
from tirada.errors import UsageError
from tirada.output.atomic import write_text
from tirada.workflows.tokens.catalogue import Collection, Trait, load
from tirada.workflows.tokens.choosing import (
    ANSWER_TOKENS,
    Choice,
    by_chance,
    by_text_model,
    by_words,
    requested,
    wording,
)
from tirada.workflows.tokens.passes import BASE, REFINED, TRAITS, passes_of, refinement_of
from tirada.workflows.tokens.personalities import Personality, draw_traits, find_personality, load_personalities
from tirada.workflows.workflow import Common, Opt, Workflow

#: What is said of the image beside its traits.
PERSONALITY, REASON, CHOSEN_BY = "Personality", "Reason", "Chosen by"
JSON_FILE, METADATA_FILE = "avatar.json", "metadata.json"


@dataclass(frozen=True, kw_only=True)
class AvatarOptions:
    """What the user asked for."""

    posts: Annotated[
        Path | None,
        Opt(help="Posts to go by: a text, one a line; JSON Lines; or tweets.js of an X archive.", metavar="FILE"),
    ] = None
    bluesky: Annotated[str | None, Opt(help="Go by the posts of this Bluesky handle.", metavar="HANDLE")] = None
    mastodon: Annotated[str | None, Opt(help="Go by the posts of this Mastodon account.", metavar="USER@HOST")] = None
    x: Annotated[str | None, Opt(help="Go by the posts of this user of X; needs X_BEARER_TOKEN.", metavar="USER")] = (
        None
    )
    personality: Annotated[
        str | None, Opt(help="This personality, by its code or name, instead of one to go by posts.", metavar="CODE")
    ] = None
    collection: Annotated[str, Opt(help="The characters: a folder of data/collections.", metavar="NAME")] = "foxes"
    base: Annotated[
        Path | None, Opt(help="Start from this picture of the character instead of making one.", metavar="FILE")
    ] = None
    refine: Annotated[
        str | None, Opt(help="Refine the picture with this backend, too; --lora is then its.", metavar="BACKEND")
    ] = None
    refine_model: Annotated[str | None, Opt(help="The model of the refinement.", metavar="NAME")] = None
    refine_strength: Annotated[
        float | None, Opt(help="How far the refinement may go, 1 = anywhere.", min=0, max=1, metavar="0..1")
    ] = None


# --- planning ---------------------------------------------------------------------------------------------------------


def plan_avatar(options: AvatarOptions, common: Common) -> Plan:
    """Read the posts and plan the passes. Raises UsageError, NotFound, and ModelErrors of networks and backends."""
    collection = load(common.data, options.collection)
    for trait in collection.traits:
        if trait.title in (PERSONALITY, REASON, CHOSEN_BY):
            raise UsageError(f"An avatar says its own {trait.title!r}: no trait of a collection can be titled so.")
    personalities = load_personalities(common.data, collection)
    chosen = None if options.personality is None else find_personality(personalities, options.personality)
    refinement = refinement_of(options.refine, options.refine_model, options.refine_strength)
    _check_sources(options)
    passes = passes_of(common, collection, options.base, refinement)
    posts, origin = _posts(options, common.settings)
    asks = []
    if posts and common.gpt:
        from models.writers.scribe import tokens_for

        asks.append((tokens_for(*wording(personalities, posts, common.language)), ANSWER_TOKENS))
    return passes.common.plan(
        "avatar",
        size=collection.size,
        steps=passes.steps,
        job={
            "collection": collection.name,
            "personality": chosen.code if chosen else "",
            "posts": len(posts),
            "origin": origin,
            "passes": list(passes.names),
            "notes": list(passes.notes),
            PRIVATE: {"posts": posts},
        },
        asks=asks,
    )


def _check_sources(options: AvatarOptions) -> None:
    given = [
        name for name in ("posts", "bluesky", "mastodon", "x", "personality") if getattr(options, name) is not None
    ]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} both say who it is; give one of them.")


def _posts(options: AvatarOptions, settings: Mapping[str, str | None]) -> tuple[list[str], str]:
    """The posts to go by, and where they are from; none where chance or the user decides."""
    if options.posts is not None:
        from tirada.sources.posts import read_posts

        found = read_posts(options.posts)
    elif options.bluesky is not None:
        from tirada.sources import bluesky

        found = bluesky.read(options.bluesky, settings.get("BLUESKY_BASE_URL"))
    elif options.mastodon is not None:
        from tirada.sources import mastodon

        found = mastodon.read(options.mastodon, settings.get("MASTODON_BASE_URL"))
    elif options.x is not None:
        from tirada.sources import x

        found = x.read(options.x, settings.get("X_BEARER_TOKEN"), settings.get("X_BASE_URL"))
    else:
        return [], ""
    return list(found.texts), found.origin


# --- the job ----------------------------------------------------------------------------------------------------------


class Avatar(Job):
    """One character, in the passes of the plan."""

    def __init__(self, plan: Plan, data: Path) -> None:
        self._plan = plan
        self._job = plan.job
        self._collection: Collection = load(data, plan.job["collection"])
        self._personalities = load_personalities(data, self._collection)

    def compose(self, scribe: Scribe | None) -> Composed:
        notes = list(self._job["notes"])
        choice = self._choose(scribe, notes)
        personality = choice.personality
        traits = draw_traits(self._collection, personality, random.Random(f"{self._plan.seed}/traits"))
        prompt = self._collection.prompt_of(traits)
        told = {trait.title: _told(trait, traits[trait.name]) for trait in self._collection.traits}
        by_model = choice.by == "text model" and scribe is not None
        return Composed(
            concept=Concept(
                title=personality.title,
                description=personality.description,
                metatags=self._tags(personality, traits),
                prompt=prompt,
                negative=self._collection.negative,
                writer="gpt" if by_model else "",
                model=scribe.model if by_model and scribe is not None else "",
            ),
            items=self._items(choice, prompt, told),
            brief={
                "collection": self._collection.title,
                "code": personality.code,
                "primary": personality.primary,
                "secondary": personality.secondary,
                "reason": choice.reason,
                "chosen by": choice.by,
                "posts": f"{self._job['posts']} of {self._job['origin']}" if self._job["posts"] else "none",
                **told,
            },
            notes=[f"{personality.title} ({personality.code}): {choice.reason}", *notes],
        )

    def _choose(self, scribe: Scribe | None, notes: list[str]) -> Choice:
        """Whoever can decide; where a text model will not, the words of the posts do, and a note says so."""
        posts: Sequence[str] = self._job[PRIVATE]["posts"]
        rng = random.Random(f"{self._plan.seed}/personality")
        if code := self._job["personality"]:
            return requested(find_personality(self._personalities, code))
        if not posts:
            return by_chance(self._personalities, rng, "No posts were given, so chance decided.")
        if scribe is not None:
            try:
                return by_text_model(self._personalities, posts, scribe, self._plan.language)
            except Refused as exc:
                notes.append(f"The words of the posts decide, as the text model would not: {exc}")
        return by_words(self._personalities, posts, rng)

    def _tags(self, personality: Personality, traits: Mapping[str, str]) -> tuple[str, ...]:
        words = ["avatar", "character", self._collection.token, personality.primary, *traits.values()]
        defaults = {trait.default for trait in self._collection.traits}
        return tuple(dict.fromkeys(word.lower() for word in words if word not in defaults))

    def _items(self, choice: Choice, prompt: str, told: Mapping[str, str]) -> list[Item]:
        names: Sequence[str] = self._job["passes"]
        facts = {PERSONALITY: choice.personality.title, **told, REASON: choice.reason, CHOSEN_BY: choice.by}
        words = {
            BASE: ("The character as it is", self._collection.prompt),
            TRAITS: (choice.personality.title if names[-1] == TRAITS else "With its traits", prompt),
            REFINED: (choice.personality.title, ", ".join(part for part in (prompt, self._collection.refine) if part)),
        }
        return [
            Item(
                name=name,
                title=words[name][0],
                prompt=words[name][1],
                step=step,
                kind="result" if name == names[-1] else "step",
                facts=facts if name == names[-1] else {},
            )
            for step, name in enumerate(names)
        ]

    # --- what it comes to

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        told = self._outcome(made)
        write_text(folder / JSON_FILE, json.dumps(told, ensure_ascii=False, indent=2) + "\n")
        token = {
            "name": concept.title,
            "description": concept.description,
            "image": told["image"],
            "attributes": told["attributes"],
        }
        write_text(folder / METADATA_FILE, json.dumps(token, ensure_ascii=False, indent=2) + "\n")

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        told = self._outcome(made)
        image = str(folder / told["image"]) if told["image"] else None
        return {**told, "image": image, "seconds": round(seconds, 3)}

    def _outcome(self, made: Sequence[Made]) -> dict[str, Any]:
        """Everything that avatar.json says, from what was planned and made; the image is that of the last pass there
        is."""
        facts = made[-1].facts
        personality = find_personality(self._personalities, facts[PERSONALITY])
        values = {trait.name: _value(trait, facts[trait.title]) for trait in self._collection.traits}
        done = [one.file.name for one in made if one.file is not None]
        attributes = [{"trait_type": trait.title, "value": values[trait.name]} for trait in self._collection.traits]
        return {
            "collection": self._collection.name,
            "code": personality.code,
            "primary": personality.primary,
            "secondary": personality.secondary,
            "description": personality.description,
            "reason": facts[REASON],
            "chosen_by": facts[CHOSEN_BY],
            "traits": {
                trait.name: {"value": values[trait.name], "tier": trait.value(values[trait.name]).tier}
                for trait in self._collection.traits
            },
            "image": done[-1] if done else None,
            "passes": [
                {
                    "name": one.item.name,
                    "file": one.file.name if one.file is not None else None,
                    "state": one.state,
                    "model": one.model,
                    "seed": one.seed,
                }
                for one in made
            ],
            "attributes": [
                {"trait_type": "Primary", "value": personality.primary},
                {"trait_type": "Secondary", "value": personality.secondary},
                *attributes,
            ],
        }


def _told(trait: Trait, name: str) -> str:
    """A value and its tier, for people; the default of an optional trait is nothing rare."""
    tier = trait.value(name).tier
    return f"{name} ({tier})" if tier and name != trait.default else name


def _value(trait: Trait, told: str) -> str:
    """The value that was told so."""
    return next((name for name in trait.names if told == _told(trait, name)), told)


AVATAR = Workflow(
    options=AvatarOptions,
    plan=plan_avatar,
    job=Avatar,
    examples=[
        "python main.py avatar --draft",
        "python main.py avatar --posts posts.txt --draft",
        "python main.py avatar --bluesky name.bsky.social --dalle",
        "python main.py avatar --personality no1 --stable-diffusion --refine flux --lora style.safetensors:0.8",
    ],
)
