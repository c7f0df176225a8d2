"""The store: the verbs of the port, over one connection at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.tree import Filter
from measurand.core.ports import Changes, Document, Found, Order, Position, Total
from measurand.storage.documents.mongo import counter, edits, indexes
from measurand.storage.documents.mongo.connection import Connection, name_of
from measurand.storage.documents.mongo.faults import translating
from measurand.storage.documents.mongo.feed import Feed
from measurand.storage.documents.mongo.finder import Finder
from measurand.storage.documents.mongo.records import document_of, projection
from measurand.storage.documents.mongo.selection import Records, select
from measurand.wire.errors import AlreadyExists

__all__ = ["Mongo"]

_WHOLE = projection()


class Mongo:
    """A DocumentStore in MongoDB. Made by `open`."""

    def __init__(
        self,
        url: str,
        connection: Connection,
        *,
        compile_pattern: CompilePattern,
        timeout_seconds: float,
        history: int | None,
    ) -> None:
        self._url = url
        self._name = name_of(url)
        self._connection = connection
        self._compile_pattern = compile_pattern
        self._timeout_seconds = timeout_seconds
        self._feed = Feed(lambda: self._connection, history)
        self._prepared: set[str] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        compile_pattern: CompilePattern,
        timeout_seconds: float = 12.0,
        history: int | None = None,
    ) -> Mongo:
        """Connect to a deployment, and make what indexes are missing.

        Parameters
        ----------
        url : str
            As MongoDB's drivers take it, with user, certificates and the like. The database is `measurand` if it names
            none.
        compile_pattern : callable
            The engine of regular expressions, for filters.
        timeout_seconds : float
            No operation takes longer; then it ends in Unavailable or Busy.
        history : int, optional
            How many changes a token may be behind; who is farther behind does better to list anew. None: as many as
            MongoDB keeps in its oplog.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: the URL is malformed, names a file that is not there, or would make writes less durable.
        FailedPrecondition
            STATE_WRONG: no replica set, or too old.
        PermissionDenied
            PERMISSION_DENIED: the user is not let in, or may not write.
        Unavailable
            STORE_UNAVAILABLE: nobody answers.
        """
        connection = await Connection.open(url, timeout_seconds=timeout_seconds)
        store = cls(
            url,
            connection,
            compile_pattern=compile_pattern,
            timeout_seconds=timeout_seconds,
            history=history,
        )
        try:
            for collection in indexes.ORDERED:
                async with store._on(collection):
                    pass
        except BaseException:
            await store.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"mongo({self._name.removeprefix('MongoDB at ')!r})"

    async def renew(self) -> None:
        """Go over to a new connection with the same URL, so that certificates that were renewed on disk are taken up.

        Calls that run end on the old one. If the new one does not come about it raises as `open`, and the old one
        stays.
        """
        new = await Connection.open(self._url, timeout_seconds=self._timeout_seconds)
        old, self._connection = self._connection, new
        retiring = asyncio.create_task(old.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def check_indexes(self) -> Sequence[str]:
        """Return what is missing of the indexes, in words. Nothing: all is well."""
        with translating(self._name), self._connection.use() as connection:
            return await indexes.missing(connection.database)

    async def insert(self, collection: str, document: Document) -> Document:
        async with self._on(collection) as records:
            stored = await edits.insert(records, document)
        if not stored:
            raise AlreadyExists(f"{document.key}: there is one already; choose another id", resource=document.key)
        return replace(document, view=(), revision=1)

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        async with self._on(collection) as records:
            return await edits.insert_many(records, documents)

    async def fetch(self, collection: str, key: str) -> Document | None:
        async with self._on(collection, as_is=True) as records:
            found = await records.find_one({"_id": key}, _WHOLE)
        return document_of(found) if found is not None and "s" in found else None

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Mapping[str, Document]:
        async with self._on(collection, as_is=True) as records:
            there = {"_id": {"$in": list(set(keys))}}
            found = await records.find(there, _WHOLE, batch_size=len(keys) + 2).to_list()
        return {record["_id"]: document_of(record) for record in found if "s" in record}

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        async with self._on(collection, as_is=True) as records:
            return await edits.replace(records, document, expected_revision)

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        async with self._on(collection, as_is=True) as records:
            return await edits.remove(records, key, expected_revision)

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
        if limit < 1:
            return []
        async with self._on(collection) as records:
            selection = select(records, self._compile_pattern, scopes=scopes, where=where, key_prefix=key_prefix)
            indexed = indexes.ORDERED.get(collection, ())
            return await Finder(selection, order, indexed=indexed, with_text=with_text).find(after, limit)

    async def count(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        key_prefix: str = "",
        most: int | None = None,
    ) -> int:
        async with self._on(collection) as records:
            return await counter.count(
                records, self._compile_pattern, scopes=scopes, where=where, key_prefix=key_prefix, most=most
            )

    async def total(
        self, collection: str, path: str, *, scopes: Sequence[str] | None = None, where: Filter | None = None
    ) -> Total:
        async with self._on(collection) as records:
            selection = select(records, self._compile_pattern, scopes=scopes, where=where)
            return await counter.total(selection, path, summed=indexes.SUMMED.get(collection, ()))

    async def values(
        self, collection: str, path: str, *, scopes: Sequence[str], prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]:
        async with self._on(collection) as records:
            selection = select(records, self._compile_pattern, scopes=scopes)
            return await counter.values(selection, path, prefix=prefix, after=after, limit=limit)

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        async with self._on(collection):
            pass  # a collection without documents has a history, too
        wanted = None if scopes is None else frozenset(scopes)
        with translating(self._name):
            if after is None:
                return await self._feed.now(collection)
            if wait_seconds <= 0:
                return await self._feed.behind(collection, after, wanted, limit)
            return await self._feed.next(collection, after, wanted, limit, wait_seconds)

    async def close(self) -> None:
        await self._feed.close()
        await self._connection.retire()
        await asyncio.gather(*self._retiring)

    @asynccontextmanager
    async def _on(self, collection: str, *, as_is: bool = False) -> AsyncIterator[Records]:
        """Give a collection with its indexes (`as_is`: or without), on a connection that stays open meanwhile."""
        with translating(self._name), self._connection.use() as connection:
            if not as_is and collection not in self._prepared:
                await indexes.prepare(connection.database, collection)
                self._prepared.add(collection)
            yield connection.records(collection)
