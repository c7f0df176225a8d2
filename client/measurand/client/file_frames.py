"""The frames of ReadFiles streams: proven piece by piece, and gathered to whole files in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

from measurand.client.hashing import crc32c
from measurand.client.names import path_of
from measurand.v1 import files_pb2
from measurand.wire.errors import ChecksumMismatch, DataLoss, MeasurandError, NameInvalid, PermissionDenied

__all__ = ["AGAIN", "Gathered", "Large", "Outcome", "pieces"]

AGAIN = (files_pb2.FILE_RESULT_LIMIT_BYTES, files_pb2.FILE_RESULT_LIMIT_FILES)
"""Results that say no more than: ask again."""

_ABSENT = (files_pb2.FILE_RESULT_NOT_FOUND, files_pb2.FILE_RESULT_NOT_A_FILE, files_pb2.FILE_RESULT_UNKNOWN_DATASET)


def pieces(frames: Iterable[files_pb2.FileFrame], data: memoryview) -> Iterator[tuple[files_pb2.FileFrame, memoryview]]:
    """Yield each frame of a message with its bytes, or raise ChecksumMismatch."""
    offset = 0
    for frame in frames:
        piece = data[offset : offset + frame.size]
        offset += frame.size
        if piece.nbytes and crc32c(piece) != frame.crc32c:
            raise ChecksumMismatch(f"{frame.name}: bytes were damaged on their way", offset=offset)
        yield frame, piece


class Large:
    """Stands for the bytes of a file that is to be fetched by itself."""


Outcome = bytes | Large | MeasurandError | None
"""What became of a file: its bytes; None where there is none; what is wrong with it."""


class Gathered:
    """Puts files together from the frames of one ReadFiles stream.

    Parameters
    ----------
    left : mapping of str to anything
        What has no result yet, by resource name; whatever gets one is taken out.
    outcomes : mapping
        Gets the outcomes, by path.
    """

    def __init__(self, left: MutableMapping[str, None], outcomes: MutableMapping[str, Outcome]) -> None:
        self._left = left
        self._outcomes = outcomes
        self._name = ""
        self._size = 0
        self._pieces: list[memoryview] = []

    def take(self, frames: Iterable[files_pb2.FileFrame], data: memoryview) -> None:
        """Take what a message holds."""
        for frame, piece in pieces(frames, data):
            if frame.name:
                self._name, self._size, self._pieces = frame.name, frame.file.size, []
            if piece.nbytes:
                self._pieces.append(piece)
            if frame.result and frame.result not in (*AGAIN, files_pb2.FILE_RESULT_CHANGED):
                if self._name in self._left:
                    self._outcomes[path_of(self._name)] = self._outcome(frame)
                    del self._left[self._name]
                self._pieces = []

    def _outcome(self, frame: files_pb2.FileFrame) -> Outcome:
        if frame.result == files_pb2.FILE_RESULT_OK:
            whole = b"".join(self._pieces)
            if len(whole) == self._size:
                return whole
            return DataLoss(f"{self._name}: {len(whole)} of {self._size} bytes came", resource=self._name)
        if frame.result in _ABSENT:
            return None
        if frame.result == files_pb2.FILE_RESULT_TOO_LARGE:
            return Large()
        kind = {
            files_pb2.FILE_RESULT_OUTSIDE_DATASET: NameInvalid,
            files_pb2.FILE_RESULT_PERMISSION: PermissionDenied,
        }.get(frame.result, DataLoss)
        return kind(f"{self._name}: {frame.message}", resource=self._name)
