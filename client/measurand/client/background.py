"""Work beside the program: a thread that does what it is given in order, and never makes its giver wait."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from measurand.client.data_files import DataFile
from measurand.wire.errors import FailedPrecondition

__all__ = ["Background", "Backgrounds", "Saves"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")

EXIT_SECONDS = 30.0
"""How long the end of the interpreter is put off for what is not done yet."""
STEP = 0.2
"""How long a wait may keep from looking for Ctrl-C, in seconds."""

_log = logging.getLogger("measurand.client")


class Saves(Protocol[T_co]):
    """What saves measurements; used by one thread."""

    def save(self, data: DataFile, request_id: str | None) -> T_co:
        """Save one, and return its handle."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Background(Generic[T]):
    """Saves measurements, and does anything else, one after the other in a thread of its own.

    Made by `background` of a catalog. The end of a `with` block waits until all is done, and so do the end of the
    client's and that of the interpreter; the last for 30 s, and then it says what is not done.

    Examples
    --------
    >>> with lab.background() as work:  # doctest: +SKIP
    ...     saved = work.save(DataFile("rabi", {"f": 5.1e9}, arrays={"iq": iq}))
    ...     work.submit(print, "all that was before is saved")
    >>> saved.result().id  # doctest: +SKIP
    """

    def __init__(self, saver: Saves[T]) -> None:
        self._saver = saver
        self._waiting: SimpleQueue[_Piece | None] = SimpleQueue()
        self._left: dict[_Piece, None] = {}
        self._failed: WeakSet[_Outcome[Any]] = WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.is_closed = False
        """It takes nothing more."""

    def save(self, data: DataFile, *, request_id: str | None = None) -> Future[T]:
        """Save a measurement as `save` of the catalog does, when what was given before is done.

        Returns at once. The arrays are not copied: do not change them before the future is done.

        Returns
        -------
        Future
            Its `result()` waits, and gives the dataset or raises what went wrong. An error that nobody asks for is
            logged.
        """
        return self._give(data.title or data.id or "a measurement", self._saver.save, data, request_id)

    def submit(self, work: Callable[..., S], /, *args: Any, **options: Any) -> Future[S]:
        """Call anything, when what was given before is done. Returns at once; the future as of `save`."""
        return self._give(getattr(work, "__qualname__", repr(work)), work, *args, **options)

    def close(self, timeout: float | None = None) -> bool:
        """Wait until all is done, and take nothing more.

        Parameters
        ----------
        timeout : float, optional
            Wait at most so many seconds. What is not done then goes on.

        Returns
        -------
        bool
            All is done.
        """
        with self._lock:
            if not self.is_closed:
                self.is_closed = True
                self._waiting.put(None)
            thread = self._thread
        deadline = None if timeout is None else time.monotonic() + timeout
        while thread is not None and thread.is_alive():
            left = STEP if deadline is None else min(STEP, deadline - time.monotonic())
            if left <= 0:
                return False
            thread.join(left)
        return True

    def left(self) -> list[str]:
        """Return what is not done yet: the titles of measurements, the names of callables."""
        with self._lock:
            return [piece.label for piece in self._left]

    def __enter__(self) -> Background[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Background[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _give(self, label: str, work: Callable[..., S], /, *args: Any, **options: Any) -> Future[S]:
        outcome: _Outcome[S] = _Outcome(label)
        piece = _Piece(label, outcome, lambda: work(*args, **options))
        with self._lock:
            if self.is_closed:
                raise FailedPrecondition("this background is closed; make a new one", state="closed")
            self._left[piece] = None
            self._waiting.put(piece)
            if self._thread is None:
                _watch_exit(self)
                # A daemon, since the interpreter waits for others without end.
                self._thread = threading.Thread(target=self._run, name="measurand-background", daemon=True)
                self._thread.start()
        return outcome

    def _run(self) -> None:
        while (piece := self._waiting.get()) is not None:
            if not piece.do():
                self._failed.add(piece.outcome)
            with self._lock:
                del self._left[piece]
            del piece  # its future may be forgotten now
        self._saver.close()

    def tell_failed(self) -> None:
        """Log the errors that nobody has asked for."""
        for outcome in list(self._failed):
            outcome.tell()


class Backgrounds:
    """Those of one client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Background[Any]] = []
        self._named: dict[str, Background[Any]] = {}

    def open(self, saver: Saves[T]) -> Background[T]:
        """Return a new one."""
        background = Background(saver)
        with self._lock:
            self._open = [*(other for other in self._open if not other.is_closed), background]
        return background

    def of(self, name: str, make: Callable[[], Saves[T]]) -> Background[T]:
        """Return the one that all of a catalog share."""
        with self._lock:
            found = self._named.get(name)
            if found is None or found.is_closed:
                found = self._named[name] = Background(make())
            return found

    def close(self) -> None:
        """Wait until all of them are done."""
        with self._lock:
            open_now = [*self._open, *self._named.values()]
        for background in open_now:
            background.close()


class _Outcome(Future[T]):
    """Logs its error where nobody asks for it."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._failure: BaseException | None = None
        self._is_asked = False

    def set_exception(self, exception: BaseException | None) -> None:
        self._failure = exception
        super().set_exception(exception)

    def result(self, timeout: float | None = None) -> T:
        self._is_asked = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._is_asked = True
        return super().exception(timeout)

    def tell(self) -> None:
        """Log the error if nobody has asked for it."""
        failure, self._failure = self._failure, None
        if failure is not None and not self._is_asked:
            _log.error("%s failed in the background: %s", self._label, failure, exc_info=failure)

    def __del__(self) -> None:
        self.tell()


class _Piece:
    """Something to be done."""

    def __init__(self, label: str, outcome: _Outcome[Any], work: Callable[[], Any]) -> None:
        self.label = label
        self.outcome = outcome
        self._work: Callable[[], Any] | None = work

    def do(self) -> bool:
        """Do it, unless it was cancelled; False: it failed."""
        work, self._work = self._work, None
        assert work is not None
        if not self.outcome.set_running_or_notify_cancel():
            return True
        try:
            made = work()
        except BaseException as error:
            # Without this frame: it holds the future, which shall be forgotten with its last holder.
            self.outcome.set_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
            return False
        self.outcome.set_result(made)
        return True


_live: WeakSet[Background[Any]] = WeakSet()
"""Whom the end of the interpreter waits for."""
_is_watched = threading.Event()


def _watch_exit(background: Background[Any]) -> None:
    _live.add(background)
    if not _is_watched.is_set():
        _is_watched.set()
        # `atexit` would be too late: before it the interpreter ends the thread pools that saving works with.
        threading._register_atexit(_wait_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001  # as its own pools do


def _wait_at_exit() -> None:
    deadline = time.monotonic() + EXIT_SECONDS
    for background in list(_live):
        if not background.close(max(deadline - time.monotonic(), 0.0)):
            _log.error("the program ended before this was done: %s", ", ".join(background.left()))
        background.tell_failed()
