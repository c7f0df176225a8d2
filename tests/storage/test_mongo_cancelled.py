"""Calls that are cancelled while MongoDB is away: those that come later know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.mongod import Mongod

from measurand.core.ports import Document
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.mongo import Mongo
from measurand.wire.errors import Unavailable

AT_ONCE = 200


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    mongod = Mongod(tmp_path)
    yield mongod
    mongod.stop()


@pytest.fixture
async def store(mongod: Mongod) -> AsyncIterator[Mongo]:
    store = await Mongo.open(mongod.url_of("lab"), compile_pattern=compile_pattern, timeout_seconds=1.5)
    yield store
    await asyncio.wait_for(store.close(), 30)


async def call_and_cancel(store: Mongo) -> None:
    """Make calls one shortly after the other, and cancel them all as soon as the first has ended."""
    calls = []
    for _ in range(AT_ONCE):
        calls.append(asyncio.create_task(store.fetch("things", "kept")))
        await asyncio.sleep(0.0005)
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in calls:
        call.cancel()
    for call in calls:
        with contextlib.suppress(asyncio.CancelledError, Unavailable):
            await call


async def test_calls_cancelled_while_nobody_answers_do_no_harm_to_those_that_come_later(
    mongod: Mongod, store: Mongo
) -> None:
    await store.insert("things", Document("kept", "", {"n": 1}))
    await asyncio.to_thread(mongod.kill)
    for _ in range(5):
        await asyncio.wait_for(call_and_cancel(store), 60)
    await asyncio.to_thread(mongod.start)
    found = await asyncio.wait_for(store.fetch("things", "kept"), 30)
    assert found is not None and found.body == {"n": 1}
