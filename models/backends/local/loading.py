"""Gets a model into memory, from the hub's cache, a folder or a single file; says what to do where that fails.

Invariant: a file that could run a program when it is opened (a pickle) is refused unless the user allows it.
"""

from __future__ import annotations

import errno
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backends.local.options import Options
from models.backends.local.source import PICKLED, Reader, Source
from models.errors import ModelError, SetupError, UnsupportedRequest
from models.redaction import redact
from models.wire import short

if TYPE_CHECKING:
    import torch

PICKLE_REASON = (
    "Its weights are pickled, and opening such a file can run any program hidden in it. "
    "Use a .safetensors version, or say --allow-pickle if you trust who made it."
)
#: What a pipeline is made of; previews and other formats are left at the hub.
IGNORED = ["*.onnx", "*.onnx_data", "*.msgpack", "*.xml", "*.png", "*.jpg", "*.jpeg", "*.webp", "*.gguf"]
GIB = 1024**3
#: Whose warnings are for programmers.
LIBRARIES = ("accelerate", "compel", "diffusers", "huggingface_hub", "peft", "torch", "transformers")


def repository_reader(token: str | None) -> Any:
    """Reads small files of a repository, from the cache where they are there."""

    def of(repository: str) -> Reader:
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
    elif not is_cached(source.where):
        _check_hub(source, token)


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


def is_cached(repository: str) -> bool:
    """Is the model on this machine, so far as its index tells?"""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "model_index.json"), str)


def is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _check_hub(source: Source, token: str | None) -> None:
    from huggingface_hub import HfApi, constants

    if is_offline():
        raise _not_here(source.where)
    with translated(source.where):
        found = HfApi(token=token).model_info(source.where, files_metadata=True, timeout=20)
        # Whether a gated one is open to us only shows when a file of it is asked for.
        HfApi(token=token).auth_check(source.where)
    needed = sum(file.size or 0 for file in found.siblings or () if file.rfilename.endswith(".safetensors"))
    cache = Path(constants.HF_HUB_CACHE)
    while not cache.exists():
        cache = cache.parent
    if needed > (free := shutil.disk_usage(cache).free):
        raise _no_room(source.where, f"it takes {needed / GIB:.0f} GiB, and {free / GIB:.0f} GiB are free")


# --- loading ----------------------------------------------------------------------------------------------------------


def load(source: Source, options: Options, dtype: torch.dtype, token: str | None) -> Any:
    """The pipeline, in main memory; raises ModelError saying what to do."""
    quieten()
    check(source, options, token)
    with translated(source.where):
        pipe = (
            _from_file(source, options, dtype, token) if source.kind == "file" else _from(source, options, dtype, token)
        )
    pipe.set_progress_bar_config(disable=True)
    if not options.safety_checker and getattr(pipe, "safety_checker", None) is not None:
        pipe.safety_checker = None
        pipe.register_to_config(requires_safety_checker=False)
    return pipe


def _from(source: Source, options: Options, dtype: torch.dtype, token: str | None) -> Any:
    from diffusers import DiffusionPipeline

    more: dict[str, Any] = {"variant": source.weights.variant} if source.weights.variant else {}
    return DiffusionPipeline.from_pretrained(
        source.where,
        torch_dtype=dtype,
        use_safetensors=None if options.allow_pickle else True,
        local_files_only=source.kind == "folder" or is_offline(),
        token=token,
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
            local_files_only=bool(options.config) or is_offline(),
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


# --- what can go wrong ------------------------------------------------------------------------------------------------


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the libraries raise while a model is fetched and opened into a SetupError that says what to do."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as exc:
        from models.backends.local.device import is_out_of_memory

        if is_out_of_memory(exc):
            raise
        found = _meaning(what, exc)
        if found is None:
            raise
        raise found from exc


def _meaning(what: str, exc: Exception) -> SetupError | None:
    from huggingface_hub import errors

    page = f"https://huggingface.co/{what}"
    if isinstance(exc, errors.GatedRepoError):
        return SetupError(
            f"{what} is gated: its maker wants you to accept the licence first.",
            hint=f"Accept it at {page}, make a token at https://huggingface.co/settings/tokens and set HF_TOKEN.",
        )
    if isinstance(exc, errors.RepositoryNotFoundError):
        return SetupError(
            f"The hub has no model {what!r}, or it is private.", hint="Check its name; a private one needs HF_TOKEN."
        )
    if isinstance(exc, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return _not_here(what)
    if _errno(exc) in (errno.ENOSPC, errno.EDQUOT):
        return _no_room(what, "the disk is full")
    if isinstance(exc, errors.HfHubHTTPError | ConnectionError | TimeoutError) or "httpx" in type(exc).__module__:
        return SetupError(
            f"{what} cannot be fetched: {short(redact(str(exc)))}.",
            hint="Check the network and try again, or name a model on this machine: --model PATH.",
        )
    if isinstance(exc, OSError | ValueError | KeyError | RuntimeError | TypeError | AttributeError):
        return _broken(what, exc)
    return None


def _broken(what: str, exc: Exception) -> SetupError:
    said = short(redact(" ".join(str(exc).split())))
    if "safetensors" in said and ("found no file" in said or "no file named" in said or "does not appear" in said):
        return SetupError(f"{what} has no safetensors files.", hint=PICKLE_REASON)
    if "local_files_only" in said or "couldn't connect" in said.lower() or "offline" in said.lower():
        return _not_here(what)
    return SetupError(
        f"{what} cannot be loaded: {said or type(exc).__name__}.",
        hint="Its files may be incomplete or of another version: download it again, or name another model.",
    )


def _not_here(what: str) -> SetupError:
    return SetupError(
        f"{what} is not on this machine, and the hub is not asked or cannot be reached.",
        hint=f"Once online: python main.py models pull {what}. Or name a model that is here: --model PATH.",
    )


def _no_room(what: str, why: str) -> SetupError:
    return SetupError(
        f"There is no room for {what}: {why}.",
        hint="Make room, or set HF_HOME to a folder on a larger disk.",
    )


def _errno(exc: BaseException | None) -> int | None:
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno is not None:
            return exc.errno
        exc = exc.__cause__ or exc.__context__
    return None
