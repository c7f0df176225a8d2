"""Chunks to bytes and back, by the codec chain of the array.

numcodecs does the work, Google's crc32c the proof. All of it may be called from many threads at once, and lets the
interpreter go on while it compresses.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8

from measurand.chunks import chains, data_types, dtypes, shards
from measurand.chunks.chains import Chain
from measurand.chunks.compressors import Raw, compressor_of
from measurand.chunks.grid import Grid
from measurand.chunks.spec import CHUNK_BYTES, MAX_CHUNK_BYTES, ArraySpec
from measurand.wire.errors import DataLoss, InvalidArgument

__all__ = ["Bytes", "Pipeline", "choose"]

Bytes = bytes | bytearray | memoryview
"""Whatever holds bytes."""

CRC_BYTES = 4
WORTH_IT = 0.9  # of the size before


class Pipeline:
    """The way of the chunks of one array into bytes, and back.

    Parameters
    ----------
    data_type : str
        As in `ArraySpec`.
    chunk_shape : tuple of int
        Shape of each chunk.
    fill : bytes
        One element; none for the default.
    chain : Chain
        The codecs, checked against type and shape.

    Attributes
    ----------
    dtype : dtype
        Of chunks.
    inner : Pipeline, optional
        Of shards: the way of the chunks within.
    """

    def __init__(self, data_type: str, chunk_shape: tuple[int, ...], fill: bytes, chain: Chain) -> None:
        self.dtype = dtypes.dtype_of(data_type)
        self.chunk_shape = chunk_shape
        self.fill = fill
        self._chain = chain
        self._compressor = compressor_of(chain.compressor) if chain.compressor else None
        self.inner = Pipeline(data_type, chain.inner_shape, fill, chain.inner) if chain.inner else None

    @staticmethod
    def of(spec: ArraySpec) -> Pipeline:
        """Return the way of this array's chunks; the same object for arrays that differ in shape only."""
        return _pipeline(spec.data_type, spec.chunk_shape, spec.fill_value, spec.codecs)

    @property
    def inner_grid(self) -> Grid:
        """How a shard is cut into chunks; of other arrays one chunk."""
        return Grid(self.chunk_shape, self.inner.chunk_shape if self.inner else self.chunk_shape)

    @property
    def index_size(self) -> int:
        """Bytes at the end of a shard that say where each chunk within lies; 0 without shards."""
        if self.inner is None:
            return 0
        return shards.index_size(self.inner_grid.counts) + CRC_BYTES * self._chain.checked

    def filled(self) -> npt.NDArray[Any]:
        """Return a new chunk of nothing but the fill value."""
        return dtypes.filled(self.chunk_shape, self.fill, self.dtype)

    def encode(self, chunk: npt.NDArray[Any]) -> bytes:
        """Return the bytes of a whole chunk.

        Parameters
        ----------
        chunk : ndarray, shape ``chunk_shape``
            In the dtype of the array.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: another shape or dtype, or more than 128 MiB of text.
        """
        self._check(chunk)
        if self.inner is not None:
            pieces, index = shards.join(self.inner.encode(chunk[span]) for span in self._inner_spans())
            return b"".join((*pieces, index, _crc(np.frombuffer(index, "u1")) if self._chain.checked else b""))
        raw = self._serialized(chunk)
        data = raw.data if self._compressor is None else self._compressor.encode(raw)
        return b"".join((data, _crc(np.frombuffer(data, "u1")) if self._chain.checked else b""))

    def decode(
        self, data: Bytes, out: npt.NDArray[Any] | None = None, *, resource: str = "the chunk"
    ) -> npt.NDArray[Any]:
        """Return the chunk of its bytes.

        Parameters
        ----------
        data : bytes-like
            The whole encoded chunk.
        out : ndarray, shape ``chunk_shape``
            Where to put it, in the dtype of the array and in any layout; without a copy in between if it is
            C-contiguous. It may hold anything after an error.
        resource : str
            What to call the chunk if it is damaged.

        Returns
        -------
        ndarray, shape ``chunk_shape``
            `out`. Without one a new array; where nothing is compressed a view of `data`, which may be read-only.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT: the checksum or a codec says that these are not the bytes that were written.
        InvalidArgument
            FIELD_INVALID: `out` has another shape or dtype.
        """
        if out is not None:
            self._check(out)
        try:
            return self._decoded(np.frombuffer(data, "u1"), out)
        except MemoryError:
            raise  # chunks have at most 128 MiB: this machine is short of memory, the bytes may be good
        except Exception as error:  # whatever a codec says to bytes that it did not write
            raise DataLoss(f"{resource} is damaged: {error}", resource=resource) from error

    def inner_ranges(self, tail: Bytes, shard_size: int) -> dict[tuple[int, ...], slice | None]:
        """Return where in a shard each chunk within lies; None for those that were not written and read as fill.

        Parameters
        ----------
        tail : bytes-like
            The last `index_size` bytes of the shard.
        shard_size : int
            Bytes of the whole shard.

        Raises
        ------
        DataLoss
            STORED_DATA_CORRUPT.
        """
        try:
            return self._inner_ranges(np.frombuffer(tail, "u1"), shard_size)
        except ValueError as error:
            raise DataLoss(f"the index of the shard is damaged: {error}") from error

    def _check(self, chunk: npt.NDArray[Any]) -> None:
        if chunk.shape != self.chunk_shape or chunk.dtype != self.dtype:
            raise InvalidArgument(
                f"a chunk of {self.dtype} with shape {self.chunk_shape} is wanted, and this is {chunk.dtype} with "
                f"shape {chunk.shape}",
                field="data",
            )

    def _inner_spans(self) -> list[tuple[slice, ...]]:
        grid = self.inner_grid
        return [grid.span(index) for index in grid.indexes()]

    def _serialized(self, chunk: npt.NDArray[Any]) -> Raw:
        if self._chain.serializer == "bytes":
            return np.ascontiguousarray(chunk).reshape(-1).view("u1")
        raw = np.frombuffer(VLenUTF8().encode(chunk.astype(object).reshape(-1)), "u1")
        if raw.size > MAX_CHUNK_BYTES:
            raise InvalidArgument(
                f"the text of a chunk has {raw.size} bytes, and at most {MAX_CHUNK_BYTES} are allowed; make the array "
                "with smaller chunks",
                field="data",
            )
        return raw

    def _decoded(self, data: Raw, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        if self.inner is not None:
            return self._decoded_shard(data, out)
        if self._chain.checked:
            data = _proved(data)
        if self._chain.serializer == "vlen-utf8":
            raw = data if self._compressor is None else self._compressor.decode(data, None)
            return _put(self._text(raw), out)
        if self._compressor is None:
            return _put(data.view(self.dtype).reshape(self.chunk_shape), out)
        direct = out is not None and out.flags.c_contiguous
        target = out if out is not None and direct else np.empty(self.chunk_shape, self.dtype)
        self._compressor.decode(data, target.reshape(-1).view("u1"))
        return target if direct else _put(target, out)

    def _decoded_shard(self, data: Raw, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        inner = cast("Pipeline", self.inner)
        ranges = self._inner_ranges(data[max(0, data.size - self.index_size) :], data.size)
        target = np.empty(self.chunk_shape, self.dtype) if out is None else out
        fill = dtypes.fill_of(self.fill, self.dtype)
        for (index, place), span in zip(ranges.items(), self._inner_spans(), strict=True):
            if place is None:
                target[span] = fill
            else:
                inner.decode(data[place].data, target[span], resource=f"chunk {index} within the shard")
        return target

    def _inner_ranges(self, tail: Raw, shard_size: int) -> dict[tuple[int, ...], slice | None]:
        if tail.size != self.index_size:
            raise ValueError(f"{tail.size} bytes are too few")
        index = _proved(tail) if self._chain.checked else tail
        return dict(zip(self.inner_grid.indexes(), shards.ranges(index, shard_size - tail.size), strict=True))

    def _text(self, raw: Raw) -> npt.NDArray[Any]:
        count = int.from_bytes(raw[:4].tobytes(), "little")
        if count != math.prod(self.chunk_shape):  # before numcodecs makes room for so many
            raise ValueError(f"{count} texts are there, and not {math.prod(self.chunk_shape)}")
        return VLenUTF8().decode(raw).astype(self.dtype).reshape(self.chunk_shape)  # type: ignore[no-any-return]  # no types


def choose(sample: npt.NDArray[Any], data_type: str) -> str:
    """Return the codecs for data like the sample: Blosc where it shrinks by more than a tenth; crc32c always.

    Parameters
    ----------
    sample : ndarray
        Some of the data, in C order; about the first MiB is looked at.
    data_type : str
        As in `ArraySpec`.
    """
    known = data_types.parse(data_type)
    piece = sample.reshape(-1)[: CHUNK_BYTES // known.item_bytes]
    if not piece.size:
        return chains.default(known)
    plain, packed = (
        len(_pipeline(data_type, piece.shape, b"", codecs).encode(piece))
        for codecs in (chains.named("none", known), chains.default(known))
    )
    return chains.default(known) if packed < WORTH_IT * plain else chains.named("none", known)


@lru_cache(maxsize=256)
def _pipeline(data_type: str, chunk_shape: tuple[int, ...], fill: bytes, codecs: str) -> Pipeline:
    chain = chains.parse(codecs)
    chains.check(chain, data_types.parse(data_type), chunk_shape)
    return Pipeline(data_type, chunk_shape, fill, chain)


def _put(array: npt.NDArray[Any], out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    if out is None:
        return array
    out[...] = array
    return out


def _crc(data: Raw) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def _proved(data: Raw) -> Raw:
    """Return the bytes before their crc32c."""
    if data.size < CRC_BYTES:
        raise ValueError(f"{data.size} bytes are too few")
    body, found = data[:-CRC_BYTES], data[-CRC_BYTES:].tobytes()
    if _crc(body) != found:
        raise ValueError("its crc32c does not fit")
    return body
