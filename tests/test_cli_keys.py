"""Keys stay out of everything that people read: output, store, info files and tracebacks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest

from models import registry
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import ModelError
from models.registry import BackendConfig, BackendRow
from tests.cli_tools import TINY, Result, Tirada, write_csv
from tests.servers.openai_api import Fault, OpenAIServer

#: Looks like nothing in particular, so that only its being known can give it away.
KEY = "plainwords-and-4711"
SETTINGS = {"OPENAI_API_KEY": KEY}


@pytest.fixture
def locked(openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    """The stand-in behind our key; it says a wrong one back, as rude as can be."""
    openai.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return openai


def assert_hidden(secret: str, *results: Result) -> None:
    for result in results:
        assert secret not in result.out
        assert secret not in result.err
    for path in Path().rglob("*"):
        if path.is_file() and path.name not in (".env", "in.csv"):
            assert secret.encode() not in path.read_bytes(), path


def lighthouse() -> Path:
    return write_csv(Path("in.csv"), ("a lighthouse",), ("a heron",), header=("prompt",))


def test_a_whole_run_and_everything_that_looks_back_on_it(tirada: Tirada, locked: OpenAIServer) -> None:
    run = tirada("2", TINY, "--dalle", "--json")
    assert run.code == 0
    assert locked.billed == 2
    looks = [
        tirada("1", TINY, "--dalle", "--dry-run"),
        tirada("history"),
        tirada("history", "--json"),
        tirada("show", run.json["run_id"], "--json"),
        tirada("doctor"),
        tirada("backends"),
        tirada("resume"),
    ]
    assert [look.code for look in looks] == [0] * len(looks)
    assert_hidden(KEY, run, *looks)


def test_a_key_from_the_env_file(tirada: Tirada, locked: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n", encoding="utf-8")
    run = tirada("1", TINY, "--dalle")
    assert run.code == 0
    assert_hidden(KEY, run, tirada("doctor"))


@pytest.mark.parametrize("writer", ["gpt", "composer"])
def test_an_endpoint_that_says_the_wrong_key_back(tirada: Tirada, locked: OpenAIServer, writer: str) -> None:
    locked.key = "another-one"
    run = tirada("1", TINY, "--dalle", "--writer", writer)
    assert run.code == 3
    assert "Incorrect API key provided: [redacted]" in run.err
    assert_hidden(KEY, run, tirada("history", "--json"), tirada("show", "", "--json"))


@pytest.mark.parametrize(
    ("key", "said", "shown"),
    [
        ("pa5s", "Wrong key pa5s, not pa5sport", "Wrong key [redacted], not pa5sport"),
        ("p*5s", "Wrong key 'p*5s'.", "Wrong key '[redacted]'."),
        ("pa5sw", "pa5sw: wrong (?key=pa5sw)", "[redacted]: wrong (?key=[redacted])"),
        # Within longer words from eight characters on.
        ("pa5sword", "Wrong: xpa5swordx", "Wrong: x[redacted]x"),
        # What servers of one's own are given for a key.
        ("ollama", "Wrong key in /home/ollama", "Wrong key in /home/ollama"),
        ("lm-studio", "lm-studio: wrong", "lm-studio: wrong"),
        ("2026", "Wrong in 2026", "Wrong in 2026"),
        ("r", "Wrong r, that r", "Wrong r, that r"),
    ],
)
def test_a_short_key_is_hidden_where_it_stands_alone(
    tirada: Tirada, locked: OpenAIServer, key: str, said: str, shown: str
) -> None:
    locked.faults += [Fault(status=401, body={"error": {"message": said}}) for _ in range(20)]
    run = tirada("1", TINY, "--dalle", "--from", lighthouse(), OPENAI_API_KEY=key)
    assert run.code == 3
    assert shown in run.err


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_endpoint_that_says_the_key_back_in_any_error(tirada: Tirada, locked: OpenAIServer, status: int) -> None:
    body = {"error": {"message": f"Trouble with {KEY}, sorry", "type": "x", "code": None, "param": None}}
    locked.faults += [Fault(status=status, body=body) for _ in range(200)]
    run = tirada("1", TINY, "--dalle", "--from", lighthouse(), "--json")
    assert run.code != 0
    assert "Trouble with [redacted], sorry" in run.out
    assert_hidden(KEY, run, tirada("show", run.json["run_id"], "--json"))


def test_an_answer_of_nonsense_that_holds_the_key(tirada: Tirada, locked: OpenAIServer) -> None:
    locked.faults += [Fault(body=f"<html>{KEY}</html>".encode()) for _ in range(16)]
    run = tirada("1", TINY, "--dalle", "--writer", "gpt")
    assert run.code != 0
    assert_hidden(KEY, run, tirada("show", "", "--json"))


@pytest.mark.parametrize("userinfo", ["someone:pa55word-long", "tok3n-and-more", "me:with@sign-inside"])
def test_credentials_inside_the_base_url(tirada: Tirada, openai: OpenAIServer, userinfo: str) -> None:
    """Whatever the service makes of them (ours is not fond of them), they are not shown."""
    secret = userinfo.rpartition(":")[2]
    url = openai.url.replace("://", f"://{userinfo}@")
    results = [
        tirada("1", TINY, "--dalle", OPENAI_BASE_URL=url),
        tirada("1", TINY, "--dalle", "--from", lighthouse(), OPENAI_BASE_URL=url),
        tirada("2", "--only-prompts", OPENAI_BASE_URL=url),
        tirada("doctor", OPENAI_BASE_URL=url),
        tirada("1", "--dalle", "--model", "xyz", OPENAI_BASE_URL=url.replace(str(openai.port), "1")),
    ]
    assert_hidden(secret, *results)
    user, _, password = userinfo.partition(":")
    assert_hidden(base64.b64encode(f"{user}:{password}".encode()).decode(), *results)


@pytest.mark.parametrize("url", ["http:/me:pa55word-long@host/v1", "me:pa55word-long@host/v1", "//pa55word-long@host"])
def test_credentials_inside_a_misspelt_base_url(tirada: Tirada, url: str) -> None:
    result = tirada("1", TINY, "--dalle", OPENAI_BASE_URL=url)
    assert result.code == 3
    assert "is no base URL" in result.err
    assert_hidden("pa55word-long", result)


def test_a_key_on_the_command_line_is_not_kept(tirada: Tirada) -> None:
    key = "sk-proj-0123456789abcdef"
    run = tirada("1", TINY, "--theme", f"my key is {key}", "--dry-run")
    assert run.code == 0
    assert_hidden(key, run)
    run = tirada("1", TINY, "--draft", "--from", lighthouse(), "--negative", key)
    assert run.code == 0
    shown = tirada("history")
    assert "[redacted]" in shown.out
    assert key not in shown.out


def test_a_key_that_cannot_be_one(tirada: Tirada) -> None:
    run = tirada("1", TINY, "--dalle", OPENAI_API_KEY="my key is 4711")
    assert run.code == 3
    assert "holds a space" in run.err
    assert_hidden("my key is 4711", run)


# --- bugs -------------------------------------------------------------------------------------------------------------


class Leaky:
    """A backend with a bug, and a loose tongue about it."""

    name = "leaky"
    capabilities = Capabilities(summary="breaks", paid=True, seeds=False, negative=False)

    def __init__(self, key: str) -> None:
        self._key = key

    def model_for(self, _request: ImageRequest) -> str:
        return "leaky"

    def check(self, request: ImageRequest) -> None:
        if "early" in request.prompt:
            raise RuntimeError(f"before the run, with {self._key}")

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        return request.width, request.height

    def price(self, _request: ImageRequest) -> None:
        return None

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        raise RuntimeError(f"while drawing {len(batch)}, with {self._key}")

    def close(self) -> None:
        return None


def build(config: BackendConfig) -> Leaky:
    return Leaky(config.settings["LEAKY_KEY"] or "")


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    row = BackendRow(
        name="leaky",
        label="Leaky",
        summary="breaks",
        target=f"{__name__}:build",
        paid=True,
        settings=("LEAKY_KEY",),
    )
    monkeypatch.setattr(registry, "BACKENDS", (*registry.BACKENDS, row))


@pytest.mark.usefixtures("leaky")
def test_the_traceback_of_a_bug_in_a_backend(tirada: Tirada) -> None:
    run = tirada("1", TINY, "--backend", "leaky", "--from", lighthouse(), LEAKY_KEY=KEY)
    assert run.code == 1
    assert "Traceback" in run.err
    assert "RuntimeError: while drawing 1, with [redacted]" in run.err
    assert_hidden(KEY, run, tirada("show", "", "--json"))


@pytest.mark.usefixtures("leaky")
def test_the_traceback_of_a_bug_before_the_run(tirada: Tirada) -> None:
    source = write_csv(Path("in.csv"), ("too early",), header=("prompt",))
    run = tirada("1", TINY, "--backend", "leaky", "--from", source, LEAKY_KEY=KEY)
    assert run.code == 1
    assert "RuntimeError: before the run, with [redacted]" in run.err
    assert "This is a bug in Tirada" in run.err
    assert_hidden(KEY, run)
