"""Arrays over a real channel: made, staged, committed, listed, changed, deleted; chunks one at a time."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.services.array_calls import (
    ARRAYS,
    DATASET,
    Writer,
    append,
    chunks,
    encoded,
    get,
    make,
    name,
    pipeline,
    read,
    selection,
    write,
    write_chunk,
)
from tests.services.file_calls import crc, refused
from tests.stores import EVERY

from measurand.v1 import arrays_pb2, common_pb2, datasets_pb2, datasets_pb2_grpc
from measurand.wire.codec import pack, unpack

if TYPE_CHECKING:
    from tests.services.array_calls import Stub

    from measurand.server.process import Process

pytestmark = pytest.mark.stores(*EVERY)


async def listed(arrays: Stub, prefix: str = "") -> list[str]:
    answer = await arrays.ListArrays(arrays_pb2.ListArraysRequest(parent=DATASET, prefix=prefix))
    return [array.name.removeprefix(f"{ARRAYS}/") for array in answer.arrays]


async def test_an_array_is_made_and_says_what_it_is(arrays: Stub) -> None:
    made = await make(
        arrays,
        "entry/iq",
        (4, 6),
        "complex64",
        (2, 3),
        dimension_names=["shot", "time"],
        attributes=common_pb2.Document(json='{"unit":"V"}'),
    )
    assert made.name == name("entry/iq")
    assert (list(made.shape), made.data_type, list(made.chunk_shape)) == ([4, 6], "complex64", [2, 3])
    zarr = json.loads(made.zarr_metadata)
    assert (zarr["shape"], zarr["data_type"], zarr["dimension_names"]) == ([4, 6], "complex64", ["shot", "time"])
    assert zarr["attributes"] == {"unit": "V"}
    found = await get(arrays, "entry/iq")
    assert found == made
    assert not (found.growing or found.append_epoch or found.stored_bytes or found.HasField("expire_time"))
    assert await refused(make(arrays, "entry/iq", (1,))) == "RESOURCE_EXISTS"
    assert await refused(make(arrays, "entry", (1,))) == "RESOURCE_EXISTS"  # it is a group
    assert await refused(make(arrays, "entry/iq/more", (1,))) == "RESOURCE_EXISTS"


async def test_a_repeated_request_gives_the_first_array(arrays: Stub) -> None:
    first = await make(arrays, "once", (3,), request_id="r1")
    assert (await make(arrays, "once", (3,), request_id="r1")).uid == first.uid
    assert await refused(make(arrays, "once", (4,), request_id="r1")) == "REQUEST_ID_REUSED"


async def test_what_is_left_open_is_chosen_by_the_server(arrays: Stub) -> None:
    made = await make(arrays, "chosen", (3000, 1000), "float64", codecs="")
    assert made.chunk_shape[1] == 1000
    assert 2**19 <= made.chunk_shape[0] * 8000 <= 2**21
    assert json.loads(made.codecs)[-1]["name"] == "crc32c"
    assert len(made.fill_value) == 8


async def test_fields_are_chosen_by_a_mask_and_documents_come_in_both_forms(arrays: Stub) -> None:
    await make(arrays, "masked", (2,), attributes=common_pb2.Document(json='{"n":1}'))
    request = arrays_pb2.GetArrayRequest(name=name("masked"))
    assert (await arrays.GetArray(request)).attributes.fields["n"] == 1
    request.read_mask.paths.extend(["shape", "attributes"])
    request.document_form = common_pb2.DOCUMENT_FORM_JSON
    found = await arrays.GetArray(request)
    assert found == arrays_pb2.Array(shape=[2], attributes=common_pb2.Document(json='{"n":1}'))
    request.read_mask.paths.append("nothing")
    assert await refused(arrays.GetArray(request)) == "FIELD_INVALID"


async def test_arrays_are_listed_by_name_page_by_page(arrays: Stub) -> None:
    for path in ("b/2", "a", "b/1", "c"):
        await make(arrays, path, (1,))
    assert await listed(arrays) == ["a", "b/1", "b/2", "c"]
    assert await listed(arrays, "b/") == ["b/1", "b/2"]
    found, token = list[str](), ""
    while True:
        request = arrays_pb2.ListArraysRequest(parent=DATASET, page_size=1, page_token=token)
        answer = await arrays.ListArrays(request)
        assert not answer.arrays[0].zarr_metadata
        found += [array.name for array in answer.arrays]
        if not (token := answer.next_page_token):
            break
    assert found == [name(path) for path in ("a", "b/1", "b/2", "c")]


async def test_a_staged_array_is_seen_when_it_is_committed_and_takes_the_place_of_the_old_one(arrays: Stub) -> None:
    old = await make(arrays, "x", (2,), chunks=(2,))
    await write_chunk(arrays, old, (0,), 1)
    new = await make(arrays, "x", (3,), chunks=(3,), staged=True)
    assert new.HasField("expire_time")
    await write_chunk(arrays, new, (0,), 2, uid=new.uid)
    assert (await get(arrays, "x")).uid == old.uid
    assert (await read(arrays, "x")).tolist() == [1, 1]
    commit = arrays_pb2.CommitArrayRequest(name=name("x"), uid=new.uid, if_etag="")
    assert await refused(arrays.CommitArray(commit)) == "ETAG_MISMATCH"
    commit.if_etag = old.etag
    assert (await arrays.CommitArray(commit)).uid == new.uid
    assert (await arrays.CommitArray(commit)).uid == new.uid
    assert (await read(arrays, "x")).tolist() == [2, 2, 2]
    assert await listed(arrays) == ["x"]
    late = arrays_pb2.ReadArrayChunkRequest(name=name("x"), index=[0], uid=old.uid)
    assert await refused(arrays.ReadArrayChunk(late)) == "ETAG_MISMATCH"
    assert await refused(write_chunk(arrays, old, (0,), 9, uid=old.uid)) == "ETAG_MISMATCH"
    unknown = arrays_pb2.CommitArrayRequest(name=name("x"), uid="0" * 26)
    assert await refused(arrays.CommitArray(unknown)) == "RESOURCE_NOT_FOUND"


async def test_a_staged_array_can_be_thrown_away(arrays: Stub) -> None:
    kept = await make(arrays, "x", (1,))
    staged = await make(arrays, "x", (1,), staged=True)
    await arrays.DeleteArray(arrays_pb2.DeleteArrayRequest(name=name("x"), uid=staged.uid))
    commit = arrays_pb2.CommitArrayRequest(name=name("x"), uid=staged.uid)
    assert await refused(arrays.CommitArray(commit)) == "RESOURCE_NOT_FOUND"
    assert (await get(arrays, "x")).uid == kept.uid


async def test_a_deleted_array_is_gone_and_its_name_is_free(arrays: Stub) -> None:
    made = await make(arrays, "x", (2,), chunks=(2,))
    await write_chunk(arrays, made, (0,), 5)
    wrong = arrays_pb2.DeleteArrayRequest(name=name("x"), etag="other")
    assert await refused(arrays.DeleteArray(wrong)) == "ETAG_MISMATCH"
    request = arrays_pb2.DeleteArrayRequest(name=name("x"), etag=made.etag)
    await arrays.DeleteArray(request)
    await arrays.DeleteArray(request)
    assert await refused(get(arrays, "x")) == "RESOURCE_NOT_FOUND"
    assert await refused(read(arrays, "x")) == "RESOURCE_NOT_FOUND"
    again = await make(arrays, "x", (2,), chunks=(2,))
    assert again.uid != made.uid
    assert (await read(arrays, "x")).tolist() == [0, 0]


async def test_attributes_and_names_of_axes_change_and_the_etag_with_them(arrays: Stub) -> None:
    made = await make(arrays, "x", (2,), attributes=common_pb2.Document(json='{"a":1,"b":2}'))
    request = arrays_pb2.UpdateArrayRequest(
        array=arrays_pb2.Array(name=made.name, etag=made.etag, dimension_names=["time"]),
        attributes_patch=common_pb2.Document(json='{"b":null,"c":3}'),
        document_form=common_pb2.DOCUMENT_FORM_JSON,
    )
    changed = await arrays.UpdateArray(request)
    assert json.loads(changed.attributes.json) == {"a": 1, "c": 3}
    assert json.loads(changed.zarr_metadata)["dimension_names"] == ["time"]
    assert changed.etag != made.etag
    assert await refused(arrays.UpdateArray(request)) == "ETAG_MISMATCH"
    request = arrays_pb2.UpdateArrayRequest(array=arrays_pb2.Array(name=made.name, dimension_names=["a", "b"]))
    assert await refused(arrays.UpdateArray(request)) == "FIELD_INVALID"
    request = arrays_pb2.UpdateArrayRequest(array=arrays_pb2.Array(name=made.name))
    request.update_mask.paths.append("shape")
    assert await refused(arrays.UpdateArray(request)) == "FIELD_INVALID"


async def test_attributes_are_replaced_or_patched_not_both(arrays: Stub) -> None:
    made = await make(arrays, "x", (2,))
    document = common_pb2.Document(json='{"a":1}')
    both = arrays_pb2.UpdateArrayRequest(
        array=arrays_pb2.Array(name=made.name, attributes=document), attributes_patch=document
    )
    assert await refused(arrays.UpdateArray(both)) == "FIELD_INVALID"
    assert (await get(arrays, "x")).etag == made.etag


async def test_arrays_of_a_sealed_dataset_are_read_and_never_change_again(
    arrays: Stub, channel: grpc.aio.Channel
) -> None:
    made = await make(arrays, "x", (4,), chunks=(3,))
    await write(arrays, "x", (), values := np.arange(4, dtype="int32"))
    writer = Writer(arrays, made)
    await writer.open()
    datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
    await datasets.SealDataset(datasets_pb2.SealDatasetRequest(name=DATASET))
    before = await get(arrays, "x")
    await writer.put(1, (0,), 9)
    changes: list[Awaitable[Any]] = [
        writer.drained(),
        Writer(arrays, made, append=True).open_and_drain(),
        write_chunk(arrays, made, (1,), 9),
        write(arrays, "x", (slice(0, 1),), values[:1]),
        append(arrays, "x", values),
        arrays.ResizeArray(arrays_pb2.ResizeArrayRequest(name=made.name, shape=[2])),
        arrays.DeleteArray(arrays_pb2.DeleteArrayRequest(name=made.name)),
        arrays.UpdateArray(
            arrays_pb2.UpdateArrayRequest(array=arrays_pb2.Array(name=made.name, dimension_names=["a"]))
        ),
        make(arrays, "y", (1,)),
    ]
    for change in changes:
        assert await refused(change) == "DATASET_SEALED"
    assert await get(arrays, "x") == before
    assert (await read(arrays, "x") == values).all()


async def test_a_resize_shows_fill_and_cuts_off_for_good(arrays: Stub) -> None:
    made = await make(arrays, "x", (4,), chunks=(4,))
    await write_chunk(arrays, made, (0,), [1, 2, 3, 4])
    for shape, expected in (((6,), [1, 2, 3, 4, 0, 0]), ((2,), [1, 2]), ((4,), [1, 2, 0, 0])):
        request = arrays_pb2.ResizeArrayRequest(name=name("x"), shape=shape)
        assert list((await arrays.ResizeArray(request)).shape) == list(shape)
        assert (await read(arrays, "x")).tolist() == expected
    stale = arrays_pb2.ResizeArrayRequest(name=name("x"), shape=[9], etag=made.etag)
    assert await refused(arrays.ResizeArray(stale)) == "ETAG_MISMATCH"
    wrong = arrays_pb2.ResizeArrayRequest(name=name("x"), shape=[2, 2])
    assert await refused(arrays.ResizeArray(wrong)) == "FIELD_INVALID"


async def test_a_chunk_is_written_read_in_parts_replaced_and_removed(arrays: Stub) -> None:
    made = await make(arrays, "x", (10,), "uint8", (4,))
    first = await write_chunk(arrays, made, (1,), 7, if_chunk_etag="")
    assert await refused(write_chunk(arrays, made, (1,), 8, if_chunk_etag="")) == "ETAG_MISMATCH"
    second = await write_chunk(arrays, made, (1,), 8, if_chunk_etag=first)
    assert second != first
    assert await refused(write_chunk(arrays, made, (1,), 9, if_chunk_etag=first)) == "ETAG_MISMATCH"
    head, data = unpack(await arrays.ReadArrayChunk(arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[1])))
    assert bytes(data) == encoded(made, 8)
    assert (head.chunk_size, head.crc32c, head.chunk_etag) == (8, crc(bytes(data)), second)
    rest = arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[1], part_offset=5, chunk_etag=second)
    head, data = unpack(await arrays.ReadArrayChunk(rest))
    assert (head.part_offset, bytes(data)) == (5, encoded(made, 8)[5:])
    rest.chunk_etag = first
    assert await refused(arrays.ReadArrayChunk(rest)) == "ETAG_MISMATCH"
    rest = arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[1], part_offset=9)
    assert await refused(arrays.ReadArrayChunk(rest)) == "BEYOND_END"
    remove = arrays_pb2.WriteArrayChunkRequest(name=made.name, index=[1], remove=True, if_chunk_etag=second)
    assert (await arrays.WriteArrayChunk(pack(remove))).chunk_etag == ""
    head, data = unpack(await arrays.ReadArrayChunk(arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[1])))
    assert (head.chunk_size, head.chunk_etag, len(data)) == (0, "", 0)
    assert (await get(arrays, "x")).stored_bytes == 0


async def test_damaged_bytes_are_refused_and_nothing_is_stored(arrays: Stub) -> None:
    made = await make(arrays, "x", (4,), chunks=(4,))
    request = arrays_pb2.WriteArrayChunkRequest(name=made.name, index=[0], crc32c=1)
    assert await refused(arrays.WriteArrayChunk(pack(request, encoded(made, 3)))) == "CHECKSUM_MISMATCH"
    assert [size async for *_, size in chunks(arrays, name=made.name, indexes=[0])] == [b""]


async def test_written_chunks_are_listed_in_order_page_by_page(arrays: Stub) -> None:
    made = await make(arrays, "x", (6, 6), chunks=(2, 2))
    written = [(2, 1), (0, 2), (1, 0), (0, 0)]
    etags = {index: await write_chunk(arrays, made, index, 1) for index in written}
    found, token = dict[tuple[int, ...], str](), ""
    while True:
        request = arrays_pb2.ListArrayChunksRequest(name=made.name, page_size=3, page_token=token)
        answer = await arrays.ListArrayChunks(request)
        assert all(chunk.size == len(encoded(made, 1)) for chunk in answer.chunks)
        found |= {tuple(chunk.index): chunk.chunk_etag for chunk in answer.chunks}
        if not (token := answer.next_page_token):
            break
    assert list(found) == sorted(written)
    assert found == etags
    assert (await get(arrays, "x")).stored_bytes == 4 * len(encoded(made, 1))


async def test_many_chunks_are_read_by_index_or_by_what_meets_a_selection(arrays: Stub) -> None:
    made = await make(arrays, "x", (5, 4), chunks=(2, 2))
    for index in ((0, 0), (0, 1), (2, 1)):
        await write_chunk(arrays, made, index, index[0] * 10 + index[1])
    asked = [2, 1, 0, 0, 1, 1]
    found = [(index, data) async for index, _, data in chunks(arrays, name=made.name, indexes=asked)]
    expected = [((2, 1), encoded(made, 21)), ((0, 0), encoded(made, 0)), ((1, 1), b"")]
    assert sorted(found) == sorted(expected)
    key = selection((slice(None, None, -3), 3))  # rows 4 and 1
    found = [(index, data) async for index, _, data in chunks(arrays, name=made.name, selection=key)]
    assert sorted(found) == [((0, 1), encoded(made, 1)), ((2, 1), encoded(made, 21))]
    none = arrays_pb2.ReadArrayChunksRequest(name=made.name, selection=selection((slice(0, 0),)))
    heads = [unpack(message).head async for message in arrays.ReadArrayChunks(none)]
    assert [head.array.name for head in heads] == [made.name]


async def test_a_chunk_larger_than_a_message_comes_in_parts(arrays: Stub) -> None:
    made = await make(arrays, "big", (5 * 2**20,), "uint8", (5 * 2**20,))
    data = encoded(made, 3)
    writer = Writer(arrays, made)
    await writer.open()
    for offset in range(0, len(data), 2**21):
        part = data[offset : offset + 2**21]
        await writer.send(1, (0,), part, chunk_size=len(data), part_offset=offset)
    assert await writer.end() == 1
    [(_, etag, found)] = [each async for each in chunks(arrays, name=made.name, indexes=[0])]
    assert found == data
    assert etag
    assert (pipeline(made).decode(found) == 3).all()
    head, first = unpack(await arrays.ReadArrayChunk(arrays_pb2.ReadArrayChunkRequest(name=made.name, index=[0])))
    assert (head.chunk_size, len(first)) == (len(data), 2**21)


def counted(server: Process, counter: str) -> float:
    """Return what a counter stands at, over all its labels."""
    families = text_string_to_metric_families(server.metrics.page().decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == counter)


@pytest.mark.parametrize("path", ["chunks", "elements"])
async def test_a_part_of_one_chunk_moves_about_one_chunk(arrays: Stub, server: Process, path: str) -> None:
    made = await make(arrays, "x", (4, 1024, 1024), "uint16", (1, 512, 512))
    values = np.arange(4 * 2**20, dtype="uint16").reshape(4, 1024, 1024)
    for plane in range(4):
        await write(arrays, "x", (plane,), values[plane])
    counters = ("measurand_blob_bytes_read_total", "measurand_bytes_sent_total")
    for key, chunk_count in (((2, slice(100, 110), slice(100, 110)), 1), ((3,), 4)):
        before = [counted(server, counter) for counter in counters]
        if path == "chunks":
            found = [each async for each in chunks(arrays, name=made.name, selection=selection(key))]
            assert len(found) == chunk_count
        else:
            assert (await read(arrays, "x", key) == values[key]).all()
        for counter, start in zip(counters, before, strict=True):
            assert 0 < counted(server, counter) - start <= chunk_count * 512 * 1024 + 64 * 1024


async def test_an_array_without_axes_has_one_chunk(arrays: Stub) -> None:
    made = await make(arrays, "zero", (), "float64")
    assert (await read(arrays, "zero")).shape == ()
    await write_chunk(arrays, made, (), 2.5)
    assert (await read(arrays, "zero")).item() == 2.5
    assert [index async for index, *_ in chunks(arrays, name=made.name)] == [()]
    answer = await arrays.ListArrayChunks(arrays_pb2.ListArrayChunksRequest(name=made.name))
    assert [list(chunk.index) for chunk in answer.chunks] == [[]]
