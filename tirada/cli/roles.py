"""``roles [NAME]``: the points of view there are, and what is in one."""

from __future__ import annotations

from typing import Annotated

import typer

from tirada.cli import console
from tirada.output.text import counted


def command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this one.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the roles, or show one."""
    from dataclasses import asdict

    from models.roles import RoleLibrary
    from tirada.settings import load_settings, project_folder

    settings = load_settings()
    library = RoleLibrary(settings.data_dir or project_folder("data"), settings.tuning_dir or project_folder("tuning"))
    roles = [library.load(name)] if name else library.load_usable()
    for problem in library.problems:
        console.warn(str(problem))
    if json:
        console.result_json([asdict(role) for role in roles])
    elif name:
        (role,) = roles
        console.result(f"{role.name}: {role.title}\n{role.description}\n")
        console.result(f"Template: {role.template}\nNegative: {role.negative}\n")
        for key, entries in role.lists.items():
            console.result(f"{key}, {counted(len(entries), 'entry', 'entries')}, e.g. {'; '.join(entries[:3])}")
        console.result(f"tags, {len(role.tags)}, e.g. {', '.join(role.tags[:6])}")
        console.result(counted(len(role.examples), "few-shot example"))
    else:
        console.table(
            ("ROLE", "SCENES", "EXAMPLES", "TITLE"),
            [(r.name, str(len(r.lists["scene"])), str(len(r.examples)), r.title) for r in roles],
        )
