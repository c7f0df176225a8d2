from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from measurand.client.errors import DocumentInvalid
from measurand.client.values import from_text, to_text
from measurand.wire.documents import Timestamp


def through(document: dict[str, Any]) -> dict[str, Any]:
    return from_text(to_text(document))


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_python_values_come_back_as_they_went_in() -> None:
    document: dict[str, Any] = {
        "i": 1,
        "f": 1.0,
        "b": True,
        "n": None,
        "big": 2**200,
        "bytes": b"\x00",
        "c": 1 + 2j,
        "": [{}],
        "$x.y": (),
    }
    found = through(document)
    assert found == {**document, "$x.y": []}
    assert [type(found[key]) for key in "ifb"] == [int, float, bool]
    assert math.isnan(through({"x": math.nan})["x"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.complex64(1j), 1j),
        (np.str_("x"), "x"),
        (np.bytes_(b"x"), b"x"),
        (np.datetime64("2026-11-21T10:00:00"), datetime(2026, 11, 21, 10, tzinfo=UTC)),
        (np.datetime64("2026-11-21"), datetime(2026, 11, 21, tzinfo=UTC)),
        (np.datetime64("1969-12-31T23:59:59.999999999"), Timestamp(-1, 999_999_999)),
    ],
)
def test_numpy_scalars_become_python_values(given: Any, expected: object) -> None:
    found = through({"x": given})["x"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="f4").reshape(2, 3),
        np.array(1.5),
        np.zeros((0, 3), "u2"),
        np.array(["a", "äöü"]),
        np.array(["2026-11-21", "NaT"], "M8[ns]"),
        np.arange(6).reshape(2, 3).T,
        np.array([True, False]),
    ],
)
def test_small_arrays_keep_dtype_and_shape(array: np.ndarray[Any, Any]) -> None:
    found = through({"deep": [{"x": array}]})["deep"][0]["x"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    found[...] = found  # it can be written to


def test_big_endian_arrays_come_back_in_native_order() -> None:
    found = through({"x": np.array([1, 2], ">i4")})["x"]
    assert found.dtype == np.dtype("i4")
    assert found.tolist() == [1, 2]


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(2**18, "f8"), {1, 2}, np.longdouble(1)])
def test_what_no_document_holds_is_refused(value: object) -> None:
    with pytest.raises(DocumentInvalid):
        to_text({"x": value})


def test_metadata_that_is_no_dict_is_refused_in_words() -> None:
    with pytest.raises(DocumentInvalid, match="list; give a dict"):
        to_text([1])  # type: ignore[arg-type]  # that is the point


def test_a_thousand_levels_are_refused_and_not_a_crash() -> None:
    document: dict[str, Any] = {}
    for _ in range(1000):
        document = {"x": document}
    with pytest.raises(DocumentInvalid):
        to_text(document)


@pytest.mark.usefixtures("tokyo")
def test_naive_datetimes_are_local_time() -> None:
    found = through({"t": datetime(2026, 7, 30, 9)})["t"]  # noqa: DTZ001  # that is the point
    assert found == datetime(2026, 7, 30, tzinfo=UTC)


def test_aware_datetimes_are_instants() -> None:
    zone = timezone(timedelta(hours=-5))
    assert through({"t": datetime(2026, 7, 30, 9, tzinfo=zone)})["t"] == datetime(2026, 7, 30, 14, tzinfo=UTC)
