"""The indexes of each collection: what they are, making them, and looking whether they are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from measurand.storage.documents.mongo.fields import field_of
from measurand.storage.documents.mongo.selection import Records

__all__ = ["ORDERED", "SUMMED", "missing", "prepare"]

ORDERED: Mapping[str, Collection[str]] = {"datasets": ("created", "updated")}
"""Paths by which a collection is listed so often that it has indexes of scope, value and key for them, both ways."""

SUMMED: Mapping[str, Collection[str]] = {"datasets": ("file_count", "stored_bytes"), "files": ("size",)}
"""Paths whose numbers are summed over whole scopes. They stand in the index of scopes, so no document is read for it;
so at none of them may there be a list.
"""

_LEFTOVER_SECONDS = 3600
_WILDCARD = "found by"
_MAKING_SECONDS = 24 * 3600.0


async def prepare(database: AsyncDatabase[dict[str, Any]], collection: str) -> None:
    """Make the indexes of a collection as far as they are not there, and so the collection. Among many documents it
    takes its time; others read and write meanwhile. One that another release made in another form is made anew.
    """
    records, wanted = database[collection], _indexes(collection)
    with pymongo.timeout(_MAKING_SECONDS):
        try:
            await records.create_indexes(wanted)
        except OperationFailure as error:
            if error.code not in _OTHER_FORM:
                raise
            there = await _keys(records)
            for index in wanted:
                name = index.document["name"]
                if name in there and there[name] != list(index.document["key"].items()):
                    await records.drop_index(name)
            await records.create_indexes(wanted)


async def missing(database: AsyncDatabase[dict[str, Any]]) -> Sequence[str]:
    """Return what is missing of the indexes of all collections there are, in words."""
    faults: list[str] = []
    for collection in sorted(await database.list_collection_names()):
        if collection.startswith("system."):
            continue
        there = await _keys(database[collection])
        faults += [
            f'{collection}: there is no index "{name}"; a server makes it when it starts'
            for index in _indexes(collection)
            if there.get(name := index.document["name"]) != list(index.document["key"].items())
        ]
    return faults


_OTHER_FORM = {85, 86}
"""IndexOptionsConflict, IndexKeySpecsConflict."""


async def _keys(records: Records) -> Mapping[str, list[tuple[str, object]]]:
    """Return what indexes there are, by name."""
    return {index["name"]: list(index["key"].items()) async for index in await records.list_indexes()}


def _indexes(collection: str) -> list[IndexModel]:
    summed = [(f"v.{field_of(path)}", ASCENDING) for path in SUMMED.get(collection, ())]
    plain = [
        IndexModel([("s", ASCENDING), ("_id", ASCENDING), *summed], name="scope"),
        IndexModel([("$**", ASCENDING)], name=_WILDCARD, wildcardProjection={"v": 1, "o": 1, "c": 1, "l": 1}),
        IndexModel(
            [("gone", ASCENDING)],
            name="gone",
            expireAfterSeconds=_LEFTOVER_SECONDS,
            partialFilterExpression={"gone": {"$exists": True}},
        ),
    ]
    ordered = [
        IndexModel([("s", ASCENDING), (f"v.{field_of(path)}", way), ("_id", ASCENDING)], name=f"{path}{word}")
        for path in ORDERED.get(collection, ())
        for word, way in (("", ASCENDING), (" descending", DESCENDING))
    ]
    return plain + ordered
