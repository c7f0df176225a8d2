"""What a doctor does, in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from measurand.core.means import Means, Threads
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.config import Config, Place
from measurand.server.doctor.blobs import try_blobs
from measurand.server.doctor.containers import look_at_containers
from measurand.server.doctor.deep import Progress, examine_all
from measurand.server.doctor.documents import try_documents
from measurand.server.doctor.embedded import check_database, check_database_deeply
from measurand.server.doctor.findings import Report
from measurand.server.doctor.folders import check_disk, check_folder, check_format
from measurand.server.doctor.network import check_bucket, check_replica_set
from measurand.server.doctor.opening import check_owner, deployment_of, open_blobs, open_documents, patient
from measurand.server.doctor.speed import try_speed
from measurand.server.doctor.surroundings import check_limits, check_server, tell_versions
from measurand.server.means import in_threads, make_means, make_threads
from measurand.server.spread_blobs import home_of

__all__ = ["examine"]


async def examine(
    report: Report, config: Config, progress: Progress, *, deep: bool, bytes_per_second: float | None
) -> None:
    """Look at the machine, then at both stores, and with `deep` at all that is in them."""
    tell_versions(report)
    check_limits(report, config)
    if not _look_at_folders(report, config):
        return
    if config.uses_folder:
        await check_server(report, config.data)
    async with AsyncExitStack() as opening:
        hashing, storing = make_threads("hash"), make_threads("store", 4)
        for threads in (hashing, storing):
            opening.push_async_callback(asyncio.to_thread, threads.shutdown)
        means = make_means(hashing)
        documents = await _look_at_documents(report, config.documents_place, means, opening)
        deployment_id = "" if documents is None else await deployment_of(report, documents)
        place, in_thread = config.blobs_place, in_threads(storing)
        if documents is not None:
            place = await home_of(documents, place)
        blobs: BlobStore | None = None
        belongs = True
        if place.kind != "containers":
            blobs = await _look_at_blobs(report, place, means, in_thread, opening)
            if blobs is None:
                return
            belongs = await check_owner(report, place, deployment_id)
        if documents is None or not belongs:
            return
        spread = await look_at_containers(report, documents, place, deployment_id, means, in_thread, opening)
        blobs = spread or blobs
        if not deep or blobs is None:
            return
        if not deployment_id:
            report.ok("deep: all", "nothing is stored yet")
            return
        if path := config.documents_place.path:
            await check_database_deeply(report, path)
        limits, blobs = config.limits.make(), patient(blobs)
        await examine_all(report, documents, blobs, means, limits, progress, bytes_per_second=bytes_per_second)


def _look_at_folders(report: Report, config: Config) -> bool:
    """Look at all folders that are written to, and tell whether that is safe."""
    folders: dict[Path, None] = {}
    if config.uses_folder:
        folders[config.data] = None
    if path := config.documents_place.path:
        folders[path.parent] = None
    if path := config.blobs_place.path:
        folders[path] = None
    are_safe = [check_folder(report, folder) for folder in folders]
    if all(are_safe) and config.uses_folder:
        are_safe.append(check_format(report, config.data))
    return all(are_safe)


async def _look_at_documents(
    report: Report, place: Place, means: Means, opening: AsyncExitStack
) -> DocumentStore | None:
    """Open the document store until `opening` ends, and try it. None: it cannot be opened."""
    store: DocumentStore | None = None
    async with report.trying("documents: open", f"to open {place}") as note:
        store = await open_documents(place)
        opening.push_async_callback(store.close)
        note.message = f"{place} is open"
    if store is None:
        return None
    await try_documents(report, store, means)
    if place.path is None:
        await check_replica_set(report, place)
    else:
        await check_database(report, place.path)
        check_disk(report, "documents", place.path.parent)
    return store


async def _look_at_blobs(
    report: Report, place: Place, means: Means, in_thread: Threads, opening: AsyncExitStack
) -> BlobStore | None:
    """Open the blob store until `opening` ends, and try it. None: it cannot be opened."""
    store: BlobStore | None = None
    async with report.trying("blobs: open", f"to open {place}") as note:
        store = await open_blobs(place, means, in_thread)
        opening.push_async_callback(store.close)
        note.message = f"{place} is open"
    if store is None:
        return None
    if await try_blobs(report, store, partial(open_blobs, place, means, in_thread), means):
        await try_speed(report, store, means)
    if place.path is None:
        await check_bucket(report, place, means)
    else:
        check_disk(report, "blobs", place.path)
    return store
