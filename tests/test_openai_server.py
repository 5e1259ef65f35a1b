"""The stand-in of the OpenAI API keeps the rules that our backends and writers are tested against."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from models.contract import TAGS_MAX, TAGS_MIN
from models.openai_api import make_client
from models.writers.checks import faults as concept_faults
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer
from tests.servers.openai_chat import invent

Ask = dict[str, Any]
SAY = [{"role": "user", "content": "Write 3 new concepts as JSON."}]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[openai.OpenAI]:
    client = make_client(key=server.key, base_url=server.url, timeout=10)
    yield client
    client.close()


def schema(items: dict[str, int], *, strict: bool = True, **changes: object) -> Ask:
    concept: Ask = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    concept["additionalProperties"] = False
    root: Ask = {"type": "object", "properties": {"concepts": {"type": "array", "items": concept, **items}}}
    root |= {"required": ["concepts"], "additionalProperties": False, **changes}
    return {"type": "json_schema", "json_schema": {"name": "concepts", "strict": strict, "schema": root}}


def concepts(client: Any, **settings: Any) -> list[dict[str, Any]]:
    answer = client.chat.completions.create(**{"model": "gpt-6-luna", "messages": SAY, **settings})
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    found: list[dict[str, Any]] = json.loads(answer.choices[0].message.content)["concepts"]
    return found


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    ids = {model.id for model in client.models.list()}
    assert {"gpt-6-luna", "gpt-image-2.6-flare"} <= ids
    assert "dall-e-3" not in ids


def test_as_many_concepts_as_the_schema_or_else_the_message_asks_for(client: openai.OpenAI) -> None:
    assert len(concepts(client, response_format=schema({"minItems": 5, "maxItems": 5}))) == 5
    assert len(concepts(client, response_format=schema({"maxItems": 4}))) == 4
    assert len(concepts(client, response_format=schema({}))) == 3
    assert len(concepts(client, response_format={"type": "json_object"})) == 3
    assert len(concepts(client, messages=[{"role": "user", "content": "In 1024x576, write 12 new concepts."}])) == 12


def test_concepts_are_valid_and_all_different() -> None:
    made = [invent(number) for number in range(2000)]
    for one in made:
        assert concept_faults(one["title"], one["description"], one["metatags"], forbidden=None) == []
        assert TAGS_MIN <= len(one["metatags"]) <= TAGS_MAX
    assert len({one["title"] for one in made}) == len({one["description"] for one in made}) == 2000


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"response_format": schema({}, additionalProperties=True)}, "response_format"),
        ({"response_format": schema({}, required=[])}, "response_format"),
        ({"response_format": schema({}, strict=False, type="array")}, "response_format"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        (
            {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "Write 3."}]},
            "messages",
        ),
        ({"temperature": 3}, "temperature"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
    ],
)
def test_chat_refuses_what_the_service_refuses(
    server: OpenAIServer, client: Any, settings: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        concepts(client, **settings)
    assert caught.value.param == param
    assert server.chats == 0


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("json_schema", {"response_format": schema({})}),
        ("json_object", {"response_format": {"type": "json_object"}}),
        ("reasoning_effort", {"reasoning_effort": "low"}),
        ("temperature", {"temperature": 0.5}),
    ],
)
def test_older_servers_lack_things(server: OpenAIServer, client: Any, rule: str, settings: dict[str, Any]) -> None:
    assert concepts(client, **settings)
    setattr(server.rules, rule, False)
    with pytest.raises(openai.BadRequestError):
        concepts(client, **settings)


def test_the_answer_can_be_anything(server: OpenAIServer, client: Any) -> None:
    def say() -> Any:
        return client.chat.completions.create(model="gpt-6-luna", messages=SAY).choices[0].message.content

    server.chat = lambda request: f"Hello {request['model']}"
    assert say() == "Hello gpt-6-luna"
    server.chat = lambda request: {"a": 1}
    assert json.loads(say()) == {"a": 1}
    server.chat = lambda request: (503, {"error": {"message": "asleep"}})
    with pytest.raises(openai.InternalServerError, match="asleep"):
        say()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"model": "dall-e-3"}, "model_not_found"),
        ({"model": "gpt-image-1"}, "model_not_found"),
        ({"model": "gpt-image-99"}, "model_not_found"),
        ({"size": "1000x1000"}, "invalid_value"),
        ({"size": "512x512"}, "invalid_value"),
        ({"size": "3840x1264"}, "invalid_value"),
        ({"size": "4096x2048"}, "invalid_value"),
        ({"size": "1088x608", "model": "gpt-image-1.5"}, "invalid_value"),
        ({"quality": "hd"}, "invalid_value"),
        ({"quality": "max", "model": "gpt-image-2"}, "invalid_value"),
        ({"n": 11}, "invalid_value"),
        ({"background": "red"}, "invalid_value"),
        ({"moderation": "none"}, "invalid_value"),
        ({"output_format": "gif"}, "invalid_value"),
        ({"response_format": "b64_json"}, "unknown_parameter"),
        ({"extra_body": {"seed": 1}}, "unknown_parameter"),
        ({"prompt": " "}, "missing_required_parameter"),
        ({"prompt": "x" * 32_001}, "string_above_max_length"),
        ({"prompt": "FORBIDDEN"}, "moderation_blocked"),
    ],
)
def test_images_refuse_what_the_service_refuses(
    server: OpenAIServer, client: Any, settings: dict[str, Any], code: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(**{"model": "gpt-image-2.6-flare", "prompt": "A fox", **settings})
    assert caught.value.code == code
    assert server.billed == 0


def test_every_image_is_billed_even_when_its_answer_is_lost(server: OpenAIServer, client: openai.OpenAI) -> None:
    server.faults = [Fault(cut=True, path="/images"), Fault(truncate=True, path="/images"), Fault(status=500)]
    client_calls = [client.models.list] + [
        lambda: client.images.generate(model="gpt-image-2", prompt="A fox", size="1024x1024") for _ in range(2)
    ]
    for call in client_calls:
        with pytest.raises(openai.APIError):
            call()
    assert client.images.generate(model="gpt-image-2", prompt="A fox", n=3).data
    assert server.billed == 5
    assert server.faults == []
    assert [recorded.path.rpartition("/")[2] for recorded in server.requests][:2] == ["models", "generations"]


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.servers.openai_api", "--port", "0", "--key", "abc", "--image-size", "64x64"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as program:
        assert program.stdout is not None
        settings = dict(word.split("=", 1) for word in program.stdout.readline().split())
        request = urllib.request.Request(f"{settings['OPENAI_BASE_URL']}/models")
        request.add_header("Authorization", f"Bearer {settings['OPENAI_API_KEY']}")
        started = time.monotonic()
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["object"] == "list"
        assert time.monotonic() - started < 5
        program.terminate()
