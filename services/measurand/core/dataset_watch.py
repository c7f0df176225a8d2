"""Following datasets: every change, seen through a filter, from where a resume token says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from measurand.core.dataset_documents import DATASETS, Dataset, dataset_of, is_draft, is_purging, system_view
from measurand.core.dataset_search import EVERYTHING, Search, Selection
from measurand.core.filters.evaluate import CompilePattern, predicate
from measurand.core.filters.tree import And, Filter, Not, Or
from measurand.core.history import History, integer
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.names import CatalogName, DatasetName, parse_dataset
from measurand.core.ports import Change, Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.purging import GONE_DRAFTS
from measurand.core.view import Entry
from measurand.core.watch_places import Place, open_place
from measurand.wire.errors import InvalidArgument

__all__ = ["DatasetChange", "Poll", "Watch"]

EXISTING_AT_ONCE = 25
CHANGES_AT_ONCE = 100
DEFAULT_CHANGES = 100
MAX_CHANGES = 1000
COUNTS = ("file_count", "array_count", "stored_bytes")
"""What the server counts by itself, without a new revision."""

ChangeKind = Literal["existing", "created", "updated", "deleted", "heartbeat"]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class DatasetChange:
    """One change of one dataset.

    Parameters
    ----------
    name : DatasetName, optional
        None in a heartbeat.
    dataset : Dataset, optional
        As the change left it. None when it was purged, and in a heartbeat.
    token : str
        Watch or poll with it to go on after this change.
    """

    kind: ChangeKind
    name: DatasetName | None
    dataset: Dataset | None
    token: str


@dataclass(frozen=True, slots=True)
class Poll(Generic[Item]):
    """Some changes, oldest first, and the token to go on with."""

    changes: Sequence[Item]
    token: str


@dataclass(frozen=True, slots=True)
class _View:
    """What one watch looks at, and through what."""

    principal: Principal
    parent: CatalogName | None
    selection: Selection
    test: Callable[[Sequence[Entry]], bool] | None
    asks_for_metadata: bool
    asks_for_counts: bool


class _Room(Generic[Item]):
    """What goes into one answer."""

    def __init__(
        self, pack: Callable[[DatasetChange], Awaitable[tuple[Item, int]]], most: int, most_bytes: int
    ) -> None:
        self._pack = pack
        self._most = most
        self._bytes = most_bytes
        self.items: list[Item] = []
        self.token = ""
        """Of the last change that went in."""

    async def take(self, change: DatasetChange) -> bool:
        """Take a change, unless there is no room for it. There always is for the first."""
        item, weight = await self._pack(change)
        if self.items and (len(self.items) == self._most or weight > self._bytes):
            return False
        self.items.append(item)
        self._bytes -= weight
        self.token = change.token
        return True


class Watch:
    """Follows datasets. A parent of None stands for all catalogs that the caller may see."""

    def __init__(
        self,
        documents: DocumentStore,
        history: History,
        search: Search,
        reader: MetadataReader,
        means: Means,
        limits: Limits,
        *,
        compile_pattern: CompilePattern,
    ) -> None:
        self._documents = documents
        self._history = history
        self._search = search
        self._reader = reader
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern

    async def follow(
        self,
        principal: Principal,
        parent: CatalogName | None,
        *,
        filter_text: str = "",
        resume_token: str = "",
        include_existing: bool = False,
        selection: Selection = EVERYTHING,
    ) -> AsyncGenerator[DatasetChange, None]:
        """Yield changes as they happen, each at least once and in order for any one dataset. Never ends by itself.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the token is older than the kept history; list, then watch.
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED: there is no such catalog, or no longer.
        """
        if include_existing and resume_token:
            raise InvalidArgument(
                "include_existing: not together with a resume_token, which says itself what is left to send",
                field="include_existing",
            )
        place = await self._place(resume_token)
        view = self._view(principal, parent, filter_text, place.first, selection)
        await self._search.scopes(principal, parent)
        if include_existing:
            place = replace(place, existing="")
        if place.existing is not None:
            async for change in self._existing(view, place, filter_text):
                yield change
            place = replace(place, existing=None)
        sent = self._means.monotonic()
        silence = self._limits.heartbeat.total_seconds()
        while True:
            left = silence - (self._means.monotonic() - sent)
            if left <= 0:
                yield DatasetChange("heartbeat", None, None, place.text())
                sent = self._means.monotonic()
                continue
            changes, place = await self._next(view, place, left)
            for change in changes:
                yield change
                sent = self._means.monotonic()

    async def poll(
        self,
        principal: Principal,
        parent: CatalogName | None,
        pack: Callable[[DatasetChange], Awaitable[tuple[Item, int]]],
        *,
        filter_text: str = "",
        resume_token: str = "",
        most: int = 0,
        wait: timedelta = timedelta(),
        selection: Selection = EVERYTHING,
    ) -> Poll[Item]:
        """Return the changes since a token, waiting for one if there is none yet. Without a token: only one for now.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the token is older than the kept history; list, then poll.
        """
        if most < 0:
            raise InvalidArgument(f"max_changes: {most} is negative; use 0 for {DEFAULT_CHANGES}", field="max_changes")
        if not timedelta() <= wait <= self._limits.max_wait:
            raise InvalidArgument(
                f"wait: {wait.total_seconds():g} s is not within 0 and {self._limits.max_wait.total_seconds():g} s",
                field="wait",
            )
        place = await self._place(resume_token)
        view = self._view(principal, parent, filter_text, place.first, selection)
        await self._search.scopes(principal, parent)
        if not resume_token:
            return Poll((), place.text())
        room = _Room(pack, min(most or DEFAULT_CHANGES, MAX_CHANGES), self._limits.page_bytes)
        if place.existing is not None:
            async for change in self._existing(view, place, filter_text):
                if not await room.take(change):
                    return Poll(room.items, room.token)
            place = replace(place, existing=None)
        deadline = self._means.monotonic() + wait.total_seconds()
        while True:
            left = 0.0 if room.items else max(deadline - self._means.monotonic(), 0.0)
            changes, place = await self._next(view, place, left)
            for change in changes:
                if not await room.take(change):
                    return Poll(room.items, room.token)
            if not changes and (room.items or self._means.monotonic() >= deadline):
                return Poll(room.items, place.text())

    async def _place(self, resume_token: str) -> Place:
        if resume_token:
            return open_place(resume_token)
        return Place(self._means.now(), (await self._documents.changes(DATASETS, after=None)).token)

    def _view(
        self, principal: Principal, parent: CatalogName | None, filter_text: str, first: datetime, selection: Selection
    ) -> _View:
        self._reader.check_paths(selection.metadata_paths)
        asked = self._search.asked(filter_text, first)
        paths = _paths(asked)
        return _View(
            principal=principal,
            parent=parent,
            selection=selection,
            test=None if asked is None else predicate(asked, compile_pattern=self._compile_pattern),
            asks_for_metadata=any(path.partition(".")[0] == "metadata" for path in paths),
            asks_for_counts=not paths.isdisjoint(COUNTS),
        )

    async def _holds(self, view: _View, document: Document) -> bool:
        """Tell whether a present or past document is seen in the view."""
        if document.body["deleted"] is not None:
            return False
        if view.test is None:
            return True
        metadata = await self._reader.view(document.text) if view.asks_for_metadata else ()
        return view.test([*system_view(dataset_of(document)), *metadata])

    async def _existing(self, view: _View, place: Place, filter_text: str) -> AsyncIterator[DatasetChange]:
        where = self._search.where(filter_text, place.first, show_deleted=False)
        scopes = await self._search.scopes(view.principal, view.parent)
        while True:
            after = Position((), place.existing) if place.existing else None
            found = await self._documents.find(
                DATASETS, scopes=scopes, where=where, after=after, limit=EXISTING_AT_ONCE
            )
            for item in found:
                place = replace(place, existing=item.document.key)
                yield await self._change("existing", view, item.document, place.text())
            if len(found) < EXISTING_AT_ONCE:
                return

    async def _next(self, view: _View, place: Place, wait_seconds: float) -> tuple[list[DatasetChange], Place]:
        """Return the next changes that the view shows, and where to go on."""
        scopes = None if view.parent is None else [str(view.parent)]
        changes = await self._documents.changes(
            DATASETS, after=place.token, scopes=scopes, limit=CHANGES_AT_ONCE, wait_seconds=wait_seconds
        )
        visible = set(await self._search.scopes(view.principal, view.parent))
        shown: list[DatasetChange] = []
        for change in changes.changes:
            if change.scope in visible:
                seen = await self._seen(view, change, replace(place, token=change.token).text())
                shown += [seen] if seen else []
        return shown, replace(place, token=changes.token)

    async def _seen(self, view: _View, change: Change, token: str) -> DatasetChange | None:
        """Return what a change is through the filter, None if nothing."""
        if change.kind == "removed":
            if await self._documents.fetch(GONE_DRAFTS, change.key) is not None:
                return None
            return DatasetChange("deleted", parse_dataset(change.key), None, token)
        current = await self._documents.fetch(DATASETS, change.key)
        if current is None or is_purging(current):
            return None  # its removal comes later, and says all that is left to say
        after = await self._history.at_stored(current, change.revision)
        if after is None or is_draft(after):
            return None
        holds = await self._holds(view, after)
        if after.body["stored"] != change.revision:  # only its counts were refreshed
            kind: ChangeKind = "updated" if holds else "deleted"
            return await self._change(kind, view, after, token) if view.asks_for_counts else None
        revision = integer(after.body, "revision")
        before = await self._history.at(current, revision - 1) if revision > 1 else None
        held = before is not None and await self._holds(view, before)
        if not holds and not held:
            return None
        kind = "deleted" if not holds else "updated" if held else "created"
        return await self._change(kind, view, after, token)

    async def _change(self, kind: ChangeKind, view: _View, document: Document, token: str) -> DatasetChange:
        dataset = dataset_of(document)
        if view.selection.metadata_paths:
            metadata = await self._reader.selected(dataset.metadata, view.selection.metadata_paths)
            dataset = replace(dataset, metadata=metadata)
        return DatasetChange(kind, dataset.name, dataset, token)


def _paths(asked: Filter | None) -> set[str]:
    """Return the paths that a filter looks at."""
    match asked:
        case None:
            return set()
        case And(items) | Or(items):
            return set().union(*(_paths(item) for item in items))
        case Not(item):
            return _paths(item)
        case _:
            return {asked.path}
