"""SQLite's errors, turned into ours."""

from __future__ import annotations

import sqlite3

from measurand.wire.errors import DataLoss, Internal, MeasurandError, StoreFull, Unavailable

__all__ = ["translate"]


def translate(error: sqlite3.Error, name: str) -> MeasurandError:
    """Return what to raise for an error of the database file `name`."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"{name}: there is no room for more documents; free some space on the disk, then try again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataLoss(f"{name}: the database is damaged ({error}); restore it from a backup", resource=name)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"{name}: another process holds the database; try again", retry_seconds=1.0, store=name)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Unavailable(
            f"{name}: the disk does not take or give its bytes ({error}); see that it is there and may be written",
            retry_seconds=5.0,
            store=name,
        )
    return Internal(f"{name}: {error}")
