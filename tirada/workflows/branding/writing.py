"""Has a text model put a wish into one scene that obeys the kit, with title, description and tags for the catalogue.

Style, light and colours are the kit's, and are added to the scene afterwards.
Invariant: what comes out holds none of the words that the kit's rules forbid, and no name that is not allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.contract import DESCRIPTION_MAX, DESCRIPTION_MIN, TAGS_MAX, TAGS_MIN, TITLE_MAX, Scribe
from models.writers.checks import ForbiddenNames, faults
from models.writers.language import is_clearly_not, name_of
from tirada.workflows.branding.kit import Kit, Product
from tirada.workflows.branding.metadata import Wish
from tirada.workflows.branding.prompts import Scene

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Characters of a scene.
SCENE_MIN, SCENE_MAX = 40, 420
#: What a question and its answer come to, in tokens, where nothing is known of them yet (rules, schema, kit).
QUESTION_TOKENS, ANSWER_TOKENS = 750, 220


@dataclass(frozen=True, slots=True)
class Written:
    """What a text model wrote."""

    scene: str
    title: str
    description: str
    metatags: tuple[str, ...]


def write(
    scribe: Scribe, kit: Kit, product: Product, wish: Wish, scene: Scene, language: str, forbidden: ForbiddenNames
) -> Written:
    """Ask for the scene; ``scene`` is what was dealt for it. Raises ModelError."""
    shape = shape_of(kit, product, language, forbidden)
    said = scribe.answer(rules_for(kit, product, language), question_for(product, wish, scene), shape).model_dump()
    return Written(said["scene"].strip(), said["title"], said["description"], tuple(said["metatags"]))


def rules_for(kit: Kit, product: Product, language: str) -> str:
    """What holds for every scene of a product."""
    never = [f"- {rule.name}" for rule in kit.rules_for(product)]
    words = [word for rule in kit.rules_for(product) for word in rule.words]
    if words:
        never.append(f"- in the scene, none of these words: {', '.join(words)}")
    lines = [
        f"You plan pictures for a brand. {kit.description}",
        f"Its colours are {', '.join(kit.palette)}.",
        "",
        "You are told what a picture is to show. Write:",
        f"- scene: one sentence in English, {SCENE_MIN} to {SCENE_MAX} characters, for an image model: subject first,"
        " then what it does, where it is, and one telling detail. Only what can be seen, all of it at one moment.",
        "  Say nothing of style, camera or colours, and of light only where the wish does: those are added to it.",
        f"- title, description and metatags for a catalogue, in {name_of(language)}.",
        "No brands, no artists, no real people.",
    ]
    if never:
        lines += ["", "Rules of the brand:", *never]
    return "\n".join(lines)


def question_for(product: Product, wish: Wish, scene: Scene) -> str:
    """What this picture is to show."""
    dealt = {"Place": scene.place, "What happens": scene.action, "Detail": scene.attribute}
    lines = [f"Product: {product.name}", f"Subject: {scene.subject}"]
    lines += [f"{name} (take it if it fits): {text}" for name, text in dealt.items() if text]
    if wish.custom_prompt:
        lines.append(f"The wish, which the scene has to fulfil: {wish.custom_prompt}")
    if product.people and wish.age is not None:
        lines.append(f"Age: {wish.age}")
    return "\n".join(lines)


def shape_of(kit: Kit, product: Product, language: str, forbidden: ForbiddenNames) -> type[BaseModel]:
    """The shape of the answer, with every rule that can be checked."""
    from pydantic import BaseModel, Field, model_validator

    class BrandScene(BaseModel):
        # Limits stand in the descriptions: strict schemas know none for texts.
        scene: str = Field(description=f"One sentence in English, {SCENE_MIN} to {SCENE_MAX} characters.")
        title: str = Field(description=f"1 to {TITLE_MAX} characters.")
        description: str = Field(description=f"{DESCRIPTION_MIN} to {DESCRIPTION_MAX} characters.")
        metatags: list[str] = Field(description=f"{TAGS_MIN} to {TAGS_MAX} search words, each different.")

        @model_validator(mode="after")
        def _is_sound(self) -> BrandScene:
            wrong = faults(self.title, self.description, self.metatags, forbidden=forbidden)
            wrong += scene_faults(kit, product, self.scene, forbidden)
            if is_clearly_not(f"{self.title}. {self.description}", language):
                wrong.append(f"Title and description are not in {name_of(language)}.")
            if wrong:
                raise ValueError(" ".join(wrong).rstrip("."))
            return self

    return BrandScene


def scene_faults(kit: Kit, product: Product, scene: str, forbidden: ForbiddenNames) -> list[str]:
    """What is wrong with a scene, one sentence each."""
    found = []
    length = len(scene.strip())
    if not SCENE_MIN <= length <= SCENE_MAX:
        found.append(f"The scene has {length} characters; {SCENE_MIN} to {SCENE_MAX} are allowed.")
    if breach := kit.breach(product, scene):
        rule, word = breach
        found.append(f"The scene says {word!r}, which is against the rule {rule.name!r}; write it without.")
    if name := forbidden.find(scene):
        found.append(f"The name {name!r} is not allowed in the scene.")
    return found
