"""The indexes of each collection: what they are, making them, and looking whether they are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase

from measurand.storage.documents.mongo.fields import field_of

__all__ = ["ORDERED", "missing", "prepare"]

ORDERED: Mapping[str, Collection[str]] = {"datasets": ("created", "updated")}
"""Paths by which a collection is listed so often that it has indexes of scope, value and key for them, both ways."""

_LEFTOVER_SECONDS = 3600
_WILDCARD = "found by"
_MAKING_SECONDS = 24 * 3600.0


async def prepare(database: AsyncDatabase[dict[str, Any]], collection: str) -> None:
    """Make the indexes of a collection as far as there are none, and so the collection. Among many documents it takes
    its time; others read and write meanwhile.
    """
    with pymongo.timeout(_MAKING_SECONDS):
        await database[collection].create_indexes(_indexes(collection))


async def missing(database: AsyncDatabase[dict[str, Any]]) -> Sequence[str]:
    """Return what is missing of the indexes of all collections there are, in words."""
    faults: list[str] = []
    for collection in sorted(await database.list_collection_names()):
        if collection.startswith("system."):
            continue
        there = {index["name"] async for index in await database[collection].list_indexes()}
        faults += [
            f'{collection}: there is no index "{name}"; a server makes it when it starts'
            for index in _indexes(collection)
            if (name := index.document["name"]) not in there
        ]
    return faults


def _indexes(collection: str) -> list[IndexModel]:
    plain = [
        IndexModel([("s", ASCENDING), ("_id", ASCENDING)], name="scope"),
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
