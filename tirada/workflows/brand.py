"""The workflow ``brand``: images of a brand's products in its colours, measured, tried again and graded where asked.

Invariant: nothing here touches a network or draws a picture; options, metadata and a kit in, a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tirada.engine.plan import Plan
from tirada.errors import UsageError
from tirada.workflows.branding import kit as kits
from tirada.workflows.branding.job import BrandJob
from tirada.workflows.branding.kit import Kit
from tirada.workflows.branding.metadata import SIDE_MIN, Wish, read_metadata, understand
from tirada.workflows.workflow import Common, Opt, Workflow

#: Backends whose models are known to read hex codes as colours.
READS_HEX = ("flux-api",)
#: Tries where a least share is set and nothing else is said.
TRIES = 3
TRIES_MAX, COUNT_MAX = 10, 500


@dataclass(frozen=True, kw_only=True)
class BrandOptions:
    """What the command line takes."""

    kit: Annotated[str, Opt(help="The brand's kit: data/brands/NAME.toml.", metavar="NAME")] = "bank"
    product: Annotated[str, Opt(help="What to show, one of the kit's products.", metavar="NAME")] = ""
    custom_prompt: Annotated[str, Opt(help="What it does, or where, in words of your own.", metavar="TEXT")] = ""
    sex: Annotated[str, Opt(help="Of people: male or female.", metavar="SEX")] = ""
    age: Annotated[str, Opt(help="Of people, in years.", metavar="YEARS")] = ""
    metadata: Annotated[
        str,
        Opt(
            help="sex, age, product, custom_prompt, height and width as a JSON object, or a file of one.",
            metavar="FILE|JSON",
        ),
    ] = ""
    count: Annotated[int, Opt(help="How many images.", min=1, max=COUNT_MAX)] = 1
    min_palette: Annotated[
        float | None, Opt(help="Share of an image that has to be in the palette.", min=0, max=1, metavar="0..1")
    ] = None
    tries: Annotated[
        int | None, Opt(help="Renderings of an image until it fits the palette.", min=1, max=TRIES_MAX)
    ] = None
    grade: Annotated[
        float, Opt(help="Shift the colours towards the palette, this strongly.", min=0, max=1, metavar="0..1")
    ] = 0.0
    hex: Annotated[
        bool | None, Opt(help="Say the colours' hex codes in the prompt, or do not.", flags="--hex/--no-hex")
    ] = None


def plan(options: BrandOptions, common: Common) -> Plan:
    """The plan of a brand run; raises UsageError and SetupError."""
    kit = kits.load(common.data, options.kit)
    wish, notes = understand(kit, read_metadata(options.metadata) if options.metadata else {}, _given(options, common))
    size = (wish.width, wish.height) if wish.width and wish.height else kit.size
    _check_size(kit, common.size or size)
    if not common.gpt and common.language != "en":
        raise UsageError(
            f"Without a text model the texts of brand images are in English, not {common.language!r}."
            " The GPT writer knows it (--writer gpt, OPENAI_API_KEY)."
        )
    least = kit.min_palette if options.min_palette is None else options.min_palette
    if options.tries and options.tries > 1 and not least:
        raise UsageError(
            "--tries needs --min-palette: an image is made again where too little of it is in the palette."
        )
    tries_ = (options.tries or TRIES) if least else 1
    return common.plan(
        "brand",
        size=(int(size[0]), int(size[1])),
        steps=[{"images": options.count}] * tries_,
        model=kit.models.get(common.backend),
        theme=wish.custom_prompt,
        asks=_asks(kit, wish) if common.gpt else (),
        job={
            "kit": kit.name,
            "palette": dict(kit.palette),
            "wish": wish.to_json(),
            "people": kit.products[wish.product].people,
            "count": options.count,
            "min_palette": least,
            "tries": tries_,
            "grade": options.grade,
            "hex": common.backend in READS_HEX if options.hex is None else options.hex,
            "notes": notes,
        },
    )


def _given(options: BrandOptions, common: Common) -> dict[str, Any]:
    """The fields of metadata that were given as options."""
    given: dict[str, Any] = {
        "sex": options.sex,
        "age": options.age,
        "product": options.product,
        "custom_prompt": options.custom_prompt,
    }
    given = {name: value for name, value in given.items() if value.strip()}
    if common.size is not None:
        given |= {"width": common.size[0], "height": common.size[1]}
    return given


def _check_size(kit: Kit, size: tuple[int, int]) -> None:
    both = sum(size)
    if both > kit.sides:
        width, height = _fitting(size, kit.sides)
        raise UsageError(
            f"{size[0]}x{size[1]} is too large for kit {kit.name!r}: width and height may be {kit.sides} pixels"
            f" together, not {both}. {width}x{height} would do."
        )


def _fitting(size: tuple[int, int], together: int) -> tuple[int, int]:
    """About the same shape with sides that come to no more than ``together``, and none too short to be asked for."""
    width, height = (max(SIDE_MIN, int(side * together / sum(size)) // 8 * 8) for side in size)
    return (
        width if width == SIDE_MIN else min(width, (together - height) // 8 * 8),
        height if height == SIDE_MIN else min(height, (together - width) // 8 * 8),
    )


def _asks(kit: Kit, wish: Wish) -> list[tuple[int, int]]:
    from tirada.workflows.branding.writing import ANSWER_TOKENS, QUESTION_TOKENS

    return [(QUESTION_TOKENS + (len(kit.description) + len(wish.custom_prompt)) // 4, ANSWER_TOKENS)]


BRAND = Workflow(
    options=BrandOptions,
    plan=plan,
    job=BrandJob,
    examples=(
        'python main.py brand --product car --custom-prompt "engaging in driving" --size 720x720 --user "Test user"',
        "python main.py brand --metadata wish.json --count 4 --min-palette 0.5 --tries 3",
        "python main.py brand --kit bakery --product cake --grade 0.4",
    ),
)
