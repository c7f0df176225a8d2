"""How many documents each part has, and how many of them can sort by each path: counted with each write.

An order that begins with what is missing would else look through all documents for one that lacks the path, and find
none. What the requests of a transaction change is summed up and written once, at its end.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

from measurand.storage.documents.sqlite.rows import SORTED

__all__ = ["Tallies", "documents_of", "lacks_none"]

Head = tuple[int, int]
"""Path and kind of a row."""

_ALL = 0
"""Stands for a path that each document has; the numbers of paths begin with 1."""


class Tallies:
    """The sums of the writer's transaction."""

    def __init__(self) -> None:
        self._kept: Counter[tuple[int, int]] = Counter()
        self._request: Counter[tuple[int, int]] = Counter()

    def add(self, part: int, documents: int, gone: Iterable[Head], fresh: Iterable[Head]) -> None:
        """Count a document that comes (1), goes (-1) or stays (0), and the paths and kinds of its rows."""
        counts = self._request
        counts[part, _ALL] += documents
        for by, rows in ((-1, gone), (1, fresh)):
            for path, kind in rows:
                if kind < SORTED:
                    counts[part, path] += by

    def keep(self) -> None:
        """Take in what the request has added: it stands."""
        for place, by in self._request.items():
            self._kept[place] += by
        self._request.clear()

    def drop(self) -> None:
        """Forget what the request has added: it was undone."""
        self._request.clear()

    def forget(self) -> None:
        """Forget everything: the transaction was undone."""
        self._request.clear()
        self._kept.clear()

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the sums down, within the transaction."""
        rows = [(*place, by) for place, by in self._kept.items() if by]
        self._kept.clear()
        connection.executemany(_WRITE, rows)


def documents_of(connection: sqlite3.Connection, parts: Sequence[int]) -> int:
    """Return how many documents lie in the parts."""
    return sum(_tally(connection, part, _ALL) for part in parts)


def lacks_none(connection: sqlite3.Connection, parts: Sequence[int], path: int) -> bool:
    """Tell whether each document in the parts can sort by the path."""
    return all(_tally(connection, part, path) == _tally(connection, part, _ALL) for part in parts)


_WRITE = """INSERT INTO tallies VALUES (?, ?, ?)
            ON CONFLICT (part, path) DO UPDATE SET documents = documents + excluded.documents"""


def _tally(connection: sqlite3.Connection, part: int, path: int) -> int:
    row = connection.execute("SELECT documents FROM tallies WHERE part = ? AND path = ?", (part, path)).fetchone()
    return 0 if row is None else int(row[0])
