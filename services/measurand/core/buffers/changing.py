"""Changing a head by what it is now, however often others are faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from measurand.core.buffers.heads import Head
from measurand.core.buffers.live import Board
from measurand.core.buffers.remembering import with_few_events
from measurand.core.buffers.standing import find_standing, missing, stored
from measurand.core.means import Means
from measurand.core.names import BufferName
from measurand.core.ports import DocumentStore
from measurand.wire.errors import Contention

__all__ = ["change_head"]

TRIES = 60


async def change_head(
    documents: DocumentStore, board: Board, means: Means, name: BufferName, decide: Callable[[Head], Head | None]
) -> Head:
    """Replace the head of a buffer by what `decide` makes of it, and return it; None leaves it as it is.

    `decide` is called anew whenever somebody else was faster. What it raises is raised.

    Raises
    ------
    NotFound
        RESOURCE_NOT_FOUND: there is no such buffer.
    Contention
        CONTENTION: others were faster too often.
    """
    for number in range(TRIES):
        async with board.turn(name):
            standing = await find_standing(documents, name)
            if standing is None:
                board.forget(name)
                raise missing(name)
            board.publish(standing.head, revision=standing.revision)
            new = decide(standing.head)
            if new is None:
                return standing.head
            changed = await stored(documents, standing, await with_few_events(documents, standing.head, new))
            if changed is not None:
                board.publish(changed.head, revision=changed.revision)
                return changed.head
        await asyncio.sleep(means.random_bytes(1)[0] / 255 * min(0.002 * (number + 1), 0.1))
    raise Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1)
