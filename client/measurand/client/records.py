"""Records of a buffer: as they are read, and from what a writer gives."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from measurand.client import display, values
from measurand.client.gps import event_time
from measurand.client.hashing import Bytes
from measurand.client.results import time_of
from measurand.v1 import buffers_pb2
from measurand.wire.errors import FailedPrecondition, InvalidArgument, TooLarge

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MAX_RECORD_BYTES", "Given", "Part", "Record", "framed", "given"]

MAX_RECORD_BYTES = 64 << 20
MAX_METADATA_BYTES = 64 << 10
MAX_TEXT = 64
MOST_PARTS = 1000

Header = buffers_pb2.RecordHeader


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of what a record is, such as one event as one of several detectors saw it.

    Parameters
    ----------
    set : str
        The same for all parts that belong together, at most 64 ASCII characters.
    index, count : int
        Which part it is, from 0, and how many there are: 2 to 1000.
    """

    set: str
    index: int
    count: int


class Record:
    """A record of a buffer as it was stored."""

    __slots__ = ("_data", "_header")

    def __init__(self, header: Header, data: Bytes | None) -> None:
        self._header = header
        self._data = data

    @property
    def seq(self) -> int:
        """Its place in the buffer: 1, 2, 3, … without gaps."""
        return self._header.sequence

    @property
    def time(self) -> datetime | None:
        """When it was stored, by the server's clock, in UTC."""
        return time_of(self._header, "append_time")

    @property
    def event_time(self) -> datetime | None:
        """When it was measured, as its writer says, in UTC. None: that was not said."""
        return time_of(self._header, "event_time")

    @property
    def metadata(self) -> dict[str, Any]:
        """What its writer says about it."""
        return values.from_text(self._header.metadata.json)

    @property
    def data(self) -> bytes:
        """Its bytes; those of an array in C order and little-endian."""
        if not isinstance(self._data, bytes):
            self._data = bytes(self._there)
        return self._data

    @property
    def array(self) -> npt.NDArray[Any]:
        """Its bytes as the array that was appended: read-only, copy it to change it.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: it was appended as bytes.
        """
        import numpy as np

        from measurand.chunks.dtypes import dtype_of

        if not self.is_array:
            raise FailedPrecondition(f"record {self.seq} is no array but bytes; use data", state="bytes")
        layout = self._header.array
        array: npt.NDArray[Any] = np.ndarray(tuple(layout.shape), dtype_of(layout.data_type), buffer=self._there)
        array.flags.writeable = False
        return array

    @property
    def is_array(self) -> bool:
        """It was appended as an array."""
        return self._header.HasField("array")

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._header.size

    @property
    def crc32c(self) -> int:
        """CRC-32C of its bytes."""
        return self._header.crc32c

    @property
    def id(self) -> str:
        """Its writer's own id of it; empty: none."""
        return self._header.id

    @property
    def writer(self) -> str:
        """Id of the writer that stored it; empty: it was appended by itself."""
        return self._header.writer

    @property
    def window(self) -> int:
        """Number of the window that it is in."""
        return self._header.window

    @property
    def part(self) -> Part | None:
        """Which part of what it is. None: it stands by itself."""
        part = self._header.part
        return Part(part.set, part.index, part.count) if self._header.HasField("part") else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._header == other._header

    def __hash__(self) -> int:
        return hash((self.seq, self.crc32c))

    def __repr__(self) -> str:
        layout = self._header.array
        what = f"{layout.data_type} {tuple(layout.shape)}" if self.is_array else display.bytes_text(self.size)
        facts = {"time": self.time, "id": self.id, "metadata": self.metadata}
        return display.line(type(self).__name__, f"{self.seq}: {what}", facts)

    @property
    def _there(self) -> Bytes:
        if self._data is None:
            raise FailedPrecondition(
                f"record {self.seq} was listed without its bytes; read({self.seq}) of the buffer gives them",
                state="listed",
            )
        return self._data


class Given(NamedTuple):
    """What a writer gives, as it goes on the wire.

    Parameters
    ----------
    header : bytes
        The header as bytes; `framed` makes it a field of a message.
    data : bytes
        Nobody changes it any more.
    """

    header: bytes
    data: bytes


def given(
    data: Any,
    metadata: Mapping[str, Any] | None = None,
    *,
    time: Any = None,
    gps: Any = None,
    id: str | None = None,  # noqa: A002  # the field's word
    part: Part | tuple[str, int, int] | None = None,
) -> Given:
    """Return a record from what a writer says.

    Parameters
    ----------
    data : bytes or array_like
        At most 64 MiB. An array keeps dtype and shape.
    metadata : mapping, optional
        At most 64 KiB as text.
    time, gps : optional
        When it was measured, see `measurand.client.gps.event_time`.
    id : str, optional
        At most 64 ASCII characters.
    part : Part or tuple, optional
        Set, index and count.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE: with the `field`.
    """
    if type(data) is bytes and metadata is None and time is None and gps is None and id is None and part is None:
        if len(data) > MAX_RECORD_BYTES:
            raise _too_large(len(data))
        return Given(_plain(len(data)), data)
    header = Header()
    raw = data if type(data) is bytes else _bytes_of(data, header)
    if len(raw) > MAX_RECORD_BYTES:
        raise _too_large(len(raw))
    header.size = len(raw)
    if metadata:
        header.metadata.json = _metadata(metadata)
    if (stamp := event_time(time, gps)) is not None:
        header.event_time.CopyFrom(stamp)
    if id is not None:
        header.id = _text(id, "id")
    if part is not None:
        _set_part(header, part)
    return Given(header.SerializeToString(), raw)


def framed(header: bytes) -> bytes:
    """Return a header as it stands in a message, as its field 4: headers are joined, not built one by one."""
    return _framed(header) if len(header) < 16 else b'"' + _varint(len(header)) + header


@lru_cache(4096)
def _framed(header: bytes) -> bytes:
    return b'"' + _varint(len(header)) + header


@lru_cache(4096)
def _plain(size: int) -> bytes:
    return Header(size=size).SerializeToString()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes_of(data: Any, header: Header) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    numpy = sys.modules.get("numpy")  # nobody has an array of a module that was never imported
    if numpy is None or isinstance(data, str) or not hasattr(data, "dtype"):
        raise InvalidArgument(
            f"data: a {type(data).__name__} is neither bytes nor an array; encode a text, and make numbers an array",
            field="data",
        )
    array = numpy.asarray(data)
    data_type, stored = _stored(array.dtype)
    header.array.data_type = data_type
    header.array.shape.extend(array.shape)
    raw: bytes = array.astype(stored, copy=False).tobytes()
    return raw


@lru_cache(256)
def _stored(dtype: Any) -> tuple[str, Any]:
    from measurand.chunks.dtypes import data_type_of, dtype_of

    if dtype.kind in "OT":
        raise InvalidArgument(
            f"data: dtype {dtype} is no plain bytes; give numbers, times or text of a fixed length", field="data"
        )
    data_type = data_type_of(dtype)
    return data_type, dtype_of(data_type).newbyteorder("<")


def _metadata(metadata: Mapping[str, Any]) -> str:
    text = values.to_text(metadata)
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_METADATA_BYTES:
        raise TooLarge(
            f"metadata: {size} bytes as text; the most is {MAX_METADATA_BYTES}; put what is large into the data",
            limit=MAX_METADATA_BYTES,
            actual=size,
            field="metadata",
        )
    return text


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isascii() or not value.isprintable():
        raise InvalidArgument(f"{field}: {value!r:.80} is not 1 to {MAX_TEXT} printable ASCII characters", field=field)
    return value


def _set_part(header: Header, part: Any) -> None:
    try:
        name, index, count = (part.set, part.index, part.count) if isinstance(part, Part) else part
        header.part.set, header.part.index, header.part.count = _text(name, "part"), index, count
    except (TypeError, ValueError):
        raise InvalidArgument(
            f'part: {part!r} is no (set, index, count), such as ("event-7", 0, 3)', field="part"
        ) from None
    if not (2 <= count <= MOST_PARTS and 0 <= index < count):
        raise InvalidArgument(
            f"part: {index} of {count}; a set has 2 to {MOST_PARTS} parts, numbered from 0", field="part"
        )


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"data: {size} bytes; the most in a record is {MAX_RECORD_BYTES}; make smaller ones, or use an array or a file",
        limit=MAX_RECORD_BYTES,
        actual=size,
        field="data",
    )
