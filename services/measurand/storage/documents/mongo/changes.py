"""Changes as MongoDB's change streams tell them, and tokens to go on with.

A token holds the place in the stream, and a mark of the collection, so that one of another collection, or of one that
was since restored from a backup, is not taken for a place in this one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure

from measurand.core.ports import Change, Changes
from measurand.storage.documents.mongo.selection import Records
from measurand.wire.errors import HistoryTrimmed, PageTokenInvalid

__all__ = ["Token", "change_of", "read", "stream"]

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """A place in the changes of a collection.

    Parameters
    ----------
    mark : str
        Of the collection.
    place : str
        A resume token of MongoDB, or `t` and a time, behind all changes of which it is. Resume tokens are in the order
        of the changes, as texts.
    """

    mark: str
    place: str

    @classmethod
    def at(cls, mark: str, time: Timestamp) -> Token:
        """Return the place behind all that happened up to a time."""
        return cls(mark, f"t{time.time:08x}{time.inc:08x}")

    @classmethod
    def parse(cls, text: str, mark: str) -> Token:
        """Take a token of this collection apart.

        Raises
        ------
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is none.
        HistoryTrimmed
            HISTORY_TRIMMED: it is one of another collection.
        """
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise _malformed()
        if match["mark"] != mark:
            raise _trimmed()
        return cls(mark, match["place"])

    def __str__(self) -> str:
        return f"{self.mark}-{self.place}"

    @property
    def rank(self) -> str:
        """What places compare by, as texts."""
        time = self._first_time
        return self.place if time is None else f"82{time.time:08X}{time.inc:08X}"  # so a resume token begins

    def start(self) -> Mapping[str, Any]:
        """Return the options of a stream of what comes behind it."""
        time = self._first_time
        return {"resume_after": {"_data": self.place}} if time is None else {"start_at_operation_time": time}

    @property
    def _first_time(self) -> Timestamp | None:
        if not self.place.startswith("t"):
            return None
        return Timestamp(int(self.place[1:9], 16), int(self.place[9:], 16) + 1)


async def read(
    records: Records, token: Token, *, scopes: Collection[str] | None, limit: int, history: int | None
) -> Changes:
    """Return the changes behind a token that are there by now."""
    found: list[Change] = []
    # To know how far behind a token is, all has to be seen.
    async with stream(records, token, scopes=scopes if history is None else None) as events:
        behind = 0
        while (history is not None or len(found) < limit) and (event := await events.try_next()) is not None:
            behind += 1
            if history is not None and behind > history:
                raise _trimmed()
            change = change_of(event, token.mark)
            if change is not None and (scopes is None or change.scope in scopes):
                found.append(change)
        if len(found) >= limit:
            return Changes(found[:limit], found[limit - 1].token)
        last = events.resume_token
    return Changes(found, str(token if last is None else Token(token.mark, last["_data"])))


@asynccontextmanager
async def stream(
    records: Records, token: Token, *, scopes: Collection[str] | None = None, wait_milliseconds: int = 1
) -> AsyncIterator[AsyncChangeStream[dict[str, Any]]]:
    """Open the stream of what comes behind a token, for the time of the block.

    Raises
    ------
    PageTokenInvalid
        PAGE_TOKEN_INVALID: MongoDB says that the token is none.
    HistoryTrimmed
        HISTORY_TRIMMED: the history does not reach back so far.
    """
    with _history():
        opened = await records.watch(
            _pipeline(scopes), max_await_time_ms=wait_milliseconds, batch_size=1_000, **token.start()
        )
        async with opened:
            yield opened


def change_of(event: Event, mark: str) -> Change | None:
    """Return the change that an event tells of; None: nothing that anybody sees.

    Raises
    ------
    HistoryTrimmed
        HISTORY_TRIMMED: the collection itself is gone, and its history with it.
    """
    kind = event["operationType"]
    if kind in _ENDINGS:
        raise _trimmed()
    token = str(Token(mark, event["_id"]["_data"]))
    was = event.get("was")
    if was is not None:
        return Change("removed", event["key"], was["s"], int(was["r"]), token)
    scope, revision = event.get("s"), event.get("r")
    if scope is None or revision is None:
        return None
    # The first revision in the place of something else is in that of a tombstone.
    return Change("inserted" if revision == 1 else "replaced", event["key"], scope, int(revision), token)


_TOKEN = re.compile(r"(?P<mark>[0-9a-f]{12})-(?P<place>t[0-9a-f]{16}|(?:[0-9A-F]{2}){9,10000})", re.ASCII)
_ENDINGS = ("drop", "rename", "dropDatabase", "invalidate")
_LOST = {136, 222, 260, 280, 286}
"""CappedPositionLost, CloseChangeStream, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost."""
_NOT_UNDERSTOOD = {2, 9, 14, 15}
_FIRST_LOCATION = 40_000
"""Above it are codes of single places in MongoDB's source; here they say what is wrong with a resume token."""


def _pipeline(scopes: Collection[str] | None) -> Sequence[Mapping[str, Any]]:
    """Return what is left of events: little, so that none is larger than an event may be."""
    was = {"$ifNull": ["$fullDocument.was", "$updateDescription.updatedFields.was"]}
    kept = {"operationType": 1, "key": "$documentKey._id", "s": "$fullDocument.s", "r": "$fullDocument.r", "was": was}
    stages: list[Mapping[str, Any]] = [
        {"$match": {"operationType": {"$in": ["insert", "replace", "update", *_ENDINGS]}}},
        {"$project": kept},
    ]
    if scopes is not None:
        wanted = {"$in": list(scopes)}
        stages.append({"$match": {"$or": [{"s": wanted}, {"was.s": wanted}, {"operationType": {"$in": _ENDINGS}}]}})
    return stages


@contextmanager
def _history() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        code = error.code or 0
        if code in _LOST:
            raise _trimmed() from error
        if code in _NOT_UNDERSTOOD or code >= _FIRST_LOCATION:
            raise _malformed() from error
        raise


def _malformed() -> PageTokenInvalid:
    return PageTokenInvalid("the resume token is malformed; use one as it was answered")


def _trimmed() -> HistoryTrimmed:
    return HistoryTrimmed("the resume token is older than the kept history; list anew, then watch")
