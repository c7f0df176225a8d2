"""The folder of a cache: bounded whatever happens, the least recently used first, and no harm if it fails."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.conformance.test_blobs import content, noise
from tests.storage.cache import BLOCK, Cache, MakeCache

from measurand.core.ports import Blob
from measurand.server.crc32c import make_crc32c
from measurand.storage.blobs.cached import Cached
from measurand.storage.blobs.memory import Memory

Result = TypeVar("Result")

COST = BLOCK + 4096
"""What a block takes of the room: its bytes and its header, in whole pages."""
MiB = 1 << 20


async def fill(cache: Cache, count: int, *, first: int = 0) -> list[Blob]:
    """Put and read so many blobs of one block, each some time after the one before."""
    blobs = []
    for number in range(first, first + count):
        blobs.append(await cache.store.put(f"b/{number}", [noise(BLOCK, number)]))
        cache.time += 100.0
        assert await cache.content(blobs[-1]) == noise(BLOCK, number)
        assert cache.size <= cache.most_bytes
    return blobs


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.rglob(pattern))


async def kept(cache: Cache, blobs: list[Blob]) -> list[int]:
    """Return which of the blobs are read from the folder."""
    found = []
    for number, blob in enumerate(blobs):
        before = cache.reads
        await content(cache.store, blob)
        if cache.reads == before:
            found.append(number)
    await cache.settle()
    return found


async def test_the_folder_is_bounded_and_nearly_full(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=100 * COST)
    await fill(cache, 150)
    assert 80 <= len(cache.files) <= 100


async def test_what_was_used_the_longest_time_ago_goes_first(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=40 * COST)
    blobs = await fill(cache, 30)
    for number in (3, 7, 12):
        await cache.content(blobs[number])
    await fill(cache, 20, first=30)
    cache.open(most_bytes=1000 * COST)
    left = await kept(cache, blobs)
    assert {3, 7, 12} <= set(left)
    assert left[3:] == list(range(left[3], 30))
    assert left[3] > 12


async def test_small_files_are_not_kept_without_number(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=2 * MiB)
    await cache.store.put("pack", [noise(1000)])
    for begin in range(100):
        await cache.content(Blob("pack", begin + 1), begin)
    assert 20 <= len(cache.files) <= 32


async def test_what_a_crash_has_left_is_within_the_bound_too(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=100 * COST)
    blobs = await fill(cache, 60)
    shard = cache.files[0].parent
    for number in range(5):
        draft = shard / f"@{number}"
        draft.write_bytes(bytes(10 * COST))
        os.utime(draft, (cache.time - 1e6,) * 2)
    (cache.folder / "notes").write_text("not ours")
    cache.time += 1000.0
    cache.open(most_bytes=50 * COST)
    await fill(cache, 1, first=100)
    assert 30 * COST < cache.size <= 50 * COST
    assert [path for path in cache.files if path.name.startswith("@")] == []
    assert (cache.folder / "notes").exists()
    cache.open(most_bytes=1000 * COST)
    left = await kept(cache, blobs)
    assert left == list(range(left[0], 60))


async def test_processes_that_share_a_folder_stay_within_the_bound_together(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=400 * COST)
    stores = [cache.open() for _ in range(4)]
    chance = random.Random(1)
    for number in range(700):
        blob = await cache.store.put(f"b/{number}", [bytes(BLOCK)])
        cache.time += 100.0
        await content(chance.choice(stores), blob)
        await cache.settle()
        if number % 20 == 0:
            assert cache.size <= cache.most_bytes
    assert len(cache.files) > 330


async def test_times_that_lie_in_the_future_do_not_stay_for_ever(make_cache: MakeCache) -> None:
    cache = make_cache(most_bytes=40 * COST)
    cache.time += 1e8
    await fill(cache, 20)
    cache.time -= 1e8
    await fill(cache, 60, first=20)
    assert {path.name for path in cache.files} <= {f"b+{number}@0-10000" for number in range(40, 80)}


@pytest.mark.parametrize("call", ["write", "open", "rename"])
async def test_a_full_disk_is_read_past(cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    blobs = [await cache.store.put(f"b/{number}", [noise(BLOCK, number)]) for number in range(4)]
    tried: list[object] = []
    real = os.open

    def refuse(path: object, *rest: object, **more: object) -> int:
        if call == "open" and "@" in str(path) and not Path(str(path)).name.startswith("@"):
            return real(path, *rest, **more)  # type: ignore[arg-type]  # what is read
        tried.append(path)
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        for number in (0, 1, 0):
            assert await cache.content(blobs[number]) == noise(BLOCK, number)
        assert len(tried) == 1  # and not with every read
        assert cache.files == []
    assert await cache.content(blobs[2]) == noise(BLOCK, 2)
    assert cache.files == []
    cache.time += 61.0
    assert await cache.content(blobs[3]) == noise(BLOCK, 3)
    assert len(cache.files) == 1


async def test_a_folder_that_cannot_be_is_read_past(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Cached(
        Memory(), tmp_path / "file" / "cache", most_bytes=MiB, in_thread=asyncio.to_thread, crc32c=make_crc32c()
    )
    blob = await store.put("a", [b"12345"])
    for _ in range(2):
        assert await content(store, blob) == b"12345"
    await store.delete("a")
    await store.close()


async def test_bytes_that_the_disk_does_not_give_are_fetched_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await cache.store.put("a", [noise(BLOCK)])
    await cache.content(blob)

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", refuse)
        assert await content(cache.store, blob) == noise(BLOCK)
    assert await cache.content(blob) == noise(BLOCK)
    assert cache.reads == 2


async def test_a_disk_that_hangs_holds_up_no_read_and_bounds_what_waits_for_it(tmp_path: Path) -> None:
    going = threading.Event()

    def in_thread(work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
        def wait() -> Result:
            if work.__name__ == "write":
                going.wait()
            return work(*args)

        return asyncio.to_thread(wait)

    inner = Memory()
    store = Cached(inner, tmp_path / "cache", most_bytes=1 << 30, in_thread=in_thread, crc32c=make_crc32c())
    for number in range(20):
        blob = await inner.put(f"b/{number}", [bytes(8 * MiB)])
        assert await content(store, blob) == bytes(8 * MiB)
    assert store._keeping_bytes <= 32 * MiB
    # What is still on its way is read from there.
    assert await content(store, Blob("b/0", 8 * MiB)) == bytes(8 * MiB)
    going.set()
    await store.close()
    assert store._keeping_bytes == 0
    assert len(names(tmp_path, "b+*")) == 4


async def test_nobody_else_may_look_into_the_folder(cache: Cache) -> None:
    await fill(cache, 3)
    assert {path.stat().st_mode & 0o077 for path in (cache.folder, *cache.folder.rglob("*"))} == {0}
