"""Rendering on one's own machine through diffusers; a file per concern, put together by ``studio``.

Invariant: torch and diffusers are imported inside functions only, so that nothing here makes a start slow.
"""
