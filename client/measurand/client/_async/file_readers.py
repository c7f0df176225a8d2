"""A file object for reading: seek, read, readinto; pinned to one generation, so that it never changes underneath."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from typing import Any

from measurand.client import display
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.downloads import read_on, read_part
from measurand.client.results import File
from measurand.v1 import files_pb2
from measurand.wire.errors import FailedPrecondition, InvalidArgument

__all__ = ["AsyncFileReader"]

LEAST_READ = 64 << 10
MOST_READ = 1 << 20
"""So much one call brings; who reads on from there gets a stream that runs ahead."""


class AsyncFileReader:
    """Reads one file. What was read last is kept, and reading on in order is streamed."""

    def __init__(self, calls: AsyncCalls, message: files_pb2.File, head: memoryview) -> None:
        self.file = File.of(message)
        """What is read."""
        self._calls = calls
        self._name = message.name
        self._position = 0
        self._held = head
        self._held_start = 0
        self._stream: AsyncGenerator[memoryview, None] | None = None
        self._stream_position = -1
        self._is_closed = False

    async def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end; all that are left unless a size is given."""
        self._check_open()
        left = max(0, self.file.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces: list[memoryview] = []
        while wanted:
            piece = (await self._next(wanted))[:wanted]
            pieces.append(piece)
            wanted -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    async def readinto(self, buffer: Any) -> int:
        """Fill the buffer; returns how many bytes it got, fewer than it holds only at the end."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self.file.size - self._position))
        filled = 0
        while filled < wanted:
            piece = (await self._next(wanted - filled))[: wanted - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._position += len(piece)
        return filled

    async def readline(self, size: int | None = -1) -> bytes:
        """Return the bytes up to and with the next newline, or to the end; at most so many, where given."""
        self._check_open()
        most = self.file.size if size is None or size < 0 else size
        pieces: list[bytes] = []
        while most > 0 and self._position < self.file.size:
            ahead = bytes((await self._next(min(most, LEAST_READ)))[: min(most, LEAST_READ)])
            end = ahead.find(b"\n") + 1
            piece = ahead[:end] if end else ahead
            pieces.append(piece)
            most -= len(piece)
            self._position += len(piece)
            if end:
                break
        return b"".join(pieces)

    async def read1(self, size: int = -1) -> bytes:
        """Return some bytes: what is at hand."""
        return await self.read(LEAST_READ if size < 0 else size)

    async def readall(self) -> bytes:
        """Return all bytes from here on."""
        return await self.read()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while line := await self.readline():
            yield line

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is fetched before it is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.file.size}.get(whence)
        if start is None or start + offset < 0:
            raise InvalidArgument(f"there is no position {offset} from {whence} in {self._name}", field="offset")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def writable(self) -> bool:
        """Tell that it cannot be written."""
        return False

    def seekable(self) -> bool:
        """Tell that it can be read in any order."""
        return True

    def flush(self) -> None:
        """Do nothing: there is nothing to write."""

    @property
    def closed(self) -> bool:
        """No more can be read."""
        return self._is_closed

    async def close(self) -> None:
        """End the reading."""
        self._is_closed = True
        await self._end_stream()

    async def __aenter__(self) -> AsyncFileReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return display.line("FileReader", self.file.path, {"size": self.file.size, "position": self._position})

    async def _next(self, wanted: int) -> memoryview:
        """Return bytes from the position on: at least one, at hand or fetched."""
        offset = self._position - self._held_start
        if 0 <= offset < len(self._held):
            return self._held[offset:]
        has_read_up_to_here = self._position == self._held_start + len(self._held)
        if self._stream is None or self._stream_position != self._position:
            await self._end_stream()
            if not has_read_up_to_here and wanted <= MOST_READ:
                length = min(max(wanted, LEAST_READ), MOST_READ)
                _, self._held = await read_part(
                    self._calls, self._name, generation=self.file.generation, offset=self._position, length=length
                )
                self._held_start = self._position
                return self._held
            self._stream = read_on(
                self._calls, self._name, generation=self.file.generation, offset=self._position, end=self.file.size
            )
        held = await anext(self._stream)
        self._stream_position = self._position + len(held)
        self._held, self._held_start = held, self._position
        return held

    def _check_open(self) -> None:
        if self._is_closed:
            raise FailedPrecondition(f"{self._name} is closed; open it anew", state="closed")

    async def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
