"""Following one operation as it goes on, until it has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta

from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.operations.documents import OPERATIONS, Operation
from measurand.core.operations.operations import Operations
from measurand.core.ports import DocumentStore
from measurand.core.principal import Principal
from measurand.wire.errors import HistoryTrimmed, InvalidArgument

__all__ = ["DEFAULT_INTERVAL", "Following"]

CHANGES_AT_ONCE = 100
DEFAULT_INTERVAL = timedelta(milliseconds=200)
LONGEST_INTERVAL = timedelta(hours=1)


class Following:
    """Follows operations, whichever server is at work on them."""

    def __init__(self, documents: DocumentStore, operations: Operations, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._operations = operations
        self._means = means
        self._limits = limits

    async def follow(
        self, principal: Principal, operation_id: str, *, min_interval: timedelta = DEFAULT_INTERVAL
    ) -> AsyncGenerator[Operation, None]:
        """Yield an operation as it is, whenever it is no longer so, and after a heartbeat's silence. Ends with it.

        Parameters
        ----------
        min_interval : timedelta
            At least so much time lies between two; what happens meanwhile comes as one. The end comes always.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none, or it was deleted meanwhile.
        InvalidArgument
            FIELD_INVALID.
        """
        if not timedelta() <= min_interval <= LONGEST_INTERVAL:
            raise InvalidArgument(
                f"min_interval: {min_interval.total_seconds():g} s is not within 0 and "
                f"{LONGEST_INTERVAL.total_seconds():g} s",
                field="min_interval",
            )
        silence = self._limits.heartbeat.total_seconds()
        token = await self._token()
        shown: Operation | None = None
        heard = due = self._means.monotonic()
        while True:
            operation = await self._operations.get(principal, operation_id)
            now = self._means.monotonic()
            is_news = shown is None or _as_shown(operation) != _as_shown(shown)
            if (is_news and (operation.state.is_final or now >= due)) or now >= heard + silence:
                shown, heard, due = operation, now, now + min_interval.total_seconds()
                yield operation
                if operation.state.is_final:
                    return
            else:
                token = await self._wait(operation.name, token, (due if is_news else heard + silence) - now)

    async def wait(self, principal: Principal, operation_id: str, *, wait: timedelta = timedelta()) -> Operation:
        """Return an operation as soon as it has ended, or as it is when the wait is over.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none, or it was deleted meanwhile.
        InvalidArgument
            FIELD_INVALID.
        """
        if not timedelta() <= wait <= self._limits.max_wait:
            raise InvalidArgument(
                f"wait: {wait.total_seconds():g} s is not within 0 and {self._limits.max_wait.total_seconds():g} s",
                field="wait",
            )
        deadline = self._means.monotonic() + wait.total_seconds()
        token = await self._token() if wait else ""
        while True:
            operation = await self._operations.get(principal, operation_id)
            left = deadline - self._means.monotonic()
            if operation.state.is_final or left <= 0:
                return operation
            token = await self._wait(operation.name, token, left)

    async def _token(self) -> str:
        return (await self._documents.changes(OPERATIONS, after=None)).token

    async def _wait(self, name: str, token: str, seconds: float) -> str:
        """Return when the operation may have changed or the time is over, with the token to go on with."""
        deadline = self._means.monotonic() + seconds
        while True:
            left = max(deadline - self._means.monotonic(), 0.0)
            try:
                found = await self._documents.changes(OPERATIONS, after=token, limit=CHANGES_AT_ONCE, wait_seconds=left)
            except HistoryTrimmed:
                return await self._token()
            token = found.token
            has_changed = any(change.key == name for change in found.changes)
            if has_changed or self._means.monotonic() >= deadline:
                return token


def _as_shown(operation: Operation) -> Operation:
    """Return an operation without what nobody is shown: which runner holds it, and where that would go on."""
    return replace(operation, runner="", epoch=0, checkpoint=None, lost=0)
