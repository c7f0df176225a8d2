"""numpy's dtypes and Zarr's data types, and arrays as they are stored. Every bit is kept."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from measurand.chunks import data_types, fills
from measurand.chunks.data_types import DataType
from measurand.wire.errors import InvalidArgument

__all__ = ["as_native", "data_type_of", "dtype_of", "fill_bytes", "fill_of", "filled"]

TEXT = np.dtypes.StringDType()
TIMES = {"M": "numpy.datetime64", "m": "numpy.timedelta64"}
LENGTHS = {"U": "fixed_length_utf32", "S": "null_terminated_bytes", "V": "raw_bytes"}


def data_type_of(dtype: npt.DTypeLike) -> str:
    """Return the Zarr data type of a dtype of either byte order, as it stands in `Array.data_type`.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: object, longdouble, elements of no bytes, structured types with gaps, titles or fields that are
        arrays.
    """
    return _data_type(np.dtype(dtype)).text


def dtype_of(data_type: str) -> np.dtype[Any]:
    """Return the dtype of a Zarr data type, little-endian (native on every usual machine).

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: no data type that can be stored.
    """
    return _dtype(data_types.parse(data_type))


def as_native(value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the array that is stored for a value: little-endian, in C order. It may be the value itself.

    Parameters
    ----------
    value : array_like
        Big-endian data is turned, value by value. A list of str and an object array of only str become text of any
        length; an array of dtype U keeps its fixed length.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: no rectangular array, masked elements, or a dtype that cannot be stored; see `data_type_of`.
    """
    if np.ma.is_masked(value):
        raise _invalid("masked elements have no value", "call filled() with one first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise _invalid(f"this is no array: {error}", "give lists of equal lengths") from error
    if array.dtype.kind in "OT" or (array.dtype.kind == "U" and not hasattr(value, "dtype")):
        return np.asarray(array if array.dtype == TEXT else _text(np.asarray(value, dtype=object)), order="C")
    native = _dtype(_data_type(array.dtype))
    # Not ascontiguousarray, which gives an array without axes one.
    return np.asarray(array, dtype=native, order="C") if array.dtype != native else np.asarray(array, order="C")


def fill_bytes(value: object, dtype: npt.DTypeLike) -> bytes:
    """Return one element as it is kept: little-endian bytes, of text its UTF-8.

    Parameters
    ----------
    value : scalar or None
        None: NaN, NaT, 0, False or empty text. Floats may be rounded; everything else must fit exactly.
    dtype : dtype_like
        Of the array.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: not a value of the dtype.
    """
    data_type = _data_type(np.dtype(dtype))
    if value is None:
        return fills.default(data_type)
    if data_type.kind == "T":
        if not isinstance(value, str):
            raise _unfit(value, data_type)
        return value.encode()
    native = _dtype(data_type)
    try:
        given = np.asarray(value)
        with np.errstate(all="ignore"):
            # From the same dtype bit by bit; a Python value by numpy's own rules for it.
            element = given.astype(native) if isinstance(value, np.generic | np.ndarray) else np.array(value, native)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unfit(value, data_type) from error
    if element.shape or not _holds(element, given):
        raise _unfit(value, data_type)
    return element.tobytes()


def fill_of(fill: bytes, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the one element as an array without axes; no bytes stand for the default.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: not the bytes of one element.
    """
    data_type = _data_type(np.dtype(dtype))
    fills.check(data_type, fill)
    fill = fill or fills.default(data_type)
    if data_type.kind == "T":
        return np.array(fill.decode(), dtype=TEXT)
    return np.frombuffer(fill, dtype=_dtype(data_type)).reshape(())


def filled(shape: tuple[int, ...], fill: bytes, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a new array of nothing but the fill, bit by bit."""
    element = fill_of(fill, dtype)
    if fill and not any(fill) and element.dtype.kind != "T":
        return np.zeros(shape, element.dtype)
    array = np.empty(shape, element.dtype)
    array[...] = element
    return array


def _data_type(dtype: np.dtype[Any]) -> DataType:
    kind, size = dtype.kind, dtype.itemsize
    if kind == "T":
        return data_types.parse("string")
    if kind == "O":
        raise _invalid("Python objects cannot be stored", "convert to numbers, or to an array of only str")
    if kind != "b" and size == 0:
        raise _invalid(f"elements of {dtype} have no bytes", "give them a length of at least 1")
    if dtype.names is not None:
        return _structured(dtype)
    if dtype.subdtype is not None:
        raise _invalid(f"elements of {dtype} are arrays", "give the array more axes instead")
    if kind in "biufc":
        name = dtype.name
        if name in data_types.PLAIN:
            return data_types.parse(name)
    if kind in TIMES:
        unit, scale = np.datetime_data(dtype)
        return DataType(TIMES[kind], kind, 8, unit, scale)
    if kind in LENGTHS:
        return DataType(LENGTHS[kind], kind, size)
    raise _invalid(f"{dtype} cannot be stored", "convert with astype, for example to float64 or complex128")


def _structured(dtype: np.dtype[Any]) -> DataType:
    fields: list[tuple[str, DataType]] = []
    offset = 0
    for name in dtype.names or ():
        field, at, *title = cast("Any", dtype.fields)[name]
        if at != offset or title:
            break
        fields.append((name, _data_type(field)))
        offset += field.itemsize
    if offset != dtype.itemsize or len(fields) != len(dtype.names or ()):
        raise _invalid(
            f"{dtype} has gaps, overlaps or titles, which Zarr cannot hold",
            "pass it through numpy.lib.recfunctions.repack_fields",
        )
    return DataType("structured", "V", offset, fields=tuple(fields))


def _dtype(data_type: DataType) -> np.dtype[Any]:
    if data_type.fields:
        return np.dtype([(name, _dtype(field)) for name, field in data_type.fields])
    if data_type.kind == "T":
        return TEXT
    if data_type.unit:
        unit = "" if data_type.unit == "generic" else f"[{data_type.scale}{data_type.unit}]"
        return np.dtype(f"<{data_type.kind}8{unit}")
    length = data_type.item_bytes // 4 if data_type.kind == "U" else data_type.item_bytes
    return np.dtype(f"<{data_type.kind}{length}")


def _text(objects: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not objects.size or not all(isinstance(item, str) for item in objects.flat):
        raise _invalid("Python objects cannot be stored", "convert to numbers, or to an array of only str")
    try:
        return objects.astype(TEXT)
    except UnicodeEncodeError as error:
        raise _invalid(f"this text cannot be written as UTF-8: {error}", "take lone surrogates out") from error


def _holds(element: npt.NDArray[Any], given: npt.NDArray[Any]) -> bool:
    """Whether the element is the given value, but for rounding of floats."""
    if element.dtype == given.dtype:
        return True
    if element.dtype.kind in "fc":
        return given.dtype.kind in "biufc" and bool(np.isfinite(element) or not np.isfinite(given))
    if element.dtype.kind in "Mm" and given.dtype.kind in "OUiu":
        return True
    same = element == given
    return bool(same) or bool(element != element and given != given)


def _unfit(value: object, data_type: DataType) -> InvalidArgument:
    return InvalidArgument(
        f"fill_value: {value!r:.100} is no {data_type.text}; give a value of the array's dtype", field="fill_value"
    )


def _invalid(problem: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(f"data_type: {problem}; {remedy}", field="data_type")
