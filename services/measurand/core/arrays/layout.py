"""Sealed arrays as plain Zarr, which others read without the service: made from the index, and therefore exact.

A document remembers what was made, so that doing it again is one look. It is written last: what a crash leaves without
one is made anew, in the place of what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from measurand.core.arrays.documents import ARRAYS
from measurand.core.arrays.plain_items import BEGIN, Cursor, chunks_of, texts_of
from measurand.core.arrays.plain_places import Item, PlainObjects, PlainPlace
from measurand.core.blob_rules import closing
from measurand.core.dataset_documents import DATASETS, dataset_of, is_purging, require_shown
from measurand.core.fields import not_found
from measurand.core.means import Means
from measurand.core.names import DatasetName
from measurand.core.ports import Document, DocumentStore, Json
from measurand.core.principal import Principal
from measurand.core.times import from_microseconds
from measurand.wire.errors import AlreadyExists, FailedPrecondition, FeatureDisabled

__all__ = ["LAYOUTS", "Layout", "Progress"]

LAYOUTS = "plain_layouts"
"""The collection: key and scope the dataset's name. It tells of this store's places and does not move to another."""

AT_ONCE = 64
"""Chunks that are handed to the store together."""
TRIES = 10
SECONDS = 15.0
"""How long one call publishes, so that its answer comes before callers give up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a dataset is published.

    Parameters
    ----------
    is_done : bool
        All of it is there; else it is to be called again.
    chunks_done, chunks_total : int
        How many chunks are laid out, of how many.
    plain_url : str
        Where it lies, once it is done.
    """

    is_done: bool
    chunks_done: int
    chunks_total: int
    plain_url: str = ""


@dataclass(frozen=True, slots=True)
class _Laid:
    """What was made of a dataset, as its document remembers.

    Parameters
    ----------
    created : int
        When the dataset was made: one of another time had the same name.
    chunks : int
        How many it has.
    cursor : Cursor, optional
        How far it is published. None: wholly, or that is not to be done.
    """

    created: int
    url: str
    chunks: int
    done: int
    cursor: Cursor | None
    revision: int = 0


class Layout:
    """Lays out what is sealed.

    Parameters
    ----------
    place : PlainPlace, optional
        Where. None: in this store nobody could read past the service.
    seconds : float
        How long one call of `publish` may go on.
    are_elsewhere : callable, optional
        Tells whether one of these blobs is not in the store beside which layouts are. Nobody could read it there.
    """

    def __init__(
        self,
        documents: DocumentStore,
        means: Means,
        place: PlainPlace | None,
        *,
        seconds: float = SECONDS,
        are_elsewhere: Callable[[Collection[str]], Awaitable[bool]] | None = None,
    ) -> None:
        self._documents = documents
        self._means = means
        self._place = place
        self._seconds = seconds
        self._are_elsewhere = are_elsewhere
        self._running: dict[DatasetName, asyncio.Task[str]] = {}

    async def lay_out(self, name: DatasetName) -> str:
        """Lay out the arrays of a dataset, of which all index documents are sealed, as the store can at once.

        It goes on when the caller does not wait for its end; a repeated call joins it.

        Returns
        -------
        str
            The URL of a Zarr group, or of a reference file. Empty: the store can do neither, there are no arrays, or
            some of their bytes are not in it.
        """
        if self._place is None:
            return ""
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.create_task(self._lay_out(name, self._place))
            running.add_done_callback(lambda done: self._ended(name, done))
        return await asyncio.shield(running)

    async def publish(self, principal: Principal, name: DatasetName) -> Progress:
        """Lay out some more of a sealed dataset, where that takes long; to be called until it is done.

        What is done is remembered: after a crash it goes on from there, and nothing done twice does any harm.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: no such dataset.
        FailedPrecondition
            STATE_WRONG: it is not sealed.
        FeatureDisabled
            FEATURE_DISABLED: the store cannot, or some of the bytes are not in it.
        """
        dataset = require_shown(await self._documents.fetch(DATASETS, str(name)), name, self._means.now())
        if (state := dataset_of(dataset).state) != "sealed":
            raise FailedPrecondition(f"{name} is {state}; seal it, then publish it", resource=name, state=state)
        if self._place is None:
            raise FeatureDisabled(
                "in the store of this server nothing can be read past it; read the arrays through the server"
            )
        await self.lay_out(name)
        laid = await self._fetch(name)
        if laid is None:
            if await self._is_elsewhere(name):
                raise FeatureDisabled(
                    f"{name} lies in containers, where nothing can be read past the server; read the arrays through it"
                )
            return Progress(True, 0, 0)  # it has no arrays, or has gone meanwhile
        objects = self._place.objects
        if objects is not None and laid.cursor is not None:
            laid = await self._publish(name, dataset, laid, objects)
            if not await self._is_present(name, laid.created):
                await self.remove(name)  # a purge came by, and did not know of it
                raise not_found(name)
            if laid.cursor is not None:
                return Progress(False, laid.done, laid.chunks)
        return Progress(True, laid.chunks, laid.chunks, laid.url)

    async def remove(self, name: DatasetName) -> None:
        """Remove what was laid out of a dataset that goes for good. Repeating it changes nothing."""
        if (running := self._running.get(name)) is not None:
            running.cancel()
            await asyncio.wait([running])
        if self._place is not None:
            await self._place.remove(_path(name))
        await self._documents.remove(LAYOUTS, str(name))

    async def close(self) -> None:
        """Stop what still goes on; whoever asks next begins it anew."""
        for running in (tasks := list(self._running.values())):
            running.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---------------------------------------------------------------------------------------------------- at once

    async def _lay_out(self, name: DatasetName, place: PlainPlace) -> str:
        dataset = await self._documents.fetch(DATASETS, str(name))
        if dataset is None or is_purging(dataset):
            return ""
        old = await self._fetch(name)
        if old is not None and old.created == _created(dataset) and await place.is_laid_out(_path(name)):
            return old.url
        if not await self._documents.count(ARRAYS, scopes=[str(name)], most=1) or await self._is_elsewhere(name):
            return ""
        counts: list[int] = []
        if place.objects is not None:
            await place.objects.clear(_path(name))  # of another dataset of this name, whose chunks would shine through
        async with closing(self._items(name, dataset, counts)) as items:
            url = await place.lay_out(_path(name), items)
        cursor = BEGIN if place.objects is not None else None
        laid = _Laid(_created(dataset), url, sum(counts), 0, cursor, old.revision if old is not None else 0)
        for _ in range(TRIES):
            if await self._write(name, laid) is not None:
                break
            # Another server was quicker, and may have begun to publish before all that was cleared away: it finds its
            # progress gone, and begins anew.
            other = await self._fetch(name)
            laid = replace(laid, revision=other.revision if other is not None else 0)
        if not await self._is_present(name, laid.created):
            await place.remove(_path(name))
            await self._documents.remove(LAYOUTS, str(name))
            return ""
        return url

    async def _is_elsewhere(self, name: DatasetName) -> bool:
        """Tell whether there are chunks that are not in the store."""
        if self._are_elsewhere is None:
            return False
        async with closing(chunks_of(self._documents, name, at_once=AT_ONCE)) as parts:
            async for chunks, _ in parts:
                if await self._are_elsewhere({chunk.blob for chunk in chunks}):
                    return True
        return False

    async def _is_present(self, name: DatasetName, created: int) -> bool:
        """Tell whether there is still the dataset that was made then."""
        document = await self._documents.fetch(DATASETS, str(name))
        return document is not None and not is_purging(document) and _created(document) == created

    def _ended(self, name: DatasetName, done: asyncio.Task[str]) -> None:
        self._running.pop(name, None)
        if not done.cancelled():
            done.exception()  # looked at, so that asyncio does not report what nobody waits for any more

    async def _items(self, name: DatasetName, dataset: Document, counts: list[int]) -> AsyncIterator[Sequence[Item]]:
        """Yield all there is, and note how many chunks that is."""
        yield await texts_of(self._documents, name, _attributes(name, dataset))
        async for chunks, _ in chunks_of(self._documents, name, at_once=AT_ONCE):
            counts.append(len(chunks))
            yield chunks

    # ---------------------------------------------------------------------------------------------------- bit by bit

    async def _publish(self, name: DatasetName, dataset: Document, laid: _Laid, objects: PlainObjects) -> _Laid:
        end = self._means.monotonic() + self._seconds
        assert laid.cursor is not None
        async with closing(chunks_of(self._documents, name, laid.cursor, at_once=AT_ONCE)) as parts:
            async for chunks, cursor in parts:
                await objects.put(_path(name), chunks)
                laid = replace(laid, done=laid.done + len(chunks), cursor=cursor)
                if self._means.monotonic() >= end:
                    return await self._store(name, laid)
        texts = await texts_of(self._documents, name, _attributes(name, dataset))
        await objects.put(_path(name), texts[:-1])
        await objects.put(_path(name), texts[-1:])
        return await self._store(name, replace(laid, cursor=None, done=laid.chunks, url=objects.url(_path(name))))

    # ---------------------------------------------------------------------------------------------------- its document

    async def _fetch(self, name: DatasetName) -> _Laid | None:
        document = await self._documents.fetch(LAYOUTS, str(name))
        if document is None:
            return None
        body: Mapping[str, Any] = document.body
        cursor = None if body["cursor"] is None else Cursor(*body["cursor"])
        return _Laid(body["created"], body["url"], body["chunks"], body["done"], cursor, document.revision)

    async def _store(self, name: DatasetName, laid: _Laid) -> _Laid:
        """Remember it; return what is remembered if somebody else was quicker."""
        return await self._write(name, laid) or await self._fetch(name) or laid

    async def _write(self, name: DatasetName, laid: _Laid) -> _Laid | None:
        cursor: Json = None if laid.cursor is None else [laid.cursor.array, laid.cursor.block, laid.cursor.skip]
        body: dict[str, Json] = {
            "created": laid.created,
            "url": laid.url,
            "chunks": laid.chunks,
            "done": laid.done,
            "cursor": cursor,
        }
        document = Document(str(name), str(name), body)
        stored: Document | None = None
        if laid.revision:
            stored = await self._documents.replace(LAYOUTS, document, expected_revision=laid.revision)
        else:
            with suppress(AlreadyExists):
                stored = await self._documents.insert(LAYOUTS, document)
        return None if stored is None else replace(laid, revision=stored.revision)


def _path(name: DatasetName) -> str:
    return f"{name.catalog}/{name.dataset}"


def _created(dataset: Document) -> int:
    created = dataset.body["created"]
    assert isinstance(created, int)
    return created


def _attributes(name: DatasetName, dataset: Document) -> Mapping[str, str]:
    title = dataset.body["title"]
    return {
        "dataset": str(name),
        "created": from_microseconds(_created(dataset)).isoformat().replace("+00:00", "Z"),
        **({"title": str(title)} if title else {}),
    }
