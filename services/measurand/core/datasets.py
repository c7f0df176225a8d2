"""Datasets: made, read, changed, deleted and brought back. Finding them is `search`, following them `watch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import (
    DATASETS,
    REVISIONS,
    Dataset,
    Note,
    dataset_document,
    dataset_of,
    is_purging,
    require_shown,
    require_unsealed,
)
from measurand.core.dataset_edits import MAX_CHANGED_PATHS, DatasetEdit, apply_edit, check_edit
from measurand.core.dataset_making import Making, NewDataset
from measurand.core.dataset_revisions import Revisions
from measurand.core.dataset_search import EVERYTHING, Search, Selection
from measurand.core.dataset_watch import Watch
from measurand.core.fields import not_found
from measurand.core.filters.evaluate import CompilePattern
from measurand.core.history import History
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import Metadata, MetadataReader
from measurand.core.names import CatalogName, DatasetName
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.purging import Also, AlsoOfCatalog, Purging
from measurand.core.requests import Request, make_request
from measurand.wire.errors import Conflict, FailedPrecondition, InvalidArgument, MeasurandError, NotFound, Sealed

__all__ = ["Datasets", "check_etag"]


class Datasets:
    """All datasets.

    Parameters
    ----------
    compile_pattern : callable
        The engine of regular expressions, for filters.
    purge_also : sequence of callable
        Remove what else there is of a dataset that is purged.
    purge_catalog_also : sequence of callable
        Remove what lies in a catalog that is purged beside its datasets.

    Attributes
    ----------
    search : Search
        Finds them.
    watch : Watch
        Follows them.
    revisions : Revisions
        Reads what they were.
    history, reader, purging
        What the other modules of datasets work with.
    """

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        means: Means,
        limits: Limits,
        *,
        compile_pattern: CompilePattern,
        purge_also: Sequence[Also] = (),
        purge_catalog_also: Sequence[AlsoOfCatalog] = (),
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._means = means
        self._limits = limits
        self.reader = MetadataReader(means, limits)
        self.history = History(documents, means, limits, collection=DATASETS, archive=REVISIONS)
        self.purging = Purging(documents, means, also=purge_also, also_of_catalog=purge_catalog_also)
        self._making = Making(documents, catalogs, self.history, self.reader, self.purging, means, limits)
        self.search = Search(documents, catalogs, self.reader, means, limits, compile_pattern=compile_pattern)
        self.watch = Watch(
            documents, self.history, self.search, self.reader, means, limits, compile_pattern=compile_pattern
        )

        self.revisions = Revisions(self._fetch, self.history, means, limits)

    async def create(self, principal: Principal, parent: CatalogName, new: NewDataset) -> Dataset:
        """Make a dataset. Durable when it returns; a repeated request gets the first outcome.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: of the catalog or a parent.
        AlreadyExists
            RESOURCE_EXISTS: the id is taken.
        InvalidArgument
            FIELD_INVALID, NAME_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        """
        [outcome] = await self.create_many(principal, parent, [new])
        if isinstance(outcome, MeasurandError):
            raise outcome
        return outcome

    async def create_many(
        self, principal: Principal, parent: CatalogName, new: Sequence[NewDataset]
    ) -> list[Dataset | MeasurandError]:
        """Make up to 100 datasets, each by itself, and return for each the dataset or what went wrong."""
        return await self._making.make(principal, parent, new)

    async def get(
        self,
        principal: Principal,
        name: DatasetName,
        *,
        show_deleted: bool = False,
        selection: Selection = EVERYTHING,
    ) -> Dataset:
        """Return one dataset.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND; RESOURCE_DELETED unless `show_deleted`.
        """
        self.reader.check_paths(selection.metadata_paths)
        document = await self._fetch(principal, name, show_deleted=show_deleted)
        dataset = dataset_of(document)
        if selection.metadata_paths:
            metadata = await self.reader.selected(dataset.metadata, selection.metadata_paths)
            return replace(dataset, metadata=metadata)
        return dataset

    async def update(
        self, principal: Principal, name: DatasetName, edit: DatasetEdit, *, etag: str = "", request_id: str = ""
    ) -> Dataset:
        """Change a dataset in one step, which makes one revision. A change that changes nothing makes none.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: of the dataset or a new parent.
        Conflict
            ETAG_MISMATCH: the dataset is not at `etag`. CONTENTION: others were faster too often.
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        """
        edit = check_edit(edit)
        replacement: Metadata | None = None
        patch: Metadata | None = None
        if "metadata" in edit.fields:
            source = "{}" if edit.draft.metadata is None else edit.draft.metadata
            replacement = await self.reader.read(source, field="dataset.metadata")
        if edit.patch is not None:
            patch = await self.reader.read(edit.patch, field="metadata_patch")
        await self._catalogs.require(principal, name.parent)
        now = self._means.now()
        asked = replace(edit, draft=replace(edit.draft, metadata=None), patch=None)
        texts = [metadata.text if metadata else "" for metadata in (replacement, patch)]
        request = make_request(request_id, now, self._limits, "update", principal.name, str(name), etag, asked, *texts)

        async def decide(current: Document) -> Document | None:
            before = dataset_of(require_shown(current, name, now))
            check_etag(before, etag)
            after, changed = apply_edit(before, edit)
            await self._check_parents(principal, after, before, now)
            metadata, paths = await self._edited(before, replacement, patch)
            if not changed and not paths:
                return None
            if paths or changed != ["tags"]:
                require_unsealed(before)
            note = Note(principal.name, tuple((changed + paths)[:MAX_CHANGED_PATHS]), edit.comment)
            return await self.next_revision(after, note, request, metadata=metadata)

        return dataset_of(await self.history.change(str(name), request, decide, not_found(name)))

    async def delete(self, principal: Principal, name: DatasetName, *, etag: str = "", request_id: str = "") -> Dataset:
        """Delete a dataset; it can be undeleted for the catalog's undelete window. Deleting again changes nothing.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND.
        Conflict
            ETAG_MISMATCH: the dataset is not at `etag`.
        """
        catalog = await self._catalogs.require(principal, name.parent)
        now = self._means.now()
        request = make_request(request_id, now, self._limits, "delete", principal.name, str(name), etag)

        async def decide(current: Document) -> Document | None:
            before = dataset_of(require_shown(current, name, now, show_deleted=True))
            if before.state == "deleted":
                return None
            check_etag(before, etag)
            # Nobody has seen a draft, so nobody can want it back.
            purge_time = now if before.is_draft else now + self._catalogs.window(catalog)
            after = replace(before, delete_time=now, purge_time=purge_time)
            return await self.next_revision(after, Note(principal.name, ("state",)), request)

        return dataset_of(await self.history.change(str(name), request, decide, not_found(name)))

    async def undelete(self, principal: Principal, name: DatasetName, *, request_id: str = "") -> Dataset:
        """Bring back a deleted dataset.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none, or its time is over.
        FailedPrecondition
            STATE_WRONG: it is not deleted.
        """
        await self._catalogs.require(principal, name.parent)
        now = self._means.now()
        request = make_request(request_id, now, self._limits, "undelete", principal.name, str(name))

        async def decide(current: Document) -> Document | None:
            before = dataset_of(require_shown(current, name, now, show_deleted=True))
            if before.state != "deleted":
                raise FailedPrecondition(
                    f"{name} is not deleted; there is nothing to do", resource=name, state=before.state
                )
            after = replace(before, delete_time=None, purge_time=None)
            return await self.next_revision(after, Note(principal.name, ("state",)), request)

        return dataset_of(await self.history.change(str(name), request, decide, not_found(name)))

    async def purge(self, principal: Principal, name: DatasetName, *, etag: str = "", force: bool = False) -> None:
        """Remove a dataset, its history and its files for good.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND.
        FailedPrecondition
            STATE_WRONG: it was not deleted first, and `force` is not set.
        Conflict
            ETAG_MISMATCH: the dataset is not at `etag`.
        """
        await self._catalogs.require(principal, name.parent)
        is_begun = False
        while True:
            current = await self._documents.fetch(DATASETS, str(name))
            if current is None:
                if is_begun:  # somebody else, such as the work in the background, has come to the end of it
                    return
                raise not_found(name)
            if not is_purging(current):  # else a purge was cut short: finish it
                dataset = dataset_of(current)
                check_etag(dataset, etag)
                if dataset.state != "deleted" and not force:
                    raise FailedPrecondition(
                        f"{name} is not deleted; delete it first, or use force", resource=name, state=dataset.state
                    )
            if await self.purging.purge_at(name, current):
                return
            is_begun = True

    async def purge_expired(self) -> int:
        """Remove the deleted datasets and catalogs whose time is over, and return how many. For a background job.

        The request ids that need not be remembered any longer go with them.
        """
        purged = await self.purging.purge_expired()
        await self._making.forget_requests()
        return purged

    # What files ask of the datasets they lie in.

    async def require(self, principal: Principal, name: DatasetName) -> Dataset:
        """Return the dataset if what is in it can be read, or raise NotFound."""
        return dataset_of(await self._fetch(principal, name))

    async def require_open(self, principal: Principal, name: DatasetName) -> Dataset:
        """Return the dataset if what is in it can be changed, or raise NotFound or Sealed."""
        dataset = await self.require(principal, name)
        require_unsealed(dataset)
        return dataset

    async def require_catalog(self, principal: Principal, name: CatalogName) -> object:
        """Return the catalog if it is there, or raise NotFound."""
        return await self._catalogs.require(principal, name)

    async def is_there(self, name: DatasetName) -> bool:
        """Tell whether the dataset has a document that is not being purged. Deleted ones are still there."""
        document = await self._documents.fetch(DATASETS, str(name))
        return document is not None and not is_purging(document)

    async def refusal(self, name: DatasetName) -> NotFound | Sealed | None:
        """Return why a change that was just made in the dataset cannot stay: it was purged or sealed meanwhile."""
        document = await self._documents.fetch(DATASETS, str(name))
        if document is None or is_purging(document):
            return NotFound(f"{name} was purged; make a new dataset", resource=name)
        try:
            require_unsealed(dataset_of(document))
        except Sealed as error:
            return error
        return None

    async def undelete_window(self, name: DatasetName) -> timedelta:
        """Return for how long what is deleted or superseded can be brought back."""
        return await self._catalogs.undelete_window(name.parent)

    async def note_change(self, principal: Principal, name: DatasetName, changed_paths: Sequence[str]) -> Dataset:
        """Make a revision that says what changed beside the metadata, such as a deleted file. Sealed: it may not."""
        note = Note(principal.name, tuple(changed_paths)[:MAX_CHANGED_PATHS])

        async def decide(current: Document) -> Document | None:
            before = dataset_of(require_shown(current, name, self._means.now(), show_deleted=True))
            require_unsealed(before)
            return await self.next_revision(before, note, None)

        return dataset_of(await self.history.change(str(name), None, decide, not_found(name)))

    async def next_revision(
        self, after: Dataset, note: Note, request: Request | None, *, metadata: Metadata | None = None
    ) -> Document:
        """Return the document of the next revision; metadata None stays as it is."""
        now = max(self._means.now(), after.update_time)
        new = replace(after, revision=after.revision + 1, update_time=now)
        if metadata is None:
            return dataset_document(new, await self.reader.view(after.metadata), note, request)
        new = replace(new, metadata=metadata.text, metadata_bytes=metadata.size)
        return dataset_document(new, metadata.view, note, request)

    async def _fetch(self, principal: Principal, name: DatasetName, *, show_deleted: bool = False) -> Document:
        """Return the document of a dataset that may be seen, or raise NotFound, of its catalog or of itself."""
        await self._catalogs.require(principal, name.parent)
        document = await self._documents.fetch(DATASETS, str(name))
        return require_shown(document, name, self._means.now(), show_deleted=show_deleted)

    async def _check_parents(self, principal: Principal, after: Dataset, before: Dataset, now: datetime) -> None:
        new = sorted(set(after.parents) - set(before.parents))
        if str(after.name) in new:
            raise InvalidArgument(f"dataset.parents: {after.name} cannot be its own parent", field="dataset.parents")
        for error in (await self._making.missing(principal, new, now)).values():
            raise error

    async def _edited(
        self, before: Dataset, replacement: Metadata | None, patch: Metadata | None
    ) -> tuple[Metadata | None, list[str]]:
        """Return the new metadata, None if it stays, and the paths that differ."""
        if patch is not None:
            metadata, paths = await self.reader.patched(before.metadata, patch)
            return (metadata, paths) if metadata.text != before.metadata else (None, [])
        if replacement is None or replacement.text == before.metadata:
            return None, []
        # Keys in another order differ in the text alone.
        return replacement, await self.reader.changed(before.metadata, replacement) or ["metadata"]


def check_etag(dataset: Dataset, etag: str) -> None:
    """Raise Conflict unless the dataset is at the etag, where one is given."""
    if etag and etag != dataset.etag:
        raise Conflict(
            f"{dataset.name} has changed since it was read: it is at revision {dataset.revision}; "
            "read it again and decide anew",
            resource=dataset.name,
            etag=dataset.etag,
        )
