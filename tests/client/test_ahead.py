"""What is read ahead of an upload is let go when the upload ends early."""

from __future__ import annotations

from collections.abc import Generator

from measurand.client._transport import aio, threads


class Source:
    """Yields numbers, and knows whether it is still open."""

    def __init__(self) -> None:
        self.is_open = False

    def numbers(self) -> Generator[int, None, None]:
        self.is_open = True
        try:
            yield from range(1000)
        finally:
            self.is_open = False


def test_a_source_is_closed_when_a_thread_stops_in_the_middle() -> None:
    source = Source()
    with threads.ahead(source.numbers(), depth=2) as numbers:
        assert next(numbers) == 0
        assert source.is_open
    assert not source.is_open


async def test_a_source_is_closed_when_a_task_stops_in_the_middle() -> None:
    source = Source()
    async with aio.ahead(source.numbers(), depth=2) as numbers:
        assert await anext(numbers) == 0
        assert source.is_open
    assert not source.is_open


async def test_all_that_there_is_comes_in_order() -> None:
    with threads.ahead(Source().numbers(), depth=3) as numbers:
        assert list(numbers) == [*range(1000)]
    async with aio.ahead(Source().numbers(), depth=3) as awaited:
        assert [number async for number in awaited] == [*range(1000)]
