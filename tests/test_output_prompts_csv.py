"""batch_prompts.csv: nothing torn, nothing lost, nothing overwritten."""

from __future__ import annotations

import csv
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import Concept
from tirada.output import prompts_csv
from tirada.output.prompts_csv import append_rows, read_rows

ROOT = Path(__file__).parents[1]
HEADER = b"title,description,metatags,prompt\r\n"


def concept(title: str = "A hill", prompt: str = "a hill", tags: tuple[str, ...] = ("fog", "dawn")) -> Concept:
    return Concept(title=title, description="Two, or more", metatags=tags, prompt=prompt)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def test_the_file_is_rfc_4180(tmp_path: Path) -> None:
    path = tmp_path / "new" / "batch_prompts.csv"
    append_rows(path, [concept('Say "hi"'), concept("Zwei")])
    append_rows(path, [concept("Drei\nZeilen")])
    assert path.read_bytes() == (
        HEADER
        + b'"Say ""hi""","Two, or more","fog, dawn",a hill\r\n'
        + b'Zwei,"Two, or more","fog, dawn",a hill\r\n'
        + b'"Drei\nZeilen","Two, or more","fog, dawn",a hill\r\n'
    )


def test_no_rows_no_file(tmp_path: Path) -> None:
    append_rows(tmp_path / "a.csv", [])
    assert list(tmp_path.iterdir()) == []


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    for title, prompt in pairs:
        append_rows(path, [concept(title, prompt)])
    assert [(row.title, row.prompt) for row in read_rows(path)] == pairs
    assert all(row.metatags == ("fog", "dawn") for row in read_rows(path))


def test_broken_surrogates_and_returns_do_not_break_the_file(tmp_path: Path) -> None:
    append_rows(tmp_path / "a.csv", [concept("a\ud83d", "b\r\nc\rd\0")])
    [row] = read_rows(tmp_path / "a.csv")
    assert (row.title, row.prompt) == ("a\ufffd", "b\nc\nd")


def test_a_file_cut_anywhere_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append_rows(path, [concept("First\nline"), concept('The "second"\n\nline')])
    whole = path.read_bytes()
    first_row = len(HEADER) + whole[len(HEADER) :].index(b"\r\n") + 2
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        append_rows(path, [concept("Third"), concept("Fourth")])
        titles = [row.title for row in read_rows(path)]
        assert titles[-2:] == ["Third", "Fourth"], whole[:cut]
        assert path.read_bytes().startswith(HEADER)
        if cut >= first_row:
            assert titles[0] == "First\nline"
        assert len(titles) <= 4


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_hand_edited_file_goes_on(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"\ufeffTitle,Description,Metatags,Prompt\nMine,d,t,p{end}", encoding="utf-8", newline="")
    append_rows(path, [concept("Ours")])
    assert [row.title for row in read_rows(path)] == ["Mine", "Ours"]
    assert len(rows_of(path)) == 3


@pytest.mark.parametrize(
    "header", ["title;description;metatags;prompt", "prompt", "PK\3\4", "", "title,description,x,y"]
)
def test_a_foreign_header_is_left_alone(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\nx;y;z;p\n")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"not 'title,description,metatags,prompt'; nothing was written"):
        append_rows(path, [concept()])
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="header"):
        list(read_rows(path))


def test_reading_skips_what_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b'One,d,t,p\r\ntorn,"half a desc')
    assert [row.title for row in read_rows(path)] == ["One"]
    assert list(read_rows(tmp_path / "none.csv")) == []


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    append_rows(path, [concept()])
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(prompts_csv.os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(OSError, match="only 10 of"):
        append_rows(path, [concept("Lost")])
    assert path.read_bytes() == before


def test_a_file_size_limit_loses_nothing(tmp_path: Path) -> None:
    """A real short write: the kernel takes the part of the block that fits."""
    path = tmp_path / "a.csv"
    append_rows(path, [concept(f"Row {n}") for n in range(20)])
    before = path.read_bytes()
    program = f"""
import resource, sys
from pathlib import Path
from models.contract import Concept
from tirada.output.prompts_csv import append_rows
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before)} + 100, {len(before)} + 100))
rows = [Concept(title="Lost", description="d", metatags=(), prompt="p" * 90) for _ in range(5)]
try:
    append_rows(Path({str(path)!r}), rows)
except OSError as exc:
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 7
    assert path.read_bytes() == before
    append_rows(path, [concept("After")])
    assert len(rows_of(path)) == 22


def _append_many(path: Path, worker: int) -> None:
    for n in range(25):
        append_rows(path, [concept(f"{worker}/{n}/{k}", 'line\n"two" ' * 200) for k in range(4)])


def test_eight_processes_tear_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        pool.starmap(_append_many, [(path, worker) for worker in range(8)])
    header, *rows = rows_of(path)
    assert header == ["title", "description", "metatags", "prompt"]
    assert {row[0] for row in rows} == {f"{w}/{n}/{k}" for w in range(8) for n in range(25) for k in range(4)}
    assert len(rows) == 800
    assert all(len(row) == 4 and row[3] == 'line\n"two" ' * 200 for row in rows)


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path) -> None:
    from filelock import FileLock

    path = tmp_path / "a.csv"
    with FileLock(tmp_path / ".a.csv.lock"), pytest.raises(TimeoutError):
        append_rows(path, [concept()], lock_seconds=0.01)
    assert not path.exists()


def test_appending_does_not_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant time: of a whole file only the header and the last two bytes are read."""
    path = tmp_path / "a.csv"
    append_rows(path, [concept(f"Row {n}") for n in range(5000)])
    sizes: list[int] = []
    read = os.read

    def counted(descriptor: int, size: int) -> bytes:
        sizes.append(size)
        return read(descriptor, size)

    monkeypatch.setattr(prompts_csv.os, "read", counted)
    append_rows(path, [concept()])
    assert sum(sizes) < 5000 < path.stat().st_size
