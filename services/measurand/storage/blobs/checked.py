"""A wrapper that proves bytes: it sums up every block that is written, and yields no block that does not fit its sum.

Disks and networks damage bytes without saying so. The sums are kept by whoever keeps the `Blob`, apart from the bytes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from measurand.core.blob_rules import check_range, closing
from measurand.core.means import Threads
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Checks, Stage, StoredBlob
from measurand.wire.errors import DataLoss

__all__ = ["Checked"]

MOST_BLOCKS = 8192
"""Beyond it blocks are twice as large, so that a document can carry the sums of a blob of any size."""

_BESIDE_BYTES = 256 * 1024
_IN_THREAD_BYTES = 2 << 20
"""Less is summed up by the event loop (60 µs for 1 MiB): handing it to a thread would cost more."""
_REMEMBERED = 1024


class Checked:
    """Makes `Blob.checks` and holds what it reads to them; blobs without checks pass through.

    Parameters
    ----------
    inner : BlobStore
        Where the bytes rest.
    crc32c, combine_crc32c : callable
        As in `Means`.
    in_thread : callable
        Sums up large data beside the event loop.
    block_bytes : int
        Size of a block of blobs of up to 8192 blocks.
    """

    def __init__(
        self,
        inner: BlobStore,
        *,
        crc32c: Callable[[Buffer, int], int],
        combine_crc32c: Callable[[int, int, int], int],
        in_thread: Threads,
        block_bytes: int = 1 << 20,
    ) -> None:
        self._inner = inner
        self._crc32c = crc32c
        self._combine = combine_crc32c
        self._in_thread = in_thread
        self._block_bytes = block_bytes
        self._staged: OrderedDict[str, _Sums] = OrderedDict()

    def __repr__(self) -> str:
        return f"checked({self._inner!r})"

    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        passing = _Passing(chunks, self._new_sums)
        blob = await self._inner.put(key, passing, policy=policy)
        return Blob(key, blob.size, passing.sums.checks())

    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        count = check_range(blob, offset, length)
        if blob.checks is None or count == 0:
            async with closing(self._inner.open(blob, offset, count)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        end, block_bytes = offset + count, blob.checks.block_bytes
        proof = _Proof(blob, blob.checks, offset - offset % block_bytes, self._crc32c)
        last = min(blob.size, -(-end // block_bytes) * block_bytes)
        plain = Blob(blob.key, blob.size)
        async with closing(self._inner.open(plain, proof.position, last - proof.position)) as chunks:
            async for chunk in chunks:
                for begin, proved in proof.add(chunk):
                    if begin >= offset and begin + len(proved) <= end:
                        yield proved
                    else:
                        wanted = memoryview(proved)[max(0, offset - begin) : max(0, end - begin)]
                        if len(wanted):
                            yield wanted
        if proof.position < last:
            raise DataLoss(f"{blob.key}: its bytes end at {proof.position} of {blob.size}", resource=blob.key)

    async def stat(self, key: str) -> StoredBlob:
        return await self._inner.stat(key)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        async with closing(self._inner.scan(prefix)) as blobs:
            async for blob in blobs:
                yield blob

    async def stage(self, key: str, *, policy: Policy | None = None) -> Stage:
        inner = await self._inner.stage(key, policy=policy)
        sums = self._staged[key] = self._new_sums()
        self._staged.move_to_end(key)
        while len(self._staged) > _REMEMBERED:
            self._staged.popitem(last=False)  # the longest ago; should it be finished here after all, it is read once
        return _CheckedStage(inner, sums, self._in_thread)

    async def finish(self, key: str, size: int) -> Blob:
        """Finish it with its checks; what this process has not seen pass is read back once."""
        blob = await self._inner.finish(key, size)
        seen = self._staged.get(key)
        sums = seen.first(size) if seen is not None else self._new_sums()
        async with closing(self._inner.open(blob, sums.size, size - sums.size)) as chunks:
            async for chunk in chunks:
                await self._in_thread(sums.add, [chunk])
        self._staged.pop(key, None)
        return Blob(key, size, sums.checks())

    async def discard(self, key: str) -> None:
        await self._inner.discard(key)
        self._staged.pop(key, None)

    async def close(self) -> None:
        self._staged.clear()
        await self._inner.close()

    def _new_sums(self) -> _Sums:
        return _Sums(self._crc32c, self._combine, self._block_bytes)


class _Sums:
    """The sums of the blocks of what has passed so far, in order.

    `is_whole` is False while bytes pass, and for good once some of them may not have reached the store.
    """

    __slots__ = ("_base_bytes", "_block_bytes", "_combine", "_crc", "_crc32c", "_crcs", "is_whole", "size")

    def __init__(
        self, crc32c: Callable[[Buffer, int], int], combine: Callable[[int, int, int], int], block_bytes: int
    ) -> None:
        self._crc32c = crc32c
        self._combine = combine
        self._base_bytes = self._block_bytes = block_bytes
        self._crcs = array("I")
        self._crc = 0
        self.size = 0
        self.is_whole = True

    def add(self, chunks: Iterable[Buffer]) -> None:
        """Take the next bytes."""
        for chunk in chunks:
            start = 0
            while start < len(chunk):
                filled = self.size % self._block_bytes
                if not filled and len(self._crcs) == MOST_BLOCKS:
                    self._double()
                    continue
                take = min(len(chunk) - start, self._block_bytes - filled)
                self._crc = self._crc32c(_part(chunk, start, start + take), self._crc)
                self.size += take
                start += take
                if filled + take == self._block_bytes:
                    self._crcs.append(self._crc)
                    self._crc = 0

    def first(self, size: int) -> _Sums:
        """Return sums that go on as near before `size` as these have a boundary: at 0 if they cannot be used."""
        sums = _Sums(self._crc32c, self._combine, self._base_bytes)
        if self.is_whole and self.size >= size and self._block_bytes == self._block_bytes_of(size):
            sums._block_bytes = self._block_bytes  # its own kind
            count = size // self._block_bytes
            sums._crcs = self._crcs[:count]
            sums.size = count * self._block_bytes
            if self.size == size:
                sums.size, sums._crc = size, self._crc
        return sums

    def checks(self) -> Checks:
        """Return what proves the bytes so far."""
        rest = [self._crc] if self.size % self._block_bytes else []
        return Checks(self._block_bytes, (*self._crcs, *rest))

    def _double(self) -> None:
        pairs = zip(self._crcs[::2], self._crcs[1::2], strict=True)
        self._crcs = array("I", [self._combine(one, other, self._block_bytes) for one, other in pairs])
        self._block_bytes *= 2

    def _block_bytes_of(self, size: int) -> int:
        block_bytes = self._base_bytes
        while size > block_bytes * MOST_BLOCKS:
            block_bytes *= 2
        return block_bytes


class _Passing:
    """Chunks on their way to a store, summed up as it takes them; begins anew when it takes them again."""

    def __init__(self, chunks: Iterable[Buffer], new_sums: Callable[[], _Sums]) -> None:
        self._chunks = chunks
        self._new_sums = new_sums
        self.sums = new_sums()

    def __iter__(self) -> Iterator[Buffer]:
        sums = self.sums = self._new_sums()
        for chunk in self._chunks:
            sums.add((chunk,))
            yield chunk


class _CheckedStage:
    """Sums up what is appended while the inner stage writes it."""

    def __init__(self, inner: Stage, sums: _Sums, in_thread: Threads) -> None:
        self._inner = inner
        self._sums = sums
        self._in_thread = in_thread

    async def append(self, chunks: Sequence[Buffer]) -> None:
        was_whole, self._sums.is_whole = self._sums.is_whole, False
        size = sum(map(len, chunks))
        if size < _BESIDE_BYTES:
            self._sums.add(chunks)
            await self._inner.append(chunks)
        elif size < _IN_THREAD_BYTES:
            await self._sum_up_beside(chunks)
        else:
            await asyncio.gather(self._inner.append(chunks), self._in_thread(self._sums.add, chunks))
        self._sums.is_whole = was_whole  # not after a failure: nobody knows then what the store has taken

    async def persist(self, *, whole: bool = True) -> int:
        return await self._inner.persist(whole=whole)

    async def close(self) -> None:
        await self._inner.close()

    async def _sum_up_beside(self, chunks: Sequence[Buffer]) -> None:
        writing = asyncio.ensure_future(self._inner.append(chunks))
        try:
            await asyncio.sleep(0)  # now the store has them, and writes while they are summed up
            self._sums.add(chunks)
            await writing
        except BaseException:
            writing.cancel()
            raise


class _Proof:
    """Holds back the bytes of each block until they fit its sum.

    Parameters
    ----------
    position : int
        Where in the blob the bytes begin: at the beginning of a block.
    """

    def __init__(self, blob: Blob, checks: Checks, position: int, crc32c: Callable[[Buffer, int], int]) -> None:
        if len(checks.crcs) != -(-blob.size // checks.block_bytes):
            raise DataLoss(f"{blob.key}: it has {len(checks.crcs)} sums, which do not fit its size", resource=blob.key)
        self.position = position
        self._blob = blob
        self._checks = checks
        self._crc32c = crc32c
        self._crc = 0
        self._held: list[tuple[int, Buffer]] = []

    def add(self, chunk: Buffer) -> Iterator[tuple[int, Buffer]]:
        """Take the next bytes and yield those that are proved by now, each piece with where it begins."""
        begin, start, proved = self.position, 0, 0
        while start < len(chunk):
            index, filled = divmod(self.position, self._checks.block_bytes)
            missing = min(self._checks.block_bytes - filled, self._blob.size - self.position)
            take = min(len(chunk) - start, missing)
            self._crc = self._crc32c(_part(chunk, start, start + take), self._crc)
            self.position += take
            start += take
            if take == missing:
                self._compare(index)
                self._crc, proved = 0, start
        if proved:
            yield from self._held
            self._held.clear()
            yield begin, _part(chunk, 0, proved)
        if proved < len(chunk):
            self._held.append((begin + proved, _part(chunk, proved, len(chunk))))

    def _compare(self, index: int) -> None:
        if self._crc != self._checks.crcs[index]:
            offset = index * self._checks.block_bytes
            raise DataLoss(
                f"{self._blob.key}: the bytes from {offset} to {self.position} are not those that were stored; "
                "restore it from a copy",
                resource=self._blob.key,
                offset=offset,
            )


def _part(chunk: Buffer, start: int, stop: int) -> Buffer:
    """Return part of a chunk without a copy; the chunk itself when that is all of it."""
    return chunk if start == 0 and stop == len(chunk) else memoryview(chunk)[start:stop]
