"""Plain Zarr in the bucket of a store, under `sealed/`, outside of which nothing is changed.

At once `{catalog}/{dataset}.json`: references to where the chunks lie in the blobs, in kerchunk's form (version 1 of
https://fsspec.github.io/kerchunk/spec.html), which fsspec reads. Bit by bit `{catalog}/{dataset}.zarr/…`: an object for
each item, which the store itself copies where a chunk is a blob of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from measurand.core.arrays.plain_places import Chunk, Item
from measurand.core.means import Threads
from measurand.core.ports import Buffer
from measurand.storage.blobs.s3.faults import translating
from measurand.storage.blobs.s3.layout import PART_BYTES, Names
from measurand.storage.blobs.s3.location import Location
from measurand.storage.blobs.s3.objects import Objects
from measurand.storage.blobs.s3.reading import Reading
from measurand.wire.errors import DataLoss, MeasurandError, TooLarge

__all__ = ["S3Plain"]

Thing = TypeVar("Thing")

COPIED_BYTES = 1 << 20
"""What is smaller is read and put, which takes no more requests and tells whether it is whole."""
AT_ONCE = 16
MOST_NAME_BYTES = 1024
ABANDONED = timedelta(hours=1)


class S3Plain:
    """Layouts beside the blobs of a store, made with its requests; blocking ones run in threads."""

    def __init__(
        self,
        objects: Objects,
        names: Names,
        location: Location,
        *,
        in_thread: Threads,
        crc32c: Callable[[Buffer, int], int],
    ) -> None:
        self._objects = objects
        self._names = names
        self._location = location
        self._in_thread = in_thread
        self._crc32c = crc32c
        self._root = location.name("sealed/")

    def __repr__(self) -> str:
        return f"s3_plain({self._location.place!r})"

    @property
    def objects(self) -> S3Plain:
        return self

    # ------------------------------------------------------------------------------------------------ as references

    async def lay_out(self, path: str, items: AsyncIterator[Sequence[Item]]) -> str:
        name = f"{self._root}{path}.json"
        file = _File(self._objects, name)
        try:
            await self._in_thread(file.write, b'{"version":1,"refs":{')
            separator = ""
            async for part in items:
                text = ",".join(self._reference(item) for item in part)
                if text:
                    await self._in_thread(file.write, f"{separator}\n{text}".encode())
                    separator = ","
            await self._in_thread(file.write, b"\n}}\n")
            await self._in_thread(file.finish)
        except BaseException:
            await self._in_thread(file.abort)
            raise
        return f"s3://{self._location.bucket}/{name}"

    async def is_laid_out(self, path: str) -> bool:
        return await self._in_thread(self._is_there, f"{self._root}{path}.json")

    async def remove(self, path: str) -> None:
        await self._in_thread(self._delete, f"{self._root}{path}.json")
        await self.clear(path)

    def _reference(self, item: Item) -> str:
        content: str | list[str | int]
        if isinstance(item, Chunk):
            url = f"s3://{self._location.bucket}/{self._names.blob(item.blob)}"
            content = [url, item.offset, item.size]
        else:
            content = item.content.decode()
        return f"{json.dumps(item.path)}:{json.dumps(content, separators=(',', ':'))}"

    # --------------------------------------------------------------------------------------------------- as objects

    async def clear(self, path: str) -> None:
        while names := await self._in_thread(self._page, f"{self._root}{path}.zarr/"):
            root = f"{self._root}{path}.zarr/zarr.json"
            if root in names:  # what opens it
                await self._in_thread(self._delete, root)
            await self._together(self._delete, names)

    async def put(self, path: str, items: Sequence[Item]) -> None:
        await self._together(lambda item: self._put(path, item), items)

    def url(self, path: str) -> str:
        return f"s3://{self._location.bucket}/{self._root}{path}.zarr"

    def _put(self, path: str, item: Item) -> None:
        name = f"{self._root}{path}.zarr/{item.path}"
        if (size := len(name.encode())) > MOST_NAME_BYTES:
            raise TooLarge(
                f"{item.path}: its object's name would have {size} bytes, and S3 takes {MOST_NAME_BYTES}; read the "
                "dataset by its reference file",
                limit=MOST_NAME_BYTES,
                actual=size,
            )
        with translating(item.path):
            if not isinstance(item, Chunk):
                self._objects.put(name, [item.content])
            elif not self._copy(item, name):
                self._objects.put(name, [self._content(item)])

    def _copy(self, chunk: Chunk, name: str) -> bool:
        """Have the store copy a chunk that is a blob of its own, and tell whether it is one."""
        if chunk.offset or chunk.size < COPIED_BYTES:
            return False
        blob = self._names.blob(chunk.blob)
        found = self._objects.head(blob)
        if found is None or found.size != chunk.size:
            return False
        self._objects.copy(blob, name)
        return True

    def _content(self, chunk: Chunk) -> bytes:
        reading = Reading(
            self._objects, chunk.blob, self._names.blob(chunk.blob), chunk.offset, chunk.offset + chunk.size
        )
        content = bytearray()
        try:
            while len(content) < chunk.size:
                content += reading.next()
        finally:
            reading.close()
        if self._crc32c(content, 0) != chunk.crc32c:
            raise DataLoss(
                f"{chunk.path}: its bytes are not those that were stored; restore {chunk.blob} from a copy",
                resource=chunk.blob,
            )
        return bytes(content)

    # ---------------------------------------------------------------------------------------------------- in threads

    async def _together(self, work: Callable[[Thing], object], things: Sequence[Thing]) -> None:
        """Do the work for each, some of them beside each other; after a failure nothing more is begun."""
        rest = iter(things)

        async def some() -> None:
            for thing in rest:
                await self._in_thread(work, thing)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(things))):
                    group.create_task(some())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    def _is_there(self, name: str) -> bool:
        with translating(name):
            return self._objects.head(name) is not None

    def _delete(self, name: str) -> None:
        with translating(name):
            self._objects.delete(name)

    def _page(self, prefix: str) -> Sequence[str]:
        with translating(prefix):
            return [found.name for found in self._objects.page(prefix)[0]]


class _File:
    """An object that is written bit by bit, and takes the place of what is there when it is whole. Blocking."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self._name = name
        self._held = bytearray()
        self._upload = ""
        self._tags: list[str] = []

    def write(self, content: bytes) -> None:
        self._held += content
        if len(self._held) >= PART_BYTES:
            self._send()

    def finish(self) -> None:
        if not self._upload:
            with translating(self._name):
                self._objects.put(self._name, [self._held])
            return
        if self._held:
            self._send()
        with translating(self._name):
            self._objects.complete(self._name, self._upload, list(enumerate(self._tags, 1)))

    def abort(self) -> None:
        """Throw away what was sent; if that fails as well, the next one does it."""
        if self._upload:
            with suppress(MeasurandError), translating(self._name):
                self._objects.abort(self._name, self._upload)

    def _send(self) -> None:
        with translating(self._name):
            if not self._upload:
                for left in list(self._objects.uploads(self._name)):
                    if left.name == self._name and datetime.now(UTC) - left.started_time > ABANDONED:
                        self._objects.abort(left.name, left.id)
                self._upload = self._objects.begin_upload(self._name)
            self._tags.append(self._objects.upload_part(self._name, self._upload, len(self._tags) + 1, [self._held]))
        self._held = bytearray()
