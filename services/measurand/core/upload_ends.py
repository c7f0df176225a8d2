"""How uploads end: committed in steps that a crash cannot tear apart, aborted, or expired."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import replace

from measurand.core.digesting import Running, check_digests, read_through
from measurand.core.file_documents import Digests, File
from measurand.core.files import DatasetGate, Draft, Files
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import BlobStore, Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.uploads import (
    UPLOADS,
    Upload,
    UploadState,
    check_epoch,
    check_open,
    check_size,
    upload_document,
    upload_of,
)
from measurand.core.view import Scalar
from measurand.wire.errors import Contention, FailedPrecondition, GenerationMismatch, MeasurandError, NotFound, Sealed

__all__ = ["KnownDigests", "UploadEnds", "fetch_upload", "finish_pieces"]

_DIGESTS_KEPT = 1000


class KnownDigests:
    """The digests of what this process has seen persisted. Lost with it: a commit then reads the bytes again."""

    def __init__(self) -> None:
        self._running: OrderedDict[str, Running] = OrderedDict()

    def remember(self, upload: Upload, running: Running) -> None:
        """Keep the digests of an upload's persisted bytes; beyond a thousand the oldest are forgotten."""
        self._running[upload.id] = running
        self._running.move_to_end(upload.id)
        while len(self._running) > _DIGESTS_KEPT:
            self._running.popitem(last=False)

    def of(self, upload: Upload) -> Running | None:
        """Return the digests of exactly the bytes that are persisted, to go on from, if this process has them."""
        running = self._running.get(upload.id)
        return running.copy() if running is not None and running.size == upload.persisted_size else None

    def forget(self, upload: Upload) -> None:
        """Drop what is kept of an upload that has ended."""
        self._running.pop(upload.id, None)


class UploadEnds:
    """Commits, aborts and expires uploads."""

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        datasets: DatasetGate,
        files: Files,
        means: Means,
        limits: Limits,
        digests: KnownDigests,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._datasets = datasets
        self._files = files
        self._means = means
        self._limits = limits
        self._digests = digests
        self._commits: dict[str, asyncio.Task[File]] = {}

    async def commit(
        self,
        principal: Principal,
        upload_id: str,
        size: int | None,
        digests: Digests,
        expected_epoch: int | None,
    ) -> File:
        """Check size and digests and make the file visible. Committing again returns the same file.

        A commit that has to read many bytes again goes on after its caller has gone; the repeated call joins it (U6).

        Raises
        ------
        UploadIncomplete, SizeMismatch, DigestMismatch
            The bytes are not those that were promised. After DIGEST_MISMATCH the upload is aborted.
        GenerationMismatch
            GENERATION_MISMATCH: the file is not at the wanted generation; the upload is aborted.
        Sealed
            DATASET_SEALED: the dataset was sealed meanwhile.
        """
        upload = upload_of(await fetch_upload(self._documents, upload_id))
        if upload.state is UploadState.COMMITTED and upload.file is not None:
            return upload.file
        if upload.state is UploadState.OPEN:
            check_epoch(upload, expected_epoch)
            check_size(upload, size)
        task = self._commits.get(upload_id)
        if task is None:
            task = asyncio.create_task(self._commit(principal, upload_id, size, digests, expected_epoch))
            self._commits[upload_id] = task
            task.add_done_callback(lambda _: self._commits.pop(upload_id, None))
        return await asyncio.shield(task)

    async def abort(self, principal: Principal, upload_id: str) -> None:
        """Throw an upload and its bytes away. Aborting again, or aborting what has expired, changes nothing."""
        for _ in range(self._limits.max_retries):
            document = await self._documents.fetch(UPLOADS, f"uploads/{upload_id}")
            if document is None:
                return
            upload = upload_of(document)
            if upload.state is UploadState.ABORTED:
                return
            if upload.state is not UploadState.OPEN:
                raise FailedPrecondition(
                    f"{upload.name} is committed; delete the file {upload.spec.name} instead",
                    resource=upload.name,
                    state=upload.state.value,
                )
            if await self._throw_away(document):
                return
        raise Contention(f"uploads/{upload_id}: too many changes at once; try again", retry_seconds=0.1)

    async def expire(self) -> int:
        """End the uploads whose time has come, and return how many: aborted, or half-done commits finished."""
        now = Scalar("t", microseconds(self._means.now()))
        ended = 0
        found = await self._documents.find(UPLOADS, where=Compare("expires", "<=", now), limit=1000)
        for item in found:
            upload = upload_of(item.document)
            if upload.state is UploadState.OPEN:
                ended += await self._throw_away(item.document)
            elif upload.state is UploadState.COMMITTING:
                with contextlib.suppress(GenerationMismatch, NotFound, Sealed):  # it is thrown away
                    await self._roll_forward(Principal(upload.creator), item.document)
                ended += 1
            else:
                await self._documents.remove(UPLOADS, upload.name, expected_revision=item.document.revision)
        return ended

    async def _commit(
        self,
        principal: Principal,
        upload_id: str,
        size: int | None,
        digests: Digests,
        expected_epoch: int | None,
    ) -> File:
        for _ in range(self._limits.max_retries):
            document = await fetch_upload(self._documents, upload_id)
            upload = upload_of(document)
            if upload.state is UploadState.COMMITTED and upload.file is not None:
                return upload.file
            if upload.state is UploadState.COMMITTING:
                return await self._roll_forward(principal, document)
            check_open(upload)
            check_epoch(upload, expected_epoch)
            await self._datasets.require_open(principal, upload.dataset)
            total = check_size(upload, size)
            running = self._digests.of(upload)
            if running is None:
                document = await finish_pieces(self._documents, self._blobs, document)
                upload = upload_of(document)
                running = Running.begin(self._means)
                await read_through(running, self._blobs, upload.extents)
                self._digests.remember(upload, running)
            try:
                check_digests(upload.spec.name, digests, running.digests)
                check_digests(upload.spec.name, upload.digests, running.digests)
            except MeasurandError:
                await self._throw_away(document)
                raise
            committing = replace(
                upload,
                state=UploadState.COMMITTING,
                size=total,
                digests=running.digests,
                expire_time=self._means.now() + self._limits.upload_lifetime,
            )
            stored = await self._documents.replace(
                UPLOADS, upload_document(committing), expected_revision=document.revision
            )
            if stored is not None:
                return await self._roll_forward(principal, stored)
        raise Contention(f"uploads/{upload_id}: too many changes at once; try again", retry_seconds=0.1)

    async def _roll_forward(self, principal: Principal, document: Document) -> File:
        """Bring a commit to its end from wherever it stands; every step may be taken twice (U8)."""
        document = await finish_pieces(self._documents, self._blobs, document)
        upload = upload_of(document)
        assert upload.size is not None
        draft = Draft(upload.spec, upload.size, upload.digests, upload.extents, upload.name)
        try:
            file = await self._files.publish(principal, draft)
        except (GenerationMismatch, NotFound, Sealed):
            # The condition failed for good, or the dataset was purged or sealed. (What else fails may be tried again.)
            await self._throw_away(document)
            raise
        committed = replace(upload, state=UploadState.COMMITTED, file=file)
        # If somebody else was faster here, the outcome is the same.
        await self._documents.replace(UPLOADS, upload_document(committed), expected_revision=document.revision)
        self._digests.forget(upload)
        return file

    async def _throw_away(self, document: Document) -> bool:
        """Abort an upload and remove its bytes. False: it has changed meanwhile."""
        upload = upload_of(document)
        aborted = replace(
            upload,
            state=UploadState.ABORTED,
            pieces=(),
            expire_time=self._means.now() + self._limits.upload_lifetime,
        )
        if (
            await self._documents.replace(UPLOADS, upload_document(aborted), expected_revision=document.revision)
            is None
        ):
            return False
        self._digests.forget(upload)
        for piece in upload.pieces:
            # The collector takes what cannot be removed now.
            with contextlib.suppress(MeasurandError):
                await (self._blobs.discard(piece.key) if piece.blob is None else self._blobs.delete(piece.key))
        return True


async def finish_pieces(
    documents: DocumentStore, blobs: BlobStore, document: Document, *, keep_last: bool = False
) -> Document:
    """Turn what is staged into finished blobs, all but the present writer's own with `keep_last`."""
    upload = upload_of(document)
    if not keep_last:
        upload = replace(upload, pieces=tuple(piece for piece in upload.pieces if piece.size))
    pieces = list(upload.pieces)
    for index, piece in enumerate(pieces[:-1] if keep_last else pieces):
        if piece.blob is None:
            pieces[index] = replace(piece, blob=await blobs.finish(piece.key, piece.size))
    if tuple(pieces) == upload_of(document).pieces:
        return document
    finished = upload_document(replace(upload, pieces=tuple(pieces)))
    stored = await documents.replace(UPLOADS, finished, expected_revision=document.revision)
    if stored is None:
        raise Contention(f"{upload.name}: changed by somebody else meanwhile; try again", retry_seconds=0.1)
    return stored


async def fetch_upload(documents: DocumentStore, upload_id: str) -> Document:
    """Return the document of an upload. Raises NotFound once it has expired."""
    document = await documents.fetch(UPLOADS, f"uploads/{upload_id}")
    if document is None:
        raise NotFound(
            f"uploads/{upload_id}: there is no such upload, or it has expired; begin a new one",
            resource=f"uploads/{upload_id}",
        )
    return document
