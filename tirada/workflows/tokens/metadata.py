"""The files that marketplaces and buyers read, for each token and for the collection.

``metadata/<n>.json`` follows ERC-721 with OpenSea's attributes (https://docs.opensea.io/docs/metadata-standards),
``metaplex/<n>.json`` the token standard of Metaplex for Solana (https://developers.metaplex.com/token-metadata),
``provenance.json`` is the usual record: the SHA-256 of each image in order, and that of all of them put together.
Invariant: what is written depends on the tokens alone; written again, it is the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tirada.errors import UsageError, reason
from tirada.output import atomic
from tirada.workflows.tokens.rarity import Rarity

ERC721, METAPLEX = "metadata", "metaplex"
PROVENANCE = "provenance.json"
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What all tokens of a collection say of themselves."""

    title: str
    description: str
    #: What a token is called before its number.
    token: str
    symbol: str = ""
    licence: str = ""
    creator: str = ""
    external_url: str = ""
    #: Where the images will be, e.g. ``ipfs://CID``; empty = beside the metadata, by name.
    images_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished token."""

    #: From 1.
    number: int
    #: Its image, a name in the folder of the collection.
    file: str
    #: Title of the trait -> value.
    attributes: Mapping[str, str]


def erc721(about: About, token: Made) -> dict[str, Any]:
    """The metadata of a token by ERC-721, with OpenSea's attributes."""
    return {
        "name": _name(about, token),
        "description": about.description,
        "image": _uri(about, token),
        **({"external_url": about.external_url} if about.external_url else {}),
        "attributes": _attributes(token),
        **_rights(about),
    }


def metaplex(about: About, token: Made) -> dict[str, Any]:
    """The metadata of a token by the standard of Metaplex (NonFungible)."""
    uri = _uri(about, token)
    return {
        "name": _name(about, token),
        "symbol": about.symbol,
        "description": about.description,
        "image": uri,
        **({"external_url": about.external_url} if about.external_url else {}),
        "attributes": _attributes(token),
        "properties": {
            "files": [{"uri": uri, "type": _TYPES[Path(token.file).suffix.lower()]}],
            "category": "image",
        },
        **_rights(about),
    }


def write_tokens(folder: Path, about: About, tokens: Sequence[Made]) -> None:
    """Both files of each token; a file that says the same already is left alone."""
    for name, shape in ((ERC721, erc721), (METAPLEX, metaplex)):
        place = folder / name
        place.mkdir(exist_ok=True)
        for token in tokens:
            path = place / f"{token.number}.json"
            content = (json.dumps(shape(about, token), ensure_ascii=False, indent=2) + "\n").encode("utf-8")
            if not path.exists() or path.read_bytes() != content:
                # Not atomic.write_bytes: waiting for the disk twenty thousand times would take minutes.
                half = place / f"{token.number}.json.tmp"
                half.write_bytes(content)
                half.replace(path)
        atomic.fsync_folder(place)


def write_rarity(folder: Path, about: About, tokens: Sequence[Made], found: Sequence[Rarity]) -> None:
    """``rarity.csv``: the rarest first, with how many tokens share each value."""
    numbers = Counter(pair for token in tokens for pair in token.attributes.items())
    traits = list(tokens[0].attributes) if tokens else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [column for trait in traits for column in (trait, f"{trait} count")]
    writer.writerow(["rank", "number", "name", "file", "score", "unique", *columns])
    for token, rarity in sorted(zip(tokens, found, strict=True), key=lambda pair: (pair[1].rank, pair[0].number)):
        values = [cell for pair in token.attributes.items() for cell in (pair[1], numbers[pair])]
        head = [rarity.rank, token.number, _name(about, token), token.file, f"{rarity.score:.9f}", rarity.unique]
        writer.writerow([*head, *values])
    atomic.write_text(folder / "rarity.csv", text.getvalue())


def write_provenance(folder: Path, about: About, tokens: Sequence[Made], wanted: int) -> str:
    """``provenance.json``; returns the hash over all images.

    That is the SHA-256 of the images' SHA-256 in hexadecimal, put together in the order of the tokens.
    """
    images = [{"number": token.number, "file": token.file, "sha256": _sha256(folder / token.file)} for token in tokens]
    whole = hashlib.sha256("".join(str(image["sha256"]) for image in images).encode("ascii")).hexdigest()
    have = {token.number for token in tokens}
    record = {
        "collection": about.title,
        "algorithm": "sha256 of the concatenated sha256 (hexadecimal, small letters) of the images in token order",
        "provenance": whole,
        "count": len(images),
        "missing": [number for number in range(1, wanted + 1) if number not in have],
        "images": images,
    }
    atomic.write_text(folder / PROVENANCE, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return whole


def read_tokens(folder: Path) -> list[dict[str, str]]:
    """The attributes of the tokens of an earlier collection: of every ``metadata/*.json`` in a folder or below it.

    The folder may also be the one with the JSON files itself. Raises UsageError where there are none or one is not
    what it should be.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {str(folder)!r} to exclude the tokens of.")
    files = sorted(folder.rglob(f"{ERC721}/*.json")) or sorted(folder.glob("*.json"))
    found = [_read_token(path) for path in files if path.stem.isdecimal()]
    if not found:
        raise UsageError(
            f"There is no collection in {str(folder)!r}: its tokens are read from {ERC721}/1.json, {ERC721}/2.json ..."
        )
    return found


def missing_in(folder: Path) -> int:
    """How many tokens an earlier collection was to have and lacks: a retry would still make them."""
    found = 0
    for path in sorted(folder.rglob(PROVENANCE)):
        try:
            found += len(json.loads(path.read_text(encoding="utf-8"))["missing"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _read_token(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(one["trait_type"]): str(one["value"]) for one in content["attributes"]}
    except RecursionError:
        raise UsageError(f"{str(path)!r} cannot be read: nested too deeply.") from None
    except (OSError, ValueError) as exc:
        raise UsageError(f"{str(path)!r} cannot be read: {reason(exc)}.") from exc
    except (KeyError, TypeError) as exc:
        raise UsageError(
            f"{str(path)!r} is no metadata of a token: it lacks attributes with trait_type and value."
        ) from exc


def _name(about: About, token: Made) -> str:
    return f"{about.token} #{token.number}"


def _uri(about: About, token: Made) -> str:
    name = quote(token.file)
    return f"{about.images_at.rstrip('/')}/{name}" if about.images_at else name


def _attributes(token: Made) -> list[dict[str, str]]:
    return [{"trait_type": trait, "value": value} for trait, value in token.attributes.items()]


def _rights(about: About) -> dict[str, str]:
    named = {"license": about.licence, "created_by": about.creator}
    return {name: text for name, text in named.items() if text}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
