"""What can go wrong at the front door: each mistake has its message and exit code, and loses or creates nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli_tools import TINY, Tirada, WaitingServer, endpoint, info_of, made, prompts
from tests.servers.openai_api import Fault, OpenAIServer


def dead_port() -> int:
    """A port where nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- one test per exit code -------------------------------------------------------------------------------------------


def test_exit_0_done(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--draft")
    assert result.code == 0
    assert len(result.folders) == 1
    assert info_of(result.folders[0])["status"] == "done"


def test_exit_1_failed_because_the_endpoint_is_down(tirada: Tirada) -> None:
    url = f"http://127.0.0.1:{dead_port()}/v1"
    source = prompts("in.csv", "a lighthouse")
    result = tirada("1", "--dalle", "--from", source, OPENAI_API_KEY="test-key", OPENAI_BASE_URL=url)
    assert result.code == 1
    assert "cannot be reached" in result.err
    assert f"127.0.0.1:{url.split(':')[2]}" in result.err
    assert "Traceback" not in result.err


def test_exit_1_failed_when_no_prompt_can_be_written(tirada: Tirada) -> None:
    url = f"http://127.0.0.1:{dead_port()}/v1"
    result = tirada("2", "--only-prompts", OPENAI_API_KEY="test-key", OPENAI_BASE_URL=url)
    assert result.code == 1
    assert "cannot be reached" in result.err
    assert not Path("output/batch_prompts.csv").exists()
    # Nobody took the calls: nothing was spent, and that is known.
    assert "no cost" in result.err
    assert "unknown" not in result.err


def test_exit_2_usage(tirada: Tirada) -> None:
    assert tirada("1", "0x0").code == 2


def test_exit_3_no_key(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--dalle")
    assert result.code == 3
    assert "OPENAI_API_KEY" in result.err
    assert made() == []


def test_exit_4_one_image_refused_among_others(tirada: Tirada, openai: OpenAIServer) -> None:
    source = prompts("in.csv", "a lighthouse", "something FORBIDDEN", "a heron")
    result = tirada("1", TINY, "--dalle", "--from", source, "--json")
    assert result.code == 4
    report = result.json
    assert (report["done"], report["refused"], report["failed"]) == (2, 1, 0)
    assert report["status"] == "partial"
    assert report["failures"][0]["error"] == "refused"
    assert "safety system" in report["failures"][0]["message"]
    assert sorted(info_of(Path(f))["status"] for f in report["folders"]) == ["done", "done", "failed"]
    assert openai.billed == 2


@pytest.mark.parametrize("fault", [Fault(status=429, code="insufficient_quota"), Fault(status=402)])
def test_exit_5_no_credit_left(tirada: Tirada, openai: OpenAIServer, fault: Fault) -> None:
    openai.faults.append(fault)
    source = prompts("in.csv", "a lighthouse", "a heron")
    result = tirada("1", TINY, "--dalle", "--from", source, IMAGES_IN_FLIGHT="1")
    assert result.code == 5
    assert "credit" in result.err
    assert "resume" in result.err
    assert len(openai.requests) == 1
    assert tirada("resume").code == 0
    assert openai.billed == 2


def test_exit_5_when_the_writer_has_no_credit(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults.append(Fault(status=429, code="insufficient_quota", path="chat"))
    result = tirada("3", "--only-prompts")
    assert result.code == 5
    assert tirada("resume").code == 0
    assert len(Path("output/batch_prompts.csv").read_text(encoding="utf-8").splitlines()) == 4


Start = Callable[..., "subprocess.Popen[str]"]


def interrupt_one_of_three(server: WaitingServer, start_tirada: Start) -> subprocess.Popen[str]:
    """A run of three images that was interrupted while its first was in flight."""
    source = prompts("in.csv", "a lighthouse")
    process = start_tirada("3", TINY, "--dalle", "--from", source, IMAGES_IN_FLIGHT="1", **endpoint(server))
    assert server.asked.wait(30)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:
        if "Interrupted" in line:
            return process
    raise AssertionError("the process ended without a word about the interruption")


def test_exit_130_ctrl_c_finishes_what_is_in_flight(tirada: Tirada, start_tirada: Start) -> None:
    with WaitingServer() as server:
        process = interrupt_one_of_three(server, start_tirada)
        server.go_on.set()
        assert process.stderr is not None
        assert "resume" in process.stderr.read()
        assert process.wait() == 130
        (folder,) = Path("output").glob("*-a-lighthouse-*")
        info = info_of(folder)
        assert info["status"] == "interrupted"
        assert [image["file"] for image in info["images"]] == ["01.png"]
        assert server.billed == 1
        assert tirada("resume", **endpoint(server)).code == 0
        assert server.billed == 3
        assert info_of(folder)["status"] == "done"


def test_exit_130_ctrl_c_twice_stops_at_once(tirada: Tirada, start_tirada: Start) -> None:
    with WaitingServer() as server:
        process = interrupt_one_of_three(server, start_tirada)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        server.go_on.set()
        resumed = tirada("resume", **endpoint(server))
        assert resumed.code == 0
        assert "1 image is in doubt" in resumed.err
        (folder,) = Path("output").glob("*-a-lighthouse-*")
        assert info_of(folder)["status"] == "done"
        assert len(info_of(folder)["images"]) == 3


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("1", "0x0"), "0x0 is out of range; each side must be 64 to 4096"),
        (("1", "63"), "63x63 is out of range"),
        (("1", "4097x64"), "4097x64 is out of range"),
        (("1", "10x"), "'10x' is no size"),
        (("1", "word"), "square, portrait, landscape, wide, story"),
        (("0",), "COUNT"),
        (("-1",), "COUNT must be 1 to 100,000, not -1"),
        (("100001",), "100000"),
        (("1.5",), "COUNT"),
        (("abc",), "'abc' is neither a COUNT nor a command"),
        (("histroy",), "did you mean 'history'?"),
        (("1", "--prompts", "0"), "--prompts"),
        (("1000", TINY, "--prompts", "1000"), "more than 100,000"),
        (("1", "--role", "photografer"), "Did you mean 'photographer'?"),
        (("1", "--role", "xyzzy"), "There are: artist,"),
        (("1", "--backend", "drft"), "Did you mean 'draft'?"),
        (("1", "--backend", "xyzzy"), "There are: draft, dalle"),
        (("1", "--bogus"), "--bogus"),
        (("1", "--writer", "shakespeare"), "composer"),
        (("1", "--format", "gif"), "webp"),
        (("1", "--seed", "-5"), "--seed"),
        (("1", "--language", "spanish"), "'spanish' is no language code"),
        (("1", "--language", "es"), "--writer gpt, OPENAI_API_KEY"),
        (("1", "--option", "quality"), "'quality' is not KEY=VALUE"),
        (("1", "--option", "=low"), "'=low' is not KEY=VALUE"),
        (("1", TINY, "--draft", "--option", "quality=low"), "no option 'quality'"),
        (("1", TINY, "--draft", "--model", "flux"), "'flux'"),
        (("3", "--prompts", "2", "--only-prompts"), "--prompts makes no sense with --only-prompts"),
        (("3", "--from", "missing.csv"), "'missing.csv'"),
        (("3", "--from", "missing.csv", "--role", "artist"), "--role makes no sense with --from"),
        (("3", "--from", "missing.csv", "--theme", "winter"), "--theme makes no sense with --from"),
        (("3", "--from", "missing.csv", "--writer", "gpt"), "--writer makes no sense with --from"),
        (("3", "--only-prompts", "-o", ""), "the name of the folder is empty"),
        (("history", "--output", " "), "the name of the folder is empty"),
        (("--install-completion",), "`tirada --install-completion`"),
        (("--show-completion", "bash"), "`tirada --show-completion`"),
        (("3", "--from", "."), "'.' is a folder"),
        (("rerun", "missing.json"), "'missing.json'"),
        (("rerun", "."), "'info.json'"),
        (("show", "abc"), "Nothing was made in 'output' yet"),
        (("resume",), "Nothing was made in 'output' yet"),
        (("history",), "Nothing was made in 'output' yet"),
        (("roles", "photografer"), "Did you mean 'photographer'?"),
    ],
)
def test_a_mistake_is_explained_and_leaves_no_trace(tirada: Tirada, arguments: tuple[str, ...], said: str) -> None:
    result = tirada(*arguments)
    assert result.code == 2, result.err
    assert said in " ".join(result.err.split())
    assert result.out == ""
    assert "Traceback" not in result.err
    assert made() == []


@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize("flag", ["--stable-diffusion", "--flux"])
def test_a_backend_whose_extra_is_missing(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch, flag: str, json: tuple[str, ...]
) -> None:
    monkeypatch.setattr("models.backends.diffusion.find_spec", lambda name: None)
    result = tirada("1", TINY, flag, *json)
    assert (result.code, result.out) == (3, "")
    assert "needs 'torch'. Install it: pip install -e \".[local]\"" in result.err
    assert made() == []


# --- services and models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [True, False])
def test_a_wrong_key(tirada: Tirada, openai: OpenAIServer, source: bool) -> None:
    key = "quite-the-wrong-key-4711"
    extra = ("--from", prompts("in.csv", "a lighthouse", "a heron")) if source else ()
    result = tirada("1", TINY, "--dalle", *extra, OPENAI_API_KEY=key)
    assert result.code == 3
    assert "Check OPENAI_API_KEY" in result.err
    assert key not in result.err + result.out
    assert openai.billed == openai.chats == 0


def test_a_base_url_that_is_none(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--dalle", OPENAI_BASE_URL="localhost/v1")
    assert result.code == 3
    assert "'localhost/v1' is no base URL" in result.err


@pytest.mark.parametrize("model", ["dall-e-3", "dall-e-2", "DALLE3"])
def test_a_retired_model_says_what_happened_and_what_to_use(tirada: Tirada, model: str) -> None:
    result = tirada("1", TINY, "--dalle", "--model", model, OPENAI_API_KEY="test-key")
    assert result.code == 2
    assert "was retired by its maker on 2026-05-12" in result.err
    assert "--model gpt-image-2.6-flare" in result.err
    assert made() == []


def test_an_unknown_model_of_the_official_endpoint(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--dalle", "--model", "gpt-image-2.6-flair", OPENAI_API_KEY="test-key")
    assert result.code == 2
    assert "Did you mean 'gpt-image-2.6-flare'?" in result.err
    assert made() == []


def test_a_model_that_another_endpoint_does_not_have(tirada: Tirada, openai: OpenAIServer) -> None:
    source = prompts("in.csv", "a lighthouse", "a heron")
    result = tirada("1", TINY, "--dalle", "--model", "my-own", "--from", source, IMAGES_IN_FLIGHT="1")
    assert result.code == 3
    assert "'my-own' does not exist" in result.err
    assert len(openai.requests) == 1


def test_a_backend_option_with_a_slip(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--dalle", "--option", "qualty=low", OPENAI_API_KEY="test-key")
    assert result.code == 2
    assert "Did you mean 'quality'?" in result.err
    result = tirada("1", TINY, "--dalle", "--option", "quality=best", OPENAI_API_KEY="test-key")
    assert result.code == 2
    assert "low, medium, high" in result.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("avatar", "--writer", "me"), "'--writer': 'me' is not one of 'gpt', 'composer'."),
        (("4", "--format", "gif"), "'--format': 'gif' is not one of 'png', 'jpeg', 'webp'."),
        (("collection", "0"), "it must be greater than or equal to 1"),
        (("story", "a fox", "--pages", "many"), "'--pages': it must be a whole number"),
        (("brand", "--strength", "much"), "'--strength': it must be a number"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(tirada: Tirada, typed: tuple[str, ...], said: str) -> None:
    result = tirada(*typed)
    assert result.code == 2 and not made()
    assert said in result.err and "Value error" not in result.err and "Input should" not in result.err


def test_a_row_of_the_catalog_that_contradicts_itself_is_told_in_plain_words(tirada: Tirada) -> None:
    Path("own.toml").write_text(
        '[[image]]\nid = "stable-diffusion-xl-base-1.0"\n[image.weights]\nreferences_max = 0\n', encoding="utf-8"
    )
    result = tirada("models", CATALOG_FILE="own.toml")
    assert result.code == 3 and "1.0: weights references and references_max must agree." in result.err
