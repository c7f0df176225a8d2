"""Work beside the event loop: in threads, in tasks, ahead of a caller and behind one. Its twin is `workers`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["Behind", "Bell", "Beside", "Lock", "ahead", "in_thread", "parallel", "result", "sleep"]

T = TypeVar("T")
R = TypeVar("R")

Lock = asyncio.Lock
sleep = asyncio.sleep


async def in_thread(work: Callable[..., T], /, *args: Any, **options: Any) -> T:
    """Return what the blocking function returns, without blocking the others."""
    return await asyncio.to_thread(work, *args, **options)


async def parallel(work: Callable[[T], Awaitable[R]], items: Iterable[T], *, bound: int) -> list[R]:
    """Return what the work makes of each item, in their order, at most `bound` at a time; the first error ends all."""
    source = iter(enumerate(items))
    results: dict[int, R] = {}

    async def run() -> None:
        for number, item in source:
            results[number] = await work(item)

    tasks = [asyncio.create_task(run()) for _ in range(bound)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[number] for number in sorted(results)]


@asynccontextmanager
async def ahead(items: Generator[T, None, None], *, depth: int) -> AsyncIterator[AsyncIterator[T]]:
    """Give the items of a blocking generator, made ahead in a thread of their own, at most `depth` of them.

    It is closed in the end, so that no file stays open when the walk ends early.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="measurand-ahead")
    end = object()
    made: deque[Future[Any]] = deque()

    async def walk() -> AsyncGenerator[T, None]:
        made.extend(pool.submit(next, items, end) for _ in range(depth))
        while (item := await asyncio.wrap_future(made.popleft())) is not end:
            made.append(pool.submit(next, items, end))
            yield item

    def end_it() -> None:
        pool.shutdown(cancel_futures=True)
        items.close()

    walking = walk()
    try:
        yield walking
    finally:
        await walking.aclose()
        await asyncio.to_thread(end_it)


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

    async def put(self, work: Callable[..., None], *args: Any) -> None:
        """Have a piece of work done; raises what an earlier one raised."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= self._depth):
            await asyncio.wrap_future(self._waiting.popleft())
        self._waiting.append(self._pool.submit(self._do, work, *args))

    async def drain(self) -> None:
        """Wait until all is done; raises what any piece raised."""
        while self._waiting:
            await asyncio.wrap_future(self._waiting.popleft())

    async def __aenter__(self) -> Behind:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

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

    def __init__(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async def run() -> None:
            await work()

        self._task = asyncio.create_task(run(), name=name)

    @property
    def is_over(self) -> bool:
        """It has come to its end."""
        return self._task.done()

    async def join(self, seconds: float | None = None) -> bool:
        """Wait for its end; False: it did not come in that time."""
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        return bool(done)

    async def give_up(self) -> None:
        """End it wherever it is."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Bell:
    """Tells all who wait that something has changed; what, they see for themselves."""

    def __init__(self) -> None:
        self.rings = 0
        """How often it has rung: remember it before you look at what may change."""
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, rings: int, seconds: float | None = None) -> bool:
        """Wait until it has rung more often than that; False: it did not in that time."""
        if self.rings == rings:
            try:
                async with asyncio.timeout(seconds):
                    await self._rung.wait()
            except TimeoutError:
                return False
        return True


async def result(future: Future[T]) -> T:
    """Return what the future holds as soon as it does."""
    return await asyncio.wrap_future(future)
