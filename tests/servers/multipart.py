"""Reads multipart/form-data as a server does, for the stand-ins that take forms.

Invariant: every byte of a file comes out as it was sent; a body that is no well-formed form comes out as None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple


class Upload(NamedTuple):
    """A part with a file name."""

    filename: str
    content_type: str
    data: bytes


#: Every value sent under a name, in order: text as str, files as Upload.
Form = dict[str, list[str | Upload]]


def parse_form(headers: Mapping[str, str], body: bytes) -> Form | None:
    """The fields of a form; None for any other content type and for a form that is broken."""
    message = Message()
    message["Content-Type"] = headers.get("content-type", "")
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        return None
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if first or not parts or not parts[-1].startswith(b"--"):
        return None
    form: Form = {}
    for part in parts[:-1]:
        field = _field(part)
        if field is None:
            return None
        form.setdefault(field[0], []).append(field[1])
    return form


def _field(part: bytes) -> tuple[str, str | Upload] | None:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        return None
    try:
        lines = [line.partition(":") for line in head.decode().splitlines() if line]
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        said = headers.get("content-disposition", "")
        names = dict(re.findall(r'; *([a-z]+)="([^"]*)"', said))
        if not said.startswith("form-data") or "name" not in names:
            return None
        if "filename" in names:
            return names["name"], Upload(names["filename"], headers.get("content-type", "text/plain"), content)
        return names["name"], content.decode()
    except UnicodeDecodeError:
        return None
