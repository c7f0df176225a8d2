"""Files and uploads as messages, and back."""

from __future__ import annotations

import mimetypes

from google.protobuf.message import Message

from measurand.core.file_documents import Digests, File, FileSpec
from measurand.core.limits import Limits
from measurand.core.names import parse_file
from measurand.core.uploads import Upload, UploadState
from measurand.services.messages import time_message
from measurand.services.policy_messages import policy_message, policy_of
from measurand.v1 import common_pb2, files_pb2

__all__ = ["digests_of", "file_message", "optional", "spec_of", "upload_message"]

_STATES = {
    UploadState.OPEN: files_pb2.UPLOAD_STATE_OPEN,
    UploadState.COMMITTING: files_pb2.UPLOAD_STATE_OPEN,
    UploadState.COMMITTED: files_pb2.UPLOAD_STATE_COMMITTED,
    UploadState.ABORTED: files_pb2.UPLOAD_STATE_ABORTED,
}


def file_message(file: File) -> files_pb2.File:
    """Return a file as callers see it; a type that nobody gave is guessed from the path."""
    return files_pb2.File(
        name=str(file.name),
        generation=file.generation,
        size=file.size,
        checksums=common_pb2.Checksums(crc32c=file.digests.crc32c, blake3=file.digests.blake3),
        content_type=file.content_type or mimetypes.guess_type(file.name.path)[0] or "application/octet-stream",
        attributes=dict(file.attributes),
        create_time=time_message(file.create_time),
        creator=file.creator,
        superseded=file.superseded,
    )


def upload_message(upload: Upload, limits: Limits) -> files_pb2.Upload:
    """Return an upload as callers see it."""
    spec = upload.spec
    return files_pb2.Upload(
        name=upload.name,
        file=files_pb2.FileSpec(
            name=str(spec.name),
            content_type=spec.content_type,
            attributes=dict(spec.attributes),
            if_generation=spec.if_generation,
            storage_policy=policy_message(spec.storage_policy),
        ),
        state=_STATES[upload.state],
        persisted_size=upload.persisted_size if upload.file is None else upload.file.size,
        epoch=upload.epoch,
        size=upload.size,
        chunk_bytes=limits.preferred_chunk_bytes,
        window_bytes=limits.window_bytes,
        create_time=time_message(upload.create_time),
        expire_time=time_message(upload.expire_time),
        committed_file=file_message(upload.file) if upload.file else None,
    )


def spec_of(message: files_pb2.FileSpec, *, field: str = "file.name") -> FileSpec:
    """Return what a new file shall be. Raises NameInvalid."""
    return FileSpec(
        name=parse_file(message.name, field=field),
        content_type=message.content_type,
        attributes=dict(message.attributes),
        if_generation=optional(message, "if_generation", message.if_generation),
        storage_policy=(
            policy_of(message.storage_policy, f"{field.removesuffix('.name')}.storage_policy")
            if message.HasField("storage_policy")
            else None
        ),
    )


def digests_of(message: common_pb2.Checksums) -> Digests:
    """Return the digests that a caller promises."""
    return Digests(optional(message, "crc32c", message.crc32c), message.blake3.lower())


def optional(message: Message, field: str, value: int) -> int | None:
    """Return the value of an optional field, or None where it is not set."""
    return value if message.HasField(field) else None
