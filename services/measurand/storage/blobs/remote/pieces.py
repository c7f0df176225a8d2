"""Bytes cut into messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from measurand.core.ports import Buffer

__all__ = ["PIECE_BYTES", "pieces"]

PIECE_BYTES = 2 << 20
"""As much as one message may carry: a frame of a part, which is a little more than 1 MiB, goes in one."""


def pieces(chunks: Iterable[Buffer], most: int = PIECE_BYTES) -> Iterator[Buffer]:
    """Yield the same bytes in pieces of `most`, the last one apart; what fits as it is is not copied."""
    held: list[Buffer] = []
    size = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while size + len(rest) >= most:
            part, rest = rest[: most - size], rest[most - size :]
            yield b"".join([*held, part]) if held else part
            held, size = [], 0
        if len(rest):
            held.append(rest)
            size += len(rest)
    if held:
        yield held[0] if len(held) == 1 else b"".join(held)
