"""Posts of somebody on Bluesky, through the public interface that wants no key.

https://docs.bsky.app/docs/api/app-bsky-feed-get-author-feed
Invariant: who asks Bluesky to be shown to people who are signed in only is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tirada.errors import NotFound, UsageError
from tirada.sources.network import INSTEAD, Network, Said
from tirada.sources.posts import Posts, keep

BASE_URL = "https://public.api.bsky.app"
#: Reposts come along and are left out, so more are asked for than are kept.
ASKED = 100
#: The label with which people keep their posts from those who are not signed in.
SIGNED_IN_ONLY = "!no-unauthenticated"
_HANDLE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,62}")
_DID = re.compile(r"did:(?:plc|web):[A-Za-z0-9._:%-]+")


def handle_of(text: str) -> str:
    """A handle as Bluesky knows it, from what people type: with or without @, or the address of the profile."""
    handle = re.sub(r"^https?://bsky\.app/profile/", "", text.strip()).strip("@/ ")
    if _DID.fullmatch(handle):
        return handle
    handle = handle.lower()
    if not _HANDLE.fullmatch(handle):
        meant = f"{handle}.bsky.social"
        also = f"; did you mean {meant}?" if _HANDLE.fullmatch(meant) else "."
        raise UsageError(f"{text!r} is no Bluesky handle: it looks like name.bsky.social or a domain{also}")
    return handle


def read(text: str, base_url: str | None = None) -> Posts:
    """The newest posts of a handle. Raises UsageError, NotFound, and ModelErrors where the service cannot be asked."""
    handle = handle_of(text)
    who = f"@{handle}"
    query = {"actor": handle, "limit": str(ASKED), "filter": "posts_no_replies"}
    with closing(Network("Bluesky", base_url or BASE_URL, setting="BLUESKY_BASE_URL")) as network:
        said = network.get("xrpc/app.bsky.feed.getAuthorFeed", query)
        if said.status >= 300:
            raise _refused(said, who) or network.trouble(said)
    own = [entry["post"] for entry in said.objects("feed") if _is_own(entry)]
    if any(_is_for_the_signed_in(post) for post in own):
        raise NotFound(
            f"{who} shows posts to people who are signed in to Bluesky only; ask for a file of them (--posts)."
        )
    return keep(map(_text, own), f"{who} on Bluesky", f"{who} has no posts of their own on Bluesky.")


def _refused(said: Said, who: str) -> NotFound | None:
    """What a 400 says: an account that is not there, any more or at all."""
    words = said.words()
    if said.get("error") in ("AccountTakedown", "AccountDeactivated", "RepoDeactivated", "RepoTakendown"):
        return NotFound(f"The Bluesky account {who} is not shown any more: {words}.")
    if said.status in (400, 404) and re.search(r"not found|could not find|valid did or a handle|resolve", words, re.I):
        return NotFound(f"There is no {who} on Bluesky; check the handle, {INSTEAD}.")
    return None


def _is_own(entry: Mapping[str, Any]) -> bool:
    """Not one that the account passed on; a pinned one is its own."""
    why = entry.get("reason")
    reposted = isinstance(why, Mapping) and str(why.get("$type", "")).endswith("#reasonRepost")
    return isinstance(entry.get("post"), Mapping) and not reposted


def _is_for_the_signed_in(post: Mapping[str, Any]) -> bool:
    author = post.get("author")
    labels = author.get("labels") if isinstance(author, Mapping) else None
    return isinstance(labels, list) and any(
        isinstance(label, Mapping) and label.get("val") == SIGNED_IN_ONLY for label in labels
    )


def _text(post: Mapping[str, Any]) -> str:
    record = post.get("record")
    return str(record.get("text") or "") if isinstance(record, Mapping) else ""
