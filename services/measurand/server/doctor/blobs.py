"""The blob store, tried by its port: whatever it is, this must work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore, StoredBlob
from measurand.core.ulid import make_ulid
from measurand.server.doctor.findings import Ended, Note, Report
from measurand.wire.errors import AlreadyExists, MeasurandError, NotFound

__all__ = ["PREFIX", "Keys", "try_blobs"]

PREFIX = "doctor/"
"""All keys that are written begin so. Nobody else looks at them."""

MiB = 1 << 20
PART_BYTES = 5 * MiB
"""The smallest part that S3 takes but for the last."""
TAIL_BYTES = 1000
SIZE = 3 * MiB + 123
LEFT_BEHIND = timedelta(hours=1)
SKEW = timedelta(seconds=5)
TIDY_SECONDS = 30.0


class Keys:
    """The keys of one doctor, so that all that was written can be removed."""

    def __init__(self, means: Means) -> None:
        self._run = make_ulid(means.now(), means.random_bytes).lower()
        self._given: list[str] = []

    @property
    def prefix(self) -> str:
        """What they all begin with."""
        return f"{PREFIX}{self._run}/"

    def new(self) -> str:
        """Return a key that nobody has used."""
        self._given.append(f"{self.prefix}{len(self._given)}")
        return self._given[-1]

    async def remove(self, store: BlobStore) -> None:
        """Remove what was written under them, staged or finished; what cannot be removed is garbage to the servers."""
        with suppress(MeasurandError, TimeoutError):
            async with asyncio.timeout(TIDY_SECONDS):
                for key in self._given:
                    await store.discard(key)
                    await store.delete(key)


async def try_blobs(
    report: Report, store: BlobStore, open_another: Callable[[], Awaitable[BlobStore]], means: Means
) -> bool:
    """Write blobs whole and bit by bit, read them back, and remove them. Tells whether the store takes and gives bytes.

    Parameters
    ----------
    open_another : callable
        Opens the same place once more, as another server would.
    """
    keys = Keys(means)
    try:
        await _try_whole(report, store, keys, means)
        await _try_staged(report, store, open_another, keys, means)
    except Ended:
        return False
    finally:
        await keys.remove(store)
        await _remove_left_behind(store, means.now())
    return True


async def _try_whole(report: Report, store: BlobStore, keys: Keys, means: Means) -> None:
    data, key = means.random_bytes(SIZE), keys.new()
    async with report.requiring("blobs: write", "to write a blob") as note:
        before = means.now()
        blob = await store.put(key, _chunks(data))
        after = means.now()
        note.message = f"a blob of {len(data)} bytes was written"

    async with report.requiring("blobs: read", "to read the blob back") as note:
        await _compare(note, store, blob, data, [(0, None)])
        note.message = note.message or "it comes back unchanged"

    async with report.trying("blobs: ranges", "to read parts of a blob") as note:
        middle, end = len(data) // 2, len(data)
        await _compare(note, store, blob, data, [(0, 1), (middle, 1), (end - 1, 1), (middle, 0), (MiB - 7, MiB + 20)])
        note.message = note.message or "the first, the middle, the last and no byte, and a piece from within, are right"

    async with report.trying("blobs: stat", "to ask for size and time of the blob") as note:
        stored = await store.stat(key)
        if stored.size != len(data):
            note.fail(f"it has {stored.size} bytes, it is told, and was written with {len(data)}", _BROKEN)
        else:
            _note_clock(note, stored, before, after)

    async with report.trying("blobs: list", "to find the blob in a listing") as note:
        listed = {found.key: found async for found in store.scan(keys.prefix)}
        if key not in listed or listed[key].staged or listed[key].size != len(data):
            note.fail("it is not in the listing, so garbage would never be found", _BROKEN)
        else:
            note.message = "it is in the listing, right after it was written"

    async with report.trying("blobs: no overwriting", "to write other bytes under the same key") as note:
        note.message = "a key in use is refused, and the blob stays as it is"
        with suppress(AlreadyExists):
            await store.put(key, [b"other bytes"])
            note.fail("they were taken, so what is stored could be lost", _BROKEN)
        await _compare(note, store, blob, data, [(0, 100)])

    async with report.trying("blobs: delete", "to delete the blob") as note:
        await store.delete(key)
        note.message = "it is deleted, and not found any longer"
        with suppress(NotFound):
            await store.stat(key)
            note.fail("it is still there", _BROKEN)


async def _try_staged(
    report: Report, store: BlobStore, open_another: Callable[[], Awaitable[BlobStore]], keys: Keys, means: Means
) -> None:
    parts = [means.random_bytes(size) for size in (PART_BYTES, PART_BYTES, PART_BYTES, TAIL_BYTES)]
    key, size = keys.new(), sum(map(len, parts))
    async with report.requiring("blobs: staged write", f"to write {size} bytes bit by bit") as note:
        kept = 0
        stage = await store.stage(key)
        try:
            for number, part in enumerate(parts):
                await stage.append([part])
                kept = await stage.persist(whole=number == len(parts) - 1)
        finally:
            await stage.close()
        listed = [found async for found in store.scan(keys.prefix) if found.key == key and found.staged]
        if kept != size:
            note.fail(f"{kept} of them are kept, it is told", _BROKEN)
        elif not listed:
            note.fail("it is not in the listing, so what crashes leave behind would never be found", _BROKEN)
        else:
            note.message = "three parts and a tail are kept, and the listing shows what is unfinished"

    other = await open_another()
    try:
        async with report.trying("blobs: taking over", "to finish it as another server") as note:
            blob = await other.finish(key, size)
            await _compare(note, other, blob, b"".join(parts), [(0, None), (PART_BYTES - 1, 2), (size - 1, 1)])
            note.message = note.message or "another server finds what was kept, finishes it, and reads all of it"
            await other.delete(key)
    finally:
        await other.close()

    async with report.trying("blobs: discard", "to throw an unfinished write away") as note:
        key = keys.new()
        stage = await store.stage(key)
        try:
            await stage.append([parts[0], b"tail"])
            await stage.persist()
        finally:
            await stage.close()
        await store.discard(key)
        if [found async for found in store.scan(keys.prefix) if found.key == key]:
            note.fail("it is still in the listing", _BROKEN)
        else:
            note.message = "nothing of it is left"


async def _compare(
    note: Note, store: BlobStore, blob: Blob, data: bytes, ranges: Sequence[tuple[int, int | None]]
) -> None:
    for offset, length in ranges:
        read = b"".join([bytes(chunk) async for chunk in store.open(blob, offset, length)])
        if read != data[offset : None if length is None else offset + length]:
            note.fail(f"what comes from {offset} on is not what was written", _BROKEN)


def _note_clock(note: Note, stored: StoredBlob, before: datetime, after: datetime) -> None:
    """Compare the clocks. Many stores tell whole seconds."""
    told = stored.modified_time
    skew = max(before - told - timedelta(seconds=1), told - after, timedelta())
    if skew > SKEW:
        behind = "behind" if told < before else "ahead of"
        message = f"the clock of the store is {skew.total_seconds():.0f} seconds {behind} this machine's"
        note.warn(f"{message}: {_CONSEQUENCE}", "let a time service (chrony, ntpd) set both clocks")
    else:
        note.message = "its size is right, and the clock of the store agrees with this machine's"


def _chunks(data: bytes) -> Iterator[memoryview]:
    return (memoryview(data)[start : start + MiB] for start in range(0, len(data), MiB))


async def _remove_left_behind(store: BlobStore, now: datetime) -> None:
    """Remove what a doctor left that was killed. What stays is garbage to the servers."""
    with suppress(MeasurandError, TimeoutError):
        async with asyncio.timeout(TIDY_SECONDS):
            old = [found async for found in store.scan(PREFIX) if now - found.modified_time > LEFT_BEHIND]
            for found in old:
                await (store.discard(found.key) if found.staged else store.delete(found.key))


_BROKEN = "do not use this store: report it with its name and version"
_CONSEQUENCE = "uploads and garbage would be taken for older or younger than they are"
