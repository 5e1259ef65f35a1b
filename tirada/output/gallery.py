"""``index.html``: one self-contained contact sheet per folder, opened from disk, without network, now and in ten years.

Invariant: nothing user-written or model-written reaches the page unescaped, and a Content-Security-Policy that knows
the page's own style and script by their hashes lets nothing else run or load.
"""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

from tirada.output.info_md import settings
from tirada.output.pages import policy, resource, safe_line
from tirada.output.text import clean

if TYPE_CHECKING:
    from tirada.output.info import ImageEntry, Info

PACKAGE = "tirada.output"
#: A title of more characters is set smaller.
LONG_TITLE = 70
#: A fact of more characters, such as a prompt, is folded.
LONG_FACT = 240
#: Kinds of images, those that were asked for first, and how the others are marked.
KINDS = {"result": "", "step": "on the way", "try": "another try"}
#: Up to so many images are shown larger than a grid cell would be.
FEW = 2


def render(info: Info) -> str:
    """The whole page."""
    style = f"\n{_layout(info)}\n{resource(PACKAGE, 'gallery.css')}"
    script = f"\n{resource(PACKAGE, 'gallery.js')}"
    title = safe_line(info.title) or "Untitled"
    page = Template(resource(PACKAGE, "gallery.html")).substitute(
        csp=policy(style, script),
        style=style,
        script=script,
        language=safe_line(info.language) or "en",
        title=title,
        description=f'<p class="lead">{safe_line(info.description)}</p>' if info.description.strip() else "",
        tags=_tags(info),
        prompt=_prompt(info),
        settings="\n".join(
            f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in settings(info)[:-1]
        ),
        figures="\n".join(_figure(number, image, info) for number, image in enumerate(_results_first(info), start=1)),
        failures=_failures(info),
        command=f"<p><code>{safe_line(info.command)}</code></p>" if info.command.strip() else "",
        tool=safe_line(info.tool),
    )
    if len(info.title) > LONG_TITLE:
        page = page.replace("<h1>", '<h1 class="long">', 1)
    return page.replace('class="sheet"', 'class="sheet few"', 1) if len(info.images) <= FEW else page


def _layout(info: Info) -> str:
    """Column width by the shape of the images: wide ones need wider columns to be as large to the eye."""
    width, height = (int(part) for part in info.size.split("x"))
    ratio = min(max(width / height, 0.25), 4.0)
    column = min(max(262 * ratio**0.5, 190), 440)
    # A small image is not blown up, but its caption needs room.
    column = max(min(column, width), 176)
    cap = max(min(width, 1100, 820 * ratio), column)
    return f":root {{ --ratio: {ratio:.4f}; --col: {column:.0f}px; --cap: {cap:.0f}px; }}"


def _results_first(info: Info) -> list[ImageEntry]:
    """What was asked for, then what was made on the way to it."""
    return sorted(info.images, key=lambda image: tuple(KINDS).index(image.kind))


def _figure(number: int, image: ImageEntry, info: Info) -> str:
    seed = "" if image.seed is None else f'<span class="fact">seed {image.seed}</span>'
    name = f"{safe_line(info.words_of(image).title) or 'Untitled'}, image {number}"
    # The viewer copies the prompt of that very image.
    prompt = ""
    if image.title is not None:
        prompt = f' data-own="{_text(info.words_of(image).prompt)}"'
    elif image.prompt is not None and info.rewrite is not None:
        prompt = ' data-prompt="rewritten"'
        seed += '<span class="fact">rewritten</span>'
    minor = "" if image.kind == "result" else ' class="minor"'
    return (
        f'<figure id="image-{number}"{minor} data-seed="{"" if image.seed is None else image.seed}"{prompt}>'
        f'<a href="{_url(image.file)}"><img src="{_url(image.file)}" alt="{name}" width="{image.width}"'
        f' height="{image.height}" loading="lazy" decoding="async"></a>'
        f'<figcaption><span class="n">{number:02d}</span>{_own(image)}{seed}'
        f'<span class="fact size">{image.width} × {image.height}</span></figcaption></figure>'
    )


def _own(image: ImageEntry) -> str:
    """What a job has to say of an image."""
    if image.title is None:
        return ""
    kind = f'<span class="fact kind">{KINDS[image.kind]}</span>' if image.kind != "result" else ""
    facts = "".join(_fact(name.replace("_", " "), text) for name, text in image.facts.items() if text.strip())
    return f'<span class="own">{safe_line(image.title)}</span>{kind}{facts}'


def _fact(name: str, text: str) -> str:
    """One thing to say of an image; a long one waits to be opened."""
    if len(text) > LONG_FACT:
        return f"<details><summary>{safe_line(name)}</summary>{safe_line(text)}</details>"
    return f'<span class="fact">{safe_line(name)}: {safe_line(text)}</span>'


def _prompt(info: Info) -> str:
    language = f'lang="{safe_line(info.language) or "en"}" dir="auto"'
    parts = [
        '<section class="prompt">\n<h2>Prompt</h2>',
        '<button class="copy" type="button" data-what="prompt" aria-live="polite">Copy prompt</button>',
        f'<p id="prompt" {language}>{_text(info.prompt.strip())}</p>',
    ]
    if info.negative_prompt.strip():
        parts.append('<h2 class="more">Negative prompt</h2>')
        parts.append(f'<p class="more" {language}>{_text(info.negative_prompt.strip())}</p>')
    return "\n".join([*parts, *_rewrite(info, language), "</section>"])


def _rewrite(info: Info, language: str) -> list[str]:
    if info.rewrite is None:
        return []
    new = info.rewrite
    texts = (new.title, new.description, ", ".join(new.metatags))
    return [
        '<h2 class="more">Rewritten prompt</h2>',
        f'<p class="more">The service refused the first one: {safe_line(new.reason)}</p>',
        f'<p id="rewritten" {language}>{_text(new.prompt.strip())}</p>',
        *(f'<p class="more" {language}>{safe_line(text)}</p>' for text in texts),
    ]


def _tags(info: Info) -> str:
    if not info.metatags:
        return ""
    return '<ul class="tags">' + "".join(f"<li>{safe_line(tag)}</li>" for tag in info.metatags) + "</ul>"


def _failures(info: Info) -> str:
    if not info.failures:
        return ""
    rows = "\n".join(
        f"<tr><td>{safe_line(failure.name) or failure.index}</td><td>{safe_line(failure.error)}</td>"
        f"<td>{safe_line(failure.message)}</td><td>{failure.attempts}</td></tr>"
        for failure in info.failures
    )
    count = len(info.failures)
    return (
        f'<section class="missing"><h2>{count} image{"" if count == 1 else "s"} could not be made</h2>\n'
        f"<table><thead><tr><th>Image</th><th>Error</th><th>Message</th><th>Attempts</th></tr></thead>\n"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _text(text: str) -> str:
    return escape(clean(text))


def _url(name: str) -> str:
    """A file name as a relative URL: quoted, so never a scheme or a query."""
    return quote(name, safe="")
