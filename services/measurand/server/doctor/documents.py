"""The document store, tried by its port: whatever it is, this must work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from measurand.core.filters.tree import Compare
from measurand.core.means import Means
from measurand.core.ports import Change, Document, DocumentStore, Json
from measurand.core.times import microseconds
from measurand.core.ulid import make_ulid
from measurand.core.view import Entry, Scalar
from measurand.server.doctor.findings import Ended, Report
from measurand.wire.errors import AlreadyExists, MeasurandError

__all__ = ["COLLECTION", "try_documents"]

COLLECTION = "doctor"
"""The only collection that is written to. Nobody else looks at it."""

LEFT_BEHIND = timedelta(hours=1)
"""What is older was left by a doctor that was killed."""
CHANGES_SECONDS = 10.0
TIDY_SECONDS = 10.0


async def try_documents(report: Report, store: DocumentStore, means: Means) -> None:
    """Write a document, read, find, replace, watch and remove it; all of it is gone afterwards."""
    document = _document(means)
    try:
        with suppress(Ended):
            await _try(report, store, document)
    finally:
        with suppress(MeasurandError, TimeoutError):
            async with asyncio.timeout(TIDY_SECONDS):
                await store.remove(COLLECTION, document.key)
                await _remove_left_behind(store, means.now())


async def _try(report: Report, store: DocumentStore, document: Document) -> None:
    token = None
    async with report.trying("documents: changes", "to ask for changes") as note:
        token = (await store.changes(COLLECTION, after=None)).token
        note.message = "the feed of changes gives a place to go on from"

    async with report.requiring("documents: write", "to write a document and to read it back") as note:
        began = time.perf_counter()
        await store.insert(COLLECTION, document)
        note.message = f"a document was written in {_milliseconds(began)}"
        kept = await store.fetch(COLLECTION, document.key)
        if kept is None or (kept.body, kept.text, kept.revision) != (document.body, document.text, 1):
            note.fail("what was read is not what was written", _BROKEN)
        else:
            note.message += " and read back unchanged"

    async with report.trying("documents: unique keys", "to write a second document with the same key") as note:
        note.message = "a second document with the same key is refused"
        with suppress(AlreadyExists):
            await store.insert(COLLECTION, document)
            note.fail("it was taken, so two servers could make the same dataset", _BROKEN)

    async with report.trying("documents: search", "to find a document by a value") as note:
        where = Compare("mark", "=", Scalar("s", document.key))
        found = await store.find(COLLECTION, scopes=[document.scope], where=where)
        if [item.document.key for item in found] != [document.key]:
            note.fail(f"{len(found)} were found and should have been one", _BROKEN)
        else:
            note.message = "it is found by a value, right after it was written"

    async with report.trying("documents: revisions", "to replace a document by its revision") as note:
        second = replace(document, text="second")
        first_try = await store.replace(COLLECTION, second, expected_revision=1)
        late = await store.replace(COLLECTION, replace(document, text="late"), expected_revision=1)
        now = await store.fetch(COLLECTION, document.key)
        if first_try is None or late is not None or now is None or (now.text, now.revision) != ("second", 2):
            note.fail("a write with an old revision was not refused, so edits would be lost", _BROKEN)
        else:
            note.message = "a write with the present revision is taken, one with an old revision is refused"

    if token is not None:
        await _try_watch(report, store, document.key, token)

    async with report.trying("documents: remove", "to remove a document") as note:
        is_removed = await store.remove(COLLECTION, document.key)
        if not is_removed or await store.fetch(COLLECTION, document.key) is not None:
            note.fail("it is still there", _BROKEN)
        else:
            note.message = "it is removed, and nothing of it is left"


async def _try_watch(report: Report, store: DocumentStore, key: str, token: str) -> None:
    async with report.trying("documents: watch", "to see those writes in the feed of changes") as note:
        if await _is_told(store, token, lambda change: change.key == key and change.revision == 2):
            note.message = "the feed of changes has shown both writes"
        else:
            message = f"they did not come within {CHANGES_SECONDS:g} seconds; watches would stand still"
            note.fail(message, "see that the members of the replica set reach each other")


async def _is_told(store: DocumentStore, token: str, fits: Callable[[Change], bool]) -> bool:
    until = time.monotonic() + CHANGES_SECONDS
    while (left := until - time.monotonic()) > 0:
        answer = await store.changes(COLLECTION, after=token, wait_seconds=left)
        token = answer.token
        if any(map(fits, answer.changes)):
            return True
    return False


async def _remove_left_behind(store: DocumentStore, now: datetime) -> None:
    old = Scalar("t", microseconds(now - LEFT_BEHIND))
    for item in await store.find(COLLECTION, where=Compare("time", "<", old), with_text=False):
        await store.remove(COLLECTION, item.document.key)


def _document(means: Means) -> Document:
    key = f"doctor/{make_ulid(means.now(), means.random_bytes).lower()}"
    view = [Entry("mark", Scalar("s", key)), Entry("time", Scalar("t", microseconds(means.now())))]
    odd: dict[str, Json] = {"a.b": 2**53 + 1, "$x": [None, True, 0.1], "": "ü\U0001f642"}
    return Document(key, "doctor", {"mark": key, "odd": odd}, text="first", view=view)


def _milliseconds(began: float) -> str:
    return f"{(time.perf_counter() - began) * 1000:.1f} ms"


_BROKEN = "do not use this store: report it with its name and version"
