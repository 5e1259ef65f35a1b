"""--from FILE: what people hand in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import Concept
from tirada.output.prompt_files import read_concepts, title_of
from tirada.output.prompts_csv import append_rows


def read(tmp_path: Path, name: str, content: str | bytes) -> tuple[list[tuple[int, Concept]], list[str]]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_concepts(path)
    assert all(problem.path == path for problem in found.problems)
    return found.concepts, [f"{problem.line}: {problem.message}" for problem in found.problems]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_in_every_dialect(tmp_path: Path, delimiter: str, newline: str, encoding: str) -> None:
    header = ["ID", "Prompt", " TITLE ", "Keywords", "Negative_Prompt"]
    row = ["7", '"a fox, red; wary"', "Fuchs über Eis", '"fox; #snow;fox"', "text"]
    text = newline.join(delimiter.join(cells) for cells in (header, row)) + newline
    concepts, problems = read(tmp_path, "p.csv", text.encode(encoding))
    assert problems == []
    expected = Concept(
        title="Fuchs über Eis",
        description="a fox, red; wary",
        metatags=("fox", "snow"),
        prompt="a fox, red; wary",
        negative="text",
        writer="file",
    )
    assert concepts == [(2, expected)]


def test_title_and_description_are_enough(tmp_path: Path) -> None:
    [(_, concept)], _ = read(tmp_path, "p.csv", "title,description\nFox.,A fox on ice\n")
    assert concept.prompt == "Fox. A fox on ice"


def test_excel_says_its_delimiter(tmp_path: Path) -> None:
    [(line, concept)], _ = read(tmp_path, "p.csv", "sep=;\r\nprompt;tags\r\na fox, red;x\r\n")
    assert (line, concept.prompt) == (3, "a fox, red")


def test_our_own_csv_can_be_read_back(tmp_path: Path) -> None:
    row = Concept(title="T", description="D", metatags=("a", "b"), prompt='p\n"q"', writer="file")
    append_rows(tmp_path / "batch_prompts.csv", [row, row])
    assert [concept for _, concept in read_concepts(tmp_path / "batch_prompts.csv").concepts] == [row, row]


def test_broken_csv_rows_are_named_and_skipped(tmp_path: Path) -> None:
    text = 'prompt,title\na,1\n\n,only a title\nb, c, d\n"two\nlines",2\n,,\nlast,3\n"never closed,4\nmore\n'
    concepts, problems = read(tmp_path, "p.csv", text)
    assert [(line, concept.prompt) for line, concept in concepts] == [(2, "a"), (6, "two\nlines"), (9, "last")]
    assert problems == [
        "4: no 'prompt', and not both 'title' and 'description'",
        "5: 3 cells under a header of 2; put texts that hold ',' in quotes (\")",
        '10: a quote (") opens here and is never closed',
    ]


@pytest.mark.parametrize("text", ["id,name\n1,x\n", "title\nx\n", "a fox on ice\n"])
def test_a_csv_of_something_else_says_what_was_expected(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"p\.csv: its columns are '.*expected a column 'prompt', or 'title'"):
        read(tmp_path, "p.csv", text)


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.txt"])
@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(ValueError, match="the file is empty"):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content"), [("p.csv", "prompt\n\n"), ("p.jsonl", "{\n{}\n"), ("p.txt", "# nothing\n")]
)
def test_a_file_without_any_prompt_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(ValueError, match="no prompt that can be used"):
        read(tmp_path, name, content)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prompt files are \.csv, \.tsv, \.jsonl, \.ndjson, \.txt, not '\.xlsx'"):
        read(tmp_path, "p.xlsx", "x")
    with pytest.raises(FileNotFoundError):
        read_concepts(tmp_path / "none.csv")


def test_a_csv_in_an_old_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.csv:3: not UTF-8 text \(byte 0xe9\)"):
        read(tmp_path, "p.csv", b"prompt\nok\ncaf\xe9\n")


def test_json_lines(tmp_path: Path) -> None:
    good = {"Prompt": "a fox", "title": "Fox", "tags": ["x", "y"], "negative": None, "other": [1]}
    lines = [
        json.dumps(good).encode(),
        b"",
        b'{"prompt": "torn',
        b'{"prompt": 5}',
        b'["list"]',
        b'{"prompt": "x", "metatags": 3}',
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"title": "Only"}',
        b'{"prompt": "lone \\ud83d", "metatags": "a, b"}',
    ]
    concepts, problems = read(tmp_path, "p.jsonl", b"\r\n".join(lines))
    assert [(line, concept.prompt, concept.metatags) for line, concept in concepts] == [
        (1, "a fox", ("x", "y")),
        (11, "lone \ufffd", ("a", "b")),
    ]
    assert [problem.split(":")[0] for problem in problems] == ["3", "4", "5", "6", "7", "8", "9", "10"]
    assert problems[0].startswith("3: not valid JSON")
    assert problems[4] == "7: not UTF-8 text"


def test_plain_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    concepts, _ = read(tmp_path, "p.txt", "# mine\na fox, on ice\n\n  two hills \n")
    assert [(line, concept.prompt) for line, concept in concepts] == [(2, "a fox, on ice"), (4, "two hills")]


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("a red fox, wary, on ice", "A red fox"),
        ("one two three four five six seven eight nine ten", "One two three four five six seven eight"),
        ("fox, red", "Fox, red"),
        ("...", "..."),
        ("x" * 300, "X" + "x" * 118 + "…"),
    ],
)
def test_a_title_from_the_first_words(prompt: str, title: str) -> None:
    assert title_of(prompt) == title


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["csv", "jsonl", "txt"]), st.booleans())
def test_any_bytes_are_concepts_or_a_plain_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, header: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes((b"prompt,title\n" if header else b"") + data)
    try:
        found = read_concepts(path)
    except ValueError as exc:
        assert str(path) in str(exc)
    else:
        assert all(concept.title and concept.prompt and concept.description for _, concept in found.concepts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5))
def test_json_lines_round_trip(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    kept = [
        clean
        for prompt in prompts
        if (clean := prompt.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").strip())
    ]
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    if kept:
        assert [concept.prompt for _, concept in read_concepts(path).concepts] == kept
