"""What a database file says of itself, for an operator who wants to know whether it is sound."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from measurand.storage.documents.sqlite.faults import translate
from measurand.storage.documents.sqlite.schema import connect

__all__ = ["State", "faults_of", "state_of"]

_MOST_FAULTS = 10


@dataclass(frozen=True, slots=True)
class State:
    """How a database is kept.

    Parameters
    ----------
    format : int
        Of its tables.
    journal : str
        `wal` unless the file system cannot do it.
    synchronous : int
        2 (FULL): commits survive the loss of power.
    log_bytes : int
        Size of the write-ahead log, which is copied into the database in passing.
    """

    format: int
    journal: str
    synchronous: int
    size_bytes: int
    log_bytes: int


def state_of(path: Path) -> State:
    """Return how a database that is there is kept. Blocking; raises what its store would raise."""
    try:
        connection = connect(path, cache_bytes=1 << 20)
        try:
            facts = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("user_version", "journal_mode", "synchronous")
            ]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path.name) from error
    log = path.with_name(f"{path.name}-wal")
    return State(facts[0], facts[1], facts[2], path.stat().st_size, log.stat().st_size if log.exists() else 0)


def faults_of(path: Path) -> list[str]:
    """Return what is wrong within a database, nothing if it is sound. Blocking; reads all of it."""
    try:
        connection = connect(path, cache_bytes=16 << 20)
        try:
            connection.execute("PRAGMA query_only = ON")
            rows = connection.execute(f"PRAGMA quick_check({_MOST_FAULTS:d})").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path.name) from error
    return [str(row[0]) for row in rows if row[0] != "ok"]
