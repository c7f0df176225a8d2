"""Documents in one SQLite file, which any number of processes of one machine use at once. No service is needed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.tree import Filter
from measurand.core.ports import Changes, Document, Found, Order, Position, Total
from measurand.storage.documents.sqlite import changes, counter
from measurand.storage.documents.sqlite.bell import Bell
from measurand.storage.documents.sqlite.compiler import check_patterns, matcher
from measurand.storage.documents.sqlite.edits import Editor
from measurand.storage.documents.sqlite.finder import Finder
from measurand.storage.documents.sqlite.numbers import Lookup, Numbering
from measurand.storage.documents.sqlite.readers import Readers
from measurand.storage.documents.sqlite.rows import load
from measurand.storage.documents.sqlite.schema import connect, prepare
from measurand.storage.documents.sqlite.selection import Selection
from measurand.storage.documents.sqlite.tallies import Tallies
from measurand.storage.documents.sqlite.writer import Writer
from measurand.wire.errors import AlreadyExists

__all__ = ["Sqlite"]

_MiB = 1024 * 1024
_READERS = 4
_FEW_KEYS = 16
"""So many documents are fetched right where they are asked for, without a thread."""

_SLICE = 200
"""So many documents of `insert_many` are one request of the writer, so that others come in between."""
_PAGE_BYTES = 4096


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Sqlite:
    """A DocumentStore in a file. Made by `open`."""

    def __init__(
        self,
        path: Path,
        identity: str,
        *,
        compile_pattern: CompilePattern,
        writer: Writer,
        readers: Readers,
        bell: Bell,
    ) -> None:
        self._path = path
        self._identity = identity
        self._compile_pattern = compile_pattern
        self._writer = writer
        self._readers = readers
        self._bell = bell
        self._lookup = Lookup()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        compile_pattern: CompilePattern,
        history: timedelta = timedelta(days=7),
        history_rows: int = 1_000_000,
        max_bytes: int | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> Sqlite:
        """Open the database, and make it if there is none in the folder.

        Parameters
        ----------
        path : Path
            The file. Beside it lie `-wal` and `-shm`, which belong to it and must not be parted from it.
        compile_pattern : callable
            The engine of regular expressions, for filters.
        history, history_rows : timedelta, int
            For how long, and how many, changes are kept for `changes`.
        max_bytes : int, optional
            Largest size of the file; StoreFull beyond it. None: as large as the disk.
        now : callable
            The time, aware.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: the database is of a newer release or of another program. Nothing was changed.
        DataLoss
            STORED_DATA_CORRUPT: the file is damaged, or no database.
        """

        def opened() -> tuple[str, sqlite3.Connection, sqlite3.Connection]:
            identity = prepare(path)
            writing = connect(path, cache_bytes=32 * _MiB, wait_seconds=0.0)
            if max_bytes is not None:
                writing.execute(f"PRAGMA max_page_count = {max(max_bytes // _PAGE_BYTES, 1):d}").fetchone()
            return identity, writing, connect(path, cache_bytes=_MiB, wait_seconds=0.0)

        def reading() -> sqlite3.Connection:
            connection = connect(path, cache_bytes=16 * _MiB)
            connection.execute("PRAGMA query_only = ON")
            matcher(connection, compile_pattern)
            return connection

        identity, writing, watching = await asyncio.to_thread(opened)
        bell = Bell(watching)
        kept = changes.History(history, history_rows)
        writer = Writer(
            Editor(writing, Numbering(), Tallies(), now),
            name=path.name,
            tidy=lambda: changes.trim(writing, kept, now()),
            told=bell.ring,
        )
        readers = Readers(reading, name=path.name, threads=_READERS)
        return cls(path, identity, compile_pattern=compile_pattern, writer=writer, readers=readers, bell=bell)

    def __repr__(self) -> str:
        return f"sqlite({self._path.name!r})"

    async def insert(self, collection: str, document: Document) -> Document:
        stored = await self._writer.run(collection, lambda editor: editor.insert(collection, document))
        if not stored:
            raise AlreadyExists(f"{document.key}: there is one already; choose another id", resource=document.key)
        return replace(document, view=(), revision=1)

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        def insert(part: Sequence[Document], editor: Editor) -> Sequence[bool]:
            return [editor.insert(collection, document) for document in part]

        slices = [documents[start : start + _SLICE] for start in range(0, len(documents), _SLICE)]
        edits = [self._writer.run(collection, partial(insert, part)) for part in slices]
        stored = await asyncio.gather(*edits, return_exceptions=True)
        for answer in stored:  # all have ended by now, so none goes on behind the back of the caller
            if isinstance(answer, BaseException):
                raise answer
        return [each for answer in stored if not isinstance(answer, BaseException) for each in answer]

    async def fetch(self, collection: str, key: str) -> Document | None:
        return (await self.fetch_many(collection, [key])).get(key)

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Mapping[str, Document]:
        def read(connection: sqlite3.Connection) -> Mapping[str, Document]:
            number = self._lookup.collection(connection, collection)
            rows = [(key, connection.execute(_BY_KEY, (number, key)).fetchone()) for key in keys]
            return {key: load(row, key, row[4]) for key, row in rows if row is not None}

        return self._readers.run_here(read) if len(keys) <= _FEW_KEYS else await self._readers.run(read)

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        return await self._writer.run(
            collection, lambda editor: editor.replace(collection, document, expected_revision)
        )

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        return await self._writer.run(collection, lambda editor: editor.remove(collection, key, expected_revision))

    async def find(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        order: Sequence[Order] = (),
        after: Position | None = None,
        key_prefix: str = "",
        limit: int = 100,
        with_text: bool = True,
    ) -> Sequence[Found]:
        def read(connection: sqlite3.Connection) -> Sequence[Found]:
            selection = self._select(connection, collection, scopes, where, key_prefix)
            if selection is None or limit < 1:
                return []
            found = []
            for row in Finder(selection, order, limit).find(after):
                body = connection.execute(_BY_NUMBER if with_text else _WITHOUT_TEXT, (row.number,)).fetchone()
                found.append(Found(load(body, body[3], body[4]), row.position()))
            return found

        return await self._readers.run(read)

    async def count(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        key_prefix: str = "",
        most: int | None = None,
    ) -> int:
        def read(connection: sqlite3.Connection) -> int:
            selection = self._select(connection, collection, scopes, where, key_prefix)
            return 0 if selection is None else counter.count(selection, most)

        return await self._readers.run(read)

    async def total(
        self, collection: str, path: str, *, scopes: Sequence[str] | None = None, where: Filter | None = None
    ) -> Total:
        def read(connection: sqlite3.Connection) -> Total:
            selection = self._select(connection, collection, scopes, where, "")
            return Total(0, 0) if selection is None else counter.total(selection, path)

        return await self._readers.run(read)

    async def values(
        self, collection: str, path: str, *, scopes: Sequence[str], prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]:
        def read(connection: sqlite3.Connection) -> Sequence[tuple[str, int]]:
            selection = self._select(connection, collection, scopes, None, "")
            if selection is None:
                return []
            return counter.values(selection, path, prefix=prefix, after=after, limit=limit)

        return await self._readers.run(read)

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        def read(connection: sqlite3.Connection) -> Changes:
            return changes.read(
                connection, self._lookup, self._identity, collection, after=after, scopes=scopes, limit=limit
            )

        if after is None or wait_seconds <= 0:
            return await self._readers.run(read)
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        with self._bell.listening(collection) as wait:
            while True:
                answer = await self._readers.run(read)
                left = deadline - clock()
                if answer.changes or left <= 0:
                    return answer
                after = answer.token
                await wait(left)

    async def close(self) -> None:
        await self._writer.close()
        await self._readers.close()
        self._bell.close()

    def _select(
        self,
        connection: sqlite3.Connection,
        collection: str,
        scopes: Sequence[str] | None,
        where: Filter | None,
        key_prefix: str,
    ) -> Selection | None:
        if where is not None:
            check_patterns(where, self._compile_pattern)
        home = self._lookup.home(connection, collection, scopes)
        return None if home is None else Selection(connection, self._lookup, home, where, key_prefix)


_FROM = "FROM docs AS d JOIN bodies AS b ON b.id = d.id JOIN scopes AS s ON s.id = d.scope WHERE"
_BY_KEY = f"SELECT b.revision, b.body, b.text, d.key, s.name {_FROM} d.collection = ? AND d.key = ?"
_BY_NUMBER = f"SELECT b.revision, b.body, b.text, d.key, s.name {_FROM} d.id = ?"
_WITHOUT_TEXT = f"SELECT b.revision, b.body, '', d.key, s.name {_FROM} d.id = ?"
