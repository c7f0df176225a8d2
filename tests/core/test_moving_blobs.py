"""Blobs on their way to another store: proved on both sides, not copied twice, never left half."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.faults import Damaged

from measurand.core.file_documents import Digests, FileSpec
from measurand.core.moving.pieces import Piece, Pieces
from measurand.core.moving.sweeping import SMALL_BYTES, Sweeping, Swept
from measurand.core.moving.tally import Tally
from measurand.core.ports import Blob, BlobStore
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.storage.blobs.checked import Checked
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import DataLoss

MiB = 1024 * 1024


async def nothing(_: Ack) -> None:
    """Nobody listens."""


async def filled(size: int) -> Rooms:
    """Return rooms with two small files that share a blob, and a larger one with a blob of its own."""
    rooms = make_rooms()
    await prepare(rooms)
    for answer in [
        rooms.small_files.begin(LOCAL_USER, SmallFile(FileSpec(rooms.file(path)), path.encode() * 9, Digests()))
        for path in ("one", "two")
    ]:
        await answer
    data = random.Random(1).randbytes(size)
    begun = await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file("large")), size, Digests(), "")
    writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
    for offset in range(0, size, MiB):
        await writer.take(offset, data[offset : offset + MiB], None)
    await writer.close()
    rooms.uploads.closed(writer)
    await rooms.uploads.ends.commit(LOCAL_USER, begun.id, size, Digests(), None)
    return rooms


async def swept(rooms: Rooms, target: BlobStore, tally: Tally | None = None) -> Swept:
    sweeping = Sweeping(rooms.documents, rooms.blobs, target, rooms.means, tally or Tally())
    return await sweeping.sweep(rooms.documents)


async def bytes_of(store: BlobStore, key: str) -> bytes:
    size = (await store.stat(key)).size
    return b"".join([bytes(chunk) async for chunk in store.open(Blob(key, size))])


@pytest.mark.parametrize("size", [1000, SMALL_BYTES + 1])
async def test_blobs_are_copied_once_and_are_the_same(size: int) -> None:
    rooms, target = await filled(size), make_rooms().blobs
    tally = Tally()
    assert (await swept(rooms, target, tally)).copied == 2
    assert tally.copied_bytes == size + 54
    keys = {blob.key async for blob in rooms.blobs.scan()}
    assert {blob.key async for blob in target.scan()} == keys
    for key in keys:
        assert await bytes_of(target, key) == await bytes_of(rooms.blobs, key)
    assert (await swept(rooms, target)).copied == 0


async def test_what_a_killed_run_or_a_disk_has_left_half_is_written_anew() -> None:
    rooms, target = await filled(SMALL_BYTES + 1), make_rooms().blobs
    keys = sorted([blob.key async for blob in rooms.blobs.scan()], key=len)
    stage = await target.stage(keys[1])
    await stage.append([b"half"])
    await stage.persist()
    await stage.close()
    await target.put(keys[0], [b"short"])
    assert (await swept(rooms, target)).copied == 2
    for key in keys:
        assert await bytes_of(target, key) == await bytes_of(rooms.blobs, key)


async def test_a_target_that_gives_back_other_bytes_is_told_and_keeps_none_of_them() -> None:
    rooms = await filled(1000)
    target = Memory()
    forgetful = Checked(
        Damaged(target, at=0),
        crc32c=rooms.means.crc32c,
        combine_crc32c=rooms.means.combine_crc32c,
        in_thread=rooms.means.in_thread,
    )
    with pytest.raises(DataLoss):
        await swept(rooms, forgetful)
    assert len([blob async for blob in target.scan()]) <= 1  # another that was on its way


async def damage(rooms: Rooms, path: str) -> None:
    """Change the last byte of a file at rest."""
    file = await rooms.files.get(LOCAL_USER, rooms.file(path))
    [extent] = file.extents
    whole = bytearray(await bytes_of(rooms.blobs, extent.blob.key))
    whole[extent.offset + extent.size - 1] ^= 1
    await rooms.blobs.delete(extent.blob.key)
    await rooms.blobs.put(extent.blob.key, [bytes(whole)])


async def test_a_damaged_file_is_named_and_those_beside_it_are_copied() -> None:
    rooms, target = await filled(1000), make_rooms().blobs
    await damage(rooms, "two")
    await damage(rooms, "large")
    for _ in range(2):  # what lies beside healthy files is remembered
        found = await swept(rooms, target)
        assert set(found.damaged) == {str(rooms.file("two")), str(rooms.file("large"))}
    copied = replace(rooms, blobs=target)
    assert await copied.content("one") == b"one" * 9
    await rooms.files.delete(LOCAL_USER, rooms.file("two"))
    assert set((await swept(rooms, target)).damaged) == {str(rooms.file("large"))}


async def test_a_blob_that_went_away_together_with_its_file_asks_for_another_look() -> None:
    rooms, target = await filled(1000), make_rooms().blobs
    before = await rooms.documents.find("files", limit=10)
    await rooms.files.delete(LOCAL_USER, rooms.file("large"))
    [large] = [item.document for item in before if item.document.key.endswith("large")]
    await rooms.blobs.delete(str(large.body["extents"][0]["blob"]))  # type: ignore[index, call-overload]  # as it is stored
    copy = make_rooms().documents
    await copy.insert_many("files", [item.document for item in before])
    sweeping = Sweeping(rooms.documents, rooms.blobs, target, rooms.means, Tally())
    found = await sweeping.sweep(copy)
    assert found.is_outdated and not found.damaged


@pytest.mark.parametrize("cuts", [[100], [1, 99], [10, 10, 10, 10, 60], [37, 63]])
def test_pieces_are_summed_up_however_the_blob_is_cut(cuts: Sequence[int]) -> None:
    means = make_rooms().means
    data = bytes(range(100))
    places = [(0, 10), (10, 1), (11, 39), (50, 50), (50, 50), (0, 100)]
    pieces = [Piece("files", str(at), at, size, means.crc32c(data[at : at + size], 0)) for at, size in places]
    wrong = Piece("files", "wrong", 60, 7, 1)
    beyond = Piece("files", "beyond", 90, 20, 1)
    sums = Pieces([*pieces, wrong, beyond], means)
    begin = 0
    for cut in cuts:
        sums.add(data[begin : begin + cut])
        begin += cut
    assert {piece.key for piece in sums.damaged} == {"wrong", "beyond"}
