"""The tables of a database file, and how a connection to it is opened.

`docs` is small, so that walks over many documents stay in few pages; what a document holds is in `bodies`. `vals` has
one row for each entry of a view, in the order in which searches walk it, and `vals_doc` the same rows by document.
Words are kept once, as numbers that are never used again. A part is what searches are confined to: see `numbers`.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from pathlib import Path

from measurand.storage.documents.sqlite.faults import translate
from measurand.wire.errors import DataLoss, FailedPrecondition

__all__ = ["APPLICATION", "FORMAT", "connect", "prepare"]

FORMAT = 1
"""The format that this release writes. A change of the tables makes it one more and brings a step that converts."""

APPLICATION = 0x6D737264
"""`msrd`: how a database of measurand is told from others (sqlite.org/fileformat2.html, application id)."""

_TABLES = (
    "CREATE TABLE identity (id TEXT NOT NULL)",
    "CREATE TABLE collections (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, pooled INTEGER NOT NULL)",
    "CREATE INDEX parts_collection ON parts (collection, pooled)",
    """CREATE TABLE scopes (id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, name TEXT NOT NULL,
       part INTEGER NOT NULL)""",
    "CREATE UNIQUE INDEX scopes_name ON scopes (collection, name)",
    "CREATE TABLE paths (id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, name TEXT NOT NULL)",
    "CREATE UNIQUE INDEX paths_name ON paths (collection, name)",
    """CREATE TABLE docs (id INTEGER PRIMARY KEY, collection INTEGER NOT NULL, scope INTEGER NOT NULL,
       key TEXT NOT NULL)""",
    "CREATE UNIQUE INDEX docs_key ON docs (collection, key)",
    "CREATE INDEX docs_scope ON docs (scope, key)",
    "CREATE TABLE bodies (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL, text TEXT NOT NULL)",
    # `value` has no type: an affinity would turn 5.0 into 5, or "5" into 5.
    """CREATE TABLE vals (part INTEGER NOT NULL, path INTEGER NOT NULL, kind INTEGER NOT NULL, value NOT NULL,
       doc INTEGER NOT NULL, PRIMARY KEY (part, path, kind, value, doc)) WITHOUT ROWID""",
    """CREATE TABLE tallies (part INTEGER NOT NULL, path INTEGER NOT NULL, documents INTEGER NOT NULL,
       PRIMARY KEY (part, path)) WITHOUT ROWID""",
    "CREATE INDEX vals_doc ON vals (doc, path, kind, value)",
    """CREATE TABLE changes (seq INTEGER PRIMARY KEY, collection INTEGER NOT NULL, scope INTEGER NOT NULL,
       kind INTEGER NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, time INTEGER NOT NULL)""",
)

_PATIENCE_SECONDS = 10.0


def connect(path: Path, *, cache_bytes: int, wait_seconds: float = _PATIENCE_SECONDS) -> sqlite3.Connection:
    """Return a connection whose commits are on the disk when they return.

    In WAL mode `synchronous` NORMAL keeps a database sound but may forget the last commits when the power fails; FULL
    syncs the log at every commit (sqlite.org/pragma.html#pragma_synchronous). `fullfsync` asks the same of macOS.
    """
    # Opening always waits: another process may be recovering or closing the log just now.
    connection = sqlite3.connect(
        path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"PRAGMA cache_size = {-(cache_bytes // 1024):d}")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MiB: pages that change often are copied once
        connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024:d}")
        connection.execute(f"PRAGMA busy_timeout = {round(wait_seconds * 1000):d}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path) -> str:
    """Make the database if there is none, see that this release knows its format, and return its identity.

    Raises
    ------
    FailedPrecondition
        STATE_WRONG: it is of a newer format, or not ours. Nothing was changed.
    DataLoss
        STORED_DATA_CORRUPT: the file is damaged, or no database.
    """
    try:
        connection = connect(path, cache_bytes=1024 * 1024)
        try:
            _check(connection, path)
            _use_log(connection)
            connection.execute("BEGIN IMMEDIATE")  # of several processes that start at once, one makes the tables
            try:
                if _format(connection) == (0, 0):
                    _create(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            _check(connection, path)
            row = connection.execute("SELECT id FROM identity").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path.name) from error
    if row is None:
        raise DataLoss(f"{path.name}: the database has lost its identity; restore it from a backup", resource=path.name)
    return str(row[0])


def _format(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _check(connection: sqlite3.Connection, path: Path) -> None:
    # One state of the database: another process may be making its tables between two reads.
    connection.execute("BEGIN")
    try:
        application, version = _format(connection)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        connection.execute("COMMIT")
    if application == APPLICATION:
        if version > FORMAT:
            raise FailedPrecondition(
                f"{path.name}: the database has format {version}, and this release knows formats up to {FORMAT}; "
                "upgrade measurand to open it",
                resource=path.name,
                state=f"format {version}",
            )
        return
    if application or version or tables:
        raise FailedPrecondition(
            f"{path.name}: this is a database of another program; name another file",
            resource=path.name,
            state="foreign",
        )


def _use_log(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. While another process does the same, SQLite says busy without waiting for it."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(4),))
    connection.execute(f"PRAGMA application_id = {APPLICATION:d}")
    connection.execute(f"PRAGMA user_version = {FORMAT:d}")
