"""Finding datasets: lists, counts, many by name, and the tags in use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import (
    DATASET_FIELDS,
    DATASETS,
    HIDDEN,
    PURGES,
    Dataset,
    dataset_of,
    is_draft,
    require_shown,
)
from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Compare, Exists, Filter, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.names import ANY, CatalogName, DatasetName, parse_catalog, parse_dataset
from measurand.core.ordering import parse_order_by
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Document, DocumentStore, Found, Position
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import InvalidArgument, NotFound, TooLarge

__all__ = ["EVERYTHING", "Batch", "Page", "Search", "Selection", "TagPage", "parse_parent"]

READ_BYTES = 4 * 1024 * 1024
"""So many bytes of metadata are in memory at once for one page, whatever its documents are like."""
MAX_NAMES = 1000
NAMES_AT_ONCE = 25

Item = TypeVar("Item")
Pack = Callable[[Dataset], Awaitable[tuple[Item, int]]]
"""Makes of a dataset what the page consists of, and says how many bytes of a message it takes."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read of each dataset.

    Parameters
    ----------
    metadata_paths : tuple of str
        Of the metadata only these; each with a leading `-`: all but these; none: all of it.
    with_metadata : bool
        False: `Dataset.metadata` is empty, which spares reading it.
    """

    metadata_paths: tuple[str, ...] = ()
    with_metadata: bool = True


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items, and the token of the next page (empty: this was the last)."""

    items: Sequence[Item]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Batch(Generic[Item]):
    """What came of names: those found, those that are not there, and those that did not fit in."""

    items: Sequence[Item]
    missing: Sequence[str]
    left_over: Sequence[str]


@dataclass(frozen=True, slots=True)
class TagPage:
    """Some tags in alphabetical order with how many datasets have each, and the token of the next page."""

    tags: Sequence[tuple[str, int]]
    next_page_token: str


def parse_parent(parent: str, *, field: str = "parent") -> CatalogName | None:
    """Return the catalog that is searched, None for all of them. Raises NameInvalid."""
    return None if parent == f"catalogs/{ANY}" else parse_catalog(parent, field=field)


class Search:
    """Finds datasets. A parent of None stands for all catalogs that the caller may see."""

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        reader: MetadataReader,
        means: Means,
        limits: Limits,
        *,
        compile_pattern: CompilePattern,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._reader = reader
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern

    async def find(
        self,
        principal: Principal,
        parent: CatalogName | None,
        pack: Pack[Item],
        *,
        size: int = 0,
        page_token: str = "",
        filter_text: str = "",
        order_by: str = "",
        show_deleted: bool = False,
        selection: Selection = EVERYTHING,
    ) -> Page[Item]:
        """Return a page of the datasets that the filter holds for.

        Parameters
        ----------
        pack : callable
            Makes the items. The page is cut where they come to more bytes than a page may have.

        Raises
        ------
        FilterInvalid
            FILTER_INVALID, of the filter or the order, with the position.
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is malformed or from another request.
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: there is no such catalog.
        """
        limit = page_size(size, self._limits)
        order = parse_order_by(order_by, system=DATASET_FIELDS)
        request = ("datasets", str(parent), filter_text, order_by, str(show_deleted))
        start = open_token(page_token, request=request, values=len(order), now=self._means.now())
        where = self.where(filter_text, start.now, show_deleted=show_deleted)
        self._reader.check_paths(selection.metadata_paths)
        found = await self._documents.find(
            DATASETS,
            scopes=await self.scopes(principal, parent),
            where=where,
            order=order,
            after=start.after,
            limit=limit + 1,
            with_text=False,
        )
        items, last = await self._filled(found[:limit], pack, selection, show_deleted=show_deleted)
        if last is None or last == found[-1].position:
            return Page(items, "")
        return Page(items, make_token(last, request=request, now=start.now))

    async def count(
        self,
        principal: Principal,
        parent: CatalogName | None,
        *,
        filter_text: str = "",
        show_deleted: bool = False,
        most: int = 0,
    ) -> int:
        """Return how many datasets the filter holds for, counting no further than `most` (0: all)."""
        if most < 0:
            raise InvalidArgument(f"max_count: {most} is negative; use 0 to count all", field="max_count")
        where = self.where(filter_text, self._means.now(), show_deleted=show_deleted)
        scopes = await self.scopes(principal, parent)
        return await self._documents.count(DATASETS, scopes=scopes, where=where, most=most or None)

    async def get_many(
        self,
        principal: Principal,
        parent: CatalogName | None,
        names: Sequence[str],
        pack: Pack[Item],
        *,
        selection: Selection = EVERYTHING,
    ) -> Batch[Item]:
        """Return the datasets of these names, in their order, as far as they fit into one message."""
        if len(names) > MAX_NAMES:
            raise TooLarge(f"names: {len(names)}; the most is {MAX_NAMES}", limit=MAX_NAMES, actual=len(names))
        parsed = [parse_dataset(name, field="names") for name in names]
        for name in parsed:
            if parent is not None and name.parent != parent:
                raise InvalidArgument(f"names: {name} does not lie in {parent}; use catalogs/-", field="names")
        self._reader.check_paths(selection.metadata_paths)
        open_catalogs = await self._open(principal, [name.parent for name in parsed])
        now, used = self._means.now(), 0
        items: list[Item] = []
        missing: list[str] = []
        for start in range(0, len(parsed), NAMES_AT_ONCE):
            part = parsed[start : start + NAMES_AT_ONCE]
            found = await self._documents.fetch_many(DATASETS, [str(name) for name in part])
            for place, name in enumerate(part, start):
                shown = _shown(found.get(str(name)), name, now) if name.parent in open_catalogs else None
                if shown is None:
                    missing.append(str(name))
                    continue
                item, weight = await pack(await self._selected(dataset_of(shown), selection))
                if items and used + weight > self._limits.page_bytes:
                    return Batch(items, missing, [str(name) for name in parsed[place:]])
                items.append(item)
                used += weight
        return Batch(items, missing, [])

    async def tags(
        self, principal: Principal, parent: CatalogName | None, *, prefix: str = "", size: int = 0, page_token: str = ""
    ) -> TagPage:
        """Return the tags of datasets that are not deleted. One that only deleted datasets have is left out."""
        limit = page_size(size, self._limits)
        request = ("tags", str(parent), prefix)
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        scopes = await self.scopes(principal, parent)
        after = start.after.key if start.after else ""
        found = await self._documents.values(
            DATASETS, "tags", scopes=scopes, prefix=prefix, after=after, limit=limit + 1
        )
        page, token = list(found[:limit]), ""
        if len(found) > limit:
            token = make_token(Position((), page[-1][0]), request=request, now=start.now)
        gone = await self._documents.count(DATASETS, scopes=scopes, where=Exists(HIDDEN), most=1)
        return TagPage(await self._without_deleted(page, scopes) if gone else page, token)

    def asked(self, filter_text: str, now: datetime) -> Filter | None:
        """Return the tree of a filter, None if it holds for all. Raises FilterInvalid."""
        return parse_filter(filter_text, system=DATASET_FIELDS, now=now, compile_pattern=self._compile_pattern)

    def where(self, filter_text: str, now: datetime, *, show_deleted: bool) -> Filter:
        """Return the tree of a filter, narrowed to what may be seen."""
        asked = self.asked(filter_text, now)
        over = Compare(PURGES, "<=", Scalar("t", microseconds(self._means.now())))
        hidden: Filter = Not(over if show_deleted else Exists(HIDDEN))
        return hidden if asked is None else And((hidden, asked))

    async def scopes(self, principal: Principal, parent: CatalogName | None) -> list[str]:
        """Return the catalogs that are searched. Raises NotFound for one that is not there."""
        if parent is None:
            return [str(name) for name in await self._catalogs.visible(principal)]
        await self._catalogs.require(principal, parent)
        return [str(parent)]

    async def _filled(
        self, found: Sequence[Found], pack: Pack[Item], selection: Selection, *, show_deleted: bool
    ) -> tuple[list[Item], Position | None]:
        """Return the items of a page, and the position of the last that is in it (None: nothing was found)."""
        items: list[Item] = []
        last: Position | None = None
        used, now = 0, self._means.now()
        for part in _parts(found) if selection.with_metadata else [found]:
            documents = {item.document.key: item.document for item in part}
            if selection.with_metadata:
                documents = dict(await self._documents.fetch_many(DATASETS, list(documents)))
            for item in part:
                name = parse_dataset(item.document.key)
                shown = _shown(documents.get(item.document.key), name, now, show_deleted=show_deleted)
                if shown is not None:  # else it was deleted just now
                    packed, weight = await pack(await self._selected(dataset_of(shown), selection))
                    if items and used + weight > self._limits.page_bytes:
                        return items, last
                    items.append(packed)
                    used += weight
                last = item.position
        return items, last

    async def _selected(self, dataset: Dataset, selection: Selection) -> Dataset:
        if not selection.with_metadata or not selection.metadata_paths:
            return dataset
        return replace(dataset, metadata=await self._reader.selected(dataset.metadata, selection.metadata_paths))

    async def _open(self, principal: Principal, names: Sequence[CatalogName]) -> set[CatalogName]:
        opened: set[CatalogName] = set()
        for name in set(names):
            try:
                await self._catalogs.require(principal, name)
            except NotFound:
                continue
            opened.add(name)
        return opened

    async def _without_deleted(self, page: Sequence[tuple[str, int]], scopes: Sequence[str]) -> list[tuple[str, int]]:
        kept: list[tuple[str, int]] = []
        for tag, count in page:
            where = And((Exists(HIDDEN), Compare("tags", "=", Scalar("s", tag))))
            gone = await self._documents.count(DATASETS, scopes=scopes, where=where)
            if count > gone:
                kept.append((tag, count - gone))
        return kept


def _parts(found: Sequence[Found]) -> list[list[Found]]:
    """Cut what was found so that the metadata of each part is small enough to be in memory at once."""
    parts: list[list[Found]] = []
    used = READ_BYTES
    for item in found:
        size = item.document.body["metadata_bytes"]
        assert isinstance(size, int)
        if used + size > READ_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += size
    return parts


def _shown(
    document: Document | None, name: DatasetName, now: datetime, *, show_deleted: bool = False
) -> Document | None:
    try:
        shown = require_shown(document, name, now, show_deleted=show_deleted)
    except NotFound:
        return None
    return None if is_draft(shown) else shown
