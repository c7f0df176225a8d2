"""The MongoDB store in a deployment of the tests, and what it raises where it cannot be opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.mongod import forget_sockets

from measurand.core.ports import Document
from measurand.core.view import View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.mongo import Mongo
from measurand.wire.errors import MeasurandError

__all__ = ["document", "opened", "refusal"]


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = 12.0) -> AsyncIterator[Mongo]:
    """The store at a URL, for the time of the block."""
    store = await Mongo.open(url, compile_pattern=compile_pattern, timeout_seconds=timeout_seconds)
    try:
        yield store
    finally:
        await store.close()
        forget_sockets()


async def refusal(url: str) -> MeasurandError:
    """Return what opening the store at a URL raises."""
    with pytest.raises(MeasurandError) as caught:
        async with opened(url, timeout_seconds=2.0):
            pass
    forget_sockets()
    return caught.value


def document(key: str, *, text: str = "", view: View = ()) -> Document:
    """Return a document of the scope `s` whose body tells its key."""
    return Document(key, "s", {"key": key}, text, view)
