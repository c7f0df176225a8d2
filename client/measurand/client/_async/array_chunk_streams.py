"""One writer of the chunks of one array, over lost connections and restarted servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.chunk_replay import ChunkReplay, Step
from measurand.client.hashing import Bytes, crc32c
from measurand.v1 import arrays_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import MeasurandError, Unavailable, WriterFenced

__all__ = ["AsyncChunkStream"]

Request = arrays_pb2.WriteArrayChunksRequest
Response = arrays_pb2.WriteArrayChunksResponse
Stream = aio.Duplex[Bulk[Request], Response]

PART_BYTES = 2 << 20
"""A message carries at most so many."""
WINDOW_BYTES = 16 << 20
"""Until the server has said what its window is."""


class AsyncChunkStream:
    """Sends chunks, keeps them until they are safe, and goes on by itself where a stream broke.

    It is opened with the first write; only one task or thread uses it at a time.

    Parameters
    ----------
    calls : AsyncCalls
        To the server.
    name : str
        Resource name of the array.
    uid : str, optional
        Which array is meant; needed for a staged one.
    append : bool
        Be the array's one appender: `grow` shows rows. Whoever was it before is fenced.
    tell : callable, optional
        Called when more has become safe; see `safe`.
    bell : Bell, optional
        Rings when the server has said something: then `hear`.
    patience : float
        Give up after so many seconds without progress.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        name: str,
        *,
        uid: str = "",
        append: bool = False,
        tell: Callable[[], None] | None = None,
        bell: aio.Bell | None = None,
        patience: float = retries.STREAM_PATIENCE,
    ) -> None:
        self.name = name
        self.uid = uid
        self.epoch: int | None = None
        """Of this appender, once it is open."""
        self.replay = ChunkReplay(WINDOW_BYTES, is_appender=append)
        self._calls = calls
        self._append = append
        self._tell = tell
        self._bell = bell
        self._tries = calls.tries(patience)
        self._stream: Stream | None = None
        self._has_unanswered_open = False

    @property
    def safe(self) -> int:
        """Chunks and steps up to this number survive the loss of the server."""
        return self.replay.safe

    @property
    def rows(self) -> int:
        """So many rows of the first axis are seen."""
        return self.replay.rows

    async def open(self) -> int:
        """Become the writer; returns how many rows are seen."""
        await self._persevere(self._push)
        return self.replay.rows

    async def write(self, index: Sequence[int], data: Bytes, *, if_etag: str | None = None) -> int:
        """Send an encoded chunk as soon as the window has room for it; safe only after `flush`.

        Parameters
        ----------
        index : sequence of int
            Which chunk.
        data : bytes
            The whole encoded chunk; nobody changes it any more.
        if_etag : str, optional
            Only if the chunk has this etag; empty: only if it was never written. Flush before and after: `flush`
            raises Conflict if it has another, and then this stream can be used again.

        Returns
        -------
        int
            Its number, see `safe`.
        """
        self._begin()
        while not self.replay.has_room(len(data)):
            await self._persevere(self._hear)
        number = self.replay.add_chunk(tuple(index), data, if_etag)
        await self._persevere(self._push)
        return number

    async def grow(self, rows: int) -> int:
        """Show so many rows once everything before is durable; only an appender can. Returns the number of the step."""
        self._begin()
        number = self.replay.add_step(rows)
        await self._persevere(self._push)
        return number

    async def hear(self) -> None:
        """Take what the server has said, without waiting for more."""
        if not self.replay.is_idle:
            await self._persevere(self._catch_up)
        elif self._stream is not None and self._stream.has_news:
            await self._idly(self._catch_up)

    async def stay(self) -> None:
        """Let the server know that this writer is still here, where it has had nothing to say for minutes."""
        if self._stream is not None and self.replay.is_safe:
            self.replay.add_step()
            await self._idly(self._push)

    async def flush(self) -> None:
        """Return when all that was written is safe against the loss of the server."""
        if self.replay.is_safe:
            return
        self.replay.add_step()
        await self._persevere(self._push)
        while not self.replay.is_safe:
            await self._persevere(self._hear)

    async def finish(self) -> None:
        """Flush, and tell the server that this was all: its array ceases to grow."""
        await self.flush()
        if self._stream is not None:
            await self._idly(self._part)
        await self.close()

    async def close(self) -> None:
        """End the stream. What is safe stays so."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _begin(self) -> None:
        """Begin to lose patience only now where there was nothing to wait for."""
        if self.replay.is_safe:
            self._tries.progress()

    async def _idly(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step that nothing depends on: a stream that breaks with it is opened again by the next write."""
        try:
            await step()
        except MeasurandError:
            self.replay.forget()
            await self.close()

    async def _part(self) -> None:
        stream = self._live()
        await stream.finish()
        while await stream.receive() is not None:
            pass

    async def _persevere(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step, on a new stream if need be, for as long as that may help."""
        while True:
            try:
                if self._stream is None:
                    await self._reopen()
                await step()
            except MeasurandError as failure:
                error = failure
            else:
                return
            await self.close()
            if self._is_fenced_by_itself(error):
                continue
            if not retries.may_reopen(error):
                self._refused(error)
                raise error
            await self._calls.pause(self._tries, error)

    async def _reopen(self) -> None:
        """Open a stream, which gets again what the server does not have."""
        transport = await self._calls.transport()
        stream = self._stream = await transport.duplex(methods.WRITE_ARRAY_CHUNKS, bell=self._bell)
        hello = Request(name=self.name, uid=self.uid, append=self._append)
        if self.epoch is not None:
            hello.expected_epoch = self.epoch
        await stream.send(Bulk(hello, b""))
        try:
            answer = await self._answer(stream)
        except WriterFenced:
            raise
        except MeasurandError:
            self._has_unanswered_open = True
            raise
        self._has_unanswered_open = False
        if self._append:
            self.epoch = answer.append_epoch
        self._note(self.replay.rewind(answer.visible_rows))
        if answer.window_bytes:
            self.replay.window_bytes = answer.window_bytes

    async def _push(self) -> None:
        """Send what is to be sent, and hear what has been said meanwhile."""
        stream = self._live()
        while (step := self.replay.next_unsent()) is not None:
            self.replay.note_sent()
            for message in messages(step, self.replay.sequence(step)):
                await stream.send(message)
            while (answer := stream.receive_ready()) is not None:
                await self._take(answer)

    async def _hear(self) -> None:
        """Wait for one answer; after a reopening, first send what the new stream does not have."""
        await self._push()
        if not self.replay.is_safe:  # else the reopening has said all that there is to hear
            await self._take(await self._answer(self._live()))

    async def _catch_up(self) -> None:
        """Send and hear without waiting for an answer."""
        await self._push()
        stream = self._live()
        while stream.has_news:
            await self._take(await self._answer(stream))

    async def _take(self, answer: Response) -> None:
        self._note(self.replay.acknowledge(answer.acknowledged_sequence, answer.visible_rows))
        if answer.window_bytes:
            self.replay.window_bytes = answer.window_bytes
        if answer.HasField("pause"):
            await aio.sleep(answer.pause.seconds + answer.pause.nanos / 1e9)

    def _note(self, is_progress: bool) -> None:
        if is_progress:
            self._tries.progress()
            if self._tell is not None:
                self._tell()

    def _refused(self, error: MeasurandError) -> None:
        """Note what is safe all the same, and give up the rest."""
        if isinstance(error, WriterFenced) and "rows" in error.details:
            self._note(self.replay.settle(int(error.details["rows"])))
        self.replay.forget()

    async def _answer(self, stream: Stream) -> Response:
        answer = await stream.receive()
        if answer is None:
            raise Unavailable(f"{self.name}: the server ended the stream before all was safe", transport="OK")
        return answer

    def _live(self) -> Stream:
        if self._stream is None:
            raise Unavailable(f"{self.name}: the stream is closed", transport="OK")
        return self._stream

    def _is_fenced_by_itself(self, error: MeasurandError) -> bool:
        """Tell whether the newer writer is this one; as for uploads: its own open was noted, the answer to it lost."""
        if not (isinstance(error, WriterFenced) and self._has_unanswered_open and self.epoch is not None):
            return False
        is_next = error.details.get("epoch") == str(self.epoch + 1)
        self._has_unanswered_open = False
        if is_next:
            self.epoch += 1
        return is_next


def messages(step: Step, sequence: int) -> list[Bulk[Request]]:
    """Return what tells the server of a step: one message, or one for each part of a large chunk."""
    if step.data is None:
        head = Request(sequence=sequence, flush=True)
        if step.rows is not None:
            head.grow_to = step.rows
        return [Bulk(head, b"")]
    view, parts = memoryview(step.data), []
    for offset in range(0, len(view), PART_BYTES):
        part = view[offset : offset + PART_BYTES]
        head = Request(sequence=sequence, index=step.index, part_offset=offset, crc32c=crc32c(part))
        if len(view) > PART_BYTES:
            head.chunk_size = len(view)
        if not offset and step.if_etag is not None:
            head.if_chunk_etag = step.if_etag
        parts.append(Bulk(head, part))
    return parts
