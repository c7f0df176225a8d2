"""Sealing: a dataset is closed for good, what was on its way into it ends, and its arrays are laid out as plain Zarr.

One document write seals. Whatever changes a dataset in another document (a file, a chunk) looks at the dataset before
its first write and once more after its last, and takes itself back where it finds it sealed then (U9). So a change that
was acknowledged was made before the sealing, and none that comes after stays.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Protocol

from measurand.core.arrays.layout import Progress
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import (
    DATASETS,
    PLAIN,
    Dataset,
    Note,
    dataset_of,
    dataset_view,
    is_purging,
    require_shown,
)
from measurand.core.datasets import Datasets, check_etag
from measurand.core.fields import not_found
from measurand.core.filters.tree import Compare, Exists, Or
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import DatasetName
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.requests import make_request
from measurand.core.upload_ends import UploadEnds
from measurand.core.uploads import UPLOADS, UploadState, upload_of
from measurand.core.view import Scalar
from measurand.wire.errors import FailedPrecondition, GenerationMismatch, MeasurandError, NotFound, ResourceInUse

__all__ = ["LayOut", "SealArrays", "Sealing"]

AT_ONCE = 100


class SealArrays(Protocol):
    """What sealing asks of arrays."""

    async def in_use(self, name: DatasetName) -> bool:
        """Tell whether any array of the dataset is being appended to."""
        ...

    async def seal(self, name: DatasetName, *, force: bool) -> None:
        """Close all arrays of a dataset that is sealed, and fence who appends to them. May be called again."""
        ...


class LayOut(Protocol):
    """What lays the arrays of sealed datasets out as plain Zarr: `measurand.core.arrays.layout.Layout`."""

    async def lay_out(self, name: DatasetName) -> str:
        """Do it as the store can at once, and return the URL, else the empty string. May be called again."""
        ...

    async def publish(self, principal: Principal, name: DatasetName) -> Progress:
        """Do some more of it, and return how far it has come."""
        ...


class Sealing:
    """Seals datasets.

    Parameters
    ----------
    uploads : UploadEnds
        Ends those that are open.
    arrays, layout
        Close the arrays, and lay them out.
    """

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        datasets: Datasets,
        uploads: UploadEnds,
        means: Means,
        limits: Limits,
        *,
        arrays: SealArrays,
        layout: LayOut,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._datasets = datasets
        self._uploads = uploads
        self._means = means
        self._limits = limits
        self._arrays = arrays
        self._layout = layout

    async def seal(
        self, principal: Principal, name: DatasetName, *, etag: str = "", force: bool = False, request_id: str = ""
    ) -> Dataset:
        """Close a dataset for good. Sealing again changes nothing, and ends what an earlier call has left undone.

        Parameters
        ----------
        force : bool
            Abort the uploads into it that are open, and fence who appends to its arrays.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED.
        Conflict
            ETAG_MISMATCH: the dataset is not at `etag`.
        ResourceInUse
            RESOURCE_IN_USE: uploads or appends are open, and `force` is not set.
        FailedPrecondition
            STATE_WRONG: it is a draft.
        """
        await self._catalogs.require(principal, name.parent)
        now = self._means.now()
        request = make_request(request_id, now, self._limits, "seal", principal.name, str(name), etag, force)
        current = require_shown(await self._documents.fetch(DATASETS, str(name)), name, now)
        if not dataset_of(current).is_sealed:
            self._check(dataset_of(current), etag)
            if force:
                await self._end_uploads(principal, name)
            else:
                await self._require_idle(name)

            async def decide(present: Document) -> Document | None:
                before = dataset_of(require_shown(present, name, now))
                if before.is_sealed:
                    return None
                self._check(before, etag)
                after = replace(before, is_sealed=True)
                return await self._datasets.next_revision(after, Note(principal.name, ("state",)), request)

            current = await self._datasets.history.change(str(name), request, decide, not_found(name))
        return await self._finish(dataset_of(current))

    async def publish(self, principal: Principal, name: DatasetName) -> Progress:
        """Lay out some more of a sealed dataset as plain Zarr; to be called until it is done.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED.
        FailedPrecondition
            STATE_WRONG: it is not sealed.
        FeatureDisabled
            FEATURE_DISABLED: the store cannot hold it.
        """
        dataset = await self._datasets.require(principal, name)
        progress = await self._layout.publish(principal, name)
        if progress.is_done and progress.plain_url != (dataset.plain_url or ""):
            await self._keep_url(dataset, progress.plain_url)
        return progress

    async def lay_out_left(self) -> int:
        """Finish what a crash cut short behind the sealing, and return of how many datasets. For a background job.

        One that cannot be laid out, such as one with damaged chunks, does not keep the others from it.
        """
        found = await self._documents.find(DATASETS, where=Exists(PLAIN), limit=AT_ONCE)
        failed: MeasurandError | None = None
        for item in found:
            try:
                await self._finish(dataset_of(item.document))
            except MeasurandError as error:
                failed = error
        if failed is not None:
            raise failed
        return len(found)

    @staticmethod
    def _check(dataset: Dataset, etag: str) -> None:
        check_etag(dataset, etag)
        if dataset.is_draft:
            raise FailedPrecondition(
                f"{dataset.name} is a draft; commit it first", resource=dataset.name, state=dataset.state
            )

    async def _finish(self, sealed: Dataset) -> Dataset:
        """Do what comes behind the sealing, each step of which may be taken again."""
        if sealed.plain_url is not None:
            return sealed
        # The dataset is closed whatever becomes of who still writes: they are fenced, asked for or not.
        await self._arrays.seal(sealed.name, force=True)
        return await self._keep_url(sealed, await self._layout.lay_out(sealed.name))

    async def _keep_url(self, sealed: Dataset, url: str) -> Dataset:
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(DATASETS, str(sealed.name))
            if current is None or is_purging(current):
                break
            new = replace(dataset_of(current), plain_url=url)
            view = dataset_view(new, await self._datasets.reader.view(current.text))
            document = replace(current, body={**current.body, "plain_url": url}, view=view)
            if await self._documents.replace(DATASETS, document, expected_revision=current.revision):
                return new
        return replace(sealed, plain_url=url)  # the background job does it

    async def _require_idle(self, name: DatasetName) -> None:
        running = await self._open_uploads(name, limit=1)
        if running:
            raise ResourceInUse(
                f"{name}: the upload {running[0].key} to it is open; commit or abort it, or seal with force",
                resource=name,
            )
        if await self._arrays.in_use(name):
            raise ResourceInUse(
                f"{name}: an array in it is being appended to; close its writer, or seal with force", resource=name
            )

    async def _end_uploads(self, principal: Principal, name: DatasetName) -> None:
        """Abort what is open, and finish what is being committed: that can no longer be aborted (U8)."""
        while found := await self._open_uploads(name, limit=AT_ONCE):
            for document in found:
                upload = upload_of(document)
                if upload.state is UploadState.OPEN:
                    await self._uploads.abort(principal, upload.id)
                else:
                    with contextlib.suppress(GenerationMismatch, NotFound):  # it is thrown away
                        await self._uploads.commit(principal, upload.id, None, upload.digests, None)

    async def _open_uploads(self, name: DatasetName, *, limit: int) -> list[Document]:
        states = (UploadState.OPEN, UploadState.COMMITTING)
        where = Or(tuple(Compare("state", "=", Scalar("s", state.value)) for state in states))
        found = await self._documents.find(UPLOADS, scopes=[str(name)], where=where, limit=limit)
        return [item.document for item in found]
