"""The store for zarr-python, over arrays in memory: what it lists, and what of a chunk it hands out."""

from __future__ import annotations

from collections.abc import Sequence

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from measurand.chunks.spec import ArraySpec, completed
from measurand.chunks.trees import tree_documents
from measurand.client.array_layouts import Layout, layout_of
from measurand.client.array_specs import message_of
from measurand.client.zarr_store import DatasetStore
from measurand.client.zarr_tree import Tree

SPEC = completed(ArraySpec(shape=(6, 4), data_type="uint8", chunk_shape=(2, 4)))


class InMemory:
    """Two arrays of which some chunks were written."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[int, ...], bytes] = {(0, 0): b"01234567", (2, 0): b"89"}
        self.fetched: list[tuple[int, ...]] = []

    def tree(self) -> Tree:
        specs = {"iq": SPEC, "entry/deep/a": SPEC}
        return Tree(tree_documents(specs, {"gain": 2}), {name: layout_of(message_of(SPEC, {})) for name in specs})

    def chunk(self, layout: Layout, index: Sequence[int]) -> bytes | None:
        self.fetched.append(tuple(index))
        return self.chunks.get(tuple(index))

    def written(self, layout: Layout) -> list[tuple[int, ...]]:
        return sorted(self.chunks)

    def close(self) -> None:
        pass


PROTOTYPE = default_buffer_prototype()


async def test_what_there_is_is_listed() -> None:
    store = DatasetStore(InMemory(), "catalogs/lab/datasets/run")
    assert [key async for key in store.list()] == [
        "entry/deep/a/c/0/0",
        "entry/deep/a/c/2/0",
        "entry/deep/a/zarr.json",
        "entry/deep/zarr.json",
        "entry/zarr.json",
        "iq/c/0/0",
        "iq/c/2/0",
        "iq/zarr.json",
        "zarr.json",
    ]
    for folder, inside in {
        "": ["entry", "iq", "zarr.json"],
        "entry": ["deep", "zarr.json"],
        "iq": ["c", "zarr.json"],
        "iq/c": ["0", "2"],
        "iq/c/2": ["0"],
        "nothing": [],
    }.items():
        assert [name async for name in store.list_dir(folder)] == inside, folder
    assert [key async for key in store.list_prefix("iq/c/2")] == ["iq/c/2/0"]


async def test_what_exists_is_known() -> None:
    store = DatasetStore(InMemory(), "catalogs/lab/datasets/run")
    there = {
        **{"zarr.json": True, "iq/zarr.json": True, "iq/c/0/0": True, "entry/deep/a/c/2/0": True},
        **{"iq/c/1/0": False, "iq/c/9/0": False, "iq/c/0": False, "iq/c/x/0": False, "iq": False, "b/c/0/0": False},
    }
    assert {key: await store.exists(key) for key in there} == there


async def test_parts_of_a_chunk_are_handed_out() -> None:
    store = DatasetStore(InMemory(), "catalogs/lab/datasets/run")
    wanted = {
        b"01234567": None,
        b"23": RangeByteRequest(2, 4),
        b"67": SuffixByteRequest(2),
        b"567": OffsetByteRequest(5),
    }
    for expected, part in wanted.items():
        found = await store.get("iq/c/0/0", PROTOTYPE, part)
        assert found is not None and found.to_bytes() == expected
    several = await store.get_partial_values(PROTOTYPE, [("iq/c/0/0", RangeByteRequest(0, 1)), ("iq/c/1/0", None)])
    assert [part and part.to_bytes() for part in several] == [b"0", None]


async def test_the_parts_of_a_shard_are_of_the_write_that_its_index_was_of() -> None:
    arrays = InMemory()
    store = DatasetStore(arrays, "catalogs/lab/datasets/run")
    await store.get("iq/c/0/0", PROTOTYPE, SuffixByteRequest(2))
    arrays.chunks[0, 0] = b"abcdefgh"
    part = await store.get("iq/c/0/0", PROTOTYPE, RangeByteRequest(0, 2))
    assert part is not None and part.to_bytes() == b"01"
    assert arrays.fetched == [(0, 0)]
    index = await store.get("iq/c/0/0", PROTOTYPE, SuffixByteRequest(2))
    assert index is not None and index.to_bytes() == b"gh"
