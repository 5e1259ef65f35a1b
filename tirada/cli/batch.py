"""``COUNT [SIZE]``: the default command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tirada.cli.options import (
    BudgetOption,
    DryRunOption,
    EmbedOption,
    GuidanceOption,
    JsonOption,
    LoraOption,
    ModelOption,
    OutputOption,
    PairsOption,
    QuietOption,
    RefusalOption,
    SchedulerOption,
    SeedOption,
    StepsOption,
    UserOption,
    YesOption,
    check_language,
    check_size,
    chosen_backend,
    leave,
    parse_loras,
    parse_pairs,
    with_backend_flags,
)
from tirada.errors import UsageError

EXAMPLES = """\
\b
  python main.py 10 1024x576                  one idea, 10 images of it
  python main.py 4 --prompts 5                5 ideas, 4 images of each
  python main.py 10 --only-prompts            10 rows for batch_prompts.csv
  python main.py 4 --from my_prompts.csv      4 images of each row
"""


@with_backend_flags
def command(
    ctx: typer.Context,
    count: Annotated[
        int, typer.Argument(min=1, max=100_000, metavar="COUNT", help="Images per idea; with --only-prompts, prompts.")
    ],
    size: Annotated[
        str | None,
        typer.Argument(
            metavar="SIZE",
            callback=check_size,
            show_default=False,
            help="WIDTHxHEIGHT, one number, or square, portrait, landscape, wide, story.",
        ),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option("--prompts", min=1, max=100_000, metavar="N", help="How many ideas.", show_default="1")
    ] = None,
    only_prompts: Annotated[
        bool, typer.Option("--only-prompts", help="Append prompts to output/batch_prompts.csv; no image.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Render the prompts of a CSV or JSONL file.")
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", metavar="NAME", help="Point of view; see `roles`.", show_default="any")
    ] = None,
    theme: Annotated[str, typer.Option("--theme", metavar="TEXT", help="What it is all about.")] = "",
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            metavar="CODE",
            callback=check_language,
            help="Language of titles and tags; of the file, with --from.",
        ),
    ] = None,
    writer: Annotated[
        Literal["gpt", "composer"] | None,
        typer.Option("--writer", help="Who writes: GPT, or the offline composer.", show_default="gpt with a key"),
    ] = None,
    model: ModelOption = None,
    seed: SeedOption = None,
    negative: Annotated[
        str, typer.Option("--negative", metavar="TEXT", help="What to keep out, beside the role's own list.")
    ] = "",
    option: PairsOption = None,
    init_image: Annotated[
        Path | None, typer.Option("--init-image", metavar="FILE", help="Start from this image.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", min=0, max=1, metavar="0..1", help="How far from it, 1 = anywhere.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="Change it only where this PNG is transparent.")
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option("--reference", metavar="FILE", help="Keep to what this image shows; repeatable."),
    ] = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    scheduler: SchedulerOption = None,
    lora: LoraOption = None,
    compile: Annotated[
        Literal["auto", "on", "off"] | None,
        typer.Option("--compile", help="Compile a local model: faster once it is done.", show_default="auto"),
    ] = None,
    cache: Annotated[
        Literal["off", "balanced", "fast"] | None,
        typer.Option("--cache", help="Let a local model reuse work between steps; changes pixels.", show_default="off"),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Open weights that may run a program (.ckpt, .bin).")
    ] = False,
    no_safety_checker: Annotated[
        bool, typer.Option("--no-safety-checker", help="Leave out the checker that a local model ships with.")
    ] = False,
    format: Annotated[
        Literal["png", "jpeg", "webp"] | None, typer.Option("--format", help="Of the files.", show_default="png")
    ] = None,
    embed: EmbedOption = "auto",
    on_refusal: RefusalOption = "skip",
    user: UserOption = None,
    budget: BudgetOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make images from ideas (the default command)."""
    from models.sizes import parse_size
    from tirada.cli.drive import drive
    from tirada.cli.setup import Setup
    from tirada.engine.plan import ReadyConcept
    from tirada.output.text import one_line
    from tirada.settings import load_settings
    from tirada.workflows.batch import BatchOptions, plan_batch, plan_from_file

    settings = load_settings()
    setup = Setup(settings, output=output, quiet=quiet or json)
    setup.choose_backend(None if only_prompts else chosen_backend(ctx) or settings.backend)
    options = BatchOptions(
        count=count,
        size=parse_size(size or settings.size),
        prompts=prompts,
        only_prompts=only_prompts,
        roles=[role] if role else [],
        theme=one_line(theme),
        language=language or settings.writer_language,
        model=model,
        seed=seed,
        negative=negative.strip(),
        options={
            **parse_pairs(option),
            **({"compile": compile} if compile else {}),
            **({"cache": cache} if cache else {}),
            **({"allow_pickle": "true"} if allow_pickle else {}),
            **({"safety_checker": "false"} if no_safety_checker else {}),
        },
        request={
            "init_image": init_image and str(init_image.absolute()),
            "mask": mask and str(mask.absolute()),
            "strength": strength,
            "references": [str(path.absolute()) for path in reference or []],
            "steps": steps,
            "guidance": guidance,
            "scheduler": scheduler,
            "loras": parse_loras(lora),
        },
        embed=embed,
        on_refusal=on_refusal,
        user=user or "",
        budget=budget,
        format=format or settings.format,
        csv=setup.output / "batch_prompts.csv",
    )
    if source is None:
        ready: list[ReadyConcept] = []
        setup.texts.choose_writer(writer, options.language)
        plan = setup.choose_roles(plan_batch(options))
    else:
        for name, value in (("--role", role), ("--theme", theme.strip()), ("--writer", writer)):
            if value:
                raise UsageError(f"{name} makes no sense with --from: its prompts are written already.")
        plan, ready = plan_from_file(options, setup.read_concepts(source), source)
    setup.check(plan, ready)
    leave(drive(setup, plan, ready, dry_run=dry_run, yes=yes, as_json=json, quiet=quiet))
