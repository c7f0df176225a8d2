"""Reads, in a few threads with a connection each. SQLite lets go of the interpreter while it works."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from measurand.storage.documents.sqlite.faults import translate
from measurand.wire.errors import Unavailable

__all__ = ["Readers"]

Answer = TypeVar("Answer")

_STEPS = 100_000
"""How often a running read looks whether anybody still waits for it: about every 2 ms."""


class Readers:
    """Runs reads, each in a transaction of its own: it sees one state, the newest when it begins.

    Parameters
    ----------
    connect : callable
        Opens a connection; called once in each thread.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, name: str, threads: int) -> None:
        self._connect = connect
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sqlite-read")
        self._here = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    async def run(self, read: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Return what `read` returns. If the caller is cancelled, the read is broken off."""
        if self._closed:
            raise Unavailable(f"{self._name}: the store is closed", store=self._name)
        given_up = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, read, given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def run_here(self, read: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Return what `read` returns, at once, on the caller's own thread. It must take a few statements by key.

        Such a read takes some 20 µs, and handing it to a thread several times that. Each statement sees the newest
        state. In the write-ahead log mode a reader waits for no writer, so the event loop is not held up.
        """
        if self._closed:
            raise Unavailable(f"{self._name}: the store is closed", store=self._name)
        try:
            return read(self._connection())
        except sqlite3.Error as error:
            raise translate(error, self._name) from error

    async def close(self) -> None:
        """Wait for the reads that run, and close the connections."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._connections:
            connection.close()

    def _read(self, read: Callable[[sqlite3.Connection], Answer], given_up: threading.Event) -> Answer:
        try:
            connection = self._connection()
            connection.set_progress_handler(given_up.is_set, _STEPS)
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translate(error, self._name) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._connect()
            self._here.connection = connection
            self._connections.append(connection)
        return connection
