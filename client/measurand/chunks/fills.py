"""What an element reads as that was never written: its bytes, and its form in a `zarr.json`. Standard library only.

Bits count: NaNs with a payload are written in hexadecimal, as the Zarr v3 specification has it.
"""

from __future__ import annotations

import base64
import binascii
import struct

from measurand.chunks.data_types import DataType
from measurand.wire.errors import InvalidArgument

__all__ = ["check", "default", "from_json", "to_json"]

NAN = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}  # "NaN" of the specification
INFINITY = {2: 0x7C00, 4: 0x7F800000, 8: 0x7FF0000000000000}
LETTER = {2: "<e", 4: "<f", 8: "<d"}
NOT_A_TIME = -(2**63)


def default(data_type: DataType) -> bytes:
    """Return NaN, NaT, 0, False or empty text, as the bytes of one element."""
    match data_type.kind:
        case "f":
            return _bits(NAN[data_type.item_bytes], data_type.item_bytes)
        case "c":
            return 2 * _bits(NAN[data_type.item_bytes // 2], data_type.item_bytes // 2)
        case "M" | "m":
            return _number(NOT_A_TIME, 8, signed=True)
        case "T":
            return b""
    return bytes(data_type.item_bytes)


def check(data_type: DataType, fill: bytes) -> None:
    """Refuse bytes that are not one element. No bytes stand for the default.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID.
    """
    if not fill:
        return
    if data_type.kind != "T" and len(fill) != data_type.item_bytes:
        raise _invalid(f"one element of {data_type.name} has {data_type.item_bytes} bytes and this has {len(fill)}")
    to_json(data_type, fill)


def to_json(data_type: DataType, fill: bytes) -> object:
    """Return the form in a `zarr.json` of the bytes of one element; no bytes stand for the default.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: the bytes hold no value of the data type.
    """
    fill = fill or default(data_type)
    match data_type.kind:
        case "b" if fill in (b"\0", b"\1"):
            return fill == b"\1"
        case "i" | "u":
            return int.from_bytes(fill, "little", signed=data_type.kind == "i")
        case "f":
            return _float_to_json(fill)
        case "c":
            half = data_type.item_bytes // 2
            return [_float_to_json(fill[:half]), _float_to_json(fill[half:])]
        case "M" | "m":
            time = int.from_bytes(fill, "little", signed=True)
            if time != NOT_A_TIME and data_type.name == "numpy.datetime64" and data_type.unit == "generic":
                raise _invalid("a date without a unit can be NaT only")
            return "NaT" if time == NOT_A_TIME else time
        case "U" | "T":
            return _text(fill, "utf-32-le" if data_type.kind == "U" else "utf-8").rstrip(
                "\0" if data_type.kind == "U" else ""
            )
        case "S":
            return base64.b64encode(fill.rstrip(b"\0")).decode()
        case "V":
            return base64.b64encode(fill).decode()
    raise _invalid(f"these bytes are no {data_type.name}")


def from_json(data_type: DataType, value: object) -> bytes:
    """Return the bytes of one element for its form in a `zarr.json`.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: the data type has no such value.
    """
    size = data_type.item_bytes
    try:
        match data_type.kind, value:
            case "b", bool():
                return b"\1" if value else b"\0"
            case (("i" | "u"), int()) if not isinstance(value, bool):
                return _number(value, size, signed=data_type.kind == "i")
            case "f", _:
                return _float_from_json(value, size)
            case "c", [real, imaginary]:
                return _float_from_json(real, size // 2) + _float_from_json(imaginary, size // 2)
            case (("M" | "m"), "NaT"):
                return default(data_type)
            case (("M" | "m"), int()) if not isinstance(value, bool):
                return _number(value, 8, signed=True)
            case "T", str():
                return value.encode()
            case "U", str() if len(padded := value.encode("utf-32-le").ljust(size, b"\0")) == size:
                return padded
            case "S", str() if len(padded := base64.b64decode(value, validate=True).ljust(size, b"\0")) == size:
                return padded
            case "V", str() if len(raw := base64.b64decode(value, validate=True)) == size:
                return raw
            case "V", list() if len(value) == size and not data_type.fields:  # the specification's form of raw bytes
                return bytes(value)
    except (ValueError, TypeError, OverflowError, struct.error, UnicodeError, binascii.Error) as error:
        raise _invalid(f"{value!r:.100} is no {data_type.name}: {error}") from error
    raise _invalid(f"{value!r:.100} is no {data_type.name}")


def _float_to_json(fill: bytes) -> float | str:
    bits, size = int.from_bytes(fill, "little"), len(fill)
    magnitude = bits & ((1 << (8 * size - 1)) - 1)
    if magnitude < INFINITY[size]:
        return float(struct.unpack(LETTER[size], fill)[0])
    if magnitude == INFINITY[size]:
        return "Infinity" if bits == magnitude else "-Infinity"
    return "NaN" if bits == NAN[size] else f"0x{bits:0{2 * size}x}"


def _float_from_json(value: object, size: int) -> bytes:
    if isinstance(value, str) and value.startswith("0x") and len(value) == 2 + 2 * size:
        return _bits(int(value, 0), size)
    named = {"NaN": NAN[size], "Infinity": INFINITY[size], "-Infinity": INFINITY[size] | 1 << (8 * size - 1)}
    if isinstance(value, str) and value in named:
        return _bits(named[value], size)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError('a number, "NaN", "Infinity", "-Infinity" or the bits as "0x…" are wanted')
    return _bits(NAN[size], size) if value != value else struct.pack(LETTER[size], value)


def _text(fill: bytes, encoding: str) -> str:
    try:
        return fill.decode(encoding)
    except UnicodeDecodeError as error:
        raise _invalid(f"these bytes are no text: {error}") from error


def _bits(bits: int, size: int) -> bytes:
    return bits.to_bytes(size, "little")


def _number(value: int, size: int, *, signed: bool) -> bytes:
    return value.to_bytes(size, "little", signed=signed)


def _invalid(problem: str) -> InvalidArgument:
    return InvalidArgument(
        f"fill_value: {problem}; give one element of the array's type, little-endian", field="fill_value"
    )
