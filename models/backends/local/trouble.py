"""What can go wrong while a model is fetched and opened, in words that say what to do.

Invariant: fetching ahead and loading for a run say the same about the same trouble.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import ModelError, SetupError
from models.redaction import redact
from models.wire import short

PICKLE_REASON = (
    "Its weights are pickled, and opening such a file can run any program hidden in it. "
    "Use a .safetensors version, or say --allow-pickle if you trust who made it."
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the libraries raise while a model is fetched and opened into a SetupError that says what to do."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as exc:
        # Nobody who only fetches a model is to wait for torch.
        if "torch" in sys.modules:
            from models.backends.local.device import is_out_of_memory

            if is_out_of_memory(exc):
                raise
        found = _meaning(what, exc)
        if found is None:
            raise
        raise found from exc


def _meaning(what: str, exc: Exception) -> SetupError | None:
    from huggingface_hub import errors

    if isinstance(exc, errors.GatedRepoError):
        return SetupError(
            f"{what} is gated: its maker wants you to accept the licence first.",
            hint="Accept it on its page at the Hugging Face hub, make a token in your settings there and set HF_TOKEN.",
        )
    if isinstance(exc, errors.RepositoryNotFoundError):
        return SetupError(
            f"The hub has no model {what!r}, or it is private.", hint="Check its name; a private one needs HF_TOKEN."
        )
    if isinstance(exc, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return not_here(what)
    if _errno(exc) in (errno.ENOSPC, errno.EDQUOT):
        return no_room(what, "the disk is full")
    if isinstance(exc, errors.HfHubHTTPError | ConnectionError | TimeoutError) or is_transport(exc):
        return SetupError(
            f"{what} cannot be fetched: {short(redact(str(exc) or type(exc).__name__))}.",
            hint="Check the network and try again, or name a model on this machine: --model PATH.",
        )
    if isinstance(exc, ImportError):
        # Processors of pictures of a few models.
        missing = "torchvision" if "torchvision" in str(exc).lower() else exc.name or "a package that it names"
        return SetupError(
            f"{what} needs a package more: {short(' '.join(str(exc).split()))}.",
            hint=f"Install it: pip install {missing}." if " " not in missing else "Install it and try again.",
        )
    if isinstance(exc, OSError | ValueError | KeyError | RuntimeError | TypeError | AttributeError):
        return _broken(what, exc)
    return None


def _broken(what: str, exc: Exception) -> SetupError:
    said = short(redact(" ".join(str(exc).split())))
    if "safetensors" in said and ("found no file" in said or "no file named" in said or "does not appear" in said):
        return no_safetensors(what)
    if "local_files_only" in said or "couldn't connect" in said.lower() or "offline" in said.lower():
        return not_here(what)
    return SetupError(
        f"{what} cannot be loaded: {said or type(exc).__name__}.",
        hint="Its files may be incomplete or of another version: download it again, or name another model.",
    )


def is_transport(exc: BaseException) -> bool:
    """Did the connection fail? The hub's library has changed its HTTP client more than once."""
    return "httpx" in type(exc).__module__


def no_safetensors(what: str) -> SetupError:
    return SetupError(f"{what} has no safetensors files.", hint=PICKLE_REASON)


def not_here(what: str) -> SetupError:
    return SetupError(
        f"{what} is not on this machine, and the hub is not asked or cannot be reached.",
        hint=f"Once online: python main.py models pull {what}. Or name a model that is here: --model PATH.",
    )


def no_room(what: str, why: str) -> SetupError:
    return SetupError(
        f"There is no room for {what}: {why}.",
        hint="Make room, or set HF_HOME to a folder on a larger disk.",
    )


def incomplete(what: str, gone: Sequence[str]) -> SetupError:
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    return SetupError(
        f"{what} is incomplete: {', '.join(gone[:3])}{more} cannot be found.",
        hint=f"Try again: python main.py models pull {what}.",
    )


def broken_file(path: Path, exc: Exception) -> SetupError:
    why = (exc.strerror if isinstance(exc, OSError) else None) or short(str(exc))
    return SetupError(f"{str(path)!r} cannot be opened: {why}.", hint="Remove it and download it again.")


def _errno(exc: BaseException | None) -> int | None:
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno is not None:
            return exc.errno
        exc = exc.__cause__ or exc.__context__
    return None
