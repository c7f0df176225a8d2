"""A store that is copied while it serves and then once more: the copy is the store, and goes on as it would have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.core.busy import Busy
from tests.core.crashing import Crash, Fuse, fused
from tests.core.interleaved import Gate, gated, letting
from tests.core.rooms import Rooms, make_rooms

from measurand.core.arrays.blocks import BLOCKS
from measurand.core.arrays.documents import STAGED
from measurand.core.counters import Counters
from measurand.core.dataset_documents import DATASETS
from measurand.core.dataset_edits import DatasetEdit
from measurand.core.dataset_watch import DatasetChange
from measurand.core.file_documents import FILES, SUPERSEDED, Digests, FileSpec
from measurand.core.filters.tree import Compare, Exists, Filter
from measurand.core.history import History, integer
from measurand.core.limits import Limits
from measurand.core.metadata import MetadataReader
from measurand.core.moving.contents import CONTENTS, blobs_of
from measurand.core.moving.lines import sum_up
from measurand.core.moving.relocating import Relocation, relocate
from measurand.core.moving.tally import Tally
from measurand.core.names import FileName, parse_dataset
from measurand.core.ports import BlobStore, Document, DocumentStore
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.view import Scalar
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.documents import encode
from measurand.wire.errors import FailedPrecondition

LIMITS = Limits(blob_grace=timedelta(hours=1), window_bytes=64, persist_bytes=16)


async def busy_rooms(seed: int, steps: int) -> tuple[Rooms, Busy]:
    rooms = make_rooms(LIMITS, seed=seed)
    busy = Busy(rooms, random.Random(seed))
    await busy.begin()
    for _ in range(steps):
        await busy.step()
    return rooms, busy


async def copy(
    old: Rooms,
    documents: DocumentStore,
    blobs: BlobStore,
    *,
    is_last: bool = True,
    source: tuple[DocumentStore, BlobStore] | None = None,
    tally: Tally | None = None,
) -> Relocation:
    from_documents, from_blobs = source or (old.documents, old.blobs)
    return await relocate(
        from_documents, from_blobs, documents, blobs, old.means, LIMITS, tally or Tally(), is_last=is_last
    )


async def check_same(old: Rooms, new: Rooms) -> None:
    """The documents of both are the same, found by the same searches, and all blobs are there."""
    sums = await sum_up(old.documents, CONTENTS, with_running=True)
    assert await sum_up(new.documents, CONTENTS, with_running=True) == sums
    assert not [name for name, found in sums.items() if not found.count and name not in ("requests", STAGED)]
    for content in CONTENTS:
        for item in await new.documents.find(content.name, limit=100_000):
            if content.name in (FILES, SUPERSEDED, BLOCKS):
                for blob in blobs_of(content.name, item.document):
                    assert (await new.blobs.stat(blob.key)).size >= blob.size
    searches: list[tuple[str, Filter]] = [
        (DATASETS, Compare("metadata.n", ">", Scalar("n", 3))),
        (DATASETS, Compare("metadata.nested.list", "=", Scalar("s", "x"))),
        (DATASETS, Exists("deleted")),
        (FILES, Compare("filename", "=", Scalar("s", "c.bin"))),
        (SUPERSEDED, Compare("expires", ">", Scalar("t", 0))),
        ("uploads", Compare("state", "=", Scalar("s", "committed"))),
        ("revisions", Compare("revision", "=", Scalar("n", 1))),
    ]
    for collection, where in searches:
        found = [item.document.key for item in await old.documents.find(collection, where=where, limit=10_000)]
        again = [item.document.key for item in await new.documents.find(collection, where=where, limit=10_000)]
        assert found == again, where
    assert await old.documents.total(FILES, "size") == await new.documents.total(FILES, "size")


@pytest.mark.parametrize("seed", range(4))
async def test_a_copy_made_while_everything_changes_and_once_more_is_the_store(seed: int) -> None:
    old, busy = await busy_rooms(seed, 80)
    gate = Gate()
    documents, blobs = gated(old.documents, old.blobs, gate)
    busy.rooms = replace(old, documents=documents, blobs=blobs)

    async def work() -> None:
        for _ in range(100):
            await busy.step()

    gate.begin(work())
    new = make_rooms(LIMITS)
    source = letting(old.documents, old.blobs, gate, random.Random(seed))
    await copy(old, new.documents, new.blobs, is_last=False, source=source)
    await copy(old, new.documents, new.blobs, is_last=False, source=source)
    assert gate.calls > 20
    await gate.end()
    assert not (await copy(old, new.documents, new.blobs)).damaged
    await check_same(old, new)
    tally = Tally()
    await copy(old, new.documents, new.blobs, tally=tally)
    assert tally.documents > 50 and (tally.written, tally.copied) == (0, 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_copy_killed_at_any_call_goes_on_in_the_next_run(after: bool) -> None:
    old, _ = await busy_rooms(3, 60)
    at, killed = 0, 0
    while True:
        new = make_rooms(LIMITS)
        try:
            await copy(old, *fused(new.documents, new.blobs, Fuse(at, after)))
        except Crash:
            killed += 1
            tally = Tally()
            before = {blob.key async for blob in new.blobs.scan() if not blob.staged}
            await copy(old, new.documents, new.blobs, tally=tally)
            after_it = {blob.key async for blob in new.blobs.scan()}
            assert tally.copied == len(after_it - before)
            await check_same(old, new)
        else:
            break
        at += 5
    assert killed > 10


async def test_the_last_run_notices_that_somebody_writes() -> None:
    old, busy = await busy_rooms(4, 40)
    gate = Gate()
    documents, blobs = gated(old.documents, old.blobs, gate)
    busy.rooms = replace(old, documents=documents, blobs=blobs)

    async def work() -> None:
        for _ in range(100):
            await busy.put()

    gate.begin(work())
    new = make_rooms(LIMITS)
    with pytest.raises(FailedPrecondition, match="written to meanwhile"):
        await copy(old, new.documents, new.blobs, source=letting(old.documents, old.blobs, gate, random.Random(4)))
    await gate.end()


async def test_a_store_that_forgets_its_changes_is_walked_once_more() -> None:
    old, busy = await busy_rooms(6, 40)
    forgetful = replace(old, documents=Memory(compile_pattern, history=8))
    for content in CONTENTS:
        reader = MetadataReader(old.means, LIMITS)
        for item in await old.documents.find(content.name, limit=100_000):
            view = await content.view(item.document, reader)
            await forgetful.documents.insert(content.name, replace(item.document, view=view))
    gate = Gate()
    documents, blobs = gated(forgetful.documents, old.blobs, gate)
    busy.rooms = replace(forgetful, documents=documents, blobs=blobs)

    async def work() -> None:
        for _ in range(60):
            await busy.step()

    gate.begin(work())
    new = make_rooms(LIMITS)
    source = letting(forgetful.documents, old.blobs, gate, random.Random(6))
    tally = Tally()
    await copy(old, new.documents, new.blobs, is_last=False, source=source, tally=tally)
    assert tally.documents > sum([await new.documents.count(content.name) for content in CONTENTS])
    await gate.end()
    await copy(forgetful, new.documents, new.blobs)
    await check_same(forgetful, new)


async def watched(rooms: Rooms, token: str) -> tuple[Sequence[tuple[str, int, str]], str]:
    """Return the changes since a token: their kinds, the revisions and the metadata that they tell of."""

    async def pack(change: DatasetChange) -> tuple[tuple[str, int, str], int]:
        assert change.dataset is not None
        return (change.kind, change.dataset.revision, change.dataset.metadata), 1

    answer = await rooms.datasets.watch.poll(
        LOCAL_USER, None, pack, resume_token=token, filter_text="file_count >= 0", most=1000
    )
    return answer.changes, answer.token


async def leave_behind(rooms: Rooms, document: Document) -> None:
    """Archive the present revision of a dataset, as a change does that then does not come about."""
    history = History(rooms.documents, rooms.means, LIMITS, collection=DATASETS, archive="revisions")
    stale = replace(document, revision=document.revision + 1000)
    assert await history.replace(stale, document) is None


async def test_etags_history_and_watches_go_on_over_the_copy() -> None:
    old, _ = await busy_rooms(5, 40)
    found = await old.documents.find(DATASETS, limit=1000)
    shown = [item.document for item in found if item.document.body["deleted"] is None]
    document = max(shown, key=lambda one: integer(one.body, "revision"))
    name = parse_dataset(document.key)
    await leave_behind(old, document)
    new = make_rooms(LIMITS)
    new.clock.time = old.clock.time
    before = await old.datasets.get(LOCAL_USER, name)
    await copy(old, new.documents, new.blobs)
    assert (await new.datasets.get(LOCAL_USER, name)).etag == before.etag
    await Counters(new.documents, new.means, LIMITS).run_once()
    _, token = await watched(new, "")
    spec = FileSpec(FileName(name.catalog, name.dataset, "more"))
    await new.small_files.put(LOCAL_USER, SmallFile(spec, b"more", Digests()))
    await Counters(new.documents, new.means, LIMITS).run_once()  # makes no revision
    last = before
    for step in range(3):
        edit = DatasetEdit(patch=encode({"after": step}))
        last = await new.datasets.update(LOCAL_USER, name, edit, etag=last.etag)
    changes, _ = await watched(new, token)
    assert [(kind, revision) for kind, revision, _ in changes] == [
        ("updated", before.revision + step) for step in (0, 1, 2, 3)
    ]
    assert [f'"after":{step}' in changes[step + 1][2] for step in range(3)] == [True] * 3
    for number in range(1, last.revision + 1):
        assert (await new.datasets.revisions.get(LOCAL_USER, name, number)).dataset.revision == number
