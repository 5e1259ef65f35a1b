"""The catalog of models: what exists, what it costs, which sizes it renders and when it retires.

Rows live in ``catalog.toml`` beside this file; a file of the user's own adds rows, or changes fields of them by id.
Invariant: an unknown price is None, never 0.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.errors import SetupError, UnsupportedRequest
from models.sizes import SizeRule, parse_size, ratio_sizes

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
#: A dated snapshot ("gpt-image-2-2026-04-21") shares the row of the model it is a snapshot of.
SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
MILLION = Decimal(1_000_000)


class Sizes(BaseModel):
    """The sizes a model renders, as a catalog row writes them.

    ``ratios`` are for services that are told an aspect ratio ("16:9") instead of a size; ``pixels`` is about how many
    pixels they then render.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed: tuple[str, ...] = ()
    multiple: int = 1
    min_pixels: int = 1
    max_pixels: int = 4096 * 4096
    max_side: int = 4096
    max_ratio: float = 64.0
    min_side: int = 1
    ratios: tuple[str, ...] = ()
    pixels: int = 1024 * 1024

    def rule(self) -> SizeRule:
        return SizeRule(
            fixed=(*(parse_size(size) for size in self.fixed), *self.by_ratio()),
            multiple=self.multiple,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
            max_ratio=self.max_ratio,
            min_side=self.min_side,
        )

    def by_ratio(self) -> dict[tuple[int, int], str]:
        """About which size (width, height) each aspect ratio gives -> the ratio to ask for."""
        return ratio_sizes(self.ratios, self.pixels)


class Patches(BaseModel):
    """How many tokens an input image has: its squares of ``side`` x ``side`` pixels, ``most`` of them at most.

    A small image is enlarged first, twofold at most, until its long side has ``enlarge_to`` pixels; a narrow one counts
    as a third as wide as it is long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int
    most: int
    enlarge_to: int

    def tokens(self, width: int, height: int) -> int:
        long = max(width, height)
        scale = max(Fraction(1), min(Fraction(2), Fraction(self.enlarge_to, long)))
        short = max(Fraction(min(width, height)), Fraction(long, 3))
        return min(self.most, ceil(long * scale / self.side) * ceil(short * scale / self.side))


#: The pipelines a local model may belong to.
Family = Literal["sd", "sdxl", "sd3", "flux", "kontext", "flux2", "klein", "z-image", "qwen-image", "qwen-image-edit"]


class Memory(BaseModel):
    """What a local model needs, in GiB: its denoiser and VAE, its text encoders, and one 1024x1024 image at work.

    Weights are counted at 16 bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: float = Field(gt=0)
    text: float = Field(gt=0)
    work: float = Field(gt=0)

    @property
    def whole(self) -> float:
        """GiB with everything on the card at once."""
        return self.model + self.text + self.work


class Adapter(BaseModel):
    """What lets a model look at reference images: an IP-Adapter, and the encoder of pictures that goes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where the Hugging Face hub has both.
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    #: The adapter's weights, and the folder of the encoder.
    file: str = Field(pattern=r"\.safetensors$")
    encoder: str
    licence: str
    #: GiB that both add.
    memory: float = Field(gt=0)


class Weights(BaseModel):
    """How a model is rendered on one's own machine, and on which terms its weights may be used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    #: Where the Hugging Face hub has it.
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    steps: int = Field(gt=0)
    guidance: float = Field(ge=0)
    #: SPDX identifier, or the name its maker gave it.
    licence: str
    #: Its licence lets anybody sell what is made with it, or a firm below the revenue that ``note`` names.
    commercial: bool
    #: The hub hands it out only to those who accepted its terms.
    gated: bool
    #: Which of its files to load where the repository has several ("fp16").
    variant: Literal["", "fp16"] = ""
    memory: Memory
    #: The pipeline's name for ``guidance``; empty = it has none.
    guidance_argument: Literal["", "guidance_scale", "true_cfg_scale"] = "guidance_scale"
    #: It obeys a negative prompt.
    negative: bool = False
    #: How a prompt of any length is read: CLIP in pieces of 77 tokens, or an encoder of prose.
    long_prompts: Literal["compel", "prose"] = "prose"
    #: Tokens the encoder of prose reads at most; 0 = no limit.
    max_tokens: int = Field(0, ge=0)
    #: How it takes reference images: not, as its own input, or through an IP-Adapter.
    references: Literal["none", "image", "ip-adapter"] = "none"
    references_max: int = Field(0, ge=0)
    adapter: Adapter | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Weights:
        if (self.references == "none") != (self.references_max == 0):
            raise ValueError("references and references_max must agree")
        if (self.references == "ip-adapter") != (self.adapter is not None):
            raise ValueError("references through an IP-Adapter need an adapter, others have none")
        if (self.long_prompts == "compel") != (self.max_tokens == 0):
            raise ValueError("an encoder of prose has max_tokens, compel has none")
        return self

    def with_adapter(self) -> Weights:
        """The same with what its adapter needs, which lies where the text encoders do."""
        more = self.adapter.memory if self.adapter is not None else 0.0
        return self.model_copy(update={"memory": self.memory.model_copy(update={"text": self.memory.text + more})})


class ModelRow(BaseModel):
    """One model. Prices are USD; ``tokens`` are output tokens of one 1024x1024 image by quality.

    ``price`` is that of one image; with ``per_megapixel`` it is that of its first megapixel only, and each further one,
    and each of a reference image, costs ``per_megapixel``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Kind
    backend: str = ""
    about: str
    default: bool = False
    aliases: tuple[str, ...] = ()
    sizes: Sizes | None = None
    fallback_sizes: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    default_quality: str = ""
    price: Decimal | None = Field(None, ge=0)
    per_megapixel: Decimal | None = None
    per_million: Mapping[str, Annotated[Decimal, Field(ge=0)]] = {}
    tokens: Mapping[str, int] = {}
    #: Tokens of an image that is given to it; None = unknown.
    input_image: Patches | None = None
    #: What its option ``input_fidelity`` may be; empty = it has none.
    input_fidelity: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    #: Of a model that renders on one's own machine.
    weights: Weights | None = None
    retires: date | None = None
    use: str = ""
    note: str = ""
    source: str
    checked: date

    @field_validator("sizes")
    @classmethod
    def _sizes_make_a_rule(cls, value: Sizes | None) -> Sizes | None:
        if value is not None:
            value.rule()
        return value

    def retired(self, today: date) -> bool:
        return self.retires is not None and self.retires <= today

    def image_price(self, pixels: int, references: Iterable[int] = ()) -> Decimal | None:
        """USD for an image of so many pixels, made with reference images of so many; None when it is unknown.

        Megapixels (1024x1024) are counted whole, rounded up for each image: an estimate is never too low.
        """
        if self.price is None or self.per_megapixel is None:
            return self.price
        further = megapixels(pixels) - 1 + sum(megapixels(each) for each in references)
        return self.price + further * self.per_megapixel

    def cost(self, usage: Mapping[str, int]) -> Decimal | None:
        """USD for tokens counted by kind (the keys of ``per_million``); None when a price is missing."""
        if self.price is not None and self.per_megapixel is None:
            return self.price
        total = Decimal(0)
        for kind, count in usage.items():
            if count and kind not in self.per_million:
                return None
            total += self.per_million.get(kind, Decimal(0)) * count / MILLION
        return total if self.per_million else None


def megapixels(pixels: int) -> int:
    """Megapixels begun, of 1024x1024 pixels each; at least one."""
    return max(1, -(-pixels // 1024**2))


class Catalog:
    """All rows, the user's own over ours."""

    def __init__(self, rows: Iterable[ModelRow], *, updated: date, today: date | None = None) -> None:
        self._rows = {(row.kind, row.id): row for row in rows}
        self._names: dict[tuple[str, str], ModelRow] = {}
        #: The same by backend: two of them may know a name, each for a model of its own.
        self._names_of: dict[tuple[str, str, str], ModelRow] = {}
        for names in (_aliases, _ids):
            for row in self._rows.values():
                for name in names(row):
                    self._names[row.kind, name.casefold()] = row
                    self._names_of[row.kind, row.backend, name.casefold()] = row
        self.updated = updated
        self.today = today or date.today()

    def rows(self, kind: Kind | None = None) -> list[ModelRow]:
        return [row for row in self._rows.values() if kind in (None, row.kind)]

    def find(self, kind: Kind, name: str, backend: str = "") -> ModelRow | None:
        """The row of that id, alias, repository or dated snapshot, dead or alive; None when it is unknown.

        Without ``backend`` an id goes before an alias.
        """
        for known in (name.casefold(), SNAPSHOT.sub("", name.casefold())):
            row = self._names_of.get((kind, backend, known)) if backend else self._names.get((kind, known))
            if row is not None:
                return row
        return None

    def resolve(self, kind: Kind, name: str, backend: str = "") -> ModelRow:
        """The living row of that name; raises UnsupportedRequest for a retired or unknown one, naming what to use."""
        row = self.find(kind, name, backend)
        if row is None:
            raise UnsupportedRequest(f"There is no {kind} model {name!r}.", hint=self._suggestion(kind, name, backend))
        if row.retired(self.today):
            option = "--model" if kind == "image" else "WRITER_MODEL"
            joint = " " if option.startswith("-") else "="
            raise UnsupportedRequest(
                f"{row.id} was retired by its maker on {row.retires}.", hint=f"Use {row.use}: {option}{joint}{row.use}"
            )
        return row

    def default(self, kind: Kind, backend: str = "") -> ModelRow:
        """The row used when no model is named."""
        for row in self.rows(kind):
            if row.default and row.backend == backend:
                return row
        raise SetupError(f"The catalog has no default {kind} model for {backend or 'the writer'!r}.")

    def retiring(self, within_days: int) -> list[ModelRow]:
        """Living rows that retire within so many days, the nearest first."""
        soon = [
            (row.retires, row)
            for row in self._rows.values()
            if row.retires and 0 < (row.retires - self.today).days <= within_days
        ]
        return [row for _, row in sorted(soon, key=lambda pair: (pair[0], pair[1].id))]

    def _suggestion(self, kind: Kind, name: str, backend: str) -> str:
        alive = [r.id for r in self.rows(kind) if not r.retired(self.today) and backend in ("", r.backend)]
        close = difflib.get_close_matches(name, alive, n=1, cutoff=0.75)
        return (
            f"Did you mean {close[0]!r}?"
            if close
            else "`python main.py models` lists them; a new one can be added in a file of your own (CATALOG_FILE)."
        )


def _ids(row: ModelRow) -> tuple[str, ...]:
    return (row.id,)


def _aliases(row: ModelRow) -> tuple[str, ...]:
    return (*row.aliases, row.weights.repository) if row.weights is not None else row.aliases


def load_catalog(own: Path | None = None, *, today: date | None = None) -> Catalog:
    """Our rows and, over them, those of the user's file; raises SetupError saying what is wrong in it."""
    text = files("models").joinpath("catalog.toml").read_text(encoding="utf-8")
    ours = tomllib.loads(text)
    rows = {(row.kind, row.id): row for row in _rows(ours, "catalog.toml")}
    updated: date = ours["updated"]
    if own is not None:
        written = {(kind, raw["id"]): raw for kind in KINDS for raw in ours[kind]}
        for row in _rows(_read_own(own), str(own), over=written):
            rows[row.kind, row.id] = row
    return Catalog(rows.values(), updated=updated, today=today)


def price_hint(kind: Kind, model: str, backend: str = "") -> str:
    """What to write, and where, so that a model has a price; the row is whole, so that it may also be a new one."""
    prices = 'price = "0.04"' if kind == "image" else 'per_million = { input = "0.5", output = "2" }'
    name = f"id = {json.dumps(model, ensure_ascii=False)}" + (f', backend = "{backend}"' if kind == "image" else "")
    return (
        f'Write its true price into a file of your own: `{kind} = [{{ {name}, about = "mine", {prices}, source = "me", '
        f"checked = {date.today()} }}]`, and name the file with CATALOG_FILE"
    )


def _read_own(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SetupError(f"There is no catalog file {str(path)!r}.", hint="Check CATALOG_FILE.") from None
    except OSError as exc:
        raise SetupError(f"{path}: {exc.strerror}.", hint="Check CATALOG_FILE.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{path}: not valid TOML: {exc}") from exc


def _rows(
    data: dict[str, Any], where: str, over: Mapping[tuple[Kind, str], Mapping[str, Any]] | None = None
) -> list[ModelRow]:
    """The rows of a file; those with the kind and id of one in ``over`` say only what is different."""
    rows = []
    if unknown := set(data) - {"updated", *KINDS}:
        raise SetupError(f"{where}: unknown key {sorted(unknown)[0]!r}; rows are [[image]] or [[text]].")
    for kind in KINDS:
        listed = data.get(kind, [])
        if not isinstance(listed, list) or not all(isinstance(raw, dict) for raw in listed):
            raise SetupError(f"{where}: {kind!r} must be rows, each under a heading [[{kind}]].")
        for number, raw in enumerate(listed, start=1):
            name = raw.get("id", f"number {number}")
            changed = (over or {}).get((kind, name)) if isinstance(name, str) else None
            try:
                rows.append(ModelRow.model_validate({"kind": kind, **_merged(changed or {}, raw)}))
            except (ValidationError, ValueError) as exc:
                problem = exc.errors()[0] if isinstance(exc, ValidationError) else {"loc": (), "msg": str(exc)}
                place = ".".join(str(part) for part in problem["loc"])
                hint = "" if changed or over is None else _suggested_id(kind, name, over)
                # A whole row has no place.
                what = f"{place} {str(problem['msg']).removeprefix('Value error, ')}".strip()
                raise SetupError(f"{where}: [[{kind}]] {name}: {what}.", hint=hint) from exc
    return rows


def _merged(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The row with these changes: tables key by key, everything else as a whole."""
    merged = {**row, **changes}
    for name, value in changes.items():
        before = row.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _merged(before, value)
    return merged


def _suggested_id(kind: Kind, name: object, over: Mapping[tuple[Kind, str], Mapping[str, Any]]) -> str:
    """For a row that is not whole: it may be meant for one of ours."""
    ids = [known for of_kind, known in over if of_kind == kind]
    close = difflib.get_close_matches(str(name), ids, n=1, cutoff=0.75)
    return f"Did you mean {close[0]!r}?" if close else "A row with an id that is not in our catalog must be whole."
