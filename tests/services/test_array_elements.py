"""Elements for callers that know no Zarr: read by selection, written into regions, appended as rows."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.services.array_calls import (
    append,
    encoded,
    get,
    make,
    name,
    read,
    read_at_once,
    selection,
    write,
    write_chunk,
)
from tests.services.file_calls import refused
from tests.services.refusals import refused as refused_with
from tests.stores import EVERY

from measurand.v1 import arrays_pb2
from measurand.wire.codec import pack, unpack

if TYPE_CHECKING:
    from tests.services.array_calls import Stub, Values

CHAINS = {
    "plain": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    "zstd": [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
        {"name": "crc32c"},
    ],
    "shards": [
        {
            "name": "sharding_indexed",
            "configuration": {
                "chunk_shape": [1, 2, 3],
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                "index_location": "end",
            },
        }
    ],
}
SHAPE, CHUNKS = (7, 8, 9), (3, 4, 3)


def elements(dtype: str = "int32") -> Values:
    return np.arange(1, 1 + np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


async def made_full(arrays: Stub, path: str = "x", chain: str = "plain") -> Values:
    values = elements()
    await make(arrays, path, SHAPE, chunks=CHUNKS, codecs=json.dumps(CHAINS[chain]))
    await write(arrays, path, (), values)
    return values


KEYS: list[Any] = [
    (),
    (3,),
    (-1, slice(None), 2),
    (slice(1, 6), slice(2, None), slice(None, -1)),
    (slice(None, None, -1), slice(None, None, -3), slice(None, None, 4)),
    (slice(5, 1, -2), 7, slice(8, None, -5)),
    (slice(2, 100),),
    (slice(4, 4),),
    (slice(None), slice(9, 2)),
    (1, 2, 3),
]


@pytest.mark.stores(*EVERY)
async def test_a_selection_is_what_numpy_gives(arrays: Stub) -> None:
    values = await made_full(arrays)
    for key in KEYS:
        for found in (await read(arrays, "x", key), await read_at_once(arrays, "x", key)):
            assert found.shape == values[key].shape
            assert (found == values[key]).all()


@pytest.mark.parametrize("chain", sorted(CHAINS))
async def test_whatever_the_codecs_are(arrays: Stub, chain: str) -> None:
    values = await made_full(arrays, chain=chain)
    assert (await read(arrays, "x", (slice(1, -1), slice(None, None, 3))) == values[1:-1, ::3]).all()
    patch = np.full((2, 3, 2), -7, "int32")
    key = (slice(2, 4), slice(1, None, 3), slice(4, 1, -2))
    await write(arrays, "x", key, patch)
    values[key] = patch
    assert (await read(arrays, "x") == values).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "float64", "complex64", "datetime64[us]", "U3"])
async def test_whatever_the_elements_are(arrays: Stub, dtype: str) -> None:
    values = np.arange(24).reshape(4, 6).astype(dtype)
    await make(arrays, "x", (4, 6), dtype, (3, 4))
    await write(arrays, "x", (), values)
    assert (await read(arrays, "x", (slice(None, None, -1),)) == values[::-1]).all()


async def test_bits_are_kept_and_what_was_never_written_is_the_fill_value(arrays: Stub) -> None:
    odd = np.frombuffer(np.array([0x7FF0000000000001, 0xFFF8000000000002, 1 << 63, 0], "u8").tobytes(), "f8")
    await make(arrays, "odd", (8,), "float64", (3,), fill_value=odd[:1].tobytes())
    await write(arrays, "odd", (slice(2, 6),), odd)
    expected = np.repeat(odd[:1], 8)
    expected[2:6] = odd
    assert (await read(arrays, "odd")).tobytes() == expected.tobytes()
    await make(arrays, "default", (2,), "float64")
    assert np.isnan(await read(arrays, "default")).all()


async def test_a_read_goes_on_where_it_was_cut_while_the_array_is_the_same(arrays: Stub) -> None:
    values = np.random.default_rng(0).integers(0, 255, (300, 1000), "uint8")
    made = await make(arrays, "x", (300, 1000), "uint8", (7, 130))
    await asyncio.gather(
        *(write(arrays, "x", (slice(start, start + 100),), values[start : start + 100]) for start in (0, 100, 200))
    )
    key = (slice(None, None, -2), slice(3, 900))
    whole = values[key].tobytes()
    for offset in (0, 1, 897, 70_000, len(whole) - 1, len(whole)):
        rest = await read(arrays, "x", key, offset=offset, etag=made.etag, chunk_bytes=1)
        assert rest.tobytes() == whole[offset:]
    request = arrays_pb2.ReadArrayRequest(name=name("x"), offset=len(whole) + 1, selection=selection(key))
    assert await refused(arrays.ReadArray(request).read()) == "BEYOND_END"
    await append(arrays, "x", values[:1])
    request = arrays_pb2.ReadArrayRequest(name=name("x"), offset=5, etag=made.etag)
    assert await refused(arrays.ReadArray(request).read()) == "ETAG_MISMATCH"


async def test_parts_are_as_large_as_asked_for(arrays: Stub) -> None:
    await make(arrays, "x", (2**20,), "uint8", (2**20,))
    for wanted, expected in ((1, 2**16), (100_000, 100_000), (2**30, 2**20)):
        request = arrays_pb2.ReadArrayRequest(name=name("x"), chunk_bytes=wanted)
        sizes = [len(unpack(message).data) async for message in arrays.ReadArray(request)]
        assert max(sizes) == expected
        assert sum(sizes) == 2**20


@pytest.mark.parametrize(
    ("key", "axis"),
    [((7,), "0"), ((-8,), "0"), ((0, 8), "1"), ((0, 0, 9), "2"), ((0, 0, 0, 0), "3"), ((2**62,), "0")],
)
async def test_a_position_that_is_not_there_is_refused_with_its_axis(arrays: Stub, key: Any, axis: str) -> None:
    await make(arrays, "x", SHAPE, chunks=CHUNKS)
    region = arrays_pb2.ReadArrayRegionRequest(name=name("x"), selection=selection(key))
    _, info, _ = await refused_with(arrays.ReadArrayRegion(region))
    assert (info.reason, info.metadata["axis"]) == ("SELECTION_INVALID", axis)


async def test_more_than_a_message_holds_is_read_by_the_stream_alone(arrays: Stub) -> None:
    await make(arrays, "x", (2**21 + 1,), "uint8")
    request = arrays_pb2.ReadArrayRegionRequest(name=name("x"))
    _, info, _ = await refused_with(arrays.ReadArrayRegion(request))
    assert (info.reason, info.metadata["actual"]) == ("TOO_LARGE", str(2**21 + 1))
    assert (await read(arrays, "x")).size == 2**21 + 1


@pytest.mark.stores(*EVERY)
async def test_regions_are_written_into_the_chunks_they_touch(arrays: Stub) -> None:
    values = await made_full(arrays)
    generator = np.random.default_rng(1)
    for number, key in enumerate(KEYS):
        if any(isinstance(part, slice) and (part.stop or 0) > 7 for part in key[:1]):
            continue
        patch = generator.integers(-1000, 1000, values[key].shape).astype("int32")
        values[key] = patch
        touched = await write(arrays, "x", key, patch)
        assert (touched == 0) == (patch.size == 0)
        assert (await read(arrays, "x") == values).all(), number
    values[2:5, 1] = 42
    assert await write(arrays, "x", (slice(2, 5), 1), np.array(42, "int32")) == 6
    assert (await read(arrays, "x") == values).all()


@pytest.mark.parametrize(
    "key", [(slice(5, 8),), (slice(9, 12),), (slice(-8, 2),), (slice(0, 3), slice(9, 3, -1)), (7,)]
)
async def test_a_region_beyond_the_array_is_refused_and_nothing_is_written(arrays: Stub, key: Any) -> None:
    await make(arrays, "x", SHAPE, chunks=CHUNKS)
    assert await refused(write(arrays, "x", key, np.array(1, "int32"))) == "SELECTION_INVALID"
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_elements_of_another_number_or_damaged_ones_are_refused(arrays: Stub) -> None:
    await make(arrays, "x", (4,), chunks=(2,))
    assert await refused(write(arrays, "x", (), np.zeros(3, "int32"))) == "SIZE_MISMATCH"
    assert await refused(write(arrays, "x", (), np.zeros(0, "int32"))) == "SIZE_MISMATCH"
    request = arrays_pb2.WriteArrayRegionRequest(name=name("x"), crc32c=7)
    assert await refused(arrays.WriteArrayRegion(pack(request, bytes(16)))) == "CHECKSUM_MISMATCH"
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_a_region_in_endlessly_many_chunks_is_refused(arrays: Stub) -> None:
    await make(arrays, "x", (10**12, 3), "uint8", (1, 1))
    request = arrays_pb2.WriteArrayRegionRequest(name=name("x"))
    _, info, _ = await refused_with(arrays.WriteArrayRegion(pack(request, b"\x01")))
    assert (info.reason, info.metadata["actual"]) == ("TOO_LARGE", str(3 * 10**12))
    request = arrays_pb2.WriteArrayRegionRequest(name=name("x"), selection=selection((slice(10**11, 10**11 + 2),)))
    assert (await arrays.WriteArrayRegion(pack(request, b"\x01"))).chunks_written == 6
    found = await read(arrays, "x", (slice(10**11 - 1, 10**11 + 3),))
    assert found.tolist() == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]


def random_key(chance: random.Random) -> tuple[Any, ...]:
    """Return what numpy takes for SHAPE; what it clamps is in it, too."""

    def end(length: int) -> int | None:
        return chance.choice([None, chance.randint(-length - 3, length + 3)])

    def part(length: int) -> Any:
        if chance.random() < 0.25:
            return chance.randrange(-length, length)
        return slice(end(length), end(length), chance.choice([None, 1, 2, 3, 11, -1, -2, -3, -11]))

    return tuple(part(length) for length in SHAPE[: chance.randint(0, 3)])


@pytest.mark.stores(*EVERY)
async def test_any_selection_is_read_and_written_as_numpy_does_it(arrays: Stub) -> None:
    chance, values = random.Random(0), await made_full(arrays)
    for number in range(60):
        key = random_key(chance)
        found = await read(arrays, "x", key)
        assert found.shape == values[key].shape, key
        assert (found == values[key]).all(), key
        # What is written must be there: the same positions, without those beyond the ends.
        within = tuple(part if isinstance(part, int) else inside(part, n) for part, n in zip(key, SHAPE, strict=False))
        patch = np.full(values[within].shape, -number, "int32")
        values[within] = patch
        await write(arrays, "x", within, patch)
    assert (await read(arrays, "x") == values).all()


def inside(part: slice, length: int) -> slice:
    positions = range(*part.indices(length))
    if not positions:
        return slice(0, 0)
    stop = positions[-1] + (1 if positions.step > 0 else -1)
    return slice(positions[0], None if stop < 0 else stop, positions.step)


@pytest.mark.stores(*EVERY)
async def test_writers_of_one_chunk_never_lose_each_others_elements(arrays: Stub) -> None:
    await make(arrays, "x", (8,), chunks=(8,))

    async def fill(at: int) -> None:
        for value in range(1, 6):
            await write(arrays, "x", (slice(at, at + 1),), np.array([10 * at + value], "int32"))

    await asyncio.gather(*(fill(at) for at in range(8)))
    assert (await read(arrays, "x")).tolist() == [10 * at + 5 for at in range(8)]


@pytest.mark.stores(*EVERY)
async def test_rows_are_appended_exactly_and_seen_at_once(arrays: Stub) -> None:
    await make(arrays, "x", (0, 3), chunks=(4, 2))
    expected = np.zeros((0, 3), "int32")
    for count in (3, 1, 0, 9, 4):
        rows = np.arange(count * 3, dtype="int32").reshape(count, 3) + 100 * len(expected)
        answer = await append(arrays, "x", rows)
        assert (answer.first_row, answer.visible_rows) == (len(expected), len(expected) + count)
        expected = np.concatenate([expected, rows])
        assert (await read(arrays, "x") == expected).all()
    found = await get(arrays, "x")
    assert list(found.shape) == [17, 3]
    assert not found.growing


async def test_an_append_is_safe_to_repeat(arrays: Stub) -> None:
    await make(arrays, "x", (0,), chunks=(4,))
    rows = np.arange(6, dtype="int32")
    first = await append(arrays, "x", rows, request_id="r1")
    assert await append(arrays, "x", rows, request_id="r1") == first
    await append(arrays, "x", rows[:2], expected_rows=6)
    _, info, _ = await refused_with(append(arrays, "x", rows[:2], expected_rows=6))
    assert (info.reason, info.metadata["rows"]) == ("ETAG_MISMATCH", "8")
    again = await append(arrays, "x", rows, request_id="r1")
    assert again.first_row == 0
    assert again.visible_rows == 8
    assert await refused(append(arrays, "x", rows[:1], request_id="r1")) == "REQUEST_ID_REUSED"
    assert (await read(arrays, "x")).tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


async def test_appends_at_the_same_time_all_come_in_whole(arrays: Stub) -> None:
    await make(arrays, "x", (0, 2), chunks=(3, 2))
    answers = await asyncio.gather(
        *(append(arrays, "x", np.full((2, 2), number, "int32"), request_id=f"r{number}") for number in range(8))
    )
    found = await read(arrays, "x")
    assert sorted(answer.first_row for answer in answers) == list(range(0, 16, 2))
    for number, answer in enumerate(answers):
        assert (found[answer.first_row : answer.first_row + 2] == number).all()


async def test_rows_that_are_none_are_refused(arrays: Stub) -> None:
    await make(arrays, "x", (1, 3), chunks=(4, 3))
    await make(arrays, "zero", ())
    assert await refused(append(arrays, "x", np.zeros(4, "int32"))) == "SIZE_MISMATCH"
    assert await refused(append(arrays, "zero", np.zeros(1, "int32"))) == "FIELD_INVALID"
    request = arrays_pb2.AppendArrayRequest(name=name("x"), crc32c=1)
    assert await refused(arrays.AppendArray(pack(request, bytes(12)))) == "CHECKSUM_MISMATCH"
    assert list((await get(arrays, "x")).shape) == [1, 3]


async def test_text_of_any_length_has_no_plain_elements(arrays: Stub) -> None:
    made = await make(arrays, "x", (2,), "T", (2,), codecs="")
    await write_chunk(arrays, made, (0,), np.array(["a", "bb"], np.dtypes.StringDType()))
    assert encoded(made, np.array(["a", "bb"], np.dtypes.StringDType()))
    assert await refused(arrays.ReadArrayRegion(arrays_pb2.ReadArrayRegionRequest(name=name("x")))) == "FIELD_INVALID"
    request = arrays_pb2.WriteArrayRegionRequest(name=name("x"))
    assert await refused(arrays.WriteArrayRegion(pack(request, b"x"))) == "FIELD_INVALID"
