"""The rooms of core that catalogs and datasets need, over a memory store, with a clock that the test moves."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from measurand.core.catalog_documents import CatalogDraft
from measurand.core.catalogs import Catalogs
from measurand.core.counters import Counters
from measurand.core.dataset_documents import Dataset
from measurand.core.dataset_edits import DatasetDraft, DatasetEdit
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_search import EVERYTHING, Page, Selection
from measurand.core.datasets import Datasets
from measurand.core.limits import Limits
from measurand.core.names import CatalogName, DatasetName
from measurand.core.ports import Document, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.core.view import Entry, Scalar
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.documents import decode, encode

from .rooms import Clock, Direct

LAB = CatalogName("lab")


class DatasetRooms:
    """One server's worth of them. `restarted` is another process over the same store."""

    def __init__(
        self, documents: DocumentStore | None = None, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.limits = limits or Limits()
        self.documents = documents or Memory(compile_pattern)
        self.means = replace(
            make_means(ThreadPoolExecutor()),  # starts no thread before it is given work
            in_thread=Direct(),
            now=lambda: self.clock.time,
            monotonic=time.monotonic,
            random_bytes=random.Random(0).randbytes,
        )
        self.catalogs = Catalogs(self.documents, self.means, self.limits, compile_pattern=compile_pattern)
        self.datasets = Datasets(
            self.documents, self.catalogs, self.means, self.limits, compile_pattern=compile_pattern
        )
        self.counters = Counters(self.documents, self.means, self.limits)

    def restarted(self) -> DatasetRooms:
        return DatasetRooms(self.documents, self.limits, self.clock)

    async def catalog(self, catalog_id: str = "lab", **more: Any) -> CatalogName:
        return (await self.catalogs.create(LOCAL_USER, catalog_id, CatalogDraft(**more))).name

    async def make(
        self,
        metadata: Mapping[str, object] | None = None,
        *,
        id: str = "",  # noqa: A002  # the field's own word
        request_id: str = "",
        catalog: CatalogName = LAB,
        **more: Any,
    ) -> Dataset:
        draft = DatasetDraft(metadata=encode(metadata or {}), **more)
        return await self.datasets.create(LOCAL_USER, catalog, NewDataset(draft, id, request_id))

    async def patch(
        self, name: DatasetName, patch: Mapping[str, object], *, etag: str = "", request_id: str = ""
    ) -> Dataset:
        edit = DatasetEdit(patch=encode(patch))
        return await self.datasets.update(LOCAL_USER, name, edit, etag=etag, request_id=request_id)

    async def find(self, filter_text: str = "", *, selection: Selection = EVERYTHING, **more: Any) -> Page[Dataset]:
        return await self.datasets.search.find(
            LOCAL_USER, more.pop("parent", LAB), whole, filter_text=filter_text, selection=selection, **more
        )

    async def ids(self, filter_text: str = "", **more: Any) -> list[str]:
        return [dataset.name.dataset for dataset in (await self.find(filter_text, **more)).items]

    async def add_file(self, name: DatasetName, path: str, size: int) -> None:
        """Store what makes a file, as far as datasets see it."""
        view = [Entry("size", Scalar("n", size))]
        await self.documents.insert("files", Document(f"{name}/files/{path}", str(name), {"size": size}, view=view))

    async def remove_file(self, name: DatasetName, path: str) -> None:
        await self.documents.remove("files", f"{name}/files/{path}")


class Failing(Memory):
    """A memory store whose next writes of one kind into one collection fail, as those of a lost store do."""

    def __init__(self) -> None:
        super().__init__(compile_pattern)
        self._failing: set[tuple[str, str]] = set()

    def fail(self, verb: str, collection: str) -> None:
        self._failing.add((verb, collection))

    def heal(self) -> None:
        self._failing.clear()

    async def insert_many(self, collection: str, documents: Sequence[Document]) -> Sequence[bool]:
        self._check("insert_many", collection)
        return await super().insert_many(collection, documents)

    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        self._check("replace", collection)
        return await super().replace(collection, document, expected_revision=expected_revision)

    async def remove(self, collection: str, key: str, *, expected_revision: int | None = None) -> bool:
        self._check("remove", collection)
        return await super().remove(collection, key, expected_revision=expected_revision)

    def _check(self, verb: str, collection: str) -> None:
        if (verb, collection) in self._failing:
            raise ConnectionError(f"{verb} {collection}")


async def whole(dataset: Dataset) -> tuple[Dataset, int]:
    """Take a dataset as it is into a page, weighing what its metadata weighs."""
    return dataset, 100 + len(dataset.metadata)


def metadata_of(dataset: Dataset) -> dict[str, Any]:
    return decode(dataset.metadata)
