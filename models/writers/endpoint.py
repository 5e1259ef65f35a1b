"""One text model at one OpenAI-compatible endpoint: sends a talk, pays for it, and learns what the endpoint takes.

Every server speaks its own dialect: some know JSON schemas, some only JSON, some neither; some refuse parameters. What
is refused is left out, step by step, and what worked is remembered for the next time.
Invariant: each call is reserved with the meter before it leaves and settled exactly once, whatever happens; each step
sends strictly less than the one before, so that it cannot go round in circles.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models.catalog import ModelRow
from models.contract import Memory, Meter
from models.errors import BadAnswer, InDoubt, ModelError, Refused
from models.openai_api import NO_CREDIT, POLICY, check_setup, is_official, make_client, translate
from models.redaction import redact
from models.writers.prompting import Message

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

#: How the answer's form is asked for, the strictest first.
FORMATS = ("schema", "object", "text")
EFFORTS = ("none", "minimal", "low", "medium", "high")
#: The words by which a refusal names what it refuses. "max_tokens" may be all a server calls our ceiling.
NAMED_BY = {
    "reasoning_effort": ("reasoning_effort", "reasoning.effort", "reasoning effort"),
    "max_completion_tokens": ("max_completion_tokens", "max_tokens"),
    "response_format": ("response_format", "json_schema", "json_object", "structured output", "schema", "grammar"),
}
OPTIONAL = ("max_completion_tokens", "reasoning_effort")
#: A refusal that names nothing but sounds like this is taken for the format, the newest thing we ask.
UNNAMED = ("unsupported", "not supported", "unknown parameter", "unrecognized", "not permitted", "extra_forbidden")
#: Answers to errors that have nothing to do with how we ask.
NOT_OURS = {*NO_CREDIT, *POLICY, "model_not_found", "context_length_exceeded", "invalid_api_key"}

#: Output tokens a concept typically takes, and at the very most in a script that takes a token per character.
TYPICAL_OUTPUT, MOST_OUTPUT = 130, 800
#: What a model that thinks before it answers may take on top: typically per call, and at the most.
TYPICAL_THINKING, MOST_THINKING = 500, 8000
#: UTF-8 bytes per token, on the low side: an estimate should not be too small.
BYTES_PER_TOKEN = 3.5

#: Reads any text for harm, at no cost (docs: "free to use").
MODERATION = "omni-moderation-latest"
_TEXT = {"type": "string"}
#: The parts of a concept that is written, and what one that is rewritten has on top.
PARTS: dict[str, Any] = {"title": _TEXT, "description": _TEXT, "metatags": {"type": "array", "items": _TEXT}}
PARTS_WITH_PROMPT: dict[str, Any] = {**PARTS, "prompt": _TEXT}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, how it stopped ("stop", "length", "content_filter" …), and its refusal, if it refused."""

    text: str
    finish: str
    refusal: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an endpoint takes: the form of the answer, and which optional parameters it refused."""

    format: str = "schema"
    dropped: frozenset[str] = frozenset()

    def weaker(self, parameter: str | None) -> Dialect | None:
        """The dialect without that parameter; None when there is nothing left to leave out."""
        if parameter in OPTIONAL and parameter not in self.dropped:
            return replace(self, dropped=self.dropped | {parameter})
        if parameter == "response_format" and self.format != FORMATS[-1]:
            return replace(self, format=FORMATS[FORMATS.index(self.format) + 1])
        return None


class Endpoint:
    """A text model at an endpoint. Thread-safe; the connection is made on the first call."""

    def __init__(
        self,
        *,
        key: str | None,
        base_url: str | None,
        model: str,
        row: ModelRow | None,
        meter: Meter,
        memory: Memory,
        timeout: float,
        connections: int,
    ) -> None:
        """``row`` is the model's row of the catalog, where it has one; ``timeout`` is in seconds.

        Raises SetupError for a key or a base URL that cannot be used.
        """
        self.model, self._row = model, row
        official = is_official(base_url)
        # OpenAI needs a key, however its address is written.
        check_setup(key=key, base_url=None if official else base_url)
        self._key, self._base_url, self._timeout, self._connections = key, base_url, timeout, connections
        self._meter, self._memory = meter, memory
        host = "official" if official else _host(base_url)
        self._what = "OpenAI" if official else f"The text model at {host}"
        self._memory_keys = (f"writer-format:{host}:{model}", f"writer-refused:{host}:{model}")
        self._lock = threading.Lock()
        self._client: OpenAI | None = None
        #: What the memory holds, and what the next call starts with.
        self._stored = self._recall()
        self._dialect = self._stored or Dialect()

    # --- asking -----------------------------------------------------------------------------------------------------

    def ask(self, messages: list[Message], concepts: int, *, roomier: int = 0, parts: dict[str, Any] = PARTS) -> Answer:
        """Ask for concepts; ``parts`` are theirs, as a JSON schema calls its properties. See ``ask_for``."""
        room = MOST_OUTPUT * concepts
        return self.ask_for(messages, name="concepts", schema=_concepts_of(parts), room=room, roomier=roomier)

    def ask_for(
        self, messages: list[Message], *, name: str, schema: dict[str, Any], room: int, roomier: int = 0
    ) -> Answer:
        """Send the talk and return the answer; raises ModelError.

        ``room`` is the most tokens that the answer itself takes; each ``roomier`` doubles the space there is for it.
        """
        dialect = self._dialect
        while True:
            whole = (room + (MOST_THINKING if self._thinks(dialect) else 0)) << roomier
            parameters = self._parameters(dialect, whole, name, schema)
            try:
                answer = self._send(messages, parameters, whole)
            except ModelError as error:
                weaker = dialect.weaker(refused_parameter(error.__cause__, parameters))
                if weaker is None:
                    raise
                dialect = weaker
            else:
                self._learn(dialect)
                return answer

    def moderate(self, text: str) -> list[str]:
        """The categories that OpenAI's moderation flags, which is free; raises ModelError."""
        import httpx2
        import openai

        try:
            reply = self._connect().moderations.create(model=MODERATION, input=text)
            categories = reply.results[0].categories.model_dump(by_alias=True)
            flagged = reply.results[0].flagged
        except (openai.OpenAIError, httpx2.RequestError, ValueError) as exc:
            raise translate(exc, what=f"{self._what}, moderation") from exc
        except (AttributeError, IndexError, TypeError) as exc:
            raise BadAnswer(f"{self._what}: the answer is no moderation.", hint="Check the base URL.") from exc
        return sorted(name for name, found in categories.items() if found) or (["other"] if flagged else [])

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, messages: list[Message], parameters: dict[str, Any], room: int) -> Answer:
        """One call. What is set aside for it is the most it can cost: the answer may fill its ``room`` (tokens)."""
        import httpx2
        import openai

        client = self._connect()
        asked = sum(tokens_of(message["content"]) + 4 for message in messages)
        estimate = self._cost({"input": asked, "output": room})
        call = self._meter.reserve(kind="text", model=self.model, estimate=estimate)
        create: Any = client.chat.completions.create
        cost: Decimal | None = None
        usage: dict[str, int] | None = None
        error: ModelError | None = InDoubt(f"{self._what}: the call was interrupted.")
        try:
            reply = create(model=self.model, messages=messages, **parameters)
            usage = _usage(reply)
            cost = self._cost(usage)
            answer = _read(reply, self._what)
            if usage is None:
                # Nobody counted: about as many tokens as the texts have.
                cost = self._cost({"input": asked, "output": tokens_of(answer.text)})
            error = Refused(f"{self._what}: {_line(answer.refusal)}") if answer.refusal else None
            return answer
        except (openai.OpenAIError, httpx2.RequestError, ValueError) as exc:
            error = translate(exc, what=self._what)
            cost = _cost_of_failure(error, estimate)
            raise error from exc
        except ModelError as exc:
            error = exc
            raise
        finally:
            self._meter.settle(call, cost=cost, usage=usage, error=error)

    def _connect(self) -> OpenAI:
        with self._lock:
            if self._client is None:
                self._client = make_client(
                    key=self._key, base_url=self._base_url, timeout=self._timeout, connections=self._connections
                )
            return self._client

    def _parameters(self, dialect: Dialect, room: int, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Everything but model and messages. No temperature: thinking models refuse it, and the briefs vary enough."""
        wanted: dict[str, Any] = {"max_completion_tokens": room, "reasoning_effort": self._effort}
        parameters = {name: value for name, value in wanted.items() if value and name not in dialect.dropped}
        if dialect.format == "schema":
            form = {"name": name, "strict": True, "schema": schema}
            parameters["response_format"] = {"type": "json_schema", "json_schema": form}
        elif dialect.format == "object":
            parameters["response_format"] = {"type": "json_object"}
        return parameters

    @property
    def _effort(self) -> str:
        """The least effort the catalog knows for the model; "" for unknown models and those that have none."""
        known = self._row.reasoning if self._row else ()
        return next((effort for effort in EFFORTS if effort in known), "")

    def _thinks(self, dialect: Dialect) -> bool:
        """Whether the model may think before it answers, which takes room."""
        if self._row is None or self._effort not in ("", "none"):
            return True
        return bool(self._effort) and "reasoning_effort" in dialect.dropped

    # --- learning ---------------------------------------------------------------------------------------------------

    def _recall(self) -> Dialect | None:
        form, refused = (self._memory.recall(key) for key in self._memory_keys)
        if form not in FORMATS:
            return None
        return Dialect(form, frozenset((refused or "").split()) & frozenset(OPTIONAL))

    def _learn(self, dialect: Dialect) -> None:
        """Start with what worked from now on, in this process and the next."""
        with self._lock:
            before, self._stored = self._stored, dialect
            self._dialect = dialect
        if dialect != before:
            self._memory.remember(self._memory_keys[0], dialect.format)
            if dialect.dropped != (before.dropped if before else frozenset()):
                self._memory.remember(self._memory_keys[1], " ".join(sorted(dialect.dropped)))

    # --- money ------------------------------------------------------------------------------------------------------

    def estimate(self, input_tokens: int, concepts: int) -> Decimal | None:
        """Expected USD of a call; None when the price of the model is unknown."""
        return self.price(input_tokens, TYPICAL_OUTPUT * concepts)

    def price(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Expected USD of a call whose answer has that many tokens; None when the price of the model is unknown."""
        thinking = TYPICAL_THINKING if self._thinks(self._dialect) else 0
        return self._cost({"input": input_tokens, "output": output_tokens + thinking})

    def _cost(self, usage: dict[str, int] | None) -> Decimal | None:
        if self._row is None or usage is None:
            return None
        if usage.get("cached") and "cached" not in self._row.per_million:
            usage = {"input": usage["input"] + usage["cached"], "output": usage["output"]}
        return self._row.cost(usage)


def _concepts_of(parts: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an answer: concepts of these parts.

    Without minItems and maxItems: not every strict mode knows them (Azure's does not), and one schema for every number
    of concepts is compiled once. The number is in the text.
    """
    concept = {"type": "object", "properties": parts, "required": [*parts], "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"concepts": {"type": "array", "items": concept}},
        "required": ["concepts"],
        "additionalProperties": False,
    }


def refused_parameter(exc: BaseException | None, sent: dict[str, Any]) -> str | None:
    """The parameter, of those sent, that an answer of 400, 404 or 422 refuses; None when it is about something else."""
    import openai

    if not isinstance(exc, openai.APIStatusError) or exc.status_code not in (400, 404, 422) or exc.code in NOT_OURS:
        return None
    if (param := str(exc.param or "")) and (top := param.partition(".")[0]) in sent:
        return top
    try:
        said = f"{exc.message} {json.dumps(exc.body, default=str)}".casefold()
    except ValueError:
        said = exc.message.casefold()
    for parameter, names in NAMED_BY.items():
        if parameter in sent and any(name in said for name in names):
            return parameter
    return "response_format" if "response_format" in sent and any(word in said for word in UNNAMED) else None


def _cost_of_failure(error: ModelError, estimate: Decimal | None) -> Decimal | None:
    """An error status costs nothing, a lost answer nobody knows what; one that came in pieces was surely billed."""
    if isinstance(error, InDoubt):
        return None
    return estimate if isinstance(error, BadAnswer) else Decimal(0)


def _read(reply: ChatCompletion, what: str) -> Answer:
    """The first choice; raises BadAnswer for what is no chat completion: a web page, an error with status 200."""
    choices = getattr(reply, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    if not choices or message is None:
        said = getattr(reply, "error", None) or (reply if isinstance(reply, str) else "no choices in it")
        raise BadAnswer(f"{what}: the answer is no chat completion: {_line(str(said))}", hint="Check the base URL.")
    content: Any = getattr(message, "content", None)
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return Answer(
        content or "",
        str(getattr(choices[0], "finish_reason", None) or "stop"),
        str(getattr(message, "refusal", None) or ""),
    )


def _usage(reply: ChatCompletion) -> dict[str, int] | None:
    """Tokens by kind of price: cached ones are not in "input"; thinking is in "output". None when nobody counted."""
    counted = getattr(reply, "usage", None)
    if counted is None:
        return None
    asked, said = _count(counted, "prompt_tokens"), _count(counted, "completion_tokens")
    if not asked and not said:
        return None
    cached = min(asked, _count(getattr(counted, "prompt_tokens_details", None), "cached_tokens"))
    return {"input": asked - cached, "cached": cached, "output": said}


def _count(holder: object, name: str) -> int:
    value = getattr(holder, name, 0)
    return value if isinstance(value, int) else 0


def tokens_of(text: str) -> int:
    """About how many tokens a text has, rather too many than too few."""
    return int(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + 1


def _line(text: str) -> str:
    line = " ".join(redact(text).split())
    return line if len(line) <= 200 else line[:199] + "…"


def _host(base_url: str | None) -> str:
    """Host and port, never the password a URL may hold."""
    parts = urlsplit(base_url or "")
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname or base_url)
