"""A look at everything that is stored: tells of what is lost, damaged or left over, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.core.rooms import Rooms, make_rooms, prepare
from tests.faults import Failing

from measurand.core import walking
from measurand.core.checkup import Checkup, Seen, Trouble
from measurand.core.dataset_documents import DATASETS, REVISIONS
from measurand.core.dataset_edits import DatasetEdit
from measurand.core.file_documents import FILES, Digests, FileSpec
from measurand.core.filters.tree import Compare
from measurand.core.limits import Limits
from measurand.core.ports import BlobStore, Document, DocumentStore, StoredBlob
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.core.upload_writer import Ack
from measurand.core.uploads import UPLOADS, Upload, UploadState, upload_document, upload_of
from measurand.core.view import Scalar
from measurand.wire.errors import DataLoss, Unavailable

LIMITS = Limits(persist_bytes=64)
HOUR = timedelta(hours=1)
DATA = bytes(range(200))
OTHERS = bytes(reversed(DATA))
FAST = 1e12


async def nothing(_: Ack) -> None:
    """Nobody listens."""


async def begin(rooms: Rooms, path: str) -> str:
    """Upload DATA and leave the upload open; return its id."""
    begun = await rooms.uploads.create(LOCAL_USER, FileSpec(rooms.file(path)), len(DATA), Digests(), "")
    writer = await rooms.uploads.open_writer(LOCAL_USER, begun.id, None, nothing)
    await writer.take(0, DATA, rooms.means.crc32c(DATA, 0))
    await writer.close()
    rooms.uploads.closed(writer)
    return begun.id


async def upload(rooms: Rooms, path: str) -> None:
    await rooms.uploads.ends.commit(LOCAL_USER, await begin(rooms, path), len(DATA), Digests(), None)


async def put(rooms: Rooms, *paths: str) -> None:
    """Put small files, all of them into one blob."""
    files = [SmallFile(FileSpec(rooms.file(path)), DATA, Digests()) for path in paths]
    await asyncio.gather(*(rooms.small_files.put(LOCAL_USER, file) for file in files))


async def blob_of(rooms: Rooms, path: str) -> str:
    document = await rooms.documents.fetch(FILES, str(rooms.file(path)))
    assert document is not None
    extents: Any = document.body["extents"]
    return str(extents[0]["blob"])


async def damage(rooms: Rooms, key: str, content: bytes) -> None:
    """Put other bytes into the place of a blob."""
    await rooms.blobs.delete(key)
    await rooms.blobs.put(key, [content])


async def change(rooms: Rooms, collection: str, key: str, **changes: Any) -> None:
    """Write a document that no server would write."""
    kept = await rooms.documents.fetch(collection, key)
    assert kept is not None
    text = changes.pop("text", kept.text)
    broken = replace(kept, body={**kept.body, **changes}, text=text)
    assert await rooms.documents.replace(collection, broken, expected_revision=kept.revision)


async def look(
    rooms: Rooms,
    *,
    documents: DocumentStore | None = None,
    blobs: BlobStore | None = None,
    with_bytes: bool = False,
) -> tuple[list[Trouble], Seen]:
    found: list[Trouble] = []
    checkup = Checkup(documents or rooms.documents, blobs or rooms.blobs, rooms.means, rooms.limits, tell=found.append)
    return found, await checkup.run(bytes_per_second=FAST if with_bytes else None)


@pytest.fixture
async def rooms() -> Rooms:
    """A dataset with a history, files of all kinds, an older generation, and an upload that is open."""
    rooms = make_rooms(LIMITS)
    await prepare(rooms)
    await rooms.datasets.update(LOCAL_USER, rooms.name, DatasetEdit(add_tags=("again",)))
    await upload(rooms, "large")
    await upload(rooms, "large")
    await put(rooms, "a", "b", "c")
    await begin(rooms, "open")
    return rooms


async def test_all_is_well_and_what_was_seen_is_counted(rooms: Rooms) -> None:
    found, seen = await look(rooms, with_bytes=True)
    assert found == []
    documents = [await rooms.documents.count(name) for name in ("catalogs", "datasets", "revisions", "files")]
    assert documents == [1, 1, 1, 4]
    assert seen.documents == 7 + 1 + 3  # one older generation; two committed uploads and an open one
    assert (seen.blobs, seen.named, seen.read_bytes) == (4, 3, 5 * len(DATA))
    assert (seen.orphans, seen.overdue) == (0, 0)


async def test_a_blob_that_is_gone_is_told_for_each_file_that_stood_on_it(rooms: Rooms) -> None:
    key = await blob_of(rooms, "a")
    await rooms.blobs.delete(key)
    found, _ = await look(rooms, with_bytes=True)
    assert {(trouble.kind, trouble.resource) for trouble in found} == {
        ("missing", str(rooms.file(path))) for path in ("a", "b", "c")
    }
    assert all(key in trouble.text for trouble in found)


@pytest.mark.parametrize("page", [1, 500])
async def test_a_blob_that_has_lost_its_end_is_told_for_those_that_stand_on_the_end(
    rooms: Rooms, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "PAGE", page)
    await damage(rooms, await blob_of(rooms, "a"), 2 * DATA)
    (trouble,), _ = await look(rooms)
    assert (trouble.kind, trouble.resource) == ("short", str(rooms.file("c")))
    assert f"has {2 * len(DATA)} bytes and should have {3 * len(DATA)}" in trouble.text


@pytest.mark.parametrize("path", ["large", "a"])
async def test_other_bytes_are_found_when_they_are_read_and_only_then(rooms: Rooms, path: str) -> None:
    """In a blob with sums of its own, and in one whose files have theirs."""
    others = OTHERS if path == "large" else OTHERS + DATA + DATA
    await damage(rooms, await blob_of(rooms, path), others)
    assert (await look(rooms))[0] == []
    (trouble,), _ = await look(rooms, with_bytes=True)
    assert (trouble.kind, trouble.resource) == ("damaged", str(rooms.file(path)))


async def test_what_a_blob_has_beyond_its_size_does_not_matter(rooms: Rooms) -> None:
    await damage(rooms, await blob_of(rooms, "a"), 4 * DATA)
    assert (await look(rooms, with_bytes=True))[0] == []


async def test_blobs_that_nobody_names_count_once_they_are_older_than_the_grace_time(rooms: Rooms) -> None:
    await rooms.blobs.put("files/left", [DATA])
    stage = await rooms.blobs.stage("files/staged")
    await stage.append([DATA])
    await stage.persist()
    await stage.close()
    found, seen = await look(rooms)
    assert (found, seen.orphans) == ([], 0)
    rooms.clock.move(rooms.limits.blob_grace)
    found, seen = await look(rooms)
    assert (found, seen.orphans, seen.orphan_bytes) == ([], 2, 2 * len(DATA))
    assert set(seen.orphan_keys) == {"files/left", "files/staged"}
    for _ in range(2):
        await rooms.collector.run_once()
        rooms.clock.move(2 * rooms.limits.blob_grace)
    assert (await look(rooms))[1].orphans == 0


async def open_upload(rooms: Rooms) -> Document:
    uploads = [item.document for item in await rooms.documents.find(UPLOADS)]
    (document,) = [each for each in uploads if upload_of(each).state is UploadState.OPEN]
    return document


async def test_bytes_of_an_open_upload_that_are_gone_are_told(rooms: Rooms) -> None:
    document = await open_upload(rooms)
    key = upload_of(document).pieces[0].key
    await rooms.blobs.discard(key)
    (trouble,), _ = await look(rooms)
    assert (trouble.kind, trouble.resource) == ("missing", document.key)


async def test_a_commit_that_a_crash_has_stopped_behind_its_blobs_has_lost_nothing(rooms: Rooms) -> None:
    document = await open_upload(rooms)
    (piece,) = upload_of(document).pieces
    await rooms.blobs.finish(piece.key, piece.size)
    assert (await look(rooms))[0] == []


async def test_uploads_that_nobody_ends_are_counted(rooms: Rooms) -> None:
    rooms.clock.move(rooms.limits.upload_lifetime + 2 * HOUR)
    assert (await look(rooms))[1].overdue == 3
    await rooms.uploads.ends.expire()
    assert (await look(rooms))[1].overdue == 0


class Stepping(Failing):
    """A blob store before each of whose `stat` something happens."""

    def __init__(self, inner: BlobStore, step: Any) -> None:
        super().__init__(inner, verb="stat", at=0, error=DataLoss(""))
        self._step = step

    async def stat(self, key: str) -> StoredBlob:
        await self._step(key)
        return await super().stat(key)


async def test_what_is_deleted_meanwhile_is_not_lost(rooms: Rooms) -> None:
    name = rooms.file("large")

    async def purge(key: str) -> None:
        await rooms.documents.remove(FILES, str(name))
        await rooms.blobs.delete(gone)

    gone = await blob_of(rooms, "large")
    assert (await look(rooms, blobs=Stepping(rooms.blobs, purge), with_bytes=True))[0] == []


async def test_an_upload_that_is_committed_meanwhile_leaves_no_orphan(rooms: Rooms) -> None:
    rooms.clock.move(2 * rooms.limits.blob_grace)
    documents = Committing(rooms, upload_of(await open_upload(rooms)))
    found, seen = await look(rooms, documents=documents)
    assert documents.has_committed
    assert (found, seen.orphans) == ([], 0)


class Passing:
    """A document store that passes everything on; tests put something in the way of single verbs."""

    def __init__(self, inner: DocumentStore) -> None:
        self._inner: Any = inner

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._inner, verb)


class Committing(Passing):
    """Commits an upload after files were asked for its blob, and before uploads are."""

    def __init__(self, rooms: Rooms, upload: Upload) -> None:
        super().__init__(rooms.documents)
        self._rooms = rooms
        self._upload = upload
        self.has_committed = False

    async def count(self, collection: str, **asked: Any) -> int:
        answer: int = await self._inner.count(collection, **asked)
        is_its_blob = asked["where"] == Compare("blob", "=", Scalar("s", self._upload.pieces[0].key))
        if collection == FILES and is_its_blob and not self.has_committed:
            self.has_committed = True
            await self._rooms.uploads.ends.commit(LOCAL_USER, self._upload.id, len(DATA), Digests(), None)
        return answer


@pytest.mark.parametrize(
    ("collection", "key", "changes", "why"),
    [
        (DATASETS, "catalogs/lab/datasets/run", {"created": None}, "NoneType"),
        (DATASETS, "catalogs/lab/datasets/run", {"text": '{"a": 1}'}, "its metadata has 8 bytes and should have 2"),
        (DATASETS, "catalogs/lab/datasets/run", {"text": "{]"}, "its metadata cannot be read"),
        (REVISIONS, "catalogs/lab/datasets/run/revisions/1", {"text": "[]"}, "its metadata cannot be read"),
        (FILES, "catalogs/lab/datasets/run/files/large", {"size": 201}, "the file has 201 bytes and its pieces 200"),
        (FILES, "catalogs/lab/datasets/run/files/large", {"extents": [{"blob": "x"}]}, "KeyError: 'offset'"),
        ("catalogs", "catalogs/lab", {"labels": 0, "undelete_window": "long"}, ""),
    ],
)
async def test_a_document_that_cannot_be_read_is_named(
    rooms: Rooms, collection: str, key: str, changes: Mapping[str, Any], why: str
) -> None:
    await change(rooms, collection, key, **changes)
    found, seen = await look(rooms, with_bytes=True)
    (trouble,) = [each for each in found if each.kind == "unreadable"]
    assert trouble.resource == f"{collection}: {key}"
    assert why in trouble.text
    assert seen.documents >= 10  # it went on


async def test_an_upload_that_says_nonsense_is_named(rooms: Rooms) -> None:
    document = await open_upload(rooms)
    broken = upload_document(upload_of(document))
    broken = replace(broken, body={**broken.body, "state": "asleep"})
    await rooms.documents.replace(UPLOADS, broken, expected_revision=document.revision)
    (trouble,), _ = await look(rooms)
    assert (trouble.kind, trouble.resource) == ("unreadable", f"uploads: {document.key}")
    assert "'asleep' is not a valid UploadState" in trouble.text


class Torn(Passing):
    """A document store that cannot give one document."""

    def __init__(self, inner: DocumentStore, collection: str, key: str, error: Exception) -> None:
        super().__init__(inner)
        self._at = collection, key
        self._error = error

    async def find(self, collection: str, **more: Any) -> Sequence[Any]:
        found: Sequence[Any] = await self._inner.find(collection, **more)
        if self._at in [(collection, item.document.key) for item in found]:
            raise self._error
        return found

    async def fetch_many(self, collection: str, keys: Sequence[str]) -> Any:
        if self._at in [(collection, key) for key in keys]:
            raise self._error
        return await self._inner.fetch_many(collection, keys)

    async def fetch(self, collection: str, key: str) -> Any:
        if self._at == (collection, key):
            raise self._error
        return await self._inner.fetch(collection, key)


BROKEN = pytest.mark.parametrize(
    ("error", "why"),
    [
        (DataLoss("page 7 is damaged; restore it"), "page 7 is damaged; restore it"),
        (KeyError("revision"), "KeyError: 'revision'"),
    ],
)


@BROKEN
async def test_a_collection_is_read_up_to_where_the_store_is_damaged(rooms: Rooms, error: Exception, why: str) -> None:
    torn = Torn(rooms.documents, FILES, str(rooms.file("c")), error)
    found, _ = await look(rooms, documents=torn)
    (trouble,) = [each for each in found if each.kind == "unreadable"]
    assert trouble.resource == f"files: what comes after {rooms.file('b')}"
    assert trouble.text.startswith(why)


async def test_a_store_that_goes_away_ends_the_look(rooms: Rooms) -> None:
    torn = Torn(rooms.documents, FILES, str(rooms.file("c")), Unavailable("nobody answers"))
    with pytest.raises(Unavailable):
        await look(rooms, documents=torn)


class TornText(Torn):
    """One whose walks go well, since they leave out the texts."""

    async def find(self, collection: str, **more: Any) -> Sequence[Any]:
        found: Sequence[Any] = await self._inner.find(collection, **more)
        return found


@BROKEN
async def test_a_dataset_whose_text_the_store_has_lost_is_named(rooms: Rooms, error: Exception, why: str) -> None:
    torn = TornText(rooms.documents, DATASETS, str(rooms.name), error)
    (trouble,), _ = await look(rooms, documents=torn)
    assert (trouble.resource, trouble.text) == (f"datasets: {rooms.name}", why)
