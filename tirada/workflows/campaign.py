"""``campaign``: marketing images of one wish, in variants, with or without a picture to start from.

Invariant: all that a run needs is in its plan and under its output folder; a resume asks neither the network nor the
user's files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tirada.engine.plan import Plan
from tirada.errors import UsageError
from tirada.output.text import one_line, uncontrolled
from tirada.workflows.marketing import catalog, detail, prompts
from tirada.workflows.marketing.basis import BaseImage, prepare_base
from tirada.workflows.marketing.catalog import DEFAULT_INDUSTRY, DEFAULT_STYLE, Industry, Style
from tirada.workflows.marketing.prompts import SHAPES, Shape
from tirada.workflows.marketing.variants import Campaign
from tirada.workflows.workflow import Common, Opt, Workflow

Enrich = Literal["auto", "always", "never"]
VARIANTS_MAX = 60
#: A base image that fills less of both sides than this is small enough to be told about.
SMALL = 0.4
#: From this share of a product on, it is told that something like the background was kept with it.
DOUBTFUL = 0.01


@dataclass(frozen=True, kw_only=True)
class CampaignOptions:
    """What the user asked for."""

    prompt: Annotated[str, Opt(help="What is to be seen, in a few words or in detail.", argument=True)]
    industry: Annotated[
        str | None, Opt(help="Sector whose settings, light and props fit; or a TOML file.", metavar="NAME")
    ] = None
    style: Annotated[str | None, Opt(help="How it is made, e.g. professional; or a TOML file.", metavar="NAME")] = None
    format: Annotated[Shape | None, Opt(help="Shape of the images; --size wins.")] = None
    variants: Annotated[int, Opt(help="How many images.", min=1, max=VARIANTS_MAX)] = 4
    base_image: Annotated[str, Opt(help="Picture to start from.", metavar="FILE|URL")] = ""
    keep_product: Annotated[bool, Opt(help="Keep the base image's product, pixel for pixel.")] = False
    mask: Annotated[Path | None, Opt(help="PNG that is transparent around the product to keep.", metavar="FILE")] = None
    brand: Annotated[str, Opt(help="Whose campaign it is; leaves room for copy.", metavar="NAME")] = ""
    tone: Annotated[str, Opt(help="E.g. luxurious, playful, elegant, bold.", metavar="TEXT")] = ""
    goal: Annotated[str, Opt(help="E.g. product launch, brand awareness.", metavar="TEXT")] = ""
    cta: Annotated[str, Opt(help="Call to action; leaves room for copy.", metavar="TEXT")] = ""
    lettering: Annotated[
        bool, Opt(help="Have brand and call to action lettered by the model, which may misspell them.")
    ] = False
    enrich: Annotated[Enrich, Opt(help="Whether a prompt is written out; auto does it with sparse ones.")] = "auto"


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan_campaign(options: CampaignOptions, common: Common) -> Plan:
    """One step of as many images as there are variants; takes the base image in. Raises UsageError."""
    options = _shown(options)
    prompt = one_line(options.prompt)
    _check(options, prompt, common)
    found = detail.look_at(prompt)
    enriched = options.enrich == "always" or (options.enrich == "auto" and not found.detailed)
    if enriched and not common.gpt and common.language != "en":
        raise UsageError(
            f"Without a text model a campaign is written out in English, not {common.language!r}. The GPT writer knows"
            " it (--writer gpt, OPENAI_API_KEY); --enrich never leaves a prompt as it is."
        )
    industry = catalog.load_industry(common.data, options.industry or DEFAULT_INDUSTRY)
    style = _style(options, common, needed=enriched and "style" not in found.facets)
    base = prepare_base(
        options.base_image, options.mask, keep=options.keep_product, shape=options.format, common=common
    )
    size = common.size or (base.size if base else SHAPES[options.format or "square"])
    job = {
        "prompt": prompt,
        "industry": _reference(options.industry or DEFAULT_INDUSTRY),
        "style": _reference(options.style or DEFAULT_STYLE) if style else "",
        "variants": options.variants,
        "shape": prompts.shape_of(*size),
        "brand": one_line(options.brand),
        "tone": one_line(options.tone),
        "goal": one_line(options.goal),
        "cta": one_line(options.cta),
        "lettering": options.lettering,
        "enrich": options.enrich,
        "enriched": enriched,
        "no_negative": not common.capabilities.negative,
        "trigger": industry.lora.trigger if industry.lora and "loras" in common.capabilities.settings else "",
        "base": base.facts if base else {},
        "product": base.product if base else "",
        "backdrop": base.backdrop if base else False,
        "notes": _notes(options, industry, common, base) + _warnings(base, enriched),
    }
    return common.plan(
        "campaign",
        size=size,
        steps=[{"images": options.variants}],
        job=job,
        asks=_asks(enriched and common.gpt, options.variants),
        request={**(base.request if base else {}), **_settings(industry, style, common)},
    )


def _shown(options: CampaignOptions) -> CampaignOptions:
    """The same without what a terminal would obey: titles and words end up in files that people look at."""
    return replace(
        options,
        prompt=uncontrolled(options.prompt),
        brand=uncontrolled(options.brand),
        tone=uncontrolled(options.tone),
        goal=uncontrolled(options.goal),
        cta=uncontrolled(options.cta),
    )


def _check(options: CampaignOptions, prompt: str, common: Common) -> None:
    """Raise UsageError for options that make no sense together."""
    if not any(sign.isalnum() for sign in prompt):
        raise UsageError("The prompt is empty; say what is to be seen.")
    if not options.base_image:
        given = {
            "--keep-product": options.keep_product,
            "--mask": options.mask,
            "--strength": common.strength is not None,
        }
        for name, value in given.items():
            if value:
                raise UsageError(f"{name} needs a picture that it is for: --base-image FILE or URL.")
    if options.mask and not options.keep_product:
        raise UsageError("--mask says where the product is that --keep-product keeps; give both, or neither.")
    if options.keep_product and common.format != "png":
        raise UsageError(
            f"--keep-product keeps every pixel as it is, which {common.format} files cannot; use --file-format png."
        )
    if options.lettering and not (one_line(options.brand) or one_line(options.cta)):
        raise UsageError("--lettering needs words to letter: --cta or --brand.")


def _style(options: CampaignOptions, common: Common, *, needed: bool) -> Style | None:
    """The style that was asked for; without one, our own where the prompt says none."""
    if options.style:
        return catalog.load_style(common.data, options.style)
    return catalog.load_style(common.data, DEFAULT_STYLE) if needed else None


def _reference(name: str) -> str:
    """A name, or a file as it is found again from anywhere."""
    return str(Path(name).expanduser().absolute()) if catalog.is_file(name) else name


def _asks(asked: bool, variants: int) -> list[tuple[int, int]]:
    if not asked:
        return []
    from tirada.workflows.marketing.scenes import QUESTION_TOKENS, SCENE_TOKENS

    return [(QUESTION_TOKENS, SCENE_TOKENS * variants)]


def _settings(industry: Industry, style: Style | None, common: Common) -> dict[str, Any]:
    """What industry and style add to the request, as far as the backend obeys it; the user's own words win."""
    able, found = common.capabilities.settings, dict[str, Any]()
    if industry.lora and "loras" in able:
        found["loras"] = [{"source": industry.lora.source, "weight": industry.lora.weight}]
    if style and "guidance" in able and common.backend in style.guidance:
        found["guidance"] = style.guidance[common.backend]
    return found


def _notes(options: CampaignOptions, industry: Industry, common: Common, base: BaseImage | None) -> list[str]:
    notes = []
    if options.lettering:
        notes.append("Image models misspell: read the lettering of each image before it is used.")
    if industry.lora and "loras" not in common.capabilities.settings:
        notes.append(f"The LoRA of {industry.title} is left out: backend {common.backend!r} takes none.")
    if base is not None and base.backdrop:
        with_model = " with this model" if common.capabilities.init_image else ""
        notes.append(
            f"Backend {common.backend!r} takes no start image{with_model}: it renders a scene, and the product is laid "
            "over it."
        )
    if base is not None and base.doubtful >= DOUBTFUL:
        notes.append(
            f"{base.doubtful:.0%} of the product nearly has its background's colour. It was kept; if that is "
            "background, as in the hole of a handle, give --mask."
        )
    if base is not None and base.product and base.share < SMALL:
        notes.append(
            f"The base image fills {base.share:.0%} of a side at most: where its product is kept, it is never "
            "enlarged. A larger base image, or a smaller --size, shows the product larger."
        )
    return notes


def _warnings(base: BaseImage | None, enriched: bool) -> list[str]:
    if base is None or not base.backdrop or enriched:
        return []
    return ["The prompt is left as it was written: what it says of the product is rendered behind the product too."]


CAMPAIGN = Workflow(
    options=CampaignOptions,
    plan=plan_campaign,
    job=Campaign,
    examples=[
        'python main.py campaign "photo of a smartphone" --industry technology',
        'python main.py campaign "a bar of soap" --style watercolor --cta "Shop now"',
        'python main.py campaign "juice on ice" --base-image can.png --keep-product',
    ],
)
