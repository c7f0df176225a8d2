"""What only the S3 store has: URLs, credentials, what it tries out when it starts, and what it says when that fails."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials
from tests.conformance.test_blobs import content, noise
from tests.s3_places import BUCKET, InS3, on_seaweed
from tests.seaweed import free_ports, s3_url, shared_seaweed

from measurand.core.ports import Blob
from measurand.storage.blobs.s3 import S3, parse_location
from measurand.wire.errors import InvalidArgument, MeasurandError, Unavailable

MiB = 1 << 20


@pytest.fixture
def place() -> InS3:
    return InS3(on_seaweed())


@pytest.fixture
async def store(place: InS3) -> AsyncIterator[S3]:
    opened = place.open_s3()
    yield opened
    await opened.close()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A process for which no credentials can be found."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


@pytest.fixture
def somebody(nobody: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process that may do everything in the S3 server."""
    on_seaweed()
    for name, value in shared_seaweed().environment.items():
        nobody.setenv(name, value)
    return nobody


async def refused(url: str) -> MeasurandError:
    """Return the error with which a store cannot be opened; it tells no secret."""
    with pytest.raises(MeasurandError) as caught:
        await S3.connect(url, in_thread=asyncio.to_thread)
    assert "secret" not in str(caught.value).lower().replace("aws_secret_access_key", "")
    return caught.value


async def test_a_store_is_opened_by_its_url_and_the_credentials_of_the_process(
    somebody: pytest.MonkeyPatch, place: InS3
) -> None:
    store = await S3.connect(s3_url(place.server.endpoint, BUCKET, place.prefix), in_thread=asyncio.to_thread)
    assert repr(store) == f"s3('{BUCKET}/{place.prefix}')"
    assert await content(store, await store.put("a", [b"123"])) == b"123"
    assert place.look() == {"a": b"123"}
    assert place.names("checks/") == []
    await store.close()


async def test_credentials_come_from_a_profile_too(nobody: pytest.MonkeyPatch, place: InS3, tmp_path: Path) -> None:
    keys = place.server.keys
    lines = ["[lab]", f"aws_access_key_id={keys.access_key}", f"aws_secret_access_key={keys.secret_key}"]
    (tmp_path / "credentials").write_text("\n".join(lines))
    nobody.setenv("AWS_PROFILE", "lab")
    store = await S3.connect(s3_url(place.server.endpoint, BUCKET, place.prefix), in_thread=asyncio.to_thread)
    await store.close()


async def test_no_credentials(nobody: pytest.MonkeyPatch, place: InS3) -> None:
    error = await refused(s3_url(place.server.endpoint, BUCKET))
    assert isinstance(error, Unavailable)
    assert "no credentials" in str(error) and "AWS_ACCESS_KEY_ID" in str(error)


async def test_a_profile_that_does_not_exist(nobody: pytest.MonkeyPatch, place: InS3) -> None:
    nobody.setenv("AWS_PROFILE", "elsewhere")
    assert "AWS_PROFILE" in str(await refused(s3_url(place.server.endpoint, BUCKET)))


@pytest.mark.parametrize(("name", "word"), [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "")])
async def test_wrong_credentials(somebody: pytest.MonkeyPatch, place: InS3, name: str, word: str) -> None:
    somebody.setenv(name, "wrong")
    error = await refused(s3_url(place.server.endpoint, BUCKET))
    assert isinstance(error, Unavailable)
    assert "does not know these credentials" in str(error)
    assert word in str(error)
    assert error.retry_seconds


async def test_a_bucket_that_does_not_exist(somebody: pytest.MonkeyPatch, place: InS3) -> None:
    error = await refused(s3_url(place.server.endpoint, "nowhere-at-all"))
    assert "nowhere-at-all: the bucket does not exist; create it" in str(error)


async def test_a_bucket_that_may_only_be_read(somebody: pytest.MonkeyPatch, place: InS3) -> None:
    for name, value in shared_seaweed().reader_environment.items():
        somebody.setenv(name, value)
    error = await refused(s3_url(place.server.endpoint, BUCKET))
    assert "may not write into it" in str(error) and "s3:PutObject" in str(error)


async def test_what_answers_is_no_s3(somebody: pytest.MonkeyPatch) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        assert "no S3 service" in str(await refused(s3_url(f"http://{host}:{port}", BUCKET)))


async def test_nobody_answers(somebody: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    error = await refused(s3_url(f"http://127.0.0.1:{port}", BUCKET))
    assert isinstance(error, Unavailable)
    assert "cannot be reached" in str(error)
    assert error.retry_seconds


async def test_credentials_that_are_taken_away_make_it_unavailable_until_they_are_back(place: InS3) -> None:
    keys = [place.server.keys]
    location = parse_location(s3_url(place.server.endpoint, BUCKET, place.prefix))
    store = S3(location, in_thread=asyncio.to_thread, get_keys=lambda: keys[0])
    blob = await store.put("a", [noise(100_000)])
    keys[0] = ReadOnlyCredentials("gone", "gone", None)
    for call in (content(store, blob), store.put("b", [noise(6 * MiB)]), store.stat("a"), store.delete("a")):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.retry_seconds
    keys[0] = place.server.keys
    assert await content(store, blob) == noise(100_000)
    await store.close()


async def test_a_bucket_that_was_removed_is_not_taken_for_a_blob_that_was(place: InS3) -> None:
    location = parse_location(s3_url(place.server.endpoint, "removed-meanwhile"))
    store = S3(location, in_thread=asyncio.to_thread, get_keys=lambda: place.server.keys)
    for call in (content(store, Blob("a", 1)), content(store, Blob("a", 0)), store.stat("a"), store.finish("a", 1)):
        with pytest.raises(Unavailable, match="does not exist"):
            await call
    await store.close()


async def test_a_place_belongs_to_the_deployment_that_came_first(store: S3, place: InS3) -> None:
    other = place.open_s3()
    answers = await asyncio.gather(store.claim("one"), other.claim("two"), store.claim("one"))
    assert len(set(answers)) == 1
    assert await other.claim("three") == answers[0]
    assert place.names("deployment") == [""]
    await other.close()


async def test_a_blob_can_be_read_by_a_url_without_credentials(store: S3) -> None:
    blob = await store.put("files/a.1", [noise(10_000)])
    url = store.presign(blob, 60)
    request = urllib.request.Request(url, headers={"Range": "bytes=100-199"})

    def get() -> tuple[int, bytes]:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()

    assert await asyncio.to_thread(get) == (206, noise(10_000)[100:200])
    request.full_url = url.replace("files~a.1", "files~a.2")
    with pytest.raises(urllib.error.HTTPError) as caught:
        await asyncio.to_thread(get)
    caught.value.close()
    assert caught.value.code == 403


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("s3://lab?endpoint=http://127.0.0.1:9000", "127.0.0.1:9000", "/lab/x"),
        ("s3://lab/?endpoint=https://s3.lab.org&region=eu-1", "s3.lab.org", "/lab/x"),
        ("s3://lab/a/b.c/?endpoint=http://[::1]:80", "[::1]", "/lab/a/b.c/x"),
        ("s3://lab/a?endpoint=http://s3:9000&addressing=virtual", "lab.s3:9000", "/a/x"),
        ("s3://lab/a?region=eu-central-1", "lab.s3.eu-central-1.amazonaws.com", "/a/x"),
        ("s3://lab/a?addressing=path", "s3.us-east-1.amazonaws.com", "/lab/a/x"),
    ],
)
def test_a_url_says_where_requests_go(url: str, host: str, path: str) -> None:
    location = parse_location(url)
    assert (location.authority, location.path(location.name("x"))) == (host, path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///x", "s3://"),
        ("s3:///x", "name a bucket"),
        ("s3://A_b/x", "name a bucket"),
        ("s3://lab:99/x", "name a bucket"),
        ("s3://key:secret@lab/x", "AWS_ACCESS_KEY_ID"),
        ("s3://lab/a//b", "prefix"),
        ("s3://lab/../b", "prefix"),
        ("s3://lab/a%20b", "prefix"),
        ("s3://lab/a#b", "prefix"),
        ("s3://lab?secret=1", "'secret', which is none"),
        ("s3://lab?region", "NAME=VALUE"),
        ("s3://lab?region=a&region=b", "twice"),
        ("s3://lab?region=EU", "region"),
        ("s3://lab?addressing=x", "addressing"),
        ("s3://lab?endpoint=127.0.0.1:9000", "endpoint"),
        ("s3://lab?endpoint=http://key:secret@host", "endpoint"),
        ("s3://lab?endpoint=http://host/x", "endpoint"),
        ("s3://lab?endpoint=http://host:x", "endpoint"),
        ("s3://[lab", "URL"),
    ],
)
def test_a_url_that_is_none_is_refused_with_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_location(url)
    assert words in str(caught.value)
    assert url not in str(caught.value)
    assert "key:secret" not in str(caught.value)
