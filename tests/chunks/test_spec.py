"""What an array may be, how it is cut by default, and its `zarr.json`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, cast

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from measurand.chunks import chains, data_types
from measurand.chunks.grid import Grid, chunk_key
from measurand.chunks.spec import (
    ArraySpec,
    block_shape,
    check,
    completed,
    default_chunk_shape,
    group_json,
    item_bytes,
    spec_of,
    zarr_json,
)
from measurand.wire.errors import InvalidArgument

SPEC = completed(
    ArraySpec((10, 20), "float64", (5, 20), dimension_names=("f", ""), attributes={"units": "µV", "n": [1, None]})
)


def test_what_is_left_open_is_chosen() -> None:
    spec = completed(ArraySpec((60, 1065, 1030), "float32"))
    assert spec.chunk_shape == (1, 213, 1030)
    assert spec.fill_value == bytes.fromhex("0000c07f")
    assert [codec["name"] for codec in json.loads(spec.codecs)] == ["bytes", "blosc", "crc32c"]
    assert completed(spec) == spec


def test_zarr_json_comes_back() -> None:
    assert spec_of(zarr_json(SPEC)) == SPEC


def test_zarr_python_reads_what_is_said_of_an_array() -> None:
    store = MemoryStore({"zarr.json": Buffer.from_bytes(zarr_json(SPEC).encode())})
    array = zarr.open_array(store, mode="r")
    assert array.shape == (10, 20)
    assert array.chunks == (5, 20)
    assert array.metadata.dimension_names == ("f", None)  # type: ignore[union-attr]  # it is of version 3
    assert dict(array.attrs) == SPEC.attributes


def test_zarr_python_reads_a_consolidated_group() -> None:
    members = {"entry": None, "entry/data": SPEC, "iq": replace(SPEC, attributes={})}
    store = MemoryStore({"zarr.json": Buffer.from_bytes(group_json({"title": "run"}, members).encode())})
    group = zarr.open_group(store, mode="r", use_consolidated=True)
    assert dict(group.attrs) == {"title": "run"}
    array = group["entry/data"]
    assert isinstance(array, zarr.Array)
    assert array.shape == (10, 20)
    assert json.loads(group_json()) == {"zarr_format": 3, "node_type": "group", "attributes": {}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shape": (1,) * 33, "chunk_shape": (1,) * 33}, "shape"),
        ({"shape": (2**32, 2**31)}, "shape"),
        ({"shape": (-1, 2)}, "shape"),
        ({"shape": (0, 2**63)}, "shape"),
        ({"chunk_shape": (5,)}, "chunk_shape"),
        ({"chunk_shape": (0, 20)}, "chunk_shape"),
        ({"chunk_shape": (4097, 4096)}, "chunk_shape"),
        ({"data_type": "float128"}, "data_type"),
        ({"data_type": "r7"}, "data_type"),
        ({"data_type": "r0"}, "data_type"),
        ({"data_type": "{"}, "data_type"),
        ({"data_type": "[" * 100_000}, "data_type"),
        ({"data_type": '{"name":' * 5000}, "data_type"),
        ({"data_type": '{"name": "numpy.datetime64"}'}, "data_type"),
        ({"data_type": '{"name": "numpy.datetime64", "configuration": {"unit": "x", "scale_factor": 1}}'}, "data_type"),
        ({"data_type": '{"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 0}}'}, "data_type"),
        ({"data_type": '{"name": "fixed_length_utf32", "configuration": {"length_bytes": 7}}'}, "data_type"),
        ({"data_type": '{"name": "null_terminated_bytes", "configuration": {"length_bytes": true}}'}, "data_type"),
        ({"data_type": '{"name": "structured", "configuration": {"fields": [["a", "string"]]}}'}, "data_type"),
        ({"data_type": '{"name": "structured", "configuration": {"fields": []}}'}, "data_type"),
        (
            {"data_type": '{"name": "structured", "configuration": {"fields": [["a", "int8"], ["a", "int8"]]}}'},
            "data_type",
        ),
        ({"fill_value": b"1234567"}, "fill_value"),
        ({"codecs": ""}, "codecs"),
        ({"codecs": "{}"}, "codecs"),
        ({"codecs": "[]"}, "codecs"),
        ({"codecs": '[{"name": "zstd"}]'}, "codecs"),
        ({"codecs": '[{"name": "bytes", "configuration": {"endian": "big"}}]'}, "codecs"),
        ({"codecs": '[{"name": "vlen-utf8"}]'}, "codecs"),
        ({"codecs": '[{"name": "bytes"}, {"name": "lzma"}]'}, "codecs"),
        (
            {"codecs": '[{"name": "bytes"}, {"name": "crc32c"}, {"name": "gzip", "configuration": {"level": 1}}]'},
            "codecs",
        ),
        ({"codecs": '[{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 10}}]'}, "codecs"),
        ({"codecs": '[{"name": "bytes"}, {"name": "blosc", "configuration": {"cname": "lz4"}}]'}, "codecs"),
        ({"codecs": chains.named("lz4", data_types.parse("float64")).replace("lz4", "snappy")}, "codecs"),
        ({"codecs": chains.sharded((2, 20), chains.named("none", data_types.parse("float64")))}, "codecs"),
        ({"codecs": chains.sharded((5,), chains.named("none", data_types.parse("float64")))}, "codecs"),
        ({"dimension_names": ("f",)}, "dimension_names"),
        ({"attributes": {"a": "x" * 65536}}, "attributes"),
        ({"attributes": {"a": float("nan")}}, "attributes"),
        ({"attributes": {"a": object()}}, "attributes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_what_cannot_be_stored_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(replace(SPEC, **change))
    assert caught.value.details == {"field": field}
    assert str(caught.value).startswith(f"{field}: ")


def test_what_is_allowed_at_the_edge() -> None:
    check(replace(SPEC, shape=(2**62, 1)))
    check(replace(SPEC, shape=(0, 2**62)))
    check(replace(SPEC, chunk_shape=(4096, 4096)))
    check(replace(SPEC, fill_value=b""))
    check(completed(ArraySpec((1,) * 32, "bool")))
    check(completed(ArraySpec((), "string")))
    check(replace(SPEC, codecs='[{"name": "bytes", "configuration": {"endian": "little"}}]'))
    check(replace(SPEC, codecs='["bytes", "crc32c"]'))


def test_both_ways_of_saying_raw_bytes_are_one() -> None:
    text = zarr_json(completed(ArraySpec((3,), "r24", fill_value=b"abc")))
    assert json.loads(text)["data_type"] == {"name": "raw_bytes", "configuration": {"length_bytes": 3}}
    form = json.loads(text) | {"data_type": "r24", "fill_value": [97, 98, 99]}  # as the specification has it
    assert spec_of(text) == spec_of(json.dumps(form))
    assert spec_of(text).data_type == "r24"
    assert item_bytes("r24") == 3


@pytest.mark.parametrize(
    "change",
    [
        {"zarr_format": 2},
        {"node_type": "group"},
        {"chunk_grid": {"name": "rectilinear"}},
        {"chunk_key_encoding": {"name": "v2"}},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
        {"storage_transformers": [{"name": "x"}]},
        {"shape": [1.5, 2]},
        {"shape": None},
    ],
)
def test_a_zarr_json_of_another_sort_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        spec_of(json.dumps(json.loads(zarr_json(SPEC)) | change))
    assert caught.value.details == {"field": "zarr_metadata"}


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{", "[" * 100_000, json.dumps({"zarr_format": 3})], ids=lambda text: text[:10]
)
def test_what_is_no_zarr_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        spec_of(text)


FIELDS = st.sampled_from(
    [
        *("data_type", "codecs", "fill_value", "chunk_grid"),
        *("chunk_key_encoding", "dimension_names", "attributes", "shape"),
    ]
)
KEYS = st.sampled_from(
    ["name", "configuration", "fields", "codecs", "chunk_shape", "length_bytes", "unit", "level", "endian"]
)
FORMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(FORMS, FIELDS)
def test_nothing_that_is_said_of_an_array_is_a_crash(form: object, field: str) -> None:
    try:
        spec = spec_of(json.dumps(json.loads(zarr_json(SPEC)) | {field: form}))
    except InvalidArgument:
        return
    check(replace(spec, attributes={}))


def test_attributes_that_zarr_python_writes_are_read() -> None:
    text = zarr_json(SPEC).replace('"µV"', "NaN")
    assert math.isnan(cast("float", spec_of(text).attributes["units"]))


@given(st.lists(st.integers(0, 10**7), max_size=6).map(tuple), st.integers(1, 2**21))
def test_default_chunks_are_about_a_mebibyte(shape: tuple[int, ...], size: int) -> None:
    chunks = default_chunk_shape(shape, size)
    assert len(chunks) == len(shape)
    assert all(chunk >= 1 for chunk in chunks)
    elements = math.prod(chunks)
    assert elements * size <= max(2**20, size)
    if (
        math.prod(shape) * size >= 2**20 and shape
    ):  # half of it at least, unless the pieces would not be of equal length
        assert elements * size * 3 >= 2**20 or size > 2**18
    cut = [axis for axis, length in enumerate(shape) if length and chunks[axis] < length]
    assert all(chunks[axis] == 1 for axis in range(min(cut[-1:], default=0)) if shape[axis])


def test_default_chunks_of_usual_arrays() -> None:
    assert default_chunk_shape((), 8) == ()
    assert default_chunk_shape((0,), 8) == (131072,)
    assert default_chunk_shape((0, 1024), 2) == (512, 1024)
    assert default_chunk_shape((100, 2048, 2048), 2) == (1, 256, 2048)
    assert default_chunk_shape((5,), 8) == (5,)
    assert default_chunk_shape((10**9,), 8) == (131062,)


@given(st.data())
def test_a_block_has_at_most_256_chunks_and_trailing_axes_first(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 10**6), max_size=5).map(tuple))
    chunks = tuple(data.draw(st.integers(1, 10**6)) for _ in shape)
    block = block_shape(shape, chunks)
    assert len(block) == len(shape)
    assert all(length >= 1 for length in block)
    assert math.prod(block) <= 256
    counts = Grid(shape, chunks).counts
    for axis in range(1, len(shape)):
        if block[axis] < counts[axis]:
            assert math.prod(block[:axis]) * block[axis] <= 256
            assert all(length == 1 for length in block[:axis]) or math.prod(block[axis:]) <= 128


def test_blocks_of_usual_arrays() -> None:
    assert block_shape((), ()) == ()
    assert block_shape((0,), (100,)) == (256,)
    assert block_shape((60, 1065, 1030), (1, 213, 1030)) == (51, 5, 1)
    assert block_shape((10, 10**6), (1, 1)) == (1, 256)


def test_the_grid() -> None:
    grid = Grid((5, 0, 7), (2, 3, 7))
    assert grid.counts == (3, 0, 1)
    assert grid.size == 0
    assert list(grid.indexes()) == []
    grid = Grid((5, 7), (2, 7))
    assert list(grid.indexes()) == [(0, 0), (1, 0), (2, 0)]
    assert grid.span((2, 0)) == (slice(4, 5), slice(0, 7))
    assert grid.contains((2, 0))
    assert not any(map(grid.contains, [(3, 0), (0, 1), (-1, 0), (0,), (0, 0, 0)]))
    assert (Grid((), ()).counts, Grid((), ()).size, list(Grid((), ()).indexes())) == ((), 1, [()])
    assert [chunk_key(index) for index in ((), (3,), (0, 12))] == ["c", "c/3", "c/0/12"]
