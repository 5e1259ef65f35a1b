"""Runs, concepts, images, calls and decks in one database."""
