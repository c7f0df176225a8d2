"""Changes, for those who ask once and for those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from bson.timestamp import Timestamp

from measurand.core.ports import Changes
from measurand.storage.documents.mongo.changes import Token, read
from measurand.storage.documents.mongo.connection import Connection
from measurand.storage.documents.mongo.tail import Tail
from measurand.wire.errors import Unavailable

__all__ = ["Feed"]


class Feed:
    """The changes of all collections.

    Who asks once reads a stream of their own, so that all that is stored by now is in the answer. Those who wait share
    one stream for each collection.

    Parameters
    ----------
    connection : callable
        Returns the connection to use; another one after it was renewed.
    history : int, optional
        How many changes a token may be behind. None: as many as MongoDB keeps.
    """

    def __init__(self, connection: Callable[[], Connection], history: int | None) -> None:
        self._connection = connection
        self._history = history
        self._marks: dict[str, str] = {}
        self._tails: dict[str, Tail] = {}
        self._is_closed = False

    async def now(self, collection: str) -> Changes:
        """Return the token for now."""
        mark = await self._mark(collection)
        with self._connection().use() as connection:
            return Changes((), str(Token.at(mark, await connection.settled_time(collection))))

    async def behind(self, collection: str, after: str, scopes: Collection[str] | None, limit: int) -> Changes:
        """Return the changes behind a token that are there by now."""
        return await self._behind(collection, Token.parse(after, await self._mark(collection)), scopes, limit)

    async def next(
        self, collection: str, after: str, scopes: Collection[str] | None, limit: int, wait_seconds: float
    ) -> Changes:
        """Return the changes behind a token, waiting for a first one if there is none."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        mark = await self._mark(collection)
        token = Token.parse(after, mark)
        while True:
            tail = await self._tail(collection, mark)
            answer = tail.read(token, scopes, limit)
            if answer is None:
                answer = await self._behind(collection, token, scopes, limit)
            left = deadline - clock()
            if answer.changes or left <= 0:
                return answer
            token = Token.parse(answer.token, mark)
            await tail.wait(token, left)
            if self._is_closed:
                raise Unavailable(f"{collection}: the store is closed")

    async def close(self) -> None:
        """End all streams, and send away who waits."""
        self._is_closed = True
        await asyncio.gather(*(tail.close() for tail in self._tails.values()))

    async def _behind(self, collection: str, token: Token, scopes: Collection[str] | None, limit: int) -> Changes:
        with self._connection().use() as connection:
            return await read(connection.records(collection), token, scopes=scopes, limit=limit, history=self._history)

    async def _tail(self, collection: str, mark: str) -> Tail:
        tail = self._tails.get(collection)
        if tail is None or tail.is_over:
            with self._connection().use() as connection:
                time = await connection.settled_time(collection)
            tail = self._tails.get(collection)  # others came here meanwhile
            if tail is None or tail.is_over:
                # One moment earlier: places at this very moment are known as well.
                first = Token.at(mark, Timestamp(time.time - 1, time.inc))
                tail = self._tails[collection] = Tail(self._connection, collection, first)
        return tail

    async def _mark(self, collection: str) -> str:
        """Return a mark of the collection, which it loses when it is dropped, or restored from a backup."""
        mark = self._marks.get(collection)
        if mark is None:
            with self._connection().use() as connection:
                found = await connection.database.command("listCollections", filter={"name": collection})
            mark = bytes(found["cursor"]["firstBatch"][0]["info"]["uuid"]).hex()[:12]
            self._marks[collection] = mark
        return mark
