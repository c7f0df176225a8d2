"""What cannot be awaited says what to write instead; nothing is silently a coroutine that nobody awaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from measurand.client import AsyncArray, AsyncDataset
from measurand.v1 import arrays_pb2, datasets_pb2

NOBODY: Any = None
NAME = "catalogs/lab/datasets/run"


def assign(target: Any) -> None:
    target["x"] = 1


@pytest.mark.parametrize(
    ("attempt", "advice"),
    [(assign, "run.write_array"), (lambda run: "x" in run, "run.has_array"), (iter, "async for name in run")],
)
def test_a_dataset_says_what_to_await(attempt: Callable[[Any], object], advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        attempt(AsyncDataset(NOBODY, datasets_pb2.Dataset(name=NAME)))


@pytest.mark.parametrize(
    ("attempt", "advice"),
    [(assign, "array.write"), (np.asarray, "array.read"), (iter, "async for row in array")],
)
def test_an_array_says_what_to_await(attempt: Callable[[Any], object], advice: str) -> None:
    message = arrays_pb2.Array(name=f"{NAME}/arrays/x", shape=[3], data_type="int8", chunk_shape=[3])
    with pytest.raises(TypeError, match=advice):
        attempt(AsyncArray(NOBODY, message))
