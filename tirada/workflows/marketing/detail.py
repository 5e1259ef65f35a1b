"""Tells a sparse prompt from a detailed one. The rule, which the tests hold as a table:

A prompt is **detailed** when it has at least 12 content words and speaks of at least two of these four: the setting,
the light, the camera (viewpoint, lens, composition), the style (medium, look, colours). With 40 content words or more
it is detailed whatever they are. Everything else is **sparse**.

Content words are words and numbers that are no articles, prepositions, pronouns, auxiliaries or the like, and that do
not merely say that a picture is wanted ("photo", "image", "picture"). The vocabulary is English: a detailed prompt in
another language counts as sparse until it has 40 content words, which ``--enrich never`` overrules.

Invariant: the rule looks at nothing but the text, so the same prompt always falls on the same side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS_DETAILED, FACETS_DETAILED, WORDS_ENOUGH = 12, 2, 40
#: The four things a prompt may speak of.
FACETS = ("setting", "light", "camera", "style")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STOP = _words("""
    a about above across after against all along among an and any are around as at be been before behind being
    below beneath beside between both but by can could do does down during each every for from front get has
    have having he her here him his how i if in inside into is it its just like make may me more most much my
    near next no not of off on onto or our out outside over own per please she should show showing so some such
    than that the their them then there these they this those through to top toward towards under until up upon
    us very was we were what when where which while who whose will with within without would you your photo
    photos photograph photographs picture pictures image images pic shot visual
""")
_PREPOSITION = (
    r"(?:on|in|at|against|beside|near|under|above|inside|before|by|over|across|through|along|behind|among|amid)"
)
_PLACES = _words("""
    airport aisle alley arcade attic backdrop background bakery balcony bank bar basement bathroom bay beach bed
    bedroom bench boat boutique bridge cabin cafe café canyon carpet church city classroom cliff clinic coast
    corridor counter countertop courtyard deck desert desk diner dock doorway factory farm field floor forest
    gallery garage garden grass greenhouse gym hall hallway harbor harbour hill hospital hotel house hut
    interior island jetty jungle kitchen lab laboratory lake landscape lawn library living-room lobby lounge
    market meadow mountain museum nature office orchard park path patio pavement pedestal pier plinth podium
    pool porch racetrack ranch restaurant river road rock roof rooftop room runway salon sand school sea shelf
    shop showroom sidewalk sky skyline snow sofa square stage staircase stairs station steps store street studio
    surface table tabletop terrace theater theatre town track trail train tray tunnel valley village vineyard
    wall warehouse waterfall window windowsill wood workbench workshop yard
""")
#: A place counts where it is one: after a preposition, with a few words between at most.
_SETTING = re.compile(
    rf"\b{_PREPOSITION}(?: (?:front|the middle|the corner|top|the edge) of)?(?:[ -][\w'-]+){{0,5}}?"
    rf"[ -](?:{'|'.join(sorted(_PLACES))})s?\b(?: of [\w'-]+)?",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"\b(?:indoors?|outdoors?|underwater|downtown|al fresco|mid-?air)\b", re.IGNORECASE)
_COLOURS = r"(?:blue|green|gr[ae]y|brown|pink|red|yellow|orange|purple|wood|oak|beige|coloured|colored|weight|roast)"
_LIGHT = re.compile(
    rf"\b(?:light(?![ -]?{_COLOURS}\b)|lights|lighting|lit|sunlight|sunlit|daylight|backlight|backlit|backlighting|"
    r"candlelight|candlelit|moonlight|moonlit|lamplight|lamplit|torchlight|spotlight|softbox|sunbeams?|sunshine|sunset|"
    r"sunrise|dusk|dawn|twilight|(?:golden|blue) hour|shadows?|shade|glow|glowing|neon|chiaroscuro|overcast|low[- ]key|"
    r"high[- ]key|rim[- ]lights?|lens flare|silhouette[ds]?|haze|hazy|misty|foggy|noon|midday|bokeh lights)\b",
    re.IGNORECASE,
)
_CAMERA = re.compile(
    r"\b(?:close[- ]?ups?|macro|wide[- ](?:angle|shot|view|frame)|(?:low|high|dutch|eye|camera)[- ](?:angle|level)|"
    r"angle|lens|\d+ ?mm|f/\d+(?:\.\d+)?|bokeh|depth of field|out of focus|shallow focus|soft focus|overhead|"
    r"top[- ]down|flat[- ]lay|bird'?s[- ]eye|worm'?s[- ]eye|aerial|drone|"
    r"from (?:directly )?(?:above|below|behind|the side)|"
    r"perspective|composition|composed|framed|framing|off[- ]cent(?:re|er)|cent(?:red|ered)|symmetr\w+|rule of thirds|"
    r"negative space|copy space|foreground|three[- ]quarter|profile view|side view|front view|viewpoint|point of view|"
    r"over[- ]the[- ]shoulder|long exposure|medium format|full[- ]body|half[- ]length|headshot|panoram\w+|telephoto|"
    r"tilt[- ]shift|fish[- ]?eye)\b",
    re.IGNORECASE,
)
_STYLE = re.compile(
    r"\b(?:style|styled|photo-?realis\w+|realis\w+|hyper-?realis\w+|cinematic|minimalis\w+|minimal|water-?colou?rs?|"
    r"illustrat\w+|painting|painted|oil on canvas|render(?:ed|ing)?|3d|cartoon\w*|comic|vintage|retro|editorial|"
    r"documentary|sketch\w*|drawing|drawn|engraving|etching|woodcut|linocut|collage|paper[- ]cut|origami|claymation|"
    r"monochrome|black[- ]and[- ]white|sepia|film (?:grain|still|noir)|analogue?|polaroid|pastels?|"
    r"art (?:deco|nouveau)|bauhaus|impressionis\w+|surreal\w*|abstract|isometric|vector|flat design|low[- ]poly|"
    r"pixel art|pop[- ]art|futuristic|baroque|gothic|palette|tones?|tonal|hues?|colou?r[- ](?:scheme|grad\w+)|"
    r"muted colou?rs|vivid colou?rs|hdr|matte|high[- ]fashion|glossy magazine)\b",
    re.IGNORECASE,
)
#: People are the subject where they are what is named, and not whom it is for.
_PEOPLE = re.compile(
    r"\b(?:people|persons?|m[ae]n|wom[ae]n|child|children|kids?|girls?|boys?|baby|babies|toddlers?|couples?|family|"
    r"families|friends|teams?|mothers?|fathers?|parents?|nurses?|doctors?|dentists?|patients?|teachers?|students?|"
    r"pupils?|customers?|clients?|chefs?|cooks?|bakers?|waiters?|waitress(?:es)?|baristas?|drivers?|mechanics?|workers?|"
    r"engineers?|farmers?|gardeners?|travell?ers?|tourists?|athletes?|runners?|dancers?|musicians?|artists?|designers?|"
    r"entrepreneurs?|managers?|employees?|colleagues|agents?|advisers?|advisors?|scientists?|pilots?|grand(?:ma|pa|mother|"
    r"father|parents))\b(?=\s*(?:$|[,.;!]|(?:and|who|in|on|at|beside|behind|near|under|from|as)\b|\w+ing\b))",
    re.IGNORECASE,
)
_FOR_WHOM = re.compile(r"\b(?:for|with|by)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Detail:
    """What there is in a prompt."""

    words: int
    #: Those of FACETS that it speaks of.
    facets: frozenset[str]
    #: How it says where, word for word; empty where it does not.
    setting: str = ""
    #: Its subject is somebody, and no thing.
    people: bool = False

    @property
    def detailed(self) -> bool:
        enough = self.words >= WORDS_DETAILED and len(self.facets) >= FACETS_DETAILED
        return enough or self.words >= WORDS_ENOUGH

    @property
    def reason(self) -> str:
        """Why it falls on its side, in words."""
        named = (
            ", ".join(facet for facet in FACETS if facet in self.facets) or "nothing of setting, light, camera, style"
        )
        words = f"{self.words} content word{'' if self.words == 1 else 's'}"
        if self.words >= WORDS_ENOUGH:
            return f"{words}, which is enough whatever they say"
        return f"{words}, naming {named}; detailed is {WORDS_DETAILED} or more naming {FACETS_DETAILED} or more"


def content_words(prompt: str) -> list[str]:
    """The words of a prompt that carry its meaning, in order."""
    return [word for word in _WORD.findall(prompt) if word.casefold() not in _STOP]


def look_at(prompt: str) -> Detail:
    """Count the content words of a prompt, and find what it speaks of."""
    place = _SETTING.search(prompt)
    found = {"light": _LIGHT, "camera": _CAMERA, "style": _STYLE}
    facets = {name for name, pattern in found.items() if pattern.search(prompt)}
    if place or _ELSEWHERE.search(prompt):
        facets.add("setting")
    people = bool(_PEOPLE.search(_FOR_WHOM.split(prompt)[0].strip()))
    return Detail(len(content_words(prompt)), frozenset(facets), place[0] if place else "", people)
