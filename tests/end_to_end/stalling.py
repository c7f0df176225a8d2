"""A server that stops itself (SIGSTOP) while it stores a chunk, at the moment that the chunk's first bytes name.

Signals from outside come at any time; this one comes exactly before, amid or behind what a late write is about.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from measurand.wire.malloc import tune

__all__ = ["FLAG", "MOMENTS", "mark"]

FLAG = "STALLED"
"""The variable with the path of a file that the one server makes that stops."""


MOMENTS = ("before the put", "amid the put", "behind the put", "before the index", "behind the index")
MARK = b"stop "


def mark(moment: str) -> bytes:
    """Return what the chunk begins with at which the server is to stop."""
    assert moment in MOMENTS
    return MARK + moment.encode()


class Stalling:
    """What both stores are wrapped in. All verbs but those below go through."""

    moment = ""
    """At which this process is to stop; once it has, there is none."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._inner, verb)

    @classmethod
    def at(cls, moment: str) -> None:
        """Stop here, if it is the moment."""
        if cls.moment != moment:
            return
        cls.moment = ""
        try:
            Path(os.environ[FLAG]).touch(exist_ok=False)
        except FileExistsError:  # another server has stopped at such a chunk; this one goes on
            return
        os.kill(os.getpid(), signal.SIGSTOP)

    async def put(self, key: str, chunks: Iterable[Any], *, policy: Any = None) -> Any:
        pieces = list(chunks)
        begin = bytes(pieces[0][:30]) if key.startswith("arrays/") and pieces else b""
        if begin.startswith(MARK):
            (Stalling.moment,) = [moment for moment in MOMENTS if begin.startswith(mark(moment))]
        self.at("before the put")
        blob = await self._inner.put(key, _amid(pieces), policy=policy)
        self.at("behind the put")
        return blob

    async def insert_many(self, collection: str, documents: Any) -> Any:
        return await self._named(collection, self._inner.insert_many(collection, documents))

    async def replace(self, collection: str, document: Any, **more: Any) -> Any:
        return await self._named(collection, self._inner.replace(collection, document, **more))

    async def _named(self, collection: str, work: Any) -> Any:
        if collection != "array_chunks":
            return await work
        self.at("before the index")
        done = await work
        self.at("behind the index")
        return done


def _amid(pieces: list[Any]) -> Iterator[Any]:
    """Yield the pieces in halves, and stop between them."""
    for piece in pieces:
        half = len(piece) // 2
        yield piece[:half]
        Stalling.at("amid the put")
        yield piece[half:]


def main() -> None:
    """Run the command over stores that stop it."""
    tune()
    from measurand.server import compose as composing
    from measurand.server import stores
    from measurand.server.run import command

    spawning = asyncio.create_subprocess_exec

    async def open_documents(*arguments: Any) -> Any:
        opened = await stores.open_documents(*arguments)
        return replace(opened, store=Stalling(opened.store))

    def wrap_blobs(*arguments: Any, **more: Any) -> Any:
        opened = stores.wrap_blobs(*arguments, **more)
        return replace(opened, store=Stalling(opened.store))

    async def spawn(*arguments: str, **more: Any) -> Any:
        same = [argument.replace("measurand.server.run", __spec__.name) for argument in arguments]
        return await spawning(*same, **more)

    mock.patch.object(composing, "open_documents", open_documents).start()
    mock.patch.object(composing, "wrap_blobs", wrap_blobs).start()
    mock.patch.object(asyncio, "create_subprocess_exec", spawn).start()
    command()


if __name__ == "__main__":
    main()
