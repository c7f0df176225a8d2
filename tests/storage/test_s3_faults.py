"""The S3 store when its server or the way to it fails: what was acknowledged is there afterwards, and nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from tests.conformance.test_blobs import content, noise
from tests.s3_places import BUCKET, InS3, Server, on_seaweed
from tests.seaweed import Seaweed, s3_url
from tests.storage.s3_proxy import Way

from measurand.storage.blobs.s3 import S3, client, parse_location
from measurand.storage.blobs.s3.client import Answer, Client
from measurand.wire.errors import StoreFull, Unavailable

MiB = 1 << 20
PART = 5 * MiB


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A server that tests may kill and freeze."""
    own = Seaweed(tmp_path_factory.mktemp("seaweed"))
    yield own
    own.stop()


@pytest.fixture(scope="module")
def own_server(seaweed: Seaweed) -> Iterator[Server]:
    server = Server(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)
    yield server
    server.client.close()


@pytest.fixture
async def store(own_server: Server) -> AsyncIterator[S3]:
    opened = InS3(own_server).open_s3()
    yield opened
    await opened.close()


@pytest.fixture
def place() -> InS3:
    return InS3(on_seaweed())


@pytest.fixture
def way(place: InS3) -> Iterator[Way]:
    opened = Way(place.server.endpoint)
    yield opened
    opened.close()


@pytest.fixture
async def over_way(way: Way, place: InS3) -> AsyncIterator[S3]:
    """A store of the place whose connections go over the way."""
    location = parse_location(s3_url(way.endpoint, BUCKET, place.prefix))
    opened = S3(location, in_thread=asyncio.to_thread, get_keys=lambda: place.server.keys)
    yield opened
    await opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second in the place of twenty; the rest of the waiting is the same."""
    assert client.ANSWER_SECONDS <= 25
    monkeypatch.setattr(client, "ANSWER_SECONDS", 1.0)


async def test_what_was_persisted_survives_the_kill_of_the_server(store: S3, seaweed: Seaweed) -> None:
    data = noise(2 * PART + 4321)
    stage = await store.stage("a")
    await stage.append([data[: PART + 77]])
    assert await stage.persist() == PART + 77
    await stage.append([data[PART + 77 :]])
    assert await stage.persist() == len(data)
    blob = await store.put("b", [data[:1000]])
    seaweed.kill()
    with pytest.raises(Unavailable):
        await store.finish("a", len(data))
    seaweed.start()
    await stage.close()
    assert await content(store, await store.finish("a", len(data))) == data
    assert await content(store, blob) == data[:1000]


async def test_a_stage_goes_on_when_the_server_is_back(store: S3, seaweed: Seaweed) -> None:
    data = noise(4 * PART + 5)
    stage = await store.stage("a")
    await stage.append([data[: PART + 100]])
    assert await stage.persist() == PART + 100
    seaweed.kill()
    await stage.append([data[PART + 100 : 2 * PART + 1]])
    for _ in range(2):
        with pytest.raises(Unavailable):
            await stage.persist()
    await stage.append([data[2 * PART + 1 : 4 * PART]])
    with pytest.raises(Unavailable):
        await stage.append([data[4 * PART :]])  # no room; nothing of it is taken
    seaweed.start()
    await stage.append([data[4 * PART :]])
    assert await stage.persist() == len(data)
    await stage.close()
    assert await content(store, await store.finish("a", len(data))) == data


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_stands_still_makes_every_call_fail_in_time(store: S3, seaweed: Seaweed) -> None:
    blob = await store.put("a", [noise(2 * MiB)])
    stage = await store.stage("b")
    await stage.append([noise(PART + 1)])
    seaweed.pause()
    try:
        calls = [content(store, blob), store.put("c", [b"x"]), store.put("d", [noise(11 * MiB)]), store.stat("a")]
        calls += [stage.persist(), store.finish("b", 1), store.discard("b"), store.stage("e"), store.delete("f")]
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    finally:
        seaweed.resume()
    assert [type(answer) for answer in answers] == [Unavailable] * len(calls)
    assert all(isinstance(answer, Unavailable) and answer.retry_seconds for answer in answers)
    assert await stage.persist() == PART + 1
    await stage.close()
    assert await content(store, await store.finish("b", PART + 1)) == noise(PART + 1)


async def test_a_read_goes_on_where_its_connection_broke(over_way: S3, way: Way) -> None:
    data = noise(6 * MiB + 5)
    blob = await over_way.put("a", [data])
    way.block()
    way.open()
    way.cut_answers(1_500_000, 100, 2_500_000)
    assert await content(over_way, blob, 3) == data[3:]
    assert way.connections >= 5


async def test_a_read_whose_connection_always_breaks_ends(over_way: S3, way: Way) -> None:
    blob = await over_way.put("a", [noise(3 * MiB)])
    way.block()
    way.open()
    way.cut_answers(*[500_000] * 20)
    with pytest.raises(Unavailable):
        await content(over_way, blob)


async def test_an_answer_that_is_cut_anywhere_in_its_head_is_no_loss(over_way: S3, way: Way) -> None:
    blob = await over_way.put("a", [noise(3 * MiB)])
    for size in range(20, 160):
        way.block()
        way.open()
        way.cut_answers(size)
        assert len(await content(over_way, blob, 0, 50)) == 50


async def test_a_reader_that_stops_lets_go_of_its_connection(over_way: S3) -> None:
    data = noise(30 * MiB)
    blob = await over_way.put("a", [data])
    for _ in range(3):
        chunks = over_way.open(blob)
        await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]  # a generator
    assert await content(over_way, blob, 0, 5) == data[:5]


async def test_connections_are_kept_and_dead_ones_noticed(over_way: S3, way: Way) -> None:
    blob = await over_way.put("a", [b"123"])
    for _ in range(10):
        assert await content(over_way, blob) == b"123"
    assert way.connections == 1
    way.block()
    way.open()
    assert (await over_way.put("b", [b"456"])).size == 3
    assert await content(over_way, blob) == b"123"
    assert way.connections == 2


async def test_a_part_that_did_not_arrive_is_sent_again(over_way: S3, way: Way, place: InS3) -> None:
    data = noise(3 * PART + 9)
    stage = await over_way.stage("a")
    await stage.append([data[: PART + 9]])
    assert await stage.persist() == PART + 9
    way.block()
    await stage.append([data[PART + 9 :]])
    with pytest.raises(Unavailable):
        await stage.persist()
    way.open()
    assert await stage.persist() == len(data)
    await stage.close()
    other = place.open_s3()
    assert await content(other, await other.finish("a", len(data))) == data
    assert place.leftovers() == 0
    await other.close()


async def test_an_upload_whose_beginning_nobody_heard_of_is_aborted_by_finish(
    over_way: S3, way: Way, place: InS3
) -> None:
    data = noise(PART)
    stage = await over_way.stage("a")
    client, name = place.server.client, f"{place.prefix}/blobs/a"
    client.put_object(Bucket=BUCKET, Key=f"{place.prefix}/staging/a!begun", Body=b"")
    client.create_multipart_upload(Bucket=BUCKET, Key=name)  # as if its answer had been lost
    await stage.append([data[:100]])
    assert await stage.persist() == 100
    await stage.close()
    assert await content(over_way, await over_way.finish("a", 100)) == data[:100]
    assert place.leftovers() == 0


async def answering(status: str, body: bytes) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        ("507 Insufficient Storage", "XMinioStorageFull", StoreFull, "no room"),
        ("403 Forbidden", "QuotaExceeded", StoreFull, "no room"),
        ("503 Service Unavailable", "SlowDown", Unavailable, "just now"),
        ("500 Internal Server Error", "InternalError", Unavailable, "just now"),
        ("429 Too Many Requests", "", Unavailable, "just now"),
        ("403 Forbidden", "RequestTimeTooSkewed", Unavailable, "clocks"),
        ("403 Forbidden", "AccessDenied", Unavailable, "may not"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Unavailable, "region"),
        ("301 Moved Permanently", "PermanentRedirect", Unavailable, "region"),
        ("400 Bad Request", "InvalidPart", Unavailable, "refuses"),
        ("404 Not Found", "NoSuchBucket", Unavailable, "create it"),
        ("418 Teapot", "", Unavailable, "no S3 service"),
        ("200 OK", "InternalError", Unavailable, "just now"),
    ],
)
async def test_what_a_server_refuses_says_what_to_do(status: str, code: str, kind: type[Exception], words: str) -> None:
    body = f"<Error><Code>{code}</Code><Message>with a secret</Message></Error>".encode() if code else b""
    async with await answering(status, body) as server:
        host, port = server.sockets[0].getsockname()
        location = parse_location(s3_url(f"http://{host}:{port}", BUCKET))
        store = S3(location, in_thread=asyncio.to_thread, get_keys=lambda: on_seaweed().keys)
        with pytest.raises(kind) as caught:
            await anext(aiter(store.scan()))
        await store.close()
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_nothing_is_ever_stored_again_with_other_bytes(
    over_way: S3, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was given up may arrive late: it must not matter."""
    sent: dict[tuple[object, ...], set[bytes]] = {}
    call = Client.call

    def noting(client: Client, method: str, name: str, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        if method == "PUT":
            at = (name, *sorted((query or {}).items()))
            sent.setdefault(at, set()).add(b"".join(more["chunks"]))
        return call(client, method, name, query, **more)

    monkeypatch.setattr(Client, "call", noting)
    data = noise(3 * PART + 900)
    stage = await over_way.stage("a")
    ends = [300, 500, PART - 10, PART + 100, PART + 700, 2 * PART, 3 * PART + 5, 3 * PART + 900]
    for begin, end in itertools.pairwise([0, *ends]):
        way.block()
        if end % 200:
            way.open()
        await stage.append([data[begin:end]])
        with contextlib.suppress(Unavailable):
            await stage.persist(whole=end % 3 > 0)
        way.open()
        assert await stage.persist() == end
    await stage.close()
    for _ in range(2):
        assert await content(over_way, await over_way.finish("a", len(data))) == data
    assert len(sent) > 10
    assert all(len(contents) == 1 for contents in sent.values())
