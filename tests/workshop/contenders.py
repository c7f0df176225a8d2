"""Contenders for the tests of the harness; each runs in a process of its own, so they are importable by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Turn


@contextmanager
def noting(name: str, diary: str, *figures: float) -> Iterator[Turn]:
    """Write each turn into a diary that all contenders share, and return the figures one after the other."""
    left = iter(figures)

    def turn() -> float:
        with Path(diary).open("a") as file:
            file.write(f"{name} {os.getpid()}\n")
        return next(left)

    yield turn
    with Path(diary).open("a") as file:
        file.write(f"{name} down\n")


@contextmanager
def failing(diary: str) -> Iterator[Turn]:
    """Fail at the first turn."""

    def turn() -> float:
        raise ValueError(f"no {diary}")

    yield turn
