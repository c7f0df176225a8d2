"""The writer of a stream of records: takes them in their order, and tells how far all of them are durable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from measurand.core.buffers.committing import Commits
from measurand.core.buffers.heads import Head, Run, State
from measurand.core.buffers.live import Board
from measurand.core.buffers.records import MAX_RECORD_BYTES, Record
from measurand.core.buffers.submissions import Opened, Stored, Stream, Submission
from measurand.core.limits import Limits
from measurand.core.principal import Principal
from measurand.wire.errors import FailedPrecondition, Frozen, InvalidArgument, TooLarge, WriterSequenceGap

__all__ = ["Ack", "BufferWriter", "counted_of"]

POLL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ack:
    """Every record up to here is durable.

    Parameters
    ----------
    number : int
        The writer's own number of the last one.
    runs : sequence of Run
        Where those are that this acknowledges first, as far as that is known.
    """

    number: int
    runs: Sequence[Run] = ()


@dataclass(slots=True)
class _Pending:
    number: int
    records: Sequence[Record]
    counted: int
    answer: asyncio.Future[Stored] | None


class BufferWriter:
    """Takes the records of one stream. Made by `Appending.open_writer`; `close` it.

    Parameters
    ----------
    acknowledge : callable
        Told how far all is durable, in order.
    wait_while_frozen : float
        Seconds to wait for a frozen buffer to be unfrozen, instead of failing.
    """

    def __init__(
        self,
        commits: Commits,
        board: Board,
        limits: Limits,
        principal: Principal,
        head: Head,
        writer: str,
        opened: Opened,
        acknowledge: Callable[[Ack], Awaitable[None]],
        wait_while_frozen: float,
    ) -> None:
        self._commits = commits
        self._board = board
        self._limits = limits
        self._principal = principal
        self._head = head
        self._writer = writer
        self._epoch = opened.epoch
        self._acknowledge = acknowledge
        self._wait_while_frozen = wait_while_frozen
        self.opening = Ack(opened.last)
        self._next = opened.last + 1
        self._stream = Stream()
        self._is_held = False
        self._deadline: float | None = None
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._failure: BaseException | None = None
        self._has_ended = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"writer of {head.name}")

    @property
    def ending(self) -> asyncio.Future[None]:
        """Done when the writer has ended: it was closed, or something has stopped it, which `take` then raises."""
        return self._task

    async def take(self, first_number: int, records: Sequence[Record]) -> None:
        """Take the records of one message. Returns when there is room for more.

        Parameters
        ----------
        first_number : int
            The writer's own number of the first; the others follow on. 0: it follows on what came before.
        records : sequence of Record
            At least one; they will lie next to each other in one window.

        Raises
        ------
        WriterSequenceGap
            WRITER_SEQUENCE_GAP: a number was left out, with the one that is expected.
        Frozen, FailedPrecondition, WriterFenced, RequestIdReused, NotFound
            See `Commits.submit`; also of what was taken before.
        """
        self.raise_failure()
        if first_number < 0:
            raise InvalidArgument(
                f"first_writer_sequence: {first_number}; number records 1, 2, 3, …", field="first_writer_sequence"
            )
        if not records:
            raise InvalidArgument("headers: there are none; send at least one record", field="headers")
        number = first_number or self._next
        if number != self._next and not self._writer:
            raise WriterSequenceGap(
                f"{self._head.name}: record {number} came where {self._next} is next; a stream without a writer id "
                "cannot go back",
                expected_writer_sequence=self._next,
            )
        counted = counted_of(records)
        await self._commits.queues.wait_for_room(self._head.uid)
        self.raise_failure()
        pending = _Pending(number, records, counted, None)
        if not self._is_held:
            self._submit(pending)
        self._pending.append(pending)
        self._pending_bytes += counted
        self._next = max(self._next, number + len(records))
        self._news.set()
        while self._pending_bytes > self._limits.window_bytes and not self._task.done():
            self._room.clear()
            await self._room.wait()
        self.raise_failure()

    async def flush(self) -> None:
        """Return when everything that was taken is durable and acknowledged, or raise what keeps it from that."""
        while self._pending and not self._task.done():
            self._room.clear()
            await self._room.wait()
        self.raise_failure()

    async def close(self, *, is_complete: bool = True) -> None:
        """End the writer.

        Parameters
        ----------
        is_complete : bool
            Return when everything that was taken is acknowledged, or raise what keeps it from that. False: the caller
            has gone; what is on its way may still be stored.
        """
        if not is_complete:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            return
        self._has_ended = True
        self._news.set()
        await asyncio.gather(self._task, return_exceptions=True)
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what has stopped the writer, if something has."""
        if self._failure is not None:
            raise self._failure

    # ---------------------------------------------------------------------------------------------------------- inside

    def _submit(self, pending: _Pending) -> None:
        pending.answer = self._commits.submit(
            self._head,
            Submission(
                pending.records,
                pending.counted,
                self._principal,
                self._writer,
                pending.number,
                self._epoch,
                stream=self._stream,
            ),
        )
        pending.answer.add_done_callback(_noticed)

    async def _run(self) -> None:
        """Acknowledge, in order, what has become durable; several at once where they have."""
        try:
            while await self._wait_for_work():
                first = self._pending[0].answer
                assert first is not None
                await asyncio.wait([first])
                if isinstance(first.exception(), Frozen) and self._wait_while_frozen > 0:
                    await self._wait_until_unfrozen(first)
                    continue
                self._deadline = None
                number, runs = self._settled()
                self._room.set()
                await self._acknowledge(Ack(number, runs))
        except asyncio.CancelledError:
            self._failure = self._failure or FailedPrecondition(f"{self._head.name}: the writer is closed")
            raise
        except Exception as error:
            self._failure = error
        finally:
            self._room.set()

    async def _wait_for_work(self) -> bool:
        while not self._pending:
            if self._has_ended:
                return False
            self._news.clear()
            await self._news.wait()
        return True

    def _settled(self) -> tuple[int, list[Run]]:
        """Take off what is durable, and return its last number and where it is. Raises why the first was refused."""
        number, runs = 0, list[Run]()
        while self._pending:
            pending = self._pending[0]
            if pending.answer is None or not pending.answer.done():
                break
            if number and pending.answer.exception() is not None:
                break  # what is durable is acknowledged first
            stored = pending.answer.result()
            number = pending.number + len(pending.records) - 1
            runs += stored.runs
            self._pending_bytes -= pending.counted
            self._pending.popleft()
        return number, runs

    async def _wait_until_unfrozen(self, refused: asyncio.Future[Stored]) -> None:
        """Hold back what is taken until the buffer is no longer frozen, then hand in all that was refused again."""
        self._is_held = True
        clock = asyncio.get_running_loop().time
        if self._deadline is None:
            self._deadline = clock() + self._wait_while_frozen
        answers = [pending.answer for pending in self._pending if pending.answer is not None]
        await asyncio.wait(answers)
        head = await self._board.newest(self._head.name)
        while head.state is State.FROZEN:
            left = self._deadline - clock()
            if left <= 0:
                refused.result()
            head = await self._board.newest(self._head.name, None, min(left, POLL_SECONDS), known_version=head.version)
        self._stream = Stream()
        self._is_held = False
        for pending in self._pending:
            self._submit(pending)


def counted_of(records: Sequence[Record]) -> int:
    """Return the bytes of data and metadata, in bulk. Raises TooLarge for a record that is."""
    sizes = [len(record.data) for record in records]
    if sizes and max(sizes) > MAX_RECORD_BYTES:
        raise TooLarge(
            f"records: one of {max(sizes)} bytes; the most is {MAX_RECORD_BYTES}; make smaller ones",
            limit=MAX_RECORD_BYTES,
            actual=max(sizes),
        )
    return sum(sizes) + sum([len(record.metadata.encode()) for record in records if record.metadata])


def _noticed(answer: asyncio.Future[Stored]) -> None:
    """Look at what came of it, since after a failure nobody may ask any more."""
    if not answer.cancelled():
        answer.exception()
