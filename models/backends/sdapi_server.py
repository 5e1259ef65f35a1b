"""An AUTOMATIC1111-style server as we call it: its address, its lists of names, its progress, its errors as ours.

Invariant: a user name and password leave the address for the Authorization header, and no message holds them.
"""

from __future__ import annotations

import base64
import difflib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from models.backends.http import HttpApi, Reply
from models.contract import Progress
from models.errors import BadAnswer, InDoubt, ModelError, SetupError, Unavailable, UnsupportedRequest
from models.redaction import register
from models.wire import is_url, short, words_of

DEFAULT_URL = "http://127.0.0.1:7860"
SETTING = "STABLE_DIFFUSION_URL"
START = (
    f"Start it with its API on (AUTOMATIC1111, Forge: --api; Draw Things: API Server), or set {SETTING} to its address."
)
SLOW = "A slow server needs more time: REQUEST_TIMEOUT_SECONDS."
LOGIN = f"It wants a user and a password: {SETTING}=http://user:password@host:7860."
#: Seconds for anything but rendering: these calls are answered at once, or not at all.
PATIENCE = 15.0
#: Statuses of a server that does not let us in, and of one that has no such address.
BARRED = {*range(300, 400), 401, 403}
NO_ROUTE = {404, 405}
#: Names listed in a message.
SHOWN = 40

Kind = Literal["model", "sampler", "schedule", "LoRA", "VAE"]
#: Where a server lists its names: path, and the fields that hold one, the first the one it wants.
LISTS: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "model": ("sd-models", ("title", "model_name", "hash", "sha256")),
    "sampler": ("samplers", ("name", "aliases")),
    "schedule": ("schedulers", ("label", "name", "aliases")),
    "LoRA": ("loras", ("name", "alias")),
    "VAE": ("sd-vae", ("model_name",)),
}
#: The hash that follows the file name in the title of a checkpoint.
HASH = re.compile(r"\s+\[[0-9a-f]+\]$")
#: Names that stand for a choice of the server's own and are on no list.
BUILT_IN: Mapping[str, tuple[str, ...]] = {"VAE": ("Automatic", "None"), "schedule": ("Automatic",)}
#: A name that the server does not know after all.
UNKNOWN = re.compile(r"unknown checkpoint|\b(?:model|sampler|scheduler)\b.{0,200}\bnot found")
#: What a failing server says -> what to tell the user. Another try seldom helps, but the next image may be luckier.
BROKEN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("outofmemory", "out of memory"),
        "the GPU has not enough memory for this image",
        "Ask for a smaller size, or start the server with --medvram.",
    ),
    (
        ("nansexception", "all nans"),
        "the model computed no numbers (NaN)",
        "Start the server with --no-half-vae or --no-half.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing on a list: the name the server wants, and every name people know it by."""

    wanted: str
    names: tuple[str, ...]

    def is_called(self, name: str) -> bool:
        return name.casefold() in (known.casefold() for known in self.names)


class SdServer:
    """One server; thread-safe. Raises SetupError for an address that is none."""

    def __init__(self, url: str | None, *, timeout: float) -> None:
        base_url, headers = split_credentials(url or DEFAULT_URL)
        self.what = f"Stable Diffusion server {short(urlsplit(base_url).netloc)}"

        def api(seconds: float) -> HttpApi:
            return HttpApi(base_url, what=self.what, setting=SETTING, headers=headers, timeout=seconds, connections=2)

        self._rendering = api(timeout)
        self._asking = api(min(timeout, PATIENCE))
        #: Names that were found, so that each is looked up once: (kind, as typed) -> as the server wants it.
        self._found: dict[tuple[Kind, str], str] = {}
        self._reached = False
        self._lock = threading.Lock()

    def render(self, work: Literal["txt2img", "img2img"], payload: Mapping[str, Any]) -> dict[str, Any]:
        """The server's answer to one piece of work; raises a ModelError, never InDoubt: nothing was paid for."""
        reply = self._call(self._rendering, "POST", work, payload)
        if reply.status >= 300:
            raise self.error(reply)
        return self._rendering.object(reply)

    def reach(self) -> None:
        """Raise unless the server is there, lets us in and offers its API; asked until it once was."""
        if self._reached:
            return
        reply = self._call(self._asking, "GET", LISTS["model"][0])
        if reply.status in BARRED:
            raise self.error(reply)
        # Draw Things has no lists; a web page of Gradio without them is a server whose API is off.
        if reply.status in NO_ROUTE:
            page = self._asking.raw("GET", "/", accept="text/html", paid=False)
            if b"gradio" in page.body.lower():
                raise self._no_api()
        self._reached = True

    # --- names ----------------------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Names of the checkpoints; none where the server does not list them."""
        return [HASH.sub("", entry.wanted) for entry in self._list("model") or []]

    def find(self, kind: Kind, name: str) -> str:
        """The server's own spelling of a name, or the name as it is where the server has no such list.

        Raises UnsupportedRequest naming what there is.
        """
        key = (kind, name)
        with self._lock:
            if key in self._found:
                return self._found[key]
        found = self._look_up(kind, name)
        with self._lock:
            self._found[key] = found
        return found

    def _look_up(self, kind: Kind, name: str) -> str:
        entries = self._list(kind)
        built_in = _called(name, [_Entry(own, (own,)) for own in BUILT_IN.get(kind, ())])
        if built_in or entries is None:
            return built_in or name
        found = _called(name, entries)
        if found is None and kind == "sampler":
            return self._with_schedule(name, entries)
        if found is None:
            raise self._unknown(kind, name, entries)
        return found

    def _with_schedule(self, name: str, samplers: list[_Entry]) -> str:
        """ "DPM++ 2M Karras" where sampler and schedule have parted: such servers split the name themselves.

        They take an unknown name for their default without a word, so it has to be caught here.
        """
        schedules = self._list("schedule") or []
        for schedule in schedules:
            for ending in schedule.names:
                if name.casefold().endswith(" " + ending.casefold()):
                    sampler = _called(name[: -len(ending) - 1], samplers)
                    if sampler is not None:
                        return f"{sampler} {schedule.wanted}"
        raise self._unknown("sampler", name, samplers, schedules)

    def _unknown(
        self, kind: Kind, name: str, entries: list[_Entry], endings: list[_Entry] | None = None
    ) -> UnsupportedRequest:
        every = [known for entry in entries for known in entry.names]
        close = difflib.get_close_matches(name, every, n=1, cutoff=0.75)
        hint = _there_are(entries)
        if endings:
            hint += f" Each may be followed by one of: {', '.join(entry.wanted for entry in endings)}."
        if close:
            hint = f"Did you mean {close[0]!r}? {hint}"
        return UnsupportedRequest(f"{self.what} has no {kind} {name!r}.", hint=hint)

    def _list(self, kind: Kind) -> list[_Entry] | None:
        """What is on one of the server's lists; None where it has no such list."""
        path, fields = LISTS[kind]
        reply = self._call(self._asking, "GET", path)
        if reply.status in BARRED:
            raise self.error(reply)
        try:
            rows = reply.json() if reply.status < 300 else None
        except ValueError:
            return None
        if not isinstance(rows, list):
            return None
        named = [tuple(_names(row, fields)) for row in rows if isinstance(row, dict)]
        return [_Entry(names[0], names) for names in named if names]

    # --- while it renders -----------------------------------------------------------------------------------------

    def progress(self) -> Progress | None:
        """How far the image under way is; None where there is none, or the server does not say."""
        try:
            reply = self._call(self._asking, "GET", "progress?skip_current_image=true")
            said = self._asking.object(reply)
        except ModelError:
            return None
        share, state = said.get("progress"), said.get("state")
        if not isinstance(share, int | float) or not isfinite(share) or share <= 0:
            return None
        state = state if isinstance(state, dict) else {}
        return Progress(min(float(share), 1.0), _whole(state.get("sampling_step")), _whole(state.get("sampling_steps")))

    def interrupt(self) -> None:
        """Tell the server to give up what it is rendering, whoever asked for it.

        Raises UnsupportedRequest for a server that cannot.
        """
        reply = self._call(self._asking, "POST", "interrupt")
        if reply.status in NO_ROUTE:
            raise UnsupportedRequest(f"{self.what} cannot be interrupted: it finishes its image first.")
        if reply.status >= 300:
            raise self.error(reply)

    # --- calls and errors -----------------------------------------------------------------------------------------

    def _call(self, api: HttpApi, method: str, path: str, payload: Mapping[str, Any] | None = None) -> Reply:
        try:
            return api.raw(method, f"/sdapi/v1/{path}", payload=payload, paid=False)
        except Unavailable as error:
            hint = START if "cannot be reached" in error.message else SLOW if "timed out" in error.message else ""
            raise Unavailable(error.message, hint=hint) from None

    def error(self, reply: Reply) -> ModelError:
        """What a status of 300 or more means; the server's class names and FastAPI's details are read too."""
        status = reply.status
        text = reply.body[:4000].decode("utf-8", "replace")
        try:
            body: object = reply.json()
        except ValueError:
            body = text
        words = short(words_of(body, f"HTTP {status}"))
        message = f"{self.what}: {words}"
        if status < 400:
            return SetupError(f"{self.what} points to another page (HTTP {status}).", hint=LOGIN)
        if status in (401, 403):
            return SetupError(message, hint=LOGIN)
        if status in NO_ROUTE and words.casefold() in ("not found", "method not allowed", f"http {status}"):
            return self._no_api()
        if status == 422:
            return UnsupportedRequest(f"{self.what} refuses {'; '.join(_fields(body)) or words}.")
        return self._failure(text, message) or self._by_status(reply)

    def _failure(self, text: str, message: str) -> ModelError | None:
        """What a known failure of the renderer means, whatever its status."""
        said = text.casefold()
        for needles, what, hint in BROKEN:
            if any(needle in said for needle in needles):
                return BadAnswer(f"{self.what}: {what}.", hint=hint)
        if UNKNOWN.search(said) is None:
            return None
        samplers = self._list("sampler") if "sampler" in said else None
        return UnsupportedRequest(message, hint=_there_are(samplers) if samplers else "")

    def _by_status(self, reply: Reply) -> ModelError:
        error = self._rendering.error(reply)
        return Unavailable(error.message) if isinstance(error, InDoubt) else error

    def _no_api(self) -> SetupError:
        return SetupError(f"{self.what} offers no API: it was started without --api.", hint=START)

    def close(self) -> None:
        self._rendering.close()
        self._asking.close()


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The address without user and password, and the header that carries them instead.

    Raises SetupError, showing nothing of what stands before the host.
    """
    shown = url.rpartition("@")[2]
    if not is_url(url) or "@" in url.partition("://")[2].partition("/")[2]:
        raise SetupError(
            f"{short(shown)!r} is no address of a server.",
            hint=f"{SETTING} looks like http://host:7860; in a password write / as %2F, # as %23 and ? as %3F.",
        )
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/").removesuffix("/sdapi/v1")
    base_url = urlunsplit((parts.scheme, host, path, "", ""))
    if not userinfo:
        return base_url, {}
    user, _, password = userinfo.partition(":")
    token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    register(userinfo, password, unquote(password), token)
    return base_url, {"Authorization": f"Basic {token}"}


def _called(name: str, entries: list[_Entry]) -> str | None:
    return next((entry.wanted for entry in entries if entry.is_called(name)), None)


def _there_are(entries: list[_Entry]) -> str:
    have = [HASH.sub("", entry.wanted) for entry in entries]
    more = f" and {len(have) - SHOWN} more" if len(have) > SHOWN else ""
    return f"It has: {', '.join(have[:SHOWN])}{more}." if have else "It has none."


def _names(row: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[str]:
    """Every name a row of a list holds; a title also without its hash."""
    for field in fields:
        value = row.get(field)
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str) and text:
                yield text
                if HASH.search(text):
                    yield HASH.sub("", text)


def _whole(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _fields(body: object) -> Iterator[str]:
    """ "steps: value is not a valid integer" for each fault in a refusal of FastAPI."""
    detail = body.get("detail") if isinstance(body, dict) else None
    for fault in detail if isinstance(detail, list) else ():
        if isinstance(fault, dict) and isinstance(fault.get("loc"), list) and fault["loc"]:
            yield short(f"{fault['loc'][-1]}: {fault.get('msg', 'not valid')}")
