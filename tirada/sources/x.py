"""Posts of somebody on X, through version 2 of its official interface.

https://docs.x.com/x-api/users/user-lookup-by-username and https://docs.x.com/x-api/users/get-posts
Invariant: X counts, and bills, every post that is read, so no more are asked for than are kept.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from models.backends.http import check_setup
from models.errors import BadAnswer, SetupError
from tirada.errors import NotFound, UsageError
from tirada.sources.network import INSTEAD, Network, Said
from tirada.sources.posts import POSTS_MAX, Posts, keep

BASE_URL = "https://api.x.com"
TOKEN = "X_BEARER_TOKEN"


def user_of(text: str) -> str:
    """A user name from what people type: with or without @, or the address of the profile."""
    user = re.sub(r"^https?://(?:www\.)?(?:x|twitter)\.com/", "", text.strip()).strip("@/ ")
    if not re.fullmatch(r"[A-Za-z0-9_]{1,15}", user):
        raise UsageError(f"{text!r} is no user name of X: it has at most 15 letters, digits and underscores.")
    return user


def read(text: str, token: str | None, base_url: str | None = None) -> Posts:
    """The newest posts of a user. Raises UsageError, NotFound, SetupError without a token, and other ModelErrors."""
    user = user_of(text)
    if not token:
        raise SetupError(
            "Reading posts from X needs a bearer token of its API.",
            hint=f"Put {TOKEN}=... into the environment or .env, {INSTEAD}.",
        )
    check_setup(key=token, base_url=base_url, what="X", setting=TOKEN)
    who = f"@{user}"
    with closing(Network("X", base_url or BASE_URL, setting=TOKEN, token=token)) as network:
        found = _data(network, network.get(f"2/users/by/username/{user}", {"user.fields": "protected"}), who)
        if not isinstance(found, Mapping) or not re.fullmatch(r"\d+", str(found.get("id", ""))):
            raise BadAnswer(f"X: the answer names no id for {who}.")
        if found.get("protected"):
            raise NotFound(f"{who} keeps their posts on X protected; ask for a file of them (--posts).")
        query = {"max_results": str(POSTS_MAX), "exclude": "retweets,replies", "tweet.fields": "note_tweet"}
        posts = _data(network, network.get(f"2/users/{found['id']}/tweets", query), who)
    rows = posts if isinstance(posts, list) else []
    texts = (_text(row) for row in rows if isinstance(row, Mapping))
    return keep(texts, f"{who} on X", f"{who} has no posts of their own on X.")


def _data(network: Network, said: Said, who: str) -> Any:
    """What an answer holds; X says that something is missing in an answer of status 200 too."""
    if said.status >= 300:
        raise _refused(said, who) or network.trouble(said)
    problem = next(iter(said.objects("errors")), None)
    if problem is None or said.get("data") is not None:
        return said.get("data")
    words = str(problem.get("detail") or problem.get("title") or "")
    kind = f"{problem.get('type')} {problem.get('title')}"
    if "not-found" in kind and "suspended" not in words:
        raise NotFound(f"There is no {who} on X; check the name, {INSTEAD}.")
    raise NotFound(f"X does not show the posts of {who}: {words.rstrip('.') or 'it does not say why'}.")


def _refused(said: Said, who: str) -> SetupError | NotFound | None:
    words = said.words().rstrip(".")
    if said.status == 401:
        return SetupError(f"X does not accept the token: {words}.", hint=f"Check {TOKEN}, {INSTEAD}.")
    if said.status == 403:
        return SetupError(
            f"X does not let this token read posts: {words}.",
            hint=f"The app behind {TOKEN} needs access to them; change that in X's developer console, {INSTEAD}.",
        )
    if said.status == 404:
        return NotFound(f"There is no {who} on X; check the name, {INSTEAD}.")
    return None


def _text(row: Mapping[str, Any]) -> str:
    """All of a post: what is longer than the classic 280 characters stands in its note."""
    note = row.get("note_tweet")
    whole = note.get("text") if isinstance(note, Mapping) else None
    return html.unescape(str(whole or row.get("text") or ""))
