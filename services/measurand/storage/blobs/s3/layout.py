"""What lies where in the bucket, and what a staged write adds up to. Decides; asks nothing of the store.

`blobs/<key>` holds what is finished. `staging/<key>` says that a key is taken by a staged write; beside it lie
`<key>!begun`, while nobody may know of a multipart upload, `<key>!upload`, which names it, and what does not fill a
part yet in pieces, `<key>!<begin>-<end>`.

Nothing is ever stored again with other bytes, parts neither: a request that was given up may still arrive and win, and
of a part that was stored again some stores keep and list both. All names are flat (`/` in a key is `~`), as stores over
file systems cannot hold both an object `a` and a folder `a`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from measurand.storage.blobs.s3.location import Location
from measurand.storage.blobs.s3.objects import Part
from measurand.wire.errors import DataLoss

__all__ = [
    "MOST_PARTS",
    "PART_BYTES",
    "Cut",
    "Names",
    "Note",
    "Piece",
    "Record",
    "full_parts",
    "piece_of",
    "reach",
    "take",
]

PART_BYTES = 5 << 20
"""The smallest part that every store takes: it is also how much is held back until it is durable."""
MOST_PARTS = 10_000
_PIECE = re.compile(r".+!(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down when a key is taken.

    Parameters
    ----------
    part_bytes : int
        Size of the parts.
    """

    part_bytes: int

    def to_bytes(self) -> bytes:
        return json.dumps({"part_bytes": self.part_bytes}).encode()

    @staticmethod
    def from_bytes(key: str, content: bytes) -> Record:
        with _readable(key):
            return Record(int(json.loads(content)["part_bytes"]))


@dataclass(frozen=True, slots=True)
class Note:
    """What is written down when a multipart upload has begun, before its first part.

    Parameters
    ----------
    upload : str
        Its id.
    has_strays : bool
        There may be more: of an attempt to begin one nobody knows whether it succeeded.
    """

    upload: str
    has_strays: bool = False

    def to_bytes(self) -> bytes:
        return json.dumps({"upload": self.upload, "has_strays": self.has_strays}).encode()

    @staticmethod
    def from_bytes(key: str, content: bytes) -> Note:
        with _readable(key):
            found = json.loads(content)
            return Note(str(found["upload"]), bool(found["has_strays"]))


@dataclass(frozen=True, slots=True)
class Piece:
    """An object that holds the bytes of a staged write from `begin` to `end`."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Cut:
    """So many bytes of a piece, behind the first `skip`."""

    piece: Piece
    skip: int
    size: int


class Names:
    """The names of the objects of one place."""

    def __init__(self, location: Location) -> None:
        self.finished = location.name("blobs/")
        self.staging = location.name("staging/")
        self.owner = location.name("deployment")
        self.checks = location.name("checks/")

    def blob(self, key: str) -> str:
        return self.finished + _flat(key)

    def record(self, key: str) -> str:
        return self.staging + _flat(key)

    def beside(self, key: str) -> str:
        """Return what the names of all that lies beside a record begin with."""
        return f"{self.record(key)}!"

    def begun(self, key: str) -> str:
        return f"{self.beside(key)}begun"

    def note(self, key: str) -> str:
        return f"{self.beside(key)}upload"

    def piece(self, key: str, begin: int, end: int) -> Piece:
        return Piece(f"{self.beside(key)}{begin}-{end}", begin, end)

    def key_of(self, name: str) -> str:
        """Return the key that an object in either folder belongs to."""
        return name.rpartition("/")[2].partition("!")[0].replace("~", "/")


def piece_of(name: str) -> Piece | None:
    """Return the piece that an object in `staging` is, or None if it is something else."""
    found = _PIECE.fullmatch(name)
    return Piece(name, int(found[1]), int(found[2])) if found else None


def full_parts(parts: Iterable[Part], part_bytes: int) -> list[Part]:
    """Return the parts from the first on that are whole and follow each other without a gap."""
    whole = {part.number: part for part in parts if part.size == part_bytes}
    run: list[Part] = []
    while (number := len(run) + 1) in whole:
        run.append(whole[number])
    return run


def reach(pieces: Iterable[Piece], begin: int) -> int:
    """Return up to where pieces hold all bytes from `begin` on."""
    for piece in sorted(pieces, key=lambda piece: piece.begin):
        if piece.begin > begin:
            break
        begin = max(begin, piece.end)
    return begin


def take(pieces: Sequence[Piece], begin: int, end: int) -> list[Cut]:
    """Return what of which pieces makes up these bytes. They must all be there: see `reach`."""
    cuts: list[Cut] = []
    while begin < end:
        piece = max((piece for piece in pieces if piece.begin <= begin), key=lambda piece: piece.end)
        size = min(piece.end, end) - begin
        cuts.append(Cut(piece, begin - piece.begin, size))
        begin += size
    return cuts


@contextmanager
def _readable(key: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(f"{key}: what was noted of it cannot be read; write it anew", resource=key) from error


def _flat(key: str) -> str:
    return key.replace("/", "~")
