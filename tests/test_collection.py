"""``collection`` through the front door: exact numbers, all different, every record, and what is refused beforehand."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from PIL import Image

from models.backends.draft import DraftBackend
from tests.cli_tools import ROOT, TINY, Result, Tirada, info_of
from tests.servers.base import Fault
from tests.servers.openai_api import OpenAIServer
from tests.servers.sd_webui import SdWebui
from tirada.workflows import collection
from tirada.workflows.tokens.catalogue import load
from tirada.workflows.tokens.rarity import rarities

SMALL = ("--draft", "--size", TINY)
FOXES = load(ROOT / "data", "foxes")
TITLES = [trait.title for trait in FOXES.traits]

_ATTRIBUTES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"trait_type": {"type": "string", "minLength": 1}, "value": {"type": "string", "minLength": 1}},
        "required": ["trait_type", "value"],
        "additionalProperties": False,
    },
}
_TEXT = {"type": "string", "minLength": 1}
#: The fields of ERC-721 (https://eips.ethereum.org/EIPS/eip-721, "ERC721 Metadata JSON Schema") with those of OpenSea
#: (https://docs.opensea.io/docs/metadata-standards) as far as a still image has them, and our licence and maker.
ERC721 = {
    "type": "object",
    "properties": {"name": _TEXT, "description": _TEXT, "image": _TEXT, "external_url": _TEXT}
    | {"attributes": _ATTRIBUTES, "license": _TEXT, "created_by": _TEXT},
    "required": ["name", "description", "image", "attributes"],
    "additionalProperties": False,
}
#: The NonFungible standard of https://developers.metaplex.com/token-metadata/token-standard, with the lengths that the
#: program allows for name and symbol.
METAPLEX = {
    "type": "object",
    "properties": {"name": {**_TEXT, "maxLength": 32}, "symbol": {"type": "string", "maxLength": 10}}
    | {"description": _TEXT, "image": _TEXT, "external_url": _TEXT, "attributes": _ATTRIBUTES}
    | {"license": _TEXT, "created_by": _TEXT}
    | {
        "properties": {
            "type": "object",
            "properties": {
                "files": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {"uri": _TEXT, "type": {"pattern": "^image/(png|jpeg|webp)$"}},
                        "required": ["uri", "type"],
                        "additionalProperties": False,
                    },
                },
                "category": {"const": "image"},
            },
            "required": ["files", "category"],
            "additionalProperties": False,
        }
    },
    "required": ["name", "symbol", "description", "image", "attributes", "properties"],
    "additionalProperties": False,
}


def folder_of(done: Result) -> Path:
    assert done.code == 0, done.err
    return done.folders[0] if done.folders else Path(done.json["folders"][0])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def tokens_of(folder: Path) -> list[dict[str, str]]:
    """The attributes of each token, by number."""
    paths = sorted((folder / "metadata").iterdir(), key=lambda path: int(path.stem))
    return [{one["trait_type"]: one["value"] for one in read(path)["attributes"]} for path in paths]


def rarity_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "rarity.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def is_sound(token: dict[str, str]) -> bool:
    return FOXES.broken({trait.name: token[trait.title] for trait in FOXES.traits}) is None


def small_collection(name: str = "owls", hats: int = 3, coats: int = 2, title: str = "Owls") -> dict[str, str]:
    """A collection of hats x coats tokens, and the setting that leads to it."""
    folder = Path("data/collections") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "collection.toml").write_text(
        f'title = "{title}"\ndescription = "Owls with things on."\nprompt = "an owl"\n'
        'template = "an owl with {hat} and {coat}"\n[tiers]\ncommon = 9\nrare = 1\n',
        encoding="utf-8",
    )
    lines = []
    for trait, size in (("hat", hats), ("coat", coats)):
        lines.append(f"[{trait}]\nvalues = [")
        lines += [
            f'{{ value = "{trait} {n}", tier = "{"rare" if n == 0 else "common"}", prompt = "{trait} {n}" }},'
            for n in range(size)
        ]
        lines.append("]")
    (folder / "traits.toml").write_text("\n".join(lines), encoding="utf-8")
    return {"DATA_DIR": "data"}


# --- the tokens -------------------------------------------------------------------------------------------------------


def test_a_collection_and_all_that_belongs_to_it(tirada: Tirada) -> None:
    done = tirada("collection", 12, *SMALL, "--seed", "5", "--quota", "head=Top Hat:4", "--quota", "Fur=moonlight:1")
    folder = folder_of(done)
    tokens = tokens_of(folder)
    assert len({tuple(token.values()) for token in tokens}) == 12
    assert all(map(is_sound, tokens))
    assert [list(token) for token in tokens] == [TITLES] * 12
    assert sum(token["Head"] == "Top Hat" for token in tokens) == 4
    assert sum(token["Fur"] == "Moonlight" for token in tokens) == 1
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "base.png",
        "collection.html",
        "rarity.csv",
        "provenance.json",
        *(f"{n:02}.png" for n in range(1, 13)),
    }
    info = info_of(folder)
    base, *images = info["images"]
    assert (base["kind"], base["step"], base["prompt"]) == ("step", 0, FOXES.prompt)
    assert info["brief"]["quotas"] == "head=Top Hat:4; Fur=moonlight:1"
    assert info["brief"]["tokens"] == f"12 of {FOXES.space().count():,} that there can be"
    assert len({image["seed"] for image in info["images"]}) == 13
    for number, (image, token) in enumerate(zip(images, tokens, strict=True), start=1):
        assert (image["kind"], image["step"], image["title"]) == ("result", 1, f"Lantern Fox #{number}")
        assert {title: image["facts"][title] for title in TITLES} == token
        assert all(trait.value(token[trait.title]).prompt in image["prompt"] for trait in FOXES.traits)
    assert "private" not in info["job"]["settings"]


def test_weights_become_exact_counts(tirada: Tirada) -> None:
    tokens = tokens_of(folder_of(tirada("collection", 60, *SMALL, "--seed", "1")))
    for trait in FOXES.traits:
        have = Counter(token[trait.title] for token in tokens)
        for value, share in trait.shares().items():
            assert abs(have[value] - 60 * share) < 1, value


def test_all_there_can_be_and_not_one_more(tirada: Tirada) -> None:
    setting = small_collection(hats=4, coats=3)
    owls = ("collection", "--collection", "owls", *SMALL)
    done = tirada(*owls, 12, **setting)
    tokens = tokens_of(folder_of(done))
    assert len({tuple(token.values()) for token in tokens}) == 12
    assert "These are all the tokens there can be" in done.err
    more = tirada(*owls, 13, **setting)
    assert (more.code, "only 12 different ones can be made" in more.err) == (2, True)
    fixed = tirada(*owls, 12, "--quota", "hat=hat 1:2", **setting)
    assert (fixed.code, "hat=hat 1 wants 2, but only 9 tokens can be without it" in fixed.err) == (2, True)


def test_weights_that_bend_are_told(tirada: Tirada) -> None:
    setting = small_collection(hats=2, coats=4)
    done = tirada("collection", 7, "--collection", "owls", *SMALL, **setting)
    tokens = tokens_of(folder_of(done))
    # By weight one in ten is hat 0; but only four tokens are without it.
    assert Counter(token["Hat"] for token in tokens) == {"hat 0": 3, "hat 1": 4}
    assert "Constraints and uniqueness leave no room for all weights: " in done.err
    assert "hat=hat 0: 3 instead of 1" in done.err
    page = (done.folders[0] / "collection.html").read_text(encoding="utf-8")
    assert "<tr><td>hat 0</td><td>rare</td><td>3</td><td>42.86%</td><td>1</td></tr>" in page


def test_earlier_collections_are_not_made_again(tirada: Tirada) -> None:
    setting = small_collection(hats=4, coats=3)
    owls = ("collection", "--collection", "owls", *SMALL)
    first = folder_of(tirada(*owls, 5, **setting))
    second = folder_of(tirada(*owls, 4, "--exclude", first / "metadata", **setting))
    third = folder_of(tirada(*owls, 3, "--exclude", first, "--exclude", second, **setting))
    made = [tuple(token.values()) for folder in (first, second, third) for token in tokens_of(folder)]
    assert len(set(made)) == 12
    assert info_of(third)["brief"]["excluded"] == "9 of earlier collections"
    fourth = tirada(*owls, 1, *(part for one in (first, second, third) for part in ("--exclude", one)), **setting)
    assert (fourth.code, "There is no token left" in fourth.err) == (2, True)


def test_the_seed_decides_everything(tirada: Tirada) -> None:
    one, same, other = (folder_of(tirada("collection", 8, *SMALL, "--seed", seed)) for seed in (3, 3, 4))
    assert tokens_of(one) == tokens_of(same) != tokens_of(other)
    for name in ("provenance.json", "rarity.csv", "collection.html"):
        assert (one / name).read_bytes() == (same / name).read_bytes()


# --- the records ------------------------------------------------------------------------------------------------------


def test_metadata_of_two_standards(tirada: Tirada) -> None:
    places = ("--images-at", "ipfs://bafyexample/", "--external-url", "https://example.org/foxes")
    folder = folder_of(tirada("collection", 3, *SMALL, *places, "--file-format", "webp"))
    for number in (1, 2, 3):
        one, two = read(folder / "metadata" / f"{number}.json"), read(folder / "metaplex" / f"{number}.json")
        validate(one, ERC721)
        validate(two, METAPLEX)
        assert one["name"] == two["name"] == f"Lantern Fox #{number}"
        assert (
            one["image"] == two["image"] == two["properties"]["files"][0]["uri"] == f"ipfs://bafyexample/0{number}.webp"
        )
        assert one["external_url"] == two["external_url"] == "https://example.org/foxes"
        assert (one["license"], two["symbol"]) == ("CC BY 4.0", "LFOX")
        assert two["properties"]["files"][0]["type"] == "image/webp"
        assert one["attributes"] == two["attributes"]
    plain = read(folder_of(tirada("collection", 1, *SMALL)) / "metadata" / "1.json")
    validate(plain, ERC721)
    assert (plain["image"], "external_url" in plain) == ("01.png", False)


def test_the_table_of_rarity(tirada: Tirada) -> None:
    done = tirada("collection", 20, *SMALL, "--json")
    folder = folder_of(done)
    tokens, rows = tokens_of(folder), rarity_rows(folder)
    found = rarities(tokens)
    assert sorted(int(row["number"]) for row in rows) == list(range(1, 21))
    assert [int(row["rank"]) for row in rows] == sorted(one.rank for one in found)
    for row in rows:
        number = int(row["number"])
        rarity, token = found[number - 1], tokens[number - 1]
        assert (row["file"], row["name"]) == (f"{number:02}.png", f"Lantern Fox #{number}")
        assert (int(row["rank"]), float(row["score"])) == (rarity.rank, pytest.approx(rarity.score))
        for title in TITLES:
            assert row[title] == token[title]
            assert int(row[f"{title} count"]) == sum(other[title] == token[title] for other in tokens)
    result = done.json["result"]
    assert (result["tokens"], result["wanted"], result["collection"]) == (20, 20, "foxes")
    assert [one["number"] for one in result["rarest"]] == [int(row["number"]) for row in rows[:10]]
    assert Path(result["page"]).is_file()


def test_the_provenance_can_be_checked(tirada: Tirada) -> None:
    done = tirada("collection", 4, *SMALL, "--json")
    folder = folder_of(done)
    record = read(folder / "provenance.json")
    hashes = [hashlib.sha256((folder / f"0{n}.png").read_bytes()).hexdigest() for n in (1, 2, 3, 4)]
    assert [image["sha256"] for image in record["images"]] == hashes
    assert record["provenance"] == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert record["provenance"] == done.json["result"]["provenance"]
    assert (record["count"], record["missing"]) == (4, [])


def test_the_page_lets_nothing_else_run_and_holds_the_table(tirada: Tirada) -> None:
    setting = small_collection(title="<script>alert(1)</script> & Owls")
    folder = folder_of(tirada("collection", 5, "--collection", "owls", *SMALL, **setting))
    page = (folder / "collection.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Owls" in page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    (block,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    data = json.loads(block)
    assert data["token"] == "<script>alert(1)</script> & Owls"[:24]
    tokens = tokens_of(folder)
    for number, file, rank, _, *values in data["rows"]:
        assert (folder / file).is_file() and rank >= 1
        named = {trait["title"]: trait["values"][v][0] for trait, v in zip(data["traits"], values, strict=True)}
        assert named == tokens[number - 1]


# --- passes -----------------------------------------------------------------------------------------------------------


def test_a_base_of_ones_own(tirada: Tirada) -> None:
    Image.new("RGB", (64, 64), "orange").save("fox.png")
    info = info_of(folder_of(tirada("collection", 2, *SMALL, "--base", "fox.png", "--strength", "0.4")))
    assert [image["file"] for image in info["images"]] == ["01.png", "02.png"]
    (step,) = info["job"]["steps"]
    assert step == {"images": 2, "request": {"init_image": str(Path("fox.png").resolve()), "strength": 0.4}}


def test_a_second_backend_refines_every_token_from_its_own_picture(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SdWebui() as server:
        monkeypatch.setenv("STABLE_DIFFUSION_URL", server.url)
        refine = ("--refine", "sdapi", "--refine-strength", "0.25", "--lora", "add_detail:0.8")
        folder = folder_of(tirada("collection", 3, *SMALL, *refine))
        asked = [request.json for request in server.requests if request.path.endswith("/img2img")]
    kinds = {image["file"]: (image["kind"], image["step"]) for image in info_of(folder)["images"]}
    plain = {f"0{n}-traits.png": ("step", 1) for n in (1, 2, 3)}
    assert kinds == {"base.png": ("step", 0), **plain, **{f"0{n}.png": ("result", 2) for n in (1, 2, 3)}}
    started = {
        hashlib.sha256(base64.b64decode(one["init_images"][0].partition(",")[2] or one["init_images"][0])).digest()
        for one in asked
    }
    assert len(started) == 3
    assert all("<lora:add_detail:0.8>" in one["prompt"] and FOXES.refine in one["prompt"] for one in asked)
    assert len(tokens_of(folder)) == 3


def test_a_backend_that_starts_from_no_image_makes_them_from_words(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    unable = replace(DraftBackend.capabilities, init_image=False, references=0)
    monkeypatch.setattr(DraftBackend, "capabilities", unable)
    done = tirada("collection", 2, *SMALL)
    assert [image["file"] for image in info_of(folder_of(done))["images"]] == ["01.png", "02.png"]
    assert "starts from no image. The character is made from words alone." in done.err
    Image.new("RGB", (64, 64)).save("fox.png")
    assert tirada("collection", 2, *SMALL, "--base", "fox.png").code == 2


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture
def earlier() -> Iterator[None]:
    for name, content in (("bad", "{}"), ("none", '{"attributes": [{"trait_type": "Wing", "value": "Left"}]}')):
        folder = Path(name) / "metadata"
        folder.mkdir(parents=True)
        (folder / "1.json").write_text(content, encoding="utf-8")
    Path("empty").mkdir()
    yield


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("0",), "greater than or equal to 1"),
        (("5", "--collection", "foxe"), "did you mean 'foxes'?"),
        (("5", "--quota", "head"), "--quota 'head' is not understood: write trait=value:number"),
        (("5", "--quota", "head=Top Hat:few"), "is not understood"),
        (("5", "--quota", "haed=Top Hat:1"), "There is no trait called 'haed': did you mean 'head'?"),
        (("5", "--quota", "head=Top Hta:1"), "There is no value of head called 'Top Hta': did you mean 'Top Hat'?"),
        (("5", "--quota", "head=Beret:1", "--quota", "Head=beret:2"), "There are two quotas of head=Beret"),
        (("5", "--quota", "head=Beret:6"), "head=Beret wants 6, but the collection has only 5."),
        (
            ("9", "--quota", "head=Diver's Helmet:5", "--quota", "body=Diving Suit:2"),
            "beside the quotas of body (body=Diving Suit: 2): the helmet is screwed to the suit.",
        ),
        (("100001",), "less than or equal to 100000"),
        (("5", "--exclude", "absent"), "There is no folder 'absent'"),
        (("5", "--exclude", "empty"), "There is no collection in 'empty'"),
        (("5", "--exclude", "bad"), "is no metadata of a token"),
        (("5", "--exclude", "none"), "None of the 1 tokens in 'none' could be of the collection 'foxes'"),
        (("5", "--base", "absent.png"), "There is no file 'absent.png'"),
        (("5", "--refine", "fluxx"), "Did you mean 'flux'?"),
        (("5", "--refine-model", "x"), "--refine-model says how to refine"),
        (("5", "--external-url", "example.org"), "write https://"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(tirada: Tirada, arguments: tuple[str, ...], says: str) -> None:
    done = tirada("collection", *arguments, *SMALL)
    assert (done.code, says in re.sub(r"\s+", " ", done.err)) == (2, True), done.err
    assert not Path("output").exists()


def test_a_token_that_failed_is_missing_until_it_is_retried(
    tirada: Tirada, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRY_TRIES", "1")
    Image.new("RGB", (1024, 1024), "orange").save("fox.png")
    openai.faults.append(Fault(status=500, path="/images/edits"))
    done = tirada("collection", 3, "--dalle", "--yes", "--base", "fox.png", "--seed", "1", "--json")
    assert (done.code, done.json["done"], done.json["failed"]) == (4, 2, 1), done.err
    folder = Path(done.json["folders"][0])
    (missing,) = read(folder / "provenance.json")["missing"]
    assert not (folder / "metadata" / f"{missing}.json").exists()
    assert len(rarity_rows(folder)) == 2
    assert "1 token is still missing." in (folder / "collection.html").read_text(encoding="utf-8")
    again = tirada("retry", done.json["run_id"], "--json")
    assert (again.code, again.json["result"]["tokens"]) == (0, 3), again.err
    assert len(tokens_of(folder)) == len(rarity_rows(folder)) == 3
    assert read(folder / "provenance.json")["missing"] == []


def test_a_resume_makes_the_tokens_that_were_decided_on(tirada: Tirada, openai: OpenAIServer) -> None:
    setting = small_collection(hats=4, coats=3)
    owls = ("collection", "--collection", "owls", "--seed", "6")
    earlier = folder_of(tirada(*owls, 4, *SMALL, **setting))
    whole = tokens_of(folder_of(tirada(*owls, 6, *SMALL, "--exclude", earlier, **setting)))
    cut = tirada(*owls, 6, "--dalle", "--exclude", earlier, "--budget", "0.04", "--json", **setting)
    assert cut.code == 5, cut.err
    assert 0 < cut.json["done"] < 7
    # Neither the earlier collection nor its metadata are needed any more.
    for path in (earlier / "metadata").iterdir():
        path.unlink()
    again = tirada("resume", "--budget", "1", "--json", **setting)
    assert (again.code, again.json["done"]) == (0, 7), again.err
    assert tokens_of(folder_of(again)) == whole


def test_tokens_are_not_made_of_a_catalogue_that_changed(
    tirada: Tirada, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = small_collection(hats=4, coats=3)
    decide = collection.decide

    def change_afterwards(*arguments: Any) -> Any:
        decision = decide(*arguments)
        small_collection(hats=5, coats=3)
        return decision

    monkeypatch.setattr(collection, "decide", change_afterwards)
    done = tirada("collection", 5, "--collection", "owls", "--dalle", "--yes", **setting)
    assert (done.code, openai.billed) == (1, 0)
    assert "The traits of 'owls' are not those that this run was planned with" in done.err


def test_a_collection_is_made_again_from_its_record(tirada: Tirada) -> None:
    folder = folder_of(tirada("collection", 4, *SMALL, "--quota", "head=Teapot:2"))
    copy = folder_of(tirada("rerun", folder))
    assert tokens_of(copy) == tokens_of(folder)
    for name in ("provenance.json", "rarity.csv", "collection.html"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
