"""Arrays as they are stored: which dtypes there are, byte orders, text, fill values, every bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.chunks.samples import DTYPES, TEXT, bits, sample

from measurand.chunks import fills
from measurand.chunks.data_types import parse
from measurand.chunks.dtypes import as_native, data_type_of, dtype_of, fill_bytes, fill_of, filled
from measurand.wire.errors import InvalidArgument


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_has_a_data_type_and_comes_back(dtype: np.dtype[Any]) -> None:
    data_type = data_type_of(dtype)
    assert dtype_of(data_type) == dtype
    assert parse(data_type).text == data_type
    assert parse(data_type).item_bytes == dtype.itemsize


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (5, 0), (4, 3)], ids=str)
def test_both_byte_orders_and_any_layout_are_stored_alike(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    assert bits(as_native(array)) == bits(array)
    if dtype != TEXT:
        assert bits(as_native(array.astype(dtype.newbyteorder(">")))) == bits(array)
    assert bits(as_native(array.T)) == bits(array.T.copy())
    assert as_native(array.T).flags.c_contiguous


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0x7FF0000000000001, 0x7FF8DEAD00000001, 0xFFF8000000000002, 0x8000000000000000), "f8"),
        ((0x7F800001, 0xFFC12345, 0x80000000), "f4"),
        ((0x7C01, 0xFE01, 0x8000), "f2"),
        ((0, 0x7FF8DEAD00000001), "c16"),
        ((0, 0x7F800001), "c8"),
    ],
)
def test_payloads_come_through_both_byte_orders_and_as_fill(values: tuple[int, ...], dtype: str) -> None:
    part = np.dtype(dtype).itemsize // (2 if dtype.startswith("c") else 1)
    array = np.array(values, f"<u{part}").view(f"<{dtype}")
    assert bits(as_native(array.byteswap().view(f">{dtype}"))) == bits(array)
    data_type = parse(data_type_of(dtype))
    for element in array:
        fill = fill_bytes(element, dtype)
        assert fill == element.tobytes()
        assert fills.from_json(data_type, json.loads(json.dumps(fills.to_json(data_type, fill)))) == fill
        assert filled((3, 2), fill, dtype).tobytes() == 6 * fill


@pytest.mark.parametrize(
    "value",
    [
        ["", "a", "\U0001f600", "nul\0", "\0"],
        [["a", "b"], ["c", "d"]],
        ("a", "b"),
        "alone",
        np.array(["x", "ÿ" * 1000], dtype=TEXT),
        np.array(["x", "y\0"], dtype=object),
        np.array(["x"], dtype=np.dtypes.StringDType(na_object=None)),
    ],
    ids=repr,
)
def test_text_of_any_length_comes_back_equal(value: Any) -> None:
    stored = as_native(value)
    assert stored.dtype == TEXT
    assert stored.tolist() == (list(value) if isinstance(value, tuple) else np.asarray(value, object).tolist())


def test_lists_of_numbers_and_bytes_become_what_numpy_makes_of_them() -> None:
    assert bits(as_native([1, 2])) == bits(np.array([1, 2]))
    assert bits(as_native([[1.5], [2.0]])) == bits(np.array([[1.5], [2.0]]))
    assert bits(as_native([b"a", b"bc"])) == bits(np.array([b"a", b"bc"]))
    assert bits(as_native(np.str_("abc"))) == bits(np.array("abc", "U3"))
    assert bits(as_native(7)) == bits(np.array(7))


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a"], dtype=object),
        np.array(["a", None], dtype=object),
        np.array([], dtype=object),
        np.array([b"a", "b"], dtype=object),
        np.array(["a", None], dtype=np.dtypes.StringDType(na_object=None)),
        np.array(["a", np.nan], dtype=np.dtypes.StringDType(na_object=np.nan)),
        [1, "a"],
        [None],
        [[1], [2, 3]],
        ["\ud800"],
        np.ma.array([1.0, 2.0], mask=[True, False]),
        np.zeros(2, "longdouble"),
        np.zeros(2, "clongdouble"),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]})),
        np.zeros(2, np.dtype([(("title", "a"), "i4")])),
        np.zeros(2, np.dtype([("a", "f4", (3,))])),
        np.zeros(2, np.dtype([("a", "O")])),
        np.zeros(2, np.dtype([("a", "longdouble")])),
        np.zeros(2, np.dtype([])),
        np.zeros(2, np.dtype([("a", "S0")])),
    ],
    ids=repr,
)
def test_what_cannot_be_held_is_refused_and_says_what_to_do(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"data_type: .*; \w+") as caught:
        as_native(value)
    assert caught.value.details == {"field": "data_type"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_default_fills(dtype: np.dtype[Any]) -> None:
    fill = fill_bytes(None, dtype)
    element = fill_of(b"", dtype)
    assert bits(element) == bits(fill_of(fill, dtype))
    expected = {"f": np.nan, "M": "NaT", "m": "NaT", "c": complex(np.nan, np.nan)}.get(dtype.kind)
    assert bits(element) == bits(np.zeros((), dtype) if expected is None else np.array(expected, dtype))
    assert bits(filled((2, 0, 3), fill, dtype)) == bits(np.zeros((2, 0, 3), dtype))
    assert filled((2,), fill, dtype).flags.writeable


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_element_can_be_the_fill(dtype: np.dtype[Any]) -> None:
    data_type = parse(data_type_of(dtype))
    for element in sample(dtype, (12,)):
        fill = fill_bytes(element, dtype)
        if dtype == np.dtype("M8") and not np.isnat(element):  # zarr-python would not open the array
            with pytest.raises(InvalidArgument):
                filled((3,), fill, dtype)
            continue
        whole = filled((3,), fill, dtype)
        assert bits(whole) == bits(np.array([element] * 3, dtype))
        if dtype.kind == "S":  # Zarr's form drops trailing zeros, as numpy does when it reads one
            fill = bytes(element).ljust(dtype.itemsize, b"\0")
        assert fills.from_json(data_type, json.loads(json.dumps(fills.to_json(data_type, fill)))) == fill


@pytest.mark.parametrize(
    ("value", "dtype", "element"),
    [
        (1, "u1", np.uint8(1)),
        (-1, "i8", np.int64(-1)),
        (2.0, "i4", np.int32(2)),
        (True, "?", np.True_),
        (0.1, "f4", np.float32(0.1)),
        (np.inf, "f2", np.float16(np.inf)),
        (1j, "c8", np.complex64(1j)),
        ("2026-01-02", "M8[s]", np.datetime64("2026-01-02", "s")),
        (np.datetime64("2026-01-02"), "M8[s]", np.datetime64("2026-01-02", "s")),
        ("NaT", "m8[s]", np.timedelta64("NaT", "s")),
        (5, "m8[ms]", np.timedelta64(5, "ms")),
        ("ab", "U3", np.array("ab", "U3")),
        (b"ab", "S3", np.array(b"ab", "S3")),
    ],
)
def test_a_python_value_can_be_the_fill(value: object, dtype: str, element: Any) -> None:
    assert fill_bytes(value, dtype) == element.tobytes()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, "u1"), (256, "u1"), (1.5, "i4"), (np.nan, "i4"), (2, "?"), (1e300, "f4"), (1j, "f8"),
     ("abcd", "U3"), (b"abcd", "S3"), ("x", "M8[s]"), ([1, 2], "i4"), ("1", "i4"), (1, TEXT), (None, "O"),
     (np.datetime64("2026-01-01T00:00:00.5"), "M8[s]"), ("a", "f8")],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_no_fill(value: object, dtype: Any) -> None:
    with pytest.raises(InvalidArgument):
        fill_bytes(value, dtype)


@pytest.mark.parametrize(("fill", "dtype"), [(b"1", "f8"), (b"\2", "?"), (b"\xff", TEXT), (b"\xff\xff\xff\xff", "U1")])
def test_bytes_that_are_no_element_are_no_fill(fill: bytes, dtype: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        fill_of(fill, dtype)
    assert caught.value.details == {"field": "fill_value"}
