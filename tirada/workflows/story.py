"""``story``: an illustrated book from an idea, with a character sheet that every page keeps to.

Invariant: what cannot be is said before anything is written or rendered.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from models.contract import TITLE_MAX
from tirada.engine.plan import Plan
from tirada.errors import TiradaError, UsageError
from tirada.workflows.stories import wordlist
from tirada.workflows.stories.text import age_from, character_from, one_line
from tirada.workflows.workflow import Common, Opt, Workflow

#: Width and height where the user says none: the square of many picture books.
SIZE = (1024, 1024)
#: How far a page may go from the sheet it starts from, with --from-sheet: enough for a scene, not for other colours.
STRENGTH = 0.6
PAGES_MAX, IDEA_MAX, TRIES_MAX, TRIES = 60, 2000, 5, 2
#: Contrast between paper and ink that a style must have, as WCAG 2 counts it.
CONTRAST = 7.0
HINT = "Say --from-sheet, and each page starts from the character sheet: this backend takes no reference images."


def _check_character(texts: list[str]) -> None:
    for text in texts:
        character_from(text)


def _check_names(texts: list[str]) -> None:
    names = [character_from(text).name for text in texts]
    twice = [name for at, name in enumerate(names) if name.casefold() in {one.casefold() for one in names[:at]}]
    if twice:
        raise UsageError(f"Two characters are called {twice[0]!r}; each needs a name of its own.")


def _check_age(text: str) -> None:
    age_from(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryOptions:
    """What the user asks for."""

    idea: Annotated[str, Opt(help="What it is about, in a sentence.", argument=True)]
    pages: Annotated[int, Opt(help="Pages, without the cover.", min=1, max=PAGES_MAX, metavar="N")] = 5
    title: Annotated[str, Opt(help="Title of the book.", metavar="TEXT")] = ""
    character: Annotated[
        list[str],
        Opt(
            help='"Name: how they look"; repeatable, the first is the hero.',
            metavar="TEXT",
            check=_check_character,
        ),
    ] = field(default_factory=list)
    setting: Annotated[str, Opt(help="Where it plays.", metavar="TEXT")] = ""
    style: Annotated[str, Opt(help="How it is illustrated; see data/stories/styles.toml.", metavar="NAME")] = (
        "watercolor"
    )
    age: Annotated[str, Opt(help="Age of the readers, in years.", metavar="N-N", check=_check_age)] = "4-7"
    cover: Annotated[bool, Opt(help="Make a cover.", flags="--cover/--no-cover")] = True
    reference: Annotated[
        Path | None, Opt(help="A picture of the characters, in place of a sheet made first.", metavar="FILE")
    ] = None
    sheet: Annotated[
        bool, Opt(help="Make a character sheet first that pages keep to, where possible.", flags="--sheet/--no-sheet")
    ] = True
    from_sheet: Annotated[bool, Opt(help="Start each page from the sheet, image to image.")] = False
    redo_below: Annotated[
        float | None, Opt(help="Make pages again that are less consistent than this.", min=0, max=1, metavar="0..1")
    ] = None
    tries: Annotated[
        int | None, Opt(help=f"How often, at most; {TRIES} unless said.", min=1, max=TRIES_MAX, metavar="N")
    ] = None
    font: Annotated[
        Path | None, Opt(help="Set the book in this font, e.g. for Japanese or Arabic letters.", metavar="FILE")
    ] = None


def plan_story(options: StoryOptions, common: Common) -> Plan:
    """Raises UsageError for what makes no sense, TiradaError for an idea the word list refuses."""
    folder = common.data / "stories"
    style_name, style = _style(options.style, folder)
    idea = one_line(options.idea)
    if not idea or len(idea) > IDEA_MAX:
        raise UsageError(f"The idea has {len(idea)} characters; 1 to {IDEA_MAX:,} are right.")
    _check_names(options.character)
    _check_together(options, common)
    if not common.gpt:
        _check_offline(options, common, folder)
    reference = _file(options.reference, "reference")
    font = _file(options.font, "font")
    if font is not None:
        from tirada.output.book.pdf import check_font

        check_font(font)
    title = one_line(options.title)
    if len(title) > TITLE_MAX:
        raise UsageError(f"The title has {len(title)} characters; at most {TITLE_MAX} are right.")
    tries = TRIES if options.tries is None else options.tries
    sheet, use, notes = _consistency(options, common, reference)
    first = 1 if sheet else 0
    others = options.pages - 1 + options.cover
    steps: list[dict[str, Any]] = [{"images": 1}] * first
    steps += [{"images": 1, "request": use}]
    steps += [{"images": others, "request": use}] if others else []
    if options.redo_below is not None:
        steps += [{"images": others + 1, "request": use}] * tries
    age = age_from(options.age)
    clip = _clip(common.settings.get("CLIP_MODEL"))
    from tirada.workflows.stories.asking import expected_tokens

    return common.plan(
        "story",
        size=SIZE,
        theme=idea,
        steps=steps,
        asks=[expected_tokens(options.pages, age)],
        job={
            "idea": idea,
            "pages": options.pages,
            "title": title,
            "characters": [{"name": one.name, "look": one.look} for one in map(character_from, options.character)],
            "setting": one_line(options.setting),
            "style": style_name,
            "style_words": style["words"],
            "look": {name: style[name] for name in ("paper", "ink", "accent")},
            "age": list(age),
            "cover": options.cover,
            "sheet": sheet,
            "use": use,
            "reference": "" if reference is None else str(reference),
            "redo_below": options.redo_below,
            "tries": tries,
            "font": "" if font is None else str(font),
            "clip_model": clip,
            "notes": notes,
        },
    )


def styles(folder: Path) -> dict[str, dict[str, str]]:
    """The styles there are, checked; raises UsageError naming what is wrong with one."""
    with (folder / "styles.toml").open("rb") as file:
        found: dict[str, dict[str, str]] = tomllib.load(file)
    for name, style in found.items():
        for key in ("title", "words", "paper", "ink", "accent"):
            if not isinstance(style.get(key), str) or not style[key]:
                raise UsageError(f"data/stories/styles.toml: {name} has no {key}.")
        for key in ("paper", "ink", "accent"):
            if not re.fullmatch(r"#[0-9a-f]{6}", style[key]):
                raise UsageError(f"data/stories/styles.toml: {key} of {name} is no colour like #fdf8ee.")
        if contrast(style["paper"], style["ink"]) < CONTRAST:
            raise UsageError(f"data/stories/styles.toml: the ink of {name} is hard to read on its paper.")
    return found


def contrast(one: str, other: str) -> float:
    """Of two colours (#rrggbb), 1 to 21, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _style(name: str, folder: Path) -> tuple[str, dict[str, str]]:
    known = styles(folder)
    wanted = name.strip().casefold().replace(" ", "-").replace("_", "-")
    if wanted in known:
        return wanted, known[wanted]
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}."
    raise UsageError(f"There is no book style {name!r}; {hint}")


def _check_together(options: StoryOptions, common: Common) -> None:
    if options.tries is not None and options.redo_below is None:
        raise UsageError("--tries needs --redo-below: pages are made again that are less consistent than it says.")
    if common.strength is not None and not options.from_sheet:
        raise UsageError("--strength says how far pages go from the sheet that they start from: it needs --from-sheet.")


def _check_offline(options: StoryOptions, common: Common, folder: Path) -> None:
    if common.language != "en":
        raise UsageError(
            f"The offline writer tells stories in English, not {common.language!r}. The GPT writer does (--writer gpt,"
            " OPENAI_API_KEY)."
        )
    said = "\n".join([options.idea, options.title, options.setting, *options.character])
    if found := wordlist.flagged(said, folder):
        raise TiradaError(
            f"The idea of the story is not suitable; flagged as: {', '.join(found)} (a word list says so)."
        )


def _file(path: Path | None, what: str) -> Path | None:
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r} for --{what}.")
    return path.resolve()


def _consistency(
    options: StoryOptions, common: Common, reference: Path | None
) -> tuple[bool, dict[str, Any], list[str]]:
    """(is a sheet made, what the requests of pages have for it, what the user should know)."""
    source = "@sheet" if reference is None else str(reference)
    # A backend may take pictures, and the model that was asked for not.
    takes = common.capabilities.references and not common.objection_to({"references": [source]})
    start = common.starting_from(source, STRENGTH)
    starts = "init_image" in start and not common.objection_to(start)
    model = f" with the model {common.model!r}" if common.model else ""
    if reference is not None and not (takes or starts):
        if why := _wrong_with(source, common):
            raise UsageError(f"--reference {str(reference)!r} cannot be used: {why}")
        raise UsageError(f"Backend {common.backend!r}{model} takes no pictures, so --reference has nothing to act on.")
    if options.from_sheet and not starts:
        why = common.objection_to({"init_image": source}) if common.capabilities.init_image else ""
        raise UsageError(
            f"Backend {common.backend!r}{model} starts from no picture; leave out --from-sheet. {why}".strip()
        )
    if options.from_sheet and reference is None and not options.sheet:
        raise UsageError("--from-sheet needs the sheet that --no-sheet leaves out; or name a --reference.")
    sheet = options.sheet and reference is None and (takes or starts)
    if not sheet and reference is None:
        return False, {}, []
    if options.from_sheet:
        return sheet, start, []
    if takes:
        return sheet, {"references": [source]}, []
    return sheet, {}, [HINT]


def _wrong_with(picture: str, common: Common) -> str:
    """What a backend that takes pictures has against this one, where it would take one of ours; "" = nothing."""
    if common.capabilities.references:
        this, ours = {"references": [picture]}, {"references": ["@sheet"]}
        return "" if common.objection_to(ours) else common.objection_to(this)
    if common.capabilities.init_image:
        return "" if common.objection_to({"init_image": "@sheet"}) else common.objection_to({"init_image": picture})
    return ""


def _clip(folder: str | None) -> str:
    """The folder of the CLIP model, checked; raises SetupError."""
    if not folder:
        return ""
    from models.backends.local.likeness import check

    path = Path(folder).expanduser().resolve()
    check(path)
    return str(path)


def _job(plan: Plan, data: Path) -> Any:
    from tirada.workflows.stories.job import StoryJob

    return StoryJob(plan, data / "stories")


STORY: Workflow[StoryOptions] = Workflow(
    options=StoryOptions,
    plan=plan_story,
    job=_job,
    examples=(
        'python main.py story "a shy lighthouse keeper befriends a whale" --pages 5',
        'python main.py story "a fox who loses her tail" --pages 12 --style gouache --age 3-5 --draft',
        'python main.py story "the moon takes a day off" --character "Luna: a round silver moon in a nightcap" --dalle',
    ),
)
