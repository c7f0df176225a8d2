"""URLs for readers that can reach the store: given where that is allowed, and never for what other files lie in."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta

import pytest
from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core.file_documents import Digests, FileSpec
from measurand.core.locating import Locating, Presign
from measurand.core.ports import Blob
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.wire.errors import FailedPrecondition, FeatureDisabled, InvalidArgument, NotFound

HOUR = timedelta(hours=1)


def url_of(blob: Blob, seconds: float) -> str:
    return f"https://store/{blob.key}?for={seconds:g}"


def locating(rooms: Rooms, presign: Presign | None = url_of) -> Locating:
    return Locating(rooms.files, rooms.means, presign=presign, longest=HOUR)


@pytest.fixture
async def rooms() -> Rooms:
    rooms = make_rooms()
    await prepare(rooms)
    return rooms


async def upload(rooms: Rooms, path: str, *parts: bytes) -> None:
    """Write each part by a writer of its own, as after a lost connection."""

    async def nothing(_: Ack) -> None: ...

    begun = await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file(path)), None, Digests(), "")
    offset = 0
    for part in parts:
        writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
        await writer.take(offset, part, None)
        await writer.close()
        offset += len(part)
    await rooms.uploads.ends.commit(LOCAL_USER, begun.id, offset, Digests(), None)


async def test_the_spans_in_order_are_the_file(rooms: Rooms) -> None:
    await upload(rooms, "a.bin", b"first ", b"second ", b"third")
    found = await locating(rooms).locate(LOCAL_USER, rooms.file("a.bin"))
    assert found.file.size == sum(span.size for span in found.spans) == 18
    assert len(found.spans) == 3
    content = b""
    for span in found.spans:
        key = span.url.removeprefix("https://store/").partition("?")[0]
        stored = await rooms.blobs.stat(key)
        chunks = [bytes(chunk) async for chunk in rooms.blobs.open(Blob(key, stored.size))]
        content += b"".join(chunks)[: span.size]
    assert content == b"first second third"


@pytest.mark.parametrize(
    ("asked", "given"), [(None, HOUR), (timedelta(minutes=1), timedelta(minutes=1)), (2 * HOUR, HOUR)]
)
async def test_urls_are_good_for_as_long_as_was_asked_and_allowed(
    rooms: Rooms, asked: timedelta | None, given: timedelta
) -> None:
    await upload(rooms, "a.bin", b"x")
    found = await locating(rooms).locate(LOCAL_USER, rooms.file("a.bin"), lifetime=asked)
    assert found.spans[0].url.endswith(f"?for={given.total_seconds():g}")
    assert found.expire_time == rooms.clock.time + given


async def test_what_other_files_lie_in_is_not_given_away(rooms: Rooms) -> None:
    files = [SmallFile(FileSpec(rooms.file(path)), path.encode(), Digests()) for path in ("a", "b")]
    await asyncio.gather(*(rooms.small_files.put(LOCAL_USER, file) for file in files))
    with pytest.raises(FailedPrecondition, match="read it through the server"):
        await locating(rooms).locate(LOCAL_USER, rooms.file("a"))


async def test_mistakes(rooms: Rooms) -> None:
    await upload(rooms, "a.bin", b"x")
    with pytest.raises(FeatureDisabled):
        await locating(rooms, None).locate(LOCAL_USER, rooms.file("a.bin"))
    with pytest.raises(NotFound):
        await locating(rooms).locate(LOCAL_USER, rooms.file("none"))
    with pytest.raises(InvalidArgument, match="lifetime"):
        await locating(rooms).locate(LOCAL_USER, rooms.file("a.bin"), lifetime=timedelta(0))


async def test_what_lies_in_containers_has_no_url(rooms: Rooms) -> None:
    await upload(rooms, "a.bin", b"first ", b"second")
    await upload(rooms, "b.bin", b"third")
    [extent] = (await rooms.files.get(LOCAL_USER, rooms.file("b.bin"), 0)).extents

    async def are_elsewhere(blobs: Collection[str]) -> bool:
        return extent.blob.key in blobs

    found = Locating(rooms.files, rooms.means, presign=url_of, longest=HOUR, are_elsewhere=are_elsewhere)
    assert len((await found.locate(LOCAL_USER, rooms.file("a.bin"))).spans) == 2
    with pytest.raises(FailedPrecondition, match="lies in containers; read it through the server"):
        await found.locate(LOCAL_USER, rooms.file("b.bin"))
