"""A stand-in of an AUTOMATIC1111-style server: txt2img, img2img, its lists, progress and interrupt.

    with SdWebui() as server:
        requests.post(f"{server.url}/sdapi/v1/txt2img", json={"prompt": "a lighthouse"})

By hand: ``python -m tests.servers.sd_webui --port 7860 [--delay 0.2] [--login user:password] [--flavour forge]``.
Invariant: ``made`` counts every image that was rendered to its end, whether or not its answer arrived; one image is
rendered at a time, as on a GPU.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import struct
import threading
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from tests.servers.base import Answer, Fault, Service, as_json
from tests.servers.sd_webui_checks import Problem, check_pictures, checked, invalid

__all__ = ["Fault", "SdWebui"]

#: a1111: sampler and schedule have parted; unknown names become defaults without a word. old: samplers have their
#: schedule in the name; an unknown one is a 404. forge: like a1111, and an unknown checkpoint is a 500.
#: drawthings: txt2img and img2img only, and no ``info``.
Flavour = Literal["a1111", "old", "forge", "drawthings"]
MODELS = ("v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "juggernautXL.safetensors")
SAMPLERS = {"DPM++ 2M": ["k_dpmpp_2m"], "Euler a": ["k_euler_a", "k_euler_ancestral"], "Euler": ["k_euler"], "DDIM": []}
OLD_SAMPLERS = {"DPM++ 2M Karras": ["k_dpmpp_2m_ka"], "Euler a": ["k_euler_a"], "Euler": ["k_euler"]}
SCHEDULES = {"automatic": "Automatic", "karras": "Karras", "exponential": "Exponential", "sgm_uniform": "SGM Uniform"}
LORAS = ("add_detail", "pixel-art-xl")
VAES = ("vae-ft-mse-840000.safetensors",)
#: What goes wrong on a GPU, by the name of the exception.
FAILURES = {
    "OutOfMemoryError": "CUDA out of memory. Tried to allocate 4.50 GiB. GPU 0 has a total capacity of 7.78 GiB.",
    "NansException": "A tensor with all NaNs was produced in Unet. Use --disable-nan-check to disable this check.",
    "RuntimeError": "Expected all tensors to be on the same device",
}


class SdWebui(Service):
    """The server. Switches a test may set at any time: ``api``, ``login``, ``flavour``, ``loaded``, ``picture``.

    ``hold()`` keeps every image half rendered until ``release()`` or an interruption; ``started`` is set once one is.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        delay: float = 0.0,
        record: bool = True,
        api: bool = True,
        login: str = "",
        flavour: Flavour = "a1111",
    ) -> None:
        super().__init__(port=port, delay=delay, record=record)
        #: False: it was started without --api.
        self.api = api
        #: "user:password" of --api-auth.
        self.login = login
        self.flavour = flavour
        self.models = [*MODELS]
        #: The checkpoint it has loaded.
        self.loaded = MODELS[0]
        #: Sent instead of what it renders, in base64.
        self.picture = ""
        self.made = 0
        self.interruptions = 0
        self.started = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._stopped = threading.Event()
        self._gpu = threading.Lock()
        self._state = {"job_count": 0, "sampling_step": 0, "sampling_steps": 0, "interrupted": False}

    def hold(self) -> None:
        self.started.clear()
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    def __exit__(self, *exc: object) -> None:
        self.release()
        super().__exit__(*exc)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        try:
            if path == "/":
                return self._page()
            route = path.partition("?")[0]
            if not self.api or not route.startswith("/sdapi/v1/"):
                raise Problem(404, "Not Found")
            self._authorize(route, headers)
            return self._route(method, route.removeprefix("/sdapi/v1/"), payload)
        except Problem as problem:
            return problem.answer

    def error(self, status: int, code: str = "") -> Answer:
        if code in FAILURES:
            return Problem(status, "", error=code, errors=FAILURES[code]).answer
        if status == 422:
            return invalid("steps", "value is not a valid integer", "type_error.integer").answer
        return Problem(status, code or "Something went wrong").answer

    def _page(self) -> Answer:
        if self.flavour == "drawthings":
            return as_json({"model": self.loaded, "steps": 20})
        return Answer(
            body=b"<!doctype html><html><script>window.gradio_config = {};</script></html>", content_type="text/html"
        )

    def _authorize(self, route: str, headers: Mapping[str, str]) -> None:
        if not self.login or route.endswith("/progress"):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Basic":
            raise Problem(401, "Not authenticated")
        offered = base64.b64decode(token).decode()
        if offered != self.login:
            # The real servers do not say it back; whoever shows the message has to redact it.
            raise Problem(401, f"Incorrect username or password: {offered} ({token})")

    def _route(self, method: str, name: str, payload: Any) -> Answer:
        if name in ("txt2img", "img2img"):
            if method != "POST":
                raise Problem(405, "Method Not Allowed")
            return self._work(name, payload)
        found = None if self.flavour == "drawthings" else self._look_up(method, name)
        if found is None:
            raise Problem(404, "Not Found")
        return as_json(found)

    def _look_up(self, method: str, name: str) -> Any:
        match method, name:
            case "GET", "sd-models":
                return [_model(file) for file in self.models]
            case "GET", "samplers":
                return [{"name": one, "aliases": more, "options": {}} for one, more in self._samplers.items()]
            case "GET", "schedulers" if self.flavour != "old":
                return [{"name": one, "label": label, "aliases": None} for one, label in SCHEDULES.items()]
            case "GET", "loras":
                return [
                    {"name": one, "alias": one, "path": f"/loras/{one}.safetensors", "metadata": {}} for one in LORAS
                ]
            case "GET", "sd-vae":
                return [{"model_name": one, "filename": f"/vae/{one}"} for one in VAES]
            case "GET", "options":
                return {"sd_model_checkpoint": _model(self.loaded)["title"], "samples_format": "png"}
            case "GET", "progress":
                return self._progress()
            case "POST", "interrupt":
                return self._interrupt()
        return None

    @property
    def _samplers(self) -> Mapping[str, list[str]]:
        return OLD_SAMPLERS if self.flavour == "old" else SAMPLERS

    # --- rendering ------------------------------------------------------------------------------------------------

    def _work(self, name: str, payload: Any) -> Answer:
        request = checked(payload, img2img=name == "img2img")
        if name == "img2img":
            check_pictures(request)
        sampler, schedule = self._sampler(request.get("sampler_name") or request.get("sampler_index") or "Euler")
        model = self._model(request.get("override_settings", {}).get("sd_model_checkpoint"))
        seed = request.get("seed", -1)
        seed = 1234567890 if seed == -1 else seed
        count = request.get("batch_size", 1) * request.get("n_iter", 1)
        with self._gpu:
            finished = self._render(request.get("steps", 50))
        used = {**request, "seed": seed, "sampler": sampler, "schedule": request.get("scheduler", schedule)}
        pictures = [self.picture or self._picture(used, model, seed + i, finished) for i in range(count)]
        body: dict[str, Any] = {"images": pictures if request.get("send_images", True) else []}
        if self.flavour != "drawthings":
            body |= {"parameters": {}, "info": json.dumps(_info(used, model, count))}
        return as_json(body)

    def _render(self, steps: int) -> bool:
        """True when the image was rendered to its end."""
        self._stopped.clear()
        self._state.update(job_count=1, sampling_step=steps // 2, sampling_steps=steps, interrupted=False)
        self.started.set()
        self._go.wait()
        self._state.update(job_count=0, sampling_step=0)
        finished = not self._stopped.is_set()
        self.made += finished
        return finished

    def _picture(self, used: Mapping[str, Any], model: str, seed: int, finished: bool) -> str:
        size = (used.get("width", 512), used.get("height", 512))
        text = (
            f"{used.get('prompt', '')}\nNegative prompt: {used.get('negative_prompt', '')}\n"
            f"Steps: {used.get('steps', 50)}, Sampler: {used['sampler']}, Schedule type: {used['schedule']}, "
            f"CFG scale: {used.get('cfg_scale', 7.0)}, Seed: {seed}, Size: {size[0]}x{size[1]}, Model: {model}"
        )
        return base64.b64encode(_with_text(encoded(*size, seed % 8 if finished else -1), text)).decode("ascii")

    def _sampler(self, name: str) -> tuple[str, str]:
        if self.flavour == "drawthings":
            return name, ""
        if self.flavour == "old":
            if name not in OLD_SAMPLERS:
                raise Problem(404, "Sampler not found")
            return name, ""
        schedule = "Automatic"
        for one, label in SCHEDULES.items():
            if name.endswith((f" {label}", f" {one}")):
                schedule, name = label, name[: -len(label) - 1]
        return (name if name in SAMPLERS else "DPM++ 2M"), schedule

    def _model(self, wanted: str | None) -> str:
        titles = {_model(file)["title"]: file for file in self.models}
        if wanted is not None and wanted not in titles and self.flavour == "forge":
            raise Problem(500, "", error="RuntimeError", errors=f"model {wanted!r} not found")
        return titles.get(wanted or "", self.loaded).removesuffix(".safetensors")

    # --- meanwhile ------------------------------------------------------------------------------------------------

    def _progress(self) -> dict[str, Any]:
        state = dict(self._state)
        share = 0.01 + state["sampling_step"] / state["sampling_steps"] if state["job_count"] else 0.0
        return {
            "progress": min(share, 1.0),
            "eta_relative": 0.0,
            "state": state,
            "current_image": None,
            "textinfo": None,
        }

    def _interrupt(self) -> dict[str, Any]:
        self.interruptions += 1
        if self._state["job_count"]:
            self._stopped.set()
            self._go.set()
        return {}


def _model(file: str) -> dict[str, Any]:
    name = file.removesuffix(".safetensors")
    digest = f"{zlib.crc32(name.encode()):08x}00"
    return {
        "title": f"{file} [{digest}]",
        "model_name": name,
        "hash": digest,
        "sha256": None,
        "filename": f"/models/Stable-diffusion/{file}",
        "config": None,
    }


def _info(used: Mapping[str, Any], model: str, count: int) -> dict[str, Any]:
    seed = used["seed"]
    return {
        "prompt": used.get("prompt", ""),
        "negative_prompt": used.get("negative_prompt", ""),
        "seed": seed,
        "all_seeds": [seed + i for i in range(count)],
        "width": used.get("width", 512),
        "height": used.get("height", 512),
        "sampler_name": used["sampler"],
        "cfg_scale": used.get("cfg_scale", 7.0),
        "steps": used.get("steps", 50),
        "sd_model_name": model,
        "sd_model_hash": f"{zlib.crc32(model.encode()):08x}00",
        "extra_generation_params": {"Schedule type": used["schedule"]} if used["schedule"] else {},
    }


# --- pictures -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def encoded(width: int, height: int, tint: int = 0) -> bytes:
    """A real PNG of that size; grey where it was left unfinished (tint -1)."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((width, height))
    if tint < 0:
        picture = Image.new("RGB", (width, height), (127, 127, 127))
    else:
        picture = Image.merge(
            "RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.point(lambda v: 255 - v))
        )
        picture.putpixel((0, 0), (tint, tint, tint))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _with_text(png: bytes, text: str) -> bytes:
    """The PNG with a text ``parameters``, as these servers write it."""
    body = b"iTXtparameters\0\0\0\0\0" + text.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    # After the signature and IHDR, which always take 33 bytes.
    return png[:33] + chunk + png[33:]


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in of an AUTOMATIC1111-style server on localhost.")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--login", default="", help="user:password it wants")
    parser.add_argument("--flavour", choices=["a1111", "old", "forge", "drawthings"], default="a1111")
    parser.add_argument("--no-api", action="store_true", help="as if started without --api")
    options = parser.parse_args()
    server = SdWebui(
        port=options.port,
        delay=options.delay,
        login=options.login,
        flavour=options.flavour,
        api=not options.no_api,
        record=False,
    )
    login = f"{server.login}@" if server.login else ""
    with server:
        print(f"STABLE_DIFFUSION_URL={server.url.replace('://', f'://{login}')}", flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print(f"\n{server.made} images, {server.interruptions} interruptions, {server.peak} requests at once.")


if __name__ == "__main__":
    main()
