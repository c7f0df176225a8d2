"""Bytes of a blob while they come: a read goes on behind what it has when its connection breaks."""

from __future__ import annotations

from measurand.core.blob_rules import missing, short
from measurand.storage.blobs.s3.client import Body
from measurand.storage.blobs.s3.faults import BROKEN, Refused, translating
from measurand.storage.blobs.s3.objects import Objects
from measurand.wire.errors import Unavailable

__all__ = ["Reading"]

_CHUNK_BYTES = 2 << 20
_MOST_BREAKS = 3
"""In a row, without a chunk between them."""


class Reading:
    """Reads the bytes from `begin` to `end` of a finished blob, of which there must be so many.

    Blocking, by one thread at a time; `close` may be called by another.
    """

    def __init__(self, objects: Objects, key: str, name: str, begin: int, end: int) -> None:
        self._objects = objects
        self._key = key
        self._name = name
        self._at = begin
        self._end = end
        self._body: Body | None = None
        self._is_closed = False

    def next(self) -> bytes:
        """Return the next chunk. Of an empty range it is empty, and the blob is there."""
        with translating(self._key):
            if self._at == self._end:
                self._check()
                return b""
            size = min(_CHUNK_BYTES, self._end - self._at)
            for _ in range(_MOST_BREAKS):
                data = self._read(size)
                if data is not None:
                    self._at += size
                    if self._at == self._end:
                        self.close()
                    return data
            raise Unavailable(
                f"{self._key}: the connection to the S3 store breaks at byte {self._at} again and again",
                retry_seconds=1.0,
                store="s3",
            )

    def close(self) -> None:
        """Let go of the connection."""
        self._is_closed = True
        body = self._body
        if body is not None:
            body.close()

    def _read(self, size: int) -> bytes | None:
        """Return the next bytes; None: the connection broke."""
        try:
            body = self._body or self._open()
            data = body.read(size) if body is not None else b""
            if len(data) == size:
                return data
        except BROKEN:
            if self._is_closed:
                raise
        if self._body is not None:
            self._body.close()
            self._body = None
        return None

    def _open(self) -> Body | None:
        try:
            body = self._objects.stream(self._name, self._at, self._end)
        except Refused as error:
            if error.is_missing:
                raise missing(self._key) from error
            if error.status == 416:  # it ends before that
                self._check()
            raise
        self._body = body
        if self._is_closed:  # meanwhile
            body.close()
        if body.status != 206:
            raise ValueError("the whole, although a range was asked for")
        if body.total < self._end:
            self._check()
            return None  # that number was cut off
        return body

    def _check(self) -> None:
        """Raise NotFound or DataLoss unless there are so many bytes."""
        found = self._objects.measure(self._name, self._end)
        if found is None:
            self._objects.require_bucket()
            raise missing(self._key)
        if found.size < self._end:
            raise short(self._key, self._end, found.size)
