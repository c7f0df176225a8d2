"""Records into a buffer while they are measured: handed over in a moment, sent behind it, durable at `flush`."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurand.client._async.calls import AsyncCalls
from measurand.client._async.record_senders import AsyncRecordSender
from measurand.client._transport import aio
from measurand.client.records import Given, Part, given
from measurand.v1 import buffers_pb2
from measurand.wire.errors import FailedPrecondition, MeasurandError, StoreFull, Unavailable

if TYPE_CHECKING:
    from measurand.client.spooled_records import SpooledRecords

__all__ = ["AsyncBufferWriter"]

PARTING_SECONDS = 30.0
"""So long a writer that is left by an error tries to save the records it has."""
MEETING_SECONDS = 2.0
"""So long the entry waits for the server where records can be spooled without it."""
TURN = 64
"""After so many records the others on the loop get a turn."""

Listener = Callable[[int, int | None], None]


class AsyncBufferWriter:
    """Writes records into one buffer. Made by `writer` of a buffer; several threads may write to one.

    A record that `write` has taken is sent behind the caller's back, once, however often the connection or the server
    is lost. It is durable when `flush` has returned, or when the functions given to `on_durable` are told so. Leaving
    the `with` block waits for all records, and raises what went wrong with any of them.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        name: str,
        *,
        spool: Path | None,
        spool_bytes: int,
        window_bytes: int,
        wait_while_frozen: float,
        retry_for: float,
    ) -> None:
        self._calls = calls
        self._name = name
        self._folder = spool
        self._spool_bytes = spool_bytes
        self._window_bytes = window_bytes
        self._wait_while_frozen = wait_while_frozen
        self._retry_for = retry_for
        self._sender: AsyncRecordSender | None = None
        self._beside: aio.Beside | None = None
        self._opening = aio.Lock()
        self._listeners: list[Listener] = []
        self._turn = 0
        self._is_closed = False

    @property
    def name(self) -> str:
        """Resource name of the buffer."""
        return self._name

    @property
    def id(self) -> str:
        """Of the writer, as records have it; empty before it is open."""
        return self._sender.id if self._sender is not None else ""

    @property
    def durable(self) -> int:
        """Records up to this number are durable."""
        return self._sender.replay.safe if self._sender is not None else 0

    @property
    def last(self) -> int:
        """Number of the last record that was taken; of a spool, by an earlier run of the program."""
        sender = self._sender
        if sender is None:
            return 0
        return sender.replay.end if sender.spool is None else max(sender.spool.last, sender.replay.end)

    async def open(self) -> None:
        """Become a writer of the buffer; entering the `with` block does so, and so does `write`.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer.
        """
        async with self._opening:
            if self._sender is not None:
                return
            self._check_open()
            spool = await aio.in_thread(self._opened_spool)
            sender = AsyncRecordSender(
                self._calls,
                self._name,
                window_bytes=self._window_bytes,
                spool=spool,
                wait_while_frozen=self._wait_while_frozen,
                patience=self._retry_for,
                tell=self._told,
            )
            self._sender = sender
            self._beside = aio.Beside(sender.run, f"records for {self._name}")
        try:
            await self._meet(sender)
        except BaseException:
            await self._close(0.0)
            raise

    async def write(
        self,
        data: Any,
        metadata: Mapping[str, Any] | None = None,
        *,
        time: Any = None,
        gps: Any = None,
        id: str | None = None,  # noqa: A002  # the field's word
        part: Part | tuple[str, int, int] | None = None,
        timeout: float = 60.0,  # noqa: ASYNC109  # it has a meaning of its own
    ) -> int:
        """Hand over one record; it is durable only after `flush`.

        Parameters
        ----------
        data : bytes or ndarray
            At most 64 MiB. An array keeps dtype and shape. It is copied: change it at will.
        metadata, time, gps, id, part
            As of `append` of a buffer.
        timeout : float
            Longest wait for room, in seconds.

        Returns
        -------
        int
            Its number by this writer: 1, 2, 3, …; going on where a spool had been.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE: nothing was taken, and the writer stays usable.
        Unavailable
            STORE_UNAVAILABLE: there was no room in that time; the same holds.
        StoreFull
            STORE_FULL: there was no room in the spool in that time; the same holds.
        Frozen
            BUFFER_FROZEN: the buffer was frozen for longer than the writer waits.
        """
        return await self.put(given(data, metadata, time=time, gps=gps, id=id, part=part), timeout)

    async def put(self, record: Given, timeout: float) -> int:  # noqa: ASYNC109  # as above
        """Hand over a record as it goes on the wire; see `write`."""
        if self._sender is None:
            await self.open()
        sender = self._sender
        assert sender is not None
        end = 0.0
        while True:
            rings = sender.news.rings
            full: list[StoreFull] = []
            with sender.guard:
                self._check_open()
                number = self._taken(sender, record, full)
                self._turn = (self._turn + 1) % TURN
                is_awaited, sender.is_waiting = sender.is_waiting, False
            if is_awaited:
                sender.bell.ring()
            if number:
                if is_awaited or not self._turn:
                    await aio.sleep(0.0)
                return number
            end = end or clock.monotonic() + timeout
            left = end - clock.monotonic()
            if left <= 0 or not await sender.news.wait(rings, left):
                raise full[0] if full else self._no_room(sender, timeout)

    async def flush(self) -> int:
        """Return when every record that was taken is durable.

        Returns
        -------
        int
            `durable`.

        Raises
        ------
        MeasurandError
            What went wrong with any record.
        """
        if self._sender is None:
            await self.open()
        sender = self._sender
        assert sender is not None
        with sender.guard:
            self._check_open()
            sender.flushes_wanted += 1
            wanted = sender.flushes_wanted
        sender.bell.ring()
        while True:
            rings = sender.news.rings
            if sender.flushes_done >= wanted:
                return self.durable
            self._raise_failure()
            self._check_open()
            await sender.news.wait(rings)

    def on_durable(self, listener: Listener) -> None:
        """Have a function called with the number of each record that has become durable, and its sequence.

        The sequence is None where it is not known any more: the record was stored by an earlier try. It is called
        beside the measurement, in one thread or task at a time; what it raises ends the writer.
        """
        self._listeners.append(listener)

    async def close(self) -> None:
        """Wait for all records, and end; leaving the `with` block does so.

        Raises
        ------
        MeasurandError
            What went wrong with any record.
        """
        await self._close(None)

    async def __aenter__(self) -> AsyncBufferWriter:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is None:
            await self.close()
            return
        try:
            await self._close(PARTING_SECONDS)
        except MeasurandError as failure:
            error.add_note(f"the writer of {self._name} could not save all of its records: {failure}")

    def __repr__(self) -> str:
        return f"<BufferWriter {self._name}: {self.durable} durable, {self.last - self.durable} on their way>"

    # ---------------------------------------------------------------------------------------------------------- inside

    def _opened_spool(self) -> SpooledRecords | None:
        if self._folder is None:
            return None
        from measurand.client.spooled_records import SpooledRecords  # sqlite3 comes with it

        return SpooledRecords(self._folder, self._name, str(self._calls.address), most_bytes=self._spool_bytes)

    async def _meet(self, sender: AsyncRecordSender) -> None:
        """Wait for the server; with a spool only for a moment, to find out what is wrong with the buffer."""
        end = clock.monotonic() + (MEETING_SECONDS if sender.spool is not None else self._retry_for)
        while True:
            rings = sender.news.rings
            left = end - clock.monotonic()
            if sender.has_met or sender.failure is not None or left <= 0:
                break
            await sender.news.wait(rings, left)
        self._raise_failure()

    @staticmethod
    def _taken(sender: AsyncRecordSender, record: Given, full: list[StoreFull]) -> int:
        """Take a record if there is room for it; returns its number, or 0. The guard is held."""
        if sender.spool is not None:
            try:
                return sender.spool.append(record)
            except StoreFull as error:
                full.append(error)
                return 0
        if sender.replay.is_safe:
            sender.begin()
        if not sender.replay.has_room(len(record.data) + len(record.header)):
            return 0
        return sender.replay.add(record)

    def _no_room(self, sender: AsyncRecordSender, timeout: float) -> Unavailable:
        waiting = sender.replay.end - sender.replay.safe
        return Unavailable(
            f"{self._name}: no room for another record in {timeout:g} s, {waiting} are not durable yet; this one was "
            "not taken. Write it again, give the writer more window_bytes= or a spool=, and see to it that the server "
            "is reachable and the buffer not frozen",
            waiting=waiting,
        )

    def _told(self, numbers: range, runs: Sequence[buffers_pb2.AppendedRun]) -> None:
        if not self._listeners:
            return
        places = {
            run.first_writer_sequence + index: run.first_sequence + index
            for run in runs
            if run.first_sequence
            for index in range(run.count)
        }
        for number in numbers:
            for listener in self._listeners:
                listener(number, places.get(number))

    def _raise_failure(self) -> None:
        if self._sender is not None and self._sender.failure is not None:
            raise self._sender.failure

    def _check_open(self) -> None:
        self._raise_failure()
        if self._is_closed:
            raise FailedPrecondition(f"the writer of {self._name} is closed; make a new one", state="closed")

    async def _close(self, seconds: float | None) -> None:
        self._is_closed = True
        sender, beside = self._sender, self._beside
        if sender is None or beside is None:
            return
        self._beside = None
        with sender.guard:
            sender.is_closing = True
            sender.flushes_wanted += 1
        sender.bell.ring()
        has_ended = False
        try:
            has_ended = await beside.join(seconds)
        finally:
            if not has_ended:
                await beside.give_up()
            if sender.spool is not None:
                await aio.in_thread(sender.spool.close)
        self._raise_failure()
        if not has_ended and sender.replay.safe < self.last:
            raise Unavailable(
                f"{self._name}: the records from {self.durable + 1} on could not be sent in {seconds:g} s"
            )
