"""Who is calling. Resolved once, at the edge, and handed to core as an argument."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOCAL_USER", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    Parameters
    ----------
    name : str
        `users/{user}`.
    """

    name: str


LOCAL_USER = Principal("users/local")
"""Whoever calls a server that runs without authentication."""
