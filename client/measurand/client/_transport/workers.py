"""Work beside the caller's thread: in parallel, ahead of a caller and behind one. Its twin is `tasks`.

Every wait comes back to Python several times a second, so that Ctrl-C works on every system, and so that the other
parts of a parallel work end soon after one has failed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from measurand.wire.errors import Cancelled

__all__ = [
    "STEP",
    "Behind",
    "Bell",
    "Beside",
    "Lock",
    "ahead",
    "check_stop",
    "in_thread",
    "parallel",
    "result",
    "sleep",
]

T = TypeVar("T")
R = TypeVar("R")

Lock = threading.Lock

STEP = 0.2
"""How long a wait may keep from looking for Ctrl-C, in seconds."""

_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)
"""Set where a part of a parallel work runs: whether it shall end because another part has failed."""


def check_stop() -> None:
    """Raise Cancelled in a part of a parallel work of which another part has failed."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Cancelled("another part of the same work failed, so this part was given up", transport="CANCELLED")


def sleep(seconds: float) -> None:
    """Wait so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(left, STEP))


def in_thread(work: Callable[..., T], /, *args: Any, **options: Any) -> T:
    """Return what the blocking function returns; nobody else waits for this thread."""
    return work(*args, **options)


def parallel(work: Callable[[T], R], items: Iterable[T], *, bound: int) -> list[R]:
    """Return what the work makes of each item, in their order, at most `bound` at a time; the first error ends all."""
    given = list(items)
    if len(given) <= 1 or bound <= 1:
        return [work(item) for item in given]
    stop = threading.Event()

    def part(item: T) -> R:
        _stop.set(stop)  # the thread is this work's own
        check_stop()
        return work(item)

    with ThreadPoolExecutor(bound, thread_name_prefix="measurand-parallel") as pool:
        futures = [pool.submit(part, item) for item in given]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, STEP, FIRST_EXCEPTION)
                check_stop()
                for future in done:
                    future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


@contextmanager
def ahead(items: Generator[T, None, None], *, depth: int) -> Generator[Iterator[T], None, None]:
    """Give the items of a blocking generator, made ahead in a thread of their own, at most `depth` of them.

    It is closed in the end, so that no file stays open when the walk ends early.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="measurand-ahead")
    end = object()
    made: deque[Future[Any]] = deque()

    def walk() -> Iterator[T]:
        made.extend(pool.submit(next, items, end) for _ in range(depth))
        while (item := result(made.popleft())) is not end:
            made.append(pool.submit(next, items, end))
            yield item

    try:
        yield walk()
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


class Behind:
    """Does blocking work in a thread of its own, piece after piece, while the caller goes on.

    Parameters
    ----------
    depth : int
        At most so many pieces wait; then `put` waits.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="measurand-behind")
        self._waiting: deque[Future[None]] = deque()
        self._has_failed = False

    def put(self, work: Callable[..., None], *args: Any) -> None:
        """Have a piece of work done; raises what an earlier one raised."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= self._depth):
            result(self._waiting.popleft())
        self._waiting.append(self._pool.submit(self._do, work, *args))

    def drain(self) -> None:
        """Wait until all is done; raises what any piece raised."""
        while self._waiting:
            result(self._waiting.popleft())

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _do(self, work: Callable[..., None], *args: Any) -> None:
        if self._has_failed:  # nothing is done behind a gap
            return
        try:
            work(*args)
        except BaseException:
            self._has_failed = True
            raise


class Beside:
    """Work that goes on beside the caller, until it is done or given up.

    Parameters
    ----------
    work : callable
        Sees to its own errors.
    name : str
        For whoever looks at what a program is doing.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._stop = threading.Event()

        def run() -> None:
            _stop.set(self._stop)  # the thread is this work's own
            work()

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """It has come to its end."""
        return not self._thread.is_alive()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for its end; False: it did not come in that time."""
        end = None if seconds is None else time.monotonic() + seconds
        while self._thread.is_alive():
            left = STEP if end is None else end - time.monotonic()
            if left <= 0:
                return False
            check_stop()
            self._thread.join(min(left, STEP))
        return True

    def give_up(self) -> None:
        """End it at its next wait; a call that it is in the middle of is not waited for."""
        self._stop.set()
        self._thread.join(10 * STEP)


class Bell:
    """Tells all who wait that something has changed; what, they see for themselves."""

    def __init__(self) -> None:
        self.rings = 0
        """How often it has rung: remember it before you look at what may change."""
        self._rung = threading.Condition()

    def ring(self) -> None:
        """Wake all who wait."""
        with self._rung:
            self.rings += 1
            self._rung.notify_all()

    def wait(self, rings: int, seconds: float | None = None) -> bool:
        """Wait until it has rung more often than that; False: it did not in that time."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._rung:
            while self.rings == rings:
                left = STEP if end is None else end - time.monotonic()
                if left <= 0:
                    return False
                check_stop()
                self._rung.wait(min(left, STEP))
        return True


def result(future: Future[T]) -> T:
    """Return what the future holds, looking up for Ctrl-C now and then."""
    while not future.done():
        check_stop()
        wait((future,), STEP)
    return future.result()
