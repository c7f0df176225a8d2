"""The rooms of core that files need, over memory stores, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from measurand.core.arrays.layout import Layout
from measurand.core.arrays.resizing import Resizing
from measurand.core.arrays.sealing_arrays import SealedArrays
from measurand.core.catalog_documents import CatalogDraft
from measurand.core.catalogs import Catalogs
from measurand.core.collector import Collector
from measurand.core.dataset_edits import DatasetDraft
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_sealing import Sealing
from measurand.core.datasets import Datasets
from measurand.core.drafts import Drafts
from measurand.core.file_listing import FileListing
from measurand.core.files import Files
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import DatasetName, FileName
from measurand.core.policies import Policies
from measurand.core.ports import BlobStore, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.core.reading import Reading
from measurand.core.reading_many import ReadingMany
from measurand.core.small_files import SmallFiles
from measurand.core.uploading import Uploads
from measurand.server.elements import NumpyElements
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.memory import Memory as MemoryBlobs
from measurand.storage.documents.memory import Memory as MemoryDocuments

Result = TypeVar("Result")


@dataclass
class Clock:
    """Stands still until the test moves it."""

    time: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)
    running: float = 0.0

    def move(self, by: timedelta) -> None:
        self.time += by
        self.running += by.total_seconds()


class Direct:
    """Runs work at once instead of in a thread."""

    def __call__(self, work: Callable[..., Result], /, *args: object) -> Awaitable[Result]:
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(work(*args))
        except Exception as error:
            done.set_exception(error)
        return done


@dataclass
class Rooms:
    """One server's worth of core. `restarted` is another process over the same stores."""

    clock: Clock
    means: Means
    limits: Limits
    documents: DocumentStore
    blobs: BlobStore
    name: DatasetName = field(default_factory=lambda: DatasetName("lab", "run"))

    def __post_init__(self) -> None:
        documents, blobs, means, limits = self.documents, self.blobs, self.means, self.limits
        self.catalogs = Catalogs(documents, means, limits, compile_pattern=compile_pattern)
        self.datasets = Datasets(documents, self.catalogs, means, limits, compile_pattern=compile_pattern)
        self.files = Files(documents, self.datasets, means, limits)
        self.uploads = Uploads(documents, blobs, self.datasets, self.files, means, limits)
        self.small_files = SmallFiles(blobs, self.datasets, self.files, Policies(documents, means), means, limits)
        self.reading = Reading(blobs, self.files, means, limits)
        self.reading_many = ReadingMany(documents, blobs, self.datasets, self.files, self.reading, limits)
        self.listing = FileListing(documents, self.datasets)
        self.drafts = Drafts(documents, self.catalogs, self.datasets, means, limits)
        self.layout = Layout(documents, means, None)
        self.sealing = Sealing(
            documents,
            self.catalogs,
            self.datasets,
            self.uploads.ends,
            means,
            limits,
            arrays=SealedArrays(
                documents, Resizing(documents, blobs, self.datasets, NumpyElements(), means, limits), means
            ),
            layout=self.layout,
        )
        self.collector = Collector(documents, blobs, means, limits)

    def restarted(self) -> Rooms:
        return replace(self)

    def file(self, path: str) -> FileName:
        return FileName(self.name.catalog, self.name.dataset, path)

    async def content(self, path: str, generation: int = 0) -> bytes:
        _, parts = await self.reading.open(LOCAL_USER, self.file(path), generation=generation)
        return b"".join([bytes(part.data) async for part in parts])


def make_rooms(
    limits: Limits | None = None, *, seed: int = 0, wrap: Callable[[BlobStore], BlobStore] = lambda inner: inner
) -> Rooms:
    """Return rooms over empty memory stores, the blobs' wrapped; `await prepare(rooms)` makes the catalog and the
    dataset.
    """
    clock, chance = Clock(), random.Random(seed)
    means = replace(
        make_means(ThreadPoolExecutor()),  # starts no thread before it is given work
        in_thread=Direct(),
        now=lambda: clock.time,
        monotonic=lambda: clock.running,
        random_bytes=chance.randbytes,
    )
    resting = wrap(MemoryBlobs(now=lambda: clock.time))
    blobs = Checked(resting, crc32c=means.crc32c, combine_crc32c=means.combine_crc32c, in_thread=means.in_thread)
    return Rooms(clock, means, limits or Limits(), MemoryDocuments(compile_pattern), blobs)


async def prepare(rooms: Rooms) -> None:
    """Make the catalog and the dataset."""
    await rooms.catalogs.create(LOCAL_USER, "lab", CatalogDraft())
    await rooms.datasets.create(LOCAL_USER, rooms.name.parent, NewDataset(DatasetDraft(), dataset_id="run"))
