"""Chunks on their way up: encoded in threads, in order, ahead of whoever sends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from measurand.chunks.selections import Part
from measurand.client.array_layouts import Elements, Layout
from measurand.client.array_plans import changed
from measurand.client.hashing import Bytes

__all__ = ["encoded_parts"]

THREADS = 4
AHEAD_BYTES = 16 << 20
"""So much is encoded and not yet sent."""

Encoded = tuple[tuple[int, ...], Bytes]


def encoded_parts(layout: Layout, parts: Iterable[Part], box: Elements) -> Generator[Encoded, None, None]:
    """Yield the index and the bytes of each chunk that a box makes anew, in the order of the parts.

    Parameters
    ----------
    parts : iterable of Part
        Of chunks of which nothing stays as it was.
    box : ndarray
        What is written; nobody changes it meanwhile, and it is not changed.
    """

    def encode(part: Part) -> Encoded:
        return part.index, layout.pipeline.encode(changed(layout, part, box, None))

    depth = max(2, min(64, AHEAD_BYTES // (layout.chunk_bytes or 1)))
    made: deque[Future[Encoded]] = deque()
    with ThreadPoolExecutor(min(THREADS, depth), thread_name_prefix="measurand-encode") as pool:
        try:
            for part in parts:
                made.append(pool.submit(encode, part))
                if len(made) == depth:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
