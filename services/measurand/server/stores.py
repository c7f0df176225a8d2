"""The stores that a server stands on: one table from a word in the configuration to a small function."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from measurand.core.arrays.plain_places import PlainPlace
from measurand.core.containers.sites import Place as ContainerPlace
from measurand.core.containers.sites import Room
from measurand.core.deployments import open_deployment
from measurand.core.locating import Presign
from measurand.core.means import Means, Threads
from measurand.core.ports import BlobStore, Buffer, DocumentStore
from measurand.core.ulid import make_ulid
from measurand.server.config import ConfigError, Place
from measurand.server.folder import write_whole
from measurand.server.marks import check_mark, mark_text
from measurand.server.metrics import Figure
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.measured import Measured, Meter
from measurand.wire.errors import MeasurandError, NotFound

__all__ = [
    "BLOBS",
    "DOCUMENTS",
    "Cache",
    "OpenBlobs",
    "OpenDocuments",
    "RawBlobs",
    "Renew",
    "extra",
    "new_deployment_id",
    "open_blobs",
    "open_documents",
    "open_raw_blobs",
    "wrap_blobs",
]

Renew = Callable[[], Awaitable[None]]
"""Takes up certificates that were renewed on disk, and raises if they are no good; what runs goes on."""


@dataclass(frozen=True, slots=True)
class OpenDocuments:
    """An open document store.

    Parameters
    ----------
    deployment_id : str
        What all servers over this store call themselves.
    renew : callable, optional
        For stores that are reached with certificates.
    """

    store: DocumentStore
    deployment_id: str
    renew: Renew | None = None


MakePlain = Callable[[Callable[[Buffer, int], int]], PlainPlace]
"""Makes the place for plain layouts beside the blobs of a store, from what computes a CRC-32C."""


@dataclass(frozen=True, slots=True)
class RawBlobs:
    """A place where bytes rest, before anything is wrapped around it.

    Parameters
    ----------
    look : callable
        Tells that it is there and how full it is, or raises.
    """

    store: BlobStore
    look: Callable[[], Awaitable[Room]]
    presign: Presign | None = None
    figures: Sequence[Figure] = ()
    make_plain: MakePlain | None = None

    @property
    def place(self) -> ContainerPlace:
        """As the container that it is."""
        return ContainerPlace(self.store, self.look)


async def open_documents(place: Place) -> OpenDocuments:
    """Open a document store. Raises ConfigError."""
    store: DocumentStore | None = None
    try:
        with extra(place):
            store, renew = await DOCUMENTS[place.kind](place)
        return OpenDocuments(store, (await open_deployment(store, new_deployment_id)).id, renew)
    except (MeasurandError, OSError) as error:
        if store is not None:
            await store.close()
        raise ConfigError(f"{place}: {error}") from error


@dataclass(frozen=True, slots=True)
class OpenBlobs:
    """An open blob store.

    Parameters
    ----------
    presign : callable, optional
        For stores that readers can reach themselves.
    """

    store: BlobStore
    presign: Presign | None = None
    figures: Sequence[Figure] = ()
    """What its wrappers can tell of this process."""
    plain: PlainPlace | None = None
    """Where others read sealed arrays past the servers; None: in this store they cannot."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder for what is read from stores on the network, and how large it may become, in bytes."""

    folder: Path
    most_bytes: int


async def open_raw_blobs(place: Place, deployment_id: str, in_thread: Threads) -> RawBlobs:
    """Open a place where the bytes of a deployment rest. Raises ConfigError."""
    try:
        with extra(place):
            return await BLOBS[place.kind](place, deployment_id, in_thread)
    except (MeasurandError, OSError) as error:
        raise ConfigError(f"{place}: {error}") from error


async def open_blobs(place: Place, deployment_id: str, means: Means, in_thread: Threads, meter: Meter) -> OpenBlobs:
    """Open one place as a blob store by itself, whatever containers there are. Raises ConfigError."""
    return wrap_blobs(await open_raw_blobs(place, deployment_id, in_thread), place, means, in_thread, meter)


def wrap_blobs(
    raw: RawBlobs | None,
    place: Place,
    means: Means,
    in_thread: Threads,
    meter: Meter,
    *,
    spread: BlobStore | None = None,
    cache: Cache | None = None,
) -> OpenBlobs:
    """Return the blob store as the rules see it.

    Parameters
    ----------
    raw : RawBlobs, optional
        Where blobs rest that no policy sends elsewhere. None: all go to containers.
    spread : BlobStore, optional
        The containers laid around it. None: there are none.
    cache : Cache, optional
        For what is read over the network.
    """
    home = None if raw is None else raw.store
    store = home if spread is None else spread
    assert store is not None  # without a place of its own a server has containers
    store, figures = checked(store, means), raw.figures if raw is not None else ()
    if cache is not None and cache.most_bytes and (place.is_shared or place.kind == "containers"):
        store, more = cached(store, cache, means, in_thread)
        figures = [*figures, *more]
    make_plain = raw.make_plain if raw is not None else None
    return OpenBlobs(
        measured(store, place.kind, means, meter),
        raw.presign if raw is not None else None,
        figures,
        make_plain(means.crc32c) if make_plain is not None else None,
    )


@contextmanager
def extra(place: Place) -> Iterator[None]:
    """Say what to install when the driver of a place is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place}: {error.name} is not installed; run: pip install 'measurand[fleet]'") from error


def checked(inner: BlobStore, means: Means) -> Checked:
    """Hold what is read to the checks made when it was written."""
    return Checked(inner, crc32c=means.crc32c, combine_crc32c=means.combine_crc32c, in_thread=means.in_thread)


def cached(inner: BlobStore, cache: Cache, means: Means, in_thread: Threads) -> tuple[BlobStore, Sequence[Figure]]:
    """Keep what is read on a disk of this machine."""
    from measurand.storage.blobs.cached import Cached

    store = Cached(inner, cache.folder, most_bytes=cache.most_bytes, in_thread=in_thread, crc32c=means.crc32c)
    return store, [
        Figure("measurand_cache_hit_bytes", "Bytes from the cache.", lambda: store.hit_bytes, is_count=True),
        Figure("measurand_cache_fetched_bytes", "Bytes fetched for it.", lambda: store.fetched_bytes, is_count=True),
    ]


def measured(inner: BlobStore, store: str, means: Means, meter: Meter) -> Measured:
    """Count and time what is asked of the store."""
    return Measured(inner, store=store, metrics=meter, monotonic=means.monotonic)


async def _memory_documents(_: Place) -> tuple[DocumentStore, None]:
    from measurand.storage.documents.memory import Memory

    return Memory(compile_pattern), None


async def _sqlite_documents(place: Place) -> tuple[DocumentStore, None]:
    from measurand.storage.documents.sqlite import Sqlite

    path = _path_of(place)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return await Sqlite.open(path, compile_pattern=compile_pattern), None


async def _mongo_documents(place: Place) -> tuple[DocumentStore, Renew]:
    from measurand.storage.documents.mongo import Mongo

    store = await Mongo.open(place.url, compile_pattern=compile_pattern)
    return store, store.renew


async def _memory_blobs(_: Place, _deployment_id: str, _in_thread: Threads) -> RawBlobs:
    from measurand.storage.blobs.memory import Memory

    async def look() -> Room:
        return Room()

    return RawBlobs(Memory(), look)


async def _local_blobs(place: Place, deployment_id: str, in_thread: Threads) -> RawBlobs:
    from measurand.storage.blobs.local import Local

    root = _path_of(place)
    await in_thread(_belong_to, root, deployment_id)
    store = Local(root, in_thread=in_thread)

    async def look() -> Room:
        await in_thread((root / "deployment").stat)  # a disk that is not mounted leaves an empty folder
        return Room(*await store.room())

    return RawBlobs(store, look, make_plain=store.plain)


async def _s3_blobs(place: Place, deployment_id: str, in_thread: Threads) -> RawBlobs:
    from measurand.storage.blobs.retrying import Retrying
    from measurand.storage.blobs.s3 import S3

    store = await S3.connect(place.url, in_thread=in_thread)
    check_mark(place, await store.claim(mark_text(deployment_id)), deployment_id)
    retrying = Retrying(store)
    figures = [
        Figure("measurand_blob_retries", "Tries beyond the first.", lambda: retrying.retries, is_count=True),
        Figure("measurand_blob_left_alone", "1 while calls fail at once.", lambda: retrying.is_leaving_alone),
    ]

    async def look() -> Room:
        with suppress(NotFound):  # it has answered
            await store.stat("nothing")
        return Room()

    return RawBlobs(retrying, look, store.presign, figures, store.plain)


DOCUMENTS: Mapping[str, Callable[[Place], Awaitable[tuple[DocumentStore, Renew | None]]]] = {
    "memory": _memory_documents,
    "sqlite": _sqlite_documents,
    "mongodb": _mongo_documents,
}
BLOBS: Mapping[str, Callable[[Place, str, Threads], Awaitable[RawBlobs]]] = {
    "memory": _memory_blobs,
    "file": _local_blobs,
    "s3": _s3_blobs,
}


def new_deployment_id() -> str:
    """Return an id that no deployment has."""
    return make_ulid(datetime.now(UTC), os.urandom)


def _belong_to(root: Path, deployment_id: str) -> None:
    place, mark = Place("file", root), root / "deployment"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not mark.exists():
        write_whole(mark, mark_text(deployment_id))
    check_mark(place, mark.read_text(), deployment_id)


def _path_of(place: Place) -> Path:
    assert place.path is not None
    return place.path
