"""Arrays change their shape: what is cut off is gone for good, whatever comes in between."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import make_rooms, prepare

from measurand.chunks.codecs import Pipeline
from measurand.core.arrays.documents import ARRAYS, Array, array_document
from measurand.core.arrays.making import spec_of_array
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import Conflict, InvalidArgument, NotFound, RequestIdReused, WriterFenced


async def begin() -> ArrayRooms:
    rooms = make_rooms()
    await prepare(rooms)
    return ArrayRooms(rooms)


def encoded(array: Array, chunk: np.ndarray) -> bytes:
    return bytes(Pipeline.of(spec_of_array(array)).encode(chunk))


async def filled(rooms: ArrayRooms, shape: tuple[int, int], chunk_shape: tuple[int, int]) -> tuple[Array, np.ndarray]:
    """Return an array whose elements are their places, counted from 1."""
    array = await rooms.create("z", shape, chunk_shape)
    values = np.zeros([n * m for n, m in zip(array.grid.counts, chunk_shape, strict=True)], np.uint8)
    values[: shape[0], : shape[1]] = np.arange(1, 1 + shape[0] * shape[1]).reshape(shape)
    for index in array.grid.indexes():
        key = tuple(slice(at * n, (at + 1) * n) for at, n in zip(index, chunk_shape, strict=True))
        await rooms.write(array, index, encoded(array, np.ascontiguousarray(values[key])))
    return array, values[: shape[0], : shape[1]]


async def elements(rooms: ArrayRooms, array: Array) -> np.ndarray:
    array = await rooms.now(array)
    values = np.zeros([n * m for n, m in zip(array.grid.counts, array.chunk_shape, strict=True)], np.uint8)
    for index, data in zip(array.grid.indexes(), await rooms.read(array), strict=True):
        if data is not None:
            key = tuple(slice(at * n, (at + 1) * n) for at, n in zip(index, array.chunk_shape, strict=True))
            values[key] = Pipeline.of(spec_of_array(array)).decode(data)
    return values[: array.shape[0], : array.shape[1]]


def expected(values: np.ndarray, *shapes: tuple[int, int]) -> np.ndarray:
    for shape in shapes:
        new = np.zeros(shape, np.uint8)
        kept = tuple(slice(min(n, m)) for n, m in zip(values.shape, shape, strict=True))
        new[kept] = values[kept]
        values = new
    return values


@pytest.mark.parametrize("shapes", [[(3, 5), (7, 9)], [(0, 9), (7, 9)], [(9, 4), (9, 9)], [(7, 1), (1, 9), (12, 12)]])
async def test_what_shrinking_cuts_off_is_gone_for_good(shapes: list[tuple[int, int]]) -> None:
    rooms = await begin()
    array, values = await filled(rooms, (7, 9), (2, 4))
    for done, shape in enumerate(shapes, start=1):
        array = await rooms.resizing.resize(LOCAL_USER, array.name, shape)
        assert (array.shape, array.trim) == (shape, None)
        assert np.array_equal(await elements(rooms, array), expected(values, *shapes[:done]))


async def test_a_resize_is_refused_or_repeated() -> None:
    rooms = await begin()
    array = await rooms.create()
    for wrong in ((1, 2), (-1,), (1 << 63,)):
        with pytest.raises(InvalidArgument):
            await rooms.resizing.resize(LOCAL_USER, array.name, wrong)
    with pytest.raises(Conflict):
        await rooms.resizing.resize(LOCAL_USER, array.name, (2,), etag="other")
    with pytest.raises(NotFound):
        await rooms.resizing.resize(LOCAL_USER, rooms.name("none"), (2,))
    cut = await rooms.resizing.resize(LOCAL_USER, array.name, (2,), etag=array.etag, request_id="once")
    assert await rooms.resizing.resize(LOCAL_USER, array.name, (2,), etag=array.etag, request_id="once") == cut
    assert (await rooms.resizing.resize(LOCAL_USER, array.name, (2,))).etag == cut.etag
    with pytest.raises(RequestIdReused):
        await rooms.resizing.resize(LOCAL_USER, array.name, (3,), request_id="once")


async def test_an_appender_at_work_is_fenced_only_by_force() -> None:
    rooms = await begin()
    array = await rooms.create(shape=(0,))
    writer = await rooms.open(array, append=True)
    await writer.take(1, (0,), b"x", None)
    await writer.grow_to(2, 1)
    with pytest.raises(WriterFenced):
        await rooms.resizing.resize(LOCAL_USER, array.name, (5,))
    grown = await rooms.resizing.resize(LOCAL_USER, array.name, (5,), force=True)
    assert grown.shape == (5,)
    await writer.grow_to(3, 2)
    with pytest.raises(WriterFenced):
        await writer.close(is_complete=True)
    assert (await rooms.now(array)).shape == (5,)


async def test_who_appends_next_finishes_a_cut_that_a_crash_left() -> None:
    rooms = await begin()
    array, values = await filled(rooms, (7, 9), (2, 4))
    document = await rooms.rooms.documents.fetch(ARRAYS, str(array.name))
    assert document is not None
    begun = rooms.resizing._resized(array, (3, 10))
    await rooms.rooms.documents.replace(ARRAYS, array_document(begun), expected_revision=document.revision)
    writer = await rooms.open(array, append=True)
    assert writer.opening.visible_rows == 3
    await writer.close(is_complete=True)
    assert np.array_equal(await elements(rooms, array), expected(values, (3, 10)))
