"""The rules of an upload as functions: what it becomes when a writer opens it, when bytes persist, when it ends.

The states and the numbered rules (U1 to U8) are those of docs/how-a-byte-travels.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from measurand.core.extents import Extent, extents_from_json, extents_to_json, whole
from measurand.core.file_documents import Digests, File, FileSpec, file_from_json, file_to_json
from measurand.core.names import DatasetName, parse_file
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, Document, Json
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, Scalar
from measurand.wire.errors import (
    FailedPrecondition,
    InvalidArgument,
    OffsetGap,
    SizeMismatch,
    UploadIncomplete,
    WriterFenced,
)

__all__ = [
    "UPLOADS",
    "Piece",
    "Upload",
    "UploadState",
    "accept",
    "check_epoch",
    "check_open",
    "check_size",
    "opened",
    "persisted",
    "upload_document",
    "upload_of",
]

UPLOADS = "uploads"
"""The collection: key `uploads/{upload}`, scope the dataset."""


class UploadState(StrEnum):
    """Where an upload is in its life. `COMMITTING` is shown to callers as open: it only ever goes on to an end."""

    OPEN = "open"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that one writer has persisted.

    Parameters
    ----------
    size : int
        What is persisted of it; a staged blob may hold more, which does not count.
    blob : Blob, optional
        The finished blob. None: it is still staged.
    """

    key: str
    size: int
    blob: Blob | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A resumable write of one file.

    Parameters
    ----------
    epoch : int
        Counts the writers there have been. Only the newest may write.
    pieces : tuple of Piece
        The persisted bytes in order; the last may be what the present writer is staging.
    size, digests
        What was promised at the start; what was found out once it is committing.
    """

    id: str
    spec: FileSpec
    state: UploadState
    epoch: int
    pieces: tuple[Piece, ...]
    size: int | None
    digests: Digests
    creator: str
    create_time: datetime
    expire_time: datetime
    request: str = ""
    file: File | None = None

    @property
    def name(self) -> str:
        """`uploads/{upload}`."""
        return f"uploads/{self.id}"

    @property
    def dataset(self) -> DatasetName:
        """The dataset that the file will lie in."""
        return self.spec.name.parent

    @property
    def persisted_size(self) -> int:
        """How many bytes from the start survive the loss of the server (U1)."""
        return sum(piece.size for piece in self.pieces)

    @property
    def extents(self) -> tuple[Extent, ...]:
        """Where the bytes lie; all pieces are finished."""
        return tuple(whole(piece.blob) for piece in self.pieces if piece.blob is not None)


def accept(upload: Upload, received: int, offset: int, size: int) -> int:
    """Tell how many bytes at the beginning of a chunk are to be left out; all of them when it brings nothing new (U3).

    Raises
    ------
    OffsetGap
        OFFSET_GAP: the chunk begins behind what was received.
    SizeMismatch
        SIZE_MISMATCH: it reaches behind the promised size.
    """
    if offset < 0:
        raise InvalidArgument(f"{upload.name}: the offset {offset} is negative", field="offset")
    if offset > received:
        raise OffsetGap(
            f"{upload.name}: the chunk begins at {offset} but {received} bytes were received; "
            f"send again from {received}",
            expected_offset=received,
            offset=offset,
        )
    if upload.size is not None and offset + size > upload.size:
        raise SizeMismatch(
            f"{upload.name}: the chunk ends at {offset + size} but the file was promised to have {upload.size} bytes; "
            f"begin a new upload",
            expected=upload.size,
            actual=offset + size,
        )
    return min(received - offset, size)


def check_open(upload: Upload) -> None:
    """Raise FailedPrecondition unless the upload takes bytes."""
    if upload.state is not UploadState.OPEN:
        what = "aborted" if upload.state is UploadState.ABORTED else "committed"
        raise FailedPrecondition(
            f"{upload.name} is {what} and takes no more bytes; begin a new upload", resource=upload.name, state=what
        )


def check_epoch(upload: Upload, expected: int | None) -> None:
    """Raise WriterFenced when a newer writer has come than the caller knows of (U4)."""
    if expected is not None and expected != upload.epoch:
        raise WriterFenced(
            f"{upload.name}: writer {upload.epoch} has taken over from writer {expected}; this one must stop",
            resource=upload.name,
            epoch=upload.epoch,
        )


def check_size(upload: Upload, size: int | None) -> int:
    """Return the size that the file shall have, or raise when what is persisted is less or more."""
    wanted = upload.size if size is None else size
    if wanted is None:
        raise InvalidArgument(f"{upload.name}: give the size of the whole file to commit it", field="size")
    if upload.size not in (None, wanted):
        raise SizeMismatch(
            f"{upload.name}: {upload.size} bytes were promised at the start, {wanted} now; begin a new upload",
            expected=upload.size,
            actual=wanted,
        )
    there = upload.persisted_size
    if there < wanted:
        raise UploadIncomplete(
            f"{upload.name}: {there} of {wanted} bytes are persisted; send the rest from {there}, then commit",
            expected=wanted,
            persisted_size=there,
        )
    if there > wanted:
        raise SizeMismatch(
            f"{upload.name}: {there} bytes are persisted, more than the {wanted} of the commit; begin a new upload",
            expected=wanted,
            actual=there,
        )
    return wanted


def opened(upload: Upload, key: str, expire_time: datetime) -> Upload:
    """Return the upload with a new writer, which stages its bytes under a key of its own."""
    kept = tuple(piece for piece in upload.pieces if piece.size)
    return replace(upload, epoch=upload.epoch + 1, pieces=(*kept, Piece(key, 0)), expire_time=expire_time)


def persisted(upload: Upload, pieces: tuple[Piece, ...], size: int, expire_time: datetime) -> Upload:
    """Return the upload with so many bytes persisted by its writer; `pieces` are those before its own."""
    return replace(upload, pieces=(*pieces, replace(upload.pieces[-1], size=size)), expire_time=expire_time)


def upload_document(upload: Upload) -> Document:
    """Return the document of an upload. It names the blobs until the file does, or until they are to be collected."""
    view = [Entry("state", Scalar("s", upload.state.value)), Entry("catalog", Scalar("s", upload.dataset.catalog))]
    view.append(Entry("expires", Scalar("t", microseconds(upload.expire_time))))
    if upload.request:
        view.append(Entry("request", Scalar("s", upload.request.partition(" ")[0])))
    if upload.state in (UploadState.OPEN, UploadState.COMMITTING):
        view += [Entry("blob", Scalar("s", piece.key), in_list=True) for piece in upload.pieces]
    body: dict[str, Json] = {
        "id": upload.id,
        "spec": _spec_to_json(upload.spec),
        "state": upload.state.value,
        "epoch": upload.epoch,
        "pieces": [_piece_to_json(piece) for piece in upload.pieces],
        "size": upload.size,
        "crc32c": upload.digests.crc32c,
        "blake3": upload.digests.blake3,
        "creator": upload.creator,
        "created": microseconds(upload.create_time),
        "expires": microseconds(upload.expire_time),
        "request": upload.request,
        "file": file_to_json(upload.file) if upload.file else None,
    }
    return Document(upload.name, str(upload.dataset), body, view=view)


def upload_of(document: Document) -> Upload:
    """Return the upload that a document is."""
    body = document.body
    epoch, size, crc32c, created, expires = (body[key] for key in ("epoch", "size", "crc32c", "created", "expires"))
    pieces, spec, file = body["pieces"], body["spec"], body["file"]
    assert isinstance(epoch, int) and isinstance(created, int) and isinstance(expires, int)
    assert size is None or isinstance(size, int)
    assert crc32c is None or isinstance(crc32c, int)
    assert isinstance(pieces, list) and isinstance(spec, Mapping)
    return Upload(
        id=str(body["id"]),
        spec=_spec_from_json(spec),
        state=UploadState(str(body["state"])),
        epoch=epoch,
        pieces=tuple(_piece_from_json(piece) for piece in pieces),
        size=size,
        digests=Digests(crc32c, str(body["blake3"])),
        creator=str(body["creator"]),
        create_time=from_microseconds(created),
        expire_time=from_microseconds(expires),
        request=str(body["request"]),
        file=file_from_json(file) if isinstance(file, Mapping) else None,
    )


def _piece_to_json(piece: Piece) -> Json:
    finished = extents_to_json([whole(piece.blob)]) if piece.blob else None
    return {"key": piece.key, "size": piece.size, "finished": finished}


def _piece_from_json(value: Mapping[str, Json]) -> Piece:
    size, finished = value["size"], value["finished"]
    assert isinstance(size, int)
    return Piece(str(value["key"]), size, extents_from_json(finished)[0].blob if finished else None)


def _spec_to_json(spec: FileSpec) -> Json:
    return {
        "name": str(spec.name),
        "content_type": spec.content_type,
        "attributes": dict(spec.attributes),
        "if_generation": spec.if_generation,
        "storage_policy": None if spec.storage_policy is None else spec.storage_policy.to_json(),
    }


def _spec_from_json(value: Mapping[str, Json]) -> FileSpec:
    attributes, if_generation, policy = value["attributes"], value["if_generation"], value.get("storage_policy")
    assert isinstance(attributes, Mapping)
    assert if_generation is None or isinstance(if_generation, int)
    return FileSpec(
        parse_file(str(value["name"])),
        str(value["content_type"]),
        {key: str(item) for key, item in attributes.items()},
        if_generation,
        Policy.from_json(policy) if isinstance(policy, Mapping) else None,
    )
