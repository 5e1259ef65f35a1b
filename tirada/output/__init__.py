"""What leaves the house: folders, images with their metadata, ``info.json``, prompt files and the contact sheet.

Invariant: this room decides about names, formats and safety on disk; it never talks to a model, a store or a terminal.
"""
