"""The table of changes: written with each change, read by those who watch, trimmed in passing.

One transaction writes at a time, whichever process it is of, so numbers are in the order of commits. Rows go away from
the oldest on and the newest one never does: so there are no gaps, and a number is not used again.
"""

# ruff: noqa: S608  # the texts put together here are ours; every value is bound

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from measurand.core.ports import Change, Changes
from measurand.storage.documents.sqlite.numbers import Lookup
from measurand.storage.documents.sqlite.selection import marks
from measurand.wire.errors import HistoryTrimmed, PageTokenInvalid

__all__ = ["History", "Token", "note", "read", "trim"]

Happened = Literal["inserted", "replaced", "removed"]

_KINDS: tuple[Happened, ...] = ("inserted", "replaced", "removed")
_TRIM_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class History:
    """How much of the past is kept.

    Parameters
    ----------
    lifetime : timedelta
        Changes that are older go away.
    rows : int
        So do the oldest, when there are more.
    """

    lifetime: timedelta
    rows: int


@dataclass(frozen=True, slots=True)
class Token:
    """A place in the history of one database."""

    identity: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Token:
        """Take a token apart, or raise PageTokenInvalid."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise PageTokenInvalid("the resume token is malformed; use one as it was answered")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.identity}-{self.number}"


def note(
    connection: sqlite3.Connection,
    kind: Happened,
    *,
    collection: int,
    scope: int,
    key: str,
    revision: int,
    now: datetime,
) -> None:
    """Write down a change."""
    connection.execute(
        "INSERT INTO changes (collection, scope, kind, key, revision, time) VALUES (?, ?, ?, ?, ?, ?)",
        (collection, scope, _KINDS.index(kind), key, revision, int(now.timestamp())),
    )


def trim(connection: sqlite3.Connection, history: History, now: datetime) -> None:
    """Remove what is older than the history; not much at a time, so that no write waits for it."""
    oldest = connection.execute("SELECT seq, time FROM changes ORDER BY seq LIMIT 1").fetchone()
    if oldest is None:
        return
    (newest,) = connection.execute("SELECT max(seq) FROM changes").fetchone()
    first, time = oldest
    too_old = int((now - history.lifetime).timestamp())
    if time >= too_old and newest - first < history.rows:
        return
    # A clock that was set back leaves younger rows below older ones: what goes must be all below one number.
    sql = "SELECT min(seq) FROM (SELECT seq, time FROM changes ORDER BY seq LIMIT ?) WHERE time >= ?"
    (young,) = connection.execute(sql, (_TRIM_ROWS, too_old)).fetchone()
    by_age = first + _TRIM_ROWS if young is None else young
    below = min(max(by_age, newest - history.rows + 1), first + _TRIM_ROWS, newest)
    connection.execute("DELETE FROM changes WHERE seq < ?", (below,))


def read(
    connection: sqlite3.Connection,
    lookup: Lookup,
    identity: str,
    collection: str,
    *,
    after: str | None,
    scopes: Sequence[str] | None,
    limit: int,
) -> Changes:
    """Return the changes behind a token, in one read transaction."""
    # Asked for apart: SQLite takes only a lone min or max from the end of an index.
    oldest, newest = connection.execute(
        "SELECT (SELECT min(seq) FROM changes), (SELECT max(seq) FROM changes)"
    ).fetchone()
    last = newest or 0
    if after is None:
        return Changes((), str(Token(identity, last)))
    token = Token.parse(after)
    # A number from the future is of a database that was since restored from a backup.
    if token.identity != identity or not (oldest or 1) - 1 <= token.number <= last:
        raise HistoryTrimmed("the resume token is older than the kept history; list anew, then watch")
    home = lookup.home(connection, collection, scopes)
    if home is None or token.number == last:
        return Changes((), str(Token(identity, last)))
    within = "" if home.scopes is None else f" AND c.scope IN ({marks(home.scopes)})"
    sql = (
        "SELECT c.kind, c.key, s.name, c.revision, c.seq FROM changes AS c CROSS JOIN scopes AS s ON s.id = c.scope"
        f" WHERE c.seq > ? AND c.collection = ?{within} ORDER BY c.seq LIMIT ?"
    )
    rows = connection.execute(sql, (token.number, home.collection, *(home.scopes or ()), limit)).fetchall()
    found = [
        Change(_KINDS[kind], key, scope, revision, str(Token(identity, number)))
        for kind, key, scope, revision, number in rows
    ]
    return Changes(found, found[-1].token if len(found) == limit else str(Token(identity, last)))


_TOKEN = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})", re.ASCII)
