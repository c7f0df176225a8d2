"""What the MongoDB store of documents does when its deployment is killed or frozen, or a removal was broken off."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from tests.mongod import Mongod, shared_mongod
from tests.storage.mongo_place import opened

from measurand.core.ports import Change, Changes, Document
from measurand.core.view import Entry, Scalar
from measurand.storage.documents.mongo import Mongo
from measurand.wire.errors import AlreadyExists, Unavailable


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A deployment of the test's own, to be killed."""
    mongod = Mongod(tmp_path / "mongod")
    yield mongod
    mongod.stop()


def made(key: str, revision: int = 1) -> Document:
    return Document(key, "s", {"revision": revision}, view=[Entry("revision", Scalar("n", revision))])


def facts(change: Change) -> tuple[str, str, str, int]:
    return change.kind, change.key, change.scope, change.revision


# --------------------------------------------------------------------------------------------------- killed and frozen


async def test_what_was_acknowledged_survives_a_kill(mongod: Mongod) -> None:
    acknowledged: dict[str, int] = {}
    removing: set[str] = set()
    removed: set[str] = set()
    enough = asyncio.Event()

    async def write(store: Mongo, writer: int) -> None:
        for number in range(10_000):
            key = f"{writer}/{number}"
            await store.insert("things", made(key))
            acknowledged[key] = 1
            if await store.replace("things", made(key, 2), expected_revision=1) is not None:
                acknowledged[key] = 2
            if number % 3 == 0:
                removing.add(key)
                if await store.remove("things", key):
                    removed.add(key)
            if len(acknowledged) > 100:
                enough.set()

    async with opened(mongod.url_of("lab"), timeout_seconds=2.0) as store:
        writing = [asyncio.create_task(write(store, writer)) for writer in range(4)]
        await enough.wait()
        await asyncio.to_thread(mongod.kill)
        answers = await asyncio.gather(*writing, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        await asyncio.to_thread(mongod.start)
        for key, revision in acknowledged.items():
            document = await store.fetch("things", key)
            if document is None:
                assert key in removing
            else:
                assert key not in removed
                assert document.body == {"revision": document.revision}
                assert document.revision >= revision


async def test_a_killed_deployment_is_unavailable_and_then_goes_on_by_itself(mongod: Mongod) -> None:
    async with opened(mongod.url_of("lab"), timeout_seconds=2.0) as store:
        await store.insert("things", made("k"))
        token = (await store.changes("things", after=None)).token
        mongod.kill()
        answers = await asyncio.gather(
            store.fetch("things", "k"),
            store.insert("things", made("other")),
            store.find("things"),
            store.count("things"),
            store.changes("things", after=token),
            return_exceptions=True,
        )
        for answer in answers:
            assert isinstance(answer, Unavailable)
            assert answer.retry_seconds is not None
        mongod.start()
        await store.insert("things", made("after"))
        assert [change.key for change in (await store.changes("things", after=token)).changes] == ["after"]


async def test_a_frozen_deployment_holds_nobody_up_for_long(mongod: Mongod) -> None:
    async with opened(mongod.url_of("lab"), timeout_seconds=2.0) as store:
        await store.insert("things", made("k"))
        token = (await store.changes("things", after=None)).token
        mongod.pause()
        try:
            calls = [
                store.fetch("things", "k"),
                store.insert("things", made("other")),
                store.replace("things", made("k"), expected_revision=1),
                store.find("things"),
                store.total("things", "revision"),
                store.changes("things", after=token),
            ]
            async with asyncio.timeout(60):
                answers = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            mongod.resume()
        assert [type(answer) for answer in answers] == [Unavailable] * len(calls)
        assert await store.fetch("things", "k") is not None


async def test_who_watches_goes_on_after_a_restart(mongod: Mongod) -> None:
    async with opened(mongod.url_of("lab"), timeout_seconds=2.0) as store:
        token = (await store.changes("things", after=None)).token
        waiting = asyncio.create_task(store.changes("things", after=token, wait_seconds=120))
        await store.insert("things", made("before"))
        first = await waiting
        assert [change.key for change in first.changes] == ["before"]
        waiting = asyncio.create_task(store.changes("things", after=first.token, wait_seconds=120))
        await asyncio.sleep(0)
        await asyncio.to_thread(mongod.kill)
        await asyncio.to_thread(mongod.start)
        await store.insert("things", made("after"))
        assert [change.key for change in (await waiting).changes] == ["after"]


async def test_closing_sends_away_who_waits(mongod: Mongod) -> None:
    async with opened(mongod.url_of("lab")) as store:
        token = (await store.changes("things", after=None)).token
        answer = await store.changes("things", after=token, wait_seconds=0.01)  # so the stream for all is there
        waiting = asyncio.create_task(store.changes("things", after=answer.token, wait_seconds=3600))
        await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await store.fetch("things", "k")


# ---------------------------------------------------------------------------------------------------------- tombstones


class Halfway:
    """A database in which a removal was broken off after its first half."""

    def __init__(self, client: pymongo.MongoClient[dict[str, Any]], database: str) -> None:
        self._things = client[database]["things"]

    def bury(self, key: str) -> None:
        """Do the first half of a removal."""
        record = self._things.find_one({"_id": key})
        assert record is not None
        was = {"s": record["s"], "r": record["r"]}
        self._things.update_one({"_id": key}, [{"$replaceWith": {"_id": key, "gone": "$$NOW", "was": was}}])

    def keys(self) -> list[str]:
        return sorted(record["_id"] for record in self._things.find())


@pytest.fixture
async def store() -> AsyncIterator[tuple[Mongo, Halfway]]:
    mongod, database = shared_mongod(), f"t{uuid.uuid4().hex}"
    with mongod.client() as client:
        async with opened(mongod.url_of(database)) as store:
            yield store, Halfway(client, database)
        client.drop_database(database)


async def test_a_removal_that_was_broken_off_is_a_removal(store: tuple[Mongo, Halfway]) -> None:
    mongo, halfway = store
    token = (await mongo.changes("things", after=None)).token
    for key in ("a", "b"):
        await mongo.insert("things", made(key))
    halfway.bury("a")
    assert halfway.keys() == ["a", "b"]
    assert await mongo.fetch("things", "a") is None
    assert list(await mongo.fetch_many("things", ["a", "b"])) == ["b"]
    for scopes in (None, ["s"]):
        assert [found.document.key for found in await mongo.find("things", scopes=scopes)] == ["b"]
        assert await mongo.count("things", scopes=scopes) == 1
        assert (await mongo.total("things", "revision", scopes=scopes)).count == 1
    assert await mongo.replace("things", made("a"), expected_revision=1) is None
    assert not await mongo.remove("things", "a")
    assert not await mongo.remove("things", "a", expected_revision=1)
    changes: Changes = await mongo.changes("things", after=token)
    assert [facts(change) for change in changes.changes] == [
        ("inserted", "a", "s", 1),
        ("inserted", "b", "s", 1),
        ("removed", "a", "s", 1),
    ]


async def test_what_a_broken_off_removal_left_does_not_take_its_key(store: tuple[Mongo, Halfway]) -> None:
    mongo, halfway = store
    for key in ("a", "b", "c"):
        await mongo.insert("things", made(key))
        halfway.bury(key)
    token = (await mongo.changes("things", after=None)).token
    assert (await mongo.insert("things", Document("a", "t", {}))).revision == 1
    with pytest.raises(AlreadyExists):
        await mongo.insert("things", made("a"))
    assert list(await mongo.insert_many("things", [made("b"), made("a"), made("c"), made("b")])) == [
        True,
        False,
        True,
        False,
    ]
    changes = (await mongo.changes("things", after=token)).changes
    assert [facts(change) for change in changes] == [
        ("inserted", "a", "t", 1),
        ("inserted", "b", "s", 1),
        ("inserted", "c", "s", 1),
    ]


async def test_nothing_is_left_of_what_was_removed(store: tuple[Mongo, Halfway]) -> None:
    mongo, halfway = store
    await mongo.insert_many("things", [made(f"{number}") for number in range(20)])
    assert all(await asyncio.gather(*(mongo.remove("things", f"{number}") for number in range(20))))
    assert halfway.keys() == []


async def test_of_many_who_remove_and_make_a_document_none_sees_half_of_it(store: tuple[Mongo, Halfway]) -> None:
    mongo, _ = store
    made_anew: list[bool] = []
    removed: list[bool] = []

    async def come_and_go() -> None:
        for _ in range(50):
            made_anew.extend(await mongo.insert_many("things", [made("k")]))
            removed.append(await mongo.remove("things", "k"))

    token = (await mongo.changes("things", after=None)).token
    await asyncio.gather(*(come_and_go() for _ in range(4)))
    seen: list[str] = []
    while found := (await mongo.changes("things", after=token)).changes:
        seen += [change.kind for change in found]
        token = found[-1].token
    assert seen.count("inserted") == sum(made_anew)
    assert seen.count("removed") == sum(removed)
    assert seen == ["inserted", "removed"] * (len(seen) // 2) + ["inserted"] * (len(seen) % 2)
