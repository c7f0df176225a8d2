"""Freezing a window, so that nothing more gets into it, and opening the next one: by hand, or when a lease runs out.

Each is one write of the head, on condition that nobody has written it meanwhile; what comes after it (see `closing`)
can be done by anybody, at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from measurand.core.buffers.batches import Batches, ListedBatch, window_batch
from measurand.core.buffers.changing import change_head
from measurand.core.buffers.closing import Closings, overdue
from measurand.core.buffers.heads import Head, State
from measurand.core.buffers.holding import (
    closed_in,
    freeze_token,
    held,
    is_same,
    mark_of,
    prolonged,
    require_held,
    waiting,
)
from measurand.core.buffers.leaving import unless_leaving
from measurand.core.buffers.live import Board
from measurand.core.buffers.standing import refusal
from measurand.core.buffers.windows import SYSTEM, closed
from measurand.core.catalogs import Catalogs
from measurand.core.dataset_edits import Source
from measurand.core.fields import check_tags, check_text
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import MetadataReader
from measurand.core.names import BufferName
from measurand.core.ports import DocumentStore, Json
from measurand.core.principal import Principal
from measurand.core.times import microseconds
from measurand.wire.errors import Conflict, InvalidArgument, TooLarge

__all__ = ["BatchDraft", "FreezeAnswer", "Freezing", "UnfreezeAnswer"]

MAX_COMMENT = 1000
MAX_TITLE = 1000
MAX_METADATA_BYTES = 64 * 1024
MIN_LEASE = timedelta(minutes=1)
MAX_LEASE = timedelta(hours=24)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """What the one who closes a window says of its batch, merged over what the buffer says. Empty: nothing."""

    title: str = ""
    tags: Sequence[str] = ()
    metadata: Source | None = None


@dataclass(frozen=True, slots=True)
class FreezeAnswer:
    """What came of freezing.

    Parameters
    ----------
    head : Head
        The buffer; its window has its last figures once it is frozen.
    is_waiting : bool
        It is not frozen: the window is still below the limits.
    token : str
        Whoever has it may unfreeze and prolong. Empty while waiting.
    """

    head: Head
    is_waiting: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class UnfreezeAnswer:
    """The buffer, active again, and what was sealed; None: the window was empty, thrown away, or its batch is gone."""

    head: Head
    batch: ListedBatch | None = None


class Freezing:
    """Freezes, unfreezes and rotates.

    Parameters
    ----------
    closings : Closings
        Bring closed windows to their end.
    batches : Batches
        Find what was made of them.
    """

    def __init__(
        self,
        documents: DocumentStore,
        catalogs: Catalogs,
        board: Board,
        closings: Closings,
        batches: Batches,
        means: Means,
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._catalogs = catalogs
        self._board = board
        self._closings = closings
        self._batches = batches
        self._means = means
        self._limits = limits
        self._reader = MetadataReader(means, limits)

    async def freeze(
        self,
        principal: Principal,
        name: BufferName,
        *,
        window: int = 0,
        comment: str = "",
        force: bool = False,
        wait_seconds: float = 0.0,
        lease: timedelta | None = None,
        token: str = "",
        request_id: str = "",
        leaving: asyncio.Event | None = None,
    ) -> FreezeAnswer:
        """Close the newest window: once this has answered with a token, nothing more gets into it.

        Below the limits of the policy nothing happens and the answer is `is_waiting`; a policy without limits, or one
        that rotates, has nothing to wait for. A window that a policy has frozen can be taken over.

        Parameters
        ----------
        window : int
            Freeze only this one. 0: the newest.
        comment : str
            For the event log, at most 1000 characters.
        force : bool
            Freeze even below the limits.
        wait_seconds : float
            So long to wait for the limits, 0 to 30.
        lease : timedelta, optional
            The freeze ends by itself after so long, 1 minute to 24 hours. None: never.
        token : str
            From an earlier answer: prolong that freeze by `lease` from now; None: for ever.
        leaving : asyncio.Event, optional
            Set when the server is going away: nobody waits here any longer.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody else holds a freeze.
        NotFrozen
            BUFFER_NOT_FROZEN: the freeze of `token` has ended.
        FailedPrecondition
            STATE_WRONG: `window` is sealed already or not open yet, or the buffer is finished.
        InvalidArgument
            FIELD_INVALID, REQUEST_ID_REUSED.
        NotFound
            RESOURCE_NOT_FOUND.
        ShuttingDown
            SHUTTING_DOWN: while it waited. Nothing is frozen; ask another server.
        """
        check_text(comment, field="comment", most=MAX_COMMENT)
        if lease is not None and not MIN_LEASE <= lease <= MAX_LEASE:
            raise InvalidArgument(
                f"lease: {lease.total_seconds():g} seconds; a lease lasts 1 minute to 24 hours", field="lease"
            )
        longest = self._limits.max_wait.total_seconds()
        if not 0 <= wait_seconds <= longest:
            raise InvalidArgument(f"wait: {wait_seconds:g} seconds; wait 0 to {longest:g}", field="wait")
        await self._catalogs.require(principal, name.parent)
        mark = mark_of(request_id, "freeze", principal.name, str(name), window, comment, force, lease)
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        while True:
            answers: list[FreezeAnswer] = []

            def decide(
                head: Head, answers: list[FreezeAnswer] = answers, notes: bool = wait_seconds <= 0
            ) -> Head | None:
                now = self._means.now()
                head, before = overdue(head, now) or head, head
                if token:
                    new: Head | None = prolonged(head, now, token, lease)
                else:
                    new = held(head, now, principal.name, window, comment, mark, lease, force=force)
                answers[:] = [
                    FreezeAnswer(head, is_waiting=True) if new is None else FreezeAnswer(new, token=freeze_token(new))
                ]
                new = new or head
                if notes and answers[0].is_waiting:
                    new = waiting(new, now, principal.name)
                    answers[:] = [replace(answers[0], head=new)]
                return None if new is before else new

            head = await change_head(self._documents, self._board, self._means, name, decide)
            await self._closings.finish(head)
            answer = answers[0]
            left = deadline - clock()
            if not answer.is_waiting:
                return replace(answer, head=head)
            if left <= 0:
                if wait_seconds > 0:
                    wait_seconds = 0.0
                    continue  # once more, to note in the log that somebody is waiting
                return replace(answer, head=head)
            await unless_leaving(self._until_due(head, left), leaving)

    async def unfreeze(
        self,
        principal: Principal,
        name: BufferName,
        *,
        window: int = 0,
        discard: bool = False,
        draft: BatchDraft | None = None,
        token: str = "",
        force: bool = False,
        allow_empty: bool = False,
        request_id: str = "",
    ) -> UnfreezeAnswer:
        """Seal the frozen window into a batch and open the next window. The batch is there when this returns.

        Parameters
        ----------
        window : int
            The frozen one; one that is sealed already gives the same batch again. 0: the newest.
        discard : bool
            Throw the records away instead of making a batch.
        token : str
            From `freeze`. Not needed for a window that a policy has frozen.
        force : bool
            Without the token.
        allow_empty : bool
            Make a batch even of an empty window.

        Raises
        ------
        NotFrozen
            BUFFER_NOT_FROZEN: it is not.
        Conflict
            ETAG_MISMATCH: there is no window with this number yet.
        PermissionDenied
            PERMISSION_DENIED: the freeze is held with another token.
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        await self._catalogs.require(principal, name.parent)
        said = await self._said(principal, draft)
        mark = mark_of(request_id, "unfreeze", principal.name, str(name), window, discard, said, allow_empty)

        def decide(head: Head, now: datetime) -> Head:
            freeze = require_held(head, token, force=force)
            is_kept = (head.window_records > 0 or allow_empty) and not discard
            return closed(
                head, now, principal.name, makes_batch=is_kept, said=said, comment=freeze.comment, request=mark
            )

        return await self._close(name, window, mark, decide)

    async def rotate(
        self,
        principal: Principal,
        name: BufferName,
        *,
        window: int = 0,
        draft: BatchDraft | None = None,
        request_id: str = "",
    ) -> UnfreezeAnswer:
        """Seal the newest window into a batch while appends go on in the next. An empty window stays as it is.

        Parameters
        ----------
        window : int
            The one to seal; one that is sealed already gives the same batch again. 0: the newest.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody holds a freeze.
        Conflict
            ETAG_MISMATCH: there is no window with this number yet.
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        NotFound
            RESOURCE_NOT_FOUND.
        """
        await self._catalogs.require(principal, name.parent)
        said = await self._said(principal, draft)
        mark = mark_of(request_id, "rotate", principal.name, str(name), window, said)

        def decide(head: Head, now: datetime) -> Head | None:
            is_held = head.freeze is not None and head.freeze.owner != SYSTEM
            if is_held and (error := refusal(head)) is not None:
                raise error
            if not head.window_records and head.state is not State.FROZEN:
                return None
            return closed(head, now, principal.name, makes_batch=head.window_records > 0, said=said, request=mark)

        return await self._close(name, window, mark, decide)

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _close(
        self, name: BufferName, window: int, mark: str, decide: Callable[[Head, datetime], Head | None]
    ) -> UnfreezeAnswer:
        """Close the newest window, unless that one, or a window by this request, was closed before."""
        before = await self._closed_before(name, window, mark)
        which: list[int] = [before or 0]

        def change(head: Head) -> Head | None:
            now = self._means.now()
            head, old = overdue(head, now) or head, head
            if before is not None or (repeat := closed_in(head, window, mark)) is not None:
                which[:] = [before if before is not None else repeat or 0]
                return None if head is old else head
            if window > head.window:
                raise Conflict(
                    f"{name}: window {window} is not open yet, the newest is {head.window}; read the buffer again",
                    resource=name,
                    window=head.window,
                )
            new = decide(head, now)
            which[:] = [head.window if new is not None else 0]
            return (None if head is old else head) if new is None else new

        head = await change_head(self._documents, self._board, self._means, name, change)
        await self._closings.finish(head)
        batch = await window_batch(self._documents, head.uid, which[0]) if which[0] else None
        listed = await self._batches.with_datasets([batch] if batch is not None and batch.released is None else [])
        head = (await self._board.read(name)).head
        return UnfreezeAnswer(head, listed[0] if listed else None)

    async def _closed_before(self, name: BufferName, window: int, mark: str) -> int | None:
        """Return the window that this request, or anybody, has closed before and whose note has gone; else None."""
        head = (await self._board.read(name)).head
        if window and window < head.window:
            return window
        if not window and mark and head.window > 1:
            last = await window_batch(self._documents, head.uid, head.window - 1)
            if last is not None and last.request and is_same(last.request, mark):
                return last.window
        return None

    async def _until_due(self, head: Head, seconds: float) -> None:
        """Return when the state of a buffer has changed, its window is old enough, or the time is over."""
        age = head.policy.freeze_after_age
        first = head.window_first_time
        # While the window is empty nobody knows when it will be old enough: its first record tells.
        known = head.next_sequence if age is not None and first is None else None
        if age is not None and first is not None:
            old = first + age // _MICROSECOND - microseconds(self._means.now())
            seconds = min(seconds, max(old / 1_000_000, 0.001))
        await self._board.newest(head.name, known, seconds, known_version=head.version)

    async def _said(self, principal: Principal, draft: BatchDraft | None) -> Mapping[str, Json]:
        """Return what was said of a batch, checked, as it is noted in the head."""
        said: dict[str, Json] = {"by": principal.name}
        if draft is None:
            return said
        if draft.title:
            said["title"] = check_text(draft.title, field="batch.title", most=MAX_TITLE)
        if draft.tags:
            said["tags"] = list(check_tags(draft.tags, field="batch.tags"))
        if draft.metadata is not None:
            metadata = await self._reader.read(draft.metadata, field="batch.metadata")
            if metadata.size > MAX_METADATA_BYTES:
                raise TooLarge(
                    f"batch.metadata: {metadata.size} bytes as text; the most is {MAX_METADATA_BYTES}; "
                    "put what is large into a file",
                    limit=MAX_METADATA_BYTES,
                    actual=metadata.size,
                    field="batch.metadata",
                )
            said["metadata"] = metadata.text
        return said
