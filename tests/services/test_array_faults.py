"""Callers that send nonsense, and stores that give back other bytes than they were given."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest
from tests.services.array_calls import (
    DATASET,
    Writer,
    append,
    chunks,
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
from tests.services.refusals import refused
from tests.stores import Site

from measurand.v1 import arrays_pb2, common_pb2
from measurand.wire.codec import pack

if TYPE_CHECKING:
    from tests.services.array_calls import Stub

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
CRC = {"name": "crc32c"}
DEEP = "[" * 5000 + "]" * 5000

NEW: list[tuple[dict[str, Any], str]] = [
    ({"shape": [-1]}, "shape"),
    ({"shape": [2**40, 2**40]}, "shape"),
    ({"shape": [1] * 33}, "shape"),
    ({"shape": [4], "chunk_shape": [0]}, "chunk_shape"),
    ({"shape": [4], "chunk_shape": [-3]}, "chunk_shape"),
    ({"shape": [4], "chunk_shape": [2, 2]}, "chunk_shape"),
    ({"shape": [2**30], "chunk_shape": [2**27 + 1]}, "chunk_shape"),
    ({"shape": [2**62], "chunk_shape": [2**62]}, "chunk_shape"),
    ({"data_type": ""}, "data_type"),
    ({"data_type": "float128"}, "data_type"),
    ({"data_type": "object"}, "data_type"),
    ({"data_type": "int32\x00"}, "data_type"),
    ({"data_type": "{"}, "data_type"),
    ({"data_type": DEEP}, "data_type"),
    ({"data_type": '{"name": "numpy.datetime64"}'}, "data_type"),
    ({"fill_value": b"\x00" * 5}, "fill_value"),
    ({"codecs": "nonsense"}, "codecs"),
    ({"codecs": "{}"}, "codecs"),
    ({"codecs": "[]"}, "codecs"),
    ({"codecs": "[1]"}, "codecs"),
    ({"codecs": DEEP}, "codecs"),
    ({"codecs": json.dumps([BYTES, {"name": "nobody-knows"}, CRC])}, "codecs"),
    ({"codecs": json.dumps([CRC, BYTES])}, "codecs"),
    ({"codecs": json.dumps([{"name": "bytes", "configuration": {"endian": "big"}}, CRC])}, "codecs"),
    ({"codecs": json.dumps([BYTES, {"name": "zstd", "configuration": {"level": 10**9}}, CRC])}, "codecs"),
    ({"codecs": json.dumps([BYTES, {"name": "blosc", "configuration": {"cname": "?"}}, CRC])}, "codecs"),
    ({"dimension_names": ["a", "b"]}, "dimension_names"),
    ({"attributes": common_pb2.Document(json="[]")}, ""),
    ({"attributes": common_pb2.Document(json='{"a":"%s"}' % ("x" * 65536))}, ""),
]


@pytest.mark.parametrize(("wrong", "field"), NEW, ids=[f"{number}-{field}" for number, (_, field) in enumerate(NEW)])
async def test_an_array_that_cannot_be_is_not_made(arrays: Stub, wrong: dict[str, Any], field: str) -> None:
    array = arrays_pb2.Array(**{"shape": [4], "data_type": "int32", **wrong})
    request = arrays_pb2.CreateArrayRequest(parent=DATASET, array_id="x", array=array)
    code, info, fault = await refused(arrays.CreateArray(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT, info
    assert field in info.metadata.get("field", fault)
    assert not (await arrays.ListArrays(arrays_pb2.ListArraysRequest(parent=DATASET))).arrays


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "/a", "a//b", ".", "a/../b", "__x", "a/__b", "a\x00b", "a\nb", "x" * 513, "a/" * 16 + "a"]
)
async def test_a_name_that_is_none_is_refused(arrays: Stub, path: str) -> None:
    for call in (make(arrays, path, (1,)), get(arrays, path), read(arrays, path), append(arrays, path, np.ones(1))):
        code, info, _ = await refused(call)
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NAME_INVALID")


FAR = 2**63 - 1


@pytest.mark.parametrize("index", [(-1, 0), (0, -1), (2, 0), (0, 2), (FAR, FAR), (-FAR, 0), (0,), (), (0, 0, 0)])
async def test_a_chunk_that_is_not_there_is_refused(arrays: Stub, index: tuple[int, ...]) -> None:
    made = await make(arrays, "x", (4, 4), chunks=(2, 2))
    many = arrays_pb2.ReadArrayChunksRequest(name=made.name, indexes=index)
    one = arrays_pb2.ReadArrayChunkRequest(name=made.name, index=index)
    calls: list[Awaitable[Any]] = [write_chunk(arrays, made, index, 1), arrays.ReadArrayChunk(one)]
    if index:
        calls.append(arrays.ReadArrayChunks(many).read())
    for call in calls:
        code, info, _ = await refused(call)
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SELECTION_INVALID")
        assert info.metadata["axis"].isdecimal()
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_too_many_indexes_and_both_ways_to_say_which_are_refused(arrays: Stub) -> None:
    made = await make(arrays, "x", (4,), chunks=(2,))
    many = arrays_pb2.ReadArrayChunksRequest(name=made.name, indexes=[0] * 100_001)
    code, info, _ = await refused(arrays.ReadArrayChunks(many).read())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    both = arrays_pb2.ReadArrayChunksRequest(name=made.name, indexes=[0], selection=selection((0,)))
    code, _, field = await refused(arrays.ReadArrayChunks(both).read())
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "selection")


@pytest.mark.parametrize("number", [FAR, -FAR - 1, 2**31, 0])
async def test_numbers_at_their_ends_are_answered_as_numpy_would(arrays: Stub, number: int) -> None:
    values = np.arange(5, dtype="int32")
    await make(arrays, "x", (5,), chunks=(2,))
    await write(arrays, "x", (), values)
    for key in (slice(number, None), slice(None, number), slice(None, None, number or 1), slice(number, number, -1)):
        assert (await read(arrays, "x", (key,))).tolist() == values[key].tolist()


async def test_a_result_beyond_counting_is_refused_and_the_largest_is_begun(arrays: Stub) -> None:
    await make(arrays, "x", (2**62,), "int16", (1000,))
    whole = arrays_pb2.ReadArrayRequest(name=name("x"))
    code, info, _ = await refused(arrays.ReadArray(whole).read())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SELECTION_INVALID")
    most = arrays_pb2.ReadArrayRequest(name=name("x"), selection=selection((slice(None, 2**62 - 1),)), offset=2**62)
    call = arrays.ReadArray(most)
    assert await call.read() is not grpc.aio.EOF
    call.cancel()
    met = arrays.ReadArrayChunks(arrays_pb2.ReadArrayChunksRequest(name=name("x"), selection=selection(())))
    assert await met.read() is not grpc.aio.EOF
    met.cancel()


async def test_no_element_is_written_where_no_chunk_can_be_found_again(arrays: Stub) -> None:
    await make(arrays, "x", (2**62,), "uint8", (1,))
    for key in ((2**61,), (slice(2**40 - 1, 2**40 + 1),), (slice(2**40, 2**40 - 2, -1),)):
        code, info, _ = await refused(write(arrays, "x", key, np.ones(1, "uint8")))
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SELECTION_INVALID")
    code, _, _ = await refused(append(arrays, "x", np.ones(1, "uint8")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_an_array_does_not_grow_beyond_counting(arrays: Stub) -> None:
    made = await make(arrays, "x", (2**63 - 2,), "uint8", (2**20,))
    code, _, field = await refused(append(arrays, "x", np.ones(2, "uint8")))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "data")
    writer = Writer(arrays, made, append=True)
    await writer.open()
    await writer.send(1, grow_to=2**63 - 1)
    await writer.end()
    assert (await get(arrays, "x")).shape[0] == 2**63 - 1


@pytest.mark.parametrize("offset", [-1, -FAR, 9, FAR])
async def test_an_offset_outside_is_out_of_range(arrays: Stub, offset: int) -> None:
    made = await make(arrays, "x", (2,), chunks=(2,))
    await write_chunk(arrays, made, (0,), 1)
    size = len(encoded(made, 1))
    elements = arrays_pb2.ReadArrayRequest(name=made.name, offset=offset)
    chunk = arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[0], part_offset=offset if offset != 9 else size + 1)
    for call in (arrays.ReadArray(elements).read(), arrays.ReadArrayChunk(chunk)):
        code, info, _ = await refused(call)
        assert (code, info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "BEYOND_END")


@pytest.mark.parametrize("token", ["x", "AAAA", "WzEsICJ4Il0"])
async def test_a_forged_page_token_is_refused(arrays: Stub, token: str) -> None:
    made = await make(arrays, "x", (2,))
    lists = arrays_pb2.ListArraysRequest(parent=DATASET, page_token=token)
    listed = arrays_pb2.ListArrayChunksRequest(name=made.name, page_token=token)
    for call in (arrays.ListArrays(lists), arrays.ListArrayChunks(listed)):
        _, info, _ = await refused(call)
        assert info.reason == "PAGE_TOKEN_INVALID"


async def test_a_chunk_that_no_codec_understands_is_data_loss_for_those_who_want_elements(arrays: Stub) -> None:
    """The server stores what it is sent; who sent it is the one who can know what is in it."""
    made = await make(arrays, "x", (4,), chunks=(4,))
    request = arrays_pb2.WriteArrayChunkRequest(name=made.name, index=[0])
    for nonsense in (b"x", bytes(19), bytes(21), encoded(made, 3)[:-1] + b"?"):
        await arrays.WriteArrayChunk(pack(request, nonsense))
        assert [data async for _, _, data in chunks(arrays, name=made.name, indexes=[0])] == [nonsense]
        code, info, _ = await refused(read(arrays, "x"))
        assert (code, info.metadata["resource"], info.metadata["index"]) == (grpc.StatusCode.DATA_LOSS, made.name, "0")
    assert await write(arrays, "x", (), np.arange(4, dtype="int32")) == 1  # all of it is new
    assert (await read(arrays, "x")).tolist() == [0, 1, 2, 3]


async def all_of(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.stores("embedded")
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("length", [4, 400_000], ids=["packed", "alone"])
async def test_other_bytes_than_were_stored_are_data_loss_on_every_way(
    arrays: Stub, site: Site, length: int, damage: str
) -> None:
    made = await make(arrays, "x", (3 * length,), "uint8", (2 * length,))
    await write(arrays, "x", (), np.repeat(np.array([1, 1, 2], "uint8"), length))
    (stored,) = [path for path in _blobs(site, made.uid) if b"\x01\x01\x01" in path.read_bytes()]
    content = bytearray(stored.read_bytes())
    place = content.index(1) + 2
    content[place] ^= 1
    if damage == "gone":
        stored.unlink()
    else:
        stored.write_bytes(content if damage == "flipped" else content[:place])
    one = arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[0])
    ways: list[Callable[[], Awaitable[Any]]] = [
        lambda: read(arrays, "x"),
        lambda: read_at_once(arrays, "x", (0,)),
        lambda: arrays.ReadArrayChunk(one),
        lambda: all_of(chunks(arrays, name=made.name, indexes=[0])),
        lambda: all_of(chunks(arrays, name=made.name, selection=selection(()))),
        lambda: write(arrays, "x", (slice(1, 2),), np.ones(1, "uint8")),
    ]
    for way in ways:
        code, info, _ = await refused(way())
        assert (code, info.reason) == (grpc.StatusCode.DATA_LOSS, "STORED_DATA_CORRUPT")
        assert (info.metadata["resource"], info.metadata["index"]) == (made.name, "0")
    if length != 4:
        assert set((await read(arrays, "x", (slice(2 * length, None),))).tolist()) == {
            2
        }  # the chunk beside it is whole
    await write(arrays, "x", (slice(0, 2 * length),), np.full(1, 7, "uint8"))
    assert set((await read(arrays, "x", (slice(0, 2 * length),))).tolist()) == {7}


def _blobs(site: Site, uid: str) -> list[Path]:
    return [path for path in site.folder.rglob("*") if path.is_file() and uid in str(path)]
