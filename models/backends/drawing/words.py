"""Reads a prompt: which place, light, weather, mood, colours and subjects its words name.

Invariant: reading is pure and never fails; a prompt with no known word gives an empty reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.backends.drawing.colours import ALSO_THINGS, MODIFIERS, NAMES, RGB, modify
from models.backends.drawing.tables import sections

_PLACES = """\
mountains: mountain alps alpine peak summit ridge volcano cliffside highland himalaya andes massif crag pass hillside
    plateau canyon gorge ravine valley fjord foothill switchback
coast: sea ocean coast coastal beach shore seaside harbour harbor pier dock wave surf bay lagoon island cliff
    lighthouse tide tidal jetty port shoreline cove seafront boardwalk dune-beach estuary fisherman fisherwoman sailor
    gull seagull black-sand headland quay marina atoll archipelago
forest: forest wood woodland jungle rainforest taiga grove pine birch redwood spruce fir undergrowth bamboo thicket
    canopy sequoia clearing glade fern treeline mangrove moss mossy
city: city skyline metropolis downtown skyscraper rooftop urban town megacity tokyo york paris london shanghai hong
    kong berlin chicago cyberpunk building apartment tower-block district high-rise overpass
street: street alley market bazaar pavement sidewalk crosswalk avenue boulevard shopfront storefront lane cobblestone
    souk arcade tram traffic neighbourhood taxi subway parade festival
desert: desert dune sahara mesa cactus oasis savanna savannah badland arid caravan sandstone wadi nomad camel steppe
    outback salt-flat
space: space astronaut planet galaxy nebula spaceship starship asteroid orbit cosmos cosmic moonscape lunar mars
    martian crater comet satellite alien interstellar universe spacecraft rocket station-orbit exoplanet cosmonaut
interior: kitchen room interior bedroom library cafe bar workshop office desk table counter indoor museum gallery hall
    attic cabin living kitchenette bakery restaurant parlour laboratory classroom diner cellar atelier shelf armchair
    bathroom hallway corridor ramen espresso tabletop windowsill fireplace pub bookshop
studio: pedestal plinth backdrop portrait still-life product packshot perfume sneaker bottle sculpture bust seamless
    mannequin watch headphone cosmetic
meadow: meadow village hamlet field garden farm pasture hill countryside prairie grassland vineyard orchard flower
    wildflower sunflower lavender poppy greenhouse barn wheat rice terrace moor heath park lawn tulip picnic scarecrow
    allotment beehive lambing sheep shepherd cornfield haystack
lake: lake river pond stream creek riverbank swamp marsh wetland reservoir loch canal reed bayou waterfall brook dam
    tarn lakeside mill lily heron bridge ferry kayak canoe spring
snow: snow snowy ice icy glacier arctic antarctic frozen tundra iceberg polar winter blizzard ski igloo penguin frost
    frosty snowfield sled husky sledge
underwater: underwater reef seabed submarine submerged diver whale jellyfish octopus mermaid kelp aquarium deep-sea
    undersea manta coral-reef turtle seahorse abyss shark scuba shipwreck
cave: cave cavern grotto underground mine tunnel catacomb stalactite burrow lair cavernous dungeon crypt
ruins: ruin temple ancient column archway abbey acropolis amphitheatre monastery shrine aqueduct colonnade overgrown
    crumbling cloister tomb pyramid forum cathedral
"""
_LIGHTS = """\
golden: golden-hour sunset sundown low-sun evening-light late-afternoon amber-light golden-light sunlit late-sun
    low-winter-sun backlit warm-light sunbeam honeyed-light afternoon
dawn: dawn sunrise daybreak first-light morning early-light early-morning
dusk: dusk twilight blue-hour evening nightfall afterglow gloaming
night: night moonlight moonlit midnight moon starlight starlit starry star nocturnal nocturne milky-way aurora
    northern-light phosphorescent bioluminescent
neon: neon led fluorescent holographic synthwave cyberpunk neon-light
lamp: candle candlelight lamplight lamp-light lantern firelight lamp hearth torch fire campfire ember torchlight
    tungsten fireplace bulb incandescent
storm: storm stormy thunder lightning thundercloud tempest thunderstorm gale squall brooding-sky stormlight
overcast: overcast cloudy grey-sky gray-sky diffuse diffused north-light flat-light drizzle foggy misty fog mist smog
    haze hazy
studio: studio softbox rim-light key-light studio-light spotlight high-key rembrandt beauty-dish strobe
day: noon midday daylight sunny sunshine bright-sun clear-sky summer-sun high-sun blue-sky dappled sun
"""
_WEATHER = """\
rain: rain rainy drizzle downpour wet puddle monsoon thunderstorm storm rain-slicked shower
snowfall: snowfall snowflake snowing blizzard falling-snow snowstorm flurry
mist: mist misty fog foggy haze hazy steam smoke vapour smog
aurora: aurora northern-light
petals: petal blossom confetti cherry-blossom falling-leaf sakura
sparks: ember firefly spark sparkle campfire bonfire fireworks fairy-light glowworm dust-mote
wind: wind windy windswept gale breeze
"""
_MOODS = """\
hushed: hushed quiet silent still calm serene peaceful tranquil gentle expectant contemplative meditative solitary
    restful soft reverent
joyful: joyful happy playful cheerful exuberant jubilant festive lively whimsical bright celebratory carefree
    delighted spirited vibrant optimistic
eerie: eerie uncanny haunted haunting sinister ominous creepy unsettling spooky ghostly menacing foreboding dread
    uneasy strange
melancholy: melancholy melancholic wistful lonely nostalgic sad mournful sombre somber bittersweet weary longing
    pensive elegiac
epic: epic dramatic heroic grand majestic monumental awe triumphant sublime mighty defiant fierce tense urgent
dreamy: dreamy dreamlike surreal magical enchanted mystical ethereal otherworldly wonder wondrous fairytale
warm: cosy cozy tender intimate romantic loving homely welcoming affectionate comforting warm-hearted
raw: gritty raw bleak harsh stark austere desolate weathered rugged brutal
"""
_SUBJECTS = """\
astronaut: astronaut cosmonaut spacewoman spaceman
person: children people women men kids boys girls crowd person man woman girl boy child kid fisherman fisherwoman
    sailor monk knight dancer farmer shepherd wizard witch samurai traveller traveler wanderer hiker musician painter
    baker chef gardener king queen prince princess warrior nomad pilgrim figure grandmother grandfather mother father
    couple lover stranger worker soldier scientist detective ballerina skater surfer climber keeper lady gentleman
    friend bride elder student teacher nurse doctor violinist cellist pianist singer potter blacksmith weaver
    beekeeper photographer explorer ranger miner merchant vendor fishmonger courier cyclist runner swimmer sister
    brother artist barista carpenter hunter mage druid priest priestess geisha cowboy pirate hero heroine ghost angel
    robot android mechanic tailor cook apprentice
kite: kite
dome: greenhouse glasshouse biodome habitat orangery dome conservatory
bird: bird gull seagull crow raven swallow crane eagle hawk pigeon sparrow geese goose starling owl
heron: heron stork egret flamingo ibis
tree: tree oak willow bonsai baobab cypress acacia olive-tree maple elm cherry-tree
cat: cat kitten lynx panther
dog: dog puppy hound husky collie
wolf: wolf coyote jackal
fox: fox vixen
horse: horse pony stallion mare unicorn foal rider donkey
deer: deer stag doe elk moose reindeer antelope gazelle hart
bear: bear bison buffalo boar
elephant: elephant mammoth
rabbit: rabbit hare bunny
rowboat: rowboat canoe kayak gondola dinghy punt coracle raft fishing-boat
boat: boat sailboat ship yacht ferry trawler sail schooner galleon
house: house village hamlet cottage hut cabin barn farmhouse shack chapel home inn teahouse mill
lighthouse: lighthouse beacon
tower: tower watchtower windmill steeple obelisk minaret clocktower observatory
castle: castle fortress citadel palace keep
monster: monster dragon creature beast kaiju golem giant titan kraken demon leviathan troll colossus dinosaur
bowl: bowl ramen soup noodle porridge stew salad bouillabaisse
cup: cup coffee tea mug espresso teacup teapot latte cocoa
bottle: bottle perfume wine flask potion vial whisky
vase: vase bouquet jar peony tulip amphora jug
bread: bread loaf sourdough cake pie pastry croissant
fruit: fruit apple pear orange lemon pomegranate peach fig plum quince
fish: fish koi carp salmon trout shoal
whale: whale orca dolphin shark manta
jellyfish: jellyfish medusa octopus
balloon: balloon airship zeppelin
rocket: rocket spaceship starship spacecraft shuttle
car: car taxi truck van bus automobile jeep camper
bicycle: bicycle bike cyclist
train: train tram locomotive railway
shoe: shoe sneaker boot
book: book notebook manuscript tome
"""

Entry = tuple[str, str]


def _lexicon() -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    groups = {"place": _PLACES, "light": _LIGHTS, "weather": _WEATHER, "mood": _MOODS, "subject": _SUBJECTS}
    for kind, table in groups.items():
        for value, words in sections(table).items():
            for word in words.split():
                found.setdefault(word.replace("-", " "), []).append((kind, value))
    return found


_LEXICON = _lexicon()
_TOKEN = re.compile(r"[a-zà-ÿ]+|[,.;:]")
_COLOUR_WORDS_TEXT = """
tone tones palette colour colours color colors hue hues shade shades tint tints accents
"""
_COLOUR_WORDS = frozenset(_COLOUR_WORDS_TEXT.split())
_SITTING_TEXT = """
sitting seated mending reading kneeling crouching fishing resting sits kneels sewing weaving drinking knitting
meditating writing waiting
"""
#: What may stand between the colours of one list.
_JOINERS = frozenset({",", "and", "with", "against", "to", "or"})
_SITTING = frozenset(_SITTING_TEXT.split())


@dataclass(frozen=True, slots=True)
class Reading:
    """What a prompt asks for; the first entry of each tuple is the strongest."""

    places: tuple[str, ...] = ()
    lights: tuple[str, ...] = ()
    weather: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    colours: tuple[RGB, ...] = ()
    words: frozenset[str] = frozenset()

    def has(self, *words: str) -> bool:
        """Whether the prompt holds one of these words."""
        return not self.words.isdisjoint(words)

    @property
    def sitting(self) -> bool:
        """Whether somebody sits, kneels or mends a net."""
        return not self.words.isdisjoint(_SITTING)


def read(prompt: str) -> Reading:
    """Read a prompt of any length; only its first 4,000 characters count."""
    tokens = _TOKEN.findall(prompt[:4000].casefold())
    scores: dict[str, dict[str, float]] = {"place": {}, "light": {}, "weather": {}, "mood": {}, "subject": {}}
    taken: set[int] = set()
    for start, length, entries in _matches(tokens):
        taken.update(range(start, start + length) if length > 1 else ())
        for kind, value in entries:
            weight = length + 1.5 / (1 + start / 8)
            scores[kind][value] = scores[kind].get(value, 0.0) + weight
    ranked = {kind: tuple(sorted(found, key=lambda v: -found[v])) for kind, found in scores.items()}
    return Reading(
        places=ranked["place"],
        lights=ranked["light"],
        weather=ranked["weather"],
        moods=ranked["mood"],
        subjects=tuple(scores["subject"]),
        colours=_colours(tokens, taken),
        words=frozenset(tokens) | {single for token in tokens for single in _singulars(token)},
    )


def _singulars(token: str) -> Iterator[str]:
    yield token
    if token.endswith("ies"):
        yield token[:-3] + "y"
    if token.endswith("es"):
        yield token[:-2]
    if token.endswith("s") and not token.endswith("ss"):
        yield token[:-1]


def _matches(tokens: list[str]) -> Iterator[tuple[int, int, list[Entry]]]:
    at = 0
    while at < len(tokens):
        # "Light salmon" is a colour, and no fish.
        named = tokens[at] in ALSO_THINGS and at > 0 and tokens[at - 1] in MODIFIERS
        for length in (3, 2) if named else (3, 2, 1):
            phrase = " ".join(tokens[at : at + length])
            hit = next((_LEXICON[s] for s in _singulars(phrase) if s in _LEXICON), None)
            if hit and len(tokens[at : at + length]) == length:
                yield at, length, hit
                break
        else:
            length = 1
        at += length


def _colours(tokens: list[str], taken: set[int]) -> tuple[RGB, ...]:
    """The colours named, from the longest list of colours when the prompt holds one."""
    found: list[tuple[int, int, str, RGB]] = []
    at = 0
    while at < len(tokens):
        for length in (2, 1):
            name = " ".join(tokens[at : at + length])
            if name in NAMES and at not in taken:
                colour = NAMES[name]
                if at and tokens[at - 1] in MODIFIERS:
                    colour = modify(colour, tokens[at - 1])
                found.append((at, at + length, name, colour))
                break
        else:
            length = 1
        at += length
    groups: list[list[tuple[int, int, str, RGB]]] = []
    for entry in found:
        between = tokens[groups[-1][-1][1] : entry[0]] if groups else []
        near = bool(groups) and all(token in _JOINERS or token in MODIFIERS for token in between)
        if near:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    best = max(groups, key=lambda g: (len(g), g[0][0]), default=[])
    if len(best) < 2:
        best = [e for e in found if e[2] not in ALSO_THINGS or _is_called_colour(tokens, e[1])]
    return tuple(dict.fromkeys(entry[3] for entry in best))[:5]


def _is_called_colour(tokens: list[str], end: int) -> bool:
    return any(token in _COLOUR_WORDS for token in tokens[end : end + 2])
