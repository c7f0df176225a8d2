"""What the metrics tell of buffers: looked at now and then, by the server that does the shared work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from measurand.core.buffers.documents import BUFFERS, head_of
from measurand.core.buffers.group_documents import GROUPS, Group, group_of
from measurand.core.buffers.heads import Head, State
from measurand.core.buffers.standing import GONE
from measurand.core.filters.tree import Exists, Not
from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.times import microseconds
from measurand.server.metrics import Series

__all__ = ["BufferFigures"]

Item = TypeVar("Item")

MOST = 500
"""So many buffers and groups are told of, the first by name: a page of metrics must not grow without end."""
AT_ONCE = 100
SHARE = 20
"""Looking takes at most a twentieth of the time, however many buffers there are."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen, and when, in microseconds since 1970."""

    time: int
    heads: Mapping[str, Head]
    groups: Mapping[str, Group]


class BufferFigures:
    """The buffers and groups of all servers over one store."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means
        self._seen = _Look(0, {}, {})
        self._rests_until = 0.0

    async def look(self) -> None:
        """Look at all of them anew. For a background job, every few seconds."""
        began = self._means.monotonic()
        if began < self._rests_until:
            return
        heads = await self._all(BUFFERS, head_of)
        groups = await self._all(GROUPS, group_of)
        self._seen = _Look(microseconds(self._means.now()), heads, groups)
        ended = self._means.monotonic()
        self._rests_until = ended + SHARE * (ended - began)

    def series(self) -> list[Series]:
        """Return what is told."""
        of = self._of_buffers
        return [
            of("measurand_buffer_records", "Records that were ever stored.", _records, is_count=True),
            of("measurand_buffer_windows_closed", "Windows that were closed.", _windows, is_count=True),
            of("measurand_buffer_window_records", "Records in the newest window.", lambda head, _: head.window_records),
            of("measurand_buffer_window_bytes", "Bytes in the newest window.", lambda head, _: head.window_counted),
            of("measurand_buffer_batches", "Batches that are there.", lambda head, _: head.batch_count),
            of("measurand_buffer_frozen_seconds", "How long it has been frozen; 0: it is not.", _frozen_seconds),
            of("measurand_buffer_newest_record_seconds", "Age of the newest record, until it is finished.", _age),
            Series("measurand_buffer_state", "1 for the state that a buffer is in.", ("buffer", "state"), self._states),
            Series("measurand_group_lag", "Records that a group was not given yet.", ("buffer", "group"), self._lags),
            Series("measurand_group_unsettled", "Records that are out.", ("buffer", "group"), self._unsettled),
        ]

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _all(self, collection: str, item_of: Callable[[Document], Item]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        after: Position | None = None
        while len(items) < MOST:
            found = await self._documents.find(
                collection, where=Not(Exists(GONE)), after=after, limit=AT_ONCE, with_text=False
            )
            items |= {item.document.key: item_of(item.document) for item in found}
            if len(found) < AT_ONCE:
                break
            after = found[-1].position
        return items

    def _of_buffers(
        self, name: str, meaning: str, value: Callable[[Head, int], float | None], *, is_count: bool = False
    ) -> Series:
        def look() -> Mapping[tuple[str, ...], float]:
            seen = self._seen
            values = {(key,): value(head, seen.time) for key, head in seen.heads.items()}
            return {key: number for key, number in values.items() if number is not None}

        return Series(name, meaning, ("buffer",), look, is_count)

    def _states(self) -> Mapping[tuple[str, ...], float]:
        return {
            (key, state.value): float(head.state is state) for key, head in self._seen.heads.items() for state in State
        }

    def _lags(self) -> Mapping[tuple[str, ...], float]:
        return self._of_groups(lambda group, head: max(0, head.next_sequence - group.next) + len(group.parts))

    def _unsettled(self) -> Mapping[tuple[str, ...], float]:
        return self._of_groups(lambda group, _: len(group.held))

    def _of_groups(self, value: Callable[[Group, Head], float]) -> Mapping[tuple[str, ...], float]:
        seen = self._seen
        return {
            (buffer, group.name.group): value(group, head)
            for group in seen.groups.values()
            if (head := seen.heads.get(buffer := str(group.name.parent))) is not None and head.uid == group.uid
        }


def _records(head: Head, _: int) -> float:
    return head.next_sequence - 1


def _windows(head: Head, _: int) -> float:
    return head.window - 1


def _frozen_seconds(head: Head, now: int) -> float:
    return 0.0 if head.freeze is None else max(0, now - head.freeze.time) / 1_000_000


def _age(head: Head, now: int) -> float | None:
    if head.last_time is None or head.state is State.FINISHED:
        return None
    return max(0, now - head.last_time) / 1_000_000
