"""Staged writes as any process sees them: begun, finished, discarded, looked at. Blocking; keeps nothing.

The commit point of `finish` is one request: the completion of the upload, or the put of a blob that has no full part.
Everything before it can be done again, everything after it only tidies up, and both are done by whoever finishes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from measurand.core.blob_rules import missing, short, taken
from measurand.core.ports import Buffer, StoredBlob
from measurand.storage.blobs.s3.faults import Refused, translating
from measurand.storage.blobs.s3.layout import Names, Note, Piece, Record, full_parts, piece_of, reach, take
from measurand.storage.blobs.s3.objects import Objects, Part
from measurand.wire.errors import DataLoss, Unavailable

__all__ = ["Seen", "Staging"]

_TRIES = 4
"""How often a finish begins again when others change what it stands on: other finishers, a writer that goes on."""


@dataclass(slots=True)
class Seen:
    """What lists show of a staged write.

    Parameters
    ----------
    modified_time : datetime
        When any of it was written last.
    beside : list of str
        The names of what lies beside its record.
    upload : str
        The id of an upload to its name.
    """

    modified_time: datetime
    has_record: bool = False
    beside: list[str] = field(default_factory=list)
    upload: str = ""


class Staging:
    """The staged writes of one place."""

    def __init__(self, objects: Objects, names: Names) -> None:
        self._objects = objects
        self._names = names

    def begin(self, key: str, record: Record) -> None:
        """Take the key for a staged write."""
        with translating(key):
            self.claim(key, self._names.record(key), [record.to_bytes()])

    def claim(self, key: str, name: str, chunks: Sequence[Buffer]) -> None:
        """Store a new object, with which the key is taken. Raises AlreadyExists if it is, finished or staged."""
        self.check_free(key, told=name)
        if not self._objects.put_new(name, chunks):
            raise taken(key)

    def check_free(self, key: str, *, told: str = "") -> None:
        """Raise AlreadyExists if the key is taken.

        Parameters
        ----------
        told : str
            The name of the object that is stored next: where the store keeps conditions, that will tell.
        """
        for name in (self._names.blob(key), self._names.record(key)):
            is_told = name == told and self._objects.guard == "kept"
            if not is_told and self._objects.head(name) is not None:
                raise taken(key)

    def finish(self, key: str, size: int) -> None:
        """Make a blob of the first `size` bytes, unless there is one."""
        with translating(key):
            for _ in range(_TRIES):
                if self._finish(key, size):
                    return
        raise Unavailable(f"{key}: others change it all the time; try again", retry_seconds=1.0, store="s3")

    def discard(self, key: str) -> None:
        """Remove a staged write, whatever is there of it."""
        with translating(key):
            self._abort_all(key)
            self._remove(key, self._beside(key))

    def stored(self, key: str, seen: Seen) -> StoredBlob | None:
        """Return what there is of a staged write, or of the blob that it has become, or None if it is gone."""
        with translating(key):
            content = self._objects.fetch(self._names.record(key)) if seen.has_record else None
            if seen.has_record and content is None:
                found = self._objects.head(self._names.blob(key))
                return None if found is None else StoredBlob(key, found.size, found.modified_time)
            if content is None:  # left behind: of a put, or by somebody who came too late
                parts = self._parts(key, seen.upload)
                size = sum(part.size for part in parts)
            else:
                note = self._note(key, seen.beside)
                parts = self._parts(key, note.upload) if note is not None else []
                whole = full_parts(parts, Record.from_bytes(key, content).part_bytes)
                size = reach(_pieces(seen.beside), sum(part.size for part in whole))
            return StoredBlob(
                key, size, max([seen.modified_time, *(part.modified_time for part in parts)]), staged=True
            )

    def _finish(self, key: str, size: int) -> bool:
        """Finish a staged write; False: it has changed meanwhile, look again."""
        name = self._names.blob(key)
        finished = self._objects.measure(name, size)
        if finished is not None:
            if finished.size < size:
                raise short(key, size, finished.size)
            self._tidy(key, self._beside(key))
            return True
        content = self._objects.fetch(self._names.record(key))
        if content is None:
            if self._objects.head(name) is None:
                raise missing(key)
            return False
        part_bytes = Record.from_bytes(key, content).part_bytes
        # Pieces before parts: a writer removes a piece when its part is there.
        beside = self._beside(key)
        note = self._note(key, beside)
        found = self._parts(key, note.upload) if note is not None else []
        parts = full_parts(found, part_bytes)[: -(-size // part_bytes)]
        begin = sum(part.size for part in parts)
        pieces = _pieces(beside)
        if (reached := reach(pieces, begin)) < size:
            if self._objects.head(name) is None and self._objects.head(self._names.record(key)) is not None:
                raise short(key, size, reached)
            return False
        tail = self._tail(key, pieces, begin, size)
        if tail is None:
            return False
        if note is None or not parts:
            self._objects.put_new(name, tail)  # False: somebody else has put the same bytes
            self._tidy(key, beside)
            return True
        if not self._complete(name, note.upload, parts, tail):
            return False
        if note.has_strays:
            self._abort_strays(key)
        self._remove(key, beside)
        return True

    def _complete(self, name: str, upload: str, parts: Sequence[Part], tail: Sequence[Buffer]) -> bool:
        """Make the blob of parts and a last one; False: the upload is not what it was."""
        chosen = [(part.number, part.tag) for part in parts]
        try:
            if tail:
                chosen.append((len(parts) + 1, self._objects.upload_part(name, upload, len(parts) + 1, tail)))
            self._objects.complete(name, upload, chosen)
        except Refused as error:
            if error.is_upload_gone or error.code in ("InvalidPart", "NoSuchKey"):
                return False
            raise
        return True

    def _parts(self, key: str, upload: str) -> list[Part]:
        """Return all parts of an upload; none if it has ended."""
        if not upload:
            return []
        try:
            return list(self._objects.parts(self._names.blob(key), upload))
        except Refused as error:
            if error.is_upload_gone or error.is_missing:
                return []
            raise

    def _beside(self, key: str) -> list[str]:
        return [found.name for found in self._objects.all(self._names.beside(key))]

    def _note(self, key: str, beside: Sequence[str]) -> Note | None:
        name = self._names.note(key)
        content = self._objects.fetch(name) if name in beside else None
        return None if content is None else Note.from_bytes(key, content)

    def _tail(self, key: str, pieces: Sequence[Piece], begin: int, end: int) -> list[Buffer] | None:
        """Return these bytes, or None if a piece has gone meanwhile."""
        tail: list[Buffer] = []
        for cut in take(pieces, begin, end):
            content = self._objects.fetch(cut.piece.name)
            if content is None:
                return None
            if len(content) != cut.piece.end - cut.piece.begin:
                raise short(key, end, cut.piece.begin + len(content))
            tail.append(memoryview(content)[cut.skip : cut.skip + cut.size])
        return tail

    def _tidy(self, key: str, beside: Sequence[str]) -> None:
        """Remove what is left of a staged write whose blob is there."""
        if self._names.begun(key) in beside:
            self._abort_all(key)
        self._remove(key, beside)

    def _abort_all(self, key: str) -> None:
        with suppress(DataLoss):  # where the note cannot be read, the list has to tell
            note = self._note(key, [self._names.note(key)])
            if note is not None:
                self._objects.abort(self._names.blob(key), note.upload)
        self._abort_strays(key)

    def _abort_strays(self, key: str) -> None:
        name = self._names.blob(key)
        for upload in list(self._objects.uploads(name)):
            if upload.name == name:
                self._objects.abort(name, upload.id)

    def _remove(self, key: str, beside: Sequence[str]) -> None:
        """Remove a record and what lies beside it: the record last, as it is what tells of the rest."""
        for name in beside:
            self._objects.delete(name)
        self._objects.delete(self._names.record(key))


def _pieces(names: Sequence[str]) -> list[Piece]:
    return [piece for piece in map(piece_of, names) if piece is not None]
