from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.operating import PROGRAM, begin
from tests.servers import Server

from measurand.client import AsyncClient, errors


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("operations"), program=PROGRAM)
    try:
        yield server.wait_until_serving()
    finally:
        server.stop()


@pytest.fixture
async def client(counter: Server) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(counter.address) as client:
        yield client


def begun(counter: Server, *targets: str, **arguments: Any) -> str:
    [database] = counter.folder.glob("*.sqlite")
    return begin(f"sqlite://{database}", targets=targets, **{"steps": 3, **arguments})


async def test_one_is_waited_for_and_says_what_came_of_it(client: AsyncClient, counter: Server) -> None:
    operation = await client.operations.get(begun(counter, "containers/a", lost="containers/b"))
    assert await operation.wait(60) is operation
    assert (operation.kind, operation.state, operation.is_done) == ("count", "succeeded", True)
    assert (operation.progress.done, operation.progress.total, operation.progress.unit) == (3, 3, "steps")
    assert await operation.result() == {"done": 3, "total": 0, "unit": "steps", "message": ""} == operation.response
    assert operation.problem is None
    assert operation.targets == ("containers/a",)
    assert isinstance(operation.failed["containers/b"], errors.NotFound)
    assert (operation.attempt, operation.creator) == (1, "users/local")
    assert operation.created is not None and operation.started is not None and operation.ended is not None
    assert operation.created <= operation.started <= operation.ended
    assert "count" in repr(operation) and "succeeded" in repr(operation) and "3/3 steps" in repr(operation)
    assert "containers/a" in operation._repr_html_()


async def test_one_that_fails_raises_what_it_failed_with(client: AsyncClient, counter: Server) -> None:
    operation = await client.operations.wait(begun(counter, error="no room; free some"), 60)
    assert operation.state == "failed"
    with pytest.raises(errors.StoreFull, match="no room; free some") as caught:
        await operation.result()
    assert caught.value.details == {"needed_bytes": "7"}
    assert operation.response is None


async def test_one_is_watched_cancelled_and_forgotten(client: AsyncClient, counter: Server, tmp_path: Path) -> None:
    operation = await client.operations.get(begun(counter, gate=str(tmp_path / "gate")))
    states = []
    watch = operation.watch()
    async for seen in watch:
        states.append(seen.state)
        if seen.progress.done == 1 and not seen.is_done:
            with pytest.raises(errors.FailedPrecondition):
                await operation.delete()
            with pytest.raises(errors.Timeout, match="is running"):
                await operation.wait(0.01)
            await operation.cancel()
    assert states[-1] == "cancelled"
    assert operation.is_done
    with pytest.raises(errors.Cancelled):
        await operation.result()
    assert (await operation.refresh()).state == "cancelled"
    await operation.delete()
    with pytest.raises(errors.NotFound):
        await client.operations.get(operation.id)


async def test_a_callable_is_told_how_far_it_is(client: AsyncClient, counter: Server) -> None:
    told: list[tuple[int, int | None]] = []
    operation = await client.operations.get(begun(counter))
    await operation.wait(60, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


async def test_they_are_listed_newest_first(client: AsyncClient, counter: Server) -> None:
    made = [begun(counter, "containers/listed") for _ in range(3)]
    asked = 'targets:"containers/listed"'
    assert [one.id for one in await client.operations.list(asked)] == made[::-1]
    assert [one.id for one in await client.operations(asked, limit=2)] == made[:0:-1]
    assert (await client.operations.cancel(made[0])).id == made[0]
    for one in made:
        assert (await client.operations.wait(f"operations/{one}", 60)).is_done
