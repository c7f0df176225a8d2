"""A server that kills itself (-9) at a write of a buffer's documents, as a file says that the variable `FALLS` names.

The file holds a number: 0 dies before the next write, n right behind the n-th. It is removed in the moment of dying, so
that the other workers live.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from measurand.wire.malloc import tune

__all__ = ["FALLS"]

FALLS = "FALLS"
LEASE_SECONDS = 2.0
COLLECTIONS = ("buffers", "buffer_batches", "datasets")


class Falling:
    """What the documents are wrapped in. All verbs but those below go through."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._file = Path(os.environ[FALLS])
        self._written = 0

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._inner, verb)

    async def insert_many(self, collection: str, documents: Any) -> Any:
        self._fall(collection)
        done = await self._inner.insert_many(collection, documents)
        self._count(collection)
        return done

    async def replace(self, collection: str, document: Any, **more: Any) -> Any:
        self._fall(collection)
        done = await self._inner.replace(collection, document, **more)
        if done is not None:
            self._count(collection)
        return done

    def _count(self, collection: str) -> None:
        if collection in COLLECTIONS and self._file.exists():
            self._written += 1
            self._fall(collection)

    def _fall(self, collection: str) -> None:
        if collection not in COLLECTIONS:
            return
        if not self._file.exists():
            self._written = 0
        elif int(self._file.read_text()) == self._written:
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the command over documents at which it falls."""
    tune()
    from measurand.core.leases import Lease
    from measurand.server import compose as composing
    from measurand.server import stores
    from measurand.server.run import command

    spawning = asyncio.create_subprocess_exec

    async def spawn(*arguments: str, **more: Any) -> Any:
        same = [argument.replace("measurand.server.run", __spec__.name) for argument in arguments]
        return await spawning(*same, **more)

    async def open_documents(*arguments: Any) -> Any:
        opened = await stores.open_documents(*arguments)
        return replace(opened, store=Falling(opened.store))

    mock.patch.object(composing, "open_documents", open_documents).start()
    mock.patch.object(composing, "Lease", partial(Lease, seconds=LEASE_SECONDS)).start()
    mock.patch.object(asyncio, "create_subprocess_exec", spawn).start()
    command()


if __name__ == "__main__":
    main()
