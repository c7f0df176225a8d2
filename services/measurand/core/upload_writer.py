"""The one writer of an upload: takes chunks, stores and hashes them beside each other, and tells what is persisted.

Three things overlap: the caller takes the next chunks from the network, this writer's task appends and hashes those
before, and a persist step (fsync, then one conditional write of the upload's document) makes durable those before that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from measurand.core.digesting import Running, check_chunk
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import BlobStore, Buffer, Document, DocumentStore, Stage
from measurand.core.uploads import UPLOADS, Piece, Upload, accept, check_open, persisted, upload_document, upload_of
from measurand.wire.errors import Busy, NotFound, TooLarge, WriterFenced

__all__ = ["Ack", "UploadWriter"]

_QUEUE_BYTES = 4 * 1024 * 1024
_APPEND_BYTES = 2 * 1024 * 1024
"""So much is gathered before it is handed to the store and the hasher: each hand-over wakes two threads."""


@dataclass(frozen=True, slots=True)
class Ack:
    """So many bytes from the start are persisted."""

    persisted_size: int
    epoch: int


class UploadWriter:
    """Writes one upload until it is closed or fenced. Made by `Uploads.open_writer`; `close` it.

    Parameters
    ----------
    document : Document
        The upload's document as this writer's epoch was written into it. Its last piece is this writer's own.
    digest : Running, optional
        Of the bytes persisted so far. None: unknown; the commit reads them once more.
    acknowledge : callable
        Told of every step of `persisted_size`, in order.
    policy : Policy, optional
        Where the bytes are to be kept.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        means: Means,
        limits: Limits,
        document: Document,
        digest: Running | None,
        acknowledge: Callable[[Ack], Awaitable[None]],
        policy: Policy | None,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._means = means
        self._limits = limits
        self._document = document
        self._upload = upload_of(document)
        self._acknowledge = acknowledge
        self._policy = policy
        self._digest = digest
        self._persisted_digest = digest.copy() if digest else None
        self._stage: Stage | None = None
        self._base = self._upload.persisted_size
        self._received = self._appended = self._persisted = self._base
        self._persist_began = self._whole_began = self._base
        self._flush_to = 0
        self._asked = False
        self._last_persist = means.monotonic()
        self._queue: deque[Buffer] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None
        self._persisting: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name=f"writer of {self._upload.name}")

    @property
    def upload(self) -> Upload:
        """The upload as this writer last stored it."""
        return self._upload

    @property
    def digest(self) -> Running | None:
        """The digests of exactly the persisted bytes, where they are known."""
        return self._persisted_digest

    @property
    def ending(self) -> asyncio.Future[None]:
        """Done when the writer has ended: it was closed, or something has stopped it, which `take` then raises."""
        return self._task

    async def take(
        self, offset: int, data: Buffer, crc32c: int | None, *, flush: bool = False, state_lookup: bool = False
    ) -> None:
        """Take one chunk, or drop what of it was received before (U3). Returns when there is room for another.

        Raises
        ------
        ChecksumMismatch
            CHECKSUM_MISMATCH: the bytes were damaged on the way; send them again.
        OffsetGap, SizeMismatch
            See `measurand.core.uploads.accept`.
        WriterFenced
            WRITER_FENCED: a newer writer has taken over.
        """
        self.raise_failure()
        self._check(offset, data, crc32c)
        skip = accept(self._upload, self._received, offset, len(data))
        if skip < len(data):
            part = memoryview(data)[skip:]
            self._queue.append(part)
            self._queued += len(part)
            self._received += len(part)
        if flush:
            self._flush_to = self._received
        self._asked = self._asked or state_lookup
        self._wake.set()
        while self._queued > _QUEUE_BYTES or self._received - self._persisted > self._limits.window_bytes:
            self._room.clear()
            self.raise_failure()
            await self._room.wait()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what has stopped the writer, if something has."""
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Persist everything that was taken, acknowledge it, and end. Raises what has stopped the writer, if it was."""
        self._flush_to = self._received
        self._ended = True
        self._wake.set()
        try:
            await self._task
        finally:
            if self._stage is not None:
                await self._stage.close()
        self.raise_failure()

    async def abandon(self) -> None:
        """End after the caller has gone: persist what was taken, if that still works; nobody hears of it."""
        with contextlib.suppress(Exception):
            await self.close()

    def _check(self, offset: int, data: Buffer, crc32c: int | None) -> None:
        if len(data) > self._limits.max_data_bytes:
            raise TooLarge(
                f"{self._upload.name}: a chunk of {len(data)} bytes; the most is {self._limits.max_data_bytes}",
                limit=self._limits.max_data_bytes,
                actual=len(data),
            )
        check_chunk(self._means, self._upload.name, offset, data, crc32c)

    async def _run(self) -> None:
        try:
            while True:
                await self._wait_for_work()
                if self._must_append():
                    await self._append()
                if due := self._due():
                    await self._persist_in_background(whole=due == "whole")
                if self._asked:
                    self._asked = False
                    await self._acknowledge(Ack(self._persisted, self._upload.epoch))
                if self._ended and not self._queue and self._persisted >= self._received:
                    return
        except BaseException as failure:
            self._failure = failure  # whoever hands in chunks is told
            if not isinstance(failure, Exception):
                raise
        finally:
            if self._persisting is not None:
                with contextlib.suppress(Exception):
                    await self._persisting
            self._room.set()

    async def _wait_for_work(self) -> None:
        """Wait for chunks, an end, or the time at which what was appended has waited long enough (U1)."""
        if self._ended and self._persisting is not None and not self._queue:
            await self._persisting  # nothing else is to come: do not spin
        if self._persisting is not None and self._persisting.done():
            await self._persisting  # raises what has failed
            self._persisting = None
        if self._must_append() or self._due() or self._asked:
            return
        if self._ended and self._persisted >= self._received:
            return
        self._wake.clear()
        timeout = None
        if self._received > self._settled:
            timeout = max(0.01, self._last_persist + self._limits.persist_seconds - self._means.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout)

    def _must_append(self) -> bool:
        if not self._queue:
            return False
        return self._queued >= _APPEND_BYTES or self._flush_to > self._appended or self._ended or self._is_pressing()

    def _is_pressing(self) -> bool:
        """Tell whether the writer waits for an acknowledgement before it can send more, or one is due by time."""
        return self._is_window_full() or self._is_late()

    def _is_window_full(self) -> bool:
        return self._received - self._persisted + self._limits.max_data_bytes > self._limits.window_bytes

    def _is_late(self) -> bool:
        return self._means.monotonic() - self._last_persist >= self._limits.persist_seconds

    @property
    def _settled(self) -> int:
        """Up to where everything is persisted, or about to be."""
        return max(self._whole_began, self._persisted)

    async def _append(self) -> None:
        chunks, size = list(self._queue), self._queued
        self._queue.clear()
        self._queued = 0
        self._room.set()
        if self._appended - self._base >= self._limits.piece_bytes:
            await self._begin_piece()
        if self._stage is None:
            self._stage = await self._blobs.stage(self._upload.pieces[-1].key, policy=self._policy)
        async with self._explaining():
            if self._digest is None:
                await self._stage.append(chunks)
            else:
                await asyncio.gather(self._stage.append(chunks), self._means.in_thread(self._digest.add, chunks))
        self._appended += size

    def _due(self) -> Literal["", "some", "whole"]:
        """Tell what is to be persisted now: all of it when somebody waits for that, else what makes whole parts."""
        if self._persisting is not None and not self._persisting.done():
            return ""
        if self._appended <= self._settled:
            return ""
        if self._flush_to > self._settled or self._is_late():
            return "whole"
        waiting = self._appended - self._persist_began
        if self._is_window_full():  # by a part that is larger than the window, if there is nothing new (U5)
            return "some" if waiting else "whole"
        return "some" if waiting >= self._limits.persist_bytes else ""

    async def _persist_in_background(self, *, whole: bool) -> None:
        if self._persisting is not None:
            await self._persisting
        self._persist_began = self._appended
        if whole:
            self._whole_began = self._appended
        self._last_persist = self._means.monotonic()
        snapshot = self._digest.copy() if self._digest else None
        self._persisting = asyncio.create_task(
            self._persist(snapshot, whole=whole), name=f"persist {self._upload.name}"
        )
        self._persisting.add_done_callback(lambda _: self._wake.set())
        await asyncio.sleep(0)  # let it reach the store before more is appended, so that the snapshot fits

    async def _persist(self, snapshot: Running | None, *, whole: bool) -> None:
        assert self._stage is not None
        async with self._explaining():
            size = self._base + await self._stage.persist(whole=whole)
        if size == self._persisted:
            return
        expire_time = self._means.now() + self._limits.upload_lifetime
        await self._store(persisted(self._upload, self._upload.pieces[:-1], size - self._base, expire_time))
        self._persisted, self._persisted_digest = size, snapshot if snapshot and snapshot.size == size else None
        self._room.set()
        await self._acknowledge(Ack(size, self._upload.epoch))

    async def _store(self, upload: Upload) -> None:
        document = upload_document(upload)
        stored = await self._documents.replace(UPLOADS, document, expected_revision=self._document.revision)
        if stored is None:
            await self._explain_loss()
        else:
            self._document, self._upload = stored, upload

    async def _begin_piece(self) -> None:
        """Go on in a new blob: stores bound how many parts one may have."""
        assert self._stage is not None
        await self._persist_in_background(whole=True)
        assert self._persisting is not None
        await self._persisting
        await self._stage.close()
        self._stage = None
        key = f"files/{self._upload.id.lower()}.{self._upload.epoch}.{len(self._upload.pieces)}"
        await self._store(replace(self._upload, pieces=(*self._upload.pieces, Piece(key, 0))))
        self._base = self._persisted

    @contextlib.asynccontextmanager
    async def _explaining(self) -> AsyncIterator[None]:
        """Say why the staged blob is gone: a newer writer may have finished it, or an abort thrown it away."""
        try:
            yield
        except NotFound:
            await self._explain_loss()

    async def _explain_loss(self) -> NoReturn:
        """Somebody else has changed the upload: a newer writer, a commit, an abort."""
        document = await self._documents.fetch(UPLOADS, self._upload.name)
        if document is None:
            raise NotFound(f"{self._upload.name} has expired; begin a new upload", resource=self._upload.name)
        now = upload_of(document)
        check_open(now)
        if now.epoch != self._upload.epoch or len(now.pieces) != len(self._upload.pieces):
            raise WriterFenced(
                f"{now.name}: writer {now.epoch} has taken over from writer {self._upload.epoch}; this one must stop",
                resource=now.name,
                epoch=now.epoch,
            )
        raise Busy(f"{now.name}: changed while it was written; open it again", retry_seconds=0.1)
