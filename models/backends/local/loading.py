"""Gets a model into memory, from the hub's cache, a folder or a single file; says what to do where that fails.

Invariant: a file that could run a program when it is opened (a pickle) is refused unless the user allows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backends.local import eight_bit, hub
from models.backends.local.options import Options
from models.backends.local.source import PICKLED, Reader, Source, folder_reader
from models.backends.local.trouble import PICKLE_REASON, translated
from models.errors import SetupError, UnsupportedRequest

if TYPE_CHECKING:
    import torch

    from models.contract import Download

#: Whose warnings are for programmers.
LIBRARIES = ("accelerate", "compel", "diffusers", "huggingface_hub", "peft", "torch", "transformers")


def repository_reader(token: str | None) -> Any:
    """Reads small files of a repository, from the cache where the model is there."""

    def of(repository: str) -> Reader:
        found = hub.cached(repository, allow_pickle=True)
        if found is not None:
            return folder_reader(found.folder)

        def read(name: str) -> str | None:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

            try:
                with translated(repository):
                    return Path(hf_hub_download(repository, name, token=token)).read_text(encoding="utf-8")
            except SetupError as error:
                cause = error.__cause__
                missing = isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError)
                if missing or (name != "model_index.json" and isinstance(cause, LocalEntryNotFoundError)):
                    return None
                raise

        return read

    return of


# --- before anything is loaded ----------------------------------------------------------------------------------------


def check(source: Source, options: Options, token: str | None) -> None:
    """Raise SetupError or UnsupportedRequest where the model cannot be had; the hub is asked if it is not here."""
    if source.kind == "file":
        _check_file(source.path, options)
    elif source.kind == "folder":
        _check_folder(source.path, options)
    elif hub.cached(source.where, **wanted(source, options)) is None:
        hub.survey(source.where, token=token, **wanted(source, options))


def to_fetch(source: Source, options: Options, token: str | None) -> int:
    """Bytes that come from the hub before the first image; raises SetupError."""
    if source.kind != "repository" or hub.cached(source.where, **wanted(source, options)) is not None:
        return 0
    return hub.survey(source.where, token=token, **wanted(source, options)).left()


def fetch(source: Source, options: Options, token: str | None, listener: Download) -> None:
    """Have the model on this machine."""
    if source.kind == "repository":
        hub.obtain(source.where, token=token, listener=listener, **wanted(source, options))


def wanted(source: Source, options: Options) -> hub.Wanted:
    """Which of a repository's files to take, where it has several of a kind."""
    return {"variant": source.weights.variant, "allow_pickle": options.allow_pickle}


def _check_file(path: Path, options: Options) -> None:
    if path.suffix in PICKLED and not options.allow_pickle:
        raise UnsupportedRequest(f"{path.name} is refused.", hint=PICKLE_REASON)


def _check_folder(folder: Path, options: Options) -> None:
    safe = {file.parent for file in folder.glob("*/*.safetensors")}
    pickled = {file.parent for ending in PICKLED for file in folder.glob(f"*/*{ending}")}
    if not safe and not pickled:
        raise SetupError(f"The folder {str(folder)!r} holds no weights.", hint="Download the model again.")
    if pickled - safe and not options.allow_pickle:
        names = ", ".join(sorted(part.name for part in pickled - safe))
        raise UnsupportedRequest(f"The model in {str(folder)!r} is refused ({names}).", hint=PICKLE_REASON)


# --- loading ----------------------------------------------------------------------------------------------------------


def load(source: Source, options: Options, dtype: torch.dtype, token: str | None, *, in_eight_bit: bool = False) -> Any:
    """The pipeline, in main memory; raises ModelError saying what to do.

    ``in_eight_bit`` makes its denoiser small on the way, where a library can do that and the model is no single file.
    """
    quieten()
    check(source, options, token)
    with translated(source.where):
        if source.kind == "file":
            pipe = _from_file(source, options, dtype, token)
        else:
            pipe = _from(source, options, dtype, token, eight_bit.arguments(source.weights) if in_eight_bit else {})
    pipe.set_progress_bar_config(disable=True)
    if not options.safety_checker and getattr(pipe, "safety_checker", None) is not None:
        pipe.safety_checker = None
        pipe.register_to_config(requires_safety_checker=False)
    return pipe


def _from(source: Source, options: Options, dtype: torch.dtype, token: str | None, more: Mapping[str, Any]) -> Any:
    from diffusers import DiffusionPipeline

    folder, variant = source.where, ""
    if source.kind == "repository":
        found = hub.obtain(source.where, token=token, **wanted(source, options))
        folder, variant = str(found.folder), found.variant
    return DiffusionPipeline.from_pretrained(
        folder,
        torch_dtype=dtype,
        use_safetensors=None if options.allow_pickle else True,
        local_files_only=True,
        **({"variant": variant} if variant else {}),
        **more,
    )


def _from_file(source: Source, options: Options, dtype: torch.dtype, token: str | None) -> Any:
    import diffusers

    names = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "sd3": "StableDiffusion3Pipeline"}
    names |= {"flux": "FluxPipeline", "flux2": "Flux2Pipeline"}
    pipeline = getattr(diffusers, names[source.weights.family])
    more: dict[str, Any] = {"config": options.config} if options.config else {}
    try:
        return pipeline.from_single_file(
            source.where,
            torch_dtype=dtype,
            local_files_only=bool(options.config) or hub.is_offline(),
            token=token,
            **more,
        )
    except (OSError, ValueError) as exc:
        from huggingface_hub import errors

        if options.config or not isinstance(exc, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            raise
        raise SetupError(
            f"What {source.path.name} is made of is described by small files of the hub, and they are not here.",
            hint="Be online the first time, or name a folder that describes it: --option config=FOLDER.",
        ) from exc


def quieten() -> None:
    """Let the libraries keep to themselves what is no concern of users: their remarks would tear the progress bars."""
    warnings.filterwarnings("ignore", module=rf"({'|'.join(LIBRARIES)})(\.|$)")
    import diffusers
    import transformers
    from huggingface_hub.utils.tqdm import disable_progress_bars

    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()
