"""Stores that do not answer now and then, as over a network: what was asked of them may have come about, or not.

The process lives on, unlike in `crashing`, with all that it holds in memory; and whoever called it calls again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from measurand.core.ports import BlobStore, DocumentStore
from measurand.wire.errors import MeasurandError, Unavailable, WriterFenced

__all__ = ["Stumble", "persistently", "stumbling"]

Result = TypeVar("Result")
MOST_TRIES = 30


@dataclass
class Stumble:
    """Says which calls of the stores stumble.

    Parameters
    ----------
    at : int
        The first call that does, from 0.
    after : bool
        The store has done its work, and only its answer is lost.
    times : int
        So many calls in a row do.
    """

    at: int
    after: bool
    times: int = 1
    calls: int = 0

    @property
    def has_happened(self) -> bool:
        """There were so many calls."""
        return self.calls > self.at

    async def over(self, work: Callable[[], Awaitable[Result]]) -> Result:
        number, self.calls = self.calls, self.calls + 1
        if not self.at <= number < self.at + self.times:
            return await work()
        if self.after:
            with contextlib.suppress(MeasurandError):  # nobody hears of that either
                await work()
        raise Unavailable("the store does not answer; try again", retry_seconds=0.01)


class _Stumbling:
    """A store, or a stage of one."""

    def __init__(self, inner: Any, stumble: Stumble) -> None:
        self._inner = inner
        self._stumble = stumble

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb in ("open", "scan"):
            return lambda *args, **more: self._stream(method(*args, **more))
        assert inspect.iscoroutinefunction(method), verb
        if verb == "close":
            return method

        async def call(*args: Any, **more: Any) -> Any:
            answer = await self._stumble.over(lambda: method(*args, **more))
            return _Stumbling(answer, self._stumble) if verb == "stage" else answer

        return call

    async def _stream(self, inner: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Every item is a call: a stream may break anywhere."""
        while True:
            try:
                item = await self._stumble.over(lambda: anext(inner))
            except StopAsyncIteration:
                return
            yield item


def stumbling(documents: DocumentStore, blobs: BlobStore, stumble: Stumble) -> tuple[DocumentStore, BlobStore]:
    """Return both stores with one count of calls."""
    return cast("DocumentStore", _Stumbling(documents, stumble)), cast("BlobStore", _Stumbling(blobs, stumble))


async def persistently(call: Callable[[], Awaitable[Result]]) -> Result:
    """Call again for as long as a client would: what does not answer, and what says when to come again."""
    for _ in range(MOST_TRIES):
        try:
            return await call()
        except MeasurandError as error:
            if isinstance(error, WriterFenced) or not (isinstance(error, Unavailable) or error.retry_seconds):
                raise
            await asyncio.sleep(0)
    raise AssertionError(f"{MOST_TRIES} tries did not suffice")
