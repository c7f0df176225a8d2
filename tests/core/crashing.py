"""A process that dies at its n-th call of a store, before or after the store has done what it was asked."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, cast

from measurand.core.ports import BlobStore, DocumentStore


class Crash(Exception):
    """The process is no more. No error of the product, so that nothing treats it as one."""


@dataclass
class Fuse:
    """Counts calls and lets the process die at one of them.

    Parameters
    ----------
    at : int
        The call at which it dies, from 0; later calls die too, since the process is gone.
    after : bool
        The store does its work before the process dies, else it never hears of it.
    """

    at: int
    after: bool
    calls: int = 0
    blown: bool = False

    async def burn(self, work: Callable[[], Any]) -> Any:
        if self.blown:
            raise Crash
        self.calls += 1
        if self.calls - 1 < self.at:
            return await work()
        self.blown = True
        if self.after:
            await work()
        raise Crash


class Fused:
    """A store, or a stage of one, behind a fuse."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb in ("open", "scan"):
            return lambda *args, **more: self._stream(method(*args, **more))

        async def call(*args: Any, **more: Any) -> Any:
            answer = await self._fuse.burn(lambda: method(*args, **more))
            return Fused(answer, self._fuse) if verb == "stage" else answer

        assert inspect.iscoroutinefunction(method), verb
        return call

    async def _stream(self, inner: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in inner:
            if self._fuse.blown:
                raise Crash
            yield item


def fused(documents: DocumentStore, blobs: BlobStore, fuse: Fuse) -> tuple[DocumentStore, BlobStore]:
    """Return both stores behind one fuse."""
    return cast("DocumentStore", Fused(documents, fuse)), cast("BlobStore", Fused(blobs, fuse))
