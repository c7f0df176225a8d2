"""Backups of stores that are being written to: whatever happens in between, what is restored is whole."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from blake3 import blake3
from tests.core.array_rooms import ArrayRooms
from tests.core.busy import Busy, Known
from tests.core.busy_buffers import check_buffers
from tests.core.crashing import Crash, Fuse, fused
from tests.core.interleaved import Gate, gated, letting
from tests.core.rooms import Rooms, make_rooms
from tests.core.sums import sums_in_backup

from measurand.core.arrays.documents import ARRAYS, array_of
from measurand.core.dataset_documents import DATASETS, is_purging
from measurand.core.deployments import begin_deployment, keep_deployment, open_deployment
from measurand.core.digesting import Running, read_through
from measurand.core.file_documents import FILES, SUPERSEDED, file_of, superseded_key
from measurand.core.limits import Limits
from measurand.core.moving.backup import make_backup
from measurand.core.moving.contents import CONTENTS
from measurand.core.moving.lines import sum_up
from measurand.core.moving.manifests import Manifest, list_backups, read_part
from measurand.core.moving.pruning import HELD, prune
from measurand.core.moving.restoring import restore
from measurand.core.moving.tally import Tally
from measurand.core.names import ArrayName, DatasetName, FileName, parse_dataset
from measurand.core.ports import BlobStore, DocumentStore, Order
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory as MemoryDocuments
from measurand.wire.errors import DataLoss, FailedPrecondition

LIMITS = Limits(blob_grace=timedelta(hours=1), window_bytes=64, persist_bytes=16)


async def back_up(
    rooms: Rooms,
    target: BlobStore,
    documents: DocumentStore | None = None,
    blobs: BlobStore | None = None,
    *,
    working: DocumentStore | None = None,
    looks: int = 50,
) -> Manifest:
    return await make_backup(
        documents or rooms.documents,
        blobs or rooms.blobs,
        working or MemoryDocuments(compile_pattern),
        target,
        rooms.means,
        Tally(),
        deployment="01SOURCE",
        looks=looks,
    )


async def restored(rooms: Rooms, target: BlobStore, manifest: Manifest) -> Rooms:
    """Return the rooms of a server over what a backup becomes."""
    new = make_rooms(LIMITS, seed=99)
    new.clock.time = rooms.clock.time
    mark = f"restore of {manifest.id}"
    deployment = await begin_deployment(new.documents, lambda: "01NEW", mark)
    swept = await restore(target, manifest, new.documents, new.blobs, new.means, LIMITS, Tally())
    assert not swept.damaged
    await keep_deployment(new.documents, replace(deployment, unfinished=""))
    return new


async def check_whole(rooms: Rooms, busy: Busy) -> None:
    """Nothing in the store refers to what is missing, every file is one that was sent, every history is complete."""
    datasets = {item.document.key: item.document for item in await rooms.documents.find(DATASETS, limit=10_000)}
    for content in CONTENTS:
        if content.owners:
            for item in await rooms.documents.find(content.name, limit=100_000):
                owner = await rooms.documents.fetch(content.owners, item.document.scope)
                assert owner is not None, f"{content.name} {item.document.key} lies in nothing"
    sent = {blake3(data).hexdigest() for data in busy.sent}
    for collection in (FILES, SUPERSEDED):
        for item in await rooms.documents.find(collection, limit=100_000):
            if not is_purging(datasets[item.document.scope]):
                file = file_of(item.document)
                running = Running.begin(rooms.means)
                await read_through(running, rooms.blobs, file.extents)
                assert (running.size, running.digests) == (file.size, file.digests)
                assert running.digests.blake3 in sent
    for item in await rooms.documents.find(ARRAYS, limit=10_000):
        if not is_purging(datasets[item.document.scope]) and datasets[item.document.scope].body["deleted"] is None:
            array = array_of(item.document)
            if array.trim is None:
                assert set(await ArrayRooms(rooms).read(array)) <= busy.arrays.sent, array.name
    await check_buffers(rooms, busy.buffers.sent)
    for key, document in datasets.items():
        if is_purging(document):
            continue
        newest = document.body["revision"]
        archived = await rooms.documents.find(
            "revisions", scopes=[key], order=[Order("revision", required=True)], limit=10_000
        )
        numbers = [item.document.body["revision"] for item in archived]
        assert isinstance(newest, int) and numbers == list(range(1, newest)), key
        assert {item.document.body["created"] for item in archived} <= {document.body["created"]}


async def check_has(rooms: Rooms, before: Mapping[DatasetName, Known], busy: Busy) -> None:
    """What was acknowledged before the backup began is there, but for what was taken away since."""
    arrays = ArrayRooms(rooms)
    for name, known in before.items():
        after = busy.known.get(name)
        if after is None or after.created != known.created:
            continue  # purged, or made anew
        dataset = await rooms.datasets.get(LOCAL_USER, name, show_deleted=True)
        assert dataset.revision >= known.revision
        for path, data in known.files.items():
            if after.files.get(path) == data:
                assert await replace(rooms, name=name).content(path) == data
        for path, rows in known.arrays.items():
            if after.arrays.get(path) == rows:
                array = await arrays.arrays.get(LOCAL_USER, ArrayName(name.catalog, name.dataset, path))
                assert await arrays.read(array) == rows
    for name, known in busy.known.items():
        for path, generations in known.generations.items():
            file = FileName(name.catalog, name.dataset, path)
            newest = await rooms.documents.fetch(FILES, str(file))
            if newest is not None and (last := file_of(newest).generation) in generations:
                keys = [superseded_key(file, generation) for generation in generations if generation < last]
                assert len(await rooms.documents.fetch_many(SUPERSEDED, keys)) == len(keys), f"{file} lacks its past"


async def grow_old(rooms: Rooms) -> None:
    """Let the background work of some days pass."""
    for _ in range(4):
        rooms.clock.move(timedelta(hours=13))
        await rooms.datasets.purge_expired()
        await rooms.uploads.ends.expire()
        await rooms.collector.run_once()


@pytest.mark.parametrize("looks", [1, 50])
@pytest.mark.parametrize("seed", range(8))
async def test_a_backup_made_while_everything_changes_is_whole(seed: int, looks: int) -> None:
    rooms, gate, chance = make_rooms(LIMITS, seed=seed), Gate(), random.Random(seed)
    documents, blobs = gated(rooms.documents, rooms.blobs, gate)
    busy = Busy(rooms, random.Random(seed))
    await busy.begin()
    for _ in range(60):
        await busy.step()
    before = copy.deepcopy(busy.known)
    busy.rooms = replace(rooms, documents=documents, blobs=blobs)

    async def work() -> None:
        for _ in range(400):
            await busy.step()

    gate.begin(work())
    target = make_rooms(LIMITS).blobs
    manifest = await back_up(rooms, target, *letting(rooms.documents, rooms.blobs, gate, chance), looks=looks)
    assert gate.calls > 20
    await gate.end()
    new = await restored(rooms, target, manifest)
    assert (await open_deployment(new.documents, lambda: "")).id == "01NEW"
    await check_whole(new, busy)
    await check_has(new, before, busy)
    await grow_old(new)
    await check_whole(new, busy)
    await live_on(new, busy)


async def live_on(rooms: Rooms, busy: Busy) -> None:
    """Go on working with what was restored, and find the histories still right."""
    found = await rooms.documents.find(DATASETS, limit=10_000)
    names = [
        parse_dataset(item.document.key)
        for item in found
        if item.document.body["deleted"] is None and item.document.body["kind"] != "batch"
    ]
    later = Busy(rooms, random.Random(1), sent=busy.sent)
    later.arrays.sent = busy.arrays.sent
    later.buffers.sent = busy.buffers.sent
    later.made = 10_000
    for name in names:
        dataset = await rooms.datasets.get(LOCAL_USER, name)
        later.known[name] = Known(dataset.create_time, dataset.revision, arrays=await rows_of(rooms, name))
    for _ in range(60):
        await later.step()
    await check_whole(rooms, later)


async def rows_of(rooms: Rooms, name: DatasetName) -> dict[str, list[bytes]]:
    arrays, rows = ArrayRooms(rooms), dict[str, list[bytes]]()
    for array in (await arrays.arrays.page(LOCAL_USER, name)).arrays:
        array = await arrays.resizing.finish(array)
        rows[array.name.array] = [row for row in await arrays.read(array) if row is not None]
    return rows


async def test_a_backup_of_a_quiet_store_is_the_store_and_the_next_one_copies_no_blob_again() -> None:
    rooms, target = make_rooms(LIMITS), make_rooms(LIMITS).blobs
    busy = Busy(rooms, random.Random(7))
    await busy.begin()
    for _ in range(80):
        await busy.step()
    manifest = await back_up(rooms, target)
    assert manifest.cut.is_exact and not manifest.damaged
    sums = await sums_in_backup(rooms.documents)
    assert {name: (section.count, section.sha256) for name, section in manifest.documents.items()} == {
        name: (found.count, found.sha256) for name, found in sums.items()
    }
    new = await restored(rooms, target, manifest)
    assert await sum_up(new.documents, CONTENTS, with_running=True) == sums
    tally = Tally()
    working = MemoryDocuments(compile_pattern)
    rooms.clock.move(timedelta(seconds=2))
    again = await make_backup(rooms.documents, rooms.blobs, working, target, rooms.means, tally, deployment="01SOURCE")
    assert tally.copied == 0 and again.blobs == replace(manifest.blobs, parts=again.blobs.parts)
    assert [found.id for found in await list_backups(target)] == [manifest.id, again.id]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_backup_killed_at_any_call_leaves_none_and_the_next_run_goes_on(after: bool) -> None:
    rooms = make_rooms(LIMITS)
    busy = Busy(rooms, random.Random(5))
    await busy.begin()
    for _ in range(25):
        await busy.step()
    sums = await sums_in_backup(rooms.documents)
    at, killed = 0, 0
    while True:
        target = make_rooms(LIMITS).blobs
        working, fused_target = fused(MemoryDocuments(compile_pattern), target, Fuse(at, after))
        try:
            await back_up(rooms, fused_target, working=working)
        except Crash:
            killed += 1
            present = {
                blob.key for held in HELD for blob in [blob async for blob in target.scan(held)] if not blob.staged
            }
            assert len(await list_backups(target)) <= after
        else:
            break
        tally = Tally()
        manifest = await make_backup(
            rooms.documents,
            rooms.blobs,
            MemoryDocuments(compile_pattern),
            target,
            rooms.means,
            tally,
            deployment="01SOURCE",
        )
        assert tally.copied == manifest.blobs.count - len(present)
        new = await restored(rooms, target, manifest)
        assert await sum_up(new.documents, CONTENTS, with_running=True) == sums
        await check_whole(new, busy)
        at += 7
    assert killed > 10


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_restore_killed_at_any_call_serves_nothing_and_the_next_run_goes_on(after: bool) -> None:
    rooms, target = make_rooms(LIMITS), make_rooms(LIMITS).blobs
    busy = Busy(rooms, random.Random(6))
    await busy.begin()
    for _ in range(25):
        await busy.step()
    manifest = await back_up(rooms, target)
    at = 0
    while True:
        new = make_rooms(LIMITS)
        deployment = await begin_deployment(new.documents, lambda: "01NEW", "restore of it")
        try:
            await restore(
                target, manifest, *fused(new.documents, new.blobs, Fuse(at, after)), new.means, LIMITS, Tally()
            )
        except Crash:
            with pytest.raises(FailedPrecondition, match="unfinished restore of it"):
                await open_deployment(new.documents, lambda: "01OTHER")
        else:
            break
        assert await begin_deployment(new.documents, lambda: "01OTHER", "restore of it") == deployment
        await restore(target, manifest, new.documents, new.blobs, new.means, LIMITS, Tally())
        await check_whole(new, busy)
        at += 5
    assert at > 50


async def test_old_backups_go_with_the_blobs_that_only_they_had() -> None:
    rooms, target = make_rooms(LIMITS), make_rooms(LIMITS).blobs
    busy = Busy(rooms, random.Random(8))
    await busy.begin()
    made = []
    for _ in range(4):
        for _ in range(30):
            await busy.step()
        rooms.clock.move(timedelta(hours=2))
        await rooms.collector.run_once()
        made.append(await back_up(rooms, target))
    await target.put("backups/torn/documents/files.0001.jsonl", [b"{}"])
    gone = await prune(target, MemoryDocuments(compile_pattern), keep=2)
    assert [manifest.id for manifest in gone] == [manifest.id for manifest in made[:2]]
    assert [manifest.id for manifest in await list_backups(target)] == [manifest.id for manifest in made[2:]]
    for manifest in made[2:]:
        await check_whole(await restored(rooms, target, manifest), busy)
    named = set()
    for manifest in made[2:]:
        named |= {blob.key async for blob in (await restored(rooms, target, manifest)).blobs.scan("files/")}
    assert {blob.key async for blob in target.scan("files/")} == named
    lines = [line for manifest in made[2:] for part in manifest.blobs.parts for line in await read_part(target, part)]
    kept = {key for line in lines if (key := json.loads(line)["key"]).startswith("arrays/")}
    assert kept and {blob.key async for blob in target.scan("arrays/")} == kept
    assert not [blob async for blob in target.scan("backups/torn")]


async def test_a_part_that_was_damaged_is_not_restored() -> None:
    rooms, target = make_rooms(LIMITS), make_rooms(LIMITS).blobs
    busy = Busy(rooms, random.Random(9))
    await busy.begin()
    manifest = await back_up(rooms, target)
    [part] = manifest.documents[DATASETS].parts
    await target.delete(part.key)
    await target.put(part.key, [b"x" * part.size])
    with pytest.raises(DataLoss, match="part of the backup is damaged"):
        await restored(rooms, target, manifest)
