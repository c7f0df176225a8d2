"""A large blob that is put at once: a multipart upload without a record, which is completed or aborted here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from measurand.core.means import Threads
from measurand.core.ports import Buffer
from measurand.storage.blobs.s3.faults import translating
from measurand.storage.blobs.s3.layout import MOST_PARTS
from measurand.storage.blobs.s3.objects import Objects
from measurand.storage.blobs.s3.parts import Parts
from measurand.wire.errors import MeasurandError, TooLarge

__all__ = ["PutParts", "groups_of"]


class PutParts:
    """Puts blobs that have more bytes than one request should carry."""

    def __init__(self, objects: Objects, in_thread: Threads) -> None:
        self._objects = objects
        self._in_thread = in_thread
        self._aborting: set[asyncio.Task[None]] = set()

    async def __call__(
        self, key: str, name: str, first: Sequence[Sequence[Buffer]], rest: Iterator[Sequence[Buffer]]
    ) -> int:
        """Store a blob and return its size.

        Parameters
        ----------
        first, rest : groups of chunks
            Each group makes a part.
        """
        upload = await self._in_thread(self._begin, key, name)
        tags: dict[int, str] = {}

        async def send(number: int, chunks: Sequence[Buffer]) -> None:
            tags[number] = await self._in_thread(self._send, key, name, upload, number, chunks)

        parts = Parts(send)
        size = number = 0
        groups = iter(first)
        try:
            while group := (next(groups, None) or await self._in_thread(next, rest, None)):
                number += 1
                _check_number(key, number)
                await parts.room()
                parts.begin(number, group)
                size += sum(map(len, group))
            await parts.settle(number)
            await self._in_thread(self._complete, key, name, upload, sorted(tags.items()))
        except BaseException:
            # Whatever it was, a cancellation too: an upload that nobody completes would lie there for ever.
            aborting = asyncio.create_task(self._abort(parts, key, name, upload))
            self._aborting.add(aborting)
            aborting.add_done_callback(self._aborting.discard)
            await asyncio.shield(aborting)
            raise
        return size

    async def close(self) -> None:
        """Wait for what is still to be aborted."""
        await asyncio.gather(*self._aborting)

    async def _abort(self, parts: Parts, key: str, name: str, upload: str) -> None:
        await parts.drain()  # a part that arrives later might stay
        await parts.close()
        with suppress(MeasurandError):  # the collector finds it
            await self._in_thread(self._throw_away, key, name, upload)

    def _begin(self, key: str, name: str) -> str:
        with translating(key):
            return self._objects.begin_upload(name)

    def _send(self, key: str, name: str, upload: str, number: int, chunks: Sequence[Buffer]) -> str:
        with translating(key):
            return self._objects.upload_part(name, upload, number, chunks)

    def _complete(self, key: str, name: str, upload: str, tags: Sequence[tuple[int, str]]) -> None:
        with translating(key):
            self._objects.complete(name, upload, tags)

    def _throw_away(self, key: str, name: str, upload: str) -> None:
        with translating(key):
            self._objects.abort(name, upload)


def _check_number(key: str, number: int) -> None:
    if number > MOST_PARTS:
        raise TooLarge(f"{key}: a blob has at most {MOST_PARTS} parts", limit=MOST_PARTS, actual=number)


def groups_of(chunks: Iterable[Buffer], size: int) -> Iterator[list[Buffer]]:
    """Yield the chunks in groups of `size` bytes, the last one smaller; chunks are cut, not copied."""
    group: list[Buffer] = []
    room = size
    for chunk in chunks:
        rest = memoryview(chunk)
        while len(rest) >= room:
            yield [*group, rest[:room]]
            rest, group, room = rest[room:], [], size
        if len(rest):
            group.append(rest)
            room -= len(rest)
    if group:
        yield group
