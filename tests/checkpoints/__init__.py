"""Tiny random checkpoints in the real diffusers format: built without any hub, the same for everybody.

``checkpoint("sdxl")`` is a folder that ``AutoPipelineForText2Image.from_pretrained`` loads offline and that renders
64x64 in two steps in a fraction of a second. It is built once per machine and shared by all test processes: treat it as
read-only, or ``build`` one of your own.

The real thing in small: VAEs shrink by 8, CLIP reads 77 tokens, FLUX.2 takes the hidden states of layers that deep.
Importing this package imports no torch; tests that stand on it are marked with ``needs``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    import pytest

#: What a catalog row calls them, and the same in other guises.
FAMILIES = (
    "sd",
    "sd-checked",
    "sdxl",
    "sd3",
    "flux",
    "schnell",
    "kontext",
    "flux2",
    "klein",
    "z-image",
    "qwen-image",
)
#: Those that only misbehave: a safety checker that refuses everything, a VAE of NaN, weights that are pickled.
ODD = ("sd-prude", "sdxl-nan", "sdxl-pickled")
#: Those that turn a picture into another with a strength.
IMAGE_TO_IMAGE = ("sd", "sd-checked", "sdxl", "sd3", "flux", "schnell", "z-image", "qwen-image")

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "tokenizers")


def needs(*libraries: str) -> pytest.MarkDecorator:
    """A mark for tests that need these; to look for them takes no time, to import them takes seconds."""
    import pytest

    missing = [name for name in libraries if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs the extra 'local': there is no {' and no '.join(missing)}")


def build(name: str, folder: Path) -> Path:
    """Write the checkpoint of that name into ``folder`` and return it."""
    settle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.checkpoints import families, odd

        (odd.BUILDERS if name in ODD else families.BUILDERS)[name](folder)
    return folder


@cache
def checkpoint(name: str) -> Path:
    """The folder of that checkpoint, shared and read-only; built if this machine has none yet."""
    return _shared(name, name)


@cache
def single_file(name: str, suffix: str = ".safetensors") -> Path:
    """The checkpoint "sd" or "sdxl" as one file in the layout of its first makers; ``.ckpt`` is pickled."""
    settle()
    return _shared(f"{name}{suffix}", name)


@cache
def lora(name: str, kind: str = "trained") -> Path:
    """A folder with a ``pytorch_lora_weights.safetensors`` for that checkpoint; kinds are those of ``loras``."""
    settle()
    return _shared(f"{name}-lora-{kind}", name)


@cache
def adapter(name: str) -> Path:
    """A folder like the repository h94/IP-Adapter, for the checkpoint "sd" or "sdxl"."""
    settle()
    return _shared(f"{name}-adapter", name)


@cache
def clip() -> Path:
    """A folder with a CLIP model that looks at pictures of 32x32."""
    settle()
    return _shared("clip", "clip-model")


def settle() -> None:
    """Never let a library ask the hub; and one thread only, as more of them make so small a model slower."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    torch.set_num_threads(1)


def _shared(what: str, name: str) -> Path:
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    done = root / what
    with FileLock(root / f"{what}.lock"):
        if not done.exists():
            draft = Path(tempfile.mkdtemp(prefix=f"{what}.", dir=root))
            made = _make(what, name, draft)
            made.replace(done)
            shutil.rmtree(draft, ignore_errors=True)
    return done


def _make(what: str, name: str, draft: Path) -> Path:
    target = draft / what
    if what == name:
        return build(name, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if what.endswith((".safetensors", ".ckpt")):
            from tests.checkpoints.originals import write

            return write(checkpoint(name), target)
        if what == "clip":
            from tests.checkpoints.adapters import write_clip

            return write_clip(target)
        if what == f"{name}-adapter":
            from tests.checkpoints.adapters import write as adapt

            return adapt(checkpoint(name), target)
        from tests.checkpoints.loras import KINDS

        return KINDS[what.removeprefix(f"{name}-lora-")](checkpoint(name), target)


@cache
def _root() -> Path:
    """One folder per version of the libraries and of this package."""
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(tempfile.gettempdir()) / f"tirada-checkpoints-{user}" / digest.hexdigest()[:16]
