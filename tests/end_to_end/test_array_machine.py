"""Slice writers, appends and new shapes in any order, by several handles, against an array of numpy's."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from measurand.client import Array, Catalog, Dataset, names
from measurand.client._transport import threads

HANDLES = st.integers(0, 1)
FILL = -9


class Machine(RuleBasedStateMachine):
    """One array, two handles of it, and what it has to hold."""

    run: Dataset

    @initialize(
        rows=st.integers(0, 9),
        columns=st.integers(1, 6),
        chunks=st.tuples(st.integers(1, 5), st.integers(1, 4)),
        codec=st.sampled_from(("none", "lz4")),
    )
    def make(self, rows: int, columns: int, chunks: tuple[int, int], codec: str) -> None:
        name = f"a-{uuid.uuid4()}"
        made = self.run.create_array(name, (rows, columns), "i4", chunks=chunks, fill=FILL, codec=codec)
        self.handles: list[Array] = [made, self.run[name]]
        self.expected = np.full((rows, columns), FILL, "i4")
        self.count = 0

    def value(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return values that no earlier step has written."""
        start, self.count = self.count, self.count + int(np.prod(shape))
        return np.arange(start, self.count, dtype="i4").reshape(shape)

    @rule(data=st.data(), handle=HANDLES)
    def write(self, data: st.DataObject, handle: int) -> None:
        key = data.draw(npst.basic_indices(self.expected.shape, allow_newaxis=True))
        value = self.value(np.shape(self.expected[key]))
        self.handles[handle].refresh()[key] = value
        self.expected[key] = value

    @rule(rows=st.integers(0, 7), handle=HANDLES)
    def append(self, rows: int, handle: int) -> None:
        block = self.value((rows, self.expected.shape[1]))
        array = self.handles[handle].refresh()
        assert array.append(block) == len(self.expected)
        self.expected = np.concatenate([self.expected, block])
        assert array.shape == self.expected.shape

    @rule(rows=st.integers(0, 12), columns=st.integers(1, 8), handle=HANDLES)
    def resize(self, rows: int, columns: int, handle: int) -> None:
        self.handles[handle].refresh().resize((rows, columns))
        before, self.expected = self.expected, np.full((rows, columns), FILL, "i4")
        kept = tuple(slice(0, min(pair)) for pair in zip(before.shape, self.expected.shape, strict=True))
        self.expected[kept] = before[kept]

    @rule()
    def write_side_by_side(self) -> None:
        """Columns are written at the same time: they meet in every chunk."""
        columns = [(number, self.value((len(self.expected),))) for number in range(self.expected.shape[1])]
        for handle in self.handles:
            handle.refresh()

        def write(column: tuple[int, np.ndarray[Any, Any]]) -> None:
            self.handles[column[0] % 2][:, column[0]] = column[1]

        threads.parallel(write, columns, bound=4)
        for number, value in columns:
            self.expected[:, number] = value

    @rule(data=st.data(), handle=HANDLES)
    def read(self, data: st.DataObject, handle: int) -> None:
        key = data.draw(npst.basic_indices(self.expected.shape))
        assert np.array_equal(self.handles[handle].refresh()[key], self.expected[key])

    @invariant()
    def it_holds_what_was_written(self) -> None:
        if hasattr(self, "handles"):
            assert np.array_equal(self.handles[0].refresh()[...], self.expected)

    def teardown(self) -> None:
        if hasattr(self, "handles"):
            self.handles[0].delete()


def test_any_order_of_changes_leaves_what_it_leaves_in_numpy(
    lab: Catalog, stores: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hypothesis makes Python's random numbers repeat, by which requests are told from each other.
    monkeypatch.setattr(names, "request_id", lambda: str(uuid.uuid4()))

    class Here(Machine):
        run = lab.create("machine")

    examples = {"memory": 12, "embedded": 6, "fleet": 4}[stores]
    run_state_machine_as_test(Here, settings=settings(max_examples=examples, stateful_step_count=12))
