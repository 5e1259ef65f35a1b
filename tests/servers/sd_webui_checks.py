"""What the stand-in of an AUTOMATIC1111-style server takes, and how it refuses everything else.

Invariant: a request that passes holds known fields of the right types only; the real servers pass over unknown ones,
here they are typing errors.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from tests.servers.base import as_json

#: The fields of both kinds of work and their types.
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "cfg_scale": (int, float),
    "guidance_scale": (int, float),
    "distilled_cfg_scale": (int, float),
    "width": int,
    "height": int,
    "sampler_name": str,
    "sampler_index": str,
    "scheduler": str,
    "model": str,
    "clip_skip": int,
    "restore_faces": bool,
    "tiling": bool,
    "batch_size": int,
    "n_iter": int,
    "send_images": bool,
    "save_images": bool,
    "do_not_save_samples": bool,
    "do_not_save_grid": bool,
    "override_settings": dict,
    "override_settings_restore_afterwards": bool,
    "denoising_strength": (int, float),
}
IMG2IMG_FIELDS = {
    **FIELDS,
    "init_images": list,
    "mask": str,
    "mask_blur": int,
    "inpainting_fill": int,
    "inpaint_full_res": bool,
    "inpainting_mask_invert": int,
}
SETTINGS = {"sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers"}


class Problem(Exception):
    """An answer that is an error, on its way out of the validation."""

    def __init__(self, status: int, detail: Any, *, error: str = "HTTPException", errors: str = "") -> None:
        super().__init__(detail)
        body = {"detail": detail} if status == 422 else {"error": error, "detail": detail, "body": "", "errors": errors}
        headers = {"WWW-Authenticate": "Basic"} if status == 401 else {}
        self.answer = as_json(body, status, headers)


def invalid(field: str, message: str, kind: str = "value_error") -> Problem:
    return Problem(422, [{"loc": ["body", field], "msg": message, "type": kind}])


def _check_types(payload: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]]) -> None:
    for name, value in payload.items():
        if name not in fields:
            raise invalid(name, "extra fields not permitted", "value_error.extra")
        kinds = fields[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise invalid(name, f"value is not a valid {kinds}", "type_error")


def checked(payload: Any, *, img2img: bool) -> dict[str, Any]:
    """The request, if every field is known, of its type and in its limits; raises Problem."""
    if not isinstance(payload, dict):
        raise Problem(422, [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}])
    _check_types(payload, IMG2IMG_FIELDS if img2img else FIELDS)
    for name in ("width", "height"):
        if not 64 <= payload.get(name, 512) <= 2048 or payload.get(name, 512) % 8:
            raise invalid(name, "ensure this value is a multiple of 8 from 64 to 2048")
    for name, low, high in (("batch_size", 1, 8), ("n_iter", 1, 100), ("steps", 1, 1000), ("seed", -1, 2**32 - 1)):
        if not low <= payload.get(name, 1) <= high:
            raise invalid(name, f"ensure this value is from {low} to {high}")
    if not 0 <= payload.get("denoising_strength", 0.75) <= 1:
        raise Problem(500, "", error="AssertionError", errors="bad strength")
    for name in payload.get("override_settings", {}):
        if name not in SETTINGS:
            raise invalid("override_settings", f"there is no setting {name}")
    return payload


def check_pictures(request: Mapping[str, Any]) -> None:
    from PIL import Image

    if not request.get("init_images"):
        raise Problem(404, "Init image not found")
    wanted = (request.get("width", 512), request.get("height", 512))
    for text in (*request["init_images"], request.get("mask")):
        if text is None:
            continue
        try:
            with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
                picture.load()
                size = picture.size
        except (OSError, ValueError):
            raise Problem(500, "Invalid encoded image") from None
        if size != wanted:
            raise invalid("init_images", f"{size} would be squeezed into {wanted}")
