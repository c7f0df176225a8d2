"""What a doctor finds in a store that breaks a promise, and that it leaves nothing there, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.faults import Damaged, Failing, Verb

from measurand.core.means import Means
from measurand.core.placement.policies import Policy
from measurand.core.ports import Blob, BlobStore, Buffer, Changes, Document, DocumentStore, Found, StoredBlob
from measurand.core.view import Entry, Scalar
from measurand.server.doctor import documents
from measurand.server.doctor.blobs import try_blobs
from measurand.server.doctor.documents import COLLECTION, try_documents
from measurand.server.doctor.findings import Finding, Report
from measurand.server.doctor.speed import try_speed
from measurand.server.means import make_means
from measurand.server.patterns import compile_pattern
from measurand.storage.blobs.memory import Memory as MemoryBlobs
from measurand.storage.documents.memory import Memory as MemoryDocuments
from measurand.wire.errors import MeasurandError, PermissionDenied, StoreFull, Unavailable

DAY = timedelta(days=1)


@pytest.fixture
def means() -> Iterator[Means]:
    with ThreadPoolExecutor() as threads:
        yield make_means(threads)


def wrong(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.status) for finding in findings if finding.status != "ok"]


# --------------------------------------------------------------------------------------------------------- documents


async def documents_findings(store: DocumentStore, means: Means) -> list[Finding]:
    findings: list[Finding] = []
    await try_documents(Report(findings.append), store, means)
    return findings


async def test_a_document_store_that_is_well_is_found_well_and_left_as_it_was(means: Means) -> None:
    store = MemoryDocuments(compile_pattern)
    findings = await documents_findings(store, means)
    assert wrong(findings) == []
    assert [finding.check.removeprefix("documents: ") for finding in findings] == [
        "changes", "write", "unique keys", "search", "revisions", "watch", "remove",
    ]  # fmt: skip
    assert await store.count(COLLECTION) == 0


class Passing:
    """A document store whose verbs a test changes one at a time."""

    def __init__(self) -> None:
        self.inner: Any = MemoryDocuments(compile_pattern)

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.inner, verb)


class Forgetful(Passing):
    async def fetch(self, collection: str, key: str) -> Document | None:
        kept: Document | None = await self.inner.fetch(collection, key)
        return kept and replace(kept, body={**kept.body, "odd": None})


class TakesKeysTwice(Passing):
    async def insert(self, collection: str, document: Document) -> Document:
        await self.inner.insert_many(collection, [document])
        return replace(document, revision=1)


class FindsLate(Passing):
    async def find(self, collection: str, **more: Any) -> list[Found]:
        return []


class LastWriteWins(Passing):
    async def replace(self, collection: str, document: Document, *, expected_revision: int) -> Document | None:
        kept = await self.inner.fetch(collection, document.key)
        stored: Document | None = await self.inner.replace(collection, document, expected_revision=kept.revision)
        return stored


class TellsNothing(Passing):
    async def changes(self, collection: str, **more: Any) -> Changes:
        await asyncio.sleep(more.get("wait_seconds", 0))
        return Changes((), "token")


class KeepsAll(Passing):
    async def remove(self, collection: str, key: str, **more: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "check", "says"),
    [
        (Forgetful, "write", "what was read is not what was written"),
        (TakesKeysTwice, "unique keys", "it was taken"),
        (FindsLate, "search", "0 were found"),
        (LastWriteWins, "revisions", "edits would be lost"),
        (TellsNothing, "watch", "watches would stand still"),
        (KeepsAll, "remove", "it is still there"),
    ],
)
async def test_a_promise_that_a_document_store_breaks_is_named(
    kind: type[Passing], check: str, says: str, means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "CHANGES_SECONDS", 0.01)
    store = kind()
    findings = await documents_findings(store, means)
    (bad,) = [finding for finding in findings if finding.status == "error"]
    assert bad.check == f"documents: {check}"
    assert bad.message.startswith("tried to ") and says in bad.message and bad.advice
    if kind is not KeepsAll:
        assert await store.count(COLLECTION) == 0


@pytest.mark.parametrize(
    ("error", "message", "advice"),
    [
        (StoreFull("there is no room; free some space"), "there is no room", "free some space"),
        (Unavailable("nobody answers"), "nobody answers", "see that the store runs and that this machine reaches it"),
        (PermissionDenied("not for you"), "not for you", "give the account of the servers the right to"),
    ],
)
async def test_what_a_store_refuses_is_told_once_with_what_to_do(
    error: MeasurandError, message: str, advice: str, means: Means
) -> None:
    class Refusing(Passing):
        async def insert(self, collection: str, document: Document) -> Document:
            raise error

    findings = await documents_findings(Refusing(), means)
    (bad,) = [finding for finding in findings if finding.status == "error"]
    assert bad.message == f"tried to write a document and to read it back: {message}"
    assert bad.advice.startswith(advice)
    assert findings[-1] is bad  # what builds on it would say the same again


async def test_what_a_killed_doctor_has_left_in_the_documents_goes_with_the_next(means: Means) -> None:
    store = MemoryDocuments(compile_pattern)
    for key, age in (("old", 2 * DAY), ("new", timedelta())):
        microseconds = int((means.now() - age).timestamp() * 1e6)
        view = [Entry("time", Scalar("t", microseconds))]
        await store.insert(COLLECTION, Document(key, "doctor", {}, view=view))
    await documents_findings(store, means)
    assert [item.document.key for item in await store.find(COLLECTION)] == ["new"]


async def test_a_store_that_gives_no_answer_is_given_up() -> None:
    findings: list[Finding] = []
    async with Report(findings.append).trying("it", "to wait", patience_seconds=0.01):
        await asyncio.Event().wait()
    (bad,) = findings
    assert (bad.status, bad.message) == ("error", "tried to wait: no answer within 0.01 seconds")


# ------------------------------------------------------------------------------------------------------------- blobs


async def blob_findings(
    store: BlobStore, means: Means, *, other: BlobStore | None = None
) -> tuple[list[Finding], bool]:
    findings: list[Finding] = []

    async def another() -> BlobStore:
        return Unclosing(other or store)

    works = await try_blobs(Report(findings.append), store, another, means)
    return findings, works


class Unclosing:
    """The same memory for another server, which closes it when it has done."""

    def __init__(self, inner: BlobStore) -> None:
        self.inner: Any = inner

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.inner, verb)

    async def close(self) -> None:
        """It goes on elsewhere."""


async def keys_of(store: BlobStore) -> list[str]:
    return [blob.key async for blob in store.scan()]


async def test_a_blob_store_that_is_well_is_found_well_and_left_as_it_was(means: Means) -> None:
    store = MemoryBlobs()
    await store.put("files/a", [b"a"])
    findings, works = await blob_findings(store, means)
    assert (works, wrong(findings)) == (True, [])
    assert [finding.check.removeprefix("blobs: ") for finding in findings] == [
        "write", "read", "ranges", "stat", "list", "no overwriting", "delete", "staged write", "taking over", "discard",
    ]  # fmt: skip
    assert await keys_of(store) == ["files/a"]


@pytest.mark.parametrize(
    ("verb", "at", "check", "others"),
    [
        ("put", 1, "write", 0),
        ("open", 1, "read", 1),
        ("open", 2, "ranges", 9),
        ("stat", 1, "stat", 9),
        ("scan", 1, "list", 9),
        ("delete", 1, "delete", 9),
        ("stage", 1, "staged write", 7),
        ("append", 2, "staged write", 7),
        ("persist", 3, "staged write", 7),
        ("finish", 1, "taking over", 9),
        ("discard", 1, "discard", 9),
    ],
)
async def test_what_a_blob_store_refuses_is_told_and_nothing_is_left_there(
    verb: Verb, at: int, check: str, others: int, means: Means
) -> None:
    resting = MemoryBlobs()
    store = Failing(resting, verb=verb, at=at, error=Unavailable("the disk is gone; look for it"))
    findings, works = await blob_findings(store, means)
    (bad,) = [finding for finding in findings if finding.status == "error"]
    assert (bad.check, bad.advice) == (f"blobs: {check}", "look for it")
    assert bad.message.endswith(": the disk is gone")
    assert len(findings) == others + 1
    assert works == (others == 9)
    assert await keys_of(resting) == []


class Odd(Unclosing):
    """A store whose verbs a test changes one at a time."""

    def __init__(self) -> None:
        super().__init__(MemoryBlobs())


class Overwriting(Odd):
    async def put(self, key: str, chunks: Iterable[Buffer], *, policy: Policy | None = None) -> Blob:
        await self.inner.delete(key)
        made: Blob = await self.inner.put(key, chunks, policy=policy)
        return made


class ListsLate(Odd):
    async def scan(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        nothing: tuple[StoredBlob, ...] = ()
        for blob in nothing:
            yield blob


class DeletesLate(Odd):
    async def delete(self, key: str) -> None:
        """It is gone tomorrow."""


class DiscardsLate(Odd):
    async def discard(self, key: str) -> None:
        """It is gone tomorrow."""


class IgnoresRanges(Odd):
    async def open(self, blob: Blob, offset: int = 0, length: int | None = None) -> AsyncIterator[Buffer]:
        async for chunk in self.inner.open(blob):
            yield chunk


@pytest.mark.parametrize(
    ("kind", "checks"),
    [
        (Overwriting, ["no overwriting"]),
        (ListsLate, ["list", "staged write"]),
        (DeletesLate, ["delete"]),
        (DiscardsLate, ["discard"]),
        (IgnoresRanges, ["ranges", "no overwriting", "taking over"]),
    ],
)
async def test_a_promise_that_a_blob_store_breaks_is_named(kind: type[Odd], checks: list[str], means: Means) -> None:
    findings, _ = await blob_findings(kind(), means)
    bad = [finding.check.removeprefix("blobs: ") for finding in findings if finding.status == "error"]
    assert bad == checks


async def test_bytes_that_come_back_changed_are_told(means: Means) -> None:
    findings, works = await blob_findings(Damaged(MemoryBlobs(), at=1000), means)
    assert not works
    assert findings[-1].message == "tried to read the blob back: what comes from 0 on is not what was written"


async def test_a_server_that_does_not_find_what_another_has_kept_is_told(means: Means) -> None:
    findings, works = await blob_findings(MemoryBlobs(), means, other=MemoryBlobs())
    assert works
    assert wrong(findings) == [("blobs: taking over", "error")]


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), -timedelta(minutes=5)], ids=["ahead", "behind"])
async def test_clocks_that_are_apart_are_a_warning_that_says_what_goes_wrong(ahead: timedelta, means: Means) -> None:
    store = MemoryBlobs(now=lambda: datetime.now(UTC) + ahead)
    findings, works = await blob_findings(store, means)
    assert works
    (late,) = [finding for finding in findings if finding.status != "ok"]
    assert (late.check, late.status) == ("blobs: stat", "warning")
    assert ("300 seconds ahead of" if ahead > timedelta() else "seconds behind") in late.message
    assert "older or younger than they are" in late.message and "chrony" in late.advice


async def test_what_a_killed_doctor_has_left_in_the_blobs_goes_with_the_next(means: Means) -> None:
    time = means.now() - DAY
    store = MemoryBlobs(now=lambda: time)
    await store.put("doctor/x/0", [b"old"])
    stage = await store.stage("doctor/x/1")
    await stage.close()
    time = means.now()
    await store.put("doctor/y/0", [b"of one that runs"])
    await blob_findings(store, means)
    assert await keys_of(store) == ["doctor/y/0"]


async def test_speed_is_told_in_figures_and_nothing_is_left(means: Means) -> None:
    findings: list[Finding] = []
    store = MemoryBlobs()
    await try_speed(Report(findings.append), store, means)
    assert [finding.status for finding in findings] == ["ok"]
    assert "MB/s" in findings[0].message and "ms each" in findings[0].message
    assert await keys_of(store) == []
