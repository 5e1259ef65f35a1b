"""What can go wrong when models are rendered on one's own machine, and what becomes of the batch then."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.backends import diffusion
from models.backends.local import eight_bit, loading, memory, speed, studio
from models.catalog import load_catalog
from models.contract import GeneratedImage, ImageRequest, Lora, Notice
from models.errors import BadAnswer, ModelError, Refused, SetupError, Unavailable, UnsupportedRequest
from tests.backend_tools import ask
from tests.checkpoints import checkpoint, lora, needs, single_file
from tests.cli_tools import Tirada, info_of, prompts
from tests.run_tools import start

pytestmark = needs("diffusers")


def backend(model: str | Path | None = None, name: str = "stable-diffusion") -> diffusion.DiffusionBackend:
    return diffusion.DiffusionBackend(name, catalog=load_catalog(), model=None if model is None else str(model))


def quick(**more: Any) -> ImageRequest:
    return ask(**{"steps": 2, **more})


def one(made: diffusion.DiffusionBackend, request: ImageRequest | None = None) -> GeneratedImage | ModelError:
    (answer,) = made.generate([request or quick()])
    return answer


def refusal(made: diffusion.DiffusionBackend, request: ImageRequest | None = None) -> str:
    with pytest.raises((UnsupportedRequest, SetupError)) as raised:
        made.check(request or quick())
    return str(raised.value)


# --- memory -----------------------------------------------------------------------------------------------------------


class Allocator:
    """Lets a denoiser run only for so many images at once, and only under some plans."""

    def __init__(self, most: int, plans: tuple[str, ...] = tuple(memory.PLANS)) -> None:
        self.most, self.plans = most, plans
        self.asked: list[int] = []
        self.studio: studio.Studio | None = None

    def watch(self, made: studio.Studio) -> None:
        import torch

        forward = made.pipe.unet.forward

        def limited(sample: Any, *rest: Any, **named: Any) -> Any:
            self.asked.append(len(sample) // 2)
            if len(sample) // 2 > self.most or made.plan not in self.plans:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(sample, *rest, **named)

        made.pipe.unet.forward = limited


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Allocator]:
    def install(most: int, plans: tuple[str, ...] = tuple(memory.PLANS)) -> Allocator:
        limit, load = Allocator(most, plans), studio.Studio._load

        def loaded(self: studio.Studio) -> None:
            load(self)
            limit.watch(self)

        monkeypatch.setattr(studio.Studio, "_load", loaded)
        return limit

    return install


def test_out_of_memory_halves_the_batch_and_goes_on(tirada: Tirada, allocator: Callable[..., Allocator]) -> None:
    limit = allocator(2)
    source = prompts("in.csv", "a lighthouse")
    result = tirada(
        8, "64x64", "--stable-diffusion", "--model", checkpoint("sdxl"), "--steps", 2, "--from", source,
        "--option", "batch=8",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert limit.asked[:3] == [8, 4, 2]
    assert set(limit.asked[3:]) == {2}
    info = info_of(result.folders[0])
    assert len(info["images"]) == 8
    assert info["details"]["batch"] == "2"


def test_then_it_steps_down_the_plans(allocator: Callable[..., Allocator]) -> None:
    allocator(1, plans=("tiled",))
    made = backend(checkpoint("sdxl"))
    answers = made.generate([quick(seed=n) for n in range(2)])
    assert all(isinstance(answer, GeneratedImage) for answer in answers), answers
    assert [answer.details["memory"] for answer in answers if isinstance(answer, GeneratedImage)] == ["tiled"] * 2


def test_where_nothing_helps_it_says_so(allocator: Callable[..., Allocator]) -> None:
    allocator(0)
    answer = one(backend(checkpoint("sdxl")))
    assert isinstance(answer, UnsupportedRequest)
    assert "not enough memory for 64x64" in str(answer)


@pytest.mark.parametrize(
    ("free", "plan"), [(200.0, "card"), (11.0, "text"), (9.0, "model"), (6.0, "group"), (1.5, "tiled")]
)
def test_the_plan_follows_from_the_free_memory(free: float, plan: str) -> None:
    from models.backends.local.device import Device

    card = Device(kind="cuda", name="a card", total=24, bf16=True)
    row = load_catalog().find("image", "sdxl")
    assert row is not None and row.weights is not None
    chosen = memory.choose(row.weights, card, free=free)
    assert chosen == plan
    assert memory.need(chosen, row.weights) <= free or chosen == "tiled"


def test_8_bit_comes_last_and_only_where_a_library_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.backends.local.device import Device

    card = Device(kind="cuda", name="a card", total=24, bf16=True)
    monkeypatch.setattr(eight_bit, "_version", lambda name: ())
    assert memory.next_plan("tiled", card) is None
    monkeypatch.setattr(eight_bit, "_version", lambda name: (0, 48) if name == "bitsandbytes" else ())
    assert memory.next_plan("tiled", card) == "8bit"
    row = load_catalog().find("image", "FLUX.1-dev")
    assert row is not None and row.weights is not None
    plan = memory.choose(row.weights, card, "8bit")
    assert plan == "8bit" and memory.need(plan, row.weights) < memory.need("model", row.weights)


@pytest.mark.parametrize("library", ["torchao", "bitsandbytes"])
def test_8_bit_is_asked_of_the_library_there_is(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    import diffusers

    asked: dict[str, Any] = {}

    class Config:
        def __init__(self, *_: Any, **named: Any) -> None:
            asked.update(named)

    monkeypatch.setattr(eight_bit, "installed", lambda: library)
    monkeypatch.setattr(eight_bit, "import_module", lambda name: SimpleNamespace(Int8WeightOnlyConfig=Config))
    for name in ("TorchAoConfig", "BitsAndBytesConfig", "PipelineQuantizationConfig"):
        monkeypatch.setattr(diffusers, name, Config)
    row = load_catalog().find("image", "sdxl")
    assert row is not None and row.weights is not None
    assert isinstance(eight_bit.arguments(row.weights)["quantization_config"], Config)
    assert list(asked["quant_mapping"]) == ["unet"]

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("of another version")

    for name in ("TorchAoConfig", "BitsAndBytesConfig"):
        monkeypatch.setattr(diffusers, name, refuse)
    assert eight_bit.arguments(row.weights) == {}


def test_8_bit_floats_do_without_a_library() -> None:
    import torch

    made = backend(checkpoint("sdxl"))
    made.warm_up(quick(seed=1), 1)
    assert made._studio is not None
    denoiser = memory.denoiser(made._studio[1].pipe)
    eight_bit.finish(denoiser)
    assert torch.float8_e4m3fn in {weight.dtype for weight in denoiser.parameters()}
    assert eight_bit.name(denoiser) == "fp8"
    assert isinstance(one(made, quick(seed=1)), GeneratedImage)


# --- pictures that went wrong -----------------------------------------------------------------------------------------


def test_nan_is_a_failure_of_that_image() -> None:
    answer = one(backend(checkpoint("sdxl-nan")))
    assert isinstance(answer, BadAnswer) and "NaN" in str(answer)


def test_what_the_safety_checker_flags_is_refused() -> None:
    made = backend(checkpoint("sd-prude"))
    assert isinstance(one(made), Refused)
    answer = one(made, quick(options={"safety_checker": "false"}))
    assert isinstance(answer, GeneratedImage)
    assert answer.details["safety_checker"] == "off"
    checked = one(backend(checkpoint("sd-checked")))
    assert isinstance(checked, GeneratedImage) and checked.details["safety_checker"] == "on"


def test_an_attention_that_turns_out_not_to_work_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some take no masks, which shows when they are used."""
    monkeypatch.setattr(speed, "_worth_trying", lambda device: ("_native_cudnn",))
    load = studio.Studio._load

    def loaded(self: studio.Studio) -> None:
        load(self)
        part = self.pipe.transformer
        set_backend, forward = part.set_attention_backend, part.forward

        def refuse(*_: Any, **__: Any) -> None:
            raise ValueError("`attn_mask` is not supported for cuDNN attention.")

        def change(name: str) -> None:
            set_backend(name)
            part.forward = forward

        part.set_attention_backend, part.forward = change, refuse

    monkeypatch.setattr(studio.Studio, "_load", loaded)
    made = backend(checkpoint("sd3"))
    for _ in range(2):
        answer = one(made)
        assert isinstance(answer, GeneratedImage), answer
        assert answer.details["attention"] == "native (_native_cudnn failed)"


# --- models -----------------------------------------------------------------------------------------------------------


def test_pickled_weights_are_refused_with_the_reason() -> None:
    for model in (checkpoint("sdxl-pickled"), single_file("sd", ".ckpt")):
        said = refusal(backend(model))
        assert "can run any program" in said and "--allow-pickle" in said
    made = backend(checkpoint("sdxl-pickled"))
    allowed = quick(options={"allow_pickle": "true"})
    made.check(allowed)
    assert isinstance(one(made, allowed), GeneratedImage)


def test_models_that_are_not_there() -> None:
    assert "models pull" in refusal(backend("stable-diffusion-xl-base-1.0"))
    assert "models pull" in refusal(backend("somebody/something"))
    assert "no file or folder" in refusal(backend("./nothing.safetensors"))
    assert "Did you mean" in refusal(backend("stable-diffusion-xl-base-1.1"))
    Path("empty").mkdir()
    assert "model_index.json" in refusal(backend("empty"))
    Path("broken.safetensors").write_bytes(b"nothing of the kind")
    assert "broken one" in refusal(backend("broken.safetensors"))


def test_a_model_that_lies_here_comes_before_one_of_that_name() -> None:
    assert backend("sdxl").model_for(quick()) == "stable-diffusion-xl-base-1.0"
    Path("sdxl").mkdir()
    assert backend("sdxl").model_for(quick()) == "stable-diffusion-xl-base-1.0"
    Path("sdxl").rmdir()
    Path("sdxl").symlink_to(checkpoint("sdxl"))
    made = backend("sdxl")
    assert made.model_for(quick()) == str(checkpoint("sdxl"))
    made.check(quick())


def test_a_folder_without_weights_or_with_broken_ones(tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(checkpoint("sdxl"), tmp_path / "half")
    broken = folder / "unet" / "diffusion_pytorch_model.safetensors"
    broken.write_bytes(broken.read_bytes()[:500])
    answer = one(backend(folder))
    assert isinstance(answer, SetupError) and "cannot be loaded" in str(answer)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    assert "holds no weights" in refusal(backend(folder))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("gated", "Accept it on its page at the Hugging Face hub"),
        ("missing", "The hub has no model 'owner/model'"),
        ("disk", "no room for owner/model"),
        ("network", "Check the network"),
        ("package", "pip install torchvision"),
    ],
)
def test_errors_of_the_hub_say_what_to_do(error: str, said: str) -> None:
    import errno
    from unittest.mock import Mock

    from huggingface_hub import errors

    answer = Mock(headers={})
    raised: dict[str, Exception] = {
        "gated": errors.GatedRepoError("no", response=answer),
        "missing": errors.RepositoryNotFoundError("no", response=answer),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "network": ConnectionError("no route"),
        "package": ImportError("PixtralProcessor requires the Torchvision library but it was not found"),
    }
    with pytest.raises(SetupError) as found, loading.translated("owner/model"):
        raise raised[error]
    assert said in str(found.value)


# --- LoRAs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["strange", "foreign", "untrained"])
def test_a_lora_that_changes_nothing_is_an_error(kind: str) -> None:
    made = backend(checkpoint("sdxl"))
    answer = one(made, quick(loras=(Lora(str(lora("sdxl", kind))),)))
    assert isinstance(answer, UnsupportedRequest), answer
    assert "LoRA" in str(answer)
    assert isinstance(one(made), GeneratedImage)


def test_loras_that_are_none() -> None:
    made = backend(checkpoint("sdxl"))
    assert "no LoRA file" in refusal(made, quick(loras=(Lora("none.safetensors"),)))
    assert "no LoRA 'none'" in refusal(made, quick(loras=(Lora("none"),)))
    assert "weight" in refusal(made, quick(loras=(Lora(str(lora("sdxl")), float("nan")),)))


def test_a_weight_of_a_lora_that_is_no_number(tirada: Tirada) -> None:
    for value in (f"{lora('sdxl')}:abc", "brand.safetensors:heavy"):
        result = tirada(1, "64x64", "--stable-diffusion", "--model", checkpoint("sdxl"), "--lora", value)
        assert result.code == 2 and "is no weight; use a number" in result.err


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scheduler": "DPM++ 2M Karas"}, "Did you mean 'DPM++ 2M Karras'?"),
        ({"scheduler": "xyzzy"}, "There are: Euler, Euler a"),
        ({"options": {"cache": "fast"}}, "no step cache"),
        ({"options": {"compile": "perhaps"}}, "use one of auto, on, off"),
        ({"options": {"bach": "4"}}, "Did you mean 'batch'?"),
        ({"strength": 0.5}, "needs a start image"),
        ({"steps": 0}, "steps is 0"),
        ({"references": (Path("a.png"),)}, "no file"),
    ],
)
def test_what_cannot_be_is_refused_before_loading(change: dict[str, Any], said: str) -> None:
    assert said in refusal(backend(checkpoint("sdxl")), quick(**change))


def test_the_licence_is_said_once_and_noted() -> None:
    made = backend(name="flux")
    found = made.notices(quick(model="FLUX.1-dev"))
    assert any("not for commercial use" in one.text and one.once for one in found), found
    assert all(isinstance(one, Notice) for one in found)


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_what_is_rendered_one_by_one_is_saved_one_by_one() -> None:
    made = backend(checkpoint("sdxl"))
    assert made.capabilities.max_batch == diffusion.MAX_BATCH
    made.warm_up(quick(), 100)
    assert made.capabilities.max_batch == 1
    made.warm_up(quick(options={"batch": "16"}), 100)
    assert made.capabilities.max_batch == 16


def test_an_interruption_ends_the_image_at_its_next_step() -> None:
    made = backend(checkpoint("sdxl"))
    one(made)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(made.generate([quick(steps=900), quick(steps=900)])))
    thread.start()
    while made.progress() is None:
        time.sleep(0.005)
    seen = made.progress()
    assert seen is None or seen.steps == 900
    made.interrupt()
    thread.join(20)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert made.progress() is None
    made.interrupt()
    assert isinstance(one(made), GeneratedImage)


def test_a_run_that_is_stopped_goes_on_later(tirada: Tirada) -> None:
    model = ("--stable-diffusion", "--model", checkpoint("sdxl"))
    running = start(2, "64x64", *model, "--steps", 20, "--seed", 5, "--prompts", 2, local=True)
    while not list(Path().glob("output/*/*.png")):
        assert running.running(), running.wait().err
        time.sleep(0.02)
    running.signal(signal.SIGINT)
    stopped = running.wait()
    assert stopped.code == 130, stopped.err
    assert "To go on" in stopped.err
    result = tirada("resume")
    assert result.code == 0, result.err
    assert len(list(Path().glob("output/*/*.png"))) == 4
