"""``show ID``: one run, or one folder of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tirada.cli import console
from tirada.cli.options import OutputOption
from tirada.output.text import counted, spoken

#: Concepts listed of a run.
LISTED = 50


def command(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Of a run or a folder (batch_id), how it begins, or `latest`.")
    ],
    output: OutputOption = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show a run: its settings, folders, failures and cost."""
    from dataclasses import asdict

    from tirada.cli.setup import Setup
    from tirada.engine.going import status_now
    from tirada.settings import load_settings
    from tirada.store import marks, queries

    setup = Setup(load_settings(), output=output)
    store = setup.open_existing_store()
    try:
        concept = queries.find_concept(store, name) if name else None
        if concept is not None:
            # Counted from 1, as everywhere that people or their programs read.
            facts = {**concept, "position": concept["position"] + 1}
            rows = store.images_of(concept["id"])
            said = marks.marks_of(store, [image["id"] for image in rows])
            facts["user"] = store.run(concept["run_id"])["user"]
            facts["images"] = [{**row, "marks": [asdict(one) for one in said.get(row["id"], ())]} for row in rows]
        else:
            row = queries.find_run(store, name)
            facts = {**row, **queries.figures(store, row["id"])}
            facts["status"] = status_now(store, setup.output, row)
            facts["marks"] = marks.verdicts(store, row["id"])
            facts["made_by"] = queries.made_by(store, row["id"])
            facts["plan"] = {key: value for key, value in row["plan"].items() if key != "roles" and value}
            facts["folders"] = [
                {"title": c["title"] or c["error"], "folder": c["folder"], "done": c["done"], "of": c["total"]}
                for c in queries.concepts_of(store, row["id"], LISTED)
            ]
            facts["failures"] = store.failures(row["id"], LISTED)
    finally:
        store.close()
    if json:
        console.result_json(facts)
        return
    if "plan" in facts:
        # What a job is made from may be pages long; --json has it all.
        facts["plan"] = {key: value for key, value in facts["plan"].items() if key not in ("job", "steps", "asks")}
    if "made_by" in facts:
        made = [(f"{one['backend']} {one['model']}", one["images"]) for one in facts["made_by"]]
        facts["made_by"] = [f"{who.strip()}: {counted(number, 'image')}" for who, number in made]
    for image in facts["images"] if concept is not None else ():
        image["marks"] = spoken([(one["verdict"], one["user"]) for one in image["marks"]])
    for key, value in facts.items():
        _tell(key.replace("_", " "), value)


def _tell(key: str, value: Any) -> None:
    if isinstance(value, dict):
        value = ", ".join(f"{k} {v}" for k, v in value.items() if v not in (None, "", [], {}))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        console.result(f"{key}:")
        for item in value:
            console.result("  " + ", ".join(f"{k} {v}" for k, v in item.items() if v not in (None, "")))
        return
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if value not in (None, "", 0):
        console.result(f"{key:<14}  {value}")
