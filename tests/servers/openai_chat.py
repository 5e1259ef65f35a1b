"""The chat half of the OpenAI stand-in: what a request may say, and the concepts it invents by itself.

Invariant: the default answer is valid and different on every call, whichever way the number of concepts was asked for.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.servers.openai_shapes import shaped

FIELDS = {
    "model",
    "messages",
    "response_format",
    "reasoning_effort",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "seed",
    "stop",
    "stream",
    "store",
    "metadata",
    "user",
    "safety_identifier",
    "service_tier",
    "verbosity",
    "frequency_penalty",
    "presence_penalty",
    "prompt_cache_key",
}
ROLES = ("system", "developer", "user", "assistant")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


class ChatFault(NamedTuple):
    message: str
    code: str | None
    param: str | None


@dataclass(slots=True)
class ChatRules:
    """What this server takes; switch things off to have an older or smaller one."""

    json_schema: bool = True
    json_object: bool = True
    reasoning_effort: bool = True
    temperature: bool = True

    def fault(self, request: dict[str, Any]) -> ChatFault | None:
        """The first thing wrong with a request, or None."""
        for name in request:
            if name not in FIELDS:
                return ChatFault(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        return (
            self._parameter_fault(request)
            or _messages_fault(request.get("messages"))
            or self._format_fault(request.get("response_format"), request)
        )

    def _parameter_fault(self, request: dict[str, Any]) -> ChatFault | None:
        refused = {"max_tokens"}
        refused |= set() if self.reasoning_effort else {"reasoning_effort"}
        refused |= set() if self.temperature else {"temperature"}
        for name in sorted(refused & set(request)):
            return ChatFault(
                f"Unsupported parameter: '{name}' is not supported with this model.", "unsupported_parameter", name
            )
        effort = request.get("reasoning_effort")
        if effort is not None and effort not in EFFORTS:
            return ChatFault(f"Invalid value: '{effort}'.", "invalid_value", "reasoning_effort")
        temperature = request.get("temperature")
        if temperature is not None and not (isinstance(temperature, int | float) and 0 <= temperature <= 2):
            return ChatFault("Invalid 'temperature': not between 0 and 2.", "invalid_value", "temperature")
        if request.get("stream"):
            return ChatFault("Streaming is not part of this stand-in.", None, "stream")
        return None

    def _format_fault(self, wanted: Any, request: dict[str, Any]) -> ChatFault | None:
        if wanted is None:
            return None
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind == "text":
            return None
        if (kind == "json_schema" and self.json_schema) or (kind == "json_object" and self.json_object):
            return _schema_fault(wanted) if kind == "json_schema" else _word_fault(request)
        return ChatFault(
            f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model.",
            "response_format",
            "response_format",
        )


def _messages_fault(messages: Any) -> ChatFault | None:
    if not isinstance(messages, list) or not messages:
        return ChatFault("Invalid 'messages': a non-empty array is needed.", "invalid_type", "messages")
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return ChatFault(f"Invalid value of '{place}.role'.", "invalid_value", f"{place}.role")
        if not isinstance(message.get("content"), str | list) or not message["content"]:
            return ChatFault(f"Invalid type for '{place}.content'.", "invalid_type", f"{place}.content")
    return None


def _word_fault(request: dict[str, Any]) -> ChatFault | None:
    if "json" in json.dumps(request["messages"]).lower():
        return None
    message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
    return ChatFault(message, None, "messages")


def _schema_fault(wanted: dict[str, Any]) -> ChatFault | None:
    spec = wanted.get("json_schema")
    if not isinstance(spec, dict) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(spec.get("name", ""))):
        where = "response_format.json_schema.name"
        return ChatFault(f"Missing required parameter: '{where}'.", "missing_required_parameter", where)
    schema = spec.get("schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        message = "Invalid schema: the root must be of type 'object'."
        return ChatFault(message, "invalid_json_schema", "response_format")
    if spec.get("strict") and (problem := _not_strict(schema, "root")):
        return ChatFault(f"Invalid schema for response_format: {problem}.", "invalid_json_schema", "response_format")
    return None


def _not_strict(node: Any, where: str) -> str:
    """What strict mode would refuse: open objects, and properties that are not required."""
    if isinstance(node, list):
        return next((found for item in node if (found := _not_strict(item, where))), "")
    if not isinstance(node, dict):
        return ""
    if node.get("type") == "object":
        if node.get("additionalProperties") is not False:
            return f"in {where}, 'additionalProperties' is required to be supplied and to be false"
        if set(node.get("required", [])) != set(node.get("properties", {})):
            return f"in {where}, 'required' is required to be an array including every key in properties"
    return next((found for key, value in node.items() if (found := _not_strict(value, str(key)))), "")


# --- the answers ----------------------------------------------------------------------------------------------------


def completion(request: dict[str, Any], reply: Any) -> dict[str, Any]:
    """A whole chat completion around what the assistant says; anything but text is said as JSON."""
    content = reply if isinstance(reply, str) else json.dumps(reply)
    asked = sum(len(str(message["content"])) for message in request["messages"]) // 4 + 4
    said = len(content) // 4 + 1
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, "refusal": None},
            }
        ],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": said,
            "total_tokens": asked + said,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def default_chat(request: dict[str, Any]) -> dict[str, Any]:
    """As many new concepts as the request asks for, with a prompt where the rules name one; another shape as it is."""
    spec = (request.get("response_format") or {}).get("json_schema") or {}
    if spec.get("name", "concepts") != "concepts":
        answer: dict[str, Any] = shaped(request)
        return answer
    concepts = [invent(next(_counter)) for _ in range(wanted_count(request))]
    if '"prompt"' in str(request["messages"][0]["content"]):
        concepts = [{**one, "prompt": f"{one['description']} Ink drawing."} for one in concepts]
    return {"concepts": concepts}


def wanted_count(request: dict[str, Any]) -> int:
    """The number of concepts asked for: by the schema, or else by the last user message; 1 when neither says."""
    spec = (request.get("response_format") or {}).get("json_schema") or {}
    if bounds := _array_bounds(spec.get("schema")):
        return bounds
    said = [str(m["content"]) for m in request["messages"] if m["role"] == "user"]
    last = said[-1] if said else ""
    match = re.search(r"(\d+)(?:\s+\w+){0,3}\s+concepts?\b", last) or re.search(r"\b(\d+)\b", last)
    return min(max(int(match[1]), 1), 200) if match else 1


def _array_bounds(schema: Any) -> int:
    """``minItems`` (else ``maxItems``) of the property ``concepts``, or 0."""
    concepts = schema.get("properties", {}).get("concepts", {}) if isinstance(schema, dict) else {}
    return int(concepts.get("minItems") or concepts.get("maxItems") or 0)


def _list(text: str) -> list[str]:
    return text.split("|")


_counter = itertools.count()
_SUBJECTS = _list(
    "lighthouse|kettle|fox|orchard|violin|glacier|market|tram|heron|library|windmill|teapot|canyon|submarine|"
    "bakery|lantern|whale|greenhouse|piano|comet|tortoise|harbour|clockmaker|waterfall|carousel|typewriter|"
    "owl|vineyard|observatory|kite|blacksmith|meadow|gondola|cathedral|beekeeper|dune|accordion|swan|quarry|"
    "astronaut|pagoda|loom|squirrel|ferry|amphitheatre|telescope|jellyfish|potter|aqueduct|sailboat"
)
_KINDS = _list(
    "amber|quiet|folded|crooked|luminous|salt-worn|velvet|hollow|patient|frosted|copper|wandering|paper|"
    "drowsy|tilted|emerald|whispering|rusted|woven|pearly|restless|granite|feathered|smoky|twin|painted|"
    "forgotten|gilded|tangled|mossy"
)
_DEEDS = _list(
    "waits beside|drifts above|leans over|hides behind|glows within|rises from|rests under|turns towards|"
    "mirrors|circles"
)
_PLACES = _list(
    "a flooded square|an abandoned station|a terraced hillside|a snowbound valley|a rooftop garden|"
    "a desert crossing|a harbour of glass|an underground river|a field of poppies|a narrow alley|"
    "a coral shelf|a cliffside village|a moonlit quarry|a theatre in ruins|a bamboo forest|"
    "an island of basalt|a winter fairground|a suspended bridge"
)
_LIGHTS = _list(
    "low copper sun|thin blue dusk|lamplight through mist|hard noon shadows|green storm light|first pale dawn|"
    "candles in rows|neon after rain|silver overcast|a single spotlight|northern lights|embers and smoke"
)
_CLOSINGS = _list(
    "Fine dust hangs in the air.|Far birds cross the frame.|The ground is wet and reflective.|"
    "Everything leans west.|Tiny figures give it scale.|A red thread leads the eye.|"
    "The horizon sits very low.|Half of it is left empty."
)
_SYLLABLES = _list("ba|ce|di|fo|gu|ha|je|ki|lo|mu|na|pe|qui|ro|su|ta|ve|wi|xo|yu|za|bri|clo|dra|fle|gno")


def invent(number: int) -> dict[str, Any]:
    """Concept ``number``: always the same for a number, and alike to no other."""
    dice = random.Random(number * 7919 + 13)
    # The number itself, scattered and written in syllables, is a name: no two of 450,000 concepts can be equal.
    base = len(_SYLLABLES)
    name, rest = "", number * 301_039 % base**4
    for _ in range(4):
        rest, digit = divmod(rest, base)
        name += _SYLLABLES[digit]
    name = name.capitalize()
    kind, other, third = dice.sample(_KINDS, 3)
    subject, second, extra = dice.sample(_SUBJECTS, 3)
    place, far = dice.sample(_PLACES, 2)
    light, deed, closing = dice.choice(_LIGHTS), dice.choice(_DEEDS), dice.choice(_CLOSINGS)
    forms = (
        f"In {place}, one {kind} {subject} {deed} the {other} {second} of {name}. {light.capitalize()}. {closing}",
        f"{light.capitalize()} over {name}: each {subject} is {kind}, {other} and {third}, and {far} opens behind.",
        f"Seen from {far}, the {second} of {name} {deed} its {kind} {subject}; {light} fills {place}.",
        f"{name} keeps a {third} {extra} where {place} ends. {closing} Beyond, a {kind} {subject} {deed} nothing.",
        f"Two of them, {subject} and {extra}, both {kind}, cross {place} towards {name}, {light} on their backs.",
    )
    return {
        "title": f"{kind.capitalize()} {subject.capitalize()} of {name}",
        "description": dice.choice(forms),
        "metatags": [kind, subject, other, second, place.split(" ", 1)[1], name.lower()],
    }
