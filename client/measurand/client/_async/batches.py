"""The handle of a batch: what a window of a buffer became when it was sealed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from measurand.client import display, names, values
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.datasets import AsyncDataset
from measurand.client._async.record_reads import AsyncRecordReads
from measurand.client.results import time_of
from measurand.v1 import buffers_pb2, datasets_pb2

__all__ = ["AsyncBatch"]

PINNED = "pinned"
"""The tag of a batch that no policy removes."""


class AsyncBatch(AsyncRecordReads):
    """A sealed window of a buffer: a dataset of kind `batch` whose records can be read.

    Made by `unfreeze`, `rotate` and `batches` of a buffer.
    """

    def __init__(self, calls: AsyncCalls, message: buffers_pb2.Batch) -> None:
        self._calls = calls
        self._message = message
        self._source = message.dataset

    @property
    def name(self) -> str:
        """Id of its dataset: the buffer's, the time in UTC and the number of the window."""
        return names.last_part(self._message.dataset)

    @property
    def buffer(self) -> str:
        """Name of the buffer that it came from."""
        return self._message.buffer

    @property
    def window(self) -> int:
        """Number of the window."""
        return self._message.window

    @property
    def counts(self) -> dict[str, int]:
        """How many `records` and `bytes` are in it."""
        return {"records": self._message.records, "bytes": self._message.size}

    @property
    def sequences(self) -> range:
        """The sequences that are in it: `read(batch.sequences)` reads all."""
        return range(self._message.first_sequence, self._message.last_sequence + 1)

    @property
    def title(self) -> str:
        """Title of the dataset."""
        return self._message.title

    @property
    def tags(self) -> list[str]:
        """Tags of the dataset, as they were read."""
        return list(self._message.tags)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the dataset: the buffer's, the caller's, and what was counted."""
        return values.from_text(self._message.metadata.json)

    @property
    def owner(self) -> str:
        """Who froze it; `system`: the buffer's policy."""
        return self._message.owner

    @property
    def frozen(self) -> datetime | None:
        """When it was frozen."""
        return time_of(self._message, "freeze_time")

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self._message, "create_time")

    @property
    def first_time(self) -> datetime | None:
        """When its first record was stored."""
        return time_of(self._message, "first_time")

    @property
    def last_time(self) -> datetime | None:
        """When its last record was stored."""
        return time_of(self._message, "last_time")

    @property
    def dataset(self) -> AsyncDataset:
        """The dataset, as far as it is known here; its `refresh` reads the rest."""
        message = datasets_pb2.Dataset(
            name=self._message.dataset, title=self.title, tags=self.tags, kind="batch", metadata=self._message.metadata
        )
        return AsyncDataset(self._calls, message)

    @property
    def is_pinned(self) -> bool:
        """No policy removes it."""
        return PINNED in self._message.tags

    async def pin(self) -> None:
        """Keep it whatever the policy of the buffer says."""
        dataset = await self.dataset.refresh()
        if PINNED not in dataset.tags:
            await dataset.add_tags(PINNED)
        self._take_tags(dataset)

    async def unpin(self) -> None:
        """Let the policy of the buffer remove it."""
        dataset = await self.dataset.refresh()
        if PINNED in dataset.tags:
            await dataset.remove_tags(PINNED)
        self._take_tags(dataset)

    def __len__(self) -> int:
        return self._message.records

    def __bool__(self) -> bool:
        return True  # also one without records is a batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncBatch) and self._message.dataset == other._message.dataset

    def __hash__(self) -> int:
        return hash(self._message.dataset)

    def __repr__(self) -> str:
        return display.line("Batch", self.name, {**self.counts, "tags": self.tags})

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [("title", self.title), ("buffer", self.buffer), ("window", self.window)]
        rows += [("records", len(self)), ("size", display.bytes_text(self._message.size)), ("owner", self.owner)]
        rows += [("sequences", f"{self._message.first_sequence} to {self._message.last_sequence}")]
        rows += [("from", self.first_time), ("to", self.last_time), ("tags", self.tags), ("metadata", self.metadata)]
        return display.table(f"Batch {self.name}", rows)

    def _take_tags(self, dataset: AsyncDataset) -> None:
        self._message.ClearField("tags")
        self._message.tags.extend(dataset.tags)
