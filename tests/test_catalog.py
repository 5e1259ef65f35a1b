"""The catalog: our rows are sound, and a file of the user's own adds to them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from models.catalog import Catalog, Kind, ModelRow, load_catalog, price_hint
from models.errors import SetupError, UnsupportedRequest
from models.sizes import parse_size

TODAY = date(2026, 11, 20)
OURS = load_catalog(today=TODAY)
ROWS = OURS.rows()
NAMES = [f"{row.kind}:{row.id}" for row in ROWS]


def own(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalog(path, today=TODAY)


# --- our rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_that_goes_names_an_heir_that_stays(row: ModelRow) -> None:
    if row.retires is None:
        assert not row.use
        return
    heir = OURS.find(row.kind, row.use)
    assert heir is not None, f"{row.id} names no heir"
    assert heir.backend == row.backend
    assert heir.retires is None or heir.retires > row.retires
    assert not heir.retired(TODAY)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_is_consistent(row: ModelRow) -> None:
    assert row.source
    assert row.checked <= OURS.updated
    assert not row.default_quality or row.default_quality in row.qualities
    assert set(row.tokens) <= set(row.qualities)
    assert all(price >= 0 for price in row.per_million.values())
    assert row.price is None or not row.per_million
    assert row.per_megapixel is None or row.price is not None
    if row.tokens:
        assert set(row.tokens) == set(row.qualities) - {"auto"}
    if row.kind == "image" and row.per_million:
        assert set(row.per_million) == {"text_in", "image_in", "image_out"}
    if row.kind == "text" and row.per_million:
        assert set(row.per_million) == {"input", "cached", "output"}
    if row.sizes is not None:
        rule = row.sizes.rule()
        assert all(rule.allows(*parse_size(size)) for size in row.fallback_sizes)


def test_no_two_rows_of_a_backend_answer_to_one_name() -> None:
    names = [
        (row.kind, row.backend, name.casefold())
        for row in ROWS
        for name in (row.id, *row.aliases, *([row.weights.repository] if row.weights else []))
    ]
    assert len(names) == len(set(names))
    assert len(ROWS) == len({(row.kind, row.id.casefold()) for row in ROWS})


@pytest.mark.parametrize("row", [row for row in ROWS if row.weights], ids=lambda row: row.id)
def test_a_row_of_weights_is_complete(row: ModelRow) -> None:
    weights = row.weights
    assert weights is not None
    assert row.backend in {"stable-diffusion", "flux"}
    assert row.price == 0
    assert row.sizes is not None
    assert row.sizes.multiple % 8 == 0
    rule = row.sizes.rule()
    assert all(rule.allows(*rule.cover(*size)) for size in [(64, 64), (1024, 576), (1024, 1536), (1792, 1008)])
    assert weights.commercial or row.note, "a licence that forbids something says what"
    # Without guidance there is nothing that a negative prompt could steer.
    assert not (weights.negative and (weights.guidance <= 1 or not weights.guidance_argument))


def test_the_local_defaults_are_free_for_everyone() -> None:
    for backend in ("stable-diffusion", "flux"):
        weights = OURS.default("image", backend).weights
        assert weights is not None
        assert weights.commercial
        assert not weights.gated


def test_every_backend_has_one_living_default() -> None:
    places = {(row.kind, row.backend) for row in ROWS}
    for kind, backend in places:
        chosen = [row for row in OURS.rows(kind) if row.default and row.backend == backend]
        assert len(chosen) == 1, (kind, backend)
        assert OURS.default(kind, backend) is chosen[0]
        assert chosen[0].retires is None


def test_an_unknown_default_is_a_matter_of_set_up() -> None:
    with pytest.raises(SetupError, match="default"):
        OURS.default("image", "nobody")


# --- finding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-image-2", "gpt-image-2"),
        ("GPT-Image-2", "gpt-image-2"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("dalle3", "dall-e-3"),
        ("gpt-image-3", None),
        ("gpt-6-luna", None),
    ],
)
def test_names_aliases_and_snapshots(name: str, found: str | None) -> None:
    row = OURS.find("image", name)
    assert (row.id if row else None) == found


@pytest.mark.parametrize(
    ("backend", "name", "found"),
    [
        ("flux", "flux-dev", "FLUX.1-dev"),
        ("flux", "flux.1-DEV", "FLUX.1-dev"),
        ("flux", "black-forest-labs/FLUX.1-dev", "FLUX.1-dev"),
        ("flux", "flux-2-klein-4b", "FLUX.2-klein-4B"),
        ("flux-api", "flux-dev", "flux-dev"),
        ("flux-api", "FLUX.1-dev", None),
        ("", "flux-dev", "flux-dev"),
        ("", "FLUX.1-dev", "FLUX.1-dev"),
        ("stable-diffusion", "SDXL", "stable-diffusion-xl-base-1.0"),
        ("stable-diffusion", "sd3.5-large", "stable-diffusion-3.5-large"),
        ("stable-diffusion", "sd3-medium", "stable-diffusion-3-medium"),
        ("stability", "sd3.5-large", "sd3.5-large"),
    ],
)
def test_a_name_means_the_model_of_its_backend(backend: str, name: str, found: str | None) -> None:
    row = OURS.find("image", name, backend)
    assert (row.id if row else None) == found
    if found and backend:
        assert OURS.resolve("image", name, backend).id == found


def test_a_retired_model_says_when_and_what_to_use() -> None:
    with pytest.raises(UnsupportedRequest) as caught:
        OURS.resolve("image", "dall-e-3")
    assert "2026-05-12" in str(caught.value)
    assert "--model gpt-image-2.6-flare" in str(caught.value)
    with pytest.raises(UnsupportedRequest, match="WRITER_MODEL=gpt-6-luna"):
        OURS.resolve("text", "gpt-4")


def test_a_model_lives_until_the_day_it_is_retired() -> None:
    assert load_catalog(today=date(2026, 11, 30)).resolve("image", "gpt-image-1.5").id == "gpt-image-1.5"
    with pytest.raises(UnsupportedRequest):
        load_catalog(today=date(2026, 12, 1)).resolve("image", "gpt-image-1.5")


def test_a_slip_is_met_with_a_suggestion() -> None:
    with pytest.raises(UnsupportedRequest, match="Did you mean 'gpt-6-luna'"):
        OURS.resolve("text", "gpt-6-lunar")
    with pytest.raises(UnsupportedRequest, match="CATALOG_FILE"):
        OURS.resolve("image", "something else")
    # A dead model is never suggested.
    with pytest.raises(UnsupportedRequest) as caught:
        OURS.resolve("image", "dall-e-33")
    assert "'dall-e-3'" not in str(caught.value)


def test_a_model_of_another_backend_is_unknown() -> None:
    assert OURS.resolve("image", "draft", "draft").id == "draft"
    with pytest.raises(UnsupportedRequest):
        OURS.resolve("image", "draft", "dalle")


def test_what_retires_soon_comes_in_order() -> None:
    soon = OURS.retiring(90)
    dates = [row.retires for row in soon if row.retires]
    assert soon
    assert dates == sorted(dates)
    assert all(not row.retired(TODAY) for row in soon)
    assert OURS.retiring(0) == []


# --- prices ---------------------------------------------------------------------------------------------------------


def test_the_cost_adds_up_by_kind() -> None:
    row = OURS.resolve("image", "gpt-image-2")
    assert row.cost({"text_in": 1_000_000, "image_in": 1_000_000, "image_out": 500_000}) == Decimal("28")
    assert row.cost({"text_in": 0}) == 0


def test_an_unknown_price_is_none() -> None:
    assert OURS.resolve("image", "gpt-image-1.5").cost({"image_out": 100}) is None
    assert OURS.resolve("image", "gpt-image-2").cost({"video_out": 1}) is None
    assert OURS.resolve("image", "gpt-image-2").cost({"video_out": 0, "image_out": 0}) == 0


# --- a file of one's own --------------------------------------------------------------------------------------------

ROW = """
[[image]]
id = "gpt-image-9"
backend = "dalle"
about = "new"
per_million = { image_out = "12.5" }
source = "me"
checked = 2026-11-20
"""


def test_an_own_row_is_added(tmp_path: Path) -> None:
    catalog = own(tmp_path, ROW)
    assert catalog.resolve("image", "gpt-image-9", "dalle").per_million["image_out"] == Decimal("12.5")
    assert len(catalog.rows()) == len(ROWS) + 1


def test_an_own_row_changes_only_what_it_says(tmp_path: Path) -> None:
    changed = 'id = "gpt-image-2"\nper_million = { image_out = "12.5" }\nsizes = { max_side = 2048 }\nabout = "cheap"\n'
    catalog = own(tmp_path, f"[[image]]\n{changed}")
    before, after = OURS.resolve("image", "gpt-image-2"), catalog.resolve("image", "gpt-image-2")
    assert before.sizes is not None
    assert after == before.model_copy(
        update={
            "about": "cheap",
            "per_million": {**before.per_million, "image_out": Decimal("12.5")},
            "sizes": before.sizes.model_copy(update={"max_side": 2048}),
        }
    )
    assert len(catalog.rows()) == len(ROWS)
    # What it does not name is as it was, and another kind's row of that id is another row.
    assert [row for row in catalog.rows() if row.id != "gpt-image-2"] == [row for row in ROWS if row.id != before.id]


def test_a_price_alone_can_be_changed(tmp_path: Path) -> None:
    catalog = own(tmp_path, '[[text]]\nid = "gpt-6-luna"\nper_million = { output = "9" }\n')
    row = catalog.resolve("text", "gpt-6-luna")
    assert row.per_million == {**OURS.resolve("text", "gpt-6-luna").per_million, "output": Decimal(9)}
    catalog = own(tmp_path, '[[image]]\nid = "flux-2-pro"\nprice = "0.05"\n')
    assert catalog.resolve("image", "flux-2-pro").image_price(1024 * 1024) == Decimal("0.05")


@pytest.mark.parametrize(("kind", "backend"), [("image", "dalle"), ("text", "")])
@pytest.mark.parametrize("model", ['my/"odd" one', "gpt-image-1.5"])
def test_the_hint_for_a_missing_price_is_a_file_that_loads(
    tmp_path: Path, kind: Kind, backend: str, model: str
) -> None:
    hint = price_hint(kind, model, backend)
    catalog = own(tmp_path, hint.partition("`")[2].rpartition("`")[0])
    row = catalog.resolve(kind, model, backend)
    assert row.cost({"input": 10, "output": 10} if kind == "text" else {}) is not None


WEIGHTS = """
[image.weights]
family = "sdxl"
repository = "me/mine"
steps = 20
guidance = 5
licence = "mine"
commercial = true
gated = false
memory = { model = 5, text = 1.5, work = 4 }
long_prompts = "compel"
"""


def test_own_weights_are_found_by_their_repository(tmp_path: Path) -> None:
    catalog = own(tmp_path, ROW.replace("dalle", "stable-diffusion") + WEIGHTS)
    row = catalog.resolve("image", "Me/Mine", "stable-diffusion")
    assert row.id == "gpt-image-9"
    assert row.weights is not None
    assert row.weights.memory.whole == 10.5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"sdxl"', '"sdxxl"', "weights.family"),
        ('"me/mine"', '"mine"', "weights.repository"),
        ('"compel"', '"prose"', "max_tokens"),
        ("gated = false", 'gated = false\nreferences = "image"', "references_max"),
        ("model = 5", "model = 0", "weights.memory.model"),
        ("commercial = true\n", "", "weights.commercial"),
    ],
)
def test_broken_weights_say_where(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        own(tmp_path, ROW + WEIGHTS.replace(old, new))
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_rows_of_both_kinds_may_share_a_name(tmp_path: Path, kind: Kind) -> None:
    catalog = own(tmp_path, ROW + ROW.replace("[[image]]", "[[text]]"))
    assert catalog.resolve(kind, "gpt-image-9").kind == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[image]\n", "not valid TOML"),
        ("[[picture]]\nid = 'a'\n", "unknown key 'picture'"),
        (ROW.replace("about", "abot"), "gpt-image-9: about"),
        (ROW + "surprise = 1\n", "surprise"),
        (ROW.replace('"12.5"', '"cheap"'), "per_million.image_out"),
        (ROW + 'sizes = { fixed = ["9x9"] }\n', "64 to 4096"),
        ("[[image]]\nabout = 'a'\n", "number 1"),
        ("[[image]]\nid = ['a']\n", "['a']: id"),
        ("[[image]]\nid = 'gpt-image-2'\nprice = 'low'\n", "[[image]] gpt-image-2: price"),
        ("[[image]]\nid = 'gpt-image-2'\nsizes = { max_syde = 9 }\n", "gpt-image-2: sizes.max_syde"),
        ("[[image]]\nid = 'gpt-image-2'\nsizes = 3\n", "gpt-image-2: sizes"),
        ("[[image]]\nid = 'gpt-imag-2'\nprice = '1'\n", "Did you mean 'gpt-image-2'?"),
        ("[[image]]\nid = 'x'\nprice = '1'\n", "[[image]] x: about Field required. A row with an id that is not in"),
        ("[image]\nid = 'a'\n", "image"),
        ("image = 3\n", "image"),
        ("image = ['a']\n", "image"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        own(tmp_path, text)
    assert said in str(caught.value)
    assert "own.toml" in str(caught.value)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="CATALOG_FILE"):
        load_catalog(tmp_path / "none.toml")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match="TOML"):
        load_catalog(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        load_catalog(tmp_path)


def test_a_price_by_the_megapixel_counts_whole_ones_and_the_references() -> None:
    row = OURS.resolve("image", "flux-2-pro")
    assert row.image_price(64 * 64) == row.image_price(1024 * 1024) == Decimal("0.03")
    assert row.image_price(1024 * 1024 + 1) == Decimal("0.045")
    assert row.image_price(2048 * 2048, [512 * 512, 1024 * 1025]) == Decimal("0.03") + 6 * Decimal("0.015")
    assert row.cost({}) is None
    assert OURS.resolve("image", "flux-dev").image_price(1440 * 1440, [10**7]) == Decimal("0.025")
    assert OURS.resolve("image", "gpt-image-2").image_price(1024 * 1024) is None
