"""Batches: what has become of the windows that were closed, and the list of those that can be read.

A closed window leaves one document. While its batch is there it says where the records are; after that, or where
none was made, it says so for a while, to those who close the window again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from measurand.core.buffers.changing import TRIES
from measurand.core.buffers.heads import Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.remembering import with_few_events
from measurand.core.buffers.standing import find_standing, missing, stored
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_documents import DATASETS, Dataset, dataset_of, require_shown
from measurand.core.filters.tree import And, Compare, Exists
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName, DatasetName, parse_buffer, parse_dataset
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import Document, DocumentStore, Json, Order
from measurand.core.principal import Principal
from measurand.core.searchable import entries
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Scalar, View
from measurand.wire.errors import Contention, NotFound

__all__ = [
    "BATCHES",
    "KIND",
    "LIVE",
    "Batch",
    "Batches",
    "ListedBatch",
    "Page",
    "batch_document",
    "batch_key",
    "batch_of",
    "batch_to_read",
    "batches_prefix",
    "change_counted",
    "find_batch",
    "is_being_read",
    "live_windows",
    "window_batch",
]

BATCHES = "buffer_batches"
"""The collection of what has become of closed windows: key uid and window, scope the buffer's name."""

KIND = "batch"
"""The kind of the datasets that batches are."""

LIVE = "made"
"""The path in the view that only those have whose batch is there."""

AT_ONCE = 1000
NOTED_EVERY = 60_000_000
READING = 600_000_000
"""A reader comes back for more within ten minutes, else it does not keep a batch from being removed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What has become of a closed window. All times are in microseconds since 1970.

    Parameters
    ----------
    first, end : int
        Sequences: of its first record, and the one behind its last.
    size : int
        Bytes of data and metadata.
    owner : str
        Who froze it, `users/{user}`, or `system` for a policy.
    make_time : int
        When the window was closed.
    dataset : DatasetName, optional
        None: no batch was made, since it was empty, or was thrown away.
    request : str
        What closed it: `{id} {fingerprint}`.
    released : int, optional
        Since when there is no batch any more, or when the window was thrown away. None: it is there.
    read : int, optional
        When somebody was reading it, to the minute. None: nobody has.
    """

    buffer: BufferName
    uid: str
    window: int
    first: int
    end: int
    size: int
    owner: str
    freeze_time: int
    make_time: int
    first_time: int | None = None
    last_time: int | None = None
    dataset: DatasetName | None = None
    request: str = ""
    released: int | None = None
    read: int | None = None

    @property
    def records(self) -> int:
        """How many there are in it."""
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class ListedBatch:
    """A batch with its dataset, which has title, tags and metadata."""

    batch: Batch
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class Page:
    """Some batches, newest first, and the token of the next page; empty: this was the last."""

    batches: Sequence[ListedBatch]
    next_page_token: str


def batches_prefix(uid: str) -> str:
    """Return what the keys of all batches of a buffer begin with."""
    return f"{uid}/"


def batch_key(uid: str, window: int) -> str:
    """Return the key of what has become of a window; those of one buffer sort by window."""
    return f"{batches_prefix(uid)}{window:012d}"


def batch_document(batch: Batch) -> Document:
    """Return the document of a closed window."""
    body: dict[str, Json] = {
        "buffer": str(batch.buffer),
        "uid": batch.uid,
        "window": batch.window,
        "first": batch.first,
        "end": batch.end,
        "size": batch.size,
        "owner": batch.owner,
        "frozen": batch.freeze_time,
        "made": batch.make_time,
        "first_time": batch.first_time,
        "last_time": batch.last_time,
        "dataset": "" if batch.dataset is None else str(batch.dataset),
        "request": batch.request,
        "released": batch.released,
        "read": batch.read,
    }
    is_live = batch.released is None
    view: View = entries(
        window=batch.window,
        closed=from_microseconds(batch.make_time),
        dataset=None if batch.dataset is None else str(batch.dataset),
        made=from_microseconds(batch.make_time) if is_live else None,
        size=batch.size if is_live else None,
        released=None if batch.released is None else from_microseconds(batch.released),
    )
    return Document(batch_key(batch.uid, batch.window), str(batch.buffer), body, view=view)


def batch_of(document: Document) -> Batch:
    """Return what a document of `BATCHES` says of a window."""
    body: Mapping[str, Any] = document.body
    return Batch(
        buffer=parse_buffer(body["buffer"]),
        uid=body["uid"],
        window=body["window"],
        first=body["first"],
        end=body["end"],
        size=body["size"],
        owner=body["owner"],
        freeze_time=body["frozen"],
        make_time=body["made"],
        first_time=body["first_time"],
        last_time=body["last_time"],
        dataset=parse_dataset(body["dataset"]) if body["dataset"] else None,
        request=body["request"],
        released=body["released"],
        read=body.get("read"),
    )


async def find_batch(documents: DocumentStore, dataset: DatasetName) -> Batch | None:
    """Return the batch that a dataset is; None: it is none, or its records are gone."""
    where = And((Compare("dataset", "=", Scalar("s", str(dataset))), Exists(LIVE)))
    found = await documents.find(BATCHES, where=where, limit=1)
    return batch_of(found[0].document) if found else None


async def batch_to_read(documents: DocumentStore, dataset: DatasetName, now: datetime) -> Batch | None:
    """Return the batch that a dataset is, and write down that it is being read: policies then leave it for a while."""
    batch = await find_batch(documents, dataset)
    if batch is None or (batch.read is not None and microseconds(now) - batch.read < NOTED_EVERY):
        return batch
    kept = await documents.fetch(BATCHES, batch_key(batch.uid, batch.window))
    if kept is not None and batch_of(kept).released is None:
        noted = batch_document(replace(batch_of(kept), read=microseconds(now)))
        # Where somebody was faster, that was another reader, or it is being removed.
        await documents.replace(BATCHES, noted, expected_revision=kept.revision)
    return batch


def is_being_read(batch: Batch, now: datetime) -> bool:
    """Tell whether somebody has read in a batch a short time ago."""
    return batch.read is not None and microseconds(now) - batch.read < READING


async def window_batch(documents: DocumentStore, uid: str, window: int) -> Batch | None:
    """Return what has become of a window; None: it is not closed, or that was long ago."""
    document = await documents.fetch(BATCHES, batch_key(uid, window))
    return None if document is None else batch_of(document)


async def live_windows(documents: DocumentStore, uid: str, windows: Iterable[int]) -> frozenset[int]:
    """Return those of the windows whose batch is there."""
    keys = [batch_key(uid, window) for window in sorted(set(windows))]
    live: set[int] = set()
    for start in range(0, len(keys), AT_ONCE):
        found = await documents.fetch_many(BATCHES, keys[start : start + AT_ONCE])
        live |= {batch.window for batch in map(batch_of, found.values()) if batch.released is None}
    return frozenset(live)


async def change_counted(
    documents: DocumentStore,
    board: Board,
    means: Means,
    name: BufferName,
    uid: str,
    decide: Callable[[Head], Head | None],
) -> Head | None:
    """Replace a head by what `decide` makes of it, with its batches counted anew, and return it.

    None: the buffer is gone. Whoever has changed a document of `BATCHES` counts after that, on condition of the head;
    so of several the last has counted what all of them have done.

    Raises
    ------
    Contention
        CONTENTION: others were faster too often.
    """
    for number in range(TRIES):
        async with board.turn(name):
            standing = await find_standing(documents, name, uid)
            if standing is None:
                return None
            new = decide(standing.head)
            if new is None:
                return standing.head
            count = await documents.count(BATCHES, key_prefix=batches_prefix(uid), where=Exists(LIVE))
            new = await with_few_events(documents, standing.head, replace(new, batch_count=count))
            changed = await stored(documents, standing, new)
            if changed is not None:
                board.publish(changed.head, revision=changed.revision)
                return changed.head
        await asyncio.sleep(means.random_bytes(1)[0] / 255 * min(0.002 * (number + 1), 0.1))
    raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)


class Batches:
    """Lists batches."""

    def __init__(self, documents: DocumentStore, catalogs: Catalogs, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._means = means
        self._limits = limits

    async def page(self, principal: Principal, parent: BufferName, *, size: int = 0, page_token: str = "") -> Page:
        """Return some batches of a buffer, newest first. Those whose dataset is deleted are left out.

        Parameters
        ----------
        size : int
            So many at most. 0: the default.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such buffer.
        InvalidArgument
            FIELD_INVALID of `page_size`, PAGE_TOKEN_INVALID.
        """
        await self._catalogs.require(principal, parent.parent)
        standing = await find_standing(self._documents, parent)
        if standing is None:
            raise missing(parent)
        most, now = page_size(size, self._limits), self._means.now()
        request = ("batches", str(parent), standing.head.uid)
        start = open_token(page_token, request=request, values=1, now=now)
        found = await self._documents.find(
            BATCHES,
            where=Exists(LIVE),
            order=[Order("window", descending=True, required=True)],
            key_prefix=batches_prefix(standing.head.uid),
            after=start.after,
            limit=most,
        )
        batches = await self.with_datasets([batch_of(item.document) for item in found])
        token = make_token(found[-1].position, request=request, now=start.now) if len(found) == most else ""
        return Page(batches, token)

    async def with_datasets(self, batches: Sequence[Batch]) -> list[ListedBatch]:
        """Return batches with their datasets, without those whose dataset is not there or deleted."""
        names = [str(batch.dataset) for batch in batches if batch.dataset is not None]
        found = await self._documents.fetch_many(DATASETS, names) if names else {}
        listed, now = [], self._means.now()
        for batch in batches:
            if batch.dataset is None:
                continue
            try:
                document = require_shown(found.get(str(batch.dataset)), batch.dataset, now)
            except NotFound:
                continue
            listed.append(ListedBatch(batch, dataset_of(document)))
        return listed
