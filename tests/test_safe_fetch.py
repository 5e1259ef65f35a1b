"""Pictures from URLs: a table of attacks, each refused before a byte leaves or before a pixel is decoded."""

from __future__ import annotations

import gzip
import io
import itertools
import shutil
import socket
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.servers.raw_host import RawHost, moved, reply
from tirada.errors import UsageError
from tirada.sources.addresses import is_public
from tirada.sources.safe_fetch import Fetcher, fetch_picture
from tirada.sources.urls import is_url, read_url

#: An address in the open, for tests in which nothing is ever sent there.
OPEN = "93.184.215.14"


def encoded(form: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(sink, form)
    return sink.getvalue()


@pytest.fixture
def host() -> Iterator[RawHost]:
    with RawHost() as host:
        host.answers["/picture"] = reply(encoded())
        yield host


def inside(host: RawHost, **changes: Any) -> Fetcher:
    """A fetcher for which this machine, and nothing else, counts as being out in the open."""
    settings: dict[str, Any] = {
        "ports": frozenset({host.port}),
        "resolve": lambda _host, _port: ["127.0.0.1"],
        "public": lambda address: str(address) == "127.0.0.1",
    }
    return Fetcher(**{**settings, **changes})


def refused(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(UsageError) as refusal:
        fetcher.fetch(url)
    return str(refusal.value)


def never(*_: Any) -> Any:
    raise AssertionError("it must not come to this")


# --- what goes well -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_picture_is_fetched(host: RawHost, form: str, extension: str) -> None:
    data = encoded(form)
    host.answers["/a%20b.png?x=%C3%A9"] = reply(data, Content_Type="text/html")
    picture = inside(host).fetch(f"http://pictures.example:{host.port}/a%20b.png?x=é#part")
    assert (picture.data, picture.extension, picture.width, picture.height) == (data, extension, 8, 6)


def test_the_host_is_told_nothing_but_the_request(host: RawHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", "netrc")
    Path("netrc").write_text("machine pictures.example login me password secret\n")
    host.answers["/first"] = moved("/picture").replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    inside(host).fetch(host.url("/first", "pictures.example"))
    for request in host.requests:
        lines = request.split("\r\n")
        assert lines[0].startswith("GET /") and lines[1] == f"Host: pictures.example:{host.port}"
        assert {line.partition(":")[0] for line in lines[2:] if line} == {
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Connection",
        }
    assert len(host.requests) == 2


def test_redirects_are_followed(host: RawHost) -> None:
    for number, status in enumerate(["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]):
        host.answers[f"/{number}"] = moved(f"{number + 1}" if number < 4 else "/picture", status)
    assert inside(host).fetch(host.url("/0")).width == 8
    host.answers["/too"] = moved("/0")
    assert "more than 5 redirects" in refused(inside(host), host.url("/too"))


def test_an_answer_in_chunks_is_put_together(host: RawHost) -> None:
    data = encoded()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:10], data[10:])) + b"0\r\n\r\n"
    host.answers["/chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert inside(host).fetch(host.url("/chunks")).data == data


# --- addresses ------------------------------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.127.255.254", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:5db8:d70e::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1",
    "2001:db8::1", "3fff::1", "5f00::1", "4000::1",
    "2a00:1450::5efe:127.0.0.1", "2a00:1450:4001:80b:0:5efe:10.0.0.1", "2a00:1450:4001:80b:200:5efe:10.0.0.1",
]  # fmt: skip
IN_THE_OPEN = ["93.184.215.14", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700:4700::1111"]
IN_THE_OPEN += ["2a00:1450:4001:80b::200e", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", IN_THE_OPEN)
def test_addresses_that_are(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_names_of_private_addresses_are_never_connected_to(address: str) -> None:
    fetcher = Fetcher(resolve=lambda *_: [address], connect=never)
    assert "no public address" in refused(fetcher, "http://pictures.example/a.png")


@pytest.mark.parametrize("found", [[OPEN, "10.0.0.1"], ["10.0.0.1", OPEN], [OPEN, "::1"], [OPEN, "nonsense"]])
def test_one_private_address_among_public_ones_is_enough(found: list[str]) -> None:
    assert "no public address" in refused(Fetcher(resolve=lambda *_: found, connect=never), "http://mixed.example/a")


HOSTS = [
    "127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "10.0.0.1",
    "192.168.0.1", "[fd00:ec2::254]", "[fe80::1]",
    "１２７.０.０.１", "①②⑦.0.0.1", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ",
]  # fmt: skip
#: Read as 127.0.0.1 by some programs and as something else by others.
AMBIGUOUS = [
    "2130706433", "0x7f000001", "0x7F.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.01", "0",
    "0x7f.0.0.1", "00000177.0.0.1", "127.0.0.0x1", "134744072", "08.08.08.08", "256.256.256.256", "1.2.3.4.5",
    "127.0.0.1..", "a..b", ".", "", "%31%32%37.0.0.1", "127.0.0.1%00.example", "[::1%25lo]", "[fe80::1%25eth0]",
    "[::1", "::1", "[v1.abc]", "a_b!c", "１２７.１",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_spellings_of_this_machine_and_its_neighbours(name: str) -> None:
    """Nothing of this is known by its spelling: the system looks it up, and what comes out is judged."""
    system: Callable[..., Any] = socket.getaddrinfo

    def resolve(host: str, port: int) -> list[str]:
        return [str(found[4][0]) for found in system(host, port, type=socket.SOCK_STREAM)]

    numeric = Fetcher(resolve=lambda host, port: resolve(host, port) if host == "localhost" else [host], connect=never)
    assert "no public address" in refused(numeric, f"http://{name}/latest/meta-data/")


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_hosts_with_more_than_one_reading(name: str) -> None:
    assert refused(Fetcher(resolve=never, connect=never), f"http://{name}/a.png")


URLS = [
    "file:///etc/passwd", "FILE:///etc/passwd", "file://localhost/etc/passwd", "ftp://pictures.example/a.png",
    "gopher://127.0.0.1:6379/_FLUSHALL", "dict://127.0.0.1:11211/stats", "ldap://pictures.example/", "jar:http://x!/a",
    "data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)", "//pictures.example/a.png", "pictures.example/a.png",
    "http:/pictures.example", "http:///a.png", "http:pictures.example",
    "http://me:secret@pictures.example/a.png", "http://pictures.example@127.0.0.1/", "http://127.0.0.1#@pictures.example@",
    "http://pictures.example\\@127.0.0.1/", "http://127.0.0.1\\.pictures.example/", "http://pictures.example/a b",
    "http://pictures\t.example/", "http://pictures.example/\r\nX-Evil: 1", "http://pict\x00ures.example/",
    "http://pictures.example:22/", "http://pictures.example:25/", "http://pictures.example:6379/",
    "http://pictures.example:0/", "http://pictures.example:99999/", "http://pictures.example:eighty/",
    "http://pictures.example/" + "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("url", [url for url in URLS if url != "http://127.0.0.1#@pictures.example@"])
def test_urls_that_are_not_followed(url: str) -> None:
    message = refused(Fetcher(resolve=never, connect=never), url)
    assert "secret" not in message and all(sign.isprintable() for sign in message)


def test_what_follows_a_sharp_is_not_the_host() -> None:
    assert read_url("http://127.0.0.1#@pictures.example").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://a.example/b.png", True),
        ("file:///a", True),
        ("data:,x", True),
        ("product.png", False),
        ("C:\\product.png", False),
        ("C:/product.png", False),
        ("a:b.png", False),
    ],
)
def test_urls_are_told_from_files(text: str, url: bool) -> None:
    assert is_url(text) == url


def test_the_real_one_refuses_this_machine(host: RawHost) -> None:
    """As it is used: with nothing changed, and a host that would answer."""
    with pytest.raises(UsageError, match="Port"):
        fetch_picture(host.url("/picture"))
    assert "127.0.0.1, which is no public address" in refused(
        Fetcher(ports=frozenset({host.port})), host.url("/picture", "localhost")
    )
    assert host.requests == []


# --- redirects and rebinding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [url for url in URLS if "//" in url and not url.startswith(("//", "http:///"))])
def test_redirects_to_what_is_not_followed(host: RawHost, url: str) -> None:
    host.answers["/away"] = moved(url.replace("\r\n", "\n").replace("\n", "\t"))
    assert refused(inside(host), host.url("/away", "pictures.example"))
    assert len(host.requests) == 1


@pytest.mark.parametrize("name", ["10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "inner.example"])
def test_redirects_to_private_addresses(host: RawHost, name: str) -> None:
    host.answers["/away"] = moved(f"http://{name}:{host.port}/latest/meta-data/")
    known = {"pictures.example": "127.0.0.1", "inner.example": "192.168.0.7"}
    fetcher = inside(host, resolve=lambda host, _port: [known.get(host, host)])
    assert "no public address" in refused(fetcher, host.url("/away", "pictures.example"))
    assert len(host.requests) == 1


def test_a_name_that_changes_its_mind_is_asked_once_per_hop(host: RawHost) -> None:
    """Rebinding: the first answer is public, every further one is not; the connection goes where the first one said."""
    answers = iter([["127.0.0.1"], *[["10.0.0.1"]] * 9])
    asked: list[str] = []
    reached: list[str] = []

    def resolve(name: str, _port: int) -> list[str]:
        asked.append(name)
        return next(answers)

    def connect(address: str, port: int, seconds: float) -> socket.socket:
        reached.append(address)
        return socket.create_connection((address, port), seconds)

    fetcher = inside(host, resolve=resolve, connect=connect)
    assert fetcher.fetch(host.url("/picture", "rebinding.example")).width == 8
    assert (asked, reached) == (["rebinding.example"], ["127.0.0.1"])
    # The second hop is judged anew.
    host.answers["/again"] = moved("/picture")
    assert "10.0.0.1, which is no public address" in refused(fetcher, host.url("/again", "rebinding.example"))
    assert reached == ["127.0.0.1"]


def test_what_counts_is_whom_the_socket_reached(host: RawHost) -> None:
    """Where something in between leads a public address to a private one."""

    def astray(_address: str, port: int, seconds: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), seconds)

    fetcher = Fetcher(ports=frozenset({host.port}), resolve=lambda *_: [OPEN], connect=astray)
    assert "127.0.0.1, which is no public address" in refused(fetcher, host.url("/picture", "pictures.example"))
    assert host.requests == []


def test_an_address_that_does_not_answer_is_passed_over(host: RawHost) -> None:
    def connect(address: str, port: int, seconds: float) -> socket.socket:
        if address == "127.0.0.2":
            raise ConnectionRefusedError("refused")
        return socket.create_connection((address, port), seconds)

    fetcher = inside(host, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"], connect=connect, public=lambda _: True)
    assert fetcher.fetch(host.url("/picture")).width == 8
    none = inside(host, resolve=lambda *_: ["127.0.0.2"], connect=connect, public=lambda _: True)
    assert "cannot be fetched from: refused" in refused(none, host.url("/picture"))
    unknown = inside(host, resolve=lambda *_: socket.getaddrinfo("nowhere.invalid", 80))
    assert "cannot be fetched from: Name or service not known" in refused(unknown, host.url("/picture", "no.example"))


# --- answers --------------------------------------------------------------------------------------------------------


def endless(start: bytes, more: bytes) -> Iterator[bytes]:
    return itertools.chain([start], itertools.repeat(more))


def png_of(width: int, height: int) -> bytes:
    """A header that claims so many pixels, and next to nothing after it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


HEAD, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS: dict[str, tuple[Callable[[], bytes | Iterator[bytes]], str]] = {
    "a body that is too long": (lambda: reply(b"x" * 5000), "sends more than"),
    "a length that is too long": (lambda: reply(b"", length=10**12), "sends more than"),
    "a length that lies": (lambda: endless(reply(b"", length=4000), b"x" * 999), "is no image"),
    "a body without end": (lambda: endless(HEAD + b"\r\n", b"x" * 999), "sends more than"),
    "chunks without end": (lambda: endless(HEAD + CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"), "sends more than"),
    "headers without end": (lambda: endless(HEAD, b"X-More: " + b"x" * 99 + b"\r\n"), "cannot be fetched"),
    "a header without end": (lambda: endless(HEAD + b"X: ", b"x" * 999), "cannot be fetched"),
    "half a body": (lambda: reply(encoded(), length=3000), "broke off"),
    "a gzip bomb": (lambda: reply(gzip.compress(bytes(10**6)), Content_Encoding="gzip"), "packed as 'gzip'"),
    "a packed transfer": (lambda: reply(b"", Transfer_Encoding="gzip, chunked"), "packed as 'gzip, chunked'"),
    "a web page": (lambda: reply(b"<!DOCTYPE html><title>Hello</title>", Content_Type="image/png"), "web page"),
    "a vector drawing": (lambda: reply(b"<?xml version='1.0'?><svg/>", Content_Type="image/png"), "SVG"),
    "a GIF": (lambda: reply(encoded("GIF"), Content_Type="image/png"), "is no image that can be read"),
    "a TIFF": (lambda: reply(encoded("TIFF"), Content_Type="image/png"), "is no image that can be read"),
    "half a header": (lambda: reply(encoded()[:20]), "is no image that can be read"),
    "nothing": (lambda: reply(b""), "is empty"),
    "a bomb": (lambda: reply(png_of(60_000, 60_000)), "too many pixels"),
    "a smaller bomb": (lambda: reply(png_of(10_000, 9_500)), "10000x9500 pixels"),
    "a picture above the limit": (lambda: reply(png_of(8000, 7000)), "8000x7000 pixels"),
    "no HTTP": (lambda: b"SSH-2.0-OpenSSH_9.6\r\n\x1b[31m\r\n", "cannot be fetched"),
    "not there": (lambda: reply(status="404 Not \x1b[31mFound"), "HTTP 404"),
    "not allowed": (lambda: reply(status="403 Forbidden"), "HTTP 403"),
    "not changed": (lambda: reply(status="304 Not Modified"), "HTTP 304"),
    "a redirect to nowhere": (lambda: reply(status="302 Found"), "HTTP 302"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ANSWERS)
def test_answers_that_are_not_taken(host: RawHost, attack: str) -> None:
    make, message = ANSWERS[attack]
    host.answers["/evil"] = make()
    said = refused(inside(host, bytes_max=4096), host.url("/evil", "pictures.example"))
    assert message in said
    assert all(sign.isprintable() for sign in said)


@pytest.mark.parametrize("path", ["/drip", "/wait", "/again"])
def test_the_time_is_for_everything_together(host: RawHost, path: str) -> None:
    """By a clock on which every look takes a second: a byte now and then holds nobody for ever."""
    ticks = itertools.count()
    host.answers["/drip"] = endless(HEAD + b"\r\n", b"x")
    host.answers["/wait"] = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    host.answers["/again"] = moved("/again")
    fetcher = inside(host, clock=lambda: float(next(ticks)), seconds=9)
    assert "took longer than 9 seconds" in refused(fetcher, host.url(path))


def test_a_lookup_that_hangs_is_left_behind(host: RawHost) -> None:
    ticks, end = iter([0.0, 29.999]), threading.Event()
    fetcher = inside(host, clock=lambda: next(ticks), resolve=lambda *_: end.wait(60))
    assert "took longer than 30 seconds" in refused(fetcher, host.url("/picture"))
    end.set()


# --- encryption -----------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate for pictures.example that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    files = (str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem"))
    subject = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-days", "2", "-out", files[0], "-keyout", files[1], *subject], check=True, capture_output=True
    )
    return files


def test_encrypted_hosts_must_be_who_they_say(certificate: tuple[str, str]) -> None:
    with RawHost(certificate) as host:
        host.answers["/picture"] = reply(encoded())
        host.answers["/down"] = moved(f"http://pictures.example:{host.port}/picture")
        url = host.url("/picture", "pictures.example", "https")
        trusting = inside(host, trust=certificate[0])
        assert trusting.fetch(url).width == 8
        assert "self-signed certificate" in refused(inside(host), url)
        assert "mismatch" in refused(trusting, url.replace("pictures.", "others."))
        assert "from https to plain http" in refused(trusting, host.url("/down", "pictures.example", "https"))


def test_a_host_that_does_not_speak_tls(host: RawHost) -> None:
    assert "cannot be fetched from" in refused(inside(host), host.url("/picture", "pictures.example", "https"))
