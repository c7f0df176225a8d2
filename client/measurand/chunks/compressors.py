"""The three compressors that a chain may have, and what damaged bytes need: sizes that are checked first."""

from __future__ import annotations

import gzip
import io
from typing import Any, Protocol, cast

import numcodecs.blosc
import numpy as np
import numpy.typing as npt
from numcodecs import Blosc, Zstd

from measurand.chunks.chains import Codec
from measurand.chunks.spec import MAX_CHUNK_BYTES

__all__ = ["Compressor", "Raw", "compressor_of"]

Raw = npt.NDArray[np.uint8]
"""Bytes in a row."""

# Blosc's own threads take a lock over the whole process; chunks are encoded side by side in ours.
numcodecs.blosc.use_threads = False

SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
BLOSC_HEADER_BYTES = 16
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Compressor(Protocol):
    """Makes bytes fewer."""

    def encode(self, raw: Raw) -> bytes:
        """Return the bytes, compressed."""

    def decode(self, data: Raw, room: Raw | None) -> Raw:
        """Return what was compressed.

        Parameters
        ----------
        room : array of uint8, optional
            Is filled, and exactly: there is an error otherwise. None: as many bytes as there are, if a chunk may have
            so many.

        Raises
        ------
        Exception
            Whatever the library raises: the bytes are damaged. The room may hold anything then.
        """


def compressor_of(codec: Codec) -> Compressor:
    """Return what does the work of a codec that `chains.parse` let pass."""
    configuration = cast("dict[str, Any]", codec.configuration)
    match codec.name:
        case "blosc":
            return _Blosc(configuration)
        case "zstd":
            return _Zstd(configuration)
    return _Gzip(configuration)


class _Blosc:
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._codec = Blosc(**{**configuration, "shuffle": SHUFFLES[configuration["shuffle"]]})

    def encode(self, raw: Raw) -> bytes:
        return bytes(self._codec.encode(raw))

    def decode(self, data: Raw, room: Raw | None) -> Raw:
        # Blosc trusts its header: it would read behind a buffer that is shorter than that says.
        sizes = np.frombuffer(data[:BLOSC_HEADER_BYTES], "<u4")
        if sizes.size != BLOSC_HEADER_BYTES // 4 or sizes[3] != data.size:
            raise ValueError(f"Blosc's header does not speak of {data.size} bytes")
        room = _room(int(sizes[1]), room)
        self._codec.decode(data, room)
        return room


class _Zstd:
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._codec = Zstd(**configuration)

    def encode(self, raw: Raw) -> bytes:
        return bytes(self._codec.encode(raw))

    def decode(self, data: Raw, room: Raw | None) -> Raw:
        size = _content_size(data)
        if size is not None:
            room = _room(size, room)
            self._codec.decode(data, room)
            return room
        found = np.frombuffer(self._codec.decode(data), "u1")  # some writers leave the size out
        room = _room(found.size, room)
        room[...] = found
        return room


class _Gzip:
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._level = configuration["level"]

    def encode(self, raw: Raw) -> bytes:
        return gzip.compress(raw.data, self._level, mtime=0)

    def decode(self, data: Raw, room: Raw | None) -> Raw:
        limit = MAX_CHUNK_BYTES if room is None else room.size
        with gzip.GzipFile(fileobj=io.BytesIO(data.data)) as file:
            found = np.frombuffer(file.read(limit + 1), "u1")
        room = _room(found.size, room)
        room[...] = found
        return room


def _room(size: int, room: Raw | None) -> Raw:
    if room is None and size <= MAX_CHUNK_BYTES:
        return np.empty(size, "u1")
    if room is None or room.size != size:
        raise ValueError(f"{size} bytes are compressed there, and not {'so many' if room is None else room.size}")
    return room


def _content_size(data: Raw) -> int | None:
    """Return the size that a frame says it holds; None where it does not (RFC 8878, 3.1.1.1)."""
    head = data[:18].tobytes()
    if not head.startswith(ZSTD_MAGIC) or len(head) < 6:
        raise ValueError("no Zstandard frame")
    descriptor = head[4]
    single, dictionary = descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[descriptor >> 6]
    if not length:
        return None
    place = 5 + (not single) + dictionary
    return int.from_bytes(head[place : place + length], "little") + (256 if length == 2 else 0)
