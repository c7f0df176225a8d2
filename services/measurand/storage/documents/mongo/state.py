"""What a deployment of MongoDB says of itself, for an operator who wants to know whether it is sound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from measurand.storage.documents.mongo import indexes
from measurand.storage.documents.mongo.connection import Connection, name_of
from measurand.storage.documents.mongo.faults import translating

__all__ = ["State", "skew_seconds", "state_of"]

_TIMEOUT_SECONDS = 10.0
_MEETING_SECONDS = 5.0
"""How long the driver has to meet all members after the first has told of them."""


@dataclass(frozen=True, slots=True)
class State:
    """How a deployment stands.

    Parameters
    ----------
    release : str
        Such as `6.0.5`.
    set_name : str
        Of the replica set; empty behind a router of a sharded cluster.
    primary : str
        `HOST:PORT` of the member that takes writes, or of the router.
    members, away : sequence of str
        All members that keep data or vote, and those of them that this machine does not reach.
    skew_seconds : float
        How far the clock of the primary is ahead of this machine's, at least; 0 where they may agree.
    free_bytes, total_bytes : int
        Of the disk below the database; 0 where that is not told.
    missing_indexes : sequence of str
        In words.
    """

    release: str
    set_name: str
    primary: str
    members: Sequence[str]
    away: Sequence[str]
    skew_seconds: float
    free_bytes: int
    total_bytes: int
    missing_indexes: Sequence[str]


async def state_of(url: str) -> State:
    """Return how the deployment at a URL stands. Raises what its store would raise."""
    connection = await Connection.open(url, timeout_seconds=_TIMEOUT_SECONDS)
    try:
        with translating(name_of(url)):
            client = connection.database.client
            before = datetime.now(UTC)
            hello = await connection.hello()
            after = datetime.now(UTC)
            members = [*hello.get("hosts", ()), *hello.get("passives", ()), *hello.get("arbiters", ())]
            disk = await _disk(connection)
            return State(
                release=str((await client.admin.command("buildInfo"))["version"]),
                set_name=str(hello.get("setName", "")),
                primary=str(hello.get("primary", "")),
                members=members,
                away=await _away(client, members),
                skew_seconds=skew_seconds(hello["localTime"], before, after),
                free_bytes=int(disk.get("fsTotalSize", 0)) - int(disk.get("fsUsedSize", 0)),
                total_bytes=int(disk.get("fsTotalSize", 0)),
                missing_indexes=await indexes.missing(connection.database),
            )
    finally:
        await connection.retire()


async def _disk(connection: Connection) -> Mapping[str, Any]:
    try:
        return await connection.database.command("dbStats")
    except OperationFailure:  # a role that does not allow the question
        return {}


async def _away(client: AsyncMongoClient[dict[str, Any]], members: Sequence[str]) -> Sequence[str]:
    """Return the members that the driver has not met, after a while."""
    until = asyncio.get_running_loop().time() + _MEETING_SECONDS
    while True:
        met = {
            f"{host}:{port}"
            for (host, port), server in client.topology_description.server_descriptions().items()
            if server.is_server_type_known
        }
        away = [member for member in members if member.lower() not in met]
        if not away or asyncio.get_running_loop().time() > until:
            return away
        await asyncio.sleep(0.1)


def skew_seconds(told: datetime, before: datetime, after: datetime) -> float:
    """Return how far a clock is ahead that told its time between two moments of ours; 0 where it may agree.

    Parameters
    ----------
    told : datetime
        In UTC if it is naive.
    """
    time = told if told.tzinfo else told.replace(tzinfo=UTC)
    if time > after:
        return (time - after).total_seconds()
    return min((time - before).total_seconds(), 0.0)
