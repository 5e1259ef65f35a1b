"""Posts of somebody on Mastodon, through the public interface of the server the account is on.

https://docs.joinmastodon.org/methods/accounts/
Invariant: only what the server shows to everybody is read; no key is used.
"""

from __future__ import annotations

import re
from contextlib import closing

from models.errors import SetupError
from models.wire import short
from tirada.errors import NotFound, UsageError
from tirada.sources.network import INSTEAD, Network, Said
from tirada.sources.posts import POSTS_MAX, Posts, keep, without_mark_up

_ACCOUNT = re.compile(r"@?(\w(?:[\w.-]*\w)?)@((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62})", re.I)
_PROFILE = re.compile(r"https?://([^/@\s]+)/@(\w[\w.-]*)/?")


def account_of(text: str) -> tuple[str, str]:
    """(user, host) from what people type: user@host, @user@host, or the address of the profile."""
    text = text.strip()
    if profile := _PROFILE.fullmatch(text):
        text = f"{profile[2]}@{profile[1]}"
    found = _ACCOUNT.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no Mastodon account: it looks like user@host, e.g. ada@mastodon.example.")
    return found[1], found[2].lower()


def read(text: str, base_url: str | None = None) -> Posts:
    """The newest posts of an account. Raises UsageError, NotFound, and ModelErrors where its server cannot be asked.

    ``base_url`` is another server to ask than the host of the account.
    """
    user, host = account_of(text)
    who = f"@{user}@{host}"
    with closing(Network(f"Mastodon at {host}", base_url or f"https://{host}", setting="MASTODON_BASE_URL")) as network:
        found = _checked(network, network.get("api/v1/accounts/lookup", {"acct": f"{user}@{host}"}), who)
        number = str(found.get("id") or "")
        if not re.fullmatch(r"\w+", number):
            raise NotFound(f"{host} does not answer as a Mastodon server does; check the account, {INSTEAD}.")
        if found.get("suspended"):
            raise NotFound(f"The account {who} is suspended.")
        query = {"limit": str(POSTS_MAX), "exclude_reblogs": "true", "exclude_replies": "true"}
        said = _checked(network, network.get(f"api/v1/accounts/{number}/statuses", query), who)
    # Some servers that speak like Mastodon leave the parameters unheeded.
    own = [status for status in said.objects() if not status.get("reblog") and not status.get("in_reply_to_id")]
    texts = (without_mark_up(str(status.get("content") or "")) for status in own)
    return keep(texts, who, f"{who} shows no posts of their own to the public.")


def _checked(network: Network, said: Said, who: str) -> Said:
    if said.status < 300:
        return said
    if said.status < 400:
        where = short(said.reply.headers.get("location", "elsewhere").partition("?")[0])
        hint = "Set MASTODON_BASE_URL to the address of that server."
        raise SetupError(f"{network.name} sends us on to {where}.", hint=hint)
    if said.status in (401, 403, 422):
        raise NotFound(f"The server of {who} shows posts to people who are signed in only: {said.words()}.")
    if said.status == 404 and said.body is None:
        raise NotFound(f"The host of {who} is no Mastodon server; check the account, {INSTEAD}.")
    if said.status in (404, 410):
        gone = "is not there any more" if said.status == 410 else "is unknown to that server"
        raise NotFound(f"The account {who} {gone}; check it, {INSTEAD}.")
    raise network.trouble(said)
