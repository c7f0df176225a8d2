"""Records as they come: first what is stored, then live, over lost connections and restarted servers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Literal

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.record_pages import RecordPages
from measurand.client.records import Record
from measurand.v1 import buffers_pb2
from measurand.wire.codec import Bulk
from measurand.wire.errors import InvalidArgument, MeasurandError, Unavailable

__all__ = ["AsyncTail", "SlowReader", "tail_request"]

Request = buffers_pb2.TailBufferRequest
Answer = Bulk[buffers_pb2.TailBufferResponse]
SlowReader = Literal["wait", "skip", "fail"]

_SLOW = {
    "wait": buffers_pb2.SLOW_READER_POLICY_UNSPECIFIED,
    "skip": buffers_pb2.SLOW_READER_POLICY_SKIP,
    "fail": buffers_pb2.SLOW_READER_POLICY_FAIL,
}


def tail_request(request: Request, after: int | str | None, slow: SlowReader) -> Request:
    """Fill in where a tail begins, and what is done for a slow one."""
    if slow not in _SLOW:
        raise InvalidArgument(f"slow={slow!r}; give wait, skip or fail", field="slow")
    request.slow_reader = _SLOW[slow]
    if after in (None, "begin"):
        request.skip_trimmed = True
    elif after == "now":
        request.after_sequence = -1
    elif isinstance(after, int) and after >= 0:
        request.after_sequence = after
    else:
        raise InvalidArgument(f'after={after!r}; give a sequence, "begin" or "now"', field="after")
    return request


class AsyncTail:
    """Records of a buffer from a point on. Loop over it; made by `tail` of a buffer.

    The loop ends where the buffer is finished, and where no record has come for `timeout` seconds. It can be begun
    again, and goes on where the one before was left.
    """

    def __init__(self, calls: AsyncCalls, request: Request, timeout: float | None) -> None:
        self._calls = calls
        self._request = request
        self._timeout = timeout
        self._pages = RecordPages()
        self._state = buffers_pb2.BUFFER_STATE_UNSPECIFIED
        self._is_finished = False
        self.next = ""
        """Name of the buffer in which the stream goes on, once the end has come. Empty: nowhere."""
        self.next_sequence = 0
        """The sequence that the next record of the buffer gets: how far behind this tail is."""
        self.skipped = 0
        """Records were left out up to this sequence, with `slow="skip"`. 0: none."""

    @property
    def position(self) -> int:
        """Sequence of the last record that was given."""
        return max(self._request.after_sequence, 0)

    @property
    def is_finished(self) -> bool:
        """The buffer is finished, and every record was given."""
        return self._is_finished

    async def open(self) -> AsyncTail:
        """Begin now rather than with the first record that is asked for: it matters for "now"."""
        if self._request.after_sequence < 0:
            find = buffers_pb2.GetBufferRequest(name=self._request.name)
            found = await self._calls.unary(methods.GET_BUFFER, find)
            self._request.after_sequence = found.stats.next_sequence - 1
            self._request.skip_trimmed = False
        return self

    def __aiter__(self) -> AsyncGenerator[Record, None]:
        return self._records()

    def __repr__(self) -> str:
        return f"<Tail {self._request.name}: after {self.position}>"

    async def _records(self) -> AsyncGenerator[Record, None]:
        await self.open()
        tries = self._calls.tries()
        bell = aio.Bell()
        most = 1 if self._request.slow_reader == buffers_pb2.SLOW_READER_POLICY_SKIP else 2
        waited_since = time.monotonic()
        while not self._is_finished:
            stream: aio.Duplex[Request, Answer] | None = None
            try:
                transport = await self._calls.transport()
                stream = await transport.duplex(methods.TAIL_BUFFER, bell=bell, most_answers=most)
                self._pages = RecordPages()
                await stream.send(self._request)
                await stream.finish()
                heard = time.monotonic()
                while True:
                    rings = bell.rings
                    if stream.has_news:
                        answer = await self._answer(stream)
                        if answer is None:
                            break
                        heard = time.monotonic()
                        tries.progress()
                        for record in self._taken(answer):
                            self._request.after_sequence = record.seq
                            self._request.skip_trimmed = False
                            yield record
                            waited_since = time.monotonic()
                        continue
                    now = time.monotonic()
                    left = heard + retries.SILENCE - now
                    if left <= 0:
                        raise Unavailable(f"{self._request.name}: nothing came for a minute", transport="UNAVAILABLE")
                    if self._timeout is not None:
                        if waited_since + self._timeout <= now:
                            return
                        left = min(left, waited_since + self._timeout - now)
                    await bell.wait(rings, left)
            except MeasurandError as error:
                if not retries.may_reopen(error):
                    raise
                failure = error
            else:
                continue
            finally:
                if stream is not None:
                    await stream.close()
            await self._calls.pause(tries, failure)

    async def _answer(self, stream: aio.Duplex[Request, Answer]) -> Answer | None:
        answer = await stream.receive()
        if answer is None:
            if self._state != buffers_pb2.BUFFER_STATE_FINISHED:
                raise Unavailable(f"{self._request.name}: the server ended the stream", transport="OK")
            self._is_finished = True
        return answer

    def _taken(self, answer: Answer) -> list[Record]:
        head, data = answer
        self.next_sequence = head.next_sequence or self.next_sequence
        self.skipped = max(self.skipped, head.skipped_to_sequence)
        self._state, self.next = head.state, head.next_buffer
        if self._request.headers_only:
            return [Record(header, None) for header in head.headers]
        checksum = head.crc32c if head.HasField("crc32c") else None
        return self._pages.take(head.headers, data, head.part_offset, checksum)
