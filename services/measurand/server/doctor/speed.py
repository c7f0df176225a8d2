"""How fast the blob store is from here: figures to compare by, not a benchmark."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from statistics import median

from measurand.core.means import Means
from measurand.core.ports import Blob, BlobStore
from measurand.server.doctor.blobs import Keys
from measurand.server.doctor.findings import Report

__all__ = ["try_speed"]

MiB = 1 << 20
LARGE, LARGE_BYTES = 3, 8 * MiB
SMALL, SMALL_BYTES = 20, 4096


async def try_speed(report: Report, store: BlobStore, means: Means) -> None:
    """Write a few large blobs and some small ones, one after the other, and read them back."""
    keys = Keys(means)
    try:
        async with report.trying("blobs: speed", "to write and read large and small blobs") as note:
            large = [means.random_bytes(MiB)] * (LARGE_BYTES // MiB)
            written = [await _timed(store.put(keys.new(), large)) for _ in range(LARGE)]
            read = [await _timed(_read(store, blob)) for blob, _ in written]
            small = [await _timed(store.put(keys.new(), [bytes(SMALL_BYTES)])) for _ in range(SMALL)]
            note.message = (
                f"{LARGE} blobs of {LARGE_BYTES // MiB} MiB one after the other: written at "
                f"{_rate([seconds for _, seconds in written])} MB/s, read at {_rate([t for _, t in read])} MB/s; "
                f"{SMALL} of {SMALL_BYTES // 1024} KiB: {median(seconds for _, seconds in small) * 1000:.1f} ms each"
            )
    finally:
        await keys.remove(store)


async def _timed(work: Awaitable[Blob]) -> tuple[Blob, float]:
    began = time.perf_counter()
    return await work, time.perf_counter() - began


async def _read(store: BlobStore, blob: Blob) -> Blob:
    async for _ in store.open(blob):
        pass
    return blob


def _rate(seconds: list[float]) -> str:
    return f"{LARGE * LARGE_BYTES / max(sum(seconds), 1e-9) / 1e6:.0f}"
