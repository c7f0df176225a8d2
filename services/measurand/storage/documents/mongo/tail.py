"""The newest changes of a collection, which one stream brings for all who wait for them in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import Callable, Collection
from contextvars import Context
from itertools import islice

from pymongo.errors import PyMongoError

from measurand.core.ports import Change, Changes
from measurand.storage.documents.mongo.changes import Token, change_of, stream
from measurand.storage.documents.mongo.connection import Connection
from measurand.storage.documents.mongo.faults import brief
from measurand.wire.errors import MeasurandError

__all__ = ["Tail"]

logger = logging.getLogger(__name__)

_KEPT = 10_000
_WAIT_MILLISECONDS = 1_000
_SHORTEST_REST_SECONDS, _LONGEST_REST_SECONDS = 0.1, 5.0


class Tail:
    """Follows the changes of a collection from a time on.

    Parameters
    ----------
    connection : callable
        Returns the connection to use; another one after it was renewed.
    first : Token
        It knows what comes behind this.
    """

    def __init__(self, connection: Callable[[], Connection], collection: str, first: Token) -> None:
        self._connection = connection
        self._collection = collection
        self._at = first
        self._start = first.rank
        self._ranks: list[str] = []
        self._changes: list[Change] = []
        self._news = asyncio.Event()
        self._is_closing = False
        self.is_over = False
        # Not in the context of the call that happens to ask first: what the task logs is not that call's.
        self._following = asyncio.create_task(self._follow(), name=f"tail of {collection}", context=Context())

    def read(self, token: Token, scopes: Collection[str] | None, limit: int) -> Changes | None:
        """Return the changes behind a token that have come by now; None: it does not know all of them."""
        if self.is_over or token.rank < self._start:
            return None
        found: list[Change] = []
        place = bisect_right(self._ranks, token.rank)
        for change in islice(self._changes, place, None):
            if scopes is None or change.scope in scopes:
                found.append(change)
                if len(found) == limit:
                    return Changes(found, change.token)
        return Changes(found, self._changes[-1].token if place < len(self._changes) else str(token))

    async def wait(self, token: Token, seconds: float) -> None:
        """Return when there is a change behind a token, or the time is over."""
        if self.is_over or (self._ranks and self._ranks[-1] > token.rank):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def close(self) -> None:
        """End, and wake up who waits."""
        self._is_closing = True
        while not self._following.done():  # the driver may swallow a cancellation
            self._following.cancel()
            await asyncio.wait([self._following], timeout=_LONGEST_REST_SECONDS)

    async def _follow(self) -> None:
        rest = _SHORTEST_REST_SECONDS
        try:
            while not self._is_closing:
                try:
                    with self._connection().use() as connection:
                        await self._run(connection)
                    rest = _SHORTEST_REST_SECONDS
                except PyMongoError as error:
                    logger.warning("event=watch_interrupted collection=%s message=%s", self._collection, brief(error))
                    await asyncio.sleep(rest)
                    rest = min(2 * rest, _LONGEST_REST_SECONDS)
        except MeasurandError as error:  # the history is lost: who waits is told so when they look for themselves
            logger.warning("event=watch_lost collection=%s message=%s", self._collection, error)
        finally:
            self.is_over = True
            self._ring()

    async def _run(self, connection: Connection) -> None:
        records = connection.records(self._collection)
        async with stream(records, self._at, wait_milliseconds=_WAIT_MILLISECONDS) as events:
            while not (connection.is_retired or self._is_closing):
                event = await events.try_next()
                change = None if event is None else change_of(event, self._at.mark)
                if events.resume_token is not None:
                    self._at = Token(self._at.mark, events.resume_token["_data"])
                if change is not None:
                    self._take(change)

    def _take(self, change: Change) -> None:
        rank = Token.parse(change.token, self._at.mark).rank
        if self._ranks and rank <= self._ranks[-1]:
            return  # after an interruption it may come once more
        self._ranks.append(rank)
        self._changes.append(change)
        if len(self._changes) > 2 * _KEPT:
            self._start = self._ranks[_KEPT - 1]
            del self._ranks[:_KEPT], self._changes[:_KEPT]
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
