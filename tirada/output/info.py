"""``info.json``: the record of a batch folder, enough to trace every image and to run the same again.

Invariant: it is written last and whole, so a folder that holds it is finished; it is never a guess about a file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from tirada.output import gallery, info_md
from tirada.output.atomic import write_bytes, write_text
from tirada.output.text import cell, clean

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("info.schema.json")
CSV_HEADER = ("file", "title", "description", "metatags", "prompt", "seed", "width", "height")

#: Any text, repaired so that it can be written as UTF-8.
Text = Annotated[str, BeforeValidator(lambda value: clean(value) if isinstance(value, str) else value)]
#: A file in the same folder: no path, nothing hidden.
FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]
#: US dollars; text in the file, so that no cent is lost to floating point.
Usd = Annotated[
    Decimal,
    Field(ge=0),
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}),
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)


class Words(NamedTuple):
    """The texts that an image was made and is catalogued with."""

    title: str
    description: str
    metatags: list[str]
    prompt: str


class Rewrite(_Record):
    """The words that took the place of those a content policy refused."""

    title: Text
    description: Text
    metatags: list[Text]
    prompt: Text
    reason: Text = Field(description="What the service said of the first words.")
    writer: Text = ""
    writer_model: Text = ""


class ImageEntry(_Record):
    """One image of the batch, as it lies in the folder."""

    file: FileName
    seed: int | None = None
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    rendered_size: Size = Field(description="What the model rendered, before scaling and cropping.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    status: Literal["done"] = "done"
    attempts: int = Field(default=1, ge=1)
    cost_usd: Usd | None = Field(default=None, description="Of all tries of this image; null = not known")
    sidecar: FileName | None = Field(default=None, description="The .xmp file, where the image was kept untouched.")
    model: Text = ""
    prompt: Text | None = Field(default=None, description="Where it was made with the rewritten one; null = as above.")
    note: Text | None = None
    details: dict[Text, Text] = Field(default_factory=dict, description="Of its making, where not as for the batch.")
    title: Text | None = Field(default=None, description="Of an image of a job; the others have that of the batch.")
    kind: Literal["result", "step", "try"] = Field(
        default="result", description="step: made on the way to a result. try: another one turned out better."
    )
    step: int = Field(default=0, ge=0, description="The step of a job it was made in.")
    facts: dict[Text, Text] = Field(default_factory=dict, description="What a job says of it, and what was measured.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Where an image of a job was asked for otherwise than the batch."
    )


class LoraEntry(_Record):
    """A LoRA the images were made with."""

    source: Text
    weight: float


class Failure(_Record):
    """One image that is missing, and why."""

    index: int = Field(ge=1, description="Its place in the batch, from 1.")
    name: Text = Field(default="", description="In a job: its file without the extension.")
    seed: int | None = None
    error: str = Field(description="The kind of error, e.g. refused or rate_limited.")
    message: Text
    attempts: int = Field(default=1, ge=0)


class MissingEntry(_Record):
    """An image of a job that is not there, as it is to be made."""

    index: int = Field(ge=1, description="Its place in the batch, from 1.")
    name: Text = Field(description="Its file without the extension.")
    title: Text
    prompt: Text
    kind: Literal["result", "step", "try"] = "result"
    step: int = Field(default=0, ge=0)
    seed: int | None = None
    facts: dict[Text, Text] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


class JobEntry(_Record):
    """The plan of a job (see ``engine.plan``), but for what stands elsewhere."""

    settings: dict[str, Any] = Field(default_factory=dict)
    steps: list[dict[str, Any]]
    missing: list[MissingEntry] = Field(default_factory=list, description="What a rerun makes beside the images.")


class Info(_Record):
    """A batch: one concept, its images and every setting they were made with."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    batch_id: str
    run_id: str
    created_at: AwareDatetime
    status: Literal["done", "partial", "failed", "interrupted"]
    ai: Text = Field(description="The backend's name for people, e.g. OpenAI Images.")
    backend: Text
    model: Text
    writer: Text
    writer_model: Text = ""
    role: Text = ""
    theme: Text = ""
    language: str = "en"
    brief: dict[Text, Text] = Field(default_factory=dict)
    title: Text
    description: Text
    metatags: list[Text]
    prompt: Text
    negative_prompt: Text = ""
    rewrite: Rewrite | None = Field(default=None, description="Where a content policy refused the words above.")
    size: Size
    quantity: int = Field(ge=1)
    seeds: list[int | None]
    steps: int | None = None
    cfg_scale: float | None = None
    scheduler: Text | None = None
    loras: list[LoraEntry] = Field(default_factory=list)
    init_image: Text | None = None
    mask: Text | None = None
    strength: float | None = None
    references: list[Text] = Field(default_factory=list)
    user: Text = Field(default="", description="For whom it was made.")
    workflow: Text = Field(default="batch", description="The command it was made by.")
    job: JobEntry | None = Field(default=None, description="What a workflow needs to make the same again.")
    options: dict[Text, Text] = Field(default_factory=dict)
    format: Literal["png", "jpeg", "webp"]
    embed: Literal["auto", "always", "never"] = Field(
        default="auto", description="How image files are described; auto leaves signed ones as they came."
    )
    cost_usd: Usd | None = Field(
        default=None,
        description="Of all tries of the images here, those that failed too; without the texts, which a run pays for "
        "together: `show RUN` and `costs` count them. null = not known",
    )
    details: dict[Text, Text] = Field(
        default_factory=dict, description="What all images have in common of what was said of their making."
    )
    images: list[ImageEntry]
    failures: list[Failure] = Field(default_factory=list)
    command: Text = ""
    tool: Text = Field(description="Name and version of the program that wrote this file.")

    def words_of(self, image: ImageEntry) -> Words:
        """Title, description, tags and prompt of one image: its own in a job, rewritten ones where it has these."""
        if image.title is not None:
            return Words(image.title, self.description, self.metatags, image.prompt or self.prompt)
        source = self if image.prompt is None or self.rewrite is None else self.rewrite
        return Words(source.title, source.description, source.metatags, source.prompt)


def write_info(folder: Path, info: Info) -> Path:
    """Write the folder's pages and then, as the sign that all is there, ``info.json``; returns its path."""
    write_text(folder / "info.md", info_md.render(info))
    write_bytes(folder / "batch.csv", _batch_csv(info))
    write_text(folder / "index.html", gallery.render(info))
    path = folder / "info.json"
    write_text(path, info.model_dump_json(indent=2) + "\n")
    return path


def read_info(path: Path) -> Info:
    """Read an ``info.json`` (or the one in a folder); raises ValueError saying what is wrong with it.

    Keys we do not know are ignored: a later Tirada of the same schema may have written them.
    """
    path = path / "info.json" if path.is_dir() else path
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{path}: not a JSON file: {exc}") from exc
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError(f"{path}: not an info.json of Tirada: it has no 'schema'")
    if data["schema"] != SCHEMA:
        raise ValueError(f"{path}: this info.json has schema {data['schema']!r}; this Tirada reads {SCHEMA}")
    try:
        return Info.model_validate(data, extra="ignore")
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        raise ValueError(f"{path}: {where!r}: {first['msg']}{more}") from exc


def json_schema() -> str:
    """The JSON Schema of ``info.json``, as published in ``info.schema.json``."""
    schema: Mapping[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Info.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _batch_csv(info: Info) -> bytes:
    """The rows as UTF-8, encoded as they are written: ten thousand of them are many megabytes."""
    data = io.BytesIO()
    sink = io.TextIOWrapper(data, encoding="utf-8", newline="")
    writer = csv.writer(sink)
    writer.writerow(CSV_HEADER)
    for image in info.images:
        seed = "" if image.seed is None else image.seed
        words = info.words_of(image)
        texts = (words.title, words.description, ", ".join(words.metatags), words.prompt)
        writer.writerow([image.file, *map(cell, texts), seed, image.width, image.height])
    sink.flush()
    return data.getvalue()
