"""Posts of people: files of every shape, and the three networks as their stand-ins play them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import BadAnswer, OutOfCredit, RateLimited, SetupError, Unavailable
from tests.servers.base import Fault
from tests.servers.social import Account, BlueskyServer, MastodonServer, SocialServer, XServer
from tirada.errors import NotFound, UsageError
from tirada.sources import bluesky, mastodon, posts, x
from tirada.sources.posts import POST_MAX, POSTS_MAX, read_posts

OWN = ["I grow beans on the balcony.", "Beans again; the <blue> kind & the red."]
ADA = Account(posts=OWN, reposts=["Somebody else's words."], replies=["Yes, quite."])
HIDDEN = Account(posts=["For my friends."], private=True)
GONE = Account(posts=["I was here."], suspended=True)
SILENT = Account(reposts=["Not mine."])
#: Nothing in it is of any use.
LINKS = Account(posts=["https://example.com/1", "…"])


def written(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tweets(*rows: dict[str, Any], part: str = "tweets") -> str:
    return f"window.YTD.{part}.part0 = {json.dumps([{'tweet': row} for row in rows])}"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "One.\nTwo.\n", ["One.", "Two."]),
        ("a.txt", "One.\r\n\r\nTwo,\r\nwhich goes on.\r\n", ["One.", "Two, which goes on."]),
        ("a.txt", "\n\n  One.\nTwo.  \n\n", ["One.", "Two."]),
        ("noname", "[thread] One.\nTwo.", ["[thread] One.", "Two."]),
        ("a.txt", "{not json\nTwo", ["{not json", "Two"]),
        ("a.txt", "One.\r\nTwo.".encode("utf-16"), ["One.", "Two."]),
        ("a.txt", b"\xef\xbb\xbfAn \xc3\xa9t\xc3\xa9.", ["An été."]),
        ("a.jsonl", '{"text": "One."}\n\n{"content": "Two."}\n{"full_text": "3 &lt; 4"}\n"Four."', None),
        ("a.json", json.dumps([{"text": "One."}, {"content": "<p>Two.</p>"}, "3 < 4", "Four."]), None),
        ("posts", json.dumps({"text": "One."}) + '\n{"text": "Two."}', ["One.", "Two."]),
        ("a.json", json.dumps({"posts": [{"record": {"text": "One."}}]}), ["One."]),
        ("a.json", json.dumps({"orderedItems": [{"object": {"content": "<p>a<br>b</p>"}}]}), ["a b"]),
        ("a.json", '{"text": "All of it in one object."}', ["All of it in one object."]),
    ],
)
def test_files_of_every_shape(name: str, content: str | bytes, expected: list[str] | None) -> None:
    found = read_posts(written(name, content))
    assert list(found.texts) == (expected or ["One.", "Two.", "3 < 4", "Four."])
    assert found.origin == name


def test_an_archive_gives_the_newest_own_posts_first() -> None:
    rows = [
        {"id_str": "9", "full_text": "Old &amp; own."},
        {"id_str": "100", "full_text": "New and own. https://t.co/abc"},
        {"id_str": "101", "full_text": "RT @other: not mine"},
        {"id_str": "102", "full_text": "@other a reply", "in_reply_to_status_id_str": "5"},
    ]
    assert read_posts(written("tweets.js", tweets(*rows))).texts == ("New and own.", "Old & own.")
    # Somebody who only ever answers others has a voice too.
    assert read_posts(written("tweets.js", tweets(rows[3], part="tweet") + ";\n")).texts == ("@other a reply",)


def test_what_is_kept_is_short_and_plain() -> None:
    long = "word " * 200
    odd = "\u202eHid\u0007den\u200b steering 👩\u200d🌾 \U000e0041"
    lines = [odd, "https://example.com/only", "!!!", "One.", "one.", long, *(f"post {number}" for number in range(60))]
    found = read_posts(written("a.txt", "\n".join(lines)))
    assert found.texts[0] == "Hid den steering 👩\u200d🌾"
    assert found.texts[1] == "One."
    assert found.texts[2].endswith("word…")
    assert len(found.texts[2]) <= POST_MAX
    assert len(found.texts) == POSTS_MAX


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"caf\xe9\n", "a.txt:1: not UTF-8 text"),
        ("a.txt", b"One.\n\0\0\0", "no text file"),
        ("a.zip", b"PK\x03\x04rest", "ZIP archive; unpack it"),
        ("page.html", "\n<!DOCTYPE html><html><body><p>One.</p></body></html>", "is a web page"),
        ("page.txt", '<?xml version="1.0"?>\n<HTML lang="en"><body>One.</body></HTML>', "is a web page"),
        ("a.jsonl", '{"text": "One."}\n{"text": ', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", '{"text": "One."}\n{"words": "Two."}', "a.jsonl:2: a post is"),
        ("a.jsonl", '{"text": "One."}\n[1]', "a.jsonl:2: a post is"),
        ("a.json", '["One.", 2]', "a.json: post 2: a post is"),
        ("a.json", "[" * 100_000, "not valid JSON: nested too deeply"),
        ("tweets.js", "var tweets = [];", "no tweets.js of an archive"),
        ("tweets.js", tweets({"full_text": "One."})[:-3], "the archive is broken"),
        ("tweets.js", "window.YTD.tweets.part0 = {}", "there is no list of tweets"),
        ("like.js", tweets({"full_text": "One."}, part="like"), "holds the 'like' of an archive"),
        ("tweets.js", tweets({"id": 1}), "tweet 1: a post is"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_posts(written(name, content))
    assert says in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n", "https://example.com\n", "…\n!"])
def test_files_that_say_nothing(content: str) -> None:
    with pytest.raises(NotFound, match="holds no post"):
        read_posts(written("a.txt", content))


def test_files_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"There is no file 'absent\.txt'"):
        read_posts(Path("absent.txt"))
    with pytest.raises(NotFound, match="There is no file"):
        read_posts(Path())
    monkeypatch.setattr(posts, "FILE_MAX", 10)
    with pytest.raises(UsageError, match="larger than"):
        read_posts(written("a.txt", "Eleven bytes."))


# --- networks ---------------------------------------------------------------------------------------------------------

Asked = tuple[SocialServer, Callable[[str], posts.Posts]]


def everyone(suffix: str = "") -> dict[str, Account]:
    people = {"ada": ADA, "hidden": HIDDEN, "gone": GONE, "silent": SILENT, "links": LINKS}
    return {f"{name}{suffix}": account for name, account in people.items()}


@pytest.fixture(params=["bluesky", "mastodon", "x"])
def network(request: pytest.FixtureRequest) -> Iterator[Asked]:
    """A stand-in, and what reads the posts of somebody there by the short name."""
    kinds = {
        "bluesky": (BlueskyServer, ".bsky.social"),
        "mastodon": (MastodonServer, "@social.example"),
        "x": (XServer, ""),
    }
    kind, suffix = kinds[request.param]
    server: SocialServer = kind(**everyone(suffix))

    def read(name: str) -> posts.Posts:
        if request.param == "bluesky":
            return bluesky.read(f"{name}.bsky.social", server.url)
        if request.param == "mastodon":
            return mastodon.read(f"{name}@social.example", server.url)
        return x.read(name, XServer.token, server.url)

    with server:
        yield server, read


def test_own_posts_are_read_and_nothing_else(network: Asked) -> None:
    _, read = network
    found = read("ada")
    assert found.texts == tuple(OWN)
    assert found.origin.startswith("@ada")


@pytest.mark.parametrize("name", ["nobody", "hidden", "gone", "silent", "links"])
def test_accounts_without_anything_to_read(network: Asked, name: str) -> None:
    _, read = network
    with pytest.raises(NotFound) as caught:
        read(name)
    assert f"@{name}" in str(caught.value)


def test_what_the_services_refuse(network: Asked) -> None:
    server, read = network
    server.faults += [Fault(status=429, headers={"retry-after": "600"}), Fault(status=429), Fault(status=503)]
    with pytest.raises(RateLimited, match=r"Try again in 10 minutes, or give a file with --posts\."):
        read("ada")
    with pytest.raises(RateLimited, match="Try again later"):
        read("ada")
    with pytest.raises(Unavailable):
        read("ada")
    assert len(server.requests) == 3, "nothing is asked twice"


@pytest.mark.parametrize("name", ["x-rate-limit-reset", "ratelimit-reset"])
def test_the_moment_when_a_limit_is_lifted(name: str) -> None:
    with XServer(**everyone()) as server:
        server.faults.append(Fault(status=429, headers={name: str(int(time.time()) + 300)}))
        with pytest.raises(RateLimited, match="in 5 minutes"):
            x.read("ada", server.token, server.url)
        server.faults.append(Fault(status=429, headers={"X-RateLimit-Reset": "2020-01-01T00:00:00.000000Z"}))
        with pytest.raises(RateLimited, match="in 0 seconds"):
            x.read("ada", server.token, server.url)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(body=b"<html>hello</html>", content_type="text/html"), BadAnswer),
        (Fault(truncate=True), Unavailable),
        (Fault(cut=True), Unavailable),
        (Fault(body={"surprise": [1, {"a": 2}]}), (NotFound, BadAnswer)),
        (Fault(body=b"[]"), (NotFound, BadAnswer)),
    ],
)
def test_answers_that_are_none(network: Asked, fault: Fault, error: type[Exception]) -> None:
    server, read = network
    server.faults.append(fault)
    with pytest.raises(error):
        read("ada")


def test_an_answer_without_end_is_cut_off(network: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    server, read = network
    monkeypatch.setattr("tirada.sources.network.LARGEST", 1024 * 1024)
    server.faults.append(Fault(body=b"[" + b" " * 2_000_000 + b"]"))
    with pytest.raises(BadAnswer, match="larger than 1 MB"):
        read("ada")


def test_nothing_is_followed_elsewhere(network: Asked) -> None:
    server, read = network
    with XServer() as other:
        server.faults.append(Fault(status=302, headers={"Location": f"{other.url}/2/users/by/username/ada?a=b"}))
        with pytest.raises(SetupError, match="sends us on to"):
            read("ada")
        assert other.requests == []


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "handle"),
    [
        ("ada.bsky.social", "ada.bsky.social"),
        ("@Ada.example", "ada.example"),
        ("https://bsky.app/profile/ada.example", "ada.example"),
        ("did:plc:z72i7hdynmk6r22z27h6tvur", "did:plc:z72i7hdynmk6r22z27h6tvur"),
    ],
)
def test_bluesky_handles(typed: str, handle: str) -> None:
    assert bluesky.handle_of(typed) == handle


def test_names_that_are_none() -> None:
    with pytest.raises(UsageError, match=r"did you mean ada\.bsky\.social\?"):
        bluesky.handle_of("@ada")
    with pytest.raises(UsageError, match="no Bluesky handle"):
        bluesky.handle_of("ada lovelace!")
    for typed in ("ada", "@ada", "ada@localhost", "ada@", "a b@c.example", "ada@social.example/x?y", "ada@10.0.0.10"):
        with pytest.raises(UsageError, match="looks like user@host"):
            mastodon.account_of(typed)
    for typed in ("", "ada lovelace", "a" * 16, "ada/../b"):
        with pytest.raises(UsageError, match="no user name of X"):
            x.user_of(typed)


def test_names_as_people_type_them() -> None:
    for typed in ("ada@social.example", "@ada@Social.Example", "https://social.example/@ada"):
        assert mastodon.account_of(typed) == ("ada", "social.example")
    for typed in ("Ada_1", "@Ada_1", "https://x.com/Ada_1", "https://twitter.com/Ada_1/"):
        assert x.user_of(typed) == "Ada_1"


# --- what only one of them has ----------------------------------------------------------------------------------------


def test_x_needs_a_token_that_it_accepts() -> None:
    with pytest.raises(SetupError, match="X_BEARER_TOKEN"):
        x.read("ada", None)
    with XServer(**everyone()) as server:
        with pytest.raises(SetupError, match="does not accept the token") as caught:
            x.read("ada", "a-wrong-token-123", server.url)
        assert "a-wrong-token-123" not in str(caught.value)
        server.faults.append(Fault(status=403))
        with pytest.raises(SetupError, match=r"does not let this token read posts.*X_BEARER_TOKEN"):
            x.read("ada", server.token, server.url)
        server.faults.append(Fault(status=402))
        with pytest.raises(OutOfCredit, match=r"credits.*--posts"):
            x.read("ada", server.token, server.url)


def test_x_is_asked_for_no_more_than_is_kept() -> None:
    account = Account(posts=[f"Post {number}, {'long ' * 70}the end" for number in range(50)])
    with XServer(ada=account) as server:
        found = x.read("ada", server.token, server.url)
        assert f"max_results={POSTS_MAX}" in server.requests[-1].path
    assert len(found.texts) == POSTS_MAX
    assert all(text.endswith("the end") for text in found.texts), "long posts are read whole"


def test_suspended_and_missing_are_told_apart() -> None:
    with XServer(**everyone()) as server:
        with pytest.raises(NotFound, match="suspended"):
            x.read("gone", server.token, server.url)
        with pytest.raises(NotFound, match="There is no @nobody on X"):
            x.read("nobody", server.token, server.url)
    with BlueskyServer(**everyone(".bsky.social")) as server:
        with pytest.raises(NotFound, match="suspended"):
            bluesky.read("gone.bsky.social", server.url)
        with pytest.raises(NotFound, match=r"There is no @nobody\.bsky\.social"):
            bluesky.read("nobody.bsky.social", server.url)


def test_mastodon_servers_that_keep_to_themselves() -> None:
    with MastodonServer(**everyone("@social.example")) as server:
        server.faults.append(Fault(status=404, body=b"<html>", content_type="text/html"))
        with pytest.raises(NotFound, match="no Mastodon server"):
            mastodon.read("ada@social.example", server.url)
        server.faults.append(Fault(status=410))
        with pytest.raises(NotFound, match="not there any more"):
            mastodon.read("ada@social.example", server.url)
        server.closed = True
        with pytest.raises(NotFound, match="signed in only"):
            mastodon.read("ada@social.example", server.url)
