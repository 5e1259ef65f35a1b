"""What comes in from outside that no model made: posts of people, and pictures behind a URL.

Invariant: whatever is fetched is bounded in bytes and time, and its host is told nothing but the request.
"""
