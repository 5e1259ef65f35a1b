"""Tirada: from a theme to a finished, catalogued set of images, unattended."""

__version__ = "0.1.0"
