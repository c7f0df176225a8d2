"""The stores, opened without what a first server would make in them: a doctor leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from measurand.core.means import Means, Threads
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.config import Place
from measurand.server.doctor.findings import Report
from measurand.server.marks import parse_mark
from measurand.server.patterns import compile_pattern
from measurand.server.stores import checked, extra
from measurand.storage.blobs.retrying import Retrying
from measurand.wire.errors import NotFound

__all__ = ["check_owner", "deployment_of", "open_blobs", "open_documents", "patient"]

TIMEOUT_SECONDS = 12.0


async def open_documents(place: Place) -> DocumentStore:
    """Open the document store. Raises NotFound, and what its store raises."""
    with extra(place):
        return await DOCUMENTS[place.kind](place)


async def open_blobs(place: Place, means: Means, in_thread: Threads) -> BlobStore:
    """Open the blob store, as another server each time. What it does not answer is not asked again."""
    with extra(place):
        return checked(await BLOBS[place.kind](place, in_thread), means)


def patient(blobs: BlobStore) -> BlobStore:
    """Return the store with more tries: for a look at millions, which one lost answer must not end."""
    return Retrying(blobs)


async def deployment_of(report: Report, store: DocumentStore) -> str:
    """Return the id of the deployment; empty if no server has used the store yet."""
    deployment_id = ""
    async with report.trying("documents: deployment", "to read the id of the deployment") as note:
        found = await store.fetch("deployments", "deployment")
        deployment_id = "" if found is None else str(found.body["id"])
        note.message = f"this is deployment {deployment_id}" if found else "no server has used this store yet"
    return deployment_id


async def check_owner(report: Report, place: Place, deployment_id: str) -> bool:
    """See whose blobs these are, and tell whether they belong to the documents.

    Parameters
    ----------
    deployment_id : str
        That of the documents; empty if it is not known, or if there is none yet.
    """
    owner = ""
    async with report.trying("blobs: owner", "to read whose blobs these are") as note:
        owner = parse_mark(await OWNERS[place.kind](place)).owner
        if deployment_id and owner and owner != deployment_id:
            message = f"they are of deployment {owner}, and the documents are of deployment {deployment_id}"
            note.fail(message, "name with --documents and --blobs what belongs together")
        elif deployment_id and not owner:
            message = f"no server has used this place yet; one over these documents will make it {deployment_id}'s"
            note.warn(message, "if there should be blobs already, name the right place with --blobs")
        else:
            note.message = (
                f"these are the blobs of deployment {owner}" if owner else "no server has used this place yet"
            )
    return owner == deployment_id


async def _sqlite(place: Place) -> DocumentStore:
    from measurand.storage.documents.sqlite import Sqlite

    path = _path_of(place)
    if not path.is_file():
        raise NotFound(f"{path}: there is no such file; name a database with --documents")
    return await Sqlite.open(path, compile_pattern=compile_pattern)


async def _mongo(place: Place) -> DocumentStore:
    from measurand.storage.documents.mongo import Mongo
    from measurand.storage.documents.mongo.connection import Connection

    # Not by `Mongo.open`, which makes indexes: among many documents that is hard work, and hides what was missing.
    connection = await Connection.open(place.url, timeout_seconds=TIMEOUT_SECONDS)
    return Mongo(place.url, connection, compile_pattern=compile_pattern, timeout_seconds=TIMEOUT_SECONDS, history=None)


async def _local(place: Place, in_thread: Threads) -> BlobStore:
    from measurand.storage.blobs.local import Local

    return Local(_path_of(place), in_thread=in_thread)


async def _s3(place: Place, in_thread: Threads) -> BlobStore:
    from measurand.storage.blobs.s3 import S3

    return await S3.connect(place.url, in_thread=in_thread)


async def _owner_of_folder(place: Place) -> str:
    mark = _path_of(place) / "deployment"
    return mark.read_text().strip() if mark.exists() else ""


async def _owner_of_bucket(place: Place) -> str:
    from measurand.storage.blobs.s3.features import owner_of
    from measurand.storage.blobs.s3.location import parse_location

    return await asyncio.to_thread(owner_of, parse_location(place.url))


def _path_of(place: Place) -> Path:
    assert place.path is not None
    return place.path


DOCUMENTS: Mapping[str, Callable[[Place], Awaitable[DocumentStore]]] = {"sqlite": _sqlite, "mongodb": _mongo}
BLOBS: Mapping[str, Callable[[Place, Threads], Awaitable[BlobStore]]] = {"file": _local, "s3": _s3}
OWNERS: Mapping[str, Callable[[Place], Awaitable[str]]] = {"file": _owner_of_folder, "s3": _owner_of_bucket}
