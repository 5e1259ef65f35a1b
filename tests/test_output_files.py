"""Whole files, safe names."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tirada.output import atomic, folders

DAY = date(2026, 11, 20)


def test_a_file_appears_with_its_bytes_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a.bin", b"one")
    atomic.write_text(tmp_path / "a.bin", "zwei ü\n")
    assert (tmp_path / "a.bin").read_bytes() == "zwei ü\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_leaves_the_old_file_and_no_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    atomic.write_bytes(tmp_path / "a", b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(OSError, match="No space"):
        atomic.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_without_replace_an_existing_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:

        def no_links(*args: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(atomic.os, "link", no_links)
    atomic.write_bytes(tmp_path / "a", b"first", replace=False)
    with pytest.raises(FileExistsError):
        atomic.write_bytes(tmp_path / "a", b"second", replace=False)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_process_left_can_be_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".keep.tmp").touch()
    (tmp_path / ".01.png.0123456789ab.tmp").touch()
    assert atomic.sweep_temps(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == [".keep.tmp"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("CON", "con-set"),
        ("Com1.txt", "com1-txt"),
        ("LPT9", "lpt9-set"),
        ("😀" * 400, "untitled"),
        ("", "untitled"),
        ("   ...   ", "untitled"),
        ("Тихое утро в горах", "tikhoe-utro-v-gorakh"),
        ("Crème brûlée & Äpfel", "creme-brulee-apfel"),
        ("a\0b\ud83dc", "a-b-c"),
        ("word " * 40, "word-word-word-word-word-word-word-word-word-word-word-word"),
        ("x" * 500, "x" * 60),
    ],
)
def test_slugs_of_known_troublemakers(title: str, expected: str) -> None:
    assert folders.slug(title) == expected


@given(st.text(alphabet=st.characters(exclude_categories=())), st.integers(min_value=8, max_value=80))
def test_a_slug_is_always_a_safe_name(title: str, limit: int) -> None:
    slug = folders.slug(title, limit)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug.encode()) <= limit
    assert slug not in {"con", "prn", "aux", "nul", "com1", "lpt1"}


def test_a_slug_needs_room() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        folders.slug("x", limit=3)


@pytest.mark.parametrize("title", ["../../etc", "..", "/", "C:\\Windows", "ok"])
def test_a_folder_is_new_and_inside_the_output(tmp_path: Path, title: str) -> None:
    folder = folders.make_folder(tmp_path / "deep" / "output", title, DAY)
    assert folder.is_dir()
    assert folder.resolve().parent == (tmp_path / "deep" / "output").resolve()
    assert re.fullmatch(r"2026-11-20-[a-z-]+-[0-9a-f]{4}", folder.name)


def test_a_taken_name_is_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(folders.secrets, "token_hex", lambda size: next(dice))
    assert folders.make_folder(tmp_path, "x", DAY).name == "2026-11-20-x-aaaa"
    assert folders.make_folder(tmp_path, "x", DAY).name == "2026-11-20-x-bbbb"


def test_no_free_name_is_said_and_not_looped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders.secrets, "token_hex", lambda size: "aaaa")
    folders.make_folder(tmp_path, "x", DAY)
    with pytest.raises(FileExistsError, match="no free name"):
        folders.make_folder(tmp_path, "x", DAY)


def _make_many(output: Path, count: int) -> list[str]:
    return [folders.make_folder(output, "same", DAY).name for _ in range(count)]


def test_processes_never_share_a_folder(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.starmap(_make_many, [(tmp_path, 25)] * 4)
    names = [name for part in made for name in part]
    assert len(set(names)) == 100


@pytest.mark.parametrize(
    ("index", "total", "name"), [(1, 1, "01.png"), (9, 99, "09.png"), (7, 100, "007.png"), (10000, 10000, "10000.png")]
)
def test_image_names_sort_in_order(index: int, total: int, name: str) -> None:
    assert folders.image_name(index, total, "png") == name


def test_images_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        folders.image_name(0, 5, "png")
