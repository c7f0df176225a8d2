"""Every dtype that can be stored, and arrays as awkward as it allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DTYPES", "TEXT", "Array", "bits", "sample"]

Array = npt.NDArray[Any]

TEXT = np.dtypes.StringDType()
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
NAMES: tuple[npt.DTypeLike, ...] = (
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"),
    *(f"{kind}8[{unit}]" for kind in "Mm" for unit in UNITS),
    *("M8", "m8", "M8[25s]", "m8[10ns]"),
    *("U1", "U7", "S1", "S9", "V3"),
    [("at", "M8[us]"), ("name", "U3"), ("point", [("x", "f4"), ("y", "f4")]), ("good", "?")],
    TEXT,
)
DTYPES: tuple[np.dtype[Any], ...] = tuple(np.dtype(name) for name in NAMES)
WORDS = ("", "a", "Ω", "two words", "nul\0inside", "e\u0301", "\U0001f600", "é" * 300, "\0", "end\0")


def sample(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return random bits: NaNs with payloads, NaT, both zeros and infinities among them."""
    random = np.random.default_rng(seed)
    if dtype == TEXT:
        return np.array(random.choice(np.array(WORDS, object), shape), dtype=TEXT)
    if dtype.names is not None:
        array = np.zeros(shape, dtype)
        for place, name in enumerate(dtype.names):
            array[name] = sample(dtype[name], shape, seed + place + 1)
        return array
    if dtype.kind == "U":
        return random.choice(np.array([word.replace("\0", "") for word in WORDS]), shape).astype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    array = np.frombuffer(random.bytes(dtype.itemsize * int(np.prod(shape, dtype=int))), dtype).reshape(shape).copy()
    if dtype.kind in "fc" and array.size > 8:
        parts = array.reshape(-1).view(f"f{dtype.itemsize // (2 if dtype.kind == 'c' else 1)}")
        parts[:6] = (0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan)
    if dtype.kind in "Mm" and array.size:
        array.reshape(-1)[0] = "NaT"
    return array


def bits(array: Array) -> object:
    """Return what must be equal of two arrays that are the same: never their values, since NaN is not NaN."""
    data = array.tolist() if array.dtype == TEXT else array.tobytes()
    return array.dtype, array.shape, data
