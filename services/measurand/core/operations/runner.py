"""Takes up operations that wait, puts back what others have left behind, and gives back its own when the server stops.

Each server has a runner, and takes up what it has a handler and room for. Which runner has an operation is decided by
one conditional write; a runner that is gone is noticed by the others because its document stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measurand.core.filters.tree import And, Compare, Filter, Or
from measurand.core.leases import LEASE_SECONDS
from measurand.core.means import Means
from measurand.core.operations.deciding import begun, lost
from measurand.core.operations.documents import OPERATIONS, Operation, OperationState, operation_document, operation_of
from measurand.core.operations.holding import Holding, LeaseLost
from measurand.core.operations.jobs import Handler
from measurand.core.operations.working import Report, Working, ended
from measurand.core.ports import Document, DocumentStore, Order
from measurand.core.view import Scalar
from measurand.wire.errors import HistoryTrimmed, MeasurandError

__all__ = ["AT_ONCE", "Runner"]

AT_ONCE = 4
"""So many operations are at work in one process; further ones wait."""
LOOK_SECONDS = 5.0
CLOSE_SECONDS = 5.0
MOST_BEGUN = 1000
"""As many are looked at: more than are ever at work."""


@dataclass(frozen=True, slots=True)
class _Seen:
    revision: int
    since: float


class Runner:
    """One process's share in the work on operations.

    Parameters
    ----------
    owner : str
        Who this process is; no other has the name.
    handlers : mapping
        What does the operations of each kind. Other kinds are left to other processes.
    report : callable
        Writes faults of handlers into the log.
    at_once : int
        So many operations are at work here at most.
    sleep : callable
        Waits so many seconds of `means.monotonic`.
    """

    def __init__(
        self,
        documents: DocumentStore,
        means: Means,
        *,
        owner: str,
        handlers: Mapping[str, Handler],
        report: Report,
        at_once: int = AT_ONCE,
        sleep: Callable[[float], Coroutine[Any, Any, object]] = asyncio.sleep,
    ) -> None:
        self._documents = documents
        self._means = means
        self._owner = owner
        self._handlers = handlers
        self._report = report
        self._at_once = at_once
        self._working = Working(means, report, sleep)
        self._seen: dict[str, _Seen] = {}
        self._held: dict[str, Holding] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def running(self) -> int:
        """How many operations are at work here."""
        return len(self._held)

    async def run(self) -> None:
        """Take up operations as they come, until it is cancelled; those at work are then given back.

        What a store raises ends it; calling it again loses nothing.
        """
        try:
            token = (await self._documents.changes(OPERATIONS, after=None)).token
            while True:
                await self.look()
                token = await self._news(token)
        except asyncio.CancelledError:
            self._leaving.set()
            raise

    async def look(self) -> None:
        """Take up what waits, and put back what others have left behind."""
        async with self._turn:
            await self._look_at_others()
            if self._handlers and self._has_room:
                for document in await self._documents_where(_is_waiting(self._handlers), limit=self._at_once):
                    if document.key not in self._held and self._has_room:
                        self._take(operation_of(document), document.revision)

    async def close(self) -> None:
        """Give back what is at work here, and return when it is."""
        self._leaving.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        await ended(self._tasks)

    # ---------------------------------------------------------------------------------------------------- taking it up

    @property
    def _has_room(self) -> bool:
        return len(self._held) < self._at_once and not self._leaving.is_set()

    async def _look_at_others(self) -> None:
        """Put back what stood still for the time of a lease, and take up what is to be stopped and held by nobody."""
        seen: dict[str, _Seen] = {}
        for document in await self._documents_where(_IS_BEGUN, limit=MOST_BEGUN):
            operation, revision, now = operation_of(document), document.revision, self._means.monotonic()
            if operation.name in self._held:
                continue
            if not operation.is_free:
                before = self._seen.get(operation.name)
                if before is None or before.revision != revision:
                    before = _Seen(revision, now)
                # What is called ours and is not held was begun by a write of which we never heard.
                if now - before.since < LEASE_SECONDS and operation.runner != self._owner:
                    seen[operation.name] = before
                    continue
                operation = lost(operation, self._means.now())
                stored = await self._documents.replace(
                    OPERATIONS, operation_document(operation), expected_revision=revision
                )
                if stored is None:
                    continue
                revision = stored.revision
            if operation.is_free and operation.kind in self._handlers and self._has_room:
                self._take(operation, revision)
        self._seen = seen

    async def _documents_where(self, where: Filter, *, limit: int) -> Sequence[Document]:
        found = await self._documents.find(
            OPERATIONS, where=where, order=[Order("created", required=True)], limit=limit
        )
        return [item.document for item in found]

    def _take(self, operation: Operation, revision: int) -> None:
        holding = Holding(self._documents, self._means, begun(operation, self._owner, self._means.now()), revision)
        self._held[operation.name] = holding
        task = asyncio.create_task(self._work(holding), name=operation.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _news(self, token: str) -> str:
        """Return when there may be something to take up, with the token to go on with."""
        deadline = self._means.monotonic() + LOOK_SECONDS
        while True:
            left = max(deadline - self._means.monotonic(), 0.0)
            try:
                found = await self._documents.changes(OPERATIONS, after=token, wait_seconds=left)
            except HistoryTrimmed:
                return (await self._documents.changes(OPERATIONS, after=None)).token
            token = found.token
            for change in found.changes:
                if (holding := self._held.get(change.key)) is not None:
                    await holding.refresh(change.revision)  # somebody may have asked it to stop
            is_late = not found.changes or self._means.monotonic() >= deadline
            if is_late or any(change.kind == "inserted" for change in found.changes):
                return token

    async def _work(self, holding: Holding) -> None:
        operation = holding.operation
        try:
            if await holding.begin():
                await self._working.do(self._handlers[operation.kind], holding, self._leaving)
        except (LeaseLost, MeasurandError):
            pass  # it stands in the store as it was written last, and is taken up again from there
        except Exception as error:
            self._report(operation, error)
        finally:
            del self._held[operation.name]
        with contextlib.suppress(MeasurandError):
            await self.look()  # there is room for another


def _is_in(state: OperationState) -> Filter:
    return Compare("state", "=", Scalar("s", state.value))


_IS_BEGUN = Or((_is_in(OperationState.RUNNING), _is_in(OperationState.CANCELLING)))


def _is_waiting(kinds: Iterable[str]) -> Filter:
    return And((_is_in(OperationState.QUEUED), Or(tuple(Compare("kind", "=", Scalar("s", kind)) for kind in kinds))))
