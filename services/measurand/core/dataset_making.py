"""Making datasets, one or many: checked, given their ids, and stored each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import (
    DATASETS,
    Dataset,
    Note,
    dataset_document,
    dataset_of,
    is_draft,
    is_purging,
    require_shown,
)
from measurand.core.dataset_edits import DatasetDraft, check_draft
from measurand.core.fields import not_found
from measurand.core.history import History
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import Metadata, MetadataReader
from measurand.core.names import CatalogName, DatasetName, check_id, parse_dataset
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import Principal
from measurand.core.purging import Purging
from measurand.core.requests import Request, RequestIds, is_repeat, make_request
from measurand.core.ulid import make_ulid
from measurand.wire.errors import AlreadyExists, MeasurandError, NotFound, TooLarge

__all__ = ["Making", "NewDataset"]

MAX_BATCH = 100


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset to be made.

    Parameters
    ----------
    dataset_id : str
        The id to use. Empty: a ULID is made.
    request_id : str
        Makes it safe to repeat. Empty: it is not.
    is_draft : bool
        Nobody finds it before it is committed.
    """

    draft: DatasetDraft
    dataset_id: str = ""
    request_id: str = ""
    is_draft: bool = False


@dataclass(slots=True)
class _Item:
    """One of a batch on its way: what went wrong, or what is to be stored."""

    new: NewDataset
    draft: DatasetDraft
    metadata: Metadata
    request: Request | None
    id: str
    made: Dataset | None = None
    error: MeasurandError | None = None

    def outcome(self) -> Dataset | MeasurandError:
        came = self.error or self.made
        assert came is not None
        return came


class Making:
    """Makes datasets."""

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        history: History,
        reader: MetadataReader,
        purging: Purging,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._history = history
        self._reader = reader
        self._purging = purging
        self._means = means
        self._limits = limits
        self._request_ids = RequestIds(documents, means)

    async def make(
        self, principal: Principal, parent: CatalogName, new: Sequence[NewDataset]
    ) -> list[Dataset | MeasurandError]:
        """Make datasets in one catalog and return for each what came of it. Those made are durable.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: there is no such catalog.
        TooLarge
            TOO_LARGE: more than 100.
        """
        if len(new) > MAX_BATCH:
            raise TooLarge(
                f"requests: {len(new)} datasets; the most is {MAX_BATCH}; make several batches",
                limit=MAX_BATCH,
                actual=len(new),
            )
        await self._catalogs.require(principal, parent)
        now = self._means.now()
        checked: list[_Item | MeasurandError] = []
        for each in new:
            try:
                checked.append(await self._item(principal, parent, each, now))
            except MeasurandError as error:
                checked.append(error)
        items = [item for item in checked if isinstance(item, _Item)]
        await self._check_parents(principal, items, now)
        await self._fix_ids(parent, items)
        await self._store(principal, parent, [item for item in items if item.error is None], now)
        return [item.outcome() if isinstance(item, _Item) else item for item in checked]

    async def forget_requests(self) -> int:
        """Remove the request ids that need not be remembered any longer, and return how many there were."""
        return await self._request_ids.forget()

    async def _item(self, principal: Principal, parent: CatalogName, new: NewDataset, now: datetime) -> _Item:
        """Check one by itself."""
        if new.dataset_id:
            check_id(new.dataset_id, field="dataset_id")
        draft = check_draft(new.draft)
        metadata = await self._reader.read("{}" if draft.metadata is None else draft.metadata, field="dataset.metadata")
        asked = (str(parent), new.dataset_id, replace(draft, metadata=None), *(["draft"] if new.is_draft else []))
        request = make_request(new.request_id, now, self._limits, "create", principal.name, *asked, metadata.text)
        return _Item(new, draft, metadata, request, new.dataset_id or make_ulid(now, self._means.random_bytes))

    async def _check_parents(self, principal: Principal, items: Sequence[_Item], now: datetime) -> None:
        """Give those an error that name a parent which is not there."""
        wanted = sorted({parent for item in items for parent in item.draft.parents})
        missing = await self.missing(principal, wanted, now) if wanted else {}
        for item in items:
            item.error = next((missing[parent] for parent in item.draft.parents if parent in missing), None)

    async def missing(self, principal: Principal, names: Sequence[str], now: datetime) -> Mapping[str, MeasurandError]:
        """Return for each dataset that is not there, or is deleted, the error that says so."""
        errors: dict[str, MeasurandError] = {}
        parsed = {name: parse_dataset(name) for name in names}
        for catalog in {name.parent for name in parsed.values()}:
            try:
                await self._catalogs.require(principal, catalog)
            except NotFound as error:
                errors |= {name: error for name, found in parsed.items() if found.parent == catalog}
        for start in range(0, len(names), 1000):
            found = await self._documents.fetch_many(DATASETS, names[start : start + 1000])
            for name in names[start : start + 1000]:
                try:
                    if is_draft(require_shown(found.get(name), parsed[name], now)):
                        raise not_found(parsed[name])  # it may never come to be
                except NotFound as error:
                    errors.setdefault(name, error)
        return errors

    async def _fix_ids(self, parent: CatalogName, items: Sequence[_Item]) -> None:
        """Where the server chooses the id, a repeated request must find the one that the first was given."""
        chosen = [(item, item.request) for item in items if item.request and not item.new.dataset_id and not item.error]
        if not chosen:
            return
        fixed = await self._request_ids.fix(
            str(parent), [request for _, request in chosen], [item.id for item, _ in chosen]
        )
        for (item, _), outcome in zip(chosen, fixed, strict=True):
            if isinstance(outcome, MeasurandError):
                item.error = outcome
            else:
                item.id = outcome

    async def _store(self, principal: Principal, parent: CatalogName, items: Sequence[_Item], now: datetime) -> None:
        documents = [self._document(principal, parent, item, now) for item in items]
        stored = await self._documents.insert_many(DATASETS, documents)
        for item, document, is_new in zip(items, documents, stored, strict=True):
            if is_new:
                item.made = dataset_of(document)
                continue
            try:
                item.made = await self._taken(item, document, now)
            except MeasurandError as error:
                item.error = error

    def _document(self, principal: Principal, parent: CatalogName, item: _Item, now: datetime) -> Document:
        draft = item.draft
        dataset = Dataset(
            name=DatasetName(parent.catalog, item.id),
            title=draft.title,
            kind=draft.kind,
            tags=draft.tags,
            parents=draft.parents,
            metadata=item.metadata.text,
            metadata_bytes=item.metadata.size,
            revision=1,
            creator=principal.name,
            create_time=now,
            update_time=now,
            start_time=draft.start_time,
            end_time=draft.end_time,
            storage_policy=draft.storage_policy,
            is_draft=item.new.is_draft,
        )
        return dataset_document(dataset, item.metadata.view, Note(principal.name), item.request)

    async def _taken(self, item: _Item, document: Document, now: datetime) -> Dataset:
        """The id is taken: by this very request before, by a dataset whose time is over, or by another one."""
        name = parse_dataset(document.key)
        current = await self._documents.fetch(DATASETS, document.key)
        if current is not None and item.request is not None and not is_purging(current):
            first = await self._history.first(current)
            if first is not None and is_repeat(item.request, first.body["request"], now):
                return dataset_of(first)
        try:
            require_shown(current, name, now, show_deleted=True)
        except NotFound:
            # Nobody can see it any more, so nobody can tell that its id is taken.
            await self._purging.purge(name)
            return dataset_of(await self._documents.insert(DATASETS, document))
        raise AlreadyExists(
            f"{name}: there is such a dataset already; choose another id, or update that one", resource=name
        )
