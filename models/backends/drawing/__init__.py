"""The offline illustrator behind the draft backend: reads a prompt, mixes a palette and draws a small poster scene.

Invariant: no module here keeps state between pictures beyond bounded caches of fonts, glyphs and colours.
"""
