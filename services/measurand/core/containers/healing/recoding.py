"""The operation `recode`: what a catalog or a dataset holds is stored under the policy that holds for it now."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.buffers.documents import BUFFERS, SEGMENTS
from measurand.core.containers.healing.pacing import Pace
from measurand.core.containers.ports import Recodes
from measurand.core.dataset_documents import DATASETS
from measurand.core.file_documents import FILES, SUPERSEDED
from measurand.core.means import Means
from measurand.core.names import CatalogName, DatasetName, parse_catalog, parse_dataset
from measurand.core.naming import Named, named_by
from measurand.core.operations.jobs import Job
from measurand.core.placement.policies import Policy
from measurand.core.policies import Policies
from measurand.core.ports import Document, DocumentStore, Json, Position
from measurand.wire.errors import Conflict, Contention, MeasurandError, NotFound

__all__ = ["Recoding"]

PAGE = 100
AT_ONCE = 4
REMEMBERED = 10_000
_TRIES = 5


class Recoding:
    """Does recodes. A `Handler`."""

    def __init__(self, documents: DocumentStore, means: Means, recodes: Recodes, pace: Pace) -> None:
        self._documents = documents
        self._means = means
        self._recodes = recodes
        self._pace = pace

    async def __call__(self, job: Job) -> Mapping[str, Json]:
        """Store anew what is not as it should be, and return a RecodeReport. What fails is told of and stays."""
        asked = cast("Mapping[str, Any]", job.arguments)
        run = _Run(job, is_dry=bool(asked.get("validate_only")))
        policies = Policies(self._documents, self._means)  # which remembers nothing of before
        job.progress(run.checked, unit="blobs", message="storing anew")
        async for row in self._rows(asked["parent"]):
            if row.number >= run.row:
                await self._row(run, row, await policies.of(row.place))
        return run.report()

    async def _rows(self, parent: str) -> AsyncIterator[_Row]:
        """Yield all rows of documents that name blobs of a dataset or a catalog."""
        if "/datasets/" in parent:
            for row in _dataset_rows(parent):
                yield row
            return
        catalog = parse_catalog(parent)
        yield _Row((0, parent, 0), catalog, BUFFERS, parent)
        async for document in self._documents_in(BUFFERS, parent):
            yield _Row((1, document.key, 0), catalog, SEGMENTS, document.key)
        async for document in self._documents_in(DATASETS, parent):
            for row in _dataset_rows(document.key):
                yield row

    async def _documents_in(self, collection: str, scope: str, after: str = "") -> AsyncIterator[Document]:
        position = Position((), after) if after else None
        while page := await self._documents.find(
            collection, scopes=[scope], after=position, limit=PAGE, with_text=False
        ):
            for item in page:
                yield item.document
            position = page[-1].position

    async def _row(self, run: _Run, row: _Row, policy: Policy | None) -> None:
        documents: list[Document] = []
        after = run.after if row.number == run.row else ""
        async for document in self._documents_in(row.collection, row.scope, after):
            documents.append(document)
            if len(documents) == PAGE:
                await self._recode_all(run, row, documents, policy)
                documents = []
        await self._recode_all(run, row, documents, policy)

    async def _recode_all(self, run: _Run, row: _Row, documents: Sequence[Document], policy: Policy | None) -> None:
        for document in documents:
            named = named_by(row.collection, document)
            blobs = [blob for blob in named if not blob.staged and run.is_new(blob.key)]
            for begin in range(0, len(blobs), AT_ONCE):
                await asyncio.gather(
                    *(self._recode(run, document.key, blob, policy) for blob in blobs[begin : begin + AT_ONCE])
                )
                run.job.check()
            run.tell()
        if documents:
            await run.note(row, documents[-1].key)

    async def _recode(self, run: _Run, owner: str, blob: Named, policy: Policy | None) -> None:
        run.checked += 1
        for _ in range(_TRIES):
            try:
                if await self._recodes.recode(blob.key, policy, is_dry=True) is None:
                    if not run.is_dry:
                        await self._recodes.recode(blob.key, policy)
                    return
                if not run.is_dry:
                    await self._pace.take(2 * blob.size)
                size = await self._recodes.recode(blob.key, policy, is_dry=run.is_dry)
            except Conflict:
                continue
            except NotFound:
                return  # its owner is gone
            except MeasurandError as error:
                run.job.fail_target(owner, error)
                return
            run.recoded += size is not None
            run.recoded_bytes += size or 0
            return
        problem = Contention(f"{owner}: others keep moving its parts; recode again", retry_seconds=1.0)
        run.job.fail_target(owner, problem)


@dataclass(frozen=True, slots=True)
class _Row:
    """The documents of one collection in one scope.

    Parameters
    ----------
    number : tuple
        In the order in which rows come, whichever are made or removed meanwhile.
    place : DatasetName or CatalogName
        Whose policy holds.
    """

    number: tuple[int, str, int]
    place: DatasetName | CatalogName
    collection: str
    scope: str


def _dataset_rows(name: str) -> Sequence[_Row]:
    collections = (FILES, SUPERSEDED, BLOCKS)
    place = parse_dataset(name)
    return [_Row((2, name, index), place, collection, name) for index, collection in enumerate(collections)]


class _Run:
    """How far one run is."""

    def __init__(self, job: Job, *, is_dry: bool) -> None:
        state = cast("Mapping[str, Any]", job.state or {})
        self.job = job
        self.is_dry = is_dry
        self.checked: int = state.get("checked", 0)
        self.recoded: int = state.get("recoded", 0)
        self.recoded_bytes: int = state.get("bytes", 0)
        first, scope, index = state.get("row", (0, "", 0))
        self.row: tuple[int, str, int] = (first, scope, index)
        self.after: str = state.get("after", "")
        self._known: OrderedDict[str, None] = OrderedDict()

    def is_new(self, key: str) -> bool:
        """Tell whether a blob was not looked at a short time ago: small files share theirs."""
        if key in self._known:
            return False
        self._known[key] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True

    def tell(self) -> None:
        self.job.progress(self.checked, message=f"{self.recoded} blobs, {self.recoded_bytes} bytes stored anew")

    def report(self) -> Mapping[str, Json]:
        return {"checked_blobs": self.checked, "recoded_blobs": self.recoded, "recoded_bytes": self.recoded_bytes}

    async def note(self, row: _Row, after: str) -> None:
        self.row, self.after = row.number, after
        await self.job.checkpoint(
            {
                "row": list(row.number),
                "after": after,
                "checked": self.checked,
                "recoded": self.recoded,
                "bytes": self.recoded_bytes,
            }
        )
