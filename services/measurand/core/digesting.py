"""The digests of a stream of bytes, taken while it passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.extents import Extent
from measurand.core.file_documents import Digests
from measurand.core.means import Hasher, Means
from measurand.core.ports import BlobStore, Buffer
from measurand.wire.errors import ChecksumMismatch, DigestMismatch

__all__ = ["Running", "check_chunk", "check_digests", "digest_small", "read_through"]

_READ_AHEAD_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Running:
    """The digests of the first `size` bytes of a file."""

    means: Means
    hasher: Hasher
    size: int = 0
    crc32c: int = 0

    @classmethod
    def begin(cls, means: Means) -> Running:
        """Return the digests of no bytes."""
        return cls(means, means.blake3())

    def add(self, chunks: Sequence[Buffer]) -> None:
        """Take the next bytes. Blocking: call it in a thread."""
        for chunk in chunks:
            self.hasher.update(chunk)
            self.crc32c = self.means.crc32c(chunk, self.crc32c)
            self.size += len(chunk)

    def copy(self) -> Running:
        """Return the digests as they stand now."""
        return Running(self.means, self.hasher.copy(), self.size, self.crc32c)

    @property
    def digests(self) -> Digests:
        """Both of them."""
        return Digests(self.crc32c, self.hasher.hexdigest())


async def read_through(running: Running, blobs: BlobStore, extents: Sequence[Extent]) -> None:
    """Read stored bytes once more into digests whose state was lost with the process that had them (U6)."""
    waiting: list[Buffer] = []
    size = 0
    for extent in extents:
        async for chunk in blobs.open(extent.blob, extent.offset, extent.size):
            waiting.append(chunk)
            size += len(chunk)
            if size >= _READ_AHEAD_BYTES:
                await running.means.in_thread(running.add, waiting)
                waiting, size = [], 0
    await running.means.in_thread(running.add, waiting)


def digest_small(means: Means, data: Buffer) -> Digests:
    """Return the digests of a small file; quick enough to be taken at once."""
    hasher = means.blake3()
    hasher.update(data)
    return Digests(means.crc32c(data, 0), hasher.hexdigest())


def check_chunk(means: Means, upload: str, offset: int, data: Buffer, crc32c: int | None) -> None:
    """Raise ChecksumMismatch when a chunk is not the one that was sent; None: it came without its crc32c."""
    if crc32c is not None and (actual := means.crc32c(data, 0)) != crc32c:
        raise ChecksumMismatch(
            f"{upload}: the chunk at {offset} arrived damaged; send it again",
            offset=offset,
            expected=f"{crc32c:08x}",
            actual=f"{actual:08x}",
        )


def check_digests(name: object, promised: Digests, actual: Digests) -> None:
    """Raise DigestMismatch when bytes are not those that were promised."""
    pairs = ("blake3", promised.blake3, actual.blake3), ("crc32c", promised.crc32c, actual.crc32c)
    for algorithm, expected, found in pairs:
        if expected not in ("", None) and expected != found:
            raise DigestMismatch(
                f"{name}: the {algorithm} of the bytes is {found}, not the promised {expected}; nothing was stored. "
                f"Send the file again",
                algorithm=algorithm,
                expected=expected,
                actual=found,
            )
