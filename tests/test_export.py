"""``export``: finished images for Adobe Stock and Hugging Face, through the command line."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli_tools import Result, Tirada
from tirada.output.export import adobe_stock
from tirada.output.info import ImageEntry, Info


def export_of(result: Result) -> Path:
    """The folder that an export ended in."""
    assert result.code == 0, result.err
    return Path(result.out.strip())


def folder(
    name: str = "one", count: int = 2, *, at: Path | None = None, size: tuple[int, int] = (64, 48), **changes: Any
) -> Path:
    """A finished batch folder; every file holds something else."""
    path = (at or Path("batches")) / name
    path.mkdir(parents=True)
    fmt = changes.get("format", "jpeg")
    entries = []
    for number in range(1, count + 1):
        file = f"{number:02d}.{'jpg' if fmt == 'jpeg' else fmt}"
        Image.new("RGB", size, (40 * number % 256, 16 * len(name), 10 * (ord(name[0]) - 97))).save(path / file, fmt)
        sha256 = hashlib.sha256((path / file).read_bytes()).hexdigest()
        entries.append(
            ImageEntry(
                file=file, seed=number, width=size[0], height=size[1], rendered_size="64x48", sha256=sha256, model="m-1"
            )
        )
    fields: dict[str, Any] = {
        "batch_id": f"batch-{name}",
        "run_id": "r1",
        "created_at": datetime(2026, 11, 20, 3, 15, tzinfo=UTC),
        "status": "done",
        "ai": "OpenAI Images",
        "backend": "dalle",
        "model": "m-1",
        "writer": "gpt",
        "title": f"Fog in a valley: {name}",
        "description": "Two hills, and a lamp.",
        "metatags": ["misty valley", "fog"],
        "prompt": "a valley,\nfog",
        "size": f"{size[0]}x{size[1]}",
        "quantity": count,
        "seeds": list(range(count)),
        "images": entries,
        "tool": "Tirada",
        "format": "jpeg",
    }
    info = Info(**(fields | changes))
    (path / "info.json").write_text(info.model_dump_json(), encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8")
    assert text.startswith("Filename,Title,Keywords,Category,Releases\r\n")
    return list(csv.DictReader(text.splitlines()))


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


# --- Adobe Stock ------------------------------------------------------------------------------------------------------


def test_adobe_stock_gets_a_csv_and_files_under_short_names(tirada: Tirada) -> None:
    one, two = folder("one"), folder("two", 1)
    before = snapshot(Path("batches"))
    result = tirada("export", "adobe-stock", one, two / "info.json")
    made = rows(export_of(result) / "adobe-stock-1.csv")
    assert len(made) == 3
    assert len({row["Filename"] for row in made}) == 3
    for row in made:
        assert len(row["Filename"]) <= 30
        assert re.fullmatch(r"[a-z0-9-]+\.jpg", row["Filename"])
        assert row["Keywords"] == "misty valley, fog"
        assert row["Category"] == row["Releases"] == ""
    assert made[0]["Title"] == "Fog in a valley one"
    assert (export_of(result) / made[0]["Filename"]).read_bytes() == (one / "01.jpg").read_bytes()
    assert {path.name for path in export_of(result).iterdir()} == {
        "README.txt",
        "adobe-stock-1.csv",
        *(row["Filename"] for row in made),
    }
    assert "Created using generative AI tools" in (export_of(result) / "README.txt").read_text(encoding="utf-8")
    assert "Created using generative AI tools" in result.err
    assert snapshot(Path("batches")) == before
    # A file of its own, so that retouching the copy leaves the original alone.
    assert (export_of(result) / made[0]["Filename"]).stat().st_nlink == 1


def test_the_same_image_has_the_same_name_in_every_export(tirada: Tirada) -> None:
    one = folder("one")
    first, second = (export_of(tirada("export", "adobe-stock", one)) for _ in range(2))
    assert first != second
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Salt, Sand & Sea", "Salt Sand and Sea"),
        ('A "quoted" fox: <b>; 50% off!', "A quoted fox b 50 off"),
        ("L'Été à la mer", "L'Été à la mer"),
        ("霧の谷", "霧の谷"),
        ("word " * 30, ("word " * 14).strip()),
        ("x" * 120, "x" * 70),
        ("!!!", "Untitled"),
        ("A\tfox\n\nat dawn 🦊", "A fox at dawn"),
    ],
)
def test_titles_keep_their_limits(tirada: Tirada, title: str, expected: str) -> None:
    (row,) = rows(export_of(tirada("export", "adobe-stock", folder("one", 1, title=title))) / "adobe-stock-1.csv")
    assert row["Title"] == expected
    assert len(row["Title"]) <= 70
    assert "," not in row["Title"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["Fog", "fog", " FOG ", "hill"], ["Fog", "hill"]),
        (["sea, sky; sand", "n/a"], ["sea", "sky", "sand", "n a"]),
        ([f"tag {n}" for n in range(80)], [f"tag {n}" for n in range(50)]),
        ([], ["valley", "hills", "lamp"]),
        (["--- ", "!!"], ["---"]),
    ],
)
def test_keywords_are_ordered_unique_and_at_most_fifty(tirada: Tirada, tags: list[str], expected: list[str]) -> None:
    one = folder("one", 1, title="Fog in a valley", metatags=tags)
    (row,) = rows(export_of(tirada("export", "adobe-stock", one)) / "adobe-stock-1.csv")
    assert row["Keywords"].split(", ") == expected


def test_a_category_for_all(tirada: Tirada) -> None:
    (row,) = rows(export_of(tirada("export", "adobe-stock", folder("one", 1), "--category", 11)) / "adobe-stock-1.csv")
    assert row["Category"] == "11"
    assert tirada("export", "adobe-stock", "batches/one", "--category", 22).code == 2
    assert tirada("export", "huggingface", "batches/one", "--category", 1).code == 2


def test_five_thousand_rows_a_file(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    assert adobe_stock.ROWS_MAX == 5_000
    monkeypatch.setattr(adobe_stock, "ROWS_MAX", 3)
    result = tirada("export", "adobe-stock", folder("one", 6), folder("two", 1))
    assert [len(rows(export_of(result) / f"adobe-stock-{n}.csv")) for n in (1, 2, 3)] == [3, 3, 1]
    assert len(list(export_of(result).glob("*.csv"))) == 3
    assert "adobe-stock-1.csv, adobe-stock-2.csv, adobe-stock-3.csv" in result.err


def test_one_megabyte_a_file(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    assert adobe_stock.BYTES_MAX == 1_000_000
    monkeypatch.setattr(adobe_stock, "BYTES_MAX", 200)
    result = tirada("export", "adobe-stock", folder("one", 7))
    tables = sorted(export_of(result).glob("*.csv"))
    assert len(tables) == 4
    assert sum(len(rows(table)) for table in tables) == 7
    assert all(table.stat().st_size <= 200 for table in tables)


def test_what_adobe_will_refuse_is_said(tirada: Tirada) -> None:
    result = tirada("export", "adobe-stock", folder("one", 2, format="png"))
    assert "2 images are no JPEG" in result.err
    assert "2 images have fewer than 4 megapixels" in result.err
    result = tirada("export", "adobe-stock", folder("big", 1, size=(2496, 1664)))
    assert "JPEG" not in result.err
    assert "megapixels" not in result.err


def test_drafts_are_refused_with_the_reason(tirada: Tirada) -> None:
    good, draft = folder("one"), folder("sketch", backend="draft")
    result = tirada("export", "adobe-stock", good, draft)
    assert result.code == 2
    assert "drafts: sketches drawn offline" in result.err
    assert "--include-drafts" in result.err
    assert list(Path("output/exports").iterdir()) == []
    allowed = tirada("export", "adobe-stock", good, draft, "--include-drafts")
    assert len(rows(export_of(allowed) / "adobe-stock-1.csv")) == 4


def test_the_very_same_picture_goes_out_once(tirada: Tirada) -> None:
    one = folder("one", 1)
    copy = folder("copy", 1)
    info = json.loads((one / "info.json").read_text())
    (copy / "01.jpg").write_bytes((one / "01.jpg").read_bytes())
    (copy / "info.json").write_text(json.dumps({**info, "batch_id": "other"}))
    result = tirada("export", "adobe-stock", one, copy, one)
    assert len(rows(export_of(result) / "adobe-stock-1.csv")) == 1
    assert "very same" in result.err


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def test_hugging_face_gets_an_image_folder(tirada: Tirada) -> None:
    one, two = folder("one"), folder("two", 1, format="png", description="", metatags=[], steps=20)
    result = tirada("export", "huggingface", one, two)
    split = export_of(result) / "train"
    lines = [json.loads(line) for line in (split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["file_name"] for line in lines] == ["000001.jpg", "000002.jpg", "000003.png"]
    assert {path.name for path in split.iterdir()} == {"metadata.jsonl", *(line["file_name"] for line in lines)}
    # `datasets` takes the columns from all lines alike.
    assert len({tuple(line) for line in lines}) == 1
    assert lines[0] | {"sha256": ""} == {
        "file_name": "000001.jpg",
        "title": "Fog in a valley: one",
        "text": "Two hills, and a lamp.",
        "prompt": "a valley,\nfog",
        "negative_prompt": "",
        "tags": ["misty valley", "fog"],
        "seed": 1,
        "width": 64,
        "height": 48,
        "model": "m-1",
        "backend": "dalle",
        "steps": None,
        "cfg_scale": None,
        "scheduler": None,
        "role": "",
        "theme": "",
        "language": "en",
        "sha256": "",
        "batch_id": "batch-one",
        "created_at": "2026-11-20T03:15:00+00:00",
    }
    assert lines[2]["text"] == "a valley,\nfog"
    for line in lines:
        data = (split / line["file_name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
    card = (export_of(result) / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "m-1" in card


def test_the_real_package_loads_it(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", "hf")
    datasets = pytest.importorskip("datasets")
    result = tirada("export", "huggingface", folder("one", 3))
    loaded = datasets.load_dataset("imagefolder", data_dir=str(export_of(result)), split="train")
    assert loaded.num_rows == 3
    assert loaded[0]["title"] == "Fog in a valley: one"
    assert loaded[0]["image"].size == (64, 48)


# --- which images, and where to ---------------------------------------------------------------------------------------


def test_runs_by_id_latest_and_folders(tirada: Tirada) -> None:
    first = tirada("2", "64x64", "--draft", "--prompts", "2", "--seed", "1", "--json")
    tirada("1", "64x64", "--draft", "--seed", "2", "--quiet")
    tirada("3", "--only-prompts", "--quiet")
    report = json.loads(first.out)
    run_id, batch = report["run_id"], Path(report["folders"][0])

    def exported(*names: object) -> int:
        result = tirada("export", "huggingface", *names, "--json")
        assert result.code == 0, result.err
        images = json.loads(result.out)["images"]
        assert isinstance(images, int)
        return images

    assert exported(run_id) == exported(run_id[:6]) == 4
    assert exported("latest") == 1
    assert exported("latest", run_id, batch) == 5
    assert exported(batch) == exported(batch.name) == exported(batch / "info.json") == 2
    assert exported("output") == 5


def test_another_output_folder(tirada: Tirada) -> None:
    tirada("1", "64x64", "--draft", "--quiet", "--output", "elsewhere")
    assert tirada("export", "huggingface", "latest").code == 2
    result = tirada("export", "huggingface", "latest", "--output", "elsewhere")
    assert export_of(result).parent == Path("elsewhere/exports")
    assert not Path("output").exists()


def test_a_place_of_ones_own_and_nothing_is_overwritten(tirada: Tirada) -> None:
    one = folder("one")
    assert export_of(tirada("export", "huggingface", one, "--to", "a/set")) == Path("a/set")
    before = snapshot(Path("a"))
    again = tirada("export", "adobe-stock", one, "--to", "a/set")
    assert again.code == 2
    assert "already" in again.err
    assert snapshot(Path("a")) == before
    assert [path.name for path in Path("a").iterdir()] == ["set"]


@pytest.mark.parametrize("target", ["adobe-stock", "huggingface"])
def test_what_is_not_there_is_said(tirada: Tirada, target: str) -> None:
    one = folder("one")
    (one / "02.jpg").unlink()
    Path("batches/unfinished").mkdir()
    Path("empty").mkdir()
    result = tirada("export", target, one)
    assert "1 file is not there any more, the first is 'one/02.jpg'" in result.err
    for name in ("empty", "nope", "latest"):
        missing = tirada("export", target, name)
        assert missing.code == 2
        assert "Traceback" not in missing.err
    (one / "01.jpg").unlink()
    nothing = tirada("export", target, one)
    assert nothing.code == 2
    assert "no finished image" in nothing.err
    (one / "info.json").write_text("{")
    broken = tirada("export", target, one)
    assert broken.code == 2
    assert "not a JSON file" in broken.err
    assert len(list(Path("output/exports").iterdir())) == 1


def test_folders_that_are_not_finished_are_left_out(tirada: Tirada) -> None:
    report = json.loads(tirada("1", "64x64", "--draft", "--prompts", "2", "--json").out)
    (Path(report["folders"][0]) / "info.json").unlink()
    result = tirada("export", "huggingface", report["run_id"])
    assert "1 folder without an info.json left out" in result.err
    assert "resume" in result.err
    assert len(list((export_of(result) / "train").glob("*.png"))) == 1


def test_a_full_disk_leaves_no_half_export(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    one = folder("one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    result = tirada("export", "adobe-stock", one, "--to", "out/set")
    assert result.code == 1
    assert "No space left" in result.err
    assert list(Path("out").iterdir()) == []


def test_of_two_exports_of_one_name_the_second_says_so(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    result = tirada("export", "huggingface", folder(), "--to", "out/images")
    assert (result.code, result.out) == (2, "")
    assert "'out/images' came into being meanwhile, and nothing is overwritten" in result.err
    assert [path.name for path in Path("out").rglob("*")] == ["images", "theirs"]
