"""Following one array as it grows or otherwise changes: its document says how far it reaches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.documents import ARRAYS, Array
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName
from measurand.core.ports import DocumentStore
from measurand.core.principal import Principal
from measurand.wire.errors import HistoryTrimmed, InvalidArgument, NotFound

__all__ = ["DEFAULT_INTERVAL", "ArrayChange", "ArrayWatch"]

CHANGES_AT_ONCE = 100
DEFAULT_INTERVAL = timedelta(milliseconds=50)
LONGEST_INTERVAL = timedelta(hours=1)

ChangeKind = Literal["updated", "deleted", "heartbeat"]


@dataclass(frozen=True, slots=True)
class ArrayChange:
    """How an array is now. None: it is gone, or this is a heartbeat."""

    kind: ChangeKind
    array: Array | None = None


class ArrayWatch:
    """Follows arrays. What has its name is the array, also if it was written anew and has another uid."""

    def __init__(self, documents: DocumentStore, arrays: Arrays, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._arrays = arrays
        self._means = means
        self._limits = limits

    async def follow(
        self,
        principal: Principal,
        name: ArrayName,
        *,
        etag: str = "",
        min_interval: timedelta = DEFAULT_INTERVAL,
    ) -> AsyncGenerator[ArrayChange, None]:
        """Yield the array whenever it is no longer as it was yielded last. Ends behind its deletion.

        Parameters
        ----------
        etag : str
            What the caller knows. Empty: begin with the array as it is.
        min_interval : timedelta
            At least so much time lies between two changes; those that happen meanwhile come as one.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such array.
        """
        if not timedelta() <= min_interval <= LONGEST_INTERVAL:
            raise InvalidArgument(
                f"min_interval: {min_interval.total_seconds():g} s is not within 0 and "
                f"{LONGEST_INTERVAL.total_seconds():g} s",
                field="min_interval",
            )
        silence = self._limits.heartbeat.total_seconds()
        token = await self._token(name)
        array: Array | None = await self._arrays.get(principal, name)
        heard = self._means.monotonic()
        while True:
            if array is None:
                yield ArrayChange("deleted")
                return
            if array.etag != etag:
                etag = array.etag
                yield ArrayChange("updated", array)
                heard = self._means.monotonic()
                await asyncio.sleep(min_interval.total_seconds())
            left = silence - (self._means.monotonic() - heard)
            if left <= 0:
                yield ArrayChange("heartbeat")
                heard = self._means.monotonic()
                continue
            token = await self._wait(name, token, left)
            array = await self._present(principal, name)

    async def poll(
        self, principal: Principal, name: ArrayName, *, etag: str = "", wait: timedelta = timedelta()
    ) -> ArrayChange:
        """Return the array as soon as it is not as in `etag`, or a heartbeat when it stayed so.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such array, and `etag` is empty.
        """
        if not timedelta() <= wait <= self._limits.max_wait:
            raise InvalidArgument(
                f"wait: {wait.total_seconds():g} s is not within 0 and {self._limits.max_wait.total_seconds():g} s",
                field="wait",
            )
        if not etag:
            return ArrayChange("updated", await self._arrays.get(principal, name))
        deadline = self._means.monotonic() + wait.total_seconds()
        token = await self._token(name)
        while True:
            array = await self._present(principal, name)
            if array is None:
                return ArrayChange("deleted")
            if array.etag != etag:
                return ArrayChange("updated", array)
            left = deadline - self._means.monotonic()
            if left <= 0:
                return ArrayChange("heartbeat")
            token = await self._wait(name, token, left)

    async def _present(self, principal: Principal, name: ArrayName) -> Array | None:
        try:
            return await self._arrays.get(principal, name)
        except NotFound:  # it went, or its dataset did
            return None

    async def _token(self, name: ArrayName) -> str:
        return (await self._documents.changes(ARRAYS, after=None, scopes=[str(name.parent)])).token

    async def _wait(self, name: ArrayName, token: str, seconds: float) -> str:
        """Return when the array may have changed or the time is over, with the token to go on with."""
        deadline = self._means.monotonic() + seconds
        while True:
            left = max(deadline - self._means.monotonic(), 0.0)
            try:
                found = await self._documents.changes(
                    ARRAYS, after=token, scopes=[str(name.parent)], limit=CHANGES_AT_ONCE, wait_seconds=left
                )
            except HistoryTrimmed:
                return await self._token(name)
            token = found.token
            has_changed = any(change.key == str(name) for change in found.changes)
            if has_changed or self._means.monotonic() >= deadline:
                return token
