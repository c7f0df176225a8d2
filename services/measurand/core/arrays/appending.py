"""Plain rows added to an array in one call: a short-lived appender that the server is itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from weakref import WeakValueDictionary

from measurand.chunks.selections import Part, parse
from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.chunk_writes import ChunkWrite
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.element_writing import touched_parts
from measurand.core.arrays.elements import Elements, Region, element_bytes
from measurand.core.arrays.reading import ChunkReading
from measurand.core.arrays.writing import Writing
from measurand.core.files import DatasetGate
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import Buffer, Document, DocumentStore, Json
from measurand.core.principal import Principal
from measurand.core.requests import REQUESTS, Request, fixed_view, is_repeat, make_request
from measurand.wire.errors import (
    ChecksumMismatch,
    Conflict,
    Contention,
    InvalidArgument,
    SizeMismatch,
    WriterFenced,
)

__all__ = ["Appended", "Appending"]

_PATIENCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Appended:
    """Rows that were added.

    Parameters
    ----------
    first_row : int
        Index of the first of them.
    array : Array
        As it is now.
    """

    first_row: int
    array: Array


class Appending:
    """Appends rows."""

    def __init__(
        self,
        documents: DocumentStore,
        datasets: DatasetGate,
        arrays: Arrays,
        reading: ChunkReading,
        writing: Writing,
        commits: Commits,
        elements: Elements,
        means: Means,
        limits: Limits,
    ) -> None:
        self._datasets = datasets
        self._arrays = arrays
        self._reading = reading
        self._writing = writing
        self._commits = commits
        self._elements = elements
        self._means = means
        self._limits = limits
        self._tries = _Tries(documents, means)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def append(
        self,
        principal: Principal,
        name: ArrayName,
        data: Buffer,
        *,
        crc32c: int | None = None,
        expected_rows: int | None = None,
        force: bool = False,
        request_id: str = "",
    ) -> Appended:
        """Add whole rows to the first axis. Durable and visible when it returns.

        Parameters
        ----------
        data : buffer
            Elements in C order, little-endian.
        expected_rows : int, optional
            Only if there are so many rows now. None: at the end there is.
        force : bool
            Fence an appender that is at work.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: there is another number of rows, which stands in the details as `rows`.
        WriterFenced
            WRITER_FENCED: another appender is at work, or has taken over.
        SizeMismatch
            SIZE_MISMATCH: the bytes are no whole rows.
        ChecksumMismatch
            CHECKSUM_MISMATCH: they arrived damaged; send them again.
        Sealed
            DATASET_SEALED.
        """
        actual = self._means.crc32c(data, 0)
        if crc32c not in (None, actual):
            raise ChecksumMismatch(
                f"{name}: the rows arrived damaged; send them again",
                offset=0,
                expected=f"{crc32c:08x}",
                actual=f"{actual:08x}",
            )
        asked = "AppendArray", principal.name, str(name), expected_rows, len(data), actual
        request = make_request(request_id, self._means.now(), self._limits, *asked)
        await self._datasets.require_open(principal, name.parent)
        async with self._turns.setdefault(str(name), asyncio.Lock()):
            for _ in range(self._limits.max_retries):
                array = await self._arrays.require(principal, name)
                rows = _rows(array, data)
                tried = await self._tries.of(array, request) if request else {}
                if (first := _done(array, tried, rows)) is not None:
                    return Appended(first, array)
                _check_rows(array, expected_rows)
                if not rows:
                    return Appended(array.shape[0], array)
                if not force and array.is_growing(self._means.now()) and array.epoch not in tried:
                    await asyncio.sleep(_PATIENCE_SECONDS)  # it may be one like this, which is soon done
                    continue
                try:
                    array = await self._writing.take_over(principal, array, array.epoch)
                except WriterFenced:  # another one has come first
                    continue
                return await self._append(array, rows, data, expected_rows, request)
        raise WriterFenced(
            f"{name}: another appender is at work; wait until it has ended, or fence it with `force`",
            resource=name,
            epoch=(await self._arrays.require(principal, name)).epoch,
        )

    async def _append(
        self, array: Array, rows: int, data: Buffer, expected_rows: int | None, request: Request | None
    ) -> Appended:
        """Add rows as the appender that the array now has."""
        first = array.shape[0]
        try:
            _check_rows(array, expected_rows)
            if request:  # before anything can be seen: what a repeat of this call looks for
                await self._tries.add(array, request, first)
            written = await self._write(array, rows, data)
            grown = await self._commits.grow(array, array.epoch, first + rows, after=written, is_last=True)
        except BaseException:
            leaving = self._commits.grow(array, array.epoch, 0, is_last=True)
            leaving.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        return Appended(first, grown)

    async def _write(self, array: Array, rows: int, data: Buffer) -> Sequence[asyncio.Future[str]]:
        """Hand in the chunks that the rows lie in; return when all are durable."""
        first = array.shape[0]
        grown = replace(array, shape=(first + rows, *array.shape[1:]))
        selection = parse((slice(first, None),), grown.shape)
        touched = touched_parts(grown, selection)
        region = await self._means.in_thread(self._elements.region, array, selection.box_shape, data)
        written: list[asyncio.Future[str]] = []
        for part in touched:
            encoded, etag = None, None
            if part.index[0] * array.chunk_shape[0] < first:  # the last chunk, which is filled in part
                stored = await self._reading.one(array, part.index)
                encoded, etag = stored.data, stored.etag
            write = await self._means.in_thread(self._changed, region, part, encoded, etag, array.epoch)
            written.append(self._commits.submit(array, write))
            written[-1].add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.gather(*written)
        return written

    def _changed(self, region: Region, part: Part, encoded: Buffer | None, etag: str | None, epoch: int) -> ChunkWrite:
        chunk = region.change(part, encoded)
        return ChunkWrite(part.index, chunk, self._means.crc32c(chunk, 0), etag, epoch)


class _Tries:
    """The appenders that a request has been, each with the row it began at: to know whether one has come to its end."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means

    async def of(self, array: Array, request: Request) -> Mapping[int, int]:
        """Return the first row by the epoch. Raises RequestIdReused."""
        kept = await self._documents.fetch(REQUESTS, _key(array, request))
        return self._read(array, request, kept)

    async def add(self, array: Array, request: Request, first_row: int) -> None:
        """Note that the request is the appender of this epoch."""
        for _ in range(3):
            kept = await self._documents.fetch(REQUESTS, _key(array, request))
            tried = {**self._read(array, request, kept), array.epoch: first_row}
            body: dict[str, Json] = {
                "request": request.to_json(),
                "uid": array.uid,
                "tried": {str(epoch): row for epoch, row in tried.items()},
            }
            new = Document(_key(array, request), str(array.name), body, view=fixed_view(request.expires))
            if kept is None:
                if (await self._documents.insert_many(REQUESTS, [new]))[0]:
                    return
            elif await self._documents.replace(REQUESTS, new, expected_revision=kept.revision) is not None:
                return
        raise Contention(f"request_id: {request.id!r} is being used by others; try again", retry_seconds=0.1)

    def _read(self, array: Array, request: Request, kept: Document | None) -> dict[int, int]:
        if kept is None or not is_repeat(request, kept.body["request"], self._means.now()):
            return {}
        body: Mapping[str, Any] = kept.body
        return {int(epoch): row for epoch, row in body["tried"].items()} if body["uid"] == array.uid else {}


def _key(array: Array, request: Request) -> str:
    return f"{array.name} {request.id}"


def _done(array: Array, tried: Mapping[int, int], rows: int) -> int | None:
    """Return the row at which a request has added its rows, None if none of its tries has come so far."""
    for epoch, first in tried.items():
        after = array.shape[0] if epoch == array.epoch else array.takeovers.get(epoch)
        if after is None:
            raise Conflict(
                f"{array.name}: too many have appended since this request was first made to tell whether it was done; "
                "read the array",
                resource=array.name,
                etag=array.etag,
                rows=array.shape[0],
            )
        if after == first + rows:
            return first
    return None


def _rows(array: Array, data: Buffer) -> int:
    """Return how many rows these bytes are. Raises InvalidArgument when they are none, or more than there may be."""
    if not array.shape:
        raise InvalidArgument(f"{array.name} has no axis to append to", field="name")
    row_bytes = prod(array.shape[1:]) * element_bytes(array)
    if len(data) % row_bytes if row_bytes else len(data):
        raise SizeMismatch(
            f"{array.name}: a row has {row_bytes} bytes; {len(data)} are no whole rows",
            expected=row_bytes,
            actual=len(data),
        )
    rows = len(data) // row_bytes if row_bytes else 0
    if prod(max(1, length) for length in (array.shape[0] + rows, *array.shape[1:])) >= 1 << 63:
        raise InvalidArgument(f"{array.name} cannot have more than 2^63 elements; make another array", field="data")
    return rows


def _check_rows(array: Array, expected: int | None) -> None:
    if expected is not None and expected != array.shape[0]:
        raise Conflict(
            f"{array.name} has {array.shape[0]} rows, not {expected}; somebody has appended or resized",
            resource=array.name,
            etag=array.etag,
            rows=array.shape[0],
        )
