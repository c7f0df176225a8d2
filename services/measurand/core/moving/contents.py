"""What the documents of a deployment are: every collection, and how each of its documents stands in another store.

Stores do not hand out views, so a view is made anew from what the document holds; what a view says must stand in the
body or the text. Store revisions begin anew as well: `stored`, which counts by them, becomes 1 in present documents and
0 in archived ones, all of which came before whatever happens in the new store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from measurand.core.arrays.blocks import BLOCKS, block_of, block_view
from measurand.core.arrays.documents import ARRAYS, STAGED, array_of, array_view, staged_view
from measurand.core.arrays.layout import LAYOUTS
from measurand.core.buffers.batches import BATCHES, batch_document, batch_of
from measurand.core.buffers.documents import (
    BUFFERS,
    SEGMENTS,
    blob_key,
    event_of,
    head_document,
    head_of,
    index_document,
    index_of,
)
from measurand.core.buffers.group_documents import (
    GIVEN_UP,
    GROUPS,
    given_up_of,
    given_up_view,
    group_document,
    group_of,
)
from measurand.core.buffers.remembering import EVENTS, MEMORIES, event_view, memory_view
from measurand.core.catalog_documents import CATALOG_HISTORY, CATALOGS, catalog_document, catalog_of
from measurand.core.containers.documents import BEATS as CONTAINER_BEATS
from measurand.core.containers.documents import CONTAINERS, COUNTS
from measurand.core.containers.healing.wanted import WANTED
from measurand.core.containers.placements import PLACEMENTS
from measurand.core.containers.rewrites import REWRITES
from measurand.core.counters import FOLLOWERS
from measurand.core.dataset_documents import (
    DATASETS,
    REVISIONS,
    dataset_of,
    dataset_view,
    is_purging,
    purging_view,
)
from measurand.core.deployments import DEPLOYMENTS
from measurand.core.extents import Extent
from measurand.core.file_documents import FILES, SUPERSEDED, file_document, file_of, superseded_view
from measurand.core.history import archived_view
from measurand.core.leases import LEASES
from measurand.core.metadata import MetadataReader
from measurand.core.naming import segments_in
from measurand.core.operations.documents import OPERATIONS, operation_of, operation_view
from measurand.core.ports import Blob, Document
from measurand.core.purging import GONE_DRAFTS
from measurand.core.registry.documents import BEATS, REGISTRATIONS, registration_of, registration_view
from measurand.core.registry.floor import FLOORS
from measurand.core.registry.lease_ids import SECRETS
from measurand.core.requests import REQUESTS, fixed_view
from measurand.core.uploads import UPLOADS, UploadState, upload_document, upload_of
from measurand.core.usage import USAGES
from measurand.core.view import View

__all__ = ["CONTENTS", "NOT_MOVED", "Content", "blobs_of", "content_of", "portable"]

MakeView = Callable[[Document, MetadataReader], Awaitable[View]]


@dataclass(frozen=True, slots=True)
class Content:
    """A collection that is a part of the deployment.

    Parameters
    ----------
    name : str
        The collection.
    view : callable
        Makes what one of its documents can be found by.
    owners : str
        The collection of what its documents lie in: their scopes are keys there. Empty: they lie in nothing.
    is_archive : bool
        Of what its owners were before. Its documents go only together with their owner.
    at_once : int
        So many of its documents are in memory together; some may have 4 MiB.
    """

    name: str
    view: MakeView
    owners: str = ""
    is_archive: bool = False
    at_once: int = 500


async def _catalog_view(document: Document, _: MetadataReader) -> View:
    return catalog_document(catalog_of(document), None).view


async def _dataset_view(document: Document, reader: MetadataReader) -> View:
    dataset = dataset_of(document)
    if is_purging(document):
        return purging_view(dataset.update_time)
    return dataset_view(dataset, await reader.view(document.text))


async def _archived_view(document: Document, _: MetadataReader) -> View:
    return archived_view(document.body)


async def _file_view(document: Document, _: MetadataReader) -> View:
    return file_document(file_of(document)).view


async def _superseded_view(document: Document, _: MetadataReader) -> View:
    expires = document.body["expires"]
    assert isinstance(expires, int)
    return superseded_view(file_of(document), expires)


async def _upload_view(document: Document, _: MetadataReader) -> View:
    return upload_document(upload_of(document)).view


async def _array_view(document: Document, _: MetadataReader) -> View:
    return array_view(array_of(document))


async def _staged_view(document: Document, _: MetadataReader) -> View:
    array, size = array_of(document), document.body["size"]
    assert array.expire_time is not None and isinstance(size, int)
    return staged_view(array.expire_time, size)


async def _block_view(document: Document, _: MetadataReader) -> View:
    return block_view(block_of(document))


async def _request_view(document: Document, _: MetadataReader) -> View:
    body: Mapping[str, Any] = document.body
    return fixed_view(body["request"]["expires"])


async def _head_view(document: Document, _: MetadataReader) -> View:
    return head_document(head_of(document)).view


async def _index_view(document: Document, _: MetadataReader) -> View:
    return index_document(index_of(document)).view


async def _batch_view(document: Document, _: MetadataReader) -> View:
    return batch_document(batch_of(document)).view


async def _event_view(document: Document, _: MetadataReader) -> View:
    return event_view(event_of(document.body))


async def _memory_view(document: Document, _: MetadataReader) -> View:
    body: Mapping[str, Any] = document.body
    return memory_view(body["expires"])


async def _group_view(document: Document, _: MetadataReader) -> View:
    return group_document(group_of(document)).view


async def _registration_view(document: Document, reader: MetadataReader) -> View:
    return registration_view(registration_of(document), await reader.view(document.text))


async def _no_view(document: Document, _: MetadataReader) -> View:
    return ()


async def _given_up_view(document: Document, _: MetadataReader) -> View:
    return given_up_view(str(document.body["uid"]), given_up_of(document))


async def _operation_view(document: Document, _: MetadataReader) -> View:
    return operation_view(operation_of(document))


CONTENTS: Sequence[Content] = (
    Content(OPERATIONS, _operation_view, at_once=100),
    Content(GROUPS, _group_view, BUFFERS, at_once=100),
    Content(GIVEN_UP, _given_up_view, BUFFERS),
    Content(BUFFERS, _head_view, CATALOGS, at_once=25),
    Content(UPLOADS, _upload_view, DATASETS),
    Content(FILES, _file_view, DATASETS),
    Content(SUPERSEDED, _superseded_view, DATASETS),
    Content(STAGED, _staged_view, DATASETS),
    Content(ARRAYS, _array_view, DATASETS, at_once=100),
    Content(BLOCKS, _block_view, DATASETS, at_once=100),
    Content(DATASETS, _dataset_view, CATALOGS, at_once=25),
    Content(REVISIONS, _archived_view, DATASETS, is_archive=True, at_once=25),
    Content(BATCHES, _batch_view),
    Content(SEGMENTS, _index_view, at_once=100),
    Content(EVENTS, _event_view, BUFFERS),
    Content(MEMORIES, _memory_view, BUFFERS),
    Content(CATALOGS, _catalog_view),
    Content(CATALOG_HISTORY, _archived_view, CATALOGS, is_archive=True),
    Content(REGISTRATIONS, _registration_view, at_once=100),
    Content(FLOORS, _no_view),
    Content(REQUESTS, _request_view),
)
"""In the order in which they are looked at: see `copying`."""

NOT_MOVED = (
    DEPLOYMENTS,
    LEASES,
    FOLLOWERS,
    USAGES,
    GONE_DRAFTS,
    LAYOUTS,
    BEATS,
    SECRETS,
    CONTAINERS,
    CONTAINER_BEATS,
    COUNTS,
    PLACEMENTS,
    WANTED,
    REWRITES,
)
"""What a store has of its own, or makes anew by itself. Containers belong to one deployment: the blobs in them go to
the blob store of the other.
"""


def content_of(name: str) -> Content:
    """Return the content with this name."""
    return next(content for content in CONTENTS if content.name == name)


def portable(content: Content, document: Document, *, with_running: bool) -> Document | None:
    """Return a document as it stands in another store, without its view; None if it does not go there.

    Parameters
    ----------
    with_running : bool
        Uploads that are not at their end go as well, but for one with staged bytes: those cannot be read; and so do
        arrays that nobody can see, and operations that have not ended.
    """
    if content.name == UPLOADS:
        upload = upload_of(document)
        if upload.state in (UploadState.OPEN, UploadState.COMMITTING):
            pieces = tuple(piece for piece in upload.pieces if piece.size)
            if not with_running or any(piece.blob is None for piece in pieces):
                return None
            document = upload_document(replace(upload, pieces=pieces))
    if content.name == OPERATIONS and not with_running and not operation_of(document).state.is_final:
        return None
    if content.name == STAGED and not with_running:
        return None
    if content.name in (BUFFERS, GROUPS) and "gone" in document.body:
        return None  # it keeps revisions from beginning anew, which they do in another store
    body = document.body
    if content.name == DATASETS and body.get("plain_url"):
        body = {**body, "plain_url": None}  # a place of this store: servers over the other lay it out there
    if "stored" in body:
        body = {**body, "stored": 0 if content.is_archive else 1}
    return Document(document.key, document.scope, body, document.text)


def blobs_of(collection: str, document: Document) -> Sequence[Blob]:
    """Return the blobs that a document of one of the naming collections stands on, each once and in full."""
    if collection in (BUFFERS, SEGMENTS):
        uid, segments = segments_in(collection, document)
        return [Blob(blob_key(uid, segment.ulid), segment.size) for segment in segments]
    if collection == BLOCKS:
        return block_of(document).blobs
    if collection == UPLOADS:
        upload = upload_of(document)
        if upload.state not in (UploadState.OPEN, UploadState.COMMITTING):
            return ()  # a committed file has a document of its own
        return [piece.blob for piece in upload.pieces if piece.blob is not None]
    return list(_whole(file_of(document).extents).values())


def _whole(extents: Sequence[Extent]) -> Mapping[str, Blob]:
    """Return the blobs of a file. One that is shared by small files is known only as far as this file needs it."""
    blobs: dict[str, Blob] = {}
    for extent in extents:
        known = blobs.get(extent.blob.key)
        if known is None or known.size < extent.blob.size:
            blobs[extent.blob.key] = extent.blob
    return blobs
