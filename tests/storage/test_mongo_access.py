"""Who is let in by MongoDB, by password or by certificate, and what is said to those who are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.certificates import Authority
from tests.guarded import Secured, guarded_mongod
from tests.mongod import Mongod, forget_sockets
from tests.storage.mongo_place import document, opened, refusal

from measurand.wire.errors import InvalidArgument, PermissionDenied, Unavailable

USER, PASSWORD = "measurand", "sesame/open?"


def with_user(url: str, user: str, password: str) -> str:
    return url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@")


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


async def test_the_name_of_a_store_has_no_secrets(guarded: Mongod) -> None:
    url = with_user(guarded.url_of("lab"), USER, PASSWORD)
    async with opened(f"{url}&authSource=admin") as store:
        assert repr(store) == f"mongo('127.0.0.1:{guarded.port}/lab')"
