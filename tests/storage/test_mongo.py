"""What only the MongoDB store of documents has; what it shares with the others is in `tests/conformance`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.certificates import Authority
from tests.guarded import Secured, guarded_mongod
from tests.mongod import Mongod, forget_sockets, free_port, shared_mongod

from measurand.core.filters.tree import Compare, Exists, Has, Regex
from measurand.core.ports import Document, Order
from measurand.core.view import Entry, Scalar, View
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.mongo import Mongo
from measurand.wire.errors import (
    FailedPrecondition,
    HistoryTrimmed,
    InvalidArgument,
    MeasurandError,
    PermissionDenied,
    TooLarge,
    Unavailable,
)

USER, PASSWORD = "measurand", "sesame/open?"


@asynccontextmanager
async def opened(url: str, *, timeout_seconds: float = 12.0) -> AsyncIterator[Mongo]:
    store = await Mongo.open(url, compile_pattern=compile_pattern, timeout_seconds=timeout_seconds)
    try:
        yield store
    finally:
        await store.close()


async def refusal(url: str) -> MeasurandError:
    """Return what opening the store at a URL raises."""
    with pytest.raises(MeasurandError) as caught:
        async with opened(url, timeout_seconds=2.0):
            pass
    forget_sockets()
    return caught.value


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


def with_user(url: str, user: str, password: str) -> str:
    return url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@")


def document(key: str, *, text: str = "", view: View = ()) -> Document:
    return Document(key, "s", {"key": key}, text, view)


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


# --------------------------------------------------------------------------------------------- who may come in, and how


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A deployment with a user who may write to the database `lab`."""
    mongod = guarded_mongod(tmp_path_factory.mktemp("guarded"), USER, PASSWORD)
    yield mongod
    mongod.stop()


async def test_a_user_with_the_right_password_is_let_in(guarded: Mongod) -> None:
    url = with_user(guarded.url_of("lab"), USER, PASSWORD)
    async with opened(f"{url}&authSource=admin") as store:
        await store.insert("things", document("k"))
        token = (await store.changes("things", after=None)).token
        await store.remove("things", "k")
        assert len((await store.changes("things", after=token)).changes) == 1
        assert await store.check_indexes() == []
        assert PASSWORD not in repr(store)
        assert USER not in repr(store)


async def test_a_wrong_password_is_told_and_not_repeated(guarded: Mongod) -> None:
    url = with_user(guarded.url_of("lab"), USER, "guess-what")
    error = await refusal(f"{url}&authSource=admin")
    assert isinstance(error, PermissionDenied)
    assert "authSource" in error.message
    assert "guess-what" not in error.message


async def test_who_does_not_say_who_they_are_is_not_let_in(guarded: Mongod) -> None:
    assert isinstance(await refusal(guarded.url_of("lab")), PermissionDenied)


async def test_a_user_who_may_not_write_there_is_told_so(guarded: Mongod) -> None:
    error = await refusal(f"{with_user(guarded.url_of('elsewhere'), USER, PASSWORD)}&authSource=admin")
    assert isinstance(error, PermissionDenied)
    assert "readWrite" in error.message
    assert PASSWORD not in error.message


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One that lets in by certificate: the users `CN=measurand,O=lab` and `CN=successor,O=lab`."""
    secured = Secured(tmp_path_factory.mktemp("secured"))
    yield secured
    secured.mongod.stop()


async def test_a_user_is_let_in_by_certificate(secured: Secured) -> None:
    async with opened(secured.url(secured.user)) as store:
        await store.insert("things", document("k"))
        assert await store.remove("things", "k")


async def test_without_a_certificate_nobody_is_let_in_and_is_told_why(secured: Secured) -> None:
    error = await refusal(secured.url(None))
    assert isinstance(error, Unavailable)
    assert "tlsCertificateKeyFile" in error.message


async def test_without_tls_nobody_is_let_in_and_is_told_why(secured: Secured) -> None:
    error = await refusal(secured.mongod.url_of("lab"))
    assert isinstance(error, Unavailable)
    assert "it may want TLS" in error.message


async def test_a_server_of_an_unknown_authority_is_not_trusted(secured: Secured, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    error = await refusal(
        secured.url(secured.user).replace(str(secured.authority.certificate), str(stranger.certificate))
    )
    assert isinstance(error, Unavailable)
    assert "no secure connection" in error.message


async def test_a_certificate_that_is_not_there_is_named(secured: Secured, tmp_path: Path) -> None:
    error = await refusal(secured.url(tmp_path / "absent.pem"))
    assert isinstance(error, InvalidArgument)
    assert "absent.pem" in error.message


async def test_a_renewed_certificate_is_taken_up_and_calls_go_on(secured: Secured, tmp_path: Path) -> None:
    path = tmp_path / "user.pem"
    path.write_bytes(secured.user.read_bytes())
    async with opened(secured.url(path)) as store:
        await store.insert("things", document("before"))
        token = (await store.changes("things", after=None)).token
        waiting = asyncio.create_task(store.changes("things", after=token, wait_seconds=60))
        assert secured.users() == {"CN=measurand,O=lab"}
        secured.authority.issue(path, "/O=lab/CN=successor")
        running = [asyncio.create_task(store.insert("things", document(f"k{index}"))) for index in range(20)]
        await store.renew()
        assert {stored.revision for stored in await asyncio.gather(*running)} == {1}
        await store.insert("things", document("after"))
        assert len((await waiting).changes) > 0
        while secured.users() != {"CN=successor,O=lab"}:  # noqa: ASYNC110  # what it waits for is in another process
            await asyncio.sleep(0.05)
        assert await store.count("things") == 22


async def test_a_renewed_certificate_that_is_no_good_is_told_and_the_old_one_stays(
    secured: Secured, tmp_path: Path
) -> None:
    path = tmp_path / "user.pem"
    path.write_bytes(secured.user.read_bytes())
    async with opened(secured.url(path)) as store:
        path.write_text("no certificate")
        with pytest.raises(InvalidArgument):
            await store.renew()
        secured.authority.issue(path, "/O=lab/CN=nobody")
        with pytest.raises(PermissionDenied):
            await store.renew()
        forget_sockets()
        await store.insert("things", document("still"))
        assert await store.fetch("things", "still") is not None


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


async def test_the_name_of_a_store_has_no_secrets(guarded: Mongod) -> None:
    url = with_user(guarded.url_of("lab"), USER, PASSWORD)
    async with opened(f"{url}&authSource=admin") as store:
        assert repr(store) == f"mongo('127.0.0.1:{guarded.port}/lab')"
