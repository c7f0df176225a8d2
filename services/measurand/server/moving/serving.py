"""Does a server stand on a store? Told by the lock of its folder, or, on a network, by the lease that servers renew."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

from measurand.core.leases import LEASE_SECONDS, LEASES
from measurand.core.ports import DocumentStore
from measurand.server.config import Place

__all__ = ["is_folder_served", "is_served"]

LEASE = "background"
LOOK_SECONDS = 0.5


async def is_served(documents: Place, blobs: Place, store: DocumentStore, folder: Path | None = None) -> bool:
    """Tell whether a server is known to stand on these stores.

    Parameters
    ----------
    store : DocumentStore
        That of `documents`, open.
    folder : Path, optional
        The data folder, where there is one.

    Notes
    -----
    A server on one machine that was given both `--documents` and `--blobs` has no lock in any folder, and is not seen.
    """
    folders = {path for path in (folder, documents.path and documents.path.parent, blobs.path) if path is not None}
    if any(is_folder_served(path) for path in folders):
        return True
    return documents.is_shared and await _is_lease_moving(store)


def is_folder_served(folder: Path) -> bool:
    """Tell whether a server holds the lock of a data folder."""
    try:
        lock = (folder / "server.lock").open("rb")
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


async def _is_lease_moving(store: DocumentStore) -> bool:
    """Watch the lease for as long as a living holder would take to renew it."""
    clock = asyncio.get_running_loop().time
    first = await store.fetch(LEASES, LEASE)
    if first is None or first.body["owner"] == "":
        return False
    end = clock() + LEASE_SECONDS
    while clock() < end:
        await asyncio.sleep(LOOK_SECONDS)
        now = await store.fetch(LEASES, LEASE)
        if now is None or now.body["owner"] == "":
            return False
        if now.revision != first.revision:
            return True
    return False
