"""One writer of one upload, over lost connections and restarted servers: U1 to U4 of the protocol, seen from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.replay import Chunk, Replay
from measurand.v1 import common_pb2, files_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import MeasurandError, Unavailable, WriterFenced

__all__ = ["AsyncUploadStream"]

Stream = aio.Duplex[Bulk[files_pb2.WriteUploadRequest], files_pb2.WriteUploadResponse]


class AsyncUploadStream:
    """Sends chunks, keeps them until they are safe, and goes on by itself where a stream broke.

    Parameters
    ----------
    calls : AsyncCalls
        To the server.
    upload : Upload
        As it was created or read.
    takes_over : bool
        This is a new run of a program: whoever wrote before is fenced. Otherwise nobody may have written since.
    tell : callable
        Gets the number of bytes that have newly become safe.
    """

    def __init__(
        self, calls: AsyncCalls, upload: files_pb2.Upload, *, takes_over: bool, tell: Callable[[int], None]
    ) -> None:
        self.name = upload.name
        self.chunk_bytes = upload.chunk_bytes or 1 << 20
        self.replay = Replay(upload.persisted_size, upload.window_bytes or 16 << 20)
        self.epoch: int | None = None if takes_over else upload.epoch
        self._calls = calls
        self._tell = tell
        self._tries = calls.tries()
        self._stream: Stream | None = None
        self._has_unanswered_open = False
        self._flush_to = -1
        self._flushed_to = -1

    async def open(self) -> int:
        """Become the writer; returns how many bytes are safe already."""
        await self._persevere(self._push)
        return self.replay.persisted_size

    async def write(self, chunk: Chunk) -> None:
        """Send a chunk as soon as the window has room for it; safe only after `flush`."""
        while not self.replay.has_room(len(chunk.data)):
            await self._persevere(self._hear)
        self.replay.add(chunk)
        await self._persevere(self._push)

    async def flush(self) -> None:
        """Return when all that was written is safe against the loss of the server."""
        self._flush_to = self.replay.end
        await self._persevere(self._push)
        while not self.replay.is_safe:
            await self._persevere(self._hear)

    async def commit(self, blake3: str) -> files_pb2.File:
        """Make the file visible, once all is safe.

        Parameters
        ----------
        blake3 : str
            Of the whole file.

        Raises
        ------
        DigestMismatch
            DIGEST_MISMATCH: the server has other bytes; the upload is of no more use.
        WriterFenced
            WRITER_FENCED: another run has taken the upload over.
        """
        await self.flush()
        await self.close()
        request = files_pb2.CommitUploadRequest(
            name=self.name,
            size=self.replay.end,
            checksums=common_pb2.Checksums(blake3=blake3),
            expected_epoch=self.epoch,
        )
        # It may have to read everything again, so it is asked until it has come to an end.
        return await self._calls.unary(methods.COMMIT_UPLOAD, request, patience=retries.STREAM_PATIENCE)

    async def close(self) -> None:
        """End the stream. What is safe stays so, and another run may go on from there."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

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
                raise error
            await self._calls.pause(self._tries, error)

    async def _reopen(self) -> None:
        """Open a stream and send again what the server does not have."""
        transport = await self._calls.transport()
        self._stream = await transport.duplex(methods.WRITE_UPLOAD)
        hello = files_pb2.WriteUploadRequest(name=self.name)
        if self.epoch is not None:
            hello.expected_epoch = self.epoch
        await self._stream.send(Bulk(hello, b""))
        try:
            answer = await self._answer(self._stream)
        except WriterFenced:
            raise
        except MeasurandError:
            self._has_unanswered_open = True
            raise
        self._has_unanswered_open = False
        self.epoch = answer.epoch
        self._flushed_to = -1
        before = self.replay.persisted_size
        if self.replay.rewind(answer.persisted_size):
            self._tries.progress()
            self._tell(self.replay.persisted_size - before)
        if answer.window_bytes:
            self.replay.window_bytes = answer.window_bytes

    async def _push(self) -> None:
        """Send what is to be sent, and hear what has been said meanwhile."""
        stream = self._live()
        while (chunk := self.replay.next_unsent()) is not None:
            flush = chunk.end == self._flush_to
            head = files_pb2.WriteUploadRequest(offset=chunk.offset, crc32c=chunk.crc32c, flush=flush)
            self.replay.note_sent()
            await stream.send(Bulk(head, chunk.data))
            if flush:
                self._flushed_to = chunk.end
            while (answer := stream.receive_ready()) is not None:
                await self._take(answer)
        if self._flushed_to < self._flush_to and not self.replay.is_safe:
            self._flushed_to = self._flush_to
            await stream.send(Bulk(files_pb2.WriteUploadRequest(offset=self._flush_to, flush=True), b""))

    async def _hear(self) -> None:
        """Wait for one answer; after a reopening, first send what the new stream does not have."""
        await self._push()
        if not self.replay.is_safe:  # else the reopening has said all that there is to hear
            await self._take(await self._answer(self._live()))

    async def _take(self, answer: files_pb2.WriteUploadResponse) -> None:
        before = self.replay.persisted_size
        if self.replay.acknowledge(answer.persisted_size):
            self._tries.progress()
            self._tell(self.replay.persisted_size - before)
        if answer.window_bytes:
            self.replay.window_bytes = answer.window_bytes
        if answer.HasField("pause"):
            await aio.sleep(answer.pause.seconds + answer.pause.nanos / 1e9)

    async def _answer(self, stream: Stream) -> files_pb2.WriteUploadResponse:
        answer = await stream.receive()
        if answer is None:
            raise Unavailable(f"{self.name}: the server ended the stream before all was safe", transport="OK")
        return answer

    def _live(self) -> Stream:
        if self._stream is None:
            raise Unavailable(f"{self.name}: the stream is closed", transport="OK")
        return self._stream

    def _is_fenced_by_itself(self, error: MeasurandError) -> bool:
        """Tell whether the newer writer is this one: its own open was noted, and only the answer to it was lost.

        Only one open can have followed on the epoch that we held. If ours got no answer, the next epoch is most likely
        its, and is tried once. Were it another run's after all, that one stops when it is fenced: it had its answer.
        """
        if not (isinstance(error, WriterFenced) and self._has_unanswered_open and self.epoch is not None):
            return False
        is_next = error.details.get("epoch") == str(self.epoch + 1)
        self._has_unanswered_open = False
        if is_next:
            self.epoch += 1
        return is_next
