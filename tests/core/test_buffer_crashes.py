"""The process dies, or a store stumbles, at every single call of an append: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.core.buffer_rooms import BufferRooms, start_buffers
from tests.core.crashing import Crash, Fuse, fused
from tests.core.stumbling import Stumble, persistently, stumbling

from measurand.core.buffers.documents import BUFFERS
from measurand.core.buffers.heads import Policy
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import StoreFull, Unavailable

RECORDS = 12
POLICY = Policy(freeze_after_records=5, rotate=True)


def content(number: int) -> bytes:
    return f"record {number}".encode()


async def stream(buffers: BufferRooms) -> None:
    """Append what is missing, as the client library does: from where the server says the writer stands."""
    writer = await buffers.open()
    try:
        for number in range(writer.opening.number + 1, RECORDS + 1):
            await writer.take(number, [buffers.record(content(number))])
            for _ in range(number):  # so that there are several groups
                await asyncio.sleep(0)
        await writer.close()
    except BaseException:
        await writer.close(is_complete=False)
        raise


async def call(buffers: BufferRooms) -> None:
    """Append with request ids and record ids, beside each other."""

    async def by_request(number: int) -> None:
        await persistently(lambda: buffers.append(content(number), request_id=f"r{number}"))

    async def by_id(number: int) -> None:
        records = [buffers.record(content(number), id=f"i{number}")]
        await persistently(lambda: buffers.appending.append(LOCAL_USER, buffers.name, records))

    numbers = range(1, RECORDS + 1)
    await asyncio.gather(*((by_request if number % 2 else by_id)(number) for number in numbers))


async def check(buffers: BufferRooms, acknowledged: int, *, in_order: bool) -> None:
    kept = [record.data for record in await buffers.check()]
    assert len(set(kept)) == len(kept)
    if in_order:
        assert kept == [content(number) for number in range(1, len(kept) + 1)]
    assert acknowledged <= len(kept) <= RECORDS


async def check_complete(buffers: BufferRooms) -> None:
    kept = await buffers.check()
    assert sorted(record.data for record in kept) == sorted(content(number) for number in range(1, RECORDS + 1))
    assert [record.window for record in kept] == [1] * 5 + [2] * 5 + [3] * 2


@pytest.mark.parametrize("after", [False, True])
async def test_a_server_that_dies_anywhere_loses_and_doubles_nothing(after: bool) -> None:
    at, is_over = 0, False
    while not is_over:
        buffers = await start_buffers(POLICY)
        fuse = Fuse(at, after)
        documents, blobs = fused(buffers.rooms.documents, buffers.rooms.blobs, fuse)
        dying = buffers.another(documents=documents, blobs=blobs)
        with contextlib.suppress(Crash):
            await stream(dying)
        is_over = not fuse.blown
        await dying.close()
        await check(buffers, max((ack.number for ack in dying.acks), default=0), in_order=True)
        await stream(buffers)
        await check(buffers, RECORDS, in_order=True)
        await check_complete(buffers)
        await buffers.close()
        at += 1
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("times", [1, 4])
async def test_a_store_that_stumbles_anywhere_doubles_and_loses_nothing_of_a_stream(after: bool, times: int) -> None:
    at, is_over = 0, False
    while not is_over:
        buffers = await start_buffers(POLICY)
        stumble = Stumble(at, after, times)
        documents, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, stumble)
        server = buffers.another(documents=documents, blobs=blobs)
        await persistently(lambda: stream(server))  # noqa: B023  # it is done within the turn
        is_over = not stumble.has_happened
        await check_complete(buffers)
        await check(buffers, RECORDS, in_order=True)
        await server.close()
        assert server.commits.queues.total == 0
        at += 1
    assert at > 10


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("times", [1, 4])
async def test_a_store_that_stumbles_anywhere_doubles_and_loses_nothing_of_single_calls(
    after: bool, times: int
) -> None:
    at, is_over = 0, False
    while not is_over:
        buffers = await start_buffers(POLICY)
        stumble = Stumble(at, after, times)
        documents, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, stumble)
        server = buffers.another(documents=documents, blobs=blobs)
        await call(server)
        is_over = not stumble.has_happened
        await check_complete(buffers)
        await server.close()
        assert server.commits.queues.total == 0
        at += 1
    assert at > 5


async def test_an_answer_that_was_lost_once_is_no_error_at_all() -> None:
    """The head was written, and only the word of it was lost: the group is answered, and not stored again."""
    buffers = await start_buffers()
    await buffers.append(b"first")
    calls = Stumble(10**9, after=True)
    documents, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, calls)
    server = buffers.another(documents=documents, blobs=blobs)
    await server.append(b"second")
    lost = Stumble(calls.calls - 1, after=True)
    documents, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, lost)
    again = buffers.another(documents=documents, blobs=blobs)
    assert (await again.append(b"third")).first == 3
    assert lost.has_happened
    assert [record.data for record in await buffers.check()] == [b"first", b"second", b"third"]
    for one in (buffers, server, again):
        await one.close()


async def test_a_full_store_refuses_its_group_and_takes_the_next() -> None:
    buffers = await start_buffers()
    inner = buffers.rooms.blobs

    class Full:
        is_full = True

        def __getattr__(self, verb: str) -> Any:
            return getattr(inner, verb)

        async def put(self, key: str, chunks: Any, *, policy: Any = None) -> Any:
            if self.is_full:
                raise StoreFull("the store has no room; make some")
            return await inner.put(key, chunks, policy=policy)

    blobs = Full()
    server = buffers.another(blobs=blobs)
    writer = await server.open()
    await writer.take(1, [buffers.record(content(1))])
    await writer.take(2, [buffers.record(content(2))])
    with pytest.raises(StoreFull):
        await writer.close()
    assert server.commits.queues.total == 0
    assert not await buffers.check()
    blobs.is_full = False
    await stream(server)
    assert len(await buffers.check()) == RECORDS
    await server.close()
    await buffers.close()


Fate = tuple[Callable[[], Awaitable[object]] | None, bool, bool]
"""What happens before a write of the head, whether it is done, and whether anybody hears of it."""


@dataclass
class Unlucky:
    """Documents of a server whose writes of the head fare as told."""

    inner: DocumentStore
    fates: list[Fate]

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.inner, verb)

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        before, is_done, is_heard = self.fates.pop(0) if collection == BUFFERS and self.fates else (None, True, True)
        if before is not None:
            await before()
        answer = None
        if is_done:
            answer = await self.inner.replace(collection, document, expected_revision=expected_revision)
        if not is_heard:
            raise Unavailable("the store does not answer; try again", retry_seconds=0.01)
        return answer


async def test_the_answer_is_that_of_the_try_that_came_about() -> None:
    """One try is lost to another server, and of the next, with the same bytes at another place, only the answer is."""
    buffers = await start_buffers()
    other = buffers.another()
    for is_first_heard in (False, True):
        before = (await buffers.head()).next_sequence
        fates: list[Fate] = [(lambda: other.append(b"other"), True, is_first_heard), (None, True, False)]
        server = buffers.another(documents=Unlucky(buffers.rooms.documents, fates))
        stored = await server.append(b"mine")
        kept = await buffers.check()
        assert [record.data for record in kept[before - 1 :]] == [b"other", b"mine"]
        assert stored.first == before + 1
        await server.close()
    await other.close()
    await buffers.close()


async def test_bytes_that_could_not_be_written_anew_are_never_named() -> None:
    """A repeat at another server makes a group smaller, and the store stumbles as its bytes are written anew."""
    buffers = await start_buffers()
    other = buffers.another()
    for number in range(6):
        fates: list[Fate] = [(lambda: other.append(b"1", writer="w", first_number=2 * number + 1), True, True)]  # noqa: B023
        stumble = Stumble(10**9, after=False)
        _, blobs = stumbling(buffers.rooms.documents, buffers.rooms.blobs, stumble)
        documents = Unlucky(buffers.rooms.documents, fates)
        server = buffers.another(documents=documents, blobs=blobs)
        stumble.at, stumble.times = 1, 1 + number % 3  # the first put is right, those that follow are not
        call = server.append(b"1", b"2", writer="w", first_number=2 * number + 1)
        with contextlib.suppress(Unavailable):
            await call
        await persistently(lambda: server.append(b"1", b"2", writer="w", first_number=2 * number + 1))  # noqa: B023
        assert [record.data for record in await buffers.check()] == [b"1", b"2"] * (number + 1)
        await server.close()
    await other.close()
    await buffers.close()


async def test_bytes_that_took_too_long_are_written_anew() -> None:
    """The machine slept between bytes and head: the collector may have taken them for garbage."""
    buffers = await start_buffers()
    rooms, inner = buffers.rooms, buffers.rooms.blobs

    class Sleeping:
        puts = 0

        def __getattr__(self, verb: str) -> Any:
            return getattr(inner, verb)

        async def put(self, key: str, chunks: Any, *, policy: Any = None) -> Any:
            blob = await inner.put(key, chunks, policy=policy)
            self.puts += 1
            if self.puts == 1:
                rooms.clock.move(rooms.limits.blob_grace)
                await inner.delete(key)
            return blob

    server = buffers.another(blobs=Sleeping())
    assert (await server.append(b"x")).first == 1
    assert [record.data for record in await buffers.check()] == [b"x"]
    await server.close()
