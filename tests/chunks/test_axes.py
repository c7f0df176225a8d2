"""Names of axes that fit together, and arrays piece by piece."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from measurand.chunks.axes import named_axes
from measurand.client.array_blocks import block_keys


def test_axes_of_one_name_have_one_length() -> None:
    named = named_axes(
        {
            "time": ((5,), ()),  # the coordinate decides, though it comes last by name
            "a": ((3, 4), ("sweep", "time")),
            "b": ((3, 5), ("sweep", "time")),
            "c": ((3,), (None,)),
            "d": ((2, 2), ("same", "same")),
            "e": ((2, 6), ("e", "other")),
            "f": ((), ()),
        }
    )
    assert named == {
        "time": ("time",),
        "a": ("sweep", "a_1"),
        "b": ("sweep", "time"),
        "c": ("c_0",),
        "d": ("same", "d_1"),
        "e": ("e_0", "other"),
        "f": (),
    }


shapes = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 4)), max_size=4)


@given(shapes, st.integers(1, 200))
def test_pieces_follow_each_other_in_c_order(axes: list[tuple[int, int]], most: int) -> None:
    shape, chunks = tuple(length for length, _ in axes), tuple(chunk for _, chunk in axes)
    whole = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    pieces = [np.asarray(whole[key]) for key in block_keys(shape, chunks, 4, most_bytes=most)]
    assert [number for piece in pieces for number in piece.reshape(-1).tolist()] == whole.reshape(-1).tolist()
    assert all(piece.size * 4 <= max(4, most) for piece in pieces)
