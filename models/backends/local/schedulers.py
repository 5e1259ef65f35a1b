"""Samplers by the names people know, those of AUTOMATIC1111, as diffusers has them.

Invariant: a name that is not known is refused before a model is loaded, with a list of those that are.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from models.catalog import Weights
from models.errors import UnsupportedRequest

Entry = tuple[str, Mapping[str, Any]]

#: Sampler -> class of diffusers and its configuration.
SAMPLERS: Mapping[str, Entry] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "DPM++ 3M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
    "DPM++ SDE": ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "DPM++ 2S": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
    "LCM": ("LCMScheduler", {}),
    "TCD": ("TCDScheduler", {}),
}
#: The same for models of flow matching (SD 3, FLUX, Z-Image, Qwen-Image).
FLOW_SAMPLERS: Mapping[str, Entry] = {
    "Euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "Euler a": ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
    "DPM++ 2M": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "prediction_type": "flow_prediction", "use_flow_sigmas": True},
    ),
    "UniPC": ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
}
#: What may follow a sampler's name: how the noise is spread over the steps.
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "Beta": {"use_beta_sigmas": True},
    "SGM Uniform": {"timestep_spacing": "trailing"},
    "Simple": {"timestep_spacing": "trailing"},
    "Normal": {},
    "Automatic": {},
}
NO_SCHEDULES = ("DDIM", "DDPM", "PLMS", "LCM", "TCD")
FLOW_SCHEDULES = ("Karras", "Exponential", "Beta", "Simple", "Normal", "Automatic")
#: Other names of the same.
SAME = {"euler ancestral": "Euler a", "k_euler": "Euler", "k_euler_a": "Euler a", "ddim uniform": "DDIM"}
#: Families whose noise flows straight.
FLOW = ("sd3", "flux", "kontext", "flux2", "klein", "z-image", "qwen-image", "qwen-image-edit")


def find_scheduler(name: str, weights: Weights) -> Entry:
    """The class and configuration of a name such as "DPM++ 2M Karras"; raises UnsupportedRequest with what there is."""
    flow = weights.family in FLOW
    samplers = FLOW_SAMPLERS if flow else SAMPLERS
    words = " ".join(name.split()).casefold()
    words = SAME.get(words, words).casefold()
    for sampler, (kind, config) in samplers.items():
        if words == sampler.casefold():
            return kind, config
        for schedule in _schedules(sampler, flow):
            if words == f"{sampler} {schedule}".casefold():
                return kind, {**config, **_schedule(schedule, flow and kind.startswith("Flow"))}
    raise UnsupportedRequest(
        f"There is no scheduler {name!r} for this model.", hint=_what_there_is(words, samplers, flow)
    )


def _schedules(sampler: str, flow: bool) -> tuple[str, ...]:
    if flow:
        # The others compute no numbers with these.
        return FLOW_SCHEDULES if sampler == "Euler" else ()
    return () if sampler in NO_SCHEDULES else tuple(SCHEDULES)


def _schedule(name: str, flow: bool) -> Mapping[str, Any]:
    found = SCHEDULES[name]
    return {key: value for key, value in found.items() if not (flow and key == "timestep_spacing")}


def _what_there_is(words: str, samplers: Mapping[str, Entry], flow: bool) -> str:
    every = [*samplers, *(f"{one} {end}" for one in samplers for end in _schedules(one, flow))]
    close = difflib.get_close_matches(words, [one.casefold() for one in every], n=1, cutoff=0.7)
    meant = next((one for one in every if close and one.casefold() == close[0]), "")
    endings = ", ".join(FLOW_SCHEDULES if flow else SCHEDULES)
    listed = f"There are: {', '.join(samplers)}; each of the first may be followed by {endings}."
    return f"Did you mean {meant!r}? {listed}" if meant else listed


def make_scheduler(name: str | None, weights: Weights, own: Any) -> Any:
    """The scheduler of that name with the configuration of the model's ``own``; no name is a fresh one of its own."""
    if not name:
        return type(own).from_config(own.config)
    import diffusers

    kind, config = find_scheduler(name, weights)
    if weights.family not in FLOW or kind.startswith("Flow"):
        return getattr(diffusers, kind).from_config(own.config, **config)
    dynamic = bool(own.config.get("use_dynamic_shifting"))
    shift = {
        "use_dynamic_shifting": dynamic,
        "time_shift_type": "exponential",
        "flow_shift": own.config.get("shift", 1.0),
    }
    made = getattr(diffusers, kind).from_config(own.config, **config, **shift)
    set_timesteps = made.set_timesteps

    def in_flow(num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None, mu: Any = None) -> None:
        # Pipelines offer sigmas and a shift of their own also to schedulers that compute them, or want none.
        steps = len(sigmas) if num_inference_steps is None else num_inference_steps
        set_timesteps(steps, device=device, **({"mu": mu} if dynamic and mu is not None else {}))

    made.set_timesteps = in_flow
    return made
