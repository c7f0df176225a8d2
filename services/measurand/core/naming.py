"""Which documents name which blobs. A blob that no document names is garbage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from measurand.core.arrays.blocks import BLOCKS, block_key, block_of, block_of_blob, names
from measurand.core.arrays.documents import ARRAYS, STAGED
from measurand.core.buffers.documents import BUFFERS, SEGMENTS, blob_key, head_of, index_of, uid_of_blob
from measurand.core.buffers.heads import Segment
from measurand.core.buffers.standing import is_gone
from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.filters.tree import Compare
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.uploads import UPLOADS, UploadState, upload_of
from measurand.core.view import Scalar

__all__ = ["NAMING", "Named", "forget", "is_named", "named_by", "namers_of", "segments_in"]

SEARCHED = (FILES, UPLOADS, SUPERSEDED)
"""The collections whose documents name blobs at the path `blob` of their view."""

NAMING = (*SEARCHED, BLOCKS, BUFFERS, SEGMENTS)
"""The collections whose documents name blobs. The key of an array's blob tells which index document may name it, that
of a buffer's blob tells the buffer: its head may name it, or an index of its older segments."""

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Named:
    """A blob that a document stands on.

    Parameters
    ----------
    size : int
        So many bytes of it at least must be there.
    staged : bool
        It is being written, and may be finished by now.
    """

    key: str
    size: int
    staged: bool = False


async def is_named(documents: DocumentStore, key: str) -> bool:
    """Tell whether some document names the blob with this key."""
    if block_of_blob(key) is not None or uid_of_blob(key) is not None:
        return bool(await namers_of(documents, key))
    named = Compare("blob", "=", Scalar("s", key))
    for collection in SEARCHED:
        if await documents.count(collection, where=named, most=1):
            return True
    return False


async def namers_of(documents: DocumentStore, key: str) -> Sequence[tuple[str, Document]]:
    """Return the documents that name a blob, each with its collection."""
    if (uid := uid_of_blob(key)) is not None:
        return await _segment_namers(documents, uid, key)
    if block_of_blob(key) is not None:
        document = await _index_document(documents, key)
        is_there = document is not None and names(document, key) and await _stands(documents, document)
        return [(BLOCKS, document)] if document is not None and is_there else []
    named = Compare("blob", "=", Scalar("s", key))
    found: list[tuple[str, Document]] = []
    for collection in SEARCHED:
        after: Position | None = None
        while page := await documents.find(collection, where=named, after=after, limit=AT_ONCE):
            found += [(collection, item.document) for item in page]
            after = page[-1].position
    return found


async def forget(documents: DocumentStore, key: str) -> None:
    """Remove the index document that a blob which is garbage belongs to, if its array is gone as well.

    A writer that a crash stopped has made it behind the end of the array. Nothing else would find it.
    """
    document = await _index_document(documents, key)
    if document is not None and not await _stands(documents, document):
        await documents.remove(BLOCKS, document.key, expected_revision=document.revision)


def named_by(collection: str, document: Document) -> tuple[Named, ...]:
    """Return the blobs that a document of one of those collections stands on."""
    if collection == BLOCKS:
        return tuple(Named(blob.key, blob.size) for blob in block_of(document).blobs)
    if collection in (BUFFERS, SEGMENTS):
        uid, segments = segments_in(collection, document)
        return tuple(Named(blob_key(uid, segment.ulid), segment.size) for segment in segments)
    if collection != UPLOADS:
        return tuple(Named(extent.blob.key, extent.blob.size) for extent in file_of(document).extents)
    upload = upload_of(document)
    if upload.state not in (UploadState.OPEN, UploadState.COMMITTING):
        return ()  # a committed file has a document of its own
    return tuple(Named(piece.key, piece.size, piece.blob is None) for piece in upload.pieces if piece.size)


def segments_in(collection: str, document: Document) -> tuple[str, Sequence[Segment]]:
    """Return the uid of the buffer that a head or an index of older segments is of, and the segments it names."""
    if collection == SEGMENTS:
        index = index_of(document)
        return index.uid, index.segments
    if is_gone(document):
        return "", ()
    head = head_of(document)
    return head.uid, head.segments


async def _segment_namers(documents: DocumentStore, uid: str, key: str) -> Sequence[tuple[str, Document]]:
    """Return the head and the index document that name a segment; for a while it may be both.

    The head first: what it names no more was written into an index before.
    """
    found: list[tuple[str, Document]] = []
    for collection, where in (
        (BUFFERS, Compare("uid", "=", Scalar("s", uid))),
        (SEGMENTS, Compare("blob", "=", Scalar("s", key))),
    ):
        for item in await documents.find(collection, where=where, limit=AT_ONCE):
            _, segments = segments_in(collection, item.document)
            if any(blob_key(uid, segment.ulid) == key for segment in segments):
                found.append((collection, item.document))
    return found


async def _index_document(documents: DocumentStore, key: str) -> Document | None:
    place = block_of_blob(key)
    return None if place is None else await documents.fetch(BLOCKS, block_key(*place))


async def _stands(documents: DocumentStore, index: Document) -> bool:
    """Tell whether the array of an index document is there: staged, seen, or gone not long ago.

    What is staged is looked for first, since it may come in sight between the two looks.
    """
    uid = index.body["uid"]
    if await documents.fetch(STAGED, str(uid)) is not None:
        return True
    shown = await documents.fetch(ARRAYS, str(index.body["array"]))
    return shown is not None and shown.body["uid"] == uid
