"""The stores that a server stands on: one table from a word in the configuration to a small function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from measurand.core.means import Means, Threads
from measurand.core.ports import BlobStore, Document, DocumentStore
from measurand.core.ulid import make_ulid
from measurand.server.config import ConfigError, Place
from measurand.server.folder import write_whole
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.measured import Measured, Meter
from measurand.wire.errors import AlreadyExists, MeasurandError

__all__ = ["open_blobs", "open_documents"]


async def open_documents(place: Place) -> tuple[DocumentStore, str]:
    """Open a document store, and return it with the id of the deployment that it holds. Raises ConfigError."""
    try:
        store = await DOCUMENTS[place.kind](place)
        return store, await _deployment_id(store)
    except (MeasurandError, OSError) as error:
        raise ConfigError(f"{place}: {error}") from error


async def open_blobs(place: Place, deployment_id: str, means: Means, in_thread: Threads, meter: Meter) -> BlobStore:
    """Open the blob store that belongs to a deployment. Raises ConfigError."""
    try:
        raw = BLOBS[place.kind](place, deployment_id, in_thread)
    except (MeasurandError, OSError) as error:
        raise ConfigError(f"{place}: {error}") from error
    return measured(checked(raw, means), place.kind, means, meter)


def checked(inner: BlobStore, means: Means) -> Checked:
    """Hold what is read to the checks made when it was written."""
    return Checked(inner, crc32c=means.crc32c, combine_crc32c=means.combine_crc32c, in_thread=means.in_thread)


def measured(inner: BlobStore, store: str, means: Means, meter: Meter) -> Measured:
    """Count and time what is asked of the store."""
    return Measured(inner, store=store, metrics=meter, monotonic=means.monotonic)


async def _memory_documents(_: Place) -> DocumentStore:
    from measurand.storage.documents.memory import Memory

    return Memory(compile_pattern)


async def _sqlite_documents(place: Place) -> DocumentStore:
    from measurand.storage.documents.sqlite import Sqlite

    path = _path_of(place)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return await Sqlite.open(path, compile_pattern=compile_pattern)


def _memory_blobs(_: Place, _deployment_id: str, _in_thread: Threads) -> BlobStore:
    from measurand.storage.blobs.memory import Memory

    return Memory()


def _local_blobs(place: Place, deployment_id: str, in_thread: Threads) -> BlobStore:
    from measurand.storage.blobs.local import Local

    root = _path_of(place)
    _belong_to(root, deployment_id)
    return Local(root, in_thread=in_thread)


DOCUMENTS: Mapping[str, Callable[[Place], Awaitable[DocumentStore]]] = {
    "memory": _memory_documents,
    "sqlite": _sqlite_documents,
}
BLOBS: Mapping[str, Callable[[Place, str, Threads], BlobStore]] = {
    "memory": _memory_blobs,
    "file": _local_blobs,
}


async def _deployment_id(store: DocumentStore) -> str:
    """Return the id under which all servers over this document store know themselves; the first one makes it."""
    found = await store.fetch("deployments", "deployment")
    if found is None:
        import os
        from datetime import UTC, datetime

        new = Document("deployment", "", {"id": make_ulid(datetime.now(UTC), os.urandom)})
        try:
            found = await store.insert("deployments", new)
        except AlreadyExists:  # another server was faster
            found = await store.fetch("deployments", "deployment")
    assert found is not None
    return str(found.body["id"])


def _belong_to(root: Path, deployment_id: str) -> None:
    """Refuse the blobs of another document store: here nobody names them, so they would be collected as garbage."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = root / "deployment"
    if not mark.exists():
        write_whole(mark, f"{deployment_id}\n")
    owner = mark.read_text().strip()
    if owner != deployment_id:
        raise ConfigError(
            f"--blobs file://{root}: these are the blobs of another document store (deployment {owner}); name that one "
            f"with --documents, or another folder for blobs"
        )


def _path_of(place: Place) -> Path:
    assert place.path is not None
    return place.path
