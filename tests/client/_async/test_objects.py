from __future__ import annotations

import itertools
import os
import random
from contextlib import aclosing

import numpy as np
import pytest
from tests.nasty_keys import REFUSED, nasty_keys
from tests.relay import relay

from measurand.client import AsyncCatalog, AsyncClient, AsyncObjects, errors
from measurand.client._transport import aio

MiB = 1 << 20


async def keys_of(objects: AsyncObjects, prefix: str = "") -> list[str]:
    async with aclosing(objects.list(prefix)) as found:
        return [file.path async for file in found]


# ------------------------------------------------------------------------------------------------- what goes in and out


@pytest.mark.parametrize("size", [0, 1, 4097, MiB, MiB + 1, 9 * MiB])
async def test_bytes_come_back_as_they_were(lab: AsyncCatalog, size: int) -> None:
    data = os.urandom(size)
    assert await lab.objects.put(data, "a/key") == "a/key"
    assert await lab.objects.get("a/key") == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_whatever_holds_bytes_is_taken(lab: AsyncCatalog, kind: type) -> None:
    key = await lab.objects.put(kind(b"abc"))
    assert await lab.objects.get(key) == b"abc"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.arange(12.0).reshape(3, 4).T,
        np.arange(2 * MiB, dtype="u1")[::2],
        np.arange(3 * MiB, dtype="u2").reshape(3, -1).T,
        np.empty((0, 3)),
        np.array(7.0),
        np.array([(1, 2.0)], dtype=[("n", "i4"), ("x", "f8")]),
    ],
    ids=["rows", "columns", "strided", "large", "empty", "scalar", "records"],
)
async def test_elements_of_arrays_are_stored_in_their_order(lab: AsyncCatalog, array: np.ndarray) -> None:
    key = await lab.objects.put(array)
    assert await lab.objects.get(key) == array.tobytes()


@pytest.mark.parametrize("data", ["text", 7, None, object()])
async def test_what_holds_no_bytes_is_refused(lab: AsyncCatalog, data: object) -> None:
    with pytest.raises(errors.InvalidArgument, match="has no buffer"):
        await lab.objects.put(data, "key")
    assert await keys_of(lab.objects) == []


async def test_an_empty_object_is_not_none(lab: AsyncCatalog) -> None:
    key = await lab.objects.put(b"")
    assert await lab.objects.exists(key)
    assert (await lab.objects.get(key), await lab.objects.get(key, None)) == (b"", b"")
    assert await lab.objects.get_batch([key, "none"]) == [b"", None]


async def test_keys_are_made_and_differ(lab: AsyncCatalog) -> None:
    made = {await lab.objects.put(b"x") for _ in range(10)}
    made |= set(map(str, await lab.objects.put_batch([b"y"] * 10)))
    assert len(made) == 20
    assert await keys_of(lab.objects) == sorted(made)


async def test_metadata_is_what_was_put(lab: AsyncCatalog) -> None:
    await lab.objects.put(b"1,2", "t.csv", content_type="text/plain", attributes={"run": "17"})
    found = await lab.objects.metadata("t.csv")
    assert (found.path, found.size, found.content_type, found.attributes) == ("t.csv", 3, "text/plain", {"run": "17"})
    assert len(found.blake3) == 64 and found.created is not None and found.creator
    async with aclosing(lab.objects.list("t")) as listed:
        assert [file async for file in listed] == [found]


async def test_a_prefix_lists_some_of_many_pages(lab: AsyncCatalog) -> None:
    await lab.objects.put_batch({f"{number % 3}/{number:04}": b"" for number in range(2500)})
    assert len(await keys_of(lab.objects)) == 2500
    assert await keys_of(lab.objects, "1/") == [f"1/{number:04}" for number in range(1, 2500, 3)]


# ---------------------------------------------------------------------------------------------------- what is not there


async def test_an_absent_key_costs_one_call(address: str, lab: AsyncCatalog) -> None:
    await lab.objects.put(b"x", "there")
    with relay(address) as passing:
        async with AsyncClient(passing.address) as client:
            objects = (await client.catalog(lab.id)).objects
            for count, there in enumerate((objects, objects("not-made")), start=1):
                passing.calls.clear()
                assert not await there.exists("absent")
                assert sum(passing.calls.values()) == 1
                with pytest.raises(errors.NotFound):
                    await there.get("absent")
                assert await there.get("absent", 7) == 7
                assert sum(passing.calls.values()) == 3, count
                await there.evict("absent")
                assert sum(passing.calls.values()) == 4
                assert await keys_of(there, "absent") == []


async def test_evicting_is_idempotent_and_what_is_put_again_is_new(lab: AsyncCatalog) -> None:
    await lab.objects.put(b"old", "key")
    before = await lab.objects.metadata("key")
    for _ in range(2):
        await lab.objects.evict("key")
        assert not await lab.objects.exists("key")
        assert await keys_of(lab.objects) == []
    await lab.objects.put(b"new", "key", if_absent=True)
    assert (await lab.objects.metadata("key")).generation > before.generation
    assert await lab.objects.get("key") == b"new"


async def test_two_clients_never_see_an_old_byte(address: str, client: AsyncClient, lab: AsyncCatalog) -> None:
    async with AsyncClient(address) as other:
        both = [lab.objects, (await other.catalog(lab.id)).objects]
        for number in range(30):
            one, two = random.sample(both, 2)
            size = random.choice((10, MiB + 10)) if number % 10 == 0 else 10
            data = bytes([number]) * size
            await one.put(data, "key")
            assert await two.get("key") == data
            assert await two.get_batch(["key"]) == [data]
            await two.evict("key")
            assert not await one.exists("key")
            assert await one.get_batch(["key"]) == [None]


# -------------------------------------------------------------------------------------------------------- what a key is


async def test_what_is_no_key_is_refused_before_a_byte_is_sent(address: str, lab: AsyncCatalog) -> None:
    with relay(address) as passing:
        async with AsyncClient(passing.address) as client:
            objects = (await client.catalog(lab.id)).objects
            passing.calls.clear()
            for key in REFUSED:
                for act in (objects.get, objects.exists, objects.evict, objects.metadata):
                    with pytest.raises(errors.NameInvalid):
                        await act(key)
                with pytest.raises(errors.NameInvalid):
                    await objects.put(b"x", key)
            assert {type(one) for one in await objects.get_batch(REFUSED, errors="return")} == {errors.NameInvalid}
            put = await objects.put_batch([(key, b"x") for key in REFUSED], errors="return")
            assert {type(one) for one in put} == {errors.NameInvalid}
            assert passing.calls == {}


async def test_no_two_keys_are_one(lab: AsyncCatalog) -> None:
    keys = nasty_keys(400, seed := random.randrange(1 << 32))
    content = {key: f"{number}".encode() for number, key in enumerate(keys)}
    assert await lab.objects.put_batch(content) == keys, f"seed {seed}"
    assert await keys_of(lab.objects) == sorted(keys, key=str.encode), f"seed {seed}"
    assert await lab.objects.get_batch(keys) == list(content.values()), f"seed {seed}"
    for key in keys[:100]:
        assert await lab.objects.get(key) == content[key], f"seed {seed}"
        await lab.objects.evict(key)
    assert await lab.objects.get_batch(keys) == [None] * 100 + list(content.values())[100:], f"seed {seed}"


async def test_each_catalog_and_each_dataset_has_keys_of_its_own(client: AsyncClient, lab: AsyncCatalog) -> None:
    other = await client.create_catalog(f"{lab.id}-b")
    places = [lab.objects, lab.objects("cache"), other.objects, other.objects("cache")]
    for number, place in enumerate(places):
        await place.put(bytes([number]), "key")
    await lab.objects.evict("key")
    assert [await place.get("key", None) for place in places] == [None, b"\1", b"\2", b"\3"]


# ------------------------------------------------------------------------------------------------------- once and whole


async def test_of_many_that_put_if_absent_one_wins(address: str, lab: AsyncCatalog) -> None:
    async def put(number: int) -> int | None:
        async with AsyncClient(address) as client:
            objects = (await client.catalog(lab.id)).objects
            try:
                await objects.put(bytes([number]), "key", if_absent=True)
            except errors.GenerationMismatch:
                return None
            return number

    winners = [number for number in await aio.parallel(put, range(64), bound=64) if number is not None]
    assert len(winners) == 1
    assert await lab.objects.get("key") == bytes(winners)


async def test_a_generation_can_be_expected(lab: AsyncCatalog) -> None:
    await lab.objects.put(b"1", "key")
    first = (await lab.objects.metadata("key")).generation
    await lab.objects.put(b"2", "key", expected_generation=first)
    with pytest.raises(errors.GenerationMismatch):
        await lab.objects.put(b"3", "key", expected_generation=first)
    with pytest.raises(errors.InvalidArgument):
        await lab.objects.put(b"3", "key", expected_generation=first, if_absent=True)
    assert await lab.objects.get("key") == b"2"


async def test_a_sealed_dataset_takes_and_loses_nothing(lab: AsyncCatalog) -> None:
    await lab.objects.put(b"1", "key")
    await (await lab.get("objects")).seal()
    with pytest.raises(errors.Sealed):
        await lab.objects.put(b"2", "key")
    with pytest.raises(errors.Sealed):
        await lab.objects.put(bytes(2 * MiB), "large")
    with pytest.raises(errors.Sealed):
        await lab.objects.evict("key")
    assert [type(one) for one in await lab.objects.put_batch([b"3"], errors="return")] == [errors.Sealed]
    assert await lab.objects.get("key") == b"1"


async def test_a_deleted_dataset_is_not_made_anew(lab: AsyncCatalog) -> None:
    await lab.objects.put(b"1", "key")
    run = await lab.get("objects")
    await run.delete()
    assert not await lab.objects.exists("key")
    with pytest.raises(errors.ResourceDeleted):
        await lab.objects.put(b"2", "key")
    with pytest.raises(errors.ResourceDeleted):
        await lab.objects.put_batch([b"2"])
    await run.undelete()
    assert await lab.objects.get("key") == b"1"


async def test_the_dataset_is_made_as_the_handle_says(lab: AsyncCatalog) -> None:
    cache = lab.objects("cache", storage="single")
    assert repr(cache) == f"<Objects {lab.id}/cache storage='single'>"
    await cache.put(b"x")
    run = await lab.get("cache")
    assert (run.kind, str(run.storage)) == ("objects", "single")
    assert cache.name == run.name


# -------------------------------------------------------------------------------------------------------------- batches


async def test_bad_ones_of_a_batch_fail_alone_and_few_calls_are_made(address: str, lab: AsyncCatalog) -> None:
    items: list[tuple[str, object]] = [(f"k{number}", os.urandom(1000)) for number in range(1000)]
    await lab.objects("cache").put(b"there", "k700")
    items[17], items[500] = ("../out", b"x"), ("k500", "no bytes")
    bad = {17: errors.NameInvalid, 500: errors.InvalidArgument, 700: errors.GenerationMismatch}
    with relay(address) as passing:
        async with AsyncClient(passing.address) as client:
            there = await client.catalog(lab.id)
            for cache in (there.objects("cache"), there.objects("fresh")):
                passing.calls.clear()
                put = await cache.put_batch(items, if_absent=True, errors="return")
                assert sum(passing.calls.values()) <= 4
                failed = {at: type(one) for at, one in enumerate(put) if isinstance(one, errors.MeasurandError)}
                assert failed == bad
                assert [one for at, one in enumerate(put) if at not in bad] == [
                    key for at, (key, _) in enumerate(items) if at not in bad
                ]
                passing.calls.clear()
                got = await cache.get_batch([key for key, _ in items], errors="return")
                assert sum(passing.calls.values()) <= 4
                assert [one for at, one in enumerate(got) if at not in bad] == [
                    data for at, (_, data) in enumerate(items) if at not in bad
                ]
                assert (type(got[17]), got[500]) == (errors.NameInvalid, None)
                bad.pop(700, None)  # in the other dataset there is none yet
            with pytest.raises(errors.NameInvalid):
                await cache.put_batch([b"1", ("..", b"2"), ("last", b"3")])
            assert await cache.get("last") == b"3"
            with pytest.raises(errors.NameInvalid):
                await cache.get_batch(["last", ".."])


async def test_a_batch_holds_large_ones_and_the_same_key_twice(lab: AsyncCatalog) -> None:
    content = {"small": b"1", "large": os.urandom(3 * MiB), "larger": os.urandom(9 * MiB)}
    assert await lab.objects.put_batch(content) == list(content)
    asked = ["larger", "none", "small", "large", "small"]
    assert await lab.objects.get_batch(asked) == [content.get(key) for key in asked]
    await lab.objects.put_batch([("small", b"2"), ("small", b"3")])
    assert await lab.objects.get("small") == b"3"
    assert await lab.objects.put_batch([]) == []
    assert await lab.objects.get_batch([]) == []


async def test_a_batch_takes_the_place_of_another(lab: AsyncCatalog) -> None:
    keys = [f"k{number}" for number in range(200)]
    await lab.objects.put_batch(dict.fromkeys(keys, b"old"))
    before = {file.path: file.generation async for file in lab.objects.list()}
    await lab.objects.put_batch({key: key.encode() for key in keys})
    assert await lab.objects.get_batch(keys) == [key.encode() for key in keys]
    assert all([file.generation > before[file.path] async for file in lab.objects.list()])
    mixed = await lab.objects.put_batch({"k7": b"x", "new": b"y"}, if_absent=True, errors="return")
    assert [type(one) for one in mixed] == [errors.GenerationMismatch, str]


async def test_lost_answers_store_nothing_twice(address: str, lab: AsyncCatalog) -> None:
    turns = itertools.cycle([True, True, False])
    with relay(address, lambda name: name in ("PutFile", "PutFiles") and next(turns)) as passing:
        async with AsyncClient(passing.address) as client:
            cache = (await client.catalog(lab.id)).objects("cache")
            keys = [await cache.put(bytes([number])) for number in range(12)]
            for number in range(3):
                keys += map(str, await cache.put_batch([bytes([number])] * 20))
        assert passing.lost
    files = await (await lab.get("cache")).files(show_superseded=True)
    assert [file.path for file in files] == sorted(keys)
