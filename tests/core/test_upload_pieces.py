"""An upload that outgrows one blob goes on in the next, and a store that writes in parts is waited for when it must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.core.rooms import Rooms, prepare
from tests.core.staging import Staging
from tests.faults import Failing

from measurand.core.file_documents import Digests, File, FileSpec
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER
from measurand.core.upload_writer import Ack, UploadWriter
from measurand.wire.errors import StoreFull, Unavailable, WriterFenced

LIMITS = Limits(window_bytes=64, persist_bytes=16, max_data_bytes=32)
CONTENT = bytes(index * 7 % 251 for index in range(200))


async def begin(rooms: Rooms) -> str:
    await prepare(rooms)
    return (await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file("a.bin")), None, Digests(), "")).id


async def open_writer(rooms: Rooms, upload: str, acks: list[int]) -> UploadWriter:
    async def acknowledge(ack: Ack) -> None:
        acks.append(ack.persisted_size)

    return await rooms.uploads.open_writer(LOCAL_USER, upload, None, acknowledge)


async def persisted(writer: UploadWriter, size: int) -> None:
    """Return when so many bytes are persisted, or the writer has ended."""
    while writer.upload.persisted_size < size and not writer.ending.done():  # noqa: ASYNC110  # it tells nobody of each
        await asyncio.sleep(0)


async def send(rooms: Rooms, upload: str, ends: Sequence[int]) -> list[int]:
    """Send CONTENT from where it stands up to each of `ends`, wait each time, and return what was acknowledged."""
    acks: list[int] = []
    writer = await open_writer(rooms, upload, acks)
    offset = writer.upload.persisted_size
    for end in ends:
        await writer.take(offset, CONTENT[offset:end], None, flush=True)
        offset = end
        await persisted(writer, end)
    await writer.close()
    rooms.uploads.closed(writer)
    return acks


async def commit(rooms: Rooms, upload: str) -> File:
    return await rooms.uploads.ends.commit(LOCAL_USER, upload, len(CONTENT), Digests(), None)


@pytest.mark.parametrize("part_bytes", [0, 12, 100])
async def test_a_blob_that_is_large_enough_is_followed_by_another(part_bytes: int) -> None:
    rooms = Staging(part_bytes=part_bytes, piece_bytes=40).make_rooms(LIMITS)
    upload = await begin(rooms)
    acks = await send(rooms, upload, [30, 60, 90, 120, 150, 180, 200])
    assert acks == sorted(acks) and acks[-1] == len(CONTENT)
    file = await commit(rooms, upload)
    assert [extent.size for extent in file.extents] == [60, 60, 60, 20]
    assert len({extent.blob.key for extent in file.extents}) == 4
    assert await rooms.content("a.bin") == CONTENT


async def test_a_later_writer_goes_on_behind_all_blobs_of_the_earlier_one() -> None:
    rooms = Staging(piece_bytes=40).make_rooms(LIMITS)
    upload = await begin(rooms)
    await send(rooms, upload, [30, 60, 90])
    rooms = rooms.restarted()
    await send(rooms, upload, [120, 150, 180, 200])
    file = await commit(rooms, upload)
    assert [extent.size for extent in file.extents] == [60, 30, 60, 50]
    assert await rooms.content("a.bin") == CONTENT


async def test_what_has_passed_through_several_blobs_is_not_read_again_to_commit_it() -> None:
    rooms = Staging(part_bytes=12, piece_bytes=40).make_rooms(LIMITS)
    counted = Failing(rooms.blobs, verb="open", at=0, error=StoreFull("never raised"))
    rooms = replace(rooms, blobs=counted)
    upload = await begin(rooms)
    await send(rooms, upload, [30, 60, 90, 120, 150, 180, 200])
    await commit(rooms, upload)
    assert "open" not in counted.calls


async def test_a_writer_that_was_fenced_begins_no_other_blob() -> None:
    rooms = Staging(piece_bytes=40).make_rooms(LIMITS)
    upload = await begin(rooms)
    writer = await open_writer(rooms, upload, [])
    await writer.take(0, CONTENT[:32], None, flush=True)
    await writer.take(32, CONTENT[32:60], None, flush=True)
    await persisted(writer, 60)
    await (await open_writer(rooms, upload, [])).close()
    await writer.take(60, CONTENT[60:90], None, flush=True)
    with pytest.raises(WriterFenced):
        await writer.close()
    keys = [blob.key async for blob in rooms.blobs.scan()]
    assert not [key for key in keys if key.endswith(".1.1")]


async def test_a_store_that_fails_between_two_blobs_ends_the_writer_and_loses_nothing() -> None:
    rooms = Staging(piece_bytes=40).make_rooms(LIMITS)
    upload = await begin(rooms)
    failing = Failing(rooms.blobs, verb="stage", at=2, error=Unavailable("gone", retry_seconds=1.0))
    with pytest.raises(Unavailable):
        await send(replace(rooms, blobs=failing), upload, [30, 60, 90])
    assert (await rooms.uploads.get(LOCAL_USER, upload)).persisted_size == 60
    await send(rooms, upload, [90, 120, 150, 180, 200])
    await commit(rooms, upload)
    assert await rooms.content("a.bin") == CONTENT


async def test_a_part_larger_than_the_window_is_persisted_when_the_client_waits_for_it() -> None:
    rooms = Staging(part_bytes=1000).make_rooms(LIMITS)
    upload = await begin(rooms)
    acks: list[int] = []
    writer = await open_writer(rooms, upload, acks)
    for offset in range(0, len(CONTENT), 20):
        await writer.take(offset, CONTENT[offset : offset + 20], None)  # would wait for ever without acknowledgements
    assert acks
    await writer.close()
    await commit(rooms, upload)
    assert await rooms.content("a.bin") == CONTENT
