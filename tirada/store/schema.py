"""The tables. Money is text (Decimal), times are ISO 8601 in UTC, lists and mappings are JSON.

Invariant: a table only ever grows columns; ``VERSION`` tells which layout a database has.

States of an image: planned → submitted → received → done, or failed / refused / in_doubt.
States of a concept: written → done, or failed. States of a call: open → settled / failed / in_doubt.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

VERSION = 4

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("finished_at", String),
    Column("status", String, nullable=False),
    Column("workflow", String, nullable=False),
    Column("command", Text, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("backend", String, nullable=False),
    Column("model", String, nullable=False),
    Column("writer", String, nullable=False),
    Column("writer_model", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("message", Text, nullable=False, default=""),
    # For whom it was made, where there are several people.
    Column("user", String),
    Index("runs_by_user", "user"),
)

concepts = Table(
    "concepts",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("role", String, nullable=False, default=""),
    Column("brief", JSON, nullable=False),
    Column("title", Text, nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("metatags", JSON, nullable=False),
    Column("prompt", Text, nullable=False, default=""),
    Column("negative", Text, nullable=False, default=""),
    Column("writer", String, nullable=False, default=""),
    Column("writer_model", String, nullable=False, default=""),
    Column("request", JSON),
    # The words that took the place of refused ones: title, description, metatags, prompt, and the reason.
    Column("rewrite", JSON(none_as_null=True)),
    Column("folder", Text),
    Column("error_kind", String),
    Column("error", Text),
    Index("concepts_by_run", "run_id", "position"),
)

images = Table(
    "images",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("concept_id", ForeignKey("concepts.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("seed", Integer),
    # An image of a job has a name and words of its own, and settings that differ from its concept's; see engine/job.py.
    Column("name", String),
    Column("title", Text),
    Column("kind", String),
    Column("step", Integer),
    Column("asked", JSON(none_as_null=True)),
    Column("facts", JSON(none_as_null=True)),
    # What it was asked for with, where that is not the prompt of its concept.
    Column("prompt", Text),
    Column("file", Text),
    Column("sha256", String),
    Column("sidecar", Text),
    Column("note", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("rendered_width", Integer),
    Column("rendered_height", Integer),
    Column("model", String),
    # What the backend said of its making: device, sampler, a revised prompt, ...
    Column("details", JSON(none_as_null=True)),
    Column("cost", String),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error_kind", String),
    Column("error", Text),
    Column("updated_at", String, nullable=False),
    Index("images_by_concept", "concept_id", "position"),
    Index("images_by_run", "run_id", "state"),
)

marks = Table(
    "marks",
    metadata,
    Column("image_id", ForeignKey("images.id"), primary_key=True),
    # Who says so; "" where nobody said who.
    Column("user", String, primary_key=True),
    Column("verdict", String, nullable=False),
    Column("marked_at", String, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("image_id", ForeignKey("images.id")),
    Column("kind", String, nullable=False),
    Column("backend", String, nullable=False),
    Column("model", String, nullable=False),
    Column("state", String, nullable=False),
    Column("estimate", String),
    Column("cost", String),
    Column("usage", JSON),
    # What a service with job ids needs to be asked for the result again.
    Column("job", Text),
    Column("error_kind", String),
    Column("error", Text),
    Column("started_at", String, nullable=False),
    Column("finished_at", String),
    Index("calls_by_run", "run_id", "state"),
    Index("calls_by_image", "image_id"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String, primary_key=True),
    Column("amount", String, nullable=False),
)

decks = Table(
    "decks",
    metadata,
    Column("name", String, primary_key=True),
    Column("rest", JSON, nullable=False),
)

memory = Table(
    "memory",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)
