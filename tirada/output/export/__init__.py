"""Finished images on their way to somebody else's house: one file per destination."""
