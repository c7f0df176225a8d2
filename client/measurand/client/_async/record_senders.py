"""What goes on behind a writer of a buffer: records are sent, sent again where a stream broke, and told durable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from measurand.client import methods, names, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.buffer_settings import duration
from measurand.client.record_replay import RecordReplay
from measurand.v1 import buffers_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import (
    Cancelled,
    Frozen,
    MeasurandError,
    Timeout,
    Unavailable,
    WriterFenced,
    WriterSequenceGap,
)

if TYPE_CHECKING:
    from measurand.client.spooled_records import SpooledRecords

__all__ = ["AsyncRecordSender"]

Request = buffers_pb2.AppendRecordsRequest
Response = buffers_pb2.AppendRecordsResponse
Runs = Sequence[buffers_pb2.AppendedRun]
Stream = aio.Duplex[Bulk[Request], Response]

WINDOW_BYTES = 16 << 20
"""Until the server has said what its window is."""
IDLE_SECONDS = 60.0
AGAIN_SECONDS = 1.0
LINGER_SECONDS = 0.002
LINGER_BYTES = 128 << 10
"""While two messages are on their way, fewer bytes than these wait a moment for more to go with them."""


class AsyncRecordSender:
    """Sends the records of one writer, in a task of its own.

    Writers put records into `replay` (or the spool), holding `guard`, and ring `bell` where it `is_waiting`; `news`
    rings when records have become durable, and when it is over.

    Parameters
    ----------
    name : str
        Resource name of the buffer.
    wait_while_frozen : float
        Seconds to wait for a frozen buffer; a spool waits for as long as it takes.
    patience : float
        Give up after so many seconds without progress.
    tell : callable
        Gets the numbers that have become durable, as a range, and where they are, as far as that is known.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        name: str,
        *,
        window_bytes: int,
        spool: SpooledRecords | None,
        wait_while_frozen: float,
        patience: float,
        tell: Callable[[range, Runs], None],
    ) -> None:
        self.name = name
        self.bell = aio.Bell()
        self.news = aio.Bell()
        self.guard = threading.Lock()
        self.spool = spool
        self.replay = RecordReplay(window_bytes, spool.acknowledged if spool is not None else 0)
        self.failure: BaseException | None = None
        self.is_waiting = False
        self.is_closing = False
        self.flushes_wanted = 0
        self.flushes_done = 0
        self.has_met = False
        """The server has answered this writer."""
        self._calls = calls
        self._wait_while_frozen = wait_while_frozen
        self._patience = patience
        self._tell = tell
        self._tries = calls.tries(patience)
        self._progress_time = time.monotonic()
        self._stream: Stream | None = None
        self._server_window = WINDOW_BYTES
        self._id = spool.identity.id if spool is not None else names.request_id()
        self._base = spool.identity.base if spool is not None else 0

    @property
    def id(self) -> str:
        """Of the writer."""
        return self._id

    def begin(self) -> None:
        """Begin to lose patience only now: there was nothing to wait for. The guard is held."""
        self._tries.progress()
        self._progress_time = time.monotonic()

    async def run(self) -> None:
        """Send until it is closed and all is durable, or something cannot be mended."""
        try:
            while not await self._has_sent_all():
                pass
        except Exception as error:  # told to whoever writes
            self.failure = error
        finally:
            self.news.ring()
            await self._let_go()

    async def _has_sent_all(self) -> bool:
        """Send; False: the stream has ended, and it is worth trying again."""
        try:
            if self._stream is None:
                await self._open()
            await self._send_on()
        except MeasurandError as failure:
            error = failure
        else:
            return True
        await self._let_go()
        await self._wait_after(error)
        return False

    async def _open(self) -> None:
        """Open a stream, which gets again what the server does not have."""
        transport = await self._calls.transport()
        stream = self._stream = await transport.duplex(methods.APPEND_RECORDS, bell=self.bell)
        hello = Request(name=self.name, writer=self._id)
        if self._wait_while_frozen > 0:
            hello.wait_while_frozen.CopyFrom(duration(self._wait_while_frozen))
        await stream.send(Bulk(hello, b""))
        answer = await self._answer(stream)
        if answer.window_bytes:
            self._server_window = answer.window_bytes
        stands = answer.acknowledged_writer_sequence + self._base
        with self.guard:
            safe = self.replay.safe
            most = max(safe, self._most_certain())
            if is_certain := safe <= stands <= most:
                before, has_grown = safe, self.replay.rewind(stands)
            else:
                # The server has forgotten the writer, or this machine its records: the numbers mean others there.
                before, has_grown = safe, self.replay.rewind(min(max(stands, safe), most))
        self._note(before, has_grown, answer.runs)
        if not is_certain:
            self._renew()
            raise Unavailable(f"{self.name}: the writer begins anew", transport="OK")
        if not self.has_met:
            self.has_met = True
            self.news.ring()

    def _most_certain(self) -> int:
        """Return up to which number the server may say that it has records of this writer."""
        if self.spool is None or self.has_met:
            return self.replay.end
        return self.spool.first_new - 1

    def _renew(self) -> None:
        base = self.replay.safe
        self._id = self.spool.renew(base).id if self.spool is not None else names.request_id()
        self._base = base

    async def _send_on(self) -> None:
        stream = self._stream
        assert stream is not None
        while True:
            rings = self.bell.rings
            with self.guard:
                wanted, is_closing = self.flushes_wanted, self.is_closing
                is_fed = self._feed()
                lingers = self._lingers(wanted)
                group = None if lingers else self.replay.next_group(self._server_window)
                is_idle = group is None and not stream.has_news
                is_all = is_idle and is_fed and self.replay.is_safe
                self.is_waiting = is_idle and not lingers and not (is_all and wanted > self.flushes_done)
            if group is not None:
                for message in group.messages(self._base):
                    await stream.send(message)
            while stream.has_news:
                await self._take(await self._answer(stream))
            if is_all and wanted > self.flushes_done:
                self.flushes_done = wanted
                self.news.ring()
                if is_closing:
                    await self._part(stream)
                    return
            elif is_idle:
                await self.bell.wait(rings, LINGER_SECONDS if lingers else IDLE_SECONDS)
                self.is_waiting = False

    def _lingers(self, wanted: int) -> bool:
        """Tell whether what is to be sent waits for more, while enough is on its way; the guard is held."""
        replay = self.replay
        if wanted > self.flushes_done or not replay.unsent or replay.groups_sent < 2:
            return False
        return replay.unsent_bytes < LINGER_BYTES

    def _feed(self) -> bool:
        """Take records out of the spool as far as there is room; tell whether there are no more. The guard is held."""
        if self.spool is None:
            return True
        while (found := self.spool.next(self.replay.end)) is not None:
            _, record = found
            if not self.replay.has_room(len(record.data) + len(record.header)):
                return False
            self.replay.add(record)
        return True

    async def _take(self, answer: Response) -> None:
        with self.guard:
            before = self.replay.safe
            has_grown = self.replay.acknowledge(min(answer.acknowledged_writer_sequence + self._base, self.replay.end))
        if answer.window_bytes:
            self._server_window = answer.window_bytes
        self._note(before, has_grown, answer.runs)
        if answer.HasField("pause"):
            await aio.sleep(answer.pause.seconds + answer.pause.nanos / 1e9)

    def _note(self, before: int, has_grown: bool, runs: Runs) -> None:
        if not has_grown:
            return
        self.begin()
        safe = self.replay.safe
        if self.spool is not None:
            self.spool.acknowledge(safe)
        for run in runs:
            run.first_writer_sequence += self._base
        self._tell(range(before + 1, safe + 1), runs)
        self.news.ring()

    async def _part(self, stream: Stream) -> None:
        """End the stream in an orderly way; nothing depends on it any more."""
        try:
            await stream.finish()
            while await stream.receive() is not None:
                pass
        except MeasurandError:
            return

    async def _wait_after(self, error: MeasurandError) -> None:
        """Wait until it is worth opening another stream, or raise the error where it is not."""
        if self.has_met and self.replay.is_safe and self._is_fed():
            self.begin()  # nothing waits
        waited = time.monotonic() - self._progress_time
        if isinstance(error, Cancelled) or not self._may_reopen(error):
            raise error
        if isinstance(error, Frozen) and self.spool is None and waited >= self._wait_while_frozen:
            raise error
        if self.spool is None:
            await self._calls.pause(self._tries, error)
            return
        if self.is_closing and waited > self._patience:
            raise Unavailable(
                f"{self.name}: {self.spool.last - self.spool.acknowledged} records wait in the spool "
                f"{self.spool.spool.folder}; a writer with the same spool sends them ({error})",
                transport="UNAVAILABLE",
            ) from error
        await aio.sleep(max(min(AGAIN_SECONDS, self._patience / 4), min(error.retry_seconds or 0.0, AGAIN_SECONDS)))

    def _is_fed(self) -> bool:
        return self.spool is None or self.spool.last <= self.replay.end

    @staticmethod
    def _may_reopen(error: MeasurandError) -> bool:
        # Nobody else has the id of this writer: a newer stream can only be its own, and a gap only one of its streams.
        return isinstance(error, WriterFenced | WriterSequenceGap | Timeout) or retries.may_reopen(error)

    async def _answer(self, stream: Stream) -> Response:
        answer = await stream.receive()
        if answer is None:
            raise Unavailable(f"{self.name}: the server ended the stream before all was durable", transport="OK")
        return answer

    async def _let_go(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
