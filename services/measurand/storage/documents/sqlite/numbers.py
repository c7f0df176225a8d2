"""The numbers that stand for collections, scopes and paths, and the parts that searches are confined to.

The index of values begins with the part, so that a search in one catalog never walks through another. A part of its own
costs every search of a whole collection one more step, so only the first scopes of a collection get one (catalogs are
few), and all later ones share a part (the files of each dataset lie in a scope, and datasets are many).

A number is never taken back or used again, so what was once read of the database may be remembered for good.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["OWN_PARTS", "Home", "Lookup", "Numbering", "Scope"]

OWN_PARTS = 64
"""How many scopes of a collection have a part of their own."""

_REMEMBERED = 100_000

Name = TypeVar("Name")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope.

    Parameters
    ----------
    part : int
        Where its values lie.
    """

    number: int
    part: int


@dataclass(frozen=True, slots=True)
class Home:
    """Where a search looks.

    Parameters
    ----------
    scopes : tuple of int or None
        Only in these; None: in the whole collection.
    parts : tuple of int
        The parts that hold all of it.
    shared : frozenset of int
        Those of the parts that may hold documents of other scopes as well.
    """

    collection: int
    scopes: tuple[int, ...] | None
    parts: tuple[int, ...]
    shared: frozenset[int]


class Lookup:
    """Finds numbers, for readers.

    Only what is in the database is remembered: what is not there may come.
    """

    def __init__(self) -> None:
        self._collections: dict[str, int] = {}
        self._scopes: dict[tuple[int, str], Scope] = {}
        self._paths: dict[tuple[int, str], int] = {}

    def collection(self, connection: sqlite3.Connection, name: str) -> int | None:
        """Return the number of a collection, or None if nothing was ever stored in it."""
        known = self._collections.get(name)
        if known is None:
            row = connection.execute("SELECT id FROM collections WHERE name = ?", (name,)).fetchone()
            known = None if row is None else _remember(self._collections, name, int(row[0]))
        return known

    def scope(self, connection: sqlite3.Connection, collection: int, name: str) -> Scope | None:
        """Return a scope, or None if nothing was ever stored in it."""
        known = self._scopes.get((collection, name))
        if known is None:
            sql = "SELECT id, part FROM scopes WHERE collection = ? AND name = ?"
            row = connection.execute(sql, (collection, name)).fetchone()
            known = None if row is None else _remember(self._scopes, (collection, name), Scope(*row))
        return known

    def path(self, connection: sqlite3.Connection, collection: int, name: str) -> int | None:
        """Return the number of a path, or None if no document ever had it."""
        known = self._paths.get((collection, name))
        if known is None:
            sql = "SELECT id FROM paths WHERE collection = ? AND name = ?"
            row = connection.execute(sql, (collection, name)).fetchone()
            known = None if row is None else _remember(self._paths, (collection, name), int(row[0]))
        return known

    def home(self, connection: sqlite3.Connection, collection: str, scopes: Sequence[str] | None) -> Home | None:
        """Return where to look for documents of these scopes, or None if there can be none."""
        number = self.collection(connection, collection)
        if number is None:
            return None
        if scopes is None:
            rows = connection.execute("SELECT id FROM parts WHERE collection = ?", (number,)).fetchall()
            return Home(number, None, tuple(row[0] for row in rows), frozenset())
        found = {self.scope(connection, number, name) for name in scopes} - {None}
        known = sorted((scope for scope in found if scope is not None), key=lambda scope: scope.number)
        if not known:
            return None
        sql = "SELECT id FROM parts WHERE collection = ? AND pooled = 1"
        pooled = {row[0] for row in connection.execute(sql, (number,))}
        parts = {scope.part for scope in known}
        return Home(number, tuple(scope.number for scope in known), tuple(sorted(parts)), frozenset(parts & pooled))


class Numbering(Lookup):
    """Finds numbers and gives new ones, for the one writer of a process, within its transaction."""

    def number_collection(self, connection: sqlite3.Connection, name: str) -> int:
        """Return the number of a collection, a new one if need be."""
        known = self.collection(connection, name)
        if known is None:
            row = connection.execute("INSERT INTO collections (name) VALUES (?) RETURNING id", (name,)).fetchone()
            known = _remember(self._collections, name, int(row[0]))
        return known

    def number_scope(self, connection: sqlite3.Connection, collection: int, name: str) -> Scope:
        """Return a scope, a new one if need be."""
        known = self.scope(connection, collection, name)
        if known is None:
            part = self._part(connection, collection)
            sql = "INSERT INTO scopes (collection, name, part) VALUES (?, ?, ?) RETURNING id"
            row = connection.execute(sql, (collection, name, part)).fetchone()
            known = _remember(self._scopes, (collection, name), Scope(int(row[0]), part))
        return known

    def number_path(self, connection: sqlite3.Connection, collection: int, name: str) -> int:
        """Return the number of a path, a new one if need be."""
        known = self.path(connection, collection, name)
        if known is None:
            sql = "INSERT INTO paths (collection, name) VALUES (?, ?) RETURNING id"
            row = connection.execute(sql, (collection, name)).fetchone()
            known = _remember(self._paths, (collection, name), int(row[0]))
        return known

    def forget(self) -> None:
        """Remember nothing: numbers given since the last commit are undone with it."""
        self._collections.clear()
        self._scopes.clear()
        self._paths.clear()

    def _part(self, connection: sqlite3.Connection, collection: int) -> int:
        sql = "SELECT id, pooled FROM parts WHERE collection = ? ORDER BY pooled"
        parts = connection.execute(sql, (collection,)).fetchall()
        if parts and parts[-1][1]:
            return int(parts[-1][0])
        sql = "INSERT INTO parts (collection, pooled) VALUES (?, ?) RETURNING id"
        row = connection.execute(sql, (collection, int(len(parts) >= OWN_PARTS))).fetchone()
        return int(row[0])


def _remember(known: dict[Name, Answer], name: Name, answer: Answer) -> Answer:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[name] = answer
    return answer
