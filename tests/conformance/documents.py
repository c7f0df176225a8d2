"""The table of document stores that the suite of the port runs over: one row more is all that a new store needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from measurand.core.ports import DocumentStore
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.storage.documents.sqlite import Sqlite

__all__ = ["STORES", "OpenStore", "at", "number", "string"]

OpenStore = Callable[[Path, int], AbstractAsyncContextManager[DocumentStore]]
"""Opens a store that may lie in a folder and keeps so many changes, and closes it."""


@asynccontextmanager
async def _memory(_folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    store = Memory(compile_pattern, history=history)
    yield store
    await store.close()


@asynccontextmanager
async def _sqlite(folder: Path, history: int) -> AsyncIterator[DocumentStore]:
    store = await Sqlite.open(folder / "documents.db", compile_pattern=compile_pattern, history_rows=history)
    try:
        yield store
    finally:
        await store.close()


STORES: Mapping[str, OpenStore] = {"memory": _memory, "sqlite": _sqlite}


def number(value: float) -> Scalar:
    return Scalar("n", value)


def string(value: str) -> Scalar:
    return Scalar("s", value)


def at(path: str, *scalars: Scalar | None, listed: bool = False) -> View:
    return [*([Entry(path, None)] if listed else []), *(Entry(path, scalar, listed) for scalar in scalars)]
