"""Arrays are made, committed, changed, resized, sealed and deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.array_rooms import ArrayRooms
from tests.core.rooms import make_rooms, prepare

from measurand.core.arrays.attributes import ArrayEdit
from measurand.core.arrays.blocks import BLOCKS
from measurand.core.arrays.documents import ARRAYS, STAGED, Array
from measurand.core.arrays.listing import WrittenChunk
from measurand.core.arrays.making import NewArray
from measurand.core.arrays.sealing_arrays import SealedArrays
from measurand.core.names import ArrayName, DatasetName
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NameInvalid,
    NotFound,
    RequestIdReused,
    Sealed,
    TooLarge,
)

HOUR = timedelta(hours=1)


async def begin() -> ArrayRooms:
    rooms = make_rooms()
    await prepare(rooms)
    return ArrayRooms(rooms)


async def names(rooms: ArrayRooms, prefix: str = "") -> list[str]:
    page = await rooms.arrays.page(LOCAL_USER, rooms.rooms.name, prefix=prefix)
    return [array.name.array for array in page.arrays]


async def count(rooms: ArrayRooms, collection: str) -> int:
    return await rooms.rooms.documents.count(collection)


async def test_an_array_is_made_with_what_was_left_open_chosen() -> None:
    rooms = await begin()
    draft = NewArray("entry/data", (10, 1000), "float32", attributes={"unit": "V"}, dimension_names=("f", "t"))
    made = await rooms.arrays.create(LOCAL_USER, rooms.rooms.name, draft)
    assert made == await rooms.arrays.get(LOCAL_USER, made.name)
    assert (made.shape, made.chunk_shape, made.attributes) == ((10, 1000), (10, 1000), '{"unit":"V"}')
    assert made.etag == f"{made.uid}-1"
    assert await names(rooms) == ["entry/data"]
    assert await rooms.arrays.stored_bytes(made) == 0


@pytest.mark.parametrize("array_id", ["", "a//b", "../a", "__x", "a/__x", "a\nb", "x" * 513, "/".join("a" * 17)])
async def test_a_name_that_zarr_could_not_have_is_refused(array_id: str) -> None:
    rooms = await begin()
    with pytest.raises(NameInvalid):
        await rooms.create(array_id)
    assert await count(rooms, ARRAYS) == 0


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"shape": (-1,)}, "shape"),
        ({"chunk_shape": (0,)}, "chunk_shape"),
        ({"data_type": "object"}, "data_type"),
        ({"codecs": "[]"}, "codecs"),
        ({"fill_value": b"123"}, "fill_value"),
        ({"dimension_names": ("a", "b")}, "dimension_names"),
        ({"dimension_names": ("a" * 256,)}, "dimension_names"),
    ],
)
async def test_what_cannot_be_stored_is_refused(more: dict[str, object], field: str) -> None:
    rooms = await begin()
    draft = replace(NewArray("a", (4,), "uint8"), **more)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refused:
        await rooms.arrays.create(LOCAL_USER, rooms.rooms.name, draft)
    assert field in refused.value.details["field"]
    assert await count(rooms, ARRAYS) == 0


async def test_attributes_have_at_most_64_kib() -> None:
    rooms = await begin()
    with pytest.raises(TooLarge):
        await rooms.create(attributes={"x": "y" * 65536})
    array = await rooms.create(attributes={"x": "y" * 60000})
    with pytest.raises(TooLarge):
        await rooms.arrays.update(LOCAL_USER, array.name, ArrayEdit(patch={"z": "y" * 10000}))


async def test_a_name_cannot_be_both_an_array_and_a_group() -> None:
    rooms = await begin()
    await rooms.create("a/b")
    for taken in ("a", "a/b", "a/b/c", "a/b/c/d"):
        with pytest.raises(AlreadyExists):
            await rooms.create(taken)
    await rooms.create("a/bc")
    await rooms.create("ab")
    staged = await rooms.create("a", staged=True)
    with pytest.raises(AlreadyExists):
        await rooms.arrays.commit(LOCAL_USER, staged.name, staged.uid)
    assert await names(rooms) == ["a/b", "a/bc", "ab"]
    assert await names(rooms, "a/") == ["a/b", "a/bc"]


@pytest.mark.parametrize("staged", [False, True])
async def test_a_repeated_request_gives_the_first_array(staged: bool) -> None:
    rooms = await begin()
    draft = NewArray("a", (4,), "uint8")

    async def create(draft: NewArray) -> Array:
        return await rooms.arrays.create(LOCAL_USER, rooms.rooms.name, draft, staged=staged, request_id="once")

    first = await create(draft)
    assert await create(draft) == first
    with pytest.raises(RequestIdReused):
        await create(replace(draft, shape=(5,)))


async def test_a_staged_array_is_seen_when_it_is_committed() -> None:
    rooms = await begin()
    old = await rooms.create()
    await rooms.write(old, (0,), b"old")
    new = await rooms.create(staged=True)
    await rooms.write(new, (0,), b"new")
    assert new.expire_time is not None
    assert await rooms.arrays.get(LOCAL_USER, old.name) == old
    with pytest.raises(Conflict):
        await rooms.arrays.commit(LOCAL_USER, new.name, new.uid, if_etag="")
    shown = await rooms.arrays.commit(LOCAL_USER, new.name, new.uid, if_etag=old.etag)
    assert (shown.uid, shown.expire_time) == (new.uid, None)
    assert await rooms.arrays.commit(LOCAL_USER, new.name, new.uid, if_etag=old.etag) == shown
    assert await rooms.read(shown, (0,)) == [b"new"]
    with pytest.raises(Conflict):
        await rooms.arrays.require(LOCAL_USER, old.name, old.uid)
    assert await count(rooms, BLOCKS) == 2  # who reads the old one may end
    rooms.rooms.clock.move(HOUR)
    assert await rooms.arrays.expire() == 1
    assert (await count(rooms, BLOCKS), await count(rooms, STAGED)) == (1, 0)
    assert await rooms.read(shown, (0,)) == [b"new"]


async def test_a_commit_whose_answer_was_lost_is_not_undone_by_who_came_next() -> None:
    rooms = await begin()
    first, second = await rooms.create(staged=True), await rooms.create(staged=True)
    shown = await rooms.arrays.commit(LOCAL_USER, first.name, first.uid)
    await rooms.arrays.commit(LOCAL_USER, second.name, second.uid)
    again = await rooms.arrays.commit(LOCAL_USER, first.name, first.uid)
    assert (again.uid, again.expire_time) == (shown.uid, None)
    assert (await rooms.arrays.get(LOCAL_USER, first.name)).uid == second.uid


async def test_a_commit_on_condition_that_there_is_none() -> None:
    rooms = await begin()
    staged = await rooms.create(staged=True)
    with pytest.raises(Conflict):
        await rooms.arrays.commit(LOCAL_USER, staged.name, staged.uid, if_etag="other")
    assert (await rooms.arrays.commit(LOCAL_USER, staged.name, staged.uid, if_etag="")).uid == staged.uid


async def test_a_staged_array_that_nobody_writes_to_goes_after_a_day() -> None:
    rooms = await begin()
    left, written = await rooms.create("left", staged=True), await rooms.create("written", staged=True)
    await rooms.write(left, (0,), b"x")
    rooms.rooms.clock.move(timedelta(hours=20))
    await rooms.write(written, (0,), b"x")
    rooms.rooms.clock.move(timedelta(hours=5))
    assert await rooms.arrays.expire() == 1
    with pytest.raises(NotFound):
        await rooms.arrays.commit(LOCAL_USER, left.name, left.uid)
    with pytest.raises(NotFound):
        await rooms.write(left, (0,), b"y")
    rooms.rooms.clock.move(HOUR)
    assert await rooms.arrays.expire() == 1
    assert (await count(rooms, STAGED), await count(rooms, BLOCKS)) == (1, 1)
    await rooms.arrays.commit(LOCAL_USER, written.name, written.uid)
    assert await rooms.read(written, (0,)) == [b"x"]


async def test_a_staged_array_can_be_thrown_away() -> None:
    rooms = await begin()
    shown = await rooms.create()
    staged = await rooms.create(staged=True)
    for _ in range(2):
        await rooms.arrays.delete(LOCAL_USER, staged.name, uid=staged.uid)
    with pytest.raises(NotFound):
        await rooms.arrays.commit(LOCAL_USER, staged.name, staged.uid)
    await rooms.arrays.delete(LOCAL_USER, shown.name, uid=shown.uid)  # it is not staged
    assert await names(rooms) == ["a"]


async def test_deleting_hides_at_once_makes_a_revision_and_can_be_repeated() -> None:
    rooms = await begin()
    array = await rooms.create()
    await rooms.write(array, (0,), b"x")
    with pytest.raises(Conflict):
        await rooms.arrays.delete(LOCAL_USER, array.name, etag="other")
    before = await rooms.rooms.datasets.get(LOCAL_USER, rooms.rooms.name)
    for _ in range(2):
        await rooms.arrays.delete(LOCAL_USER, array.name, etag=array.etag)
    after = await rooms.rooms.datasets.get(LOCAL_USER, rooms.rooms.name)
    assert after.revision == before.revision + 1
    assert await names(rooms) == []
    for uid in ("", array.uid):
        with pytest.raises(NotFound):
            await rooms.arrays.require(LOCAL_USER, array.name, uid)
    again = await rooms.create()
    assert await rooms.read(again) == [None] * 4
    rooms.rooms.clock.move(HOUR)
    assert await rooms.arrays.expire() == 1
    assert (await count(rooms, STAGED), await count(rooms, BLOCKS)) == (0, 0)


async def test_an_array_that_an_interrupted_deletion_left_in_sight_keeps_its_chunks() -> None:
    rooms = await begin()
    array = await rooms.create()
    await rooms.write(array, (0,), b"x")
    await rooms.arrays._expiring.drop(array)
    rooms.rooms.clock.move(2 * HOUR)
    await rooms.arrays.expire()
    assert await rooms.read(array, (0,)) == [b"x"]
    assert await count(rooms, STAGED) == 0


async def test_attributes_and_names_of_axes_change_and_nothing_else_does() -> None:
    rooms = await begin()
    array = await rooms.create(attributes={"a": 1, "b": 2})
    edit = ArrayEdit(fields=("dimension_names",), dimension_names=("t",), patch={"b": None, "c": 3})
    new = await rooms.arrays.update(LOCAL_USER, array.name, edit, etag=array.etag, request_id="once")
    assert (new.attributes, new.dimension_names, new.version) == ('{"a":1,"c":3}', ("t",), 2)
    assert await rooms.arrays.update(LOCAL_USER, array.name, edit, etag=array.etag, request_id="once") == new
    with pytest.raises(Conflict):
        await rooms.arrays.update(LOCAL_USER, array.name, edit, etag=array.etag)
    same = await rooms.arrays.update(LOCAL_USER, array.name, edit)
    assert same.etag == new.etag  # a change that changes nothing
    for wrong in (
        ArrayEdit(fields=("shape",)),
        ArrayEdit(fields=("dimension_names",), dimension_names=("a", "b")),
        ArrayEdit(fields=("attributes",), patch={}),
    ):
        with pytest.raises(InvalidArgument):
            await rooms.arrays.update(LOCAL_USER, array.name, wrong)
    replaced = await rooms.arrays.update(LOCAL_USER, array.name, ArrayEdit(fields=("attributes",)))
    assert replaced.attributes == "{}"


async def test_nothing_is_made_in_a_dataset_that_is_gone() -> None:
    rooms = await begin()
    with pytest.raises(NotFound):
        await rooms.arrays.create(LOCAL_USER, DatasetName("lab", "other"), NewArray("a", (1,), "uint8"))
    array = await rooms.create()
    await rooms.rooms.datasets.delete(LOCAL_USER, rooms.rooms.name)
    for call in (rooms.create("b"), rooms.arrays.get(LOCAL_USER, array.name), rooms.create("c", staged=True)):
        with pytest.raises(NotFound):
            await call


# ------------------------------------------------------------------------------------------------------------- sealing


async def seal(rooms: ArrayRooms) -> None:
    await rooms.rooms.sealing.seal(LOCAL_USER, rooms.rooms.name)


async def test_a_sealed_array_does_not_change_and_can_be_read() -> None:
    rooms = await begin()
    array = await rooms.create()
    staged = await rooms.create(staged=True)
    await rooms.write(array, (0,), b"x")
    await seal(rooms)
    there = await rooms.now(array)
    assert there.is_sealed and there.has_sealed_index
    assert await rooms.read(array, (0,)) == [b"x"]
    assert await names(rooms) == ["a"]
    for call in (
        rooms.write(array, (0,), b"y"),
        rooms.write(array, (1,), b"y"),
        rooms.create("b"),
        rooms.create("b", staged=True),
        rooms.arrays.commit(LOCAL_USER, staged.name, staged.uid),
        rooms.arrays.update(LOCAL_USER, array.name, ArrayEdit(patch={"a": 1})),
        rooms.resizing.resize(LOCAL_USER, array.name, (1,)),
        rooms.arrays.delete(LOCAL_USER, array.name),
    ):
        with pytest.raises(Sealed):
            await call
    await seal(rooms)
    assert await rooms.now(array) == there
    page = await rooms.arrays.written(there)
    assert [chunk.index for chunk in page.chunks] == [(0,)]
    assert await rooms.read(array) == [b"x", None, None, None]


async def test_an_array_in_use_is_known() -> None:
    rooms = await begin()
    sealed = SealedArrays(rooms.rooms.documents, rooms.resizing, rooms.rooms.means)
    array = await rooms.create(shape=(0,))
    assert not await sealed.in_use(rooms.rooms.name)
    writer = await rooms.open(array, append=True)
    assert await sealed.in_use(rooms.rooms.name)
    await writer.close(is_complete=True)
    assert not await sealed.in_use(rooms.rooms.name)


# -------------------------------------------------------------------------------------------------------------- lists


async def test_written_chunks_are_listed_in_c_order_page_by_page() -> None:
    rooms = await begin()
    array = await rooms.create("a", (20, 20), (1, 1))
    array = await rooms.resizing.resize(LOCAL_USER, array.name, (20, 45))  # more blocks along the second axis
    wanted = [(0, 44), (1, 0), (1, 44), (5, 21), (12, 3), (13, 0), (19, 44)]
    etags = {index: await rooms.write(array, index, bytes(1 + index[0])) for index in reversed(wanted)}
    for size in (1, 2, 3, 7, 8):
        found: list[WrittenChunk] = []
        after = None
        while True:
            page = await rooms.arrays.written(array, after=after, limit=size)
            found += page.chunks
            assert len(page.chunks) <= size
            after = page.after
            if after is None:
                break
        assert [chunk.index for chunk in found] == wanted
        assert {chunk.index: chunk.etag for chunk in found} == etags
    assert await rooms.arrays.stored_bytes(array) == sum(1 + index[0] for index in wanted)


async def test_arrays_are_listed_page_by_page() -> None:
    rooms = await begin()
    for array in ("c", "a/x", "b", "a/y"):
        await rooms.create(array)
    found: list[str] = []
    after = None
    while True:
        page = await rooms.arrays.page(LOCAL_USER, rooms.rooms.name, after=after, limit=3)
        found += [array.name.array for array in page.arrays]
        after = page.after
        if after is None:
            break
    assert found == ["a/x", "a/y", "b", "c"]


def test_names_of_arrays_are_told_apart() -> None:
    assert str(ArrayName("c", "d", "a/b")) == "catalogs/c/datasets/d/arrays/a/b"
