"""One server's worth of what readers of buffers need, over memory stores, with a clock that the test moves."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tests.core.rooms import Clock, Direct

from measurand.core.buffers.buffers import Buffers
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.committing import Commits
from measurand.core.buffers.consuming import Consuming
from measurand.core.buffers.drafting import BufferDraft
from measurand.core.buffers.groups import Groups
from measurand.core.buffers.heads import Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.pages import Page
from measurand.core.buffers.reading import Records
from measurand.core.buffers.records import Part, Record, counted_bytes
from measurand.core.buffers.submissions import Stored, Submission
from measurand.core.buffers.tailing import Tails
from measurand.core.buffers.windows import closed, frozen
from measurand.core.catalog_documents import CatalogDraft
from measurand.core.catalogs import Catalogs
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName
from measurand.core.ports import Blob, BlobStore, Buffer, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory as MemoryBlobs
from measurand.storage.documents.memory import Memory as MemoryDocuments
from measurand.wire.documents import encode

NAME = BufferName("lab", "detector")


class Weighed:
    """A blob store that counts the bytes that were read of it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.read_bytes = 0
        self.reads = 0

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._inner, verb)

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        self.reads += 1
        async for chunk in self._inner.open(blob, offset, length):
            self.read_bytes += len(chunk)
            yield chunk


@dataclass
class ReaderRooms:
    """One server. `restarted` is another process over the same stores."""

    clock: Clock
    means: Means
    limits: Limits
    documents: DocumentStore
    blobs: BlobStore
    name: BufferName = NAME

    def __post_init__(self) -> None:
        documents, blobs, means, limits = self.documents, self.blobs, self.means, self.limits
        self.catalogs = Catalogs(documents, means, limits, compile_pattern=compile_pattern)
        self.board = Board(documents)
        self.buffers = Buffers(documents, self.catalogs, self.board, means, limits)
        self.commits = Commits(documents, blobs, self.board, means, limits)
        self.records = Records(
            documents, blobs, self.catalogs, self.board, means, limits, compile_pattern=compile_pattern
        )
        self.tails = Tails(self.records, self.board, means, limits)
        self.groups = Groups(documents, self.records, self.board, means, limits)
        self.consuming = Consuming(self.groups.sharing, self.records, self.board, means, limits)

    def restarted(self, **changes: Any) -> ReaderRooms:
        return replace(self, **changes)

    async def close(self) -> None:
        await self.groups.close()
        await self.commits.close()
        await self.board.close()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[ReaderRooms]:
        try:
            yield self
        finally:
            await self.close()

    async def prepare(self) -> Head:
        await self.catalogs.create(LOCAL_USER, "lab", CatalogDraft())
        return await self.buffers.create(LOCAL_USER, self.name.parent, BufferDraft(self.name.buffer))

    def record(
        self,
        data: bytes,
        metadata: Mapping[str, object] | None = None,
        *,
        event_time: int | None = None,
        part: Part | None = None,
    ) -> Record:
        said = "" if metadata is None else encode(metadata)
        return Record(data, self.means.crc32c(data, 0), event_time, said, part=part)

    async def write(self, *records: Record | bytes, writer: str = "", number: int = 1) -> Stored:
        """Store records as one segment."""
        made = [self.record(item) if isinstance(item, bytes) else item for item in records]
        head = (await self.board.read(self.name)).head
        counted = sum(map(counted_bytes, made))
        return await self.commits.submit(head, Submission(made, counted, LOCAL_USER, writer, number if writer else 0))

    async def write_each(self, items: Iterable[Record | bytes]) -> None:
        """Store each record as a segment of its own."""
        for item in items:
            await self.write(item)

    async def trim(self, first: int) -> None:
        """Forget the records before a sequence, as retention does."""
        await change_head(
            self.documents, self.board, self.means, self.name, lambda head: replace(head, first_sequence=first)
        )

    async def rotate(self, *, then: str = "active") -> None:
        """Close the newest window and open the next one, or freeze it."""

        def decide(head: Head) -> Head:
            now = self.means.now()
            return closed(head, now, "users/local", makes_batch=False) if then == "active" else frozen(head, now, "me")

        await change_head(self.documents, self.board, self.means, self.name, decide)

    async def read(self, **wanted: Any) -> Page:
        return await self.records.read(LOCAL_USER, self.name, **wanted)


def make_reader_rooms(limits: Limits | None = None, *, seed: int = 0) -> ReaderRooms:
    clock, chance = Clock(), random.Random(seed)
    means = replace(
        make_means(ThreadPoolExecutor()),  # starts no thread before it is given work
        in_thread=Direct(),
        now=lambda: clock.time,
        monotonic=lambda: clock.running,
        random_bytes=chance.randbytes,
    )
    blobs = MemoryBlobs(now=lambda: clock.time)
    return ReaderRooms(clock, means, limits or Limits(), MemoryDocuments(compile_pattern), blobs)


def data_of(page: Page) -> list[bytes]:
    return [bytes(stored.record.data) for stored in page.records]


def sequences_of(page: Page) -> list[int]:
    return [stored.sequence for stored in page.records]


def numbered(count: int, size: int = 8) -> Sequence[bytes]:
    """Return so many different payloads."""
    return [number.to_bytes(4, "little") * (size // 4) for number in range(1, count + 1)]
