"""Which documents name which blobs. A blob that no document names is garbage."""

from __future__ import annotations

from dataclasses import dataclass

from measurand.core.file_documents import FILES, SUPERSEDED, file_of
from measurand.core.filters.tree import Compare
from measurand.core.ports import Document, DocumentStore
from measurand.core.uploads import UPLOADS, UploadState, upload_of
from measurand.core.view import Scalar

__all__ = ["NAMING", "Named", "is_named", "named_by"]

NAMING = (FILES, UPLOADS, SUPERSEDED)
"""The collections whose documents name blobs, at the path `blob` of their view."""


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
    named = Compare("blob", "=", Scalar("s", key))
    for collection in NAMING:
        if await documents.count(collection, where=named, most=1):
            return True
    return False


def named_by(collection: str, document: Document) -> tuple[Named, ...]:
    """Return the blobs that a document of one of those collections stands on."""
    if collection != UPLOADS:
        return tuple(Named(extent.blob.key, extent.blob.size) for extent in file_of(document).extents)
    upload = upload_of(document)
    if upload.state not in (UploadState.OPEN, UploadState.COMMITTING):
        return ()  # a committed file has a document of its own
    return tuple(Named(piece.key, piece.size, piece.blob is None) for piece in upload.pieces if piece.size)
