"""The outside minds: everything that talks to an AI model. Imports nothing of ``tirada``."""
