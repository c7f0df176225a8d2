"""Uploads: begun, taken over by a newer writer, written chunk by chunk. How they end is `upload_ends`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from measurand.core.digesting import Running, check_chunk
from measurand.core.file_documents import Digests, FileSpec, check_spec, file_of
from measurand.core.files import DatasetGate, Files
from measurand.core.filters.tree import And, Compare
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import CatalogName, DatasetName
from measurand.core.placement.policies import Policy
from measurand.core.policies import Policies
from measurand.core.ports import BlobStore, Buffer, DocumentStore, Found, Position
from measurand.core.principal import Principal
from measurand.core.ulid import make_ulid
from measurand.core.upload_ends import KnownDigests, UploadEnds, fetch_upload, finish_pieces
from measurand.core.upload_writer import Ack, UploadWriter
from measurand.core.uploads import (
    UPLOADS,
    Piece,
    Upload,
    UploadState,
    accept,
    check_epoch,
    check_open,
    opened,
    upload_document,
    upload_of,
)
from measurand.core.view import Scalar
from measurand.wire.errors import (
    Contention,
    InvalidArgument,
    RequestIdReused,
    WriterFenced,
)

__all__ = ["Uploads"]


class Uploads:
    """The uploads of all datasets. Any server of a fleet may take any step of any of them.

    Attributes
    ----------
    ends : UploadEnds
        Commits, aborts and expires them.
    """

    def __init__(
        self,
        documents: DocumentStore,
        blobs: BlobStore,
        datasets: DatasetGate,
        files: Files,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._blobs = blobs
        self._datasets = datasets
        self._files = files
        self._means = means
        self._limits = limits
        self._policies = Policies(documents, means)
        self._digests = KnownDigests()
        self.ends = UploadEnds(documents, blobs, datasets, files, means, limits, self._digests)

    async def create(
        self, principal: Principal, spec: FileSpec, size: int | None, digests: Digests, request: str
    ) -> Upload:
        """Begin an upload; its dataset must be open. Repeated with the same request it gives the same upload."""
        check_spec(spec)
        if size is not None and size < 0:
            raise InvalidArgument(f"{spec.name}: the size {size} is negative", field="size")
        await self._datasets.require_open(principal, spec.name.parent)
        if request and (begun := await self._by_request(spec, request)):
            return begun
        current = (await self._files.fetch_many([spec.name])).get(str(spec.name))
        self._files.check_generation(spec, file_of(current) if current else None)
        now = self._means.now()
        upload = Upload(
            id=make_ulid(now, self._means.random_bytes),
            spec=spec,
            state=UploadState.OPEN,
            epoch=0,
            pieces=(),
            size=size,
            digests=digests,
            creator=principal.name,
            create_time=now,
            expire_time=now + self._limits.upload_lifetime,
            request=request,
        )
        await self._documents.insert(UPLOADS, upload_document(upload))
        self._digests.remember(upload, Running.begin(self._means))
        return upload

    async def get(self, principal: Principal, upload_id: str) -> Upload:
        """Return an upload. Raises NotFound once it has expired."""
        return upload_of(await fetch_upload(self._documents, upload_id))

    async def find(
        self, principal: Principal, parent: DatasetName | CatalogName, after: Position | None, limit: int
    ) -> Sequence[Found]:
        """Return the uploads into a dataset or catalog that are not finished, oldest first."""
        unfinished = Compare("state", "=", Scalar("s", UploadState.OPEN.value))
        if isinstance(parent, DatasetName):
            await self._datasets.require(principal, parent)
            return await self._documents.find(UPLOADS, scopes=[str(parent)], where=unfinished, after=after, limit=limit)
        catalog = Compare("catalog", "=", Scalar("s", parent.catalog))
        return await self._documents.find(UPLOADS, where=And((unfinished, catalog)), after=after, limit=limit)

    async def open_writer(
        self,
        principal: Principal,
        upload_id: str,
        expected_epoch: int | None,
        acknowledge: Callable[[Ack], Awaitable[None]],
    ) -> UploadWriter:
        """Become the one writer of an upload and fence the one before (U4).

        Raises
        ------
        WriterFenced
            WRITER_FENCED: `expected_epoch` is given and a newer writer has come.
        FailedPrecondition
            STATE_WRONG: it is committed or aborted.
        """
        for _ in range(self._limits.max_retries):
            document = await fetch_upload(self._documents, upload_id)
            upload = upload_of(document)
            check_open(upload)
            check_epoch(upload, expected_epoch)
            await self._datasets.require_open(principal, upload.dataset)
            key = f"files/{upload.id.lower()}.{upload.epoch + 1}"
            taken = opened(upload, key, self._means.now() + self._limits.upload_lifetime)
            stored = await self._documents.replace(UPLOADS, upload_document(taken), expected_revision=document.revision)
            if stored is not None:
                break
        else:
            raise Contention(f"uploads/{upload_id}: too many writers at once; try again", retry_seconds=0.1)
        # The writer before is fenced from here on. What it had staged is closed at what it had persisted.
        stored = await finish_pieces(self._documents, self._blobs, stored, keep_last=True)
        digest = self._digests.of(taken)
        policy = await self._policy(upload)
        return UploadWriter(
            self._documents, self._blobs, self._means, self._limits, stored, digest, acknowledge, policy
        )

    def closed(self, writer: UploadWriter) -> None:
        """Take back from a writer that has ended what it knows, for the commit or for the next writer."""
        if writer.digest is not None:
            self._digests.remember(writer.upload, writer.digest)

    async def write_chunk(
        self,
        principal: Principal,
        upload_id: str,
        offset: int,
        data: Buffer,
        crc32c: int | None,
        expected_epoch: int | None,
    ) -> Upload:
        """Store one chunk by itself and return the upload once it is persisted. Fences nobody.

        Each such chunk is a blob of its own, so that two callers of one upload can never mix their bytes.
        """
        check_chunk(self._means, f"uploads/{upload_id}", offset, data, crc32c)
        for _ in range(self._limits.max_retries):
            document = await fetch_upload(self._documents, upload_id)
            upload = upload_of(document)
            check_open(upload)
            if expected_epoch is None and upload.epoch:
                raise WriterFenced(
                    f"{upload.name}: a stream has been opened; give its expected_epoch, which is {upload.epoch}",
                    resource=upload.name,
                    epoch=upload.epoch,
                )
            check_epoch(upload, expected_epoch)
            skip = accept(upload, upload.persisted_size, offset, len(data))
            if skip == len(data):
                return upload
            await self._datasets.require_open(principal, upload.dataset)
            serial = make_ulid(self._means.now(), self._means.random_bytes).lower()
            part = memoryview(data)[skip:]
            key = f"files/{upload.id.lower()}.{upload.epoch}.{serial}"
            blob = await self._blobs.put(key, [part], policy=await self._policy(upload))
            kept = tuple(piece for piece in upload.pieces if piece.size)
            grown = replace(
                upload,
                pieces=(*kept, Piece(blob.key, blob.size, blob)),
                expire_time=self._means.now() + self._limits.upload_lifetime,
            )
            if await self._documents.replace(UPLOADS, upload_document(grown), expected_revision=document.revision):
                digest = self._digests.of(upload)
                if digest is not None:
                    digest.add([part])
                    self._digests.remember(grown, digest)
                return grown
            await self._blobs.delete(blob.key)
        raise Contention(f"uploads/{upload_id}: too many writers at once; try again", retry_seconds=0.1)

    async def _policy(self, upload: Upload) -> Policy | None:
        return upload.spec.storage_policy or await self._policies.of(upload.dataset)

    async def _by_request(self, spec: FileSpec, request: str) -> Upload | None:
        wanted = Compare("request", "=", Scalar("s", request.partition(" ")[0]))
        found = await self._documents.find(UPLOADS, scopes=[str(spec.name.parent)], where=wanted, limit=1)
        if not found:
            return None
        upload = upload_of(found[0].document)
        if upload.request != request:
            raise RequestIdReused(f"{spec.name}: this request_id was used before for another upload; make a new one")
        return upload
