"""A wrapper that tells a meter of every call: which collection was asked, how long it took, how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol

from measurand.core.filters.tree import Filter
from measurand.core.ports import Changes, Document, DocumentStore, Found, Order, Position, Total
from measurand.wire.errors import Internal, MeasurandError

__all__ = ["Measured", "Meter"]


class Meter(Protocol):
    """Where the figures go: the server room turns them into metrics."""

    def asked(self, store: str, collection: str, verb: str, seconds: float, error: str) -> None:
        """Take one call that has ended; `error` is its reason word, "CANCELLED", or "" for none."""
        ...


class Measured:
    """Changes nothing and measures everything.

    Parameters
    ----------
    inner : DocumentStore
        What is measured.
    store : str
        The name that its figures get, from a closed set such as the words of the configuration.
    metrics : Meter
        Where they go.
    monotonic : callable
        Seconds that never go back.
    """

    def __init__(self, inner: DocumentStore, *, store: str, metrics: Meter, monotonic: Callable[[], float]) -> None:
        self._inner = inner
        self._store = store
        self._metrics = metrics
        self._monotonic = monotonic

    def __repr__(self) -> str:
        return f"measured({self._inner!r})"

    async def insert(self, collection: str, document: Document) -> Document:
        with self._call(collection, "insert"):
            return await self._inner.insert(collection, document)

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        with self._call(collection, "insert_many"):
            return await self._inner.insert_many(collection, documents)

    async def fetch(self, collection: str, key: str) -> Document | None:
        with self._call(collection, "fetch"):
            return await self._inner.fetch(collection, key)

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Mapping[str, Document]:
        with self._call(collection, "fetch_many"):
            return await self._inner.fetch_many(collection, keys)

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        with self._call(collection, "replace"):
            return await self._inner.replace(collection, document, expected_revision=expected_revision)

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        with self._call(collection, "remove"):
            return await self._inner.remove(collection, key, expected_revision=expected_revision)

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
        with self._call(collection, "find"):
            return await self._inner.find(
                collection,
                scopes=scopes,
                where=where,
                order=order,
                after=after,
                key_prefix=key_prefix,
                limit=limit,
                with_text=with_text,
            )

    async def count(
        self,
        collection: str,
        *,
        scopes: Sequence[str] | None = None,
        where: Filter | None = None,
        key_prefix: str = "",
        most: int | None = None,
    ) -> int:
        with self._call(collection, "count"):
            return await self._inner.count(collection, scopes=scopes, where=where, key_prefix=key_prefix, most=most)

    async def total(
        self, collection: str, path: str, *, scopes: Sequence[str] | None = None, where: Filter | None = None
    ) -> Total:
        with self._call(collection, "total"):
            return await self._inner.total(collection, path, scopes=scopes, where=where)

    async def values(
        self, collection: str, path: str, *, scopes: Sequence[str], prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[tuple[str, int]]:
        with self._call(collection, "values"):
            return await self._inner.values(collection, path, scopes=scopes, prefix=prefix, after=after, limit=limit)

    async def changes(
        self,
        collection: str,
        *,
        after: str | None,
        scopes: Sequence[str] | None = None,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> Changes:
        """Counted as `wait` where it may wait: its time tells how long nothing happened, not how fast the store is."""
        with self._call(collection, "wait" if wait_seconds else "changes"):
            return await self._inner.changes(
                collection, after=after, scopes=scopes, limit=limit, wait_seconds=wait_seconds
            )

    async def close(self) -> None:
        await self._inner.close()

    def _call(self, collection: str, verb: str) -> _Call:
        return _Call(self._store, collection, verb, self._metrics, self._monotonic)


class _Call:
    """Measures the block as one call. A class, for a generator would take three times as long; reads are some 20 µs."""

    __slots__ = ("_begin", "_labels", "_metrics", "_monotonic")

    def __init__(self, store: str, collection: str, verb: str, metrics: Meter, monotonic: Callable[[], float]) -> None:
        self._labels = (store, collection, verb)
        self._metrics = metrics
        self._monotonic = monotonic
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = self._monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._metrics.asked(*self._labels, self._monotonic() - self._begin, "" if error is None else _word(error))


def _word(raised: BaseException) -> str:
    if isinstance(raised, MeasurandError):
        return raised.reason
    return "CANCELLED" if isinstance(raised, asyncio.CancelledError) else Internal.reason
