"""Places of spread blobs, looked at around the store: parts are taken apart once more, by other code."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.spreading import StillSites, spread_over

from measurand.core.containers.placements import PLACEMENTS, Placement, placement_of
from measurand.core.ports import BlobStore
from measurand.server.crc32c import make_crc32c
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.local import Local
from measurand.storage.blobs.memory import Memory, _Held
from measurand.storage.blobs.spread.coding import Tables
from measurand.storage.documents.memory import Memory as MemoryDocuments

__all__ = ["SpreadPlace", "spread_in_memory", "spread_on_disk"]

CONTAINERS = 6
_HEADER = struct.Struct("<4sBBBBQQIII16sI4xI")
"""Magic, version, data and parity parts, row, stripe, where it begins in the blob, segment, its bytes, those of the
piece, uid, and the sums of the piece and of what is before."""


class Shelf:
    """The blobs of one container, read around its store."""

    def __init__(self, store: BlobStore, folder: Path | None = None) -> None:
        self.store = store
        self._folder = folder

    def finished(self) -> Mapping[str, bytes]:
        if isinstance(self.store, Memory):
            return {key: b"".join(held.pieces) for key, held in self.store._finished.items()}
        assert self._folder is not None
        return {path.name.replace("+", "/"): path.read_bytes() for path in self._folder.glob("blobs/*/*")}

    def staged(self) -> list[str]:
        if isinstance(self.store, Memory):
            return list(self.store._staged)
        assert self._folder is not None
        return [path.name.replace("+", "/") for path in self._folder.glob("staging/*")]

    def write(self, key: str, content: bytes) -> None:
        if isinstance(self.store, Memory):
            held = self.store._finished[key] = _Held(datetime.now(UTC))
            held.add(content)
            return
        assert self._folder is not None
        (path,) = self._folder.glob(f"blobs/*/{key.replace('/', '+')}")
        path.write_bytes(content)


class SpreadPlace:
    """Some containers and the documents that say what lies in them.

    Parameters
    ----------
    policy : str
        Of all blobs.
    """

    def __init__(self, policy: str, shelves: Mapping[str, Shelf]) -> None:
        self.policy = policy
        self.shelves = shelves
        self.documents = MemoryDocuments(compile_pattern)
        self.sites = StillSites({name: shelf.store for name, shelf in shelves.items()})

    def open(self) -> BlobStore:
        return spread_over(self.sites, self.documents, self.policy)

    def placements(self) -> list[Placement]:
        kept = self.documents._of(PLACEMENTS).documents.values()
        return [placement_of(each.document()) for each in kept]

    def look(self) -> dict[str, bytes]:
        """Return the bytes of all blobs, from parity parts where there are some."""
        named = {(part.container, part.key) for placement in self.placements() for part in placement.parts}
        for name, shelf in self.shelves.items():
            assert {(name, key) for key in shelf.finished()} <= named, "a part that nobody names"
        return {each.blob: self._content(each) for each in self.placements() if not each.staged}

    def leftovers(self) -> int:
        staged = {key.rsplit(".", 2)[0] for shelf in self.shelves.values() for key in shelf.staged()}
        assert len(staged) == sum(placement.staged for placement in self.placements())
        return len(staged)

    def damage(self, key: str, content: bytes) -> None:
        (placement,) = [each for each in self.placements() if each.blob == key]
        for part in placement.parts:
            whole = self.shelves[part.container].finished()[part.key]
            # As if the disk had kept only what belongs to the bytes that are left.
            kept = sum(len(stripe) // placement.data_parts + 64 for stripe in _stripes(content, placement))
            self.shelves[part.container].write(part.key, whole[: min(kept, len(whole) - 1)])

    def _content(self, placement: Placement) -> bytes:
        pieces: dict[tuple[int, int], dict[int, bytes]] = {}
        offsets: dict[tuple[int, int], tuple[int, int]] = {}
        for part in placement.parts:
            data = self.shelves[part.container].finished()[part.key]
            while data:
                facts = _HEADER.unpack_from(data)
                magic, version, k, m, row, stripe, begin, segment, size, length, uid, crc, head_crc = facts
                assert (magic, version, k, m) == (b"MSPT", 1, placement.data_parts, placement.parity_parts)
                assert (uid.hex(), row) == (placement.uid, part.index % placement.width)
                assert make_crc32c()(data[:60], 0) == head_crc
                piece = data[64 : 64 + length]
                assert make_crc32c()(piece, 0) == crc
                pieces.setdefault((segment, stripe), {})[row] = piece
                offsets[segment, stripe] = (begin, size)
                data = data[64 + length :]
        content = bytearray()
        for (begin, size), rows in sorted((offsets[key], rows) for key, rows in pieces.items()):
            assert begin == len(content)
            k, m = placement.data_parts, placement.parity_parts
            have = dict(sorted(rows.items())[-k:])
            made = Tables().make(k, m, have, range(k))
            content += b"".join(made)[:size] if k > 1 else made[0]
        return bytes(content[: placement.size])


def _stripes(content: bytes, placement: Placement) -> list[bytes]:
    whole = placement.data_parts * placement.unit
    return [content[at : at + whole] for at in range(0, len(content), whole)]


def spread_in_memory(policy: str) -> Callable[[Path], SpreadPlace]:
    return lambda _: SpreadPlace(policy, {f"c{index}": Shelf(Memory()) for index in range(CONTAINERS)})


def spread_on_disk(policy: str) -> Callable[[Path], SpreadPlace]:
    def make(folder: Path) -> SpreadPlace:
        roots = {f"c{index}": folder / f"c{index}" for index in range(CONTAINERS)}
        return SpreadPlace(
            policy, {name: Shelf(Local(root, in_thread=asyncio.to_thread), root) for name, root in roots.items()}
        )

    return make
