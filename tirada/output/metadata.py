"""What an image says about itself: the A1111 ``parameters`` text, the XMP packet and the EXIF block.

Invariant: everything here is well-formed whatever the texts hold; prompts and titles are data, never markup.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

from tirada.output.text import clean, one_line, xml_text

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia"]
_SOURCE_URI = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_NEGATIVE = "Negative prompt:"
#: The settings by which readers recognise the line, in the order in which gaps are named; and how many they want.
_RECOGNISED = ("Sampler", "Schedule type", "Seed", "CFG scale", "Steps")
_ENOUGH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """What is written into an image; ``width`` and ``height`` are of the file delivered."""

    title: str
    description: str
    tags: tuple[str, ...]
    prompt: str
    negative: str = ""
    seed: int | None = None
    model: str = ""
    backend: str
    width: int
    height: int
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    #: Name and version, e.g. "Tirada 0.1.0".
    tool: str
    #: IPTC's word for how the picture came to be; "algorithmicMedia" where no trained model drew it.
    source_type: SourceType = "trainedAlgorithmicMedia"


def parameters_text(metadata: ImageMetadata) -> str:
    """The generation settings as AUTOMATIC1111 writes and reads them."""
    settings = {
        "Steps": metadata.steps,
        "Sampler": metadata.scheduler,
        "CFG scale": None if metadata.guidance is None else f"{metadata.guidance:g}",
        "Seed": metadata.seed,
        "Size": f"{metadata.width}x{metadata.height}",
        "Model": metadata.model,
        "Backend": metadata.backend,
        "Version": metadata.tool,
    }
    known = {key: value for key, value in settings.items() if value not in (None, "")}
    pairs = (f"{key}: {_quoted(value)}" for key, value in _with_gaps_named(known).items())
    lines = [_body(metadata.prompt)]
    if metadata.negative.strip():
        lines.append(f"{_NEGATIVE} {_body(metadata.negative)}")
    return "\n".join([*lines, ", ".join(pairs)])


def _with_gaps_named(known: Mapping[str, object]) -> dict[str, object]:
    """The settings, and "unknown" for as many of those nobody told as make the line one of settings.

    Readers (sd-parsers) pass an image over that names no sampler, or fewer than three of ``_RECOGNISED``: services tell
    none of them. Words come before numbers, so that a reader of numbers meets as few words as can be.
    """
    count = sum(key in known for key in _RECOGNISED)
    gaps: dict[str, object] = {}
    for key in _RECOGNISED:
        if key not in known and (key == "Sampler" or count + len(gaps) < _ENOUGH):
            gaps[key] = "unknown"
    # "Steps" leads the line wherever it is known: there are readers that look for that.
    first = {"Steps": known["Steps"]} if "Steps" in known else {}
    return {**first, **gaps, **known}


def _body(text: str) -> str:
    """The text with its lines kept, except that none of them can be taken for the start of the negative prompt."""
    lines: list[str] = []
    for line in clean(text).strip().splitlines():
        if lines and line.strip().startswith(_NEGATIVE):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.rstrip())
    return "\n".join(lines)


def _quoted(value: object) -> str:
    text = one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:"') else text


def xmp_packet(metadata: ImageMetadata, *, with_parameters: bool = False) -> bytes:
    """The XMP packet; ``with_parameters`` adds the settings, for images that carry them nowhere else."""
    tags = "".join(f"<rdf:li>{_xml(tag)}</rdf:li>" for tag in metadata.tags)
    parts = [
        f"<dc:title>{_lang_alt(metadata.title)}</dc:title>",
        f"<dc:description>{_lang_alt(metadata.description)}</dc:description>",
        f"<dc:subject><rdf:Bag>{tags}</rdf:Bag></dc:subject>" if tags else "",
        f"<exif:UserComment>{_lang_alt(parameters_text(metadata))}</exif:UserComment>" if with_parameters else "",
        f"<Iptc4xmpExt:DigitalSourceType>{_SOURCE_URI}{_xml(metadata.source_type)}</Iptc4xmpExt:DigitalSourceType>",
        f"<xmp:CreatorTool>{_xml(metadata.tool)}</xmp:CreatorTool>",
    ]
    body = "\n   ".join(part for part in parts if part)
    packet = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   {body}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
    return packet.encode("utf-8")


def _xml(text: str) -> str:
    return escape(xml_text(text))


def _lang_alt(text: str) -> str:
    return f'<rdf:Alt><rdf:li xml:lang="x-default">{_xml(text)}</rdf:li></rdf:Alt>'


def exif_block(metadata: ImageMetadata) -> bytes:
    """A TIFF block (big-endian) whose UserComment holds the parameters, UTF-16, the A1111 way for JPEG and WebP."""
    comment = b"UNICODE\0" + parameters_text(metadata).encode("utf-16-be")
    header = b"MM" + struct.pack(">HI", 42, 8)
    # IFD0: one entry, the pointer (0x8769, LONG) to the Exif IFD that follows it at byte 26.
    main = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    # Exif IFD: UserComment (0x9286, UNDEFINED), its bytes right behind at 44.
    exif = struct.pack(">HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return header + main + exif + comment
