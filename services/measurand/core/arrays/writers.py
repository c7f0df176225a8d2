"""The writer of a stream of chunks: takes them in their order, and tells how far all of them are durable."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from measurand.core.arrays.blocks import Index
from measurand.core.arrays.chunk_writes import ChunkWrite, Step
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.documents import Array
from measurand.core.arrays.part_room import PartRoom
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import Buffer
from measurand.wire.errors import (
    ChecksumMismatch,
    FailedPrecondition,
    InvalidArgument,
    MeasurandError,
    SelectionInvalid,
    SizeMismatch,
    TooLarge,
)

__all__ = ["Ack", "ArrayWriter", "check_index"]

MOST_CHUNKS = 10**12
"""Along one axis: the keys of index documents have room for so many."""
MAX_CHUNK_BYTES = 128 * 1024 * 1024
IN_THREAD_BYTES = 4 * 1024 * 1024
"""CRC-32C of less takes less time than the way to a thread and back."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to here is durable, and visible as far as the shape goes.

    Parameters
    ----------
    sequence : int
        The writer's own number of the last chunk or step.
    visible_rows : int
        Of the first axis; 0 without one.
    epoch : int
        Of the array's newest appender.
    """

    sequence: int
    visible_rows: int
    etag: str
    epoch: int


@dataclass(slots=True)
class _Pending:
    sequence: int
    size: int
    answer: Step


def check_index(array: Array, index: Index, *, may_grow: bool = False) -> None:
    """Raise SelectionInvalid unless a chunk lies within the array.

    Parameters
    ----------
    may_grow : bool
        An appender writes it: along the first axis it may lie anywhere.
    """
    counts = array.grid.counts
    if len(index) != len(counts):
        raise SelectionInvalid(
            f"{array.name} has {len(counts)} axes; the chunk index {list(index)} has {len(index)} numbers",
            axis=min(len(index), len(counts)),
        )
    for axis, (at, count) in enumerate(zip(index, counts, strict=True)):
        is_free = may_grow and axis == 0
        if at < 0 or (at >= count and not is_free) or at >= MOST_CHUNKS:
            raise SelectionInvalid(
                f"{array.name}: chunk {list(index)} lies outside; along axis {axis} there are {count} chunks", axis=axis
            )


class ArrayWriter:
    """Takes the chunks and steps of one stream. Made by `Writing.open`; `close` it.

    Parameters
    ----------
    epoch : int, optional
        Of this appender. None: it is none.
    acknowledge : callable
        Told how far all is durable, in order.
    room : PartRoom
        For a chunk that comes in parts.

    Attributes
    ----------
    array : Array
        As it was last seen.
    """

    def __init__(
        self,
        commits: Commits,
        means: Means,
        limits: Limits,
        array: Array,
        epoch: int | None,
        acknowledge: Callable[[Ack], Awaitable[None]],
        room: PartRoom,
    ) -> None:
        self._commits = commits
        self._means = means
        self._limits = limits
        self.array = array
        self.epoch = epoch
        self._acknowledge = acknowledge
        self._sequence = 0
        self._part_room = room
        self._kept = 0
        self._parts: list[Buffer] = []
        self._parts_size = 0
        self._parts_crc = 0
        self._parts_of: tuple[Index, int] = ((), 0)
        self._if_etag: str | None = None
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._failure: BaseException | None = None
        self._has_ended = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"writer of {array.name}")

    @property
    def ending(self) -> asyncio.Future[None]:
        """Done when the writer has ended: it was closed, or something has stopped it, which `take` then raises."""
        return self._task

    @property
    def opening(self) -> Ack:
        """What is said to the writer first."""
        return self._ack(0)

    async def take(
        self,
        sequence: int,
        index: Index,
        data: Buffer,
        crc32c: int | None,
        *,
        if_etag: str | None = None,
        remove: bool = False,
        chunk_size: int = 0,
        part_offset: int = 0,
    ) -> None:
        """Take a chunk, or the next part of one. Returns when there is room for more.

        Parameters
        ----------
        sequence : int
            The writer's own number, rising from chunk to chunk; the same for all parts of one.
        if_etag : str, optional
            As in `ChunkWrite`; that of the first part counts.
        chunk_size : int
            Bytes of the whole chunk; 0: `data` is all of it.
        part_offset : int
            Where `data` begins in it.

        Raises
        ------
        ChecksumMismatch
            CHECKSUM_MISMATCH: the bytes were damaged on the way; send them again.
        SelectionInvalid, SizeMismatch, TooLarge
            The chunk does not fit the array, or its parts do not fit each other.
        Conflict, WriterFenced, Sealed, NotFound
            See `Commits.submit`; also of what was taken before.
        """
        self.raise_failure()
        check_index(self.array, index, may_grow=self.epoch is not None)
        found = await self._crc32c(data)
        if crc32c is not None and found != crc32c:
            raise ChecksumMismatch(
                f"{self.array.name}: chunk {list(index)} was damaged on the way; send it again",
                index="/".join(map(str, index)),
                expected=crc32c,
                actual=found,
            )
        if not self._parts:
            self._parts_of, self._if_etag = (index, chunk_size), if_etag
        elif self._parts_of != (index, chunk_size):
            raise InvalidArgument(
                f"{self.array.name}: a part of chunk {list(index)} came between those of {list(self._parts_of[0])}; "
                "send all parts of a chunk one right after the other",
                field="index",
            )
        whole = self._assembled(sequence, index, data, found, chunk_size, part_offset)
        if whole is None:
            return
        if not remove and not len(whole[0]):
            raise SizeMismatch(f"{self.array.name}: chunk {list(index)} has no bytes; remove it instead", actual=0)
        if remove and len(whole[0]):
            raise InvalidArgument(f"{self.array.name}: a chunk to be removed comes without data", field="data")
        write = ChunkWrite(index, None if remove else whole[0], whole[1], self._if_etag, self.epoch)
        self._add(sequence, len(whole[0]), self._commits.submit(self.array, write))
        while self._pending_bytes > self._limits.window_bytes and not self._task.done():
            self._room.clear()
            await self._room.wait()
        self.raise_failure()

    async def grow_to(self, sequence: int, rows: int) -> None:
        """Show so many rows, once everything that was taken before is durable. Never fewer than before.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: this writer is no appender.
        """
        self.raise_failure()
        if self.epoch is None:
            raise FailedPrecondition(
                f"{self.array.name}: only an appender lets an array grow; set `append` in the first message",
                resource=self.array.name,
                state="no appender",
            )
        if rows < 0 or math.prod(max(1, length) for length in (rows, *self.array.shape[1:])) >= 1 << 63:
            raise InvalidArgument(f"{self.array.name}: grow_to {rows} is no number of rows", field="grow_to")
        if self._parts:
            raise SizeMismatch(f"{self.array.name}: a step came in the middle of a chunk; send the rest of it first")
        after = [item.answer for item in self._pending if _may_fail(item.answer)]
        self._check_sequence(sequence, is_step=True)
        self._add(sequence, 0, self._commits.grow(self.array, self.epoch, rows, after=after))

    async def flush(self, sequence: int) -> None:
        """Take note of a step that asks for nothing but an acknowledgement, which comes as soon as it can anyway."""
        self.raise_failure()
        self._check_sequence(sequence, is_step=True)
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        done.set_result("")
        self._add(sequence, 0, done)

    async def close(self, *, is_complete: bool) -> None:
        """End the writer.

        Parameters
        ----------
        is_complete : bool
            The caller has said all that it had to say: return when all of it is durable and acknowledged, or raise
            what keeps it from being so. False: the caller has gone.
        """
        if not is_complete:
            self._drop_parts()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            return
        if self._parts:
            raise SizeMismatch(f"{self.array.name}: the stream ended in the middle of a chunk")
        if self.epoch is not None and self._failure is None:
            after = [item.answer for item in self._pending if _may_fail(item.answer)]
            self._add(self._sequence, 0, self._commits.grow(self.array, self.epoch, 0, after=after, is_last=True))
        self._has_ended = True
        self._news.set()
        await asyncio.gather(self._task, return_exceptions=True)
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what has stopped the writer, if something has."""
        if self._failure is not None:
            raise self._failure

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _crc32c(self, data: Buffer) -> int:
        if len(data) >= IN_THREAD_BYTES:
            return await self._means.in_thread(self._means.crc32c, data, 0)
        return self._means.crc32c(data, 0)

    def _assembled(
        self, sequence: int, index: Index, data: Buffer, crc32c: int, chunk_size: int, part_offset: int
    ) -> tuple[Buffer, int] | None:
        """Return the chunk and its CRC-32C, None as long as parts are missing."""
        size = chunk_size or len(data)
        if size > MAX_CHUNK_BYTES:
            raise TooLarge(
                f"{self.array.name}: a chunk of {size} bytes; the most is {MAX_CHUNK_BYTES}; make smaller chunks",
                limit=MAX_CHUNK_BYTES,
                actual=size,
            )
        self._check_sequence(sequence, is_step=False)
        if part_offset != self._parts_size or part_offset + len(data) > size:
            raise SizeMismatch(
                f"{self.array.name}: a part of chunk {list(index)} begins at {part_offset} and has {len(data)} bytes; "
                f"{self._parts_size} of {size} bytes have come",
                expected=self._parts_size,
                actual=part_offset,
            )
        if part_offset + len(data) == size and not self._parts:
            return data, crc32c
        if not self._parts:
            self._kept = self._part_room.take(size)
        self._parts_crc = self._means.combine_crc32c(self._parts_crc, crc32c, len(data)) if self._parts else crc32c
        self._parts.append(data)
        self._parts_size += len(data)
        if self._parts_size < size:
            return None
        whole, crc32c = b"".join(self._parts), self._parts_crc
        self._drop_parts()
        return whole, crc32c

    def _drop_parts(self) -> None:
        self._parts, self._parts_size = [], 0
        self._part_room.give_back(self._kept)
        self._kept = 0

    def _check_sequence(self, sequence: int, *, is_step: bool) -> None:
        """A number rises from chunk to chunk; a step may have that of the chunk it came with."""
        continues = sequence == self._sequence and (is_step or bool(self._parts))
        if not continues and (sequence <= self._sequence or self._parts):
            raise InvalidArgument(
                f"{self.array.name}: sequence {sequence} after {self._sequence}; number chunks and steps 1, 2, 3, …",
                field="sequence",
            )
        self._sequence = sequence

    def _add(self, sequence: int, size: int, answer: Step) -> None:
        self._pending.append(_Pending(sequence, size, answer))
        self._pending_bytes += size
        self._news.set()

    async def _run(self) -> None:
        """Acknowledge, in order, what has become durable; several at once where they have."""
        try:
            while True:
                while not self._pending:
                    if self._has_ended:
                        return
                    self._news.clear()
                    await self._news.wait()
                first = self._pending[0]
                await asyncio.wait([first.answer])
                sequence = first.sequence
                while self._pending and self._pending[0].answer.done():
                    item = self._pending[0]
                    outcome = item.answer.result()
                    if isinstance(outcome, Array):
                        self.array = outcome
                    sequence = item.sequence
                    self._pending_bytes -= item.size
                    self._pending.popleft()
                self._room.set()
                is_step_open = bool(self._pending) and self._pending[0].sequence == sequence
                if sequence and not is_step_open:
                    await self._acknowledge(self._ack(sequence))
        except MeasurandError as error:
            self._failure = error
        except asyncio.CancelledError:
            self._failure = self._failure or FailedPrecondition(f"{self.array.name}: the writer is closed")
            raise
        except Exception as error:
            self._failure = error
        finally:
            self._room.set()
            for item in self._pending:  # nobody asks for these any more
                item.answer.add_done_callback(_noticed)

    def _ack(self, sequence: int) -> Ack:
        rows = self.array.shape[0] if self.array.shape else 0
        return Ack(sequence, rows, self.array.etag, self.array.epoch)


def _may_fail(answer: Step) -> bool:
    """Tell whether a step may turn out to stand on something that was not stored."""
    return not (answer.done() and not answer.cancelled() and answer.exception() is None)


def _noticed(answer: Step) -> None:
    if not answer.cancelled():
        answer.exception()
