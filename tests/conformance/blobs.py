"""The table of blob stores that the suite of the port runs over: one row more is all that a new store needs.

A row makes a place in which bytes rest. A place can be opened many times, as by many processes, and be looked at by
the backend's own means, so that a wrong `put` cannot be hidden by an equally wrong `open`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tests.faults import Chopped, Damaged, Failing, Full, Slow
from tests.flaky import Flaky, unreliable
from tests.parted import Parted
from tests.remote_places import Served
from tests.s3_places import InS3, Server, minio_at_hand, on_minio, on_seaweed
from tests.spread_places import spread_in_memory, spread_on_disk

from measurand.core.ports import BlobStore
from measurand.server.crc32c import combine_crc32c, make_crc32c
from measurand.storage.blobs.cached import Cached
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.measured import Measured
from measurand.storage.blobs.memory import Memory, _Held
from measurand.storage.blobs.retrying import Retrying
from measurand.wire.errors import Unavailable

__all__ = ["PLACES", "MakePlace", "NoMeter", "Place", "checked", "local", "local_path"]


class Place(Protocol):
    """Where the bytes of a store rest."""

    def open(self) -> BlobStore:
        """Return a store over this place, as another process would have it."""
        ...

    def look(self) -> dict[str, bytes]:
        """Return the bytes of all finished blobs, read around the store."""
        ...

    def leftovers(self) -> int:
        """Return how many staged writes lie there, hidden ones too."""
        ...

    def damage(self, key: str, content: bytes) -> None:
        """Put other bytes into the place of a finished blob, around the store."""
        ...


MakePlace = Callable[[Path], Place]
"""Makes an empty place, in a folder if it needs one."""

Wrap = Callable[[BlobStore], BlobStore]


def local(root: Path) -> Local:
    return Local(root, in_thread=asyncio.to_thread)


def local_path(root: Path, key: str) -> Path:
    """Return where a finished blob lies. Written down once more on purpose: the next release must find it there."""
    return root / "blobs" / f"{zlib.crc32(key.encode()) & 0xFF:02x}" / key.replace("/", "+")


def checked(inner: BlobStore, block_bytes: int = 1 << 20) -> Checked:
    return Checked(
        inner,
        crc32c=make_crc32c(),
        combine_crc32c=combine_crc32c,
        in_thread=asyncio.to_thread,
        block_bytes=block_bytes,
    )


def measured(inner: BlobStore) -> Measured:
    return Measured(inner, store="test", metrics=NoMeter(), monotonic=lambda: 0.0)


def cached(inner: BlobStore, folder: Path, most_bytes: int = 64 << 20) -> Cached:
    """Keep what is read below a folder, as all processes of a machine do."""
    return Cached(inner, folder / "cache", most_bytes=most_bytes, in_thread=asyncio.to_thread, crc32c=make_crc32c())


def retrying(inner: BlobStore) -> Retrying:
    return Retrying(inner, sleep=lambda _: asyncio.sleep(0))


class NoMeter:
    """Takes figures and forgets them."""

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None: ...

    def moved(self, store: str, verb: str, size: int) -> None: ...


class _InMemory:
    def __init__(self, wrap: Wrap) -> None:
        self._wrap = wrap
        self._memory = Memory()

    def open(self) -> BlobStore:
        return self._wrap(self._memory)

    def look(self) -> dict[str, bytes]:
        return {key: b"".join(held.pieces) for key, held in self._memory._finished.items()}

    def leftovers(self) -> int:
        return len(self._memory._staged)

    def damage(self, key: str, content: bytes) -> None:
        held = self._memory._finished[key] = _Held(datetime.now(UTC))
        held.add(content)


class _OnDisk:
    def __init__(self, wrap: Wrap, root: Path) -> None:
        self._wrap = wrap
        self._root = root

    def open(self) -> BlobStore:
        return self._wrap(local(self._root))

    def look(self) -> dict[str, bytes]:
        found = {path.name.replace("+", "/"): path for path in self._root.glob("blobs/*/*")}
        assert all(path == local_path(self._root, key) for key, path in found.items())
        return {key: path.read_bytes() for key, path in found.items()}

    def leftovers(self) -> int:
        return len(list(self._root.glob("staging/*")))

    def damage(self, key: str, content: bytes) -> None:
        local_path(self._root, key).write_bytes(content)


def _cached_in_memory(folder: Path) -> Place:
    return _InMemory(lambda inner: cached(inner, folder))


def _cached_on_disk(folder: Path) -> Place:
    return _OnDisk(lambda inner: measured(cached(checked(retrying(inner)), folder)), folder / "store")


def _cached_in_s3(folder: Path) -> Place:
    return InS3(on_seaweed(), lambda inner: measured(cached(checked(retrying(inner)), folder)))


def _cached_by_block(folder: Path) -> Place:
    return _OnDisk(lambda inner: cached(checked(inner, 64 * 1024), folder), folder / "store")


def _in_memory(wrap: Wrap) -> MakePlace:
    return lambda _: _InMemory(wrap)


def _in_s3(server: Callable[[], Server], wrap: Wrap) -> MakePlace:
    return lambda _: InS3(server(), wrap)


def _on_disk(wrap: Wrap) -> MakePlace:
    return lambda folder: _OnDisk(wrap, folder / "store")


PLACES: Mapping[str, MakePlace] = {
    "memory": _in_memory(lambda inner: inner),
    "local": _on_disk(lambda inner: inner),
    "checked(memory)": _in_memory(checked),
    "checked(local)": _on_disk(checked),
    "measured(checked(local))": _on_disk(lambda inner: measured(checked(inner))),
    "checked(chopped(local))": _on_disk(lambda inner: checked(Chopped(inner, chunk_bytes=70_001), 64 * 1024)),
    "failing(memory)": _in_memory(lambda inner: Failing(inner, verb="put", at=0, error=Unavailable("never raised"))),
    "full(memory)": _in_memory(lambda inner: Full(inner, room_bytes=1 << 40)),
    "slow(memory)": _in_memory(lambda inner: Slow(inner, pause=lambda _: asyncio.sleep(0))),
    "damaged(memory)": _in_memory(Damaged),
    "parted(memory)": _in_memory(lambda inner: Parted(inner, part_bytes=70_001)),
    "flaky(memory)": _in_memory(lambda inner: Flaky(inner, plan=lambda _: None)),
    "retrying(memory)": _in_memory(retrying),
    "retrying(local)": _on_disk(retrying),
    "cached(memory)": _cached_in_memory,
    "cached(checked(local))": _cached_by_block,
    "measured(cached(checked(retrying(local))))": _cached_on_disk,
    "retrying(flaky(local))": _on_disk(unreliable),
    "spread on memory, single": spread_in_memory("single"),
    "spread on memory, replicate:3": spread_in_memory("replicate:3"),
    "spread on memory, erasure:4+2": spread_in_memory("erasure:4+2"),
    "spread on disk, erasure:2+1": spread_on_disk("erasure:2+1"),
    "remote on memory": _in_memory(Served),
    "remote on disk": _on_disk(Served),
    "s3": _in_s3(on_seaweed, lambda inner: inner),
    "measured(cached(checked(retrying(s3))))": _cached_in_s3,
    **({"s3 on minio": _in_s3(on_minio, lambda inner: inner)} if minio_at_hand() else {}),
}
