"""A stand-in of the Hugging Face hub: repositories that are folders, over the calls that the hub's library makes.

Files of weights are large ones (LFS, named by their SHA-256), all others small (named by git's own checksum). Use it
with ``HF_ENDPOINT`` set to its ``url``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.base import Answer, Service, as_json

LARGE = (".safetensors", ".bin", ".onnx", ".ckpt", ".pt", ".msgpack")


@dataclass(kw_only=True)
class Repository:
    """What the hub has under one name: a folder, and files beside it or instead of its own; read once."""

    folder: Path
    #: Further files, as name -> content.
    more: Mapping[str, bytes] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    licence: str = "apache-2.0"
    #: Handed out only to those who send the token of the stand-in.
    gated: bool = False
    #: Sizes that are claimed instead of the true ones.
    claims: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[str, bytes]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        own = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}
        return {name: content for name, content in {**own, **self.more}.items() if name not in self.without}

    def read(self, name: str) -> bytes:
        return self.files[name]

    @cached_property
    def commit(self) -> str:
        """Changes with what is in it."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name in sorted(self.files):
            digest.update(f"{name} {checksum(self.read(name), large=is_large(name))}\n".encode())
        return digest.hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(LARGE)


@cache
def checksum(content: bytes, *, large: bool) -> str:
    """SHA-256 of a large file, git's of a small one."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Hub(Service):
    """The hub; ``repositories`` is what it has, by "owner/name"."""

    token = "hf_0123456789abcdefghij"

    def __init__(self, **repositories: Repository) -> None:
        super().__init__()
        self.repositories: dict[str, Repository] = dict(repositories)

    def fetched(self) -> list[str]:
        """The files that were fetched, in order; not those of which only the size was asked."""
        found = []
        for request in self.requests:
            named = re.match(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", urlsplit(request.path).path)
            if named and request.headers.get("x-test-method") != "HEAD":
                found.append(unquote(named[1]))
        return found

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
        return super().handle(method, path, {**headers, "x-test-method": method}, body)

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        parts = urlsplit(path)
        where = unquote(parts.path)
        if (
            api := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|auth-check|tree)(?:/.*)?)?", where)
        ) is not None:
            repository = self.repositories.get(api[1])
            if repository is None:
                return self.error(401)
            return self._api(api[1], repository, api[2] or "revision", headers, parse_qs(parts.query))
        if (file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", where)) is not None:
            repository = self.repositories.get(file[1])
            if repository is None:
                return self.error(401)
            return self._file(method, repository, file[2], file[3], headers)
        return self.error(404)

    def error(self, status: int, code: str = "") -> Answer:
        codes = {401: "RepoNotFound", 403: "GatedRepo", 404: "EntryNotFound"}
        said = {"X-Error-Code": code or codes[status]} if code or status in codes else {}
        words = {401: "Invalid username or password.", 403: "Access to this model is restricted."}
        message = words.get(status, "Something went wrong.")
        return as_json({"error": message}, status, {**said, "X-Error-Message": message})

    def _open(self, repository: Repository, headers: Mapping[str, str]) -> bool:
        return not repository.gated or headers.get("authorization") == f"Bearer {self.token}"

    def _api(
        self, name: str, repository: Repository, kind: str, headers: Mapping[str, str], query: Mapping[str, Any]
    ) -> Answer:
        if kind == "auth-check":
            return as_json({}) if self._open(repository, headers) else self.error(403)
        files = [self._entry(repository, file, kind) for file in sorted(repository.files)]
        if kind == "tree":
            return as_json(files)
        if "blobs" not in query:
            files = [{"rfilename": file["rfilename"]} for file in files]
        return as_json(
            {
                "id": name,
                "modelId": name,
                "sha": repository.commit,
                "private": False,
                "gated": "auto" if repository.gated else False,
                "cardData": {"license": repository.licence} if repository.licence else None,
                "siblings": files,
            }
        )

    def _entry(self, repository: Repository, name: str, kind: str) -> dict[str, Any]:
        content = repository.read(name)
        size = repository.claims.get(name, len(content))
        oid = checksum(content, large=False)
        entry: dict[str, Any] = {"size": size}
        entry |= {"type": "file", "path": name, "oid": oid} if kind == "tree" else {"rfilename": name, "blobId": oid}
        if is_large(name):
            sha256 = checksum(content, large=True)
            entry["lfs"] = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": 130}
        return entry

    def _file(
        self, method: str, repository: Repository, revision: str, name: str, headers: Mapping[str, str]
    ) -> Answer:
        if revision not in ("main", repository.commit):
            return self.error(404, "RevisionNotFound")
        if not self._open(repository, headers):
            return self.error(403)
        if name not in repository.files:
            return self.error(404)
        content = repository.read(name)
        large = is_large(name)
        out = {"ETag": f'"{checksum(content, large=large)}"', "X-Repo-Commit": repository.commit}
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if asked is None or method == "HEAD":
            return Answer(body=content, content_type="application/octet-stream", headers=out)
        start = int(asked[1])
        if start >= len(content):
            return Answer(status=416, headers={**out, "Content-Range": f"bytes */{len(content)}"})
        out["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(status=206, body=content[start:], content_type="application/octet-stream", headers=out)
