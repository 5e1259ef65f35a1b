"""Models of the hub: what is in its cache on this machine, what a model would take, and fetching one.

Invariant: a model that is whole in the cache is never asked for again, except by who fetches it on purpose.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from models.backends.local.download import Stopped, fetch_blob, partial
from models.backends.local.files import INDEX, choose, lacking, missing, names_in, parts, read_index, verify
from models.backends.local.trouble import incomplete, no_room, not_here, translated
from models.errors import SetupError

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

    from models.contract import Download

#: Seconds the hub may take to say what a model is made of, and files that are fetched at once.
PATIENCE, WORKERS = 20, 4
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Wanted(TypedDict):
    """Which files to take where a repository has several of a kind."""

    variant: str
    allow_pickle: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model that is whole on this machine."""

    folder: Path
    #: By which its weights are loaded; empty = the plain ones.
    variant: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository; ``sha256`` where it is a large one."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a model at the hub is made of, as far as it is needed here."""

    repository: str
    commit: str
    variant: str
    #: As its page says; empty = it does not.
    licence: str
    gated: bool
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        return _storage(self.repository) / "snapshots" / self.commit

    def absent(self) -> list[File]:
        """What is not here yet, or not whole."""
        return [file for file in self.files if not self._has(file)]

    def _has(self, file: File) -> bool:
        return _is_whole(length(self.folder / file.name), file)

    def left(self) -> int:
        """Bytes that are still to come."""
        return sum(file.size - min(file.size, _so_far(self.repository, file)) for file in self.absent())


def require(what: str) -> None:
    """Raise SetupError where the hub's library is not installed."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as exc:
        hint = 'Install it: pip install -e ".[local]"'
        raise SetupError(f"{what} needs {exc.name or 'huggingface_hub'!r}.", hint=hint) from exc


def cache() -> Path:
    """The folder in which the hub's library keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def amount(size: float) -> str:
    """Bytes, as people and the hub's pages count them."""
    unit, name = next(((unit, name) for unit, name in UNITS if size >= unit), (1, "bytes"))
    return f"{size / unit:.3g} {name}" if size < 999.5 * unit else f"{size / unit:.0f} {name}"


# --- on this machine --------------------------------------------------------------------------------------------------


def cached(repository: str, *, variant: str = "", allow_pickle: bool = False) -> Snapshot | None:
    """The model as it is in the cache, the newest that is whole; None where there is none."""
    snapshots = _storage(repository) / "snapshots"
    try:
        main = (_storage(repository) / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        main = ""
    try:
        folders = [folder for folder in snapshots.iterdir() if (folder / INDEX).is_file()]
    except OSError:
        return None
    folders.sort(key=lambda folder: (folder.name == main, folder.stat().st_mtime), reverse=True)
    for folder in folders:
        found = _whole(repository, folder, variant, allow_pickle)
        if found is not None:
            return found
    return None


def _whole(repository: str, folder: Path, variant: str, allow_pickle: bool) -> Snapshot | None:
    try:
        index = read_index(folder)
        choice = choose(repository, names_in(folder), index, variant=variant, allow_pickle=allow_pickle)
        gone = missing(folder, choice.files)
    except SetupError:
        return None
    return None if gone or not parts(index) else Snapshot(folder, choice.variant)


def _storage(repository: str) -> Path:
    return cache() / f"models--{repository.replace('/', '--')}"


def _is_whole(size: int, file: File) -> bool:
    # A mirror of the hub may not say how large a file is.
    return size == file.size or (size >= 0 and not file.size)


def length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _so_far(repository: str, file: File) -> int:
    """Bytes of a file that need not be fetched, though it is not in its place."""
    if not file.sha256:
        return 0
    blob = _storage(repository) / "blobs" / file.sha256
    return max(0, length(blob), length(partial(blob)))


# --- at the hub -------------------------------------------------------------------------------------------------------


def survey(repository: str, *, variant: str = "", allow_pickle: bool = False, token: str | None = None) -> Survey:
    """What the model is made of; raises SetupError where it cannot be had, or where there is no room for it."""
    info = _ask(repository, token)
    index = _index(repository, info, token)
    names = [file.rfilename for file in info.siblings or ()]
    choice = choose(repository, names, index, variant=variant, allow_pickle=allow_pickle)
    if gone := lacking(index, choice.files):
        raise incomplete(repository, gone)
    return _survey(repository, info, choice.files, choice.variant)


def survey_files(repository: str, names: Sequence[str], *, token: str | None = None) -> Survey:
    """The same of some files of a repository that is no model by itself."""
    info = _ask(repository, token)
    if gone := sorted(set(names) - {file.rfilename for file in info.siblings or ()}):
        raise incomplete(repository, gone)
    return _survey(repository, info, names, "")


def _survey(repository: str, info: ModelInfo, names: Sequence[str], variant: str) -> Survey:
    siblings = {file.rfilename: file for file in info.siblings or ()}
    card = info.card_data
    licence = (card.get("license_name") or card.get("license") or "") if card is not None else ""
    found = Survey(
        repository=repository,
        commit=info.sha or "",
        variant=variant,
        licence=licence if isinstance(licence, str) else ", ".join(map(str, licence)),
        gated=bool(info.gated),
        files=tuple(_file(siblings[name]) for name in names),
    )
    folder = cache()
    while not folder.exists():
        folder = folder.parent
    left, free = found.left(), shutil.disk_usage(folder).free
    if left > free:
        raise no_room(repository, f"it takes {amount(left)}, and {amount(free)} are free in {str(folder)!r}")
    return found


@lru_cache(maxsize=16)
def _ask(repository: str, token: str | None) -> ModelInfo:
    """The hub's own words about a repository; once in a process, so that all work on one revision."""
    from huggingface_hub import HfApi

    _quieten()
    api = HfApi(token=token)
    if is_offline():
        raise not_here(repository)
    with translated(repository):
        info = api.model_info(repository, files_metadata=True, timeout=PATIENCE)
        # Whether a gated one is open to us only shows when a file of it is asked for.
        api.auth_check(repository)
    return info


def _index(repository: str, info: ModelInfo, token: str | None) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    with translated(repository):
        path = hf_hub_download(repository, INDEX, revision=info.sha, token=token)
    return read_index(Path(path).parent)


def _quieten() -> None:
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    disable_progress_bars()


def _file(sibling: Any) -> File:
    sha256 = "" if sibling.lfs is None else str(sibling.lfs.sha256)
    return File(sibling.rfilename, sibling.size or 0, sha256)


def obtain(
    repository: str,
    *,
    variant: str = "",
    allow_pickle: bool = False,
    token: str | None = None,
    listener: Download | None = None,
) -> Snapshot:
    """The model, from the cache or, where it is not whole there, from the hub. Raises SetupError."""
    found = cached(repository, variant=variant, allow_pickle=allow_pickle)
    if found is not None:
        return found
    wanted = survey(repository, variant=variant, allow_pickle=allow_pickle, token=token)
    return fetch(wanted, token=token, listener=listener)


# --- fetching ---------------------------------------------------------------------------------------------------------

#: What a worker says: bytes that came, a file that is there, an exception, or that it is done.
_Word = int | File | Exception | None


def fetch(wanted: Survey, *, token: str | None = None, listener: Download | None = None) -> Snapshot:
    """Fetch what is not here and check all of it; what came stays, whatever happens. Raises SetupError."""
    _quieten()
    with translated(wanted.repository):
        _fetch_files(wanted, token, listener)
        _settle(wanted, token)
    verify(wanted.repository, wanted.folder, [file.name for file in wanted.files])
    return Snapshot(wanted.folder, wanted.variant)


def _fetch_files(wanted: Survey, token: str | None, listener: Download | None) -> None:
    words: queue.Queue[_Word] = queue.Queue()
    stop = threading.Event()
    todo = iter(wanted.absent())
    lock = threading.Lock()

    def following() -> File | None:
        with lock:
            return None if stop.is_set() else next(todo, None)

    def work() -> None:
        try:
            while (file := following()) is not None:
                _fetch_file(wanted, file, token, words.put, stop)
                words.put(file)
            words.put(None)
        except Exception as exc:  # noqa: BLE001 - raised again by the thread that waits
            stop.set()
            words.put(exc)

    # Daemons: who presses Ctrl-C does not wait for a hub that says nothing.
    for _ in range(WORKERS):
        threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        _listen(words, listener)
    finally:
        stop.set()


def _listen(words: queue.Queue[_Word], listener: Download | None) -> None:
    """Until every worker is done; then raise what went wrong first."""
    running, failure = WORKERS, None
    while running:
        try:
            # Not for good: some systems notice Ctrl-C only between two waits.
            word = words.get(timeout=0.5)
        except queue.Empty:
            continue
        if word is None or isinstance(word, Exception):
            running -= 1
            if failure is None and not isinstance(word, Stopped):
                failure = word
        elif listener is not None and isinstance(word, File):
            listener.done(word.name, word.size)
        elif listener is not None and isinstance(word, int):
            listener.received(word)
    if failure is not None:
        raise failure


def _fetch_file(
    wanted: Survey, file: File, token: str | None, tell: Callable[[int], None], stop: threading.Event
) -> None:
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    storage = _storage(wanted.repository)
    place = wanted.folder / file.name
    size = length(place)
    if _is_whole(size, file):
        # Another process has fetched it since we looked, and may be at work with it already.
        return
    if size >= 0:
        # Cut short, by a full disk perhaps: nobody else would notice.
        place.resolve().unlink(missing_ok=True)
        place.unlink(missing_ok=True)
    if file.sha256:
        blob = storage / "blobs" / file.sha256
        fetch_blob(
            f"{wanted.repository}/{file.name}",
            hf_hub_url(wanted.repository, file.name, revision=wanted.commit),
            blob,
            cache() / ".locks" / storage.name / f"{file.sha256}.lock",
            size=file.size,
            headers=build_hf_headers(token=token),
            received=tell,
            stop=stop,
        )
    # The hub's library gives a file that is there its place.
    path = Path(hf_hub_download(wanted.repository, file.name, revision=wanted.commit, token=token))
    if not file.sha256:
        tell(file.size)
    elif not path.is_symlink():
        # Without links the library makes a copy.
        blob.unlink(missing_ok=True)


def _settle(wanted: Survey, token: str | None) -> None:
    """Let the hub's library note which revision is the one to use, now that all of it is here."""
    from huggingface_hub import hf_hub_download

    hf_hub_download(wanted.repository, wanted.files[0].name, token=token)
