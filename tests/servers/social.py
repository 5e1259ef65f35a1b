"""Stand-ins of the public interfaces of Bluesky, Mastodon and X, as far as posts of one account are read.

Each knows the accounts it is given, and answers for others, and for wrong requests, as the documented service does.
Invariant: an answer that lists posts also lists what a reader must leave out where the service would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.base import Answer, Service, as_json

MOMENT = "2026-11-02T09:30:00.000Z"


@dataclass(slots=True)
class Account:
    """Somebody with posts, newest first."""

    posts: list[str] = field(default_factory=list)
    #: Posts of others that they passed on.
    reposts: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    #: Shown to followers, or to people who are signed in, only.
    private: bool = False
    suspended: bool = False


class SocialServer(Service):
    """What the three have in common; ``accounts`` is by name as the service knows it."""

    def __init__(self, **accounts: Account) -> None:
        super().__init__()
        self.accounts = dict(accounts)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if method != "GET":
            return self.error(405)
        return self.get(parts.path, query, headers)

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        raise NotImplementedError


def _limited(query: Mapping[str, str], name: str, least: int, most: int, default: int) -> int | None:
    """The number asked for; None where the service would refuse it."""
    said = query.get(name, str(default))
    return int(said) if said.isdigit() and least <= int(said) <= most else None


# --- Bluesky ----------------------------------------------------------------------------------------------------------


class BlueskyServer(SocialServer):
    """``app.bsky.feed.getAuthorFeed`` without a key."""

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if path != "/xrpc/app.bsky.feed.getAuthorFeed":
            return as_json({"error": "MethodNotImplemented", "message": "Method Not Implemented"}, 501)
        limit = _limited(query, "limit", 1, 100, 50)
        actor = query.get("actor", "")
        if limit is None:
            return _bad("Error: limit can not be greater than 100")
        if not re.fullmatch(r"did:\S+|[\w-]+(\.[\w-]+)+", actor):
            return _bad("Error: actor must be a valid did or a handle")
        account = self.accounts.get(actor)
        if account is None:
            return _bad("Profile not found")
        if account.suspended:
            return as_json({"error": "AccountTakedown", "message": "Account has been suspended"}, 400)
        feed = [self._entry(actor, account, text) for text in account.posts]
        if query.get("filter", "posts_with_replies") == "posts_with_replies":
            feed += [self._entry(actor, account, text) for text in account.replies]
        # They come in the order of time, so a repost may be first.
        feed = [self._reposted(actor, text) for text in account.reposts] + feed
        return as_json({"feed": feed[:limit], "cursor": MOMENT})

    def error(self, status: int, code: str = "") -> Answer:
        names = {429: ("RateLimitExceeded", "Rate Limit Exceeded"), 502: ("UpstreamFailure", "Upstream Failure")}
        error, message = names.get(status, ("InternalServerError", "Internal Server Error"))
        return as_json({"error": error, "message": message}, status)

    def _entry(self, actor: str, account: Account, text: str) -> dict[str, Any]:
        labels = [{"src": "did:plc:ada", "val": "!no-unauthenticated"}] if account.private else []
        return {
            "post": {
                "uri": "at://did:plc:ada/app.bsky.feed.post/3kabc",
                "cid": "bafyreib",
                "author": {"did": "did:plc:ada", "handle": actor, "displayName": "", "labels": labels},
                "record": {"$type": "app.bsky.feed.post", "text": text, "createdAt": MOMENT, "langs": ["en"]},
                "likeCount": 3,
                "indexedAt": MOMENT,
                "labels": [],
            }
        }

    def _reposted(self, actor: str, text: str) -> dict[str, Any]:
        by = {"did": "did:plc:ada", "handle": actor}
        reason = {"$type": "app.bsky.feed.defs#reasonRepost", "by": by, "indexedAt": MOMENT}
        return {**self._entry("other.example", Account(), text), "reason": reason}


def _bad(message: str) -> Answer:
    return as_json({"error": "InvalidRequest", "message": message}, 400)


# --- Mastodon ---------------------------------------------------------------------------------------------------------


class MastodonServer(SocialServer):
    """Looking up an account, and its statuses; ``accounts`` is by user@host. ``closed`` servers show nothing."""

    closed = False

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if self.closed:
            return as_json({"error": "This API requires an authenticated user"}, 401)
        if path == "/api/v1/accounts/lookup":
            account = self.accounts.get(query.get("acct", ""))
            return self.error(404) if account is None else as_json(self._account(query["acct"], account))
        found = re.fullmatch(r"/api/v1/accounts/(\d+)/statuses", path)
        if found is None or int(found[1]) >= len(self.accounts):
            return self.error(404)
        return as_json(self._statuses(list(self.accounts.values())[int(found[1])], query))

    def error(self, status: int, code: str = "") -> Answer:
        says = {404: "Record not found", 410: "Gone", 429: "Too many requests"}
        return as_json({"error": says.get(status, "Remote data could not be fetched")}, status)

    def _account(self, acct: str, account: Account) -> dict[str, Any]:
        told = {
            "id": str(list(self.accounts).index(acct)),
            "username": acct.partition("@")[0],
            "acct": acct.partition("@")[0],
            "locked": account.private,
            "statuses_count": len(account.posts),
        }
        return {**told, "suspended": True} if account.suspended else told

    def _statuses(self, account: Account, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if account.private or account.suspended:
            return []
        rows = [self._status(text) for text in account.posts]
        if query.get("exclude_replies") != "true":
            rows = [{**self._status(text), "in_reply_to_id": "77"} for text in account.replies] + rows
        if query.get("exclude_reblogs") != "true":
            rows = [{**self._status(""), "reblog": self._status(text)} for text in account.reposts] + rows
        return rows[: _limited(query, "limit", 1, 40, 20) or 40]

    def _status(self, text: str) -> dict[str, Any]:
        paragraphs = text.replace("&", "&amp;").replace("<", "&lt;").split("\n\n")
        content = "".join(f"<p>{paragraph.replace(chr(10), '<br />')}</p>" for paragraph in paragraphs)
        return {"id": "1", "created_at": MOMENT, "visibility": "public", "in_reply_to_id": None, "content": content}


# --- X ----------------------------------------------------------------------------------------------------------------

PROBLEMS = "https://api.twitter.com/2/problems/"


class XServer(SocialServer):
    """Version 2, with the bearer token ``token``."""

    token = "x-token-of-the-test"

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if headers.get("authorization") != f"Bearer {self.token}":
            return self.error(401)
        if found := re.fullmatch(r"/2/users/by/username/(\w{1,15})", path):
            return self._user(found[1])
        found = re.fullmatch(r"/2/users/(\d+)/tweets", path)
        if found is None or int(found[1]) >= len(self.accounts):
            return self.error(404)
        limit = _limited(query, "max_results", 5, 100, 10)
        if limit is None:
            return as_json({"title": "Invalid Request", "detail": "One or more parameters was invalid."}, 400)
        return self._tweets(list(self.accounts.values())[int(found[1])], query, limit)

    def error(self, status: int, code: str = "") -> Answer:
        if status == 403:
            detail = "This app does not have the level of access that this endpoint requires."
            body = {"title": "Client Forbidden", "reason": "client-not-enrolled", "detail": detail}
            return as_json({**body, "type": f"{PROBLEMS}client-forbidden"}, 403)
        if status == 402:
            detail = "Your account does not have any credits to fulfill this request."
            return as_json({"title": "CreditsDepleted", "detail": detail, "type": f"{PROBLEMS}credits"}, 402)
        titles = {401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}
        title = titles.get(status, "Error")
        return as_json({"title": title, "type": "about:blank", "status": status, "detail": title}, status)

    def _user(self, name: str) -> Answer:
        account = self.accounts.get(name)
        if account is None or account.suspended:
            said = f"Could not find user with username: [{name}]."
            title, kind = "Not Found Error", "resource-not-found"
            if account is not None:
                said, title = f"User has been suspended: [{name}].", "Forbidden"
            error = {"value": name, "detail": said, "title": title, "resource_type": "user", "parameter": "username"}
            return as_json({"errors": [{**error, "type": f"{PROBLEMS}{kind}"}]})
        number = str(list(self.accounts).index(name))
        return as_json({"data": {"id": number, "name": name, "username": name, "protected": account.private}})

    def _tweets(self, account: Account, query: Mapping[str, str], limit: int) -> Answer:
        excluded = query.get("exclude", "").split(",")
        rows = [self._tweet(text) for text in account.posts]
        if "replies" not in excluded:
            rows = [self._tweet(f"@other {text}") for text in account.replies] + rows
        if "retweets" not in excluded:
            rows = [self._tweet(f"RT @other: {text}") for text in account.reposts] + rows
        if not rows:
            return as_json({"meta": {"result_count": 0}})
        return as_json({"data": rows[:limit], "meta": {"result_count": len(rows[:limit])}})

    def _tweet(self, text: str) -> dict[str, Any]:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        tweet: dict[str, Any] = {"id": "1", "text": escaped, "edit_history_tweet_ids": ["1"]}
        if len(escaped) > 280:
            tweet |= {"text": escaped[:275] + "…", "note_tweet": {"text": escaped}}
        return tweet
