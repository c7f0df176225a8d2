"""What buffers forget by themselves: records of sealed windows, and batches, as their policies say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from measurand.core.buffers.batches import (
    BATCHES,
    LIVE,
    Batch,
    batch_of,
    batches_prefix,
    is_being_read,
    window_batch,
)
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.documents import BUFFERS, head_of
from measurand.core.buffers.heads import Event, EventKind, Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.releasing import Releasing
from measurand.core.buffers.remembering import EVENTS
from measurand.core.buffers.standing import find_standing
from measurand.core.buffers.windows import SYSTEM
from measurand.core.dataset_documents import DATASETS, Dataset, dataset_of, is_purging
from measurand.core.filters.tree import And, Compare, Exists
from measurand.core.means import Means
from measurand.core.ports import DocumentStore, Order, Position
from measurand.core.purging import Purging
from measurand.core.times import microseconds
from measurand.core.view import Scalar
from measurand.wire.errors import NotFound

__all__ = ["PINNED", "Retention"]

PINNED = "pinned"
"""The tag of datasets whose batch no policy removes."""

AT_ONCE = 200
KNOWN_FOR = timedelta(days=1)
"""How long it is known of a window that is thrown away or removed."""
EVENTS_FOR = timedelta(days=90)
SWEEP_SECONDS = 3600.0
_MICROSECOND = timedelta(microseconds=1)


class Retention:
    """Does what the policies say. For a background job, every minute or so.

    Parameters
    ----------
    purging : Purging
        Of datasets; it is to call `Releasing.release`.
    """

    def __init__(
        self, documents: DocumentStore, board: Board, releasing: Releasing, purging: Purging, means: Means
    ) -> None:
        self._documents = documents
        self._board = board
        self._releasing = releasing
        self._purging = purging
        self._means = means
        self._swept: float | None = None

    async def run_once(self) -> int:
        """Forget what is over, and return how many batches that were. Safe to run in several processes at once."""
        expired = 0
        after: Position | None = None
        while found := await self._documents.find(BUFFERS, where=Exists("keeps"), after=after, limit=AT_ONCE):
            after = found[-1].position
            for item in found:
                head = head_of(item.document)
                expired += await self._expire(head)
                await self._trim(head)
        await self._forget_windows()
        await self._forget_events()
        now = self._means.monotonic()
        if self._swept is None or now - self._swept >= SWEEP_SECONDS:
            await self._releasing.sweep_all()
            self._swept = now
        return expired

    async def _trim(self, head: Head) -> None:
        """Forget the records of windows that were closed so long ago as the policy says."""
        keep = head.policy.keep_sealed
        if keep is None:
            return
        until = Scalar("t", microseconds(self._means.now() - keep))
        found = await self._documents.find(
            BATCHES,
            where=Compare("closed", "<=", until),
            order=[Order("window", descending=True, required=True)],
            key_prefix=batches_prefix(head.uid),
            limit=1,
        )
        end = batch_of(found[0].document).end if found else 0
        if end > head.first_sequence:
            await self._releasing.trim(head, end)
            await self._releasing.sweep(head.name, head.uid, head.first_sequence, end)

    async def _expire(self, head: Head) -> int:
        """Remove the oldest batches that are too old, too many or too large together; pinned and read ones stay."""
        policy, expired = head.policy, 0
        if policy.keep_batches_for is None and not policy.keep_batches_bytes and not policy.keep_batches:
            return 0
        batches = await self._unpinned(head)
        count, size = len(batches), sum(batch.size for batch in batches)
        for batch in batches:
            age = (microseconds(self._means.now()) - batch.make_time) * _MICROSECOND
            if policy.keep_batches_for is not None and age >= policy.keep_batches_for:
                why = f"older than {policy.keep_batches_for.total_seconds():g} seconds"
            elif policy.keep_batches and count > policy.keep_batches:
                why = f"more than {policy.keep_batches} batches"
            elif policy.keep_batches_bytes and size > policy.keep_batches_bytes:
                why = f"more than {policy.keep_batches_bytes} bytes of batches"
            else:
                return expired
            count, size = count - 1, size - batch.size
            if not await self._is_being_read(batch):  # else in one of the next runs
                await self._remove(head, batch, why)
                expired += 1
        return expired

    async def _is_being_read(self, batch: Batch) -> bool:
        newest = await window_batch(self._documents, batch.uid, batch.window)
        return newest is not None and is_being_read(newest, self._means.now())

    async def _unpinned(self, head: Head) -> Sequence[Batch]:
        """Return the batches that a policy may remove, oldest first."""
        unpinned: list[Batch] = []
        after: Position | None = None
        while found := await self._documents.find(
            BATCHES, where=Exists(LIVE), key_prefix=batches_prefix(head.uid), after=after, limit=AT_ONCE
        ):
            after = found[-1].position
            batches = [batch_of(item.document) for item in found]
            datasets = await self._datasets([str(batch.dataset) for batch in batches])
            for batch in batches:
                dataset = datasets.get(str(batch.dataset))
                if dataset is not None and dataset.delete_time is None and PINNED not in dataset.tags:
                    unpinned.append(batch)
        return unpinned

    async def _datasets(self, names: Sequence[str]) -> dict[str, Dataset]:
        found = await self._documents.fetch_many(DATASETS, names)
        return {key: dataset_of(document) for key, document in found.items() if not is_purging(document)}

    async def _remove(self, head: Head, batch: Batch, why: str) -> None:
        """Remove a batch. The log says so once, also when this is done again after a crash."""
        dataset = batch.dataset
        assert dataset is not None
        noted = And((Compare("dataset", "=", Scalar("s", str(dataset))), _OF_KIND))

        def note(now: Head) -> Head | None:
            if any(one.dataset == str(dataset) and one.kind is EventKind.BATCH_EXPIRED for one in now.events):
                return None
            event = Event(
                number=now.next_event,
                kind=EventKind.BATCH_EXPIRED,
                time=microseconds(self._means.now()),
                actor=SYSTEM,
                window=batch.window,
                next_sequence=now.next_sequence,
                message=why,
                dataset=str(dataset),
            )
            return replace(now, events=(*now.events, event), next_event=now.next_event + 1)

        if not await self._documents.count(EVENTS, where=noted, key_prefix=f"{head.uid}/", most=1):
            try:
                await change_head(self._documents, self._board, self._means, head.name, note)
            except NotFound:
                return
        await self._purging.purge(dataset)

    async def _forget_windows(self) -> None:
        """Forget what has become of windows without a batch, once nothing of them is left."""
        until = Scalar("t", microseconds(self._means.now() - KNOWN_FOR))
        after: Position | None = None
        while found := await self._documents.find(
            BATCHES, where=Compare("released", "<=", until), after=after, limit=AT_ONCE
        ):
            after = found[-1].position
            for batch in (batch_of(item.document) for item in found):
                standing = await find_standing(self._documents, batch.buffer, batch.uid)
                if standing is not None:
                    head = standing.head
                    if head.first_sequence < batch.end or any(one.window == batch.window for one in head.closing):
                        continue
                await self._releasing.let_go(batch)
                key = f"{batches_prefix(batch.uid)}{batch.window:012d}"
                await self._documents.remove(BATCHES, key)

    async def _forget_events(self) -> None:
        until = Scalar("t", microseconds(self._means.now() - EVENTS_FOR))
        while found := await self._documents.find(EVENTS, where=Compare("happened", "<=", until), limit=AT_ONCE):
            for item in found:
                await self._documents.remove(EVENTS, item.document.key)


_OF_KIND = Compare("kind", "=", Scalar("s", EventKind.BATCH_EXPIRED.value))
