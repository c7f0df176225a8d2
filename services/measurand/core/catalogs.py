"""Catalogs: made, read, changed, deleted with all that is in them, and brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from measurand.core.catalog_documents import (
    CATALOG_FIELDS,
    CATALOG_HISTORY,
    CATALOGS,
    Catalog,
    CatalogDraft,
    Usage,
    catalog_document,
    catalog_of,
)
from measurand.core.dataset_documents import DATASETS, HIDDEN
from measurand.core.fields import check_labels, check_text, check_window, deleted, not_found
from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Compare, Exists, Filter, Not
from measurand.core.history import History
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import CatalogName, check_id, parse_catalog
from measurand.core.ordering import parse_order_by
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.requests import is_repeat, make_request
from measurand.core.times import from_microseconds, microseconds
from measurand.core.usage import USAGES, usage_of
from measurand.core.view import Scalar
from measurand.wire.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, ResourceInUse

__all__ = ["CatalogPage", "Catalogs"]

EDITABLE = ("title", "description", "labels", "storage_policy", "undelete_window")
MAX_TITLE = 1000
MAX_DESCRIPTION = 100_000


@dataclass(frozen=True, slots=True)
class CatalogPage:
    """Some catalogs, and the token of the next page (empty: this was the last)."""

    catalogs: Sequence[Catalog]
    next_page_token: str


class Catalogs:
    """All catalogs.

    Parameters
    ----------
    compile_pattern : callable
        The engine of regular expressions, for filters.
    """

    def __init__(
        self, documents: DocumentStore, means: Means, limits: Limits, *, compile_pattern: CompilePattern
    ) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern
        self._history = History(documents, means, limits, collection=CATALOGS, archive=CATALOG_HISTORY)

    async def create(
        self, principal: Principal, catalog_id: str, draft: CatalogDraft, *, request_id: str = ""
    ) -> Catalog:
        """Make a catalog. Durable when it returns.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is one with this id, perhaps a deleted one.
        """
        name = CatalogName(check_id(catalog_id, field="catalog_id"))
        now = self._means.now()
        draft = _check(draft)
        request = make_request(request_id, now, self._limits, "create", principal.name, name, draft)
        new = Catalog(
            name=name,
            title=draft.title,
            description=draft.description,
            labels=draft.labels,
            undelete_window=draft.undelete_window,
            storage_policy=draft.storage_policy,
            revision=1,
            creator=principal.name,
            create_time=now,
            update_time=now,
        )
        document = catalog_document(new, request)
        if (await self._documents.insert_many(CATALOGS, [document]))[0]:
            return new
        current = await self._documents.fetch(CATALOGS, document.key)
        first = await self._history.first(current) if current else None
        if first is not None and request is not None and is_repeat(request, first.body["request"], now):
            return catalog_of(first)
        is_deleted = current is not None and current.body["deleted"] is not None
        advice = "undelete that one, or choose another id" if is_deleted else "use it, or choose another id"
        raise AlreadyExists(
            f"{name}: there is a {'deleted ' if is_deleted else ''}catalog with this id; {advice}", resource=name
        )

    async def get(self, principal: Principal, name: CatalogName, *, with_usage: bool = True) -> Catalog:
        """Return one catalog. Raises NotFound."""
        catalog = await self.require(principal, name)
        return (await self._with_usage([catalog]))[0] if with_usage else catalog

    async def require(self, principal: Principal, name: CatalogName) -> Catalog:
        """Return a catalog that can be worked in, or raise NotFound: it is not there, or deleted."""
        document = await self._documents.fetch(CATALOGS, str(name))
        return catalog_of(_shown(document, name, self._means.now()))

    async def visible(self, principal: Principal) -> list[CatalogName]:
        """Return the names of all catalogs that the caller may see."""
        names: list[CatalogName] = []
        after: Position | None = None
        while True:
            found = await self._documents.find(
                CATALOGS, where=Not(Exists(HIDDEN)), after=after, limit=1000, with_text=False
            )
            names += [parse_catalog(item.document.key) for item in found]
            if len(found) < 1000:
                return names
            after = found[-1].position

    async def find(
        self,
        principal: Principal,
        *,
        size: int = 0,
        page_token: str = "",
        filter_text: str = "",
        order_by: str = "",
        show_deleted: bool = False,
        with_usage: bool = False,
    ) -> CatalogPage:
        """Return a page of the catalogs that the caller may see.

        Raises
        ------
        FilterInvalid
            FILTER_INVALID, with the position.
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is malformed or from another request.
        """
        limit = page_size(size, self._limits)
        order = parse_order_by(order_by, system=CATALOG_FIELDS)
        request = ("catalogs", filter_text, order_by, str(show_deleted))
        start = open_token(page_token, request=request, values=len(order), now=self._means.now())
        asked = parse_filter(filter_text, system=CATALOG_FIELDS, now=start.now, compile_pattern=self._compile_pattern)
        hidden: Filter = Not(self._gone() if show_deleted else Exists(HIDDEN))
        where = hidden if asked is None else And((hidden, asked))
        found = await self._documents.find(CATALOGS, where=where, order=order, after=start.after, limit=limit + 1)
        page = found[:limit]
        catalogs = [catalog_of(item.document) for item in page]
        if with_usage:
            catalogs = await self._with_usage(catalogs)
        more = len(found) > limit
        return CatalogPage(catalogs, make_token(page[-1].position, request=request, now=start.now) if more else "")

    async def update(
        self,
        principal: Principal,
        name: CatalogName,
        draft: CatalogDraft,
        fields: Sequence[str],
        *,
        etag: str = "",
        request_id: str = "",
    ) -> Catalog:
        """Replace the named fields by what the draft has; one that it leaves open becomes as in a new catalog.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: a field is out of bounds, or cannot be changed.
        Conflict
            ETAG_MISMATCH: the catalog has changed.
        """
        for field in fields:
            if field not in EDITABLE:
                raise InvalidArgument(
                    f"update_mask: {field!r} is no field that can be replaced; these are {', '.join(EDITABLE)}",
                    field="update_mask",
                )
        draft, now = _check(draft), self._means.now()

        async def decide(current: Document) -> Document | None:
            before = catalog_of(_shown(current, name, now))
            _check_etag(before, etag)
            new = replace(
                before,
                title=draft.title if "title" in fields else before.title,
                description=draft.description if "description" in fields else before.description,
                labels=draft.labels if "labels" in fields else before.labels,
                undelete_window=draft.undelete_window if "undelete_window" in fields else before.undelete_window,
                storage_policy=draft.storage_policy if "storage_policy" in fields else before.storage_policy,
            )
            return catalog_document(_next(new, now), request) if new != before else None

        request = make_request(
            request_id, now, self._limits, "update", principal.name, name, draft, sorted(fields), etag
        )
        return catalog_of(await self._history.change(str(name), request, decide, not_found(name)))

    async def delete(
        self, principal: Principal, name: CatalogName, *, etag: str = "", force: bool = False, request_id: str = ""
    ) -> Catalog:
        """Delete a catalog, which hides all that is in it. Deleting again changes nothing.

        Raises
        ------
        ResourceInUse
            RESOURCE_IN_USE: it holds datasets and `force` is not set.
        Conflict
            ETAG_MISMATCH: the catalog has changed.
        """
        now = self._means.now()

        async def decide(current: Document) -> Document | None:
            before = catalog_of(_shown(current, name, now, show_deleted=True))
            if before.delete_time is not None:
                return None
            _check_etag(before, etag)
            if not force and await self._documents.count(
                DATASETS, scopes=[str(name)], where=Not(Exists(HIDDEN)), most=1
            ):
                raise ResourceInUse(f"{name} holds datasets; delete them first, or use force", resource=name)
            new = replace(before, delete_time=now, purge_time=now + self.window(before))
            return catalog_document(_next(new, now), request)

        request = make_request(request_id, now, self._limits, "delete", principal.name, name, etag, force)
        return catalog_of(await self._history.change(str(name), request, decide, not_found(name)))

    async def undelete(self, principal: Principal, name: CatalogName, *, request_id: str = "") -> Catalog:
        """Bring back a deleted catalog with all that was in it.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none, or its time is over.
        FailedPrecondition
            STATE_WRONG: it is not deleted.
        """
        now = self._means.now()

        async def decide(current: Document) -> Document | None:
            before = catalog_of(_shown(current, name, now, show_deleted=True))
            if before.delete_time is None:
                raise FailedPrecondition(f"{name} is not deleted; there is nothing to do", resource=name, state="open")
            return catalog_document(_next(replace(before, delete_time=None, purge_time=None), now), request)

        request = make_request(request_id, now, self._limits, "undelete", principal.name, name)
        return catalog_of(await self._history.change(str(name), request, decide, not_found(name)))

    def window(self, catalog: Catalog) -> timedelta:
        """Return how long what is deleted in a catalog can be brought back."""
        return self._limits.undelete_window if catalog.undelete_window is None else catalog.undelete_window

    async def undelete_window(self, name: CatalogName) -> timedelta:
        """Return how long what is deleted in the catalog of this name can be brought back."""
        document = await self._documents.fetch(CATALOGS, str(name))
        return self._limits.undelete_window if document is None else self.window(catalog_of(document))

    def _gone(self) -> Filter:
        return Compare("purges", "<=", Scalar("t", microseconds(self._means.now())))

    async def _with_usage(self, catalogs: Sequence[Catalog]) -> list[Catalog]:
        kept = await self._documents.fetch_many(USAGES, [str(catalog.name) for catalog in catalogs])
        return [
            replace(catalog, usage=usage_of(kept[str(catalog.name)]) if str(catalog.name) in kept else Usage())
            for catalog in catalogs
        ]


def _check(draft: CatalogDraft) -> CatalogDraft:
    return replace(
        draft,
        title=check_text(draft.title, field="catalog.title", most=MAX_TITLE),
        description=check_text(draft.description, field="catalog.description", most=MAX_DESCRIPTION),
        labels=check_labels(draft.labels),
        undelete_window=check_window(draft.undelete_window),
    )


def _shown(document: Document | None, name: CatalogName, now: datetime, *, show_deleted: bool = False) -> Document:
    """Return the document if its catalog may be seen, or raise NotFound."""
    if document is None:
        raise not_found(name)
    purges = document.body["purges"]
    if isinstance(purges, int):
        if from_microseconds(purges) <= now:
            raise not_found(name)
        if not show_deleted:
            raise deleted(name, from_microseconds(purges))
    return document


def _check_etag(catalog: Catalog, etag: str) -> None:
    if etag and etag != catalog.etag:
        raise Conflict(
            f"{catalog.name} has changed since it was read; read it again and decide anew",
            resource=catalog.name,
            etag=catalog.etag,
        )


def _next(catalog: Catalog, now: datetime) -> Catalog:
    return replace(catalog, revision=catalog.revision + 1, update_time=max(now, catalog.update_time))
