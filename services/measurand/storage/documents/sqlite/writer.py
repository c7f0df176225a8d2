"""The one writer of a process: takes all requests that wait into one transaction, so that they share its one sync.

Each request has a savepoint of its own, so that the fault of one undoes nothing of the others. An answer is given after
the commit, when what it tells of is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from measurand.storage.documents.sqlite.edits import Editor
from measurand.storage.documents.sqlite.faults import translate
from measurand.wire.errors import Unavailable

__all__ = ["Writer"]

Answer = TypeVar("Answer")

_MOST_REQUESTS = 256
_MOST_SECONDS = 0.05
"""A transaction takes in no more requests after so long: others, and other processes, wait for it."""
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class _Request(Generic[Answer]):
    edit: Callable[[Editor], Answer]
    future: asyncio.Future[Answer]
    collection: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What comes of a request: an answer or a fault."""

    request: _Request[object]
    answer: object = None
    fault: Exception | None = None


class Writer:
    """Runs edits, in the order in which they come.

    Parameters
    ----------
    editor : Editor
        Writes by the writer's own connection. The connection does not wait by itself: `_begin` does.
    tidy : callable
        Called within each transaction, for what is done in passing.
    told : callable
        Called on the event loop with the collections that a transaction has changed, after its answers are given.
    """

    def __init__(
        self, editor: Editor, *, name: str, tidy: Callable[[], None], told: Callable[[set[str]], None]
    ) -> None:
        self._editor = editor
        self._connection = editor.connection
        self._name = name
        self._tidy = tidy
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Request[object] | None] = queue.SimpleQueue()
        self._closed = False
        self._version = 0
        self._thread = threading.Thread(target=self._work, name="sqlite-write", daemon=True)
        self._thread.start()

    async def run(self, collection: str, edit: Callable[[Editor], Answer]) -> Answer:
        """Return what `edit` returns, once it is durable. If the caller is cancelled, it is done all the same."""
        if self._closed:
            raise Unavailable(f"{self._name}: the store is closed", store=self._name)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put(cast("_Request[object]", _Request(edit, future, collection)))
        return await future

    async def close(self) -> None:
        """Do what was asked for, then end."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            waiting = [first]
            is_last = False
            with contextlib.suppress(queue.Empty):
                while len(waiting) < _MOST_REQUESTS:
                    request = self._queue.get_nowait()
                    if request is None:
                        is_last = True
                        break
                    waiting.append(request)
            while waiting:
                outcomes = self._commit(waiting)
                waiting = waiting[len(outcomes) :]
                with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody waits for an answer
                    self._loop.call_soon_threadsafe(self._deliver, outcomes)
            if is_last:
                return

    def _commit(self, requests: Sequence[_Request[object]], *, retries: bool = True) -> Sequence[_Outcome]:
        """Do the first of the requests, at least one, in one transaction.

        If the disk is full, the log may be what fills it: once it is copied into the database, its room is used again.
        If the transaction fails as a whole, each is done in one of its own: the fault then meets the one that has it.
        """
        outcomes: list[_Outcome] = []
        try:
            self._begin()
        except sqlite3.Error as error:
            return [_Outcome(request, fault=self._fault(error)) for request in requests]
        try:
            until = time.monotonic() + _MOST_SECONDS
            for request in requests:
                outcomes.append(self._do(request))
                if time.monotonic() > until:
                    break
            self._editor.tallies.write(self._connection)
            self._tidy()
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it is, those who wait must be answered
            self._undo()
            if retries and isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                return self._commit(requests, retries=False)
            if len(requests) > 1:
                return [outcome for request in requests for outcome in self._commit([request], retries=False)]
            return [_Outcome(requests[0], fault=self._fault(error))]
        return outcomes

    def _begin(self) -> None:
        """Begin, when no other process writes.

        SQLite's own waiting sleeps longer and longer, and may never come to its turn beside a process that writes all
        the time; and one that has just had its turn lets the others go first.
        """
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
                if version != self._version:
                    self._version = version
                    time.sleep(2 * _PAUSE_SECONDS)
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _do(self, request: _Request[object]) -> _Outcome:
        self._connection.execute("SAVEPOINT request")
        try:
            answer = request.edit(self._editor)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # SQLite has rolled all of it back by itself, the requests before this one too
            self._connection.execute("ROLLBACK TO request")
            self._connection.execute("RELEASE request")
            self._editor.numbering.forget()
            self._editor.tallies.drop()
            return _Outcome(request, fault=self._fault(error))
        self._connection.execute("RELEASE request")
        self._editor.tallies.keep()
        return _Outcome(request, answer)

    def _fault(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        fault = translate(error, self._name)
        fault.__cause__ = error
        return fault

    def _undo(self) -> None:
        self._editor.numbering.forget()
        self._editor.tallies.forget()
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _deliver(self, outcomes: Sequence[_Outcome]) -> None:
        for outcome in outcomes:
            if outcome.request.future.done():  # cancelled
                continue
            if outcome.fault is not None:
                outcome.request.future.set_exception(outcome.fault)
            else:
                outcome.request.future.set_result(outcome.answer)
        self._told({outcome.request.collection for outcome in outcomes if outcome.fault is None})
