"""The table of document stores that the suite of the port runs over: one row more is all that a new store needs."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.mongod import shared_mongod

from measurand.core.ports import DocumentStore
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.measured import Measured
from measurand.storage.documents.memory import Memory
from measurand.storage.documents.mongo import Mongo
from measurand.storage.documents.sqlite import Sqlite

__all__ = ["STORES", "OpenStore", "at", "number", "string"]

OpenStore = Callable[[Path, int], AbstractAsyncContextManager[DocumentStore]]
"""Opens a store that may lie in a folder and keeps so many changes, and closes it."""


@asynccontextmanager
async def _memory(_folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    store = Memory(compile_pattern, history=history)
    yield store
    await store.close()


class NoMeter:
    """Takes figures and forgets them."""

    def asked(self, store: str, collection: str, verb: str, seconds: float, error: str) -> None: ...


@asynccontextmanager
async def _measured_memory(folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    async with _memory(folder, history) as inner:
        yield Measured(inner, store="test", metrics=NoMeter(), monotonic=lambda: 0.0)


@asynccontextmanager
async def _sqlite(folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    store = await Sqlite.open(folder / "documents.db", compile_pattern=compile_pattern, history_rows=history)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _mongo(_folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    mongod, database = shared_mongod(), f"t{uuid.uuid4().hex}"
    store = await Mongo.open(mongod.url_of(database), compile_pattern=compile_pattern, history=history)
    try:
        yield store
    finally:
        await store.close()
        with mongod.client() as client:
            client.drop_database(database)


STORES: Mapping[str, OpenStore] = {
    "memory": _memory,
    "measured(memory)": _measured_memory,
    "sqlite": _sqlite,
    "mongo": _mongo,
}


def number(value: float) -> Scalar:
    return Scalar("n", value)


def string(value: str) -> Scalar:
    return Scalar("s", value)


def at(path: str, *scalars: Scalar | None, listed: bool = False) -> View:
    return [*([Entry(path, None)] if listed else []), *(Entry(path, scalar, listed) for scalar in scalars)]
