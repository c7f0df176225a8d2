"""A server whose store takes so many bytes in a second, as the variable `SLOWED_BYTES` says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any
from unittest import mock

from measurand.wire.malloc import tune

__all__ = ["BYTES_PER_SECOND"]

BYTES_PER_SECOND = "SLOWED_BYTES"


def main() -> None:
    """Run the command over a store whose puts take their time, one after the other."""
    tune()
    from measurand.core.ports import Blob, Buffer
    from measurand.server.run import command
    from measurand.storage.blobs.local import Local

    put, turn = Local.put, asyncio.Lock()

    async def slow_put(self: Any, key: str, chunks: Iterable[Buffer], **more: Any) -> Blob:
        parts = [*chunks]
        async with turn:
            await asyncio.sleep(sum(len(part) for part in parts) / float(os.environ[BYTES_PER_SECOND]))
        return await put(self, key, parts, **more)

    mock.patch.object(Local, "put", slow_put).start()
    command()


if __name__ == "__main__":
    main()
