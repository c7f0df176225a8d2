"""Writes, each of which is one operation on one document: it is there as a whole or not at all.

MongoDB tells of a deleted document only its key, and those who watch want its scope and revision. So what is removed
first becomes a tombstone `{_id, gone, was: {s, r}}`: this is the removal, and from then on nobody finds the document.
Then the tombstone is deleted. One that a crash leaves behind is replaced by the next document with its key, or
deleted by MongoDB after an hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from measurand.core.ports import Document
from measurand.storage.documents.mongo.records import pack
from measurand.storage.documents.mongo.selection import Records

__all__ = ["insert", "insert_many", "remove", "replace"]

_DUPLICATE_KEY = 11000
_SLICE_DOCUMENTS = 1_000
_SLICE_BYTES = 8 * 1024 * 1024

_TOMBSTONE: Mapping[str, Any] = {"gone": {"$exists": True}}
_BURY = [{"$replaceWith": {"_id": "$_id", "gone": "$$NOW", "was": {"s": "$s", "r": "$r"}}}]
_SOON = WriteConcern(1)  # a tombstone that comes back does no harm


async def insert(records: Records, document: Document) -> bool:
    """Store a new document. False: its key is taken."""
    record = pack(document, 1)
    try:
        await records.insert_one(record)
    except DuplicateKeyError:
        return await _insert_over(records, document.key, record)
    return True


async def insert_many(records: Records, documents: Sequence[Document]) -> list[bool]:
    """Store new documents, each by itself, and tell for each whether it was stored."""
    if len(documents) == 1:
        return [await insert(records, documents[0])]
    stored: list[bool] = []
    part: list[RawBSONDocument] = []
    size = 0
    for document in documents:
        record = pack(document, 1)
        if part and (len(part) == _SLICE_DOCUMENTS or size + len(record.raw) > _SLICE_BYTES):
            stored += await _insert_slice(records, documents[len(stored) :], part)
            part, size = [], 0
        part.append(record)
        size += len(record.raw)
    return stored + (await _insert_slice(records, documents[len(stored) :], part) if part else [])


async def replace(records: Records, document: Document, expected_revision: int) -> Document | None:
    """Put a document in the place of the one with its key, whose scope stays. None: it is not at that revision."""
    there = {"_id": document.key, "r": expected_revision}
    record = pack(document, expected_revision + 1)
    if (await records.replace_one({**there, "s": document.scope}, record)).matched_count:
        return changed(document, view=(), revision=expected_revision + 1)
    kept = await records.find_one(there, {"s": 1})
    if kept is None or kept["s"] == document.scope:
        return None
    return await replace(records, changed(document, scope=kept["s"]), expected_revision)


async def remove(records: Records, key: str, expected_revision: int | None) -> bool:
    """Remove a document. False: it is not there at that revision."""
    there = {"_id": key, "s": {"$exists": True}} if expected_revision is None else {"_id": key, "r": expected_revision}
    if not (await records.update_one(there, _BURY)).matched_count:
        return False
    with suppress(PyMongoError):  # it is removed; what is left of it goes after an hour
        await records.with_options(write_concern=_SOON).delete_one({"_id": key, **_TOMBSTONE})
    return True


async def _insert_slice(
    records: Records, documents: Sequence[Document], slice_of: Sequence[RawBSONDocument]
) -> list[bool]:
    stored = [True] * len(slice_of)
    try:
        await records.insert_many(slice_of, ordered=False)
    except BulkWriteError as error:
        faults = error.details["writeErrors"]
        if error.details["writeConcernErrors"] or any(fault["code"] != _DUPLICATE_KEY for fault in faults):
            raise
        taken = [fault["index"] for fault in faults]
        there = {"_id": {"$in": [documents[index].key for index in taken]}, "s": {"$exists": True}}
        living = {record["_id"] async for record in records.find(there, {"_id": 1})}
        for index in taken:
            key = documents[index].key
            stored[index] = key not in living and await _insert_over(records, key, slice_of[index])
    return stored


async def _insert_over(records: Records, key: str, record: RawBSONDocument) -> bool:
    """Store a record in the place of a tombstone. False: it is no tombstone that takes the key."""
    try:
        await records.replace_one({"_id": key, **_TOMBSTONE}, record, upsert=True)  # it may be gone by now
    except DuplicateKeyError:
        return False
    return True
