"""What everybody finds who opens a sealed dataset without the service: zarr-python and xarray are the witnesses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.plain_places import PLAIN_PLACES, PlainStore
from tests.sealed_arrays import NAME, SealedDataset, same
from zarr.codecs import BloscCodec, Crc32cCodec

from measurand.core.arrays.layout import Layout
from measurand.core.principal import LOCAL_USER
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import DataLoss

CHAIN: dict[str, Any] = {"compressors": [BloscCodec(), Crc32cCodec()]}
DTYPES = [
    "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "M8[us]", "m8[ns]",
    "U5", "S3", "V4",
]  # fmt: skip


@pytest.fixture(params=PLAIN_PLACES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PlainStore]:
    store = PLAIN_PLACES[request.param](tmp_path)
    yield store
    await store.blobs.close()


@pytest.fixture
async def dataset(store: PlainStore) -> SealedDataset:
    return await SealedDataset(Memory(compile_pattern), store.blobs).make()


def layout_of(dataset: SealedDataset, store: PlainStore, **more: Any) -> Layout:
    return Layout(dataset.documents, make_means(ThreadPoolExecutor()), store.place, **more)


async def urls_of(dataset: SealedDataset, store: PlainStore) -> list[str]:
    """Return the URLs of all that can be made of a dataset: at once, and by publishing."""
    layout = layout_of(dataset, store)
    urls = [await layout.lay_out(dataset.name)]
    progress = await layout.publish(LOCAL_USER, dataset.name)
    assert progress.is_done and progress.chunks_done == progress.chunks_total
    return list(dict.fromkeys([*urls, progress.plain_url]))


async def check(dataset: SealedDataset, store: PlainStore, *, most: int = 2) -> None:
    """Compare what zarr-python reads with what was measured, by every URL."""
    urls = await urls_of(dataset, store)
    assert 1 <= len(urls) <= most

    def look() -> None:
        for url in urls:
            reader = store.reader(url)
            group = zarr.open_group(reader, mode="r")
            for path, values in dataset.arrays.items():
                array = group[path]
                assert isinstance(array, zarr.Array)
                assert same(np.asarray(array[...]), values), path
            reader.close()

    await asyncio.to_thread(look)


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return values of every bit pattern that the type has."""
    wanted = np.dtype(dtype)
    count = int(np.prod(shape))
    chance = np.random.default_rng(seed)
    match wanted.kind:
        case "b":
            return chance.integers(0, 2, shape).astype(bool)
        case "U":
            return np.array([f"µ{number}" for number in range(count)], wanted).reshape(shape)
    return np.frombuffer(chance.bytes(count * wanted.itemsize), wanted).reshape(shape)


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
async def test_every_type_is_there_bit_for_bit(dataset: SealedDataset, store: PlainStore) -> None:
    for at, dtype in enumerate(DTYPES):
        await dataset.add(
            f"types/of_{dtype.replace('?', 'b')}", numbers((5, 7), dtype), (2, 4), own=at % 2 == 0, **CHAIN
        )
    await check(dataset, store)


async def test_text_of_any_length(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("words", np.array(["", "µ", "a longer one"], np.dtypes.StringDType()), (2,))
    await check(dataset, store)


async def test_every_shape_is_there(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("scalar", np.array(3.25), ())
    await dataset.add("empty", np.zeros((0, 4), "i4"), (1, 4))
    await dataset.add("one", numbers((1,), "f8"), (1,))
    await dataset.add("five", numbers((3, 2, 3, 2, 3), "u2"), (2, 1, 2, 1, 2))
    await dataset.add("a/b/c/deep", numbers((4, 4), "f4"), (3, 3), own=True)
    await dataset.add("a/b/Größe (mm) #1 %20", numbers((4,), "f4"), (3,))
    await check(dataset, store)


async def test_chunks_that_were_never_written_read_as_the_fill_value(dataset: SealedDataset, store: PlainStore) -> None:
    values = numbers((9, 4), "f8")
    values = values.copy()
    values[3:6] = 7.5
    await dataset.add("holes", values, (3, 4), unwritten=[(1, 0)], fill_value=7.5)
    await dataset.add("nothing", np.full((4, 4), -1, "i2"), (2, 2), unwritten=[*np.ndindex(2, 2)], fill_value=-1)
    await check(dataset, store)


async def test_shards_are_chunks_like_others(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("sharded", numbers((16, 16), "u2"), (2, 2), shards=(8, 8))
    await check(dataset, store)


async def test_large_chunks_many_blocks_and_several_arrays(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("large", numbers((3, 1 << 18), "f8"), (1, 1 << 18), own=True, compressors=[Crc32cCodec()])
    await dataset.add("many", numbers((300,), "i4"), (1,), blocks=(7,))
    await check(dataset, store)


async def test_only_what_the_sealing_found_is_laid_out(dataset: SealedDataset, store: PlainStore) -> None:
    """Late writers leave index documents that nobody sealed, and chunks beyond the shape."""
    values = np.zeros((8, 2), "i4")
    values[:4] = 5
    await dataset.add("late", values, (2, 2), blocks=(2, 1), unwritten=[], unsealed=[(1, 0)], late={(9, 0): b"junk"})
    await check(dataset, store)
    assert not [name for name in store.files() if name.endswith("late/c/9/0")]


async def test_a_blob_that_holds_more_than_its_chunk_is_copied_in_part(
    dataset: SealedDataset, store: PlainStore
) -> None:
    """Of chunks that shared a blob the others were written again since."""
    await dataset.add("left", numbers((1, 1 << 18), "f8"), (1, 1 << 18), own=True, garbage=b"x" * 1000, **CHAIN)
    await check(dataset, store)


async def test_xarray_opens_it_with_coordinates_and_without(dataset: SealedDataset, store: PlainStore) -> None:
    iq = numbers((10, 6), "i4").astype("f8")
    await dataset.add("frequency", 4e9 + 1e8 * np.arange(10.0), (4,), dimension_names=["frequency"])
    await dataset.add("iq", iq, (4, 6), dimension_names=["frequency", "sample"])
    await dataset.add("unnamed", numbers((3, 3), "i2"), (2, 2))
    await dataset.add("half", numbers((10, 2), "i2"), (5, 2), dimension_names=["frequency", None])
    urls = await urls_of(dataset, store)

    def look() -> None:
        for url in urls:
            reader = store.reader(url)
            with xr.open_zarr(reader, chunks=None) as opened:
                assert opened.attrs["dataset"] == str(NAME)
                assert opened.attrs["title"] == "Night sweep"
                assert opened["iq"].dims == ("frequency", "sample")
                assert opened["iq"].attrs["unit"] == "V"
                line = opened["iq"].sel(frequency=4.4e9, method="nearest")
                assert np.array_equal(line.values, iq[4])
                assert len({*opened["unnamed"].dims, *opened["half"].dims, "sample"}) == 5
            reader.close()

    await asyncio.to_thread(look)


async def test_opening_is_one_read_of_metadata(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("entry/data/iq", numbers((4,), "f8"), (4,))
    await dataset.add("entry/time", numbers((4,), "f8"), (4,))
    (url, *_) = await urls_of(dataset, store)

    def look() -> None:
        reader = store.reader(url)
        group = zarr.open_consolidated(reader, mode="r")
        assert sorted(group.group_keys()) == ["entry"]
        assert sorted(zarr.open_consolidated(reader, mode="r", path="entry").array_keys()) == ["time"]
        assert sorted(zarr.open_consolidated(reader, mode="r", path="entry/data").array_keys()) == ["iq"]
        reader.close()

    await asyncio.to_thread(look)


async def test_damaged_bytes_are_not_copied(dataset: SealedDataset, store: PlainStore) -> None:
    array = await dataset.add("iq", numbers((4,), "f8"), (1,))
    found = await dataset.documents.find("array_chunks")
    (document,) = [item.document for item in found]
    chunks: Any = document.body["chunks"]
    chunks["2"][3] ^= 1
    await dataset.documents.replace("array_chunks", document, expected_revision=document.revision)
    layout = layout_of(dataset, store)
    with pytest.raises(DataLoss, match="iq/c/2"):  # a reference proves nothing, and its readers check
        await layout.publish(LOCAL_USER, array.name.parent)
    assert not [name for name in store.files() if name.endswith("run.zarr/zarr.json")]


async def test_removing_leaves_nothing_and_may_be_repeated(dataset: SealedDataset, store: PlainStore) -> None:
    await dataset.add("iq", numbers((40,), "f8"), (1,))
    other = await SealedDataset(dataset.documents, store.blobs, name=type(NAME)("lab", "run2")).make()
    await other.add("iq", numbers((4,), "f8"), (1,))
    await urls_of(dataset, store)
    kept = await urls_of(other, store)
    layout = layout_of(dataset, store)
    for _ in range(2):
        await layout.remove(NAME)
        assert not [name for name in store.files() if not name.startswith("lab/run2.")]
    await check(other, store)
    assert await urls_of(other, store) == kept[-1:]
    assert {blob.key async for blob in store.blobs.scan()}  # the blobs are the index's, and stay
