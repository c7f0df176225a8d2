"""Long jobs that the server does by itself: followed, waited for, cancelled."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from measurand.client import methods, retries
from measurand.client._async.calls import AsyncCalls
from measurand.client.operation_facts import OperationFacts
from measurand.client.operation_progress import Shown
from measurand.client.progress import Progress
from measurand.v1 import operations_pb2
from measurand.wire.errors import MeasurandError, NotFound, Timeout

__all__ = ["AsyncOperation", "AsyncOperations"]

PAGE = 1000


class AsyncOperation(OperationFacts):
    """A long job of the server. It goes on whether or not anybody watches, over crashes and restarts of servers.

    Made by whatever begins one, and by `client.operations`. What it knows of itself is as of the last answer.
    """

    def __init__(self, calls: AsyncCalls, message: operations_pb2.Operation) -> None:
        super().__init__(message)
        self._calls = calls

    async def refresh(self) -> AsyncOperation:
        """Ask the server how it is, and return the handle itself. NotFound: it was deleted, or has expired."""
        request = operations_pb2.GetOperationRequest(name=self.name)
        self._message = await self._calls.unary(methods.GET_OPERATION, request)
        return self

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # it bounds several calls
        *,
        progress: Progress = False,
    ) -> AsyncOperation:
        """Return the handle itself as soon as the operation has ended, well or not.

        Parameters
        ----------
        timeout : float, optional
            Longest wait in seconds; for ever unless given.
        progress : bool or callable
            True: show a bar. A callable gets (units done, units in all or None).

        Raises
        ------
        Timeout
            DEADLINE_EXCEEDED: it has not ended in that time. It goes on.
        NotFound
            RESOURCE_NOT_FOUND: it was deleted meanwhile.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with Shown(progress, self.kind) as shown:
            while not self.is_done:
                shown.tell(self.progress)
                longest = min(1.0 if progress else 20.0, self._calls.deadlines.read / 2)
                left = longest if end is None else end - time.monotonic()
                request = operations_pb2.WaitOperationRequest(name=self.name)
                request.wait.FromMilliseconds(max(int(1000 * min(left, longest)), 0))
                self._message = await self._calls.unary(methods.WAIT_OPERATION, request)
                if left <= 0 and not self.is_done:
                    raise Timeout(f"{self.name} is {self.state} after {timeout:g} s; wait for longer, or cancel it")
            shown.tell(self.progress)
        return self

    async def result(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # it bounds several calls
    ) -> Mapping[str, Any]:
        """Return what came of it, by the names of the contract, when it has ended.

        Raises
        ------
        MeasurandError
            Why it failed.
        Cancelled
            CANCELLED: it was cancelled.
        Timeout
            DEADLINE_EXCEEDED: it has not ended in that time. It goes on.
        """
        await self.wait(timeout)
        return self._outcome()

    async def watch(self) -> AsyncGenerator[AsyncOperation, None]:
        """Yield the operation as it is, now and as it goes on, until it has ended; over lost connections."""
        request = operations_pb2.WatchOperationRequest(name=self.name)
        transport = await self._calls.transport()
        tries = self._calls.tries()
        last: operations_pb2.Operation | None = None
        while True:
            try:
                async with aclosing(transport.stream(methods.WATCH_OPERATION, request)) as messages:
                    async for message in messages:
                        tries.progress()
                        if message != last:
                            last = self._message = message
                            yield AsyncOperation(self._calls, message)
                        if self.is_done:
                            return
            except MeasurandError as error:
                if not retries.may_reopen(error):
                    raise
                await self._calls.pause(tries, error)

    async def cancel(self) -> AsyncOperation:
        """Ask it to stop, and return the handle itself; `wait` returns when it has.

        It stops where nothing is half done. Asking again, or one that has ended, changes nothing.
        """
        request = operations_pb2.CancelOperationRequest(name=self.name)
        self._message = await self._calls.unary(methods.CANCEL_OPERATION, request)
        return self

    async def delete(self) -> None:
        """Have the server forget it. FailedPrecondition: it has not ended."""
        request = operations_pb2.DeleteOperationRequest(name=self.name)
        await self._calls.unary(methods.DELETE_OPERATION, request, gone=NotFound)


class AsyncOperations:
    """The operations of a server: `client.operations`."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def list(self, filter: str = "", *, limit: int | None = None) -> Sequence[AsyncOperation]:  # noqa: A002
        """Return operations, newest first.

        Parameters
        ----------
        filter : str
            Over `id`, `kind`, `state`, `targets`, `creator`, `created`, `updated`, such as `state = running`.
        limit : int, optional
            At most so many.
        """
        found: list[AsyncOperation] = []
        request = operations_pb2.ListOperationsRequest(filter=filter)
        while limit is None or len(found) < limit:
            request.page_size = PAGE if limit is None else min(limit - len(found), PAGE)
            page = await self._calls.unary(methods.LIST_OPERATIONS, request)
            found += [AsyncOperation(self._calls, message) for message in page.operations]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return found

    async def __call__(self, filter: str = "", *, limit: int | None = None) -> Sequence[AsyncOperation]:  # noqa: A002
        """Return operations, as `list` does."""
        return await self.list(filter, limit=limit)

    async def get(self, id: str) -> AsyncOperation:  # noqa: A002  # the field's word
        """Return an operation by its id or its name. NotFound: there is none."""
        request = operations_pb2.GetOperationRequest(name=_name(id))
        return AsyncOperation(self._calls, await self._calls.unary(methods.GET_OPERATION, request))

    async def wait(
        self,
        id: str,  # noqa: A002  # the field's word
        timeout: float | None = None,  # noqa: ASYNC109  # it bounds several calls
        *,
        progress: Progress = False,
    ) -> AsyncOperation:
        """Return an operation as soon as it has ended; see `wait` of an operation."""
        return await (await self.get(id)).wait(timeout, progress=progress)

    async def cancel(self, id: str) -> AsyncOperation:  # noqa: A002  # the field's word
        """Ask an operation to stop; see `cancel` of an operation."""
        request = operations_pb2.CancelOperationRequest(name=_name(id))
        return AsyncOperation(self._calls, await self._calls.unary(methods.CANCEL_OPERATION, request))

    def __repr__(self) -> str:
        return f"<Operations of {self._calls.address}>"


def _name(operation_id: str) -> str:
    return operation_id if operation_id.startswith("operations/") else f"operations/{operation_id}"
