"""Chunks to bytes and back: every dtype and chain, side by side with zarr-python, and bytes that are damaged."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest
import zarr
import zarr.codecs
from tests.chunks.samples import DTYPES, TEXT, Array, bits, sample
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from measurand.chunks import chains, data_types
from measurand.chunks.codecs import Pipeline, choose
from measurand.chunks.dtypes import as_native, data_type_of, fill_bytes, filled
from measurand.chunks.grid import Grid, chunk_key
from measurand.chunks.spec import ArraySpec, completed, spec_of, zarr_json
from measurand.wire.errors import DataLoss, InvalidArgument

SHAPE, CHUNKS = (5, 7), (4, 6)
CHAINS = (*get_args(chains.Compressor), "sharded")


def codecs_of(name: Any, dtype: np.dtype[Any]) -> str:
    data_type = data_types.parse(data_type_of(dtype))
    if name == "sharded":
        return chains.sharded((2, 3), chains.named("lz4", data_type))
    return chains.named(name, data_type)


def array_spec(dtype: np.dtype[Any], name: str = "lz4", fill: bytes = b"", shape: tuple[int, ...] = SHAPE) -> ArraySpec:
    return completed(ArraySpec(shape, data_type_of(dtype), CHUNKS[: len(shape)], fill, codecs_of(name, dtype)))


def encoded(array: Array, spec: ArraySpec) -> dict[str, bytes]:
    """Return the Zarr array as a writer of ours makes it: keys and bytes."""
    grid, pipeline = Grid(spec.shape, spec.chunk_shape), Pipeline.of(spec)
    found = {"zarr.json": zarr_json(spec).encode()}
    for index in grid.indexes():
        chunk = pipeline.filled()
        part = np.asarray(array[grid.span(index)], array.dtype)
        chunk[tuple(slice(length) for length in part.shape)] = part
        found[chunk_key(index)] = pipeline.encode(chunk)
    return found


def decoded(keys: dict[str, bytes]) -> Array:
    """Return the array as a reader of ours puts it together."""
    spec = spec_of(keys["zarr.json"].decode())
    grid, pipeline = Grid(spec.shape, spec.chunk_shape), Pipeline.of(spec)
    array = filled(spec.shape, spec.fill_value, pipeline.dtype)
    for index in grid.indexes():
        if chunk_key(index) in keys:
            span = grid.span(index)
            chunk = pipeline.decode(keys[chunk_key(index)])
            array[span] = chunk[tuple(slice(place.stop - place.start) for place in span)]
    return array


def through_zarr(array: Array, keys: dict[str, bytes]) -> Array:
    """Return what zarr-python reads."""
    store = MemoryStore({key: Buffer.from_bytes(data) for key, data in keys.items()})
    opened = zarr.open_array(store, mode="r")
    assert opened.dtype == array.dtype
    return np.asarray(opened[...], array.dtype)  # zarr-python makes a scalar of an array without axes


def written_by_zarr(array: Array, spec: ArraySpec, **options: Any) -> dict[str, bytes]:
    """Return the keys and bytes that zarr-python writes."""
    store = MemoryStore()
    opened = zarr.create_array(
        store,
        shape=array.shape,
        dtype=array.dtype,
        config={"write_empty_chunks": True},
        **({"chunks": spec.chunk_shape} | options),
    )
    opened[...] = array
    everything = {key: sync(store.get(key, default_buffer_prototype())) for key in list(store._store_dict)}
    return {key: value.to_bytes() for key, value in everything.items() if value is not None}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let zarr-python use data types that no specification has yet, and times without a unit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=zarr.errors.UnstableSpecificationWarning)
        yield


@pytest.mark.parametrize(
    ("dtype", "chain"),
    [(dtype, chain) for dtype in DTYPES for chain in CHAINS if dtype.kind != "V" or chain != "sharded"],
    ids=str,
)
def test_every_dtype_comes_back_bit_by_bit_and_zarr_reads_it(dtype: np.dtype[Any], chain: str) -> None:
    array = sample(dtype, SHAPE)
    keys = encoded(array, array_spec(dtype, chain))
    assert bits(decoded(keys)) == bits(array)
    assert bits(through_zarr(array, keys)) == bits(array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compressors": None},
        {"compressors": (zarr.codecs.BloscCodec(cname="zstd", shuffle="bitshuffle"), zarr.codecs.Crc32cCodec())},
        {"compressors": zarr.codecs.GzipCodec()},
        {"shards": CHUNKS, "chunks": (2, 3)},
    ],
    ids=["zstd", "none", "blosc", "gzip", "shards"],
)
def test_what_zarr_writes_is_read(dtype: np.dtype[Any], options: dict[str, Any]) -> None:
    if dtype.kind == "V" and "shards" in options:
        with pytest.raises(InvalidArgument, match="zarr-python cannot read shards"):  # nor write them
            array_spec(dtype, "sharded")
        return
    array = sample(dtype, SHAPE)
    assert bits(decoded(written_by_zarr(array, array_spec(dtype), **options))) == bits(array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1)], ids=str)
def test_arrays_without_axes_or_elements(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape, seed=4)  # of a text without a zero at its end, which zarr-python loses there
    keys = encoded(array, array_spec(dtype, shape=shape))
    assert bits(decoded(keys)) == bits(array)
    assert bits(through_zarr(array, keys)) == bits(array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zarr_reads_the_same_fill(dtype: np.dtype[Any]) -> None:
    elements = sample(dtype, (3,), seed=4) if dtype != np.dtype("M8") else ()
    for element in (None, *elements):
        spec = array_spec(dtype, fill=fill_bytes(element, dtype))
        expected = filled(SHAPE, spec.fill_value, dtype)
        keys = {"zarr.json": zarr_json(spec).encode()}
        assert bits(decoded(keys)) == bits(expected)
        found = through_zarr(expected, keys)
        if dtype.kind in "fc":  # zarr-python takes payloads through a Python float
            assert np.array_equal(found, expected, equal_nan=True)
        else:
            assert bits(found) == bits(expected)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("value", [0x7FF0000000000001, 0x7FF8DEAD00000001, 0x8000000000000000])
def test_a_chunk_of_nothing_but_an_odd_value_comes_back(chain: str, value: int) -> None:
    array = np.full(SHAPE, value, "u8").view("f8")
    keys = encoded(array, array_spec(array.dtype, chain))
    assert len(keys) == 5
    assert bits(decoded(keys)) == bits(array)
    assert bits(through_zarr(array, keys)) == bits(array)


@pytest.mark.parametrize("dtype", ["u2", "c16", "U3", TEXT], ids=str)
@pytest.mark.parametrize("chain", CHAINS)
def test_decoding_into_memory_of_any_layout(dtype: Any, chain: str) -> None:
    spec = array_spec(np.dtype(dtype), chain)
    pipeline, chunk = Pipeline.of(spec), sample(np.dtype(dtype), CHUNKS)
    data = pipeline.encode(np.asfortranarray(chunk))
    wide = filled((8, 12), b"", chunk.dtype)
    for out in (np.empty_like(chunk), wide[::2, ::2], wide[4:, 6:], np.empty_like(chunk.T).T, wide[3::-1, 5::-1]):
        for form in (data, bytearray(data), memoryview(b"x" + data)[1:]):
            out[...] = filled(CHUNKS, b"", chunk.dtype)
            assert pipeline.decode(form, out) is out
            assert bits(out.copy(order="C")) == bits(chunk)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("dtype", ["u2", "f8", TEXT], ids=str)
def test_damaged_bytes_are_data_loss(dtype: Any, chain: str) -> None:
    pipeline = Pipeline.of(array_spec(np.dtype(dtype), chain))
    data = pipeline.encode(sample(np.dtype(dtype), CHUNKS))
    chance = random.Random(7)
    damaged = [data[:cut] for cut in range(len(data))] + [data + b"\0", b"\0" + data]
    for _ in range(300):
        flipped = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 30))):
            flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for wrong in damaged:
        if wrong != data:
            with pytest.raises(DataLoss, match="arrays/iq chunk 3 is damaged") as caught:
                pipeline.decode(wrong, resource="arrays/iq chunk 3")
            assert caught.value.details == {"resource": "arrays/iq chunk 3"}


@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip"])
@pytest.mark.parametrize("dtype", ["u2", TEXT], ids=str)
def test_damaged_bytes_without_a_checksum_never_crash(dtype: Any, codec: str) -> None:
    keys = {"blosc": json.loads(codecs_of("lz4", np.dtype(dtype)))[1]}
    keys["zstd"] = {"name": "zstd", "configuration": {"level": 1}}
    keys["gzip"] = {"name": "gzip", "configuration": {"level": 1}}
    first = json.loads(codecs_of("none", np.dtype(dtype)))[0]
    spec = completed(ArraySpec(SHAPE, data_type_of(dtype), CHUNKS, b"", json.dumps([first, keys[codec]])))
    pipeline, chunk = Pipeline.of(spec), sample(np.dtype(dtype), CHUNKS)
    data = pipeline.encode(chunk)
    assert bits(pipeline.decode(data)) == bits(chunk)
    chance = random.Random(3)
    for _ in range(400):
        wrong = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.choice((1, 2, 30))):
            if wrong:
                wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
        try:
            found = pipeline.decode(wrong)
        except DataLoss:
            continue
        assert found.shape == CHUNKS


def test_a_frame_that_does_not_say_its_size_is_read() -> None:
    spec = completed(
        ArraySpec(
            (8,), "uint8", (8,), b"", json.dumps([{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}])
        )
    )
    raw = bytes(range(8))
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x00" + (1 | len(raw) << 3).to_bytes(3, "little") + raw  # one raw block
    assert Pipeline.of(spec).decode(frame).tolist() == list(raw)
    with pytest.raises(DataLoss):
        Pipeline.of(spec).decode(frame.replace(b"\x41\x00\x00" + raw, b"\x39\x00\x00" + raw[:7]))


def test_a_size_that_is_a_lie_takes_no_memory() -> None:
    """A few bytes that promise terabytes are refused before anything is made for them."""
    text = Pipeline.of(completed(ArraySpec((4,), "string", (4,), b"", json.dumps([{"name": "vlen-utf8"}]))))
    with pytest.raises(DataLoss):
        text.decode(b"\xff\xff\xff\xff\x01\0\0\0a")
    for codec, data in (
        ("zstd", b"\x28\xb5\x2f\xfd\xe0" + (2**50).to_bytes(8, "little") + b"\x01\0\0"),
        (
            "blosc",
            bytes((2, 1, 33, 1)) + (2**31 - 1).to_bytes(4, "little") + bytes(4) + (20).to_bytes(4, "little") + bytes(4),
        ),
    ):
        configuration = {
            "zstd": {"level": 1},
            "blosc": json.loads(codecs_of("lz4", np.dtype("u1")))[1]["configuration"],
        }
        chain = [{"name": "vlen-utf8"}, {"name": codec, "configuration": configuration[codec]}]
        with pytest.raises(DataLoss, match="not so many"):
            Pipeline.of(completed(ArraySpec((4,), "string", (4,), b"", json.dumps(chain)))).decode(data)


def test_shards_say_where_their_chunks_lie() -> None:
    spec = array_spec(np.dtype("u2"), "sharded")
    pipeline, chunk = Pipeline.of(spec), sample(np.dtype("u2"), CHUNKS)
    data = pipeline.encode(chunk)
    ranges = pipeline.inner_ranges(data[-pipeline.index_size :], len(data))
    assert pipeline.inner is not None
    assert list(ranges) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for index, place in ranges.items():
        assert place is not None
        assert bits(pipeline.inner.decode(data[place])) == bits(chunk[pipeline.inner_grid.span(index)].copy())
    with pytest.raises(DataLoss):
        pipeline.inner_ranges(data[-pipeline.index_size - 1 : -1], len(data))


def test_chunks_that_a_shard_leaves_out_read_as_fill() -> None:
    fill = np.array(0x7FF8DEAD00000001, "u8").view("f8")
    spec = array_spec(np.dtype("f8"), "sharded", fill.tobytes())
    pipeline = Pipeline.of(spec)
    whole = pipeline.encode(np.ones(CHUNKS))
    empty = b"\xff" * (pipeline.index_size - 4)
    index = pipeline.encode(np.ones(CHUNKS))[-pipeline.index_size : -4]
    assert len(whole) > len(empty) == len(index)
    import google_crc32c

    shard = empty + google_crc32c.value(empty).to_bytes(4, "little")
    assert bits(pipeline.decode(shard)) == bits(pipeline.filled())


def test_many_threads_share_one_pipeline() -> None:
    pipeline = Pipeline.of(array_spec(np.dtype("f4")))
    chunks = [sample(np.dtype("f4"), CHUNKS, seed) for seed in range(64)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda chunk: pipeline.decode(pipeline.encode(chunk)), chunks))
    assert [bits(chunk) for chunk in found] == [bits(chunk) for chunk in chunks]


def test_the_same_pipeline_serves_arrays_that_differ_in_shape_only() -> None:
    one, other = array_spec(np.dtype("f4")), array_spec(np.dtype("f4"), shape=(9, 9))
    assert Pipeline.of(one) is Pipeline.of(other)


@pytest.mark.parametrize("chunk", [np.zeros((4, 5)), np.zeros(CHUNKS, "f4"), np.zeros(CHUNKS, ">f8"), np.zeros(())])
def test_a_chunk_of_another_shape_or_dtype_is_refused(chunk: Array) -> None:
    pipeline = Pipeline.of(array_spec(np.dtype("f8")))
    data = pipeline.encode(pipeline.filled())
    with pytest.raises(InvalidArgument):
        pipeline.encode(chunk)
    with pytest.raises(InvalidArgument):
        pipeline.decode(data, chunk)


def test_what_shrinks_is_compressed_and_noise_is_not() -> None:
    chance = np.random.default_rng(1)
    frames = chance.poisson(4, (3, 200, 200)).astype("u2")
    noise = np.frombuffer(chance.bytes(100_000), "u2")
    assert "blosc" in choose(frames, "uint16")
    assert "blosc" not in choose(noise, "uint16")
    assert "blosc" in choose(np.zeros((0,), "u2"), "uint16")
    assert "blosc" in choose(as_native(["some text"] * 500), "string")
    for codecs in (choose(frames, "uint16"), choose(noise, "uint16")):
        assert json.loads(codecs)[-1] == {"name": "crc32c"}
