"""The part of an array's handle that follows it while it grows."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.v1 import arrays_pb2, common_pb2
from measurand.wire.errors import InvalidArgument, MeasurandError, NotFound, Timeout

__all__ = ["AsyncArrayWatching"]

JSON = common_pb2.DOCUMENT_FORM_JSON
POLL_SECONDS = 20.0
"""A call waits for a change so long; then the next one does."""


class AsyncArrayWatching:
    """What an array can tell while somebody else writes to it."""

    _calls: AsyncCalls
    _message: arrays_pb2.Array

    async def watch(self) -> AsyncGenerator[int, None]:
        """Yield the length of the first axis, now and whenever it has grown; never less than before.

        It wakes when the server says so, and goes on by itself when the connection or the server is lost. The handle is
        up to date whenever a length comes. It ends when the caller has seen enough, or the array is removed.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: the array was removed.
        """
        self._check_axis()
        last = -1
        request = arrays_pb2.WatchArrayRequest(name=self._message.name, document_form=JSON)
        transport = await self._calls.transport()
        tries = self._calls.tries()
        while True:
            try:
                async with aclosing(transport.stream(methods.WATCH_ARRAY, request)) as changes:
                    async for change in changes:
                        tries.progress()
                        if self._has_changed(change) and self._message.shape[0] > last:
                            last = self._message.shape[0]
                            yield last
            except MeasurandError as failure:
                error = failure
                if not retries.may_reopen(error):
                    raise
                await self._calls.pause(tries, error)

    async def wait_for(
        self,
        length: int,
        timeout: float | None = None,  # noqa: ASYNC109  # it bounds several calls
    ) -> int:
        """Return as soon as the first axis is at least so long.

        Parameters
        ----------
        length : int
            Rows to wait for.
        timeout : float, optional
            Longest wait in seconds; for ever unless given.

        Returns
        -------
        int
            The length now.

        Raises
        ------
        Timeout
            DEADLINE_EXCEEDED: it did not grow so far in that time.
        NotFound
            RESOURCE_NOT_FOUND: the array was removed.
        """
        self._check_axis()
        end = None if timeout is None else time.monotonic() + timeout
        request = arrays_pb2.PollArrayRequest(name=self._message.name, document_form=JSON)
        while True:
            self._has_changed(await self._calls.unary(methods.POLL_ARRAY, request))
            if self._message.shape[0] >= length:
                return self._message.shape[0]
            longest = min(POLL_SECONDS, self._calls.deadlines.read / 2)
            left = longest if end is None else end - time.monotonic()
            if left <= 0:
                raise Timeout(
                    f"{self._message.name} has {self._message.shape[0]} rows and not {length} after {timeout:g} s; "
                    "look whether its writer is still at work"
                )
            request.etag = self._message.etag
            request.wait.FromMilliseconds(int(1000 * min(left, longest)))

    def _has_changed(self, change: arrays_pb2.ArrayChange) -> bool:
        """Bring the handle up to date; tell whether there was news."""
        is_removed = change.kind == common_pb2.CHANGE_KIND_DELETED
        if not is_removed and not change.HasField("array"):
            return False
        if is_removed or change.array.uid != self._message.uid:
            raise NotFound(
                f"{self._message.name} was removed, or another array has its name now; get it anew",
                resource=self._message.name,
            )
        self._take(change.array)
        return True

    def _take(self, message: arrays_pb2.Array) -> None:
        raise NotImplementedError

    def _check_axis(self) -> None:
        if not self._message.shape:
            raise InvalidArgument(f"{self._message.name} has no axis that could grow", field="shape")
