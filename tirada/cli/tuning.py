"""``tuning``: the few-shot examples of each role; ``tuning add`` makes further ones of what was liked.

Invariant: nothing is added that the writers' own rules would turn away, and nothing that is there is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tirada.cli import console
from tirada.cli.options import JsonOption, OutputOption, QuietOption, parse_user
from tirada.errors import UsageError
from tirada.output.text import counted, one_line

if TYPE_CHECKING:
    from models.contract import Concept, Example
    from tirada.cli.setup import Setup
    from tirada.store.marks import Picture

#: Examples are turns of a talk in English; a writer is told apart from them when another language is wanted.
LANGUAGE = "en"


def command(ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the few-shot examples; `tuning add ROLE` adds favourites."""
    if ctx.invoked_subcommand is not None:
        if json:
            raise UsageError(f"Options go behind the command: python main.py tuning {ctx.invoked_subcommand} --help")
        return
    from models.roles import RoleLibrary
    from tirada.settings import load_settings, project_folder

    settings = load_settings()
    folder = settings.tuning_dir or project_folder("tuning")
    library = RoleLibrary(settings.data_dir or project_folder("data"), folder)
    roles = library.load_usable()
    for problem in library.problems:
        console.warn(str(problem))
    files = {role.name: folder / f"{role.name}.jsonl" for role in roles}
    if json:
        console.result_json(
            [{"role": role.name, "examples": len(role.examples), "file": str(files[role.name])} for role in roles]
        )
        return
    console.table(
        ("ROLE", "EXAMPLES", "FILE"), [(role.name, str(len(role.examples)), str(files[role.name])) for role in roles]
    )


def add(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Whose examples; see `roles`.")],
    from_favourites: Annotated[
        bool, typer.Option("--from-favourites", help="The ideas behind images that were marked as good.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", parser=parse_user, help="Only what they marked.", show_default="anybody"
        ),
    ] = None,
    any_role: Annotated[bool, typer.Option("--any-role", help="Ideas of other roles too.")] = False,
    output: OutputOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Add few-shot examples to a role, for GPT to follow."""
    from tirada.cli.setup import Setup
    from tirada.output.examples import append_examples, new_examples
    from tirada.settings import load_settings, project_folder

    if not from_favourites:
        raise UsageError(f"Say where from: python main.py tuning add --from-favourites {role}")
    settings = load_settings()
    setup = Setup(settings, output=output, quiet=quiet or json)
    setup.library.load(role)
    for problem in setup.library.problems:
        console.warn(str(problem))
    path = (settings.tuning_dir or project_folder("tuning")) / f"{role}.jsonl"
    found = _look(setup, role, user, any_role=any_role)
    added = (new_examples if dry_run else append_examples)(path, found.examples)
    skipped = [
        *found.skipped,
        *((one.title, "it is among the examples already.") for one in found.examples if one not in added),
    ]
    if json:
        console.result_json(
            {
                "role": role,
                "file": str(path),
                "dry_run": dry_run,
                "added": [one.title for one in added],
                "skipped": [{"title": title, "reason": reason} for title, reason in skipped],
            }
        )
        return
    for title, reason in skipped:
        console.warn(f"{title!r} is left out: {reason}")
    for one in added:
        console.result(one.title)
    what = "would be added" if dry_run else "added"
    setup.say(f"{counted(len(added), 'example')} {what} to {path}.")


#: What follows ``tuning``.
SUBCOMMANDS: dict[str, Callable[..., Any]] = {"add": add}


@dataclass(frozen=True, slots=True)
class _Found:
    """Favourites that fit, the first to be marked first, and (title, why not) of the others."""

    examples: list[Example]
    skipped: list[tuple[str, str]]


def _look(setup: Setup, role: str, user: str | None, *, any_role: bool) -> _Found:
    from tirada.output.examples import example_of

    found = _Found([], [])
    for concept, language in _favourites(setup, user):
        title = one_line(concept.title)
        if concept.role != role and not any_role:
            found.skipped.append((title, _of_another(concept.role)))
        elif language != LANGUAGE:
            found.skipped.append((title, f"it is written in {language!r}, and examples are in English."))
        else:
            try:
                found.examples.append(example_of(concept, setup.texts.forbidden))
            except ValueError as exc:
                found.skipped.append((title, str(exc)))
    return found


def _of_another(role: str) -> str:
    return f"its role is {role!r} (--any-role takes it)." if role else "it has no role (--any-role takes it)."


def _favourites(setup: Setup, user: str | None) -> Iterator[tuple[Concept, str]]:
    """The ideas of good images with their language, each once, however many of its images are good."""
    from models.contract import Concept
    from tirada.store.marks import check_user, marked

    store = setup.open_existing_store()
    try:
        if user is not None:
            check_user(store, user)
        ideas: dict[tuple[str, str], Picture] = {}
        for picture in marked(store, "good", user):
            ideas[picture.concept_id, picture.concept_title] = picture
    finally:
        store.close()
    for one in reversed(ideas.values()):
        concept = Concept(
            title=one.concept_title,
            description=one.description,
            metatags=one.metatags,
            prompt=one.prompt,
            role=one.role,
        )
        yield concept, one.language
