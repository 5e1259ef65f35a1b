"""``models pull`` and ``models list --local`` through the front door, against a hub on this machine."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import checkpoints
from tests.cli_tools import Result, Tirada, call_process, clean_environment, finish
from tests.run_tools import run
from tests.servers.base import Fault
from tests.servers.hub import Hub, Repository, checksum

pytestmark = checkpoints.needs("huggingface_hub", "torch")

NAME = "tiny/sdxl"
LARGEST = "text_encoder_2/model.safetensors"
#: What a repository has beside the files that are needed.
CLUTTER = {
    "README.md": b"# Tiny",
    "tiny.safetensors": b"all in one",
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "text_encoder/model.onnx": b"onnx",
    "vae_1_0/config.json": b"{}",
}
Pull = Callable[..., Result]


def tiny(**more: Any) -> Repository:
    return Repository(folder=checkpoints.checkpoint("sdxl"), more=CLUTTER, **more)


def needed() -> set[str]:
    return {name for name in tiny().files if name not in CLUTTER}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        server.repositories[NAME] = tiny()
        yield server


@pytest.fixture
def env(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """What leads to the stand-in, and to a cache of the test's own."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}


@pytest.fixture
def tirada_process() -> Tirada:
    """A process for each command, as the library of the hub reads its settings once; forked, to be quick."""
    return run if hasattr(os, "fork") else call_process


@pytest.fixture
def rendering_process() -> Tirada:
    """The same for one that loads a model."""
    return functools.partial(run, local=True) if hasattr(os, "fork") else call_process


@pytest.fixture
def pull(tirada_process: Tirada, env: dict[str, str]) -> Pull:
    return lambda name=NAME, *options, **more: tirada_process("models", "pull", name, *options, **{**env, **more})


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_whole(result: Result) -> Path:
    assert result.code == 0, result.err
    (folder,) = result.folders
    source = checkpoints.checkpoint("sdxl")
    assert files_in(folder) == {name: (source / name).read_bytes() for name in needed()}
    return folder


def failed(result: Result, *words: str) -> None:
    assert result.code == 3, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "http" not in result.err
    for word in words:
        assert word in result.err


# --- what works -------------------------------------------------------------------------------------------------------


def test_a_pulled_model_renders_offline(hub: Hub, pull: Pull, env: dict[str, str], rendering_process: Tirada) -> None:
    result = pull()
    folder = assert_whole(result)
    assert "licence apache-2.0" in result.err
    assert "1.88 MB in 14 files, 1.88 MB to fetch" in result.err
    for name in needed():
        assert folder.joinpath(name).is_file()
        assert name.endswith("config.json") or name == "model_index.json" or f"{name}: " in result.err
    # Of equal files one is fetched.
    assert set(hub.fetched()) <= needed()
    hub.requests.clear()
    options = ("1", "64x64", "--stable-diffusion", "--model", NAME, "--steps", "2")
    rendered = rendering_process(*options, **{**env, "HF_HUB_OFFLINE": "1"})
    assert rendered.code == 0, rendered.err
    assert (rendered.folders[0] / "01.png").is_file()
    assert "downloaded" not in rendered.err
    assert hub.requests == []


def test_what_is_not_here_is_fetched_by_the_first_run(hub: Hub, env: dict[str, str], rendering_process: Tirada) -> None:
    options = ("1", "64x64", "--stable-diffusion", "--model", NAME, "--steps", "1")
    rendered = rendering_process(*options, **env)
    assert rendered.code == 0, rendered.err
    assert "not on this machine yet: 1.88 MB are downloaded first.\n" in rendered.err
    assert f"{LARGEST}: 998 kB; " in rendered.err
    assert set(hub.fetched()) <= needed()


def test_nothing_is_fetched_twice(hub: Hub, pull: Pull) -> None:
    first = assert_whole(pull())
    hub.requests.clear()
    again = pull()
    assert assert_whole(again) == first
    assert hub.fetched() == []
    assert "all here" in again.err
    quiet = pull(NAME, "--quiet")
    assert (quiet.out, quiet.err) == (again.out, "")
    offline = pull(NAME, "--json", HF_HUB_OFFLINE="1")
    assert offline.code == 0, offline.err
    assert offline.json["path"] == str(first)
    assert "HF_HUB_OFFLINE" in offline.err


def test_a_new_revision_is_fetched_and_what_it_shares_is_not(hub: Hub, pull: Pull) -> None:
    pull()
    hub.requests.clear()
    old = hub.repositories[NAME]
    hub.repositories[NAME] = replace(old, more={**old.more, "unet/config.json": b'{"a": 1}'})
    result = pull()
    assert result.code == 0, result.err
    assert (result.folders[0] / "unet" / "config.json").read_bytes() == b'{"a": 1}'
    assert hub.fetched() == ["unet/config.json"]


def test_a_model_of_the_catalog_comes_in_its_precision(hub: Hub, pull: Pull, env: dict[str, str]) -> None:
    plain = tiny()
    halves = {
        name.replace(".safetensors", ".fp16.safetensors"): plain.read(name)
        for name in needed()
        if name.endswith(".safetensors")
    }
    hub.repositories["stabilityai/stable-diffusion-xl-base-1.0"] = replace(plain, more={**CLUTTER, **halves})
    result = pull("sdxl", "--json")
    assert result.code == 0, result.err
    answer = result.json
    assert answer["model"] == "stable-diffusion-xl-base-1.0"
    assert answer["variant"] == "fp16"
    assert answer["licence"] == "CreativeML Open RAIL++-M"
    expected = {name for name in needed() if not name.endswith(".safetensors")} | halves.keys()
    assert set(answer["files"]) == set(files_in(Path(answer["path"]))) == expected
    assert answer["bytes"] == sum(len(plain.read(name)) for name in needed())
    # The index is read before anything is counted.
    assert answer["fetched_bytes"] == answer["bytes"] - len(plain.read("model_index.json"))
    # What diffusers itself would take is the same, and offline it finds it.
    program = (
        "from diffusers import DiffusionPipeline as P; print(P.download("
        "'stabilityai/stable-diffusion-xl-base-1.0', variant='fp16', use_safetensors=True))"
    )
    own = {**env, "HF_HOME": str(Path("other").absolute())}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(**own), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(files_in(Path(done.stdout.strip()))) == expected


# --- what breaks ------------------------------------------------------------------------------------------------------


def ranges(hub: Hub) -> list[str]:
    return [request.headers["range"] for request in hub.requests if "range" in request.headers]


#: Fetches a model, but waits for a line between its look at what is here and its first step.
SLOW_PULL = """
from models.backends.local import hub

wanted, look = hub.survey({name!r}), hub.Survey.absent

def absent(survey):
    found = look(survey)
    print("looked", flush=True)
    input()
    return found

hub.Survey.absent = absent
hub.fetch(wanted)
"""


def test_what_another_pull_fetched_meanwhile_is_left_alone(
    hub: Hub, pull: Pull, env: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "slow_pull.py"
    script.write_text(SLOW_PULL.format(name=NAME))
    program = [sys.executable, str(script)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, env=clean_environment(**env), **pipes) as slow:
        assert slow.stdout.readline() == "looked\n"
        folder = assert_whole(pull())
        before = (folder / LARGEST).stat()
        hub.requests.clear()
        _, err = slow.communicate("\n")
    assert slow.returncode == 0, err
    assert hub.fetched() == []
    assert (folder / LARGEST).stat().st_ino == before.st_ino


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, pull: Pull) -> None:
    hub.faults += [Fault(truncate=True, path=LARGEST), Fault(status=503, path=LARGEST, method="GET")]
    assert_whole(pull())
    half = len(tiny().read(LARGEST)) // 2
    assert ranges(hub) == [f"bytes={half}-"] * 2


def test_ctrl_c_keeps_what_came(
    hub: Hub,
    pull: Pull,
    env: dict[str, str],
    start_tirada: Callable[..., subprocess.Popen[str]],
    tirada_process: Tirada,
    tmp_path: Path,
) -> None:
    hub.faults.append(Fault(stall=60, path=LARGEST))
    content = tiny().read(LARGEST)
    half = len(content) // 2
    coming = tmp_path / f"hf/hub/models--tiny--sdxl/blobs/{checksum(content, large=True)}.incomplete"
    process = start_tirada("models", "pull", NAME, **env)
    deadline = time.monotonic() + 60
    while not coming.exists() or coming.stat().st_size < half:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.code == 130, stopped.err
    assert f"to go on: python main.py models pull {NAME}" in stopped.err
    listed = tirada_process("models", "list", "--local", **env).out
    assert "incomplete" in listed
    hub.requests.clear()
    resumed = pull()
    assert_whole(resumed)
    # Other files, too, may have been on their way: each goes on where it stopped.
    assert ranges(hub).count(f"bytes={half}-") == 1
    listed = tirada_process("models", "list", "--local", **env).out
    assert "LAST USED" in listed
    assert "incomplete" not in listed


def test_a_hub_without_ranges_starts_the_file_again(hub: Hub, pull: Pull) -> None:
    content = tiny().read(LARGEST)
    hub.faults += [Fault(truncate=True, path=LARGEST), Fault(status=200, body=content, path=LARGEST)]
    assert_whole(pull())


def test_a_damaged_file_is_not_kept(hub: Hub, pull: Pull) -> None:
    size = len(tiny().read(LARGEST))
    hub.faults.append(Fault(status=200, body=b"\0" * size, path=LARGEST))
    failed(pull(), f"{NAME}/{LARGEST} was damaged on its way here. Try again.")
    assert_whole(pull())


def test_a_file_cut_short_on_disk_is_fetched_again(hub: Hub, pull: Pull) -> None:
    folder = assert_whole(pull())
    os.truncate(folder / LARGEST, 100)
    hub.requests.clear()
    assert_whole(pull())
    assert hub.fetched() == [LARGEST]


def test_a_gated_model_wants_a_token(hub: Hub, pull: Pull) -> None:
    hub.repositories[NAME] = tiny(gated=True)
    failed(pull(), f"{NAME} is gated", "Accept it on its page at the Hugging Face hub", "HF_TOKEN")
    failed(pull(NAME, HF_TOKEN="hf_wrong_wrong_wrong_wrong"), "is gated")
    Path(".env").write_text(f"HF_TOKEN={hub.token}\n", encoding="utf-8")
    result = pull(NAME, "--json")
    assert result.code == 0, result.err
    assert result.json["gated"] is True


def test_what_cannot_be_had_says_so(hub: Hub, pull: Pull) -> None:
    failed(pull("nobody/nothing"), "The hub has no model 'nobody/nothing', or it is private.")
    failed(pull("sdxl"), "The hub has no model 'stabilityai/stable-diffusion-xl-base-1.0'")
    failed(pull("sdxl", HF_HUB_OFFLINE="1"), "is not on this machine", "models pull stabilityai/")
    failed(pull("sdxl", HF_ENDPOINT="http://127.0.0.1:9"), "cannot be fetched", "Check the network")
    missing = pull("no-such-model")
    assert missing.code == 2
    assert "There is no image model 'no-such-model'" in missing.err
    hosted = pull("gpt-image-2")
    assert hosted.code == 2
    assert "does not render on this machine" in hosted.err
    here = pull(str(checkpoints.checkpoint("sdxl")))
    assert here.code == 2
    assert "is on this machine" in here.err


def test_the_disk_is_looked_at_first(hub: Hub, pull: Pull) -> None:
    hub.repositories[NAME] = tiny(claims={LARGEST: 10**18})
    failed(pull(), f"There is no room for {NAME}: it takes 1000000 TB, and ", "HF_HOME")
    assert LARGEST not in hub.fetched()


def test_pickled_weights_are_refused(hub: Hub, pull: Pull) -> None:
    folder = checkpoints.checkpoint("sdxl-pickled")
    hub.repositories[NAME] = Repository(folder=folder)
    failed(pull(), f"{NAME} has no safetensors files.", "--allow-pickle")
    assert not [name for name in hub.fetched() if name.endswith((".bin", ".safetensors"))]
    allowed = pull(NAME, "--allow-pickle")
    assert allowed.code == 0, allowed.err
    assert files_in(allowed.folders[0]).keys() == files_in(folder).keys()


def test_a_model_without_all_its_parts_is_not_fetched(hub: Hub, pull: Pull) -> None:
    hub.repositories[NAME] = tiny(without=frozenset({"vae/diffusion_pytorch_model.safetensors"}))
    failed(pull(), f"{NAME} is incomplete: the weights of vae cannot be found.")
    assert LARGEST not in hub.fetched()


def test_weights_that_do_not_open_are_noticed(hub: Hub, pull: Pull) -> None:
    hub.repositories[NAME] = replace(tiny(), more={**CLUTTER, LARGEST: b"<html>No</html>"})
    failed(pull(), "model.safetensors' cannot be opened")


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_is_here(hub: Hub, pull: Pull, env: dict[str, str], tirada_process: Tirada) -> None:
    empty = tirada_process("models", "list", "--local", **env)
    assert empty.code == 0
    assert "There is no model yet" in empty.out
    assert tirada_process("models", "list", "--local", "--json", **env).json == []
    hub.repositories["stable-diffusion-v1-5/stable-diffusion-v1-5"] = Repository(folder=checkpoints.checkpoint("sd"))
    assert pull("sd1.5", "--quiet").code == 0
    assert pull(NAME, "--quiet").code == 0
    listed = tirada_process("models", "list", "--local", "--json", **env).json
    assert [(one["models"], one["repository"], one["complete"]) for one in listed] == [
        ([], NAME, True),
        (["stable-diffusion-v1-5"], "stable-diffusion-v1-5/stable-diffusion-v1-5", True),
    ]
    assert listed[0]["bytes"] > 1_800_000
    assert all(Path(one["path"]).is_dir() for one in listed)
    table = tirada_process("models", "list", "--local", **env).out
    assert time.strftime("%Y-") in table
    assert "2 models, " in table


def test_without_the_extra_it_says_what_to_install(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for command in (("models", "pull", "sdxl"), ("models", "list", "--local")):
        result = tirada(*command)
        assert result.code == 3
        assert 'pip install -e ".[local]"' in result.err


def test_the_list_is_that_of_models(tirada: Tirada) -> None:
    assert tirada("models", "list").out == tirada("models").out
    assert tirada("models", "list", "--all", "--json").json == tirada("models", "--all", "--json").json
    misplaced = tirada("models", "--json", "list")
    assert misplaced.code == 2
    assert "python main.py models list --help" in misplaced.err
