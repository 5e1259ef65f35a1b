"""The composer's sentences and titles, as data: ``{slots}`` are filled from a brief, ``<a|b>`` offers alternatives.

A slot's first letter tells its case: ``{scene}`` goes inside a sentence, ``{Scene}`` begins one. ``{a_mood}`` brings
its own article; it and ``{tone}`` are for moods of plain adjectives. Whatever the frames say about a scene, an element
or a light must hold for one thing and for many, so none of these is ever the subject of a verb that shows number.

Invariant: a frame uses each choice at most once, and no two sentences of one description use the same choice.
"""

from __future__ import annotations

#: First sentences. Each group opens with something else; the groups' sizes decide how often each is met.
OPENINGS: tuple[str, ...] = (
    # the scene
    "{Scene} {place}, lit by {light}.",
    "{Scene} {place}, with {element}.",
    "{Scene} {place}: {style}, {tone} in tone.",
    "{Scene} {place}, in {light} and a palette of {palette}.",
    "{Scene}, seen {place}, in {light}.",
    "{Scene} {place}; the <mood|tone> is {mood}.",
    "{Scene} {place}, <in|held to> {palette}.",
    "{Scene}, {element}, and all of it in {light}.",
    "{Scene} {place}, <close to|after the manner of|in the spirit of> {style}.",
    # the place
    "{Place}, {scene}, with {element}.",
    "{Place}: {scene}, in {light}.",
    "{Place}, the <eye comes to rest on|view opens on|eye is drawn to> {scene}.",
    "{Place}, {a_mood} <study|picture|view> of {scene}.",
    "{Place}, and lit by {light}, {scene}.",
    "{Place}, {element}; and with it, {scene}.",
    "{Place}, in {palette}, {scene}.",
    # the light
    "Lit by {light}, {scene} {place}.",
    "In {light}, {scene} {place}, with {element}.",
    "{Light} {place}, and {scene}.",
    "{Light}, and in it {scene} {place}.",
    "<Picked out|Shaped|Framed> by {light}, {scene} {place}.",
    "<Caught|Held|Seen> in {light}: {scene} {place}.",
    "First the light, {light}; then {scene} {place}.",
    # the mood
    "{Tone} in <tone|mood>, this <picture|view|image> <shows|presents|gives us> {scene} {place}.",
    "{Mood}: {scene} {place}, in {light}.",
    "{A_mood} <picture|rendering|portrayal> of {scene} {place}.",
    "{Mood}, lit by {light}: {scene} {place}.",
    "The mood is {mood}: {scene} {place}, with {element}.",
    # the detail
    "{Element}, and {place}, {scene}.",
    "With {element}, {scene} {place}.",
    "{Element}; {scene} {place}, in {light}.",
    "{Element} and {scene}, {place}.",
    "{Element}: one detail in a <picture|view> of {scene} {place}.",
    # the palette
    "{Palette}: {scene} {place}, in {light}.",
    "{Palette} for {scene} {place}.",
    "In {palette}, {scene} {place}, {tone} in tone.",
    "A <palette of|study in|harmony of> {palette}: {scene} {place}.",
    # the style
    "{Style}: {scene} {place}, with {element}.",
    "{Style}, in {palette}: {scene} {place}.",
    "In the <manner|tradition|spirit> of {style}, {scene} {place}.",
    "{Style}, {tone} in tone: {scene} {place}.",
    # the medium
    "{Render}, showing {scene} {place}.",
    "{Render}: {scene} {place}, in {light}.",
    "{Render}, in {palette}, showing {scene} {place}.",
    "Through {lens}, {scene} {place}.",
    "{Lens} and {light}: {scene} {place}.",
    "Seen through {lens}, {scene} {place}, with {element}.",
    "Photographed with {camera}: {scene} {place}.",
    # scale, time, order: how the picture is put together
    "One moment in {light}: {scene} {place}.",
    "Three things make the picture: {scene}, {element}, and {light}.",
    "The eye goes first to {scene}, then to {element}.",
    "A frame wide enough for {element}, and close enough for {scene}.",
    "The composition <turns on|is built around|rests on> {scene} {place}.",
    "Everything <leads to|points to|turns on> {scene} {place}.",
    "Before anything else, {scene} {place}; then {element}.",
    "A second look at {scene} {place} finds {element}.",
    "This is {scene} {place}, <seen|shown> in {light}.",
    "At the heart of it, {scene}; then, on a second look, {element}.",
)

#: Later sentences: each adds what the ones before left out.
FOLLOWERS: tuple[str, ...] = (
    # the light, alone and with others
    "The light: {light}.",
    "All of it is <lit by|seen in> {light}.",
    "What light there is: {light}.",
    "The scene is lit by {light}.",
    "Lit by {light}, with {element}.",
    "In {light}, {element}.",
    "{Light} and {element} <complete the picture|do the rest|set the terms>.",
    "The light, {light}, picks out {element}.",
    "The light is {light}, the mood {mood}.",
    "Lit by {light}, it <stays|reads as|feels> {mood}.",
    "{Mood}, in {light}.",
    "Lit by {light}, the tones <come down|settle> to {palette}.",
    "{Palette}, lit by {light}.",
    "{Style}, lit by {light}.",
    # the place, for openings that left it out
    "The scene is set {place}.",
    "The scene is set {place}, in {light}.",
    "All of this {place}, lit by {light}.",
    "It <unfolds|takes place> {place}, in {light}.",
    "{Place}, the mood is {mood}.",
    "{Place}, the tones keep to {palette}.",
    "Set {place}, it <feels|reads as> {mood}.",
    # the detail
    "Closer in, {element}.",
    "Look closer: {element}.",
    "A second look finds {element}.",
    "The telling detail: {element}.",
    "The <picture|composition> <makes|leaves> room for {element}.",
    "Worth noticing: {element}.",
    "There is room, too, for {element}.",
    "The eye <moves on|travels on|wanders> to {element}.",
    "And, <easily missed|once noticed>, {element}.",
    "{Mood}, with {element}.",
    "With {element}, it <feels|reads as> {mood}.",
    "The mood is {mood}, helped by {element}.",
    "{Element}, and a palette of {palette}.",
    "Set in {palette}, with {element}.",
    "{Style}, down to {element}.",
    "{Render}, complete with {element}.",
    "{Lens} <picks out|brings up|holds> {element}.",
    # the mood
    "The <mood|tone|feeling|atmosphere> is {mood}.",
    "{Mood} throughout.",
    "{Tone} in <tone|mood|feeling>.",
    "It <reads as|feels|stays> {mood}.",
    "The <effect|result> is {mood}.",
    "{Mood}, in {palette}.",
    "The mood is {mood}, the palette {palette}.",
    "A palette of {palette} keeps it {mood}.",
    "{Style}, {tone} in tone.",
    "{A_mood} piece of {style}.",
    "{Render}, {tone} in tone.",
    # the palette
    "The tones <stay with|keep to|are held to> {palette}.",
    "The palette <is|keeps to|runs to> {palette}.",
    "Tones of {palette}.",
    "{Palette} carry the picture.",
    "{Style}, in {palette}.",
    "The style is {style}, the palette {palette}.",
    "{Render}, in {palette}.",
    "{Palette}, shot on {camera}.",
    # the style and the medium
    "The approach <owes much to|comes from|is that of> {style}.",
    "Treated as {style}.",
    "It <draws on|borrows from> {style}.",
    "{Style}, carried out as {render}.",
    "{Render} in the manner of {style}.",
    "<Made|Rendered|Presented> as {render}.",
    "The medium is {render}.",
    "Shot on {camera} with {lens}.",
    "Taken with {camera} and {lens}.",
    "Photographed with {camera} through {lens}.",
    "Shot in {light} through {lens}.",
    "{Style}, shot on {camera}.",
)

#: First sentences where a theme is given and is the subject, in the place of the scene.
SUBJECTS: tuple[str, ...] = (
    "{Theme} {place}, <lit by|in> {light}.",
    "{Place}, {theme} in {light}, with {element}.",
    "{Place}, {a_mood} <picture|study|view> of {theme}.",
    "Lit by {light}, {theme} {place}.",
    "<Shaped|Framed|Picked out> by {light}, {theme} {place}, with {element}.",
    "{Light} {place}, and {theme}.",
    "A <study|view|portrayal> of {theme} {place}, with {element}.",
    "{A_mood} <look at|view of|study of> {theme} {place}.",
    "{Tone} in tone, <a picture|a view|an image> of {theme} {place}.",
    "{Mood}, lit by {light}: {theme} {place}.",
    "{Style}: {theme} {place}, with {element}.",
    "{Element}, and {theme} {place}.",
    "{Place}: {theme}, in {light}.",
    "{Mood}: {theme} {place}, in {light}.",
    "{Palette} for {theme} {place}.",
    "In {palette}, {theme} {place}, {tone} in tone.",
    "In the <manner|tradition|spirit> of {style}, {theme} {place}.",
    "{Style} on the theme of {theme}, set {place}.",
    "{Render} on the theme of {theme}, set {place}.",
    "Through {lens}, {theme} {place}, in {light}.",
    "{Element}: one detail in a <picture|view> of {theme} {place}.",
    "With {element}, {theme} {place}.",
    "The subject is {theme}, <seen|shown> {place}, in {light}.",
    "The eye goes first to {theme}, then to {element}.",
    "A frame wide enough for {theme}, and close enough for {element}.",
)
#: First sentences where the theme is the motif that the scene answers.
MOTIFS: tuple[str, ...] = (
    "A <study|reading> of {theme}: {scene} {place}.",
    "{Theme}, <seen as|told through|by way of> {scene} {place}.",
    "{Scene} {place}: {theme} in <a single frame|one picture>.",
    "{Scene} {place}, <part of|from|made for> a series on {theme}.",
    "{Scene} {place}, with {theme} in mind.",
    "From a series on {theme}: {scene} {place}.",
    "{Place}, a variation on {theme}: {scene}.",
    "{Place}, {scene}, with {theme} as the <theme|motif>.",
    "On the theme of {theme}, {scene} {place}.",
    "The theme is {theme}; the picture, {scene} {place}.",
    "One way into {theme}: {scene} {place}, in {light}.",
    "Lit by {light}, a note on {theme}: {scene} {place}.",
    "{Light}, {scene}, and {theme} as the thread between them.",
    "{Mood}, and on the theme of {theme}: {scene} {place}.",
    "{Element}, {scene}, and {theme} behind it all.",
    "In {palette}, a picture of {theme}: {scene} {place}.",
    "{Style}, with {theme} as its subject: {scene} {place}.",
    "{Render}, with {theme} as its subject: {scene} {place}.",
    "Among pictures of {theme}, this one <turns to|settles on|chooses> {scene} {place}.",
    "This take on {theme} <starts from|turns to|rests on> {scene} {place}.",
    "Filed under {theme}: {scene} {place}, in {light}.",
)
#: Last sentences that bring the theme in after an opening without it.
THEME_CLOSERS: tuple[str, ...] = (
    "<One of|From|Part of> a series on {theme}.",
    "The theme is {theme}.",
    "Made for a series on {theme}.",
    "The wider subject is {theme}.",
    "It belongs with pictures of {theme}.",
    "On the theme of {theme}.",
    "A variation on {theme}.",
)

#: The same for a theme that is no plain noun phrase (a sentence, a list of keywords, an emoji): quoted, never declined.
QUOTED: tuple[str, ...] = (
    "For the theme “{theme}”: {scene} {place}.",
    "Under the heading “{theme}”, {scene} {place}.",
    "{Scene} {place}, for the theme “{theme}”.",
    "{Scene}, under the heading “{theme}”.",
    "“{theme}”: {scene} {place}.",
    "{Place}, under the heading “{theme}”: {scene}.",
    "Lit by {light}, an answer to “{theme}”: {scene} {place}.",
    "{A_mood} answer to “{theme}”: {scene} {place}.",
    "{Palette} for “{theme}”: {scene} {place}.",
    "{Style} on the theme “{theme}”: {scene} {place}.",
    "{Render} on the theme “{theme}”: {scene} {place}.",
    "{Element}, {scene}, and the theme “{theme}”.",
    "{Light}, and “{theme}” as the theme: {scene} {place}.",
    "Asked for “{theme}”, the picture gives {scene} {place}.",
    "One reading of “{theme}”: {scene} {place}.",
)
QUOTED_CLOSERS: tuple[str, ...] = (
    "The theme: “{theme}”.",
    "Made for the theme “{theme}”.",
    "Filed under “{theme}”.",
    "A picture for “{theme}”.",
    "One answer to “{theme}”.",
)

#: Titles, in any case: they are set in Title Case afterwards. {subject} is the scene without article, {head} its first
#: noun, {site} the noun a place is named after, {glow} the light without what follows its first preposition.
TITLES: tuple[str, ...] = (
    "{subject}",
    "{scene}",
    "{subject} {place}",
    "{head} {place}",
    "{head} in {glow}",
    "{subject} in {glow}",
    "{subject}, {glow}",
    "{glow}: {subject}",
    "{glow} {place}",
    "{glow}, {site}",
    "{site} in {glow}",
    "{site}: {head}",
    "{site}, with {head_a}",
    "{mood}: {subject}",
    "{subject}, {mood}",
    "{head} with {element}",
    "{head} in {palette}",
    "{palette}: {head}",
    "Study in {palette}: {head}",
    "{head} and {glow}",
)
#: Titles that do not name the scene, for descriptions that leave it out.
THEMED_TITLES: tuple[str, ...] = (
    "{theme} {place}",
    "{theme} in {glow}",
    "{theme}, {mood}",
    "{theme} in {palette}",
    "{theme} with {element}",
    "{theme}, {site}",
    "{theme}: {glow}",
    "{site}: {theme}",
    "{glow}: {theme}",
    "{mood}: {theme} {place}",
    "Study of {theme} in {glow}",
    "{glow} {place}",
    "{site} in {glow}",
)
#: Titles that name both.
MOTIF_TITLES: tuple[str, ...] = (
    "{theme}: {subject}",
    "{theme}: {head} {place}",
    "{theme}: {head} in {glow}",
    "{subject}: A Note on {theme}",
    "{subject}, a Study of {theme}",
    "{theme}, with {head_a}",
)
