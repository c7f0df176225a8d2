"""Lazy arrays: read and written by numpy's keys, replaced whole, grown, shared with other writers."""

from __future__ import annotations

import copy
import pickle
import random
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from tests.end_to_end.passing import proxy

from measurand.client import AsyncArray, AsyncCatalog, AsyncClient, AsyncDataset, errors
from measurand.client._async.array_reads import fetch_chunks
from measurand.client._transport import aio


def bits(value: Any) -> tuple[Any, ...]:
    array = np.asarray(value)
    return array.dtype, array.shape, array.tobytes()


async def test_an_array_comes_back_bit_for_bit_and_its_handle_knows_what_it_is(run: AsyncDataset) -> None:
    values = np.arange(12.0).reshape(3, 4)
    made = await run.write_array("entry/iq", values, dims=("f", "t"), attrs={"unit": "V"}, chunks=(2, None))
    assert bits(await made.read()) == bits(values)
    array = await run["entry/iq"]
    assert array == made and hash(array) == hash(made) and array != await run.write_array("other", values)
    assert (array.name, array.shape, array.dtype, array.ndim, array.size) == ("entry/iq", (3, 4), np.dtype("f8"), 2, 12)
    assert (array.nbytes, array.chunks, array.dims, array.attrs) == (96, (2, 4), ("f", "t"), {"unit": "V"})
    assert len(array) == 3 and np.isnan(array.fill_value) and not array.growing and array.created is not None
    assert 96 <= await array.stored_bytes() < 400
    assert repr(array) == "<Array entry/iq (3, 4) float64 chunks=(2, 4) dims=['f', 't'] attrs={'unit': 'V'}>"
    await array.update(attrs={"<script>": 1})
    assert "&lt;script&gt;" in array._repr_html_() and "<script>" not in array._repr_html_()
    assert [row.tolist() async for row in array] == values.tolist()


async def test_every_dtype_comes_back(run: AsyncDataset) -> None:
    names = ["?", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8", "c8", "c16"]
    names += ["M8[D]", "M8[s]", "M8[us]", "M8[ns]", "m8[s]", "m8[us]", "m8[ns]", "U1", "U7", "S1", "S9"]
    for name in names:
        values = np.arange(6).reshape(2, 3).astype(name)
        await run.write_array("a", values)
        assert bits(await (await run["a"])[...]) == bits(values), name


async def test_a_broken_stream_is_opened_again_for_what_is_missing(address: str, run: AsyncDataset) -> None:
    values = np.random.default_rng(0).integers(0, 256, (12, 1 << 20)).astype("u1")
    await run.write_array("a", values, chunks=(1, None), codec="none")
    with proxy() as passing:
        passing.lead_to(address)
        async with AsyncClient(passing.address) as client:
            array = await (await (await client.catalog(run.catalog)).get(run.id))["a"]
            found = []
            async with aclosing(fetch_chunks(client._calls, array._layout, [(row, 0) for row in range(12)])) as chunks:
                async for chunk in chunks:
                    assert chunk.data is not None
                    assert array._layout.pipeline.decode(chunk.data).tobytes() == values[chunk.index[0]].tobytes()
                    found.append(chunk.index)
                    if len(found) in (1, 4):
                        passing.cut()
            assert sorted(found) == [(row, 0) for row in range(12)]


async def test_keys_give_what_numpy_gives(run: AsyncDataset) -> None:
    values = np.random.default_rng(0).integers(0, 100, (7, 11, 5)).astype("u2")
    array = await run.write_array("a", values, chunks=(3, 4, 2))
    keys: list[Any] = [..., 3, -1, (1, 2, 3), (1, 2, 3, ...), (slice(None, None, -2), None, 4), (slice(5, 1),)]
    keys += [np.s_[-100:100:3, ::-1], np.s_[..., -1], [1, 5], ([6, 0, 0], slice(2)), values[:, 0, 0] > 50, np.s_[:0]]
    for key in keys:
        mine, theirs = await array[key], values[key]
        assert type(mine) is type(theirs) and bits(mine) == bits(theirs), key
    assert bits(await array.oindex[[1, 5], :, [4, 0]]) == bits(values[[1, 5]][..., [4, 0]])
    for wrong, expected in ((7, IndexError), (np.s_[::0], ValueError), ("x", IndexError), (np.s_[0.5:], TypeError)):
        with pytest.raises(expected):
            await array[wrong]
    with pytest.raises(NotImplementedError, match="one list or mask at a time"):
        await array[[1, 2], [3, 4]]


async def test_a_buffer_is_filled_in_place(run: AsyncDataset) -> None:
    values = np.random.default_rng(0).standard_normal((300, 40, 50))
    array = await run.write_array("a", values)  # 5 MB: several chunks, one stream
    out = np.zeros_like(values)
    assert await array.read(out=out) is out
    assert bits(out) == bits(values)
    turned = np.zeros(values.T.shape, "f8").T
    await array.read(out=turned)
    assert (turned == values).all()
    with pytest.raises(errors.InvalidArgument, match="out"):
        await array.read(np.s_[:2], out=out)


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd", "gzip", None])
async def test_large_chunks_of_any_codec_go_both_ways(run: AsyncDataset, codec: str | None) -> None:
    values = np.random.default_rng(0).integers(0, 2**12, (3, 1500, 1000)).astype("u2")
    array = await run.write_array("a", values, chunks=(1, None, None), codec=codec)  # 3 MB each: in parts
    assert bits(await array[...]) == bits(values)
    assert bits(await array[1, 700:710]) == bits(values[1, 700:710])
    await array.write(np.s_[1, 700], 7)
    values[1, 700] = 7
    assert bits(await array[...]) == bits(values)


async def test_shards_hold_many_small_chunks(run: AsyncDataset) -> None:
    values = np.arange(10_000.0).reshape(100, 100)
    array = await run.write_array("a", values, chunks=(10, 10), shards=(50, 100))
    await array.write(np.s_[55, ::2], -1.0)
    values[55, ::2] = -1.0
    assert bits(await array[...]) == bits(values)


async def test_random_assignments_leave_what_numpy_leaves(run: AsyncDataset) -> None:
    chance, theirs = random.Random(2), np.zeros((7, 11, 5), "i4")
    mine = await run.create_array("a", theirs.shape, "i4", chunks=(3, 4, 2))
    for number in range(25):
        key = tuple(
            chance.choice((chance.randrange(length), slice(chance.randrange(length), None, chance.choice((1, 2))), ...))
            for length in theirs.shape[: chance.randint(1, 3)]
        )
        if key.count(...) > 1:
            continue
        value = np.arange(theirs[key].size).reshape(theirs[key].shape) * number
        theirs[key] = value
        await mine.write(key, value)
    assert bits(await mine[...]) == bits(theirs)


async def test_writers_of_one_chunk_lose_nothing(run: AsyncDataset) -> None:
    array = await run.create_array("a", 64, "i8", chunks=64)
    handles = [array, await run["a"]]

    async def write(number: int) -> None:
        for value in range(3):
            await handles[number % 2].write(slice(number * 8, number * 8 + 8), number * 10 + value)

    await aio.parallel(write, range(8), bound=8)
    assert (await array[...]).tolist() == [number * 10 + 2 for number in range(8) for _ in range(8)]


async def test_what_does_not_fit_is_refused_and_nothing_is_written(run: AsyncDataset) -> None:
    array = await run.create_array("a", (4, 10), "f8", chunks=(2, 10))
    with pytest.raises(errors.InvalidArgument, match="could not broadcast"):
        await array.write(np.s_[9:12], np.ones((3, 10)))
    with pytest.raises(ValueError, match="could not broadcast"):
        await array.write(0, np.ones(3))
    with pytest.raises(IndexError):
        await array.write(4, 1)
    with pytest.raises(ValueError, match="could not convert"):
        await array.write(0, "x")
    await array.write(np.s_[9:12], 1.0)  # as in numpy: there is nothing there
    assert not (await array.written).any()
    for value in (np.array([object()]), np.ones(1, np.longdouble), [[1], [1, 2]]):
        with pytest.raises(errors.InvalidArgument):
            await run.write_array("b", value)
    assert [name async for name in run] == ["a"]


async def test_rows_are_appended_to_the_shape_that_there_is(run: AsyncDataset) -> None:
    array = await run.create_array("a", (0, 10), "i4", chunks=(2, 10))
    rows = np.arange(60, dtype="i4").reshape(6, 10)
    assert [await array.append(rows[:3]), await array.append(rows[3:4]), await array.append(rows[:0])] == [0, 3, 4]
    assert array.shape == (4, 10) and not array.growing
    other = await run["a"]
    assert await other.append(rows[4:]) == 4
    assert await array.append(rows[:1]) == 6  # of a handle that had not heard of the two rows
    assert bits(await array[...]) == bits(np.concatenate([rows, rows[:1]]))
    for block in (np.ones((2, 9), "i4"), np.ones((2, 10)), 1):
        with pytest.raises(errors.InvalidArgument):
            await array.append(block)
    with pytest.raises(errors.InvalidArgument, match="no axis"):
        await (await run.create_array("b", (), "i4")).append(1)


async def test_appends_of_several_handles_are_all_there_once(run: AsyncDataset) -> None:
    await run.create_array("a", (0, 2), "i4", chunks=(8, 2))

    async def append(number: int) -> list[int]:
        handle = await run["a"]
        return [await handle.append(np.full((3, 2), 10 * number + step, "i4")) for step in range(3)]

    places = await aio.parallel(append, range(3), bound=3)
    elements = await (await run["a"])[...]
    assert elements.shape == (27, 2)
    for number, firsts in enumerate(places):
        for step, first in enumerate(firsts):
            assert (elements[first : first + 3] == 10 * number + step).all()
    assert sorted(first for firsts in places for first in firsts) == [*range(0, 27, 3)]


async def test_an_appender_at_work_is_fenced_only_by_force(run: AsyncDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from measurand.client._async import array_appends

    monkeypatch.setattr(array_appends, "PATIENCE", 0.2)
    async with run.stream_array("a", 2, "i4") as frames:
        await frames.write(np.array([1, 2], "i4"))
        await frames.flush()
        array = await run["a"]
        assert array.growing
        with pytest.raises(errors.WriterFenced, match="force"):
            await array.append(np.ones((1, 2), "i4"))
        await frames.write(np.array([3, 4], "i4"))
        await frames.flush()
    assert await (await run["a"]).append(np.ones((1, 2), "i4")) == 2


async def test_a_shape_is_changed_and_what_is_new_reads_as_fill(run: AsyncDataset) -> None:
    array = await run.create_array("a", (5, 4), "i2", chunks=(2, 3), fill=-1)
    await array.write(..., 7)
    await array.resize((3, 6))
    assert (await array[...]).tolist() == [[7, 7, 7, 7, -1, -1]] * 3
    await array.resize((5, 4))
    assert (await array[...]).tolist() == [[7] * 4] * 3 + [[-1] * 4] * 2
    stale = await run["a"]
    await array.resize((6, 4))
    with pytest.raises(errors.Conflict):
        await stale.resize((1, 1))
    assert (await stale.refresh()).shape == (6, 4)
    await array.resize((2, 4))
    for attempt in (lambda: stale.read(), lambda: stale.read(5), lambda: stale.write(5, 1)):
        with pytest.raises(errors.Conflict, match="refresh"):
            await attempt()


async def test_what_was_never_written_is_known(run: AsyncDataset) -> None:
    array = await run.create_array("a", (8, 64), "?", chunks=(1, 8))
    for place in ((0, 0), (3, 5), (3, 6), (7, 7)):
        await array.write((place[0], slice(8 * place[1], 8 * place[1] + 8)), True)
    written = await array.written
    assert written.shape == (8, 8) and written.sum() == 4 and written[3, 6]
    elements = await array[...]
    assert elements.sum() == 32
    for key in await array.missing():
        assert not elements[key].any()
        elements[key] = True
    assert elements.all()


async def test_the_old_array_or_the_new_one_never_a_mix(run: AsyncDataset) -> None:
    before = await run.write_array("a", np.zeros((100, 100)), chunks=(10, 100))
    after = await run.write_array("a", np.ones((5, 5), "i1"))
    assert (await run["a"]).shape == (5, 5) and after.uid != before.uid
    for attempt in (
        lambda: before.read(),
        lambda: before.read(np.s_[0, 0]),
        lambda: before.write(0, 1),
        lambda: before.append(np.ones((1, 100))),
    ):
        with pytest.raises(errors.Conflict):
            await attempt()
    with pytest.raises(errors.Conflict, match="open it again"):
        await before.refresh()
    await before.delete()  # it has gone already
    assert (await (await run["a"])[...]).sum() == 25


async def test_an_array_that_was_removed_is_not_found(run: AsyncDataset) -> None:
    array = await run.write_array("a", np.zeros(10))
    again = await run["a"]
    await array.append(np.ones(2))
    await again.delete()  # the same array, however it has grown
    for attempt in (lambda: array.read(), lambda: array.write(0, 1), lambda: array.refresh(), lambda: run["a"]):
        with pytest.raises(errors.NotFound):
            await attempt()
    with pytest.raises(KeyError, match="arrays/a: "):
        await run.array("a")
    await run.delete_array("a")
    assert await run.arrays() == [] and not await run.has_array("a")


async def test_a_dataset_is_a_dict_of_arrays(run: AsyncDataset) -> None:
    for name in ("z", "a", "entry/x", "entry/y"):
        await run.write_array(name, np.arange(10.0))
    assert [name async for name in run] == ["a", "entry/x", "entry/y", "z"]
    assert [array.name for array in await run.arrays("entry/")] == ["entry/x", "entry/y"]
    loaded = await run.load({"z": np.s_[0:2], "a": np.s_[5:9]})
    assert {name: value.tolist() for name, value in loaded.items()} == {"z": [0, 1], "a": [5, 6, 7, 8]}
    assert list(await run.load(["entry/y"])) == ["entry/y"] and len(await run.load()) == 4
    with pytest.raises(errors.NotFound):
        await run.load({"a": ..., "b": ...})
    with pytest.raises(errors.NameInvalid):
        await run.array("\ud800")


async def test_a_name_is_taken_once(run: AsyncDataset) -> None:
    array = await run.create_array("a", (0, 2), "f4", dims=("t", None), attrs={"unit": "V"}, codec="none")
    assert (array.dims, array.attrs, array.shape) == (("t", None), {"unit": "V"}, (0, 2))
    with pytest.raises(errors.AlreadyExists):
        await run.create_array("a", (0, 2), "f4")
    assert await run.create_array("a", (0, 2), "f4", exist_ok=True) == array
    with pytest.raises(errors.InvalidArgument):
        await run.create_array("a", (0, 2), "f8", exist_ok=True)
    for options in ({"chunks": 2}, {"codec": "lzma"}, {"fill": "x"}, {"dims": ("t",)}, {"shards": (2, 2)}):
        with pytest.raises(errors.InvalidArgument):
            await run.create_array("b", (0, 2), "f4", **options)


async def test_attributes_are_merged_and_axes_named(run: AsyncDataset) -> None:
    array = await run.write_array("a", np.zeros((2, 3)), attrs={"unit": "V", "x": {"y": 1}})
    await array.update(attrs={"unit": None, "x": {"z": 2}}, dims=("t", None))
    assert (array.attrs, array.dims) == ({"x": {"y": 1, "z": 2}}, ("t", None))
    assert (await run["a"]).attrs == array.attrs


async def test_an_array_without_axes_and_one_without_elements(run: AsyncDataset) -> None:
    array = await run.write_array("a", np.float32(2.5))
    assert bits(await array[()]) == bits(np.float32(2.5)) and array.shape == ()
    await array.write(..., 3)
    assert (await array.read()).shape == () and await array[()] == 3
    assert (await array.written).shape == () and await array.missing() == []
    with pytest.raises(TypeError, match="unsized"):
        len(array)
    empty = await run.write_array("e", np.zeros((0, 3), "u1"))
    assert bits(await empty[...]) == bits(np.zeros((0, 3), "u1")) and not [row async for row in empty]


async def test_text_of_any_length_comes_back(run: AsyncDataset) -> None:
    words = ["", "a", "é" * 300, "😀 and more"]
    array = await run.write_array("a", words)
    assert array.dtype == np.dtypes.StringDType() and (await array[...]).tolist() == words
    await array.write(slice(1, 3), "x")
    assert (await array[...]).tolist() == ["", "x", "x", "😀 and more"]
    made = await run.create_array("b", 3, str)
    assert (await made[...]).tolist() == ["", "", ""]


async def test_a_handle_goes_to_another_process_and_back(client: AsyncClient, run: AsyncDataset) -> None:
    array = await run.write_array("a", np.arange(10))
    assert copy.deepcopy(array)._calls is array._calls
    again: AsyncArray = pickle.loads(pickle.dumps(array))
    assert again == array and again.chunks == array.chunks
    assert (await again[2:5]).tolist() == [2, 3, 4]
    await again._calls.close()


async def test_a_sealed_dataset_takes_no_more(lab: AsyncCatalog, run: AsyncDataset) -> None:
    array = await run.write_array("a", np.zeros(4))
    await run.seal()
    for attempt in (
        lambda: array.write(0, 1),
        lambda: array.append(np.ones(1)),
        lambda: array.resize(3),
        lambda: run.write_array("b", [1]),
    ):
        with pytest.raises(errors.Sealed):
            await attempt()
    assert (await array[...]).tolist() == [0, 0, 0, 0]
