"""What only the MongoDB store of documents has; what it shares with the others is in `tests/conformance`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.mongod import Mongod, free_port, shared_mongod
from tests.storage.mongo_place import document, opened, refusal

from measurand.core.filters.tree import Compare, Exists, Has, Regex
from measurand.core.ports import Order
from measurand.core.view import Entry, Scalar, View
from measurand.storage.documents.mongo import Mongo
from measurand.wire.errors import (
    FailedPrecondition,
    HistoryTrimmed,
    InvalidArgument,
    TooLarge,
    Unavailable,
)

USER, PASSWORD = "measurand", "sesame/open?"


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of an empty database."""
    mongod, database = shared_mongod(), f"t{uuid.uuid4().hex}"
    yield mongod.url_of(database)
    with mongod.client() as client:
        client.drop_database(database)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Mongo]:
    async with opened(url) as store:
        yield store


# ----------------------------------------------------------------------------------------------------- what is refused


async def test_a_standalone_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path, replica_set=False)
    try:
        error = await refusal(mongod.url_of("lab"))
    finally:
        mongod.stop()
    assert isinstance(error, FailedPrecondition)
    assert "standalone" in error.message
    assert "rs.initiate()" in error.message


@pytest.mark.parametrize(
    "option", ["w=1", "w=0", "journal=false", "readConcernLevel=local", "readPreference=secondary", "retryWrites=false"]
)
async def test_a_url_cannot_make_writes_less_durable(url: str, option: str) -> None:
    error = await refusal(f"{url}&{option}")
    assert isinstance(error, InvalidArgument)
    assert option in error.message
    assert error.details["field"] == option.partition("=")[0]


async def test_a_url_may_say_what_is_so_anyway(url: str) -> None:
    async with opened(f"{url}&w=majority&retryWrites=true&journal=true") as store:
        await store.insert("things", document("k"))


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        f"mongodb://{USER}:{PASSWORD}@127.0.0.1:1/lab",
        f"mongodb://{USER}:sesame@127.0.0.1:port/lab",
        f"mongodb://{USER}:sesame@127.0.0.1:1/lab?sesame=1",
        f"mongodb://{USER}:a@sesame@127.0.0.1:1/lab",
    ],
)
async def test_a_malformed_url_is_refused_without_repeating_the_password(url: str) -> None:
    error = await refusal(url)
    assert isinstance(error, InvalidArgument)
    assert "mongodb://user:password@host" in error.message
    assert "sesame" not in error.message


async def test_an_option_that_nobody_knows_is_refused(url: str) -> None:
    error = await refusal(f"{url}&tlsCertificateFile=x")
    assert isinstance(error, InvalidArgument)
    assert "tlscertificatefile" in error.message.lower()


async def test_a_deployment_that_does_not_answer_is_unavailable() -> None:
    error = await refusal(f"mongodb://127.0.0.1:{free_port()}/lab?replicaSet=rs0")
    assert isinstance(error, Unavailable)
    assert "no primary answers" in error.message


async def test_a_replica_set_of_another_name_says_so(url: str) -> None:
    error = await refusal(url.replace("replicaSet=rs0", "replicaSet=other"))
    assert isinstance(error, Unavailable)
    assert '"other"' in error.message


async def test_a_document_that_mongodb_would_refuse_is_refused_before_it_is_sent(store: Mongo) -> None:
    large = document("large", text="x" * (16 * 1024 * 1024))
    with pytest.raises(TooLarge) as caught:
        await store.insert("things", large)
    assert caught.value.message.startswith("large:")
    assert int(caught.value.details["actual"]) > int(caught.value.details["limit"]) == 16 * 1024 * 1024
    await store.insert("things", document("small"))
    with pytest.raises(TooLarge):
        await store.insert_many("things", [document("other"), large])
    with pytest.raises(TooLarge):
        await store.replace("things", document("small", text=large.text), expected_revision=1)
    assert await store.count("things") == 1


async def test_the_largest_documents_are_kept_changed_watched_and_removed(store: Mongo) -> None:
    token = (await store.changes("things", after=None)).token
    largest = "x" * (16 * 1024 * 1024 - 1024)
    await store.insert("things", document("k", text=largest))
    await store.replace("things", document("k", text=largest), expected_revision=1)
    fetched = await store.fetch("things", "k")
    assert fetched is not None
    assert fetched.text == largest
    assert await store.remove("things", "k")
    changes = (await store.changes("things", after=token)).changes
    assert [(change.kind, change.revision) for change in changes] == [("inserted", 1), ("replaced", 2), ("removed", 2)]


# ------------------------------------------------------------------------------------------------ what lies in MongoDB


async def test_two_stores_see_each_others_writes_and_changes(url: str) -> None:
    async with opened(url) as here, opened(url) as there:
        token = (await here.changes("things", after=None)).token
        waiting = asyncio.create_task(here.changes("things", after=token, wait_seconds=60))
        await there.insert("things", document("k"))
        assert await here.fetch("things", "k") is not None
        assert [change.key for change in (await waiting).changes] == ["k"]
        assert await here.replace("things", document("k"), expected_revision=1) is not None
        assert await there.replace("things", document("k"), expected_revision=1) is None
        seen = (await there.changes("things", after=token)).changes
        assert [change.kind for change in seen] == ["inserted", "replaced"]


async def test_a_token_of_another_collection_or_database_is_none_of_this(url: str, store: Mongo) -> None:
    await store.insert("things", document("k"))
    token = (await store.changes("things", after=None)).token
    with pytest.raises(HistoryTrimmed):
        await store.changes("others", after=token)
    async with opened(url.replace("?", "-other?")) as other:
        with pytest.raises(HistoryTrimmed):
            await other.changes("things", after=token)
    with shared_mongod().client() as client:
        client.drop_database(url.rpartition("/")[2].replace("?replicaSet=rs0", "-other"))


async def test_a_token_behind_which_the_collection_was_dropped_is_too_old(url: str, store: Mongo) -> None:
    await store.insert("things", document("k"))
    token = (await store.changes("things", after=None)).token
    with shared_mongod().client() as client:
        client[url.rpartition("/")[2].partition("?")[0]].drop_collection("things")
    with pytest.raises(HistoryTrimmed):
        await store.changes("things", after=token)


async def test_a_resume_token_that_mongodb_does_not_understand_is_malformed(store: Mongo) -> None:
    mark = (await store.changes("things", after=None)).token.partition("-")[0]
    for place in ("00" * 10, "82" + "00" * 8 + "FF" * 4, "8265" + "AB" * 9):
        with pytest.raises(InvalidArgument) as caught:
            await store.changes("things", after=f"{mark}-{place}")
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_indexes_that_are_missing_are_told_and_made_again(url: str) -> None:
    database = url.rpartition("/")[2].partition("?")[0]
    async with opened(url) as store:
        await store.insert("things", document("k"))
        assert await store.check_indexes() == []
        with shared_mongod().client() as client:
            client[database]["datasets"].drop_index("created")
            client[database]["things"].drop_indexes()
        missing = await store.check_indexes()
    assert len(missing) == 4
    assert missing[0].startswith('datasets: there is no index "created"')
    async with opened(url) as store:
        assert len(await store.check_indexes()) == 3  # the server's own collections, at its start
        await store.find("things")
        assert await store.check_indexes() == []


NAMES = (
    "a/b",
    "a.b",
    "a~1b",
    "a~b",
    "~0",
    "$a",
    "$",
    "~3a",
    "12",
    "~412",
    "a\x00",
    "é" * 500,
    "é" * 499 + "e",
    "v.$**",
)


async def test_paths_that_mongodb_would_take_for_something_else_are_kept_apart(store: Mongo) -> None:
    for name in NAMES:
        await store.insert("things", document(name, view=[Entry(name, Scalar("s", name))]))
    for name in NAMES:
        for where in (Exists(name), Compare(name, "=", Scalar("s", name)), Has(name, Scalar("s", name))):
            assert [found.document.key for found in await store.find("things", where=where)] == [name]
        assert list(await store.values("things", name, scopes=["s"])) == [(name, 1)]
        (*_, last) = await store.find("things", order=[Order(name)])
        assert last.position.values == (Scalar("s", name),)


async def test_twenty_thousand_long_paths_are_one_document(store: Mongo) -> None:
    paths = [f"metadata.{'x' * 1000}{index}" for index in range(20_000)]
    await store.insert("things", document("k", view=[Entry(path, Scalar("n", 1)) for path in paths]))
    assert await store.count("things", where=Compare(paths[-1], "=", Scalar("n", 1))) == 1


async def test_a_value_beside_a_list_is_what_a_document_sorts_by(store: Mongo) -> None:
    def beside(value: int, *others: int) -> View:
        inside = [Entry("p", Scalar("n", other), in_list=True) for other in others]
        return [*inside[:1], Entry("p", Scalar("n", value)), *inside[1:]]

    views = {"a": beside(5, 1, 9), "b": beside(2), "c": beside(7, 0), "d": [Entry("p", Scalar("n", 6), in_list=True)]}
    for key, view in views.items():
        await store.insert("things", document(key, view=view))
    rising = await store.find("things", order=[Order("p")])
    assert [found.document.key for found in rising] == ["d", "b", "a", "c"]
    one_by_one = []
    after = None
    while page := await store.find("things", order=[Order("p", descending=True)], after=after, limit=1):
        one_by_one.append(page[0].document.key)
        after = page[0].position
    assert one_by_one == ["c", "a", "b", "d"]
    assert await store.count("things", where=Compare("p", ">", Scalar("n", 8))) == 1
    assert (await store.total("things", "p")).total == 14


async def test_a_hostile_expression_takes_no_longer_than_a_tame_one(store: Mongo) -> None:
    await store.insert("things", document("k", view=[Entry("p", Scalar("s", "a" * 1000))]))
    async with asyncio.timeout(60):
        assert await store.find("things", where=Regex("p", "(a|aa|a?)*b(a*)*(a*)*$")) == []
        assert await store.count("things", where=Regex("p", "^(a|aa)+$")) == 1
