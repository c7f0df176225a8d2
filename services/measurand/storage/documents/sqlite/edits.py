"""The writes, each within a transaction of the writer. Each looks first, and changes nothing if it refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from measurand.core.ports import Document
from measurand.storage.documents.sqlite.changes import note
from measurand.storage.documents.sqlite.numbers import Numbering
from measurand.storage.documents.sqlite.rows import Rows, Value, dump, entries
from measurand.storage.documents.sqlite.tallies import Tallies

__all__ = ["Editor"]

_LOOK = """SELECT d.id, d.scope, s.part, s.name, b.revision FROM docs AS d JOIN scopes AS s ON s.id = d.scope
           JOIN bodies AS b ON b.id = d.id WHERE d.collection = ? AND d.key = ?"""
_ADD_VALUES = "INSERT INTO vals (part, path, kind, value, doc) VALUES (?, ?, ?, ?, ?)"
_DROP_VALUES = "DELETE FROM vals WHERE part = ? AND path = ? AND kind = ? AND value = ? AND doc = ?"


@dataclass(frozen=True, slots=True)
class Editor:
    """Writes documents by the writer's connection."""

    connection: sqlite3.Connection
    numbering: Numbering
    tallies: Tallies
    now: Callable[[], datetime]

    def insert(self, collection: str, document: Document) -> bool:
        """Store a new document. False: its key is taken."""
        connection = self.connection
        number = self.numbering.number_collection(connection, collection)
        scope = self.numbering.number_scope(connection, number, document.scope)
        added = connection.execute(
            "INSERT INTO docs (collection, scope, key) VALUES (?, ?, ?) ON CONFLICT (collection, key) DO NOTHING",
            (number, scope.number, document.key),
        )
        if added.rowcount == 0:
            return False
        doc = added.lastrowid or 0
        connection.execute("INSERT INTO bodies VALUES (?, 1, ?, ?)", (doc, dump(document.body), document.text))
        rows = self._entries(number, document).values()
        connection.executemany(_ADD_VALUES, [(scope.part, path, kind, value, doc) for path, kind, value in rows])
        self.tallies.add(scope.part, 1, (), [(path, kind) for path, kind, _ in rows])
        note(
            connection,
            "inserted",
            collection=number,
            scope=scope.number,
            key=document.key,
            revision=1,
            now=self.now(),
        )
        return True

    def replace(self, collection: str, document: Document, expected_revision: int) -> Document | None:
        """Put a document in the place of the one with its key, and write only what differs."""
        connection = self.connection
        number = self.numbering.collection(connection, collection)
        if number is None:
            return None
        found = connection.execute(_LOOK, (number, document.key)).fetchone()
        if found is None or found[4] != expected_revision:
            return None
        doc, scope, part, scope_name, revision = found
        revision += 1
        connection.execute(
            "UPDATE bodies SET revision = ?, body = ?, text = ? WHERE id = ?",
            (revision, dump(document.body), document.text, doc),
        )
        new = self._entries(number, document)
        # 5 and 5.0 are equal and yet not the same.
        rows = connection.execute("SELECT path, kind, value, typeof(value) FROM vals WHERE doc = ?", (doc,))
        old = set(rows.fetchall())
        wanted = {(*row, _type(row[2])) for row in new.values()}
        gone = [(part, path, kind, value, doc) for path, kind, value, _ in old - wanted]
        connection.executemany(_DROP_VALUES, gone)
        fresh = [(part, path, kind, value, doc) for path, kind, value, _ in wanted - old]
        connection.executemany(_ADD_VALUES, fresh)
        self.tallies.add(part, 0, [row[1:3] for row in gone], [row[1:3] for row in fresh])
        note(
            connection,
            "replaced",
            collection=number,
            scope=scope,
            key=document.key,
            revision=revision,
            now=self.now(),
        )
        return replace(document, scope=scope_name, view=(), revision=revision)

    def remove(self, collection: str, key: str, expected_revision: int | None) -> bool:
        """Remove a document."""
        connection = self.connection
        number = self.numbering.collection(connection, collection)
        if number is None:
            return False
        found = connection.execute(_LOOK, (number, key)).fetchone()
        if found is None or expected_revision not in (None, found[4]):
            return False
        doc, scope, part, _, revision = found
        gone = connection.execute("SELECT path, kind FROM vals WHERE doc = ?", (doc,)).fetchall()
        self.tallies.add(part, -1, gone, ())
        connection.execute("DELETE FROM vals WHERE doc = ?", (doc,))
        connection.execute("DELETE FROM bodies WHERE id = ?", (doc,))
        connection.execute("DELETE FROM docs WHERE id = ?", (doc,))
        note(connection, "removed", collection=number, scope=scope, key=key, revision=revision, now=self.now())
        return True

    def _entries(self, collection: int, document: Document) -> Rows:
        return entries(document.view, partial(self.numbering.number_path, self.connection, collection))


def _type(value: Value) -> str:
    return "text" if isinstance(value, str) else "real" if isinstance(value, float) else "integer"
