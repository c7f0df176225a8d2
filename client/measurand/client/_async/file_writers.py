"""A file object for writing: bytes go out while more are written, and the file appears when it is closed."""

from __future__ import annotations

from typing import Any

from measurand.client._async.calls import AsyncCalls
from measurand.client._async.upload_streams import AsyncUploadStream
from measurand.client._async.uploads import SMALL, put_small, start_upload
from measurand.client.hashing import Digest, crc32c
from measurand.client.replay import Chunk
from measurand.client.results import File
from measurand.v1 import files_pb2
from measurand.wire.errors import FailedPrecondition

__all__ = ["AsyncFileWriter"]


class AsyncFileWriter:
    """Writes one new file from its beginning to its end.

    Nobody sees the file before `close` has returned; leaving the `with` block by an error stores nothing.
    """

    def __init__(self, calls: AsyncCalls, spec: files_pb2.FileSpec) -> None:
        self.file: File | None = None
        """The file that was made; None until it is closed."""
        self._calls = calls
        self._spec = spec
        self._held = bytearray()
        self._offset = 0
        self._digest = Digest()
        self._stream: AsyncUploadStream | None = None
        self._is_closed = False

    async def write(self, data: Any) -> int:
        """Take bytes; durable only when the file is closed, or after `flush` for large files."""
        if self._is_closed:
            raise FailedPrecondition(f"{self._spec.name} is closed; open it anew", state="closed")
        view = memoryview(data)
        self._held += view
        while len(self._held) > SMALL:
            await self._send(SMALL)
        return view.nbytes

    async def flush(self) -> None:
        """Return when what was written survives the loss of the server, once there is more than fits into one call."""
        if self._stream is not None:
            await self._send(len(self._held))
            await self._stream.flush()

    async def close(self) -> None:
        """Store the file. It is durable, and everybody sees it, when this returns."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._stream is None:
            self.file = File.of(await put_small(self._calls, self._spec, bytes(self._held)))
            return
        try:
            await self._send(len(self._held))
            self.file = File.of(await self._stream.commit(self._digest.hexdigest()))
        finally:
            await self._stream.close()

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._offset + len(self._held)

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def readable(self) -> bool:
        """Tell that it cannot be read."""
        return False

    def seekable(self) -> bool:
        """Tell that it is written from its beginning to its end."""
        return False

    @property
    def closed(self) -> bool:
        """No more can be written."""
        return self._is_closed

    async def __aenter__(self) -> AsyncFileWriter:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.close()
            return
        self._is_closed = True
        if self._stream is not None:
            await self._stream.close()  # the upload expires

    async def _send(self, size: int) -> None:
        if not size:
            return
        if self._stream is None:
            upload = await start_upload(self._calls, self._spec, None)
            self._stream = AsyncUploadStream(self._calls, upload, takes_over=False, tell=lambda _: None)
        data = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        self._digest.update(data)
        await self._stream.write(Chunk(self._offset, data, crc32c(data)))
        self._offset += size
