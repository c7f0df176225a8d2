"""Blobs as objects of an S3 bucket: the port, over blocking requests in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import islice

from measurand.core.blob_rules import check_key, check_range, missing
from measurand.core.means import Threads
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Buffer, Stage, StoredBlob
from measurand.storage.blobs.s3.checks import check
from measurand.storage.blobs.s3.client import Client
from measurand.storage.blobs.s3.credentials import GetKeys, from_environment
from measurand.storage.blobs.s3.faults import translating
from measurand.storage.blobs.s3.layout import PART_BYTES, Names, Record
from measurand.storage.blobs.s3.location import Location, parse_location
from measurand.storage.blobs.s3.objects import Objects
from measurand.storage.blobs.s3.plain import S3Plain
from measurand.storage.blobs.s3.putting import PutParts, groups_of
from measurand.storage.blobs.s3.reading import Reading
from measurand.storage.blobs.s3.scanning import Scanning
from measurand.storage.blobs.s3.stage import S3Stage
from measurand.storage.blobs.s3.staging import Staging

__all__ = ["S3"]

_WHOLE_PARTS = 2
"""What is not larger is put in one request."""


class S3:
    """A store in a bucket; any number of processes may share it, and others may use other prefixes.

    A finished blob may hold more bytes than `Blob.size`, by less than a part: when `finish` was called with a size that
    lies within a part that is full.

    Parameters
    ----------
    location : Location
        See `parse_location`.
    in_thread : callable
        Runs its requests beside the event loop.
    get_keys : callable, optional
        Finds the credentials. None: as every AWS tool does.
    part_bytes : int
        Size of the parts of staged writes, 5 MiB or more: so many bytes `persist(whole=False)` may hold back.
    """

    def __init__(
        self,
        location: Location,
        *,
        in_thread: Threads,
        get_keys: GetKeys | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._location = location
        self._in_thread = in_thread
        self._part_bytes = part_bytes
        self._client = Client(location, get_keys or from_environment())
        self._objects = Objects(self._client)
        self._names = Names(location)
        self._staging = Staging(self._objects, self._names)
        self._put_parts = PutParts(self._objects, in_thread)
        self._scanning = Scanning(self._objects, self._names, self._staging)

    @classmethod
    async def connect(cls, url: str, *, in_thread: Threads) -> S3:
        """Return the store at `s3://BUCKET/PREFIX?endpoint=...&region=...`, found fit to be used.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: the URL is none.
        Unavailable
            STORE_UNAVAILABLE: see `check`.
        """
        store = cls(parse_location(url), in_thread=in_thread)
        try:
            await store.check()
        except BaseException:
            await store.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"s3({self._location.place!r})"

    async def check(self) -> None:
        """Write, read, list and remove an object.

        Raises
        ------
        Unavailable
            STORE_UNAVAILABLE: that does not work; the text says what to do.
        """
        await self._in_thread(check, self._objects, self._names, self._location.place)

    async def claim(self, deployment_id: str) -> str:
        """Return the id of the deployment that these blobs belong to: of the first that has asked."""
        return await self._in_thread(self._claim, deployment_id)

    def presign(self, blob: Blob, seconds: float) -> str:
        """Return a URL by which anybody can read a finished blob for so long, at most a week.

        Only the first `blob.size` bytes are the blob: ask for them with a Range header. Nobody proves what is read so.
        """
        check_key(blob.key)
        return self._client.presigned(self._names.blob(blob.key), max(1, int(seconds)))

    def plain(self, crc32c: Callable[[Buffer, int], int]) -> S3Plain:
        """Return where plain layouts lie beside these blobs. It goes when the store is closed."""
        return S3Plain(self._objects, self._names, self._location, in_thread=self._in_thread, crc32c=crc32c)

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        check_key(key)
        groups = groups_of(chunks, self._part_bytes)
        size, first = await self._in_thread(self._put, key, groups)
        if first:
            size = await self._put_parts(key, self._names.blob(key), first, groups)
        return Blob(key, size)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        """Yield chunks of 2 MiB; while one is used the next is received."""
        check_key(blob.key)
        end = offset + check_range(blob, offset, length)
        reading = Reading(self._objects, blob.key, self._names.blob(blob.key), offset, end)
        ahead: asyncio.Future[bytes] = asyncio.ensure_future(self._in_thread(reading.next))
        try:
            while True:
                chunk = await ahead
                offset += len(chunk)
                if offset < end:
                    ahead = asyncio.ensure_future(self._in_thread(reading.next))
                if chunk:
                    yield chunk
                if offset >= end:
                    return
        finally:
            if not ahead.cancel() and not ahead.cancelled():
                ahead.exception()  # looked at, so that asyncio does not report what nobody waits for any more
            reading.close()

    async def stat(self, key: str) -> StoredBlob:
        check_key(key)
        return await self._in_thread(self._stat, key)

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._in_thread(self._delete, key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        # What is staged is listed first and yielded last: what is finished meanwhile is seen once.
        staged = await self._in_thread(self._scanning.staged, prefix)
        after: str | None = ""
        while after is not None:
            page, after = await self._in_thread(self._scanning.finished, prefix, after)
            for blob in page:
                staged.pop(blob.key, None)
                yield blob
        for key, seen in staged.items():
            found = await self._in_thread(self._scanning.stored, key, seen)
            if found is not None:
                yield found

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        check_key(key)
        record = Record(self._part_bytes)
        await self._in_thread(self._staging.begin, key, record)
        return S3Stage(self._objects, self._names, key, record, self._in_thread)

    async def finish(self, key: str, size: int) -> Blob:
        check_key(key)
        await self._in_thread(self._staging.finish, key, size)
        return Blob(key, size)

    async def discard(self, key: str) -> None:
        check_key(key)
        await self._in_thread(self._staging.discard, key)

    async def close(self) -> None:
        await self._put_parts.close()
        self._client.close()

    # ---------------------------------------------------------------------------------------------------- in threads

    def _put(self, key: str, groups: Iterator[Sequence[Buffer]]) -> tuple[int, Sequence[Sequence[Buffer]]]:
        """Put a small blob and return its size; of a larger one, return the groups that were drawn."""
        first = list(islice(groups, _WHOLE_PARTS + 1))
        with translating(key):
            if len(first) > _WHOLE_PARTS:
                self._staging.check_free(key)
                return 0, first
            chunks = [chunk for group in first for chunk in group]
            self._staging.claim(key, self._names.blob(key), chunks)
            return sum(map(len, chunks)), ()

    def _stat(self, key: str) -> StoredBlob:
        with translating(key):
            found = self._objects.head(self._names.blob(key))
            if found is None:
                self._objects.require_bucket()
                raise missing(key)
            return StoredBlob(key, found.size, found.modified_time)

    def _delete(self, key: str) -> None:
        with translating(key):
            self._objects.delete(self._names.blob(key))

    def _claim(self, deployment_id: str) -> str:
        with translating(self._location.place):
            for _ in range(2):
                owner = self._objects.fetch(self._names.owner)
                if owner is not None:
                    return owner.decode(errors="replace").strip()
                self._objects.put_new(self._names.owner, [deployment_id.encode()])
        return deployment_id
