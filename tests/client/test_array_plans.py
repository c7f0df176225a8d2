"""What keys mean for chunks: against numpy, over a dict of encoded chunks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from measurand.chunks.selections import parse, parts
from measurand.client.array_layouts import Elements, Layout, layout_of
from measurand.client.array_plans import (
    ShapesDiffer,
    box_of,
    changed,
    extended,
    missing_ranges,
    outer,
    place,
    renews,
    result_of,
    rows_of,
    spread,
    written_of,
)
from measurand.client.array_specs import message_of, new_spec, storable
from measurand.wire.errors import DataLoss, InvalidArgument

SHAPE, CHUNKS = (7, 11, 5, 6), (3, 4, 2, 5)


class Stored:
    """An array of which the chunks lie in a dict."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, **options: Any) -> None:
        message = message_of(new_spec(shape, dtype, **options), None)
        message.name, message.uid = "catalogs/lab/datasets/run/arrays/x", "01"
        self.layout: Layout = layout_of(message)
        self.chunks: dict[tuple[int, ...], bytes] = {}

    def __getitem__(self, key: Any) -> Any:
        return self.read(parse(key, self.layout.grid.shape))

    def read(self, selection: Any, out: Any = None) -> Any:
        filled, box = box_of(self.layout, selection, out)
        for part in parts(selection, self.layout.grid):
            place(self.layout, box, part, self.chunks.get(part.index))
        return result_of(filled, selection)

    def __setitem__(self, key: Any, value: Any) -> None:
        selection = parse(key, self.layout.grid.shape)
        box = spread(self.layout, value, selection)
        for part in parts(selection, self.layout.grid) if box.size else ():
            before = None if renews(part, self.layout.grid) else self.chunks.get(part.index)
            self.chunks[part.index] = self.layout.pipeline.encode(changed(self.layout, part, box, before))


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return type(value), array.dtype, array.shape, array.tobytes()


def same(ours: Any, key: Any, theirs: Elements) -> None:
    """The same bits, or the same class of exception."""
    try:
        expected = theirs[key]
    except (IndexError, ValueError, TypeError) as error:
        with pytest.raises(type(error)):
            ours[key]
    else:
        assert bits(ours[key]) == bits(expected), key


def random_key(chance: random.Random, shape: tuple[int, ...]) -> Any:
    """Return a basic key, now and then one that numpy refuses."""

    def item(length: int) -> Any:
        def end() -> int | None:
            return chance.choice((None, chance.randint(-length - 3, length + 3)))

        kind = chance.random()
        if kind < 0.35:
            return chance.randint(-length - (chance.random() < 0.05), length - (chance.random() > 0.05))
        return slice(end(), end(), chance.choice((None, None, 1, 2, 3, -1, -2, -5, *((0,) * (chance.random() < 0.1)))))

    items: list[Any] = [item(length) for length in shape[: chance.randint(0, len(shape))]]
    if chance.random() < 0.3:
        items.insert(chance.randint(0, len(items)), ...)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        items.insert(chance.randint(0, len(items)), None)
    if chance.random() < 0.02:
        items.append(chance.choice((..., 0, "x", 1.5)))
    return items[0] if len(items) == 1 and chance.random() < 0.5 else tuple(items)


@pytest.fixture(scope="module")
def source() -> Elements:
    return np.random.default_rng(0).standard_normal(SHAPE).astype("f4")


@pytest.fixture(scope="module")
def stored(source: Elements) -> Stored:
    stored = Stored(SHAPE, "f4", chunks=CHUNKS)
    stored[...] = source
    return stored


def test_random_keys_read_what_numpy_reads(stored: Stored, source: Elements) -> None:
    chance = random.Random(0)
    for _ in range(2000):
        same(stored, random_key(chance, SHAPE), source)


def test_random_assignments_leave_what_numpy_leaves() -> None:
    chance, mine, theirs = random.Random(1), Stored(SHAPE, "i2", chunks=CHUNKS), np.zeros(SHAPE, "i2")
    for number in range(300):
        key = random_key(chance, SHAPE)
        try:
            shape = theirs[key].shape
        except (IndexError, ValueError, TypeError):
            continue
        cut = tuple(1 if chance.random() < 0.3 else length for length in shape[chance.randint(0, len(shape)) :])
        value = np.arange(np.prod(cut, dtype=int)).reshape(cut) + number
        theirs[key] = value
        mine[key] = value
    assert bits(mine[...]) == bits(theirs)


@pytest.mark.parametrize(
    "key",
    [
        [1, 5],
        ([1, 5], slice(None)),
        ([5, 1, 1, -1],),
        (slice(None), [0, 10, 3], slice(4, 0, -2)),
        (..., np.array([5, 0])),
        np.arange(7) % 2 == 0,
        (slice(None), slice(None), np.array([True, False, True, True, False])),
        ([],),
        (0, [1, 2]),
        (None, [1, 2]),
        [7],
        np.ones(6, bool),
        [1.5],
    ],
)
def test_a_list_or_a_mask_of_one_axis_reads_and_writes_what_numpy_does(
    stored: Stored, source: Elements, key: Any
) -> None:
    same(stored, key, source)
    mine, theirs = Stored(SHAPE, "i4", chunks=CHUNKS), np.zeros(SHAPE, "i4")
    try:
        theirs[key] = np.arange(theirs[key].size).reshape(theirs[key].shape)
    except IndexError:
        return
    mine[key] = np.arange(theirs[key].size).reshape(theirs[key].shape)
    assert bits(mine[...]) == bits(theirs)


@pytest.mark.parametrize("key", [([0, 1], [0, 1]), True, np.ones((7, 11), bool), [[0, 1], [1, 0]]])
def test_what_is_not_understood_as_numpy_does_is_refused(stored: Stored, key: Any) -> None:
    with pytest.raises(NotImplementedError):
        stored[key]


def test_oindex_takes_every_list_along_its_own_axis(stored: Stored, source: Elements) -> None:
    mask = np.arange(11) % 3 == 0
    taken = stored.read(outer(([6, 1, 1], mask, ..., [0, 5]), SHAPE))
    assert bits(taken) == bits(source[[6, 1, 1]][:, mask][..., [0, 5]])
    assert bits(stored.read(outer((2, [0, 4]), SHAPE))) == bits(source[2, [0, 4]])
    for key in ((None, 1), ([9],), (0, 0, 0, 0, 0), (..., 1, ...)):
        with pytest.raises(IndexError):
            outer(key, SHAPE)


def test_a_buffer_of_any_layout_is_filled(stored: Stored, source: Elements) -> None:
    selection = parse((slice(1, None), None, 3, ..., slice(None, None, -2)), SHAPE)
    expected = source[1:, None, 3, ..., ::-2]
    wide = np.empty((*expected.shape[:-1], 2 * expected.shape[-1]), "f4")
    for out in (np.empty(expected.shape, "f4"), np.empty(expected.T.shape, "f4").T, wide[..., ::2]):
        assert stored.read(selection, out) is out
        assert bits(np.ascontiguousarray(out)) == bits(expected)
    raw = bytearray(expected.nbytes)
    stored.read(selection, raw)
    assert raw == expected.tobytes()


@pytest.mark.parametrize(
    "out",
    [np.empty((3, 3), "f4"), np.empty(SHAPE, "f8"), np.broadcast_to(np.float32(0), SHAPE), bytearray(7), b""],
)
def test_a_buffer_that_does_not_fit_is_refused(stored: Stored, out: Any) -> None:
    with pytest.raises(InvalidArgument, match="out"):
        stored.read(parse(..., SHAPE), out)


@pytest.mark.parametrize("value", [300, -1, 1.5, 1j, "3", "a", None, [1, 300, 2], np.array([1, 300, 2]), [[1, 2, 3]]])
def test_values_are_taken_as_numpy_takes_them(value: Any) -> None:
    mine, theirs = Stored((3,), "u1"), np.zeros(3, "u1")
    try:
        theirs[...] = value
    except (TypeError, ValueError, OverflowError) as error:
        with pytest.raises(type(error)):
            mine[...] = value
        assert mine.chunks == {}  # where numpy keeps what came before the fault
    else:
        mine[...] = value
        assert bits(mine[...]) == bits(theirs)


def test_a_value_that_does_not_fit_is_refused_in_numpys_class_and_ours() -> None:
    stored = Stored((4, 10), "f8")
    for key, value in (((slice(9, 12),), np.ones((3, 10))), ((0,), np.ones(3)), ((0,), np.ones((2, 10)))):
        with pytest.raises(ValueError, match="could not broadcast") as raised:
            stored[key] = value
        assert isinstance(raised.value, InvalidArgument)
    assert stored.chunks == {}


def test_what_lies_beyond_the_known_end_is_no_part_of_a_new_chunk() -> None:
    """Somebody may have made the array longer meanwhile, and written there."""
    longer, shorter = Stored((8,), "i4", chunks=8), Stored((5,), "i4", chunks=8)
    longer[...] = np.arange(8)
    shorter.chunks = longer.chunks
    shorter[...] = 0
    assert longer[...].tolist() == [0, 0, 0, 0, 0, 5, 6, 7]


def test_rows_that_were_never_seen_do_not_come_back() -> None:
    before, after = Stored((8, 2), "i4", chunks=(8, 2)), Stored((6, 2), "i4", chunks=(8, 2))
    before[...] = 7
    (part,) = parts(parse((slice(3, None),), (6, 2)), after.layout.grid)
    chunk = extended(after.layout, part, np.ones((3, 2), "i4"), before.chunks[0, 0], 3)
    assert chunk[:, 0].tolist() == [7, 7, 7, 1, 1, 1, 0, 0]


def test_rows_of_another_shape_or_dtype_are_refused() -> None:
    layout = Stored((0, 3), "i4").layout
    assert rows_of(layout, [[1, 2, 3]]).shape == (1, 3)
    for block in (np.ones((2, 3)), np.ones((2, 4), "i4"), np.ones(3, "i4"), 1):
        with pytest.raises(ShapesDiffer):
            rows_of(layout, block)


def test_missing_ranges_select_what_was_never_written_once() -> None:
    layout = Stored((10, 7), "i4", chunks=(3, 2)).layout
    chance = random.Random(3)
    written = [index for index in layout.grid.indexes() if chance.random() < 0.5]
    counted = np.zeros((10, 7), int)
    for index in written:
        counted[layout.grid.span(index)] += 1
    for key in missing_ranges(layout.grid, written_of(layout.grid, written)):
        counted[key] += 1
    assert (counted == 1).all()
    assert missing_ranges(layout.grid, written_of(layout.grid, [])) == [(slice(0, 10), slice(0, 7))]
    empty = Stored((0, 7), "i4").layout.grid
    assert missing_ranges(empty, written_of(empty, [])) == []
    alone = Stored((), "i4").layout.grid
    assert missing_ranges(alone, written_of(alone, [])) == [()]


def test_damaged_bytes_are_named() -> None:
    stored = Stored((4, 10), "f8", chunks=(2, 10))
    stored[...] = 1.0
    damaged = bytearray(stored.chunks[1, 0])
    damaged[9] ^= 1
    stored.chunks[1, 0] = bytes(damaged)
    with pytest.raises(DataLoss, match=r"catalogs/lab/datasets/run/arrays/x: chunk \[1, 0\]"):
        stored[...]


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_any_layout_is_neither_copied_nor_changed(order: Any) -> None:
    array = np.asarray(np.arange(12.0).reshape(3, 4).astype(">f8"), order=order)
    elements, dtype = storable(array)
    assert elements is array
    assert dtype == np.dtype("f8")


def test_what_cannot_be_stored_is_refused() -> None:
    for value in (np.array([object()]), np.ones(2, np.longdouble), [[1], [1, 2]], np.zeros(2, [("a", "O")])):
        with pytest.raises(InvalidArgument):
            storable(value)
    for options in (
        {"chunks": (1, 2)},
        {"dims": ("a", "b")},
        {"shards": 4},
        {"codec": "zip"},
        {"chunks": 2.5},
        {"fill": "x"},
    ):
        with pytest.raises(InvalidArgument):
            new_spec((4,), "f8", **options)
