"""Brand images whose scene a text model writes: what it is told, what it may not say, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import Tirada, info_of
from tests.run_tools import rows
from tests.servers.openai_api import OpenAIServer

LINE = ("brand", "--product", "car", "--custom-prompt", "engaging in driving", "--size", "96x96", "--draft")
SCENE = "A small electric car takes a wide bend above the sea, its wheels just off the painted line."
SOUND = {
    "scene": SCENE,
    "title": "Round the bend",
    "description": "An electric car drives along a bend above the sea in the clear air of an early day.",
    "metatags": ["car", "driving", "coast", "electric", "bend"],
}
GERMAN = {
    **SOUND,
    "title": "Um die Kurve",
    "description": "Ein kleines Elektroauto fährt an einem klaren Morgen durch eine weite Kurve hoch über dem Meer.",
    "metatags": ["Auto", "Fahren", "Küste", "Strom", "Kurve"],
}


def answers(server: OpenAIServer, *given: dict[str, Any]) -> None:
    """What the text model says, one after the other."""
    rest: Iterator[dict[str, Any]] = iter(given)
    server.chat = lambda request: next(rest)


def talks(server: OpenAIServer) -> list[list[str]]:
    """The texts of each talk with the text model."""
    chats = [request.json for request in server.requests if request.path.endswith("/chat/completions")]
    return [[str(message["content"]) for message in chat["messages"]] for chat in chats]


def test_the_wish_becomes_a_scene_of_all_images(tirada: Tirada, openai: OpenAIServer) -> None:
    answers(openai, SOUND)
    done = tirada(*LINE, "--count", 3)
    assert done.code == 0, done.err
    info = info_of(done.folders[0])
    assert (info["title"], info["description"]) == (SOUND["title"], SOUND["description"])
    assert (info["metatags"], info["writer"]) == (SOUND["metatags"], "gpt")
    prompts = [image["prompt"] for image in info["images"]]
    assert len(set(prompts)) == 3
    for prompt in prompts:
        assert f": {SCENE[0].lower()}{SCENE[1:]} The light is " in prompt
        assert "The colours are light salmon, pale turquoise and royal blue: " in prompt
        assert "There is nobody in the picture." in prompt
    (talk,) = talks(openai)
    rules, question = talk
    assert "on the side of its customers" in rules and "light salmon, pale turquoise, royal blue" in rules
    assert "no people in product shots" in rules and "no digits or letters on cards" not in rules
    assert "The wish, which the scene has to fulfil: engaging in driving" in question
    assert "Product: car" in question and "Subject: a" in question and "What happens" not in question


def test_without_a_wish_the_kit_proposes(tirada: Tirada, openai: OpenAIServer) -> None:
    answers(openai, {**SOUND, "scene": "A woman of about thirty measures a tall window in an empty, sunny flat."})
    done = tirada("brand", "--sex", "female", "--age", 30, "--size", "96x96", "--draft")
    assert done.code == 0, done.err
    (talk,) = talks(openai)
    assert "Subject: a woman in her early thirties" in talk[1] and "Age: 30" in talk[1]
    assert "What happens (take it if it fits): " in talk[1] and "The wish" not in talk[1]
    assert "measures a tall window" in info_of(done.folders[0])["prompt"]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"scene": "A Woman drives a small electric car along a wide bend above the sea."}, "says 'woman', which is"),
        ({"scene": "A car."}, "The scene has 6 characters; 40 to 420 are allowed"),
        ({"scene": SCENE * 6}, "characters; 40 to 420 are allowed"),
        ({"scene": f"{SCENE[:-1]}, as Banksy would paint it."}, "The name 'Banksy' is not allowed in the scene"),
        ({"title": "A car by Banksy"}, "The name 'Banksy' is not allowed"),
        ({"metatags": ["car"]}, "tags"),
        ({"description": "Too short."}, "description"),
        (GERMAN, "Title and description are not in English"),
    ],
)
def test_what_breaks_a_rule_is_asked_for_again_with_the_fault_named(
    tirada: Tirada, openai: OpenAIServer, wrong: dict[str, Any], fault: str
) -> None:
    answers(openai, {**SOUND, **wrong}, SOUND)
    done = tirada(*LINE)
    assert done.code == 0, done.err
    first, second = talks(openai)
    assert len(first) == 2
    assert fault in second[-1]
    assert info_of(done.folders[0])["title"] == SOUND["title"]


def test_what_stays_wrong_ends_the_run_before_an_image_is_paid(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = lambda request: {**SOUND, "scene": "A man drives a small electric car along the sea, laughing."}
    done = tirada(*LINE[:-1], "--dalle", "--json")
    assert (done.code, done.json["status"], openai.billed, openai.chats) == (1, "failed", 0, 3)
    assert "the rule 'no people in product shots'" in done.json["failures"][0]["message"]
    answers(openai, SOUND)
    assert tirada("retry", done.json["run_id"]).code == 0
    assert openai.billed == 1


def test_texts_in_another_language_and_the_scene_in_english(tirada: Tirada, openai: OpenAIServer) -> None:
    answers(openai, SOUND, GERMAN)
    done = tirada(*LINE, "--language", "de")
    assert done.code == 0, done.err
    assert "for a catalogue, in German" in talks(openai)[0][0]
    assert "not in German" in talks(openai)[1][-1]
    info = info_of(done.folders[0])
    assert (info["language"], info["title"]) == ("de", "Um die Kurve")
    assert "takes a wide bend" in info["prompt"]


def test_any_sound_answer_will_do(tirada: Tirada, openai: OpenAIServer) -> None:
    """The stand-in's own answer, made up from the schema and the limits that its descriptions say."""
    done = tirada(*LINE, "--json")
    assert done.code == 0, done.err
    assert openai.chats == 1
    (call,) = (call for call in rows(Path("output"), "calls") if call["kind"] == "text")
    assert call["state"] == "settled" and float(done.json["cost_usd"]) > 0
