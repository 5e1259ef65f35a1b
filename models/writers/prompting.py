"""Every word a text model is told: the rules, the examples as earlier turns, the briefs, and what was wrong.

Invariant: the same briefs give the same messages, byte for byte; nothing but roles, briefs and drafts goes into them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence

from models.contract import (
    DESCRIPTION_MAX,
    DESCRIPTION_MIN,
    TAGS_MAX,
    TAGS_MIN,
    TITLE_MAX,
    Brief,
    Concept,
    Example,
    Role,
)
from models.writers.answers import Draft, plain
from models.writers.language import name_of

Message = dict[str, str]

#: Examples shown in one call; each costs about 150 tokens.
EXAMPLES = 3
#: Tags of an example that stand for its brief.
EXAMPLE_TAGS = 3
#: The order in which a brief is read out; other choices of a role follow.
ORDER = ("scene", "element", "environment", "style", "light", "mood", "palette", "render", "camera", "lens")
#: Of a faulty answer no more than this is sent back (characters).
QUOTED = 800

# The targets are tighter than the limits: who aims at the edge falls over it, and asking again costs money.
SYSTEM = """{description}

You invent pictures for a collection that grows every night and must never repeat itself. For each numbered brief you \
write one concept: a title and tags by which people find the picture, and a description from which an image model \
makes it.

Rules
- title: 3 to 9 words that fit this one picture and no other; at most {title_max} characters; no quotation marks, no \
full stop at the end.
- description: one to three complete sentences, 120 to 320 characters (never under {description_min} or over \
{description_max}), about what can be seen: who or what, doing what, where, in which light. Concrete, sensory, \
surprising in one detail; no list of keywords, no "this image shows". It ends with a full stop.
- metatags: 6 to 9 (never under {tags_min} or over {tags_max}), lower case, one to three words each, the most telling \
first, without "#", none twice.
- A theme, where one is given, is the subject and must be plain to see; scene, element and environment bend to it. \
Without a theme the scene is the subject. Never contradict style, light, mood and palette. Tags in a brief are \
suggestions.
- No names of living artists or other real people, of brands, or of characters from films, games, comics or books: \
describe what you see instead.
- The concepts of one answer differ clearly from each other and from every earlier one: another subject, another \
moment, another way to begin the title and the description.
- Language of title, description and metatags: {language}.

Answer with JSON only, one concept for each brief, in the order of the briefs:
{{"concepts": [{{"title": "...", "description": "...", "metatags": ["...", "..."]}}]}}"""

ASK_ONE = "Write exactly 1 concept, for this brief."
ASK_MORE = "Write exactly {count} concepts, one for each brief, in this order."
THEME = "Theme of every picture: {theme}"
#: Said last, and only where the examples and briefs above were in another language.
LANGUAGE = "Write every title, description and metatag in {language}, although briefs and examples are in English."
AGAIN = """This cannot be used yet:
{faults}
Write exactly {concepts} for the briefs above, in the same order, with everything put right."""
UNREADABLE = "No concept could be read from the answer. Answer with the JSON alone."
MISSING = "There was no concept for this brief."

# What is not to be seen must not be named at all: image models draw what is negated, and filters read it.
HARMLESS = """- Take out all that a content policy may mind: violence and its traces, weapons aimed at someone, \
cruelty, harm to oneself; nudity and all that is intimate; minors in any scene that is not plainly harmless; drugs; \
hatred and its signs; real people, living artists, brands, and characters from films, games, comics or books. Put \
something harmless in its place that is as telling: the quiet field after the battle, red poppies for blood, an \
unnamed singer for the star. Do not hint at what was there.
- Where nothing seems wrong, a word was taken amiss: say the same with plain words of one meaning only, "photographed" \
for "shot", "crimson" for "bloody".
- Never name what is left out, not even to say that it is absent."""
REWRITE = """You put ideas for pictures into safer words. An image service has declined to make the picture below: its \
content policy minds something in it. Write the idea anew: nothing is left to mind, and it is still the same idea.

Rules
- Keep subject, place, light, colours, mood and composition: whoever sees both pictures side by side takes them for \
two of one series.
{harmless}
- title: 3 to 9 words; at most {title_max} characters; no quotation marks, no full stop at the end.
- description: one to three complete sentences, 120 to 320 characters (never under {description_min} or over \
{description_max}), about what can be seen. It ends with a full stop.
- metatags: 6 to 9 (never under {tags_min} or over {tags_max}), lower case, one to three words each, the most telling \
first, without "#", none twice.
- prompt: what the image model is told, at most {prompt_max} characters: the old prompt with the same changes made. \
What it says of style, medium, technique, camera, light and colours stays word for word, unless it is what the policy \
minds.
- Every text is in the language it is in now.

Answer with JSON only:
{{"concepts": [{{"title": "...", "description": "...", "metatags": ["...", "..."], "prompt": "..."}}]}}"""
REWRITE_THIS = """{concept}

The service said: {reason}

Write exactly 1 concept in its place."""
REWRITE_AGAIN = """This cannot be used yet:
{faults}
Write exactly 1 concept, with everything put right."""
#: A rewritten prompt may have so many characters, or half as many again as the old one where that is more.
PROMPT_MAX = 2000


def opening(brief: Brief, seed: int) -> list[Message]:
    """The system message and the examples as earlier turns of the talk; other seeds see other examples."""
    rules = SYSTEM.format(
        description=brief.role.description,
        title_max=TITLE_MAX,
        description_min=DESCRIPTION_MIN,
        description_max=DESCRIPTION_MAX,
        tags_min=TAGS_MIN,
        tags_max=TAGS_MAX,
        language=name_of(brief.language),
    )
    messages = [_say("system", rules)]
    for example in choose_examples(brief.role, seed):
        tags = ", ".join(example.metatags[:EXAMPLE_TAGS])
        messages.append(_say("user", f"{ASK_ONE}\n\n1. tags: {tags}"))
        messages.append(_say("assistant", as_json([example])))
    return messages


def choose_examples(role: Role, seed: int) -> list[Example]:
    """The examples for a call: always the same for a seed, spread evenly over the role's examples."""
    count = min(EXAMPLES, len(role.examples))
    return random.Random(f"examples/{seed}").sample(role.examples, count)


def request(briefs: Sequence[Brief]) -> Message:
    """The turn that asks for one concept per brief, numbered from 1."""
    themes = {plain(brief.theme) for brief in briefs}
    shared = themes.pop() if len(themes) == 1 else ""
    lines = [ASK_ONE if len(briefs) == 1 else ASK_MORE.format(count=len(briefs))]
    if shared:
        lines.append(THEME.format(theme=shared))
    lines.append("")
    lines += [f"{number}. {_brief(brief, own_theme=not shared)}" for number, brief in enumerate(briefs, start=1)]
    if not briefs[0].language.casefold().startswith("en"):
        lines += ["", LANGUAGE.format(language=name_of(briefs[0].language))]
    return _say("user", "\n".join(lines))


def _brief(brief: Brief, *, own_theme: bool) -> str:
    keys = [key for key in ORDER if key in brief.choices] + sorted(brief.choices.keys() - set(ORDER))
    parts = [f"{key}: {brief.choices[key]}" for key in keys]
    if own_theme and (theme := plain(brief.theme)):
        parts.insert(0, f"theme: {theme}")
    if brief.tags:
        parts.append(f"tags: {', '.join(brief.tags)}")
    return "; ".join(parts)


def correction(
    faults: Mapping[int, Sequence[str]], drafts: Sequence[Draft], raw: str, *, concepts: int
) -> list[Message]:
    """The turns after ``request``: what was answered (as text, if it could not be read), and what was wrong with it.

    ``faults`` maps the number of a brief to its faults. Where nothing was answered there is only the second turn.
    """
    quoted = as_json([_clipped(draft) for draft in drafts]) if drafts else raw.strip()[:QUOTED]
    lines = "\n".join(f"{number}. {' '.join(found)}" for number, found in faults.items())
    again = _say("user", AGAIN.format(faults=lines, concepts=_concepts(concepts)))
    return [_say("assistant", quoted), again] if quoted else [again]


def prompt_max(prompt: str) -> int:
    """How many characters the prompt that takes the place of this one may have."""
    return max(PROMPT_MAX, len(prompt) * 3 // 2)


def rewriting(concept: Concept, reason: str) -> list[Message]:
    """The talk that asks for a safer concept of the same idea."""
    rules = REWRITE.format(
        harmless=HARMLESS,
        title_max=TITLE_MAX,
        description_min=DESCRIPTION_MIN,
        description_max=DESCRIPTION_MAX,
        tags_min=TAGS_MIN,
        tags_max=TAGS_MAX,
        prompt_max=prompt_max(concept.prompt),
    )
    old = Draft(concept.title, concept.description, concept.metatags, concept.prompt)
    asked = REWRITE_THIS.format(concept=as_json([old]), reason=plain(reason)[:QUOTED])
    return [_say("system", rules), _say("user", asked)]


def rewriting_again(faults: Sequence[str], draft: Draft | None, raw: str) -> list[Message]:
    """The turns after ``rewriting``: what was answered (as text, if it could not be read), and what was wrong."""
    quoted = as_json([draft]) if draft is not None else raw.strip()[:QUOTED]
    again = _say("user", REWRITE_AGAIN.format(faults="\n".join(faults)))
    return [_say("assistant", quoted), again] if quoted else [again]


def merged(messages: Iterable[Message]) -> list[Message]:
    """The messages with neighbours of one role made into one: many local chat templates insist on taking turns."""
    talk: list[Message] = []
    for message in messages:
        if talk and talk[-1]["role"] == message["role"]:
            talk[-1] = _say(message["role"], f"{talk[-1]['content']}\n\n{message['content']}")
        else:
            talk.append(message)
    return talk


def as_json(concepts: Sequence[Example | Draft]) -> str:
    """Concepts in the very shape that is asked for."""
    return json.dumps({"concepts": [_row(concept) for concept in concepts]}, ensure_ascii=False)


def _row(concept: Example | Draft) -> dict[str, object]:
    row: dict[str, object] = {
        "title": concept.title,
        "description": concept.description,
        "metatags": list(concept.metatags),
    }
    if isinstance(concept, Draft) and concept.prompt:
        row["prompt"] = concept.prompt
    return row


def _clipped(draft: Draft) -> Draft:
    tags = tuple(tag[:QUOTED] for tag in draft.metatags)
    return Draft(title=draft.title[:QUOTED], description=draft.description[:QUOTED], metatags=tags)


def _concepts(count: int) -> str:
    return f"{count} concept" if count == 1 else f"{count} concepts"


def _say(role: str, content: str) -> Message:
    return {"role": role, "content": content}
