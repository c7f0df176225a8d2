"""Frames that are streamed into arrays while they are measured."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from measurand.client import AsyncDataset, errors
from measurand.client._transport import aio


def frame(number: int, shape: tuple[int, ...] = (5, 2)) -> np.ndarray[Any, Any]:
    return np.full(shape, number, "f8")


async def elements(run: AsyncDataset, name: str) -> np.ndarray[Any, Any]:
    array = await run.array(name)
    return np.asarray(await array.read())


async def test_frames_become_rows_and_are_told_durable_in_order(run: AsyncDataset) -> None:
    told: list[int] = []
    async with run.stream_array("s", (5, 2), "f8", dims=("shot", "x", "y"), attrs={"unit": "V"}) as stream:
        stream.on_durable(told.append)
        for number in range(10):
            await stream.write(frame(number))
        assert stream.next_index == 10
        assert await stream.flush() == 10
        assert told == list(range(10))
        await stream.write(frame(10))
    array = await run.array("s")
    assert (array.shape, array.dims, array.attrs, array.growing) == (
        (11, 5, 2),
        ("shot", "x", "y"),
        {"unit": "V"},
        False,
    )
    assert (np.asarray(await array.read()) == np.arange(11.0)[:, None, None]).all()
    assert told == list(range(11))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((), "i4"), ((0,), "u1"), ((3,), "c8"), ((2, 0, 3), "f4"), ((4,), "M8[us]"), ((2,), "U5"), ((3,), "?")],
)
async def test_frames_of_any_shape_and_type(run: AsyncDataset, shape: tuple[int, ...], dtype: str) -> None:
    size = int(np.prod(shape)) * 20
    source = np.arange(size).astype(dtype).reshape(20, *shape)
    async with run.stream_array("s", shape, dtype) as stream:
        for number in range(20):
            await stream.write(source[number])
    found = await elements(run, "s")
    assert (found.dtype, found.shape, found.tobytes()) == (source.dtype, source.shape, source.tobytes())


async def test_large_frames_are_cut_into_chunks_and_those_into_parts(run: AsyncDataset) -> None:
    source = np.random.default_rng(0).integers(0, 255, (3, 1500, 3000), "u1")
    async with run.stream_array("cut", (1500, 3000), "u1") as stream:
        for one in source:
            await stream.write(one)
    assert (await run.array("cut")).chunks[0] == 1
    async with run.stream_array("whole", (1500, 3000), "u1", chunks=(2, 1500, 3000), codec="none") as stream:
        for one in source:
            await stream.write(one)
    assert (await elements(run, "cut") == source).all()
    assert (await elements(run, "whole") == source).all()


async def test_what_does_not_fit_is_refused_and_nothing_is_taken(run: AsyncDataset) -> None:
    async with run.stream_array("s", (3,), "i2") as stream:
        for wrong in (np.zeros(4, "i2"), np.zeros(3, "i4"), np.zeros((1, 3), "i2")):
            with pytest.raises(errors.SelectionInvalid):
                await stream.write(wrong)
        for index in (-1, (0, 0), 1.5):
            with pytest.raises(errors.SelectionInvalid):
                await stream.write(np.zeros(3, "i2"), index)  # type: ignore[arg-type]  # that is the point
        await stream.write([1, 2, 3])
        await stream.write(np.array([4, 5, 6], ">i2"))
    assert (await elements(run, "s")).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        await stream.write(np.zeros(3, "i2"))


async def test_the_caller_may_change_a_frame_at_once(run: AsyncDataset) -> None:
    one = frame(0)
    async with run.stream_array("s", (5, 2), "f8") as stream:
        for number in range(50):
            one[...] = number
            await stream.write(one)
    assert (await elements(run, "s") == np.arange(50.0)[:, None, None]).all()


async def test_an_array_that_is_there_is_gone_on_with_only_if_that_is_said(run: AsyncDataset) -> None:
    async with run.stream_array("s", (5, 2), "f8", resume=True) as stream:
        assert stream.next_index == 0
        for number in range(3):
            await stream.write(frame(number))
    with pytest.raises(errors.AlreadyExists, match="resume=True"):
        await run.stream_array("s", (5, 2), "f8").open()
    with pytest.raises(errors.Conflict, match=r"\(5, 3\)"):
        await run.stream_array("s", (5, 3), "f8", resume=True).open()
    async with run.stream_array("s", (5, 2), "f8", resume=True) as stream:
        assert (stream.next_index, stream.position) == (3, 3)
        for number in range(3, 7):
            await stream.write(frame(number))
    assert (await elements(run, "s") == np.arange(7.0)[:, None, None]).all()


async def test_shuffled_frames_find_their_rows_and_the_later_of_two_wins(run: AsyncDataset) -> None:
    order = [*range(40), *range(10, 30)]
    random.Random(1).shuffle(order)
    last: dict[int, float] = {}
    async with run.stream_array("s", (5, 2), "f8", chunks=4) as stream:
        for number, row in enumerate(order):
            await stream.write(frame(number), index=row)
            last[row] = number
        assert await stream.flush() == 40
        await stream.write(frame(1000), index=2)  # it can be seen already
        last[2] = 1000
    assert (await elements(run, "s"))[:, 0, 0].tolist() == [last[row] for row in range(40)]


async def test_rows_behind_a_missing_one_wait_for_it_and_are_kept_in_the_end(run: AsyncDataset) -> None:
    async with run.stream_array("s", (5, 2), "f8") as stream:
        for row in (0, 1, 3, 4):
            await stream.write(frame(row), index=row)
        assert await stream.flush() == 2
        assert (await run.array("s")).shape == (2, 5, 2)
    assert stream.missing == [2]
    found = (await elements(run, "s"))[:, 0, 0]
    assert found[[0, 1, 3, 4]].tolist() == [0, 1, 3, 4]
    assert np.isnan(found[2])


@pytest.mark.parametrize("shape", [(10,), (5, 2)])
async def test_buffers_in_random_order_along_one_axis(run: AsyncDataset, shape: tuple[int, ...]) -> None:
    source = np.random.default_rng(2).random((10, *shape))
    for name, length in (("growing", None), ("fixed", 10)):
        async with run.stream_array(name, shape, "f8", length=length) as stream:
            for row in random.Random(3).sample(range(10), 10):
                await stream.write(source[row], index=row)
        assert (await elements(run, name)).tobytes() == source.tobytes()


@pytest.mark.parametrize("shape", [(10,), (5, 2)])
async def test_buffers_in_random_order_on_a_grid(run: AsyncDataset, shape: tuple[int, ...]) -> None:
    source = np.random.default_rng(4).random((2, 3, *shape))
    places = [(row, column) for row in range(2) for column in range(3)]
    async with run.stream_array("s", shape, "f8", length=(2, 3)) as stream:
        for place in random.Random(5).sample(places, 6):
            await stream.write(source[place], index=place)
        await stream.flush()
        assert stream.position == (2, 0)
        with pytest.raises(errors.SelectionInvalid):
            await stream.write(source[0, 0], index=(2, 0))
    assert (await elements(run, "s")).tobytes() == source.tobytes()


async def test_a_grid_can_be_filled_without_naming_places_and_gone_on_with(run: AsyncDataset) -> None:
    async with run.stream_array("s", (), "i4", length=(2, 3)) as stream:
        for number in range(4):
            await stream.write(number)
    async with run.stream_array("s", (), "i4", length=(2, 3), resume=True) as stream:
        assert stream.next_index == (1, 1)
        for number in range(4, 6):
            await stream.write(number)
        with pytest.raises(errors.SelectionInvalid, match="all"):
            await stream.write(6)
    assert (await elements(run, "s")).tolist() == [[0, 1, 2], [3, 4, 5]]


async def test_two_streams_that_meet_in_chunks_lose_nothing(run: AsyncDataset) -> None:
    async def fill(first: int) -> None:
        async with run.stream_array("s", (3,), "i4", length=30, chunks=7) as stream:
            for row in range(first, 30, 2):
                await stream.write(np.full(3, row, "i4"), index=row)

    await aio.parallel(fill, [0, 1], bound=2)
    assert (await elements(run, "s"))[:, 0].tolist() == list(range(30))


async def test_several_may_write_to_one_stream(run: AsyncDataset) -> None:
    rows = random.Random(6).sample(range(400), 400)
    async with run.stream_array("s", (1024,), "f8") as stream:

        async def fill(start: int) -> None:
            for row in rows[start::4]:
                await stream.write(np.full(1024, row, "f8"), index=row)

        await aio.parallel(fill, range(4), bound=4)
        assert await stream.flush() == 400
    assert (await elements(run, "s") == np.arange(400.0)[:, None]).all()


async def test_no_more_than_the_window_is_taken_while_nothing_becomes_durable(run: AsyncDataset) -> None:
    async with run.stream_array("s", (1000,), "u1", window_bytes=10_000) as stream:
        for row in range(1, 11):
            await stream.write(np.full(1000, row, "u1"), index=row)
        with pytest.raises(errors.Unavailable, match="frame 0 was written"):
            await stream.write(np.zeros(1000, "u1"), index=11, timeout=0.2)
        await stream.write(np.zeros(1000, "u1"), index=0, timeout=0.2)
        await stream.write(np.full(1000, 11, "u1"), index=11)
    assert (await elements(run, "s"))[:, 0].tolist() == list(range(12))


async def test_a_stream_that_was_taken_over_stops_and_what_it_had_shown_stays(run: AsyncDataset) -> None:
    first = run.stream_array("s", (5, 2), "f8")
    await first.write(frame(0))
    await first.flush()
    async with run.stream_array("s", (5, 2), "f8", resume=True) as second:
        assert second.next_index == 1
        await second.write(frame(1))
        await second.flush()
        with pytest.raises(errors.WriterFenced):
            await _write_and_flush(first, frame(-1))
        with pytest.raises(errors.WriterFenced):
            await first.close()
        await second.write(frame(2))
    assert (await elements(run, "s"))[:, 0, 0].tolist() == [0, 1, 2]


async def _write_and_flush(stream: Any, one: Any) -> None:
    await stream.write(one)
    await stream.flush()


async def test_what_was_taken_is_saved_when_the_measurement_fails(run: AsyncDataset) -> None:
    with pytest.raises(ZeroDivisionError):
        await _fail_after_five(run)
    assert (await elements(run, "s"))[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


async def _fail_after_five(run: AsyncDataset) -> None:
    async with run.stream_array("s", (5, 2), "f8") as stream:
        for number in range(5):
            await stream.write(frame(number))
        raise ZeroDivisionError


async def test_a_listener_that_fails_is_heard(run: AsyncDataset) -> None:
    def listener(index: int) -> None:
        raise LookupError(index)

    stream = run.stream_array("s", (5, 2), "f8")
    stream.on_durable(listener)
    await stream.write(frame(0))
    with pytest.raises(LookupError):
        await stream.flush()
    with pytest.raises(LookupError):
        await stream.close()


async def test_a_program_that_ends_without_closing_a_stream_is_told(
    run: AsyncDataset, caplog: pytest.LogCaptureFixture
) -> None:
    async with run.stream_array("s", (5, 2), "f8") as stream:
        await stream.write(frame(1), index=1)
        stream._warn()  # what the end of the program calls
    assert "frames from 0 on may be lost" in caplog.text


async def test_a_sealed_dataset_takes_no_more_frames(run: AsyncDataset) -> None:
    stream = run.stream_array("s", (5, 2), "f8", length=2)
    await stream.write(frame(0))
    await stream.flush()
    await run.seal()
    with pytest.raises(errors.Sealed):
        await _write_and_flush(stream, frame(1))
    with pytest.raises(errors.Sealed):
        await stream.close()
    assert (await elements(run, "s"))[:, 0, 0][0].tolist() == 0


async def test_lengths_come_as_the_array_grows(run: AsyncDataset) -> None:
    async with run.stream_array("s", (5, 2), "f8") as stream:
        await stream.write(frame(0))
        await stream.flush()
        array = await run.array("s")
        lengths = array.watch()
        seen = [await anext(lengths)]
        for number in range(1, 4):
            await stream.write(frame(number))
            await stream.flush()
            seen.append(await anext(lengths))
        assert (seen, array.shape) == ([1, 2, 3, 4], (4, 5, 2))
        assert await array.wait_for(3) == 4
        with pytest.raises(errors.Timeout, match="4 rows and not 9"):
            await array.wait_for(9, timeout=0.3)
        await stream.write(frame(4))
        assert await array.wait_for(5, timeout=30) == 5
        await lengths.aclose()
    await run.delete_array("s")
    with pytest.raises(errors.NotFound):
        await array.wait_for(9, timeout=30)
