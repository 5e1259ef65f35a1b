"""What a model's name stands for: a row of the catalog, a repository of the hub, a folder, or a single file.

Invariant: the family decides how a model is rendered, and one that the catalog does not know is rendered like the row
of its family that is most like it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.backends.local.device import GIB
from models.catalog import Catalog, Memory, ModelRow, Weights
from models.errors import SetupError, UnsupportedRequest
from models.sizes import SizeRule

Kind = Literal["repository", "folder", "file"]
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
#: Endings of single files: ours, and those that may run a program when they are opened.
SAFE, PICKLED = ".safetensors", (".ckpt", ".pt", ".pth", ".bin")
#: Bytes that the header of a safetensors file has at most.
HEADER_MAX = 100_000_000
#: The pipelines we render with -> their family.
FAMILIES = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionImg2ImgPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "FluxKontextPipeline": "kontext",
    "Flux2Pipeline": "flux2",
    "Flux2KleinPipeline": "klein",
    "ZImagePipeline": "z-image",
    "QwenImagePipeline": "qwen-image",
    "QwenImageEditPlusPipeline": "qwen-image-edit",
}
#: Sides of the pictures a model was trained on, where its files do not say; and sizes for rows that name none.
NATIVE = 1024
SIZES = SizeRule(multiple=16, min_pixels=512 * 512, max_pixels=2048 * 2048, max_side=2048, max_ratio=32)
#: Reads a small text file of the model; None where it has none of that name.
Reader = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model and how it is rendered."""

    #: By which it is recorded and found again.
    name: str
    kind: Kind
    #: Repository id, or the absolute path.
    where: str
    weights: Weights
    sizes: SizeRule
    #: Its own row; None where the catalog does not know it.
    row: ModelRow | None = None

    @property
    def path(self) -> Path:
        return Path(self.where)


def find_source(
    catalog: Catalog, backend: str, name: str, read_repository: Callable[[str], Reader], config: str = ""
) -> Source:
    """What the name stands for; raises UnsupportedRequest or SetupError where that cannot be rendered.

    ``read_repository`` gives the reader of a repository that the catalog does not know, ``config`` is the folder that
    describes a single file.
    """
    path = Path(name).expanduser()
    # A model that lies here under that very name is meant, as diffusers takes it too.
    here = (path / "model_index.json").is_file()
    row = None if here else catalog.find("image", name, backend)
    if row is None and not here:
        row = next((one for one in _local_rows(catalog) if name.casefold() in _names(one)), None)
    if row is not None and row.weights is not None:
        catalog.resolve("image", row.id, row.backend)
        where = row.weights.repository
        return Source(
            name=row.id,
            kind="repository",
            where=where,
            weights=row.weights,
            sizes=row.sizes.rule() if row.sizes else SIZES,
            row=row,
        )
    if path.is_dir():
        return _described(catalog, path.resolve(), "folder", folder_reader(path))
    if path.is_file():
        return _single_file(catalog, path.resolve(), config)
    if REPOSITORY.fullmatch(name) and not name.startswith("."):
        return _described(catalog, name, "repository", read_repository(name))
    if path.suffix in (SAFE, *PICKLED) or name.startswith((".", "/", "~")):
        raise UnsupportedRequest(f"There is no file or folder {name!r}.", hint="Check its name.")
    found = catalog.resolve("image", name, backend)
    raise UnsupportedRequest(f"{found.id} is no model for rendering here.", hint="`python main.py models` lists them.")


def _local_rows(catalog: Catalog) -> list[ModelRow]:
    return [row for row in catalog.rows("image") if row.weights is not None]


def _names(row: ModelRow) -> set[str]:
    assert row.weights is not None
    return {name.casefold() for name in (row.id, *row.aliases, row.weights.repository)}


# --- models that the catalog does not know ----------------------------------------------------------------------------


def folder_reader(folder: Path) -> Reader:
    """Reads the files of a folder."""

    def read(name: str) -> str | None:
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as exc:
            raise SetupError(f"{folder / name}: {exc}.") from None

    return read


def _described(catalog: Catalog, where: Path | str, kind: Kind, read: Reader) -> Source:
    """A model that describes itself, as every folder and repository of diffusers does."""
    index = _json(read, "model_index.json", where)
    if index is None:
        raise UnsupportedRequest(
            f"{str(where)!r} is no diffusers model: it has no model_index.json.",
            hint="Name a folder or repository that has one, or a single .safetensors file.",
        )
    family = FAMILIES.get(str(index.get("_class_name")))
    if family is None:
        known = ", ".join(sorted(set(FAMILIES.values())))
        raise UnsupportedRequest(
            f"{str(where)!r} is a {index.get('_class_name')}, which is not rendered here.", hint=f"There are: {known}."
        )
    transformer = _json(read, "transformer/config.json", where) or {}
    distilled = bool(index.get("is_distilled")) or transformer.get("guidance_embeds") is False
    row = like(catalog, family, distilled=distilled if family in ("flux", "klein") else None)
    native = _native(_json(read, "unet/config.json", where), _json(read, "vae/config.json", where))
    sizes = row.sizes.rule() if row.sizes else SIZES
    smallest = native // 2
    sizes = replace(sizes, min_pixels=min(sizes.min_pixels, smallest**2), min_side=min(sizes.min_side, smallest))
    assert row.weights is not None
    weights = _weights(row, _parts(where) if isinstance(where, Path) else None)
    return Source(name=str(where), kind=kind, where=str(where), weights=weights, sizes=sizes)


def _weights(row: ModelRow, parts: tuple[int, int] | None) -> Weights:
    """What the row says that also holds for a model of its kind; ``parts`` are bytes of denoiser and text encoders."""
    assert row.weights is not None
    own = row.weights
    if parts is not None:
        # A small model has small pictures in the making, too.
        model, text = max(parts[0], 1) / GIB, max(parts[1], 1) / GIB
        memory = Memory(model=model, text=text, work=own.memory.work * min(1.0, model / own.memory.model))
        own = own.model_copy(update={"memory": memory})
    return own.model_copy(update={"variant": "", "licence": "", "commercial": True, "gated": False})


def _parts(folder: Path) -> tuple[int, int]:
    """Bytes of the weights in a folder: all but the text encoders, and these."""
    sizes = {True: 0, False: 0}
    for file in folder.glob("*/*"):
        if file.suffix in (SAFE, *PICKLED):
            sizes[file.parent.name.startswith("text_encoder")] += file.stat().st_size
    return sizes[False], sizes[True]


def like(catalog: Catalog, family: str, *, distilled: bool | None = None) -> ModelRow:
    """The row of that family to go by; ``distilled`` ones have no guidance to set."""
    rows = [row for row in _local_rows(catalog) if row.weights is not None and row.weights.family == family]
    if distilled is not None:
        rows.sort(key=lambda row: (row.weights is not None and not row.weights.guidance_argument) != distilled)
    if not rows:
        raise SetupError(f"The catalog has no model of the family {family!r} to go by.", hint="Check CATALOG_FILE.")
    return rows[0]


def _native(unet: dict[str, Any] | None, vae: dict[str, Any] | None) -> int:
    """The side in pixels that a model was trained on, as its files say."""
    own = (unet or {}).get("sample_size")
    if isinstance(own, int):
        blocks = len((vae or {}).get("block_out_channels", ())) or 4
        return int(own * 2 ** (blocks - 1))
    own = (vae or {}).get("sample_size")
    return own if isinstance(own, int) else NATIVE


def _json(read: Reader, name: str, where: Path | str) -> dict[str, Any] | None:
    text = read(name)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise SetupError(f"{where}: {name} is not valid JSON: {exc}.") from None
    return found if isinstance(found, dict) else None


# --- single files -----------------------------------------------------------------------------------------------------


def _single_file(catalog: Catalog, path: Path, config: str) -> Source:
    """A checkpoint in one file; what it is shows in the names of its tensors, or in a folder that describes it."""
    if config:
        folder = Path(config).expanduser()
        described = _described(catalog, folder, "file", folder_reader(folder))
        return replace(described, name=str(path), where=str(path))
    family, distilled = "sdxl", False
    if path.suffix == SAFE:
        family, distilled = _family_of_file(path)
    elif path.suffix not in PICKLED:
        raise UnsupportedRequest(f"{str(path)!r} is no checkpoint.", hint=f"Name a {SAFE} file, or a folder.")
    row = like(catalog, family, distilled=distilled if family in ("flux", "klein") else None)
    assert row.weights is not None
    weights = _weights(row, (path.stat().st_size, 1))
    sizes = row.sizes.rule() if row.sizes else SIZES
    return Source(name=str(path), kind="file", where=str(path), weights=weights, sizes=sizes)


#: A tensor that only models of a family have, the most telling first.
TELLING: tuple[tuple[str, str], ...] = (
    ("conditioner.embedders.1.", "sdxl"),
    ("double_stream_modulation_img.", "flux2"),
    ("double_blocks.", "flux"),
    ("joint_blocks.", "sd3"),
    ("cond_stage_model.", "sd"),
)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, by name, and how many bytes it took to say so.

    Raises OSError, and ValueError where it has no header.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= HEADER_MAX:
            raise ValueError("it has no header")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("it has no header")
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}, 8 + length


def tensor_names(path: Path) -> list[str]:
    """The names of a safetensors file's tensors, from its header; raises SetupError for a broken file."""
    try:
        return [*read_header(path)[0]]
    except OSError as exc:
        raise SetupError(f"{str(path)!r} cannot be read: {exc.strerror or exc}.") from None
    except ValueError:
        raise SetupError(f"{str(path)!r} is no safetensors file, or a broken one.", hint="Download it again.") from None


def _family_of_file(path: Path) -> tuple[str, bool]:
    names = tensor_names(path)
    for part, family in TELLING:
        if any(part in name for name in names):
            return family, family == "flux" and not any("guidance_in." in name for name in names)
    raise UnsupportedRequest(
        f"{str(path)!r} is no checkpoint of a model that is rendered here.",
        hint="A LoRA goes with --lora; of other models name the folder or the repository.",
    )
