"""What the page of metrics tells of containers is what the containers are (DC-49)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.core.container_rooms import ContainerRooms
from tests.server.test_metrics import value

from measurand.core.containers.sites import Room
from measurand.server.container_figures import ContainerFigures
from measurand.server.metrics import Metrics
from measurand.wire.errors import Unavailable


@pytest.fixture
async def rooms() -> AsyncIterator[ContainerRooms]:
    rooms = ContainerRooms()
    yield rooms
    await rooms.close()


async def test_the_page_tells_what_containers_are_and_hold(rooms: ContainerRooms) -> None:
    metrics = Metrics()
    metrics.show(ContainerFigures(rooms.sites, rooms.means).series())
    rooms.rooms["memory:nas"] = Room(1000, 600)
    rooms.rooms["memory:bucket"] = Room()
    await rooms.add("nas")
    await rooms.add("bucket", is_read_only=True)
    lease_id = (await rooms.serve("far")).lease_id
    await rooms.place("x", "nas", "bucket", size=100)
    await rooms.place("y", "nas", size=10)
    await rooms.upkeep.count()
    await rooms.pass_by(3)

    def of(name: str, **labels: str) -> dict[str, float | None]:
        return {one: value(metrics, f"measurand_container_{name}", container=one, **labels) for one in rooms.sites.all}

    assert of("stored_bytes") == {"nas": 110, "bucket": 100, "far": 0}
    assert of("blobs") == {"nas": 2, "bucket": 1, "far": 0}
    assert of("capacity_bytes")["nas"] == 1000 and of("free_bytes")["nas"] == 600
    assert of("capacity_bytes")["bucket"] == of("free_bytes")["bucket"] == 0
    assert of("beat_seconds")["far"] == 3
    assert of("state", state="active") == {"nas": 1, "bucket": 0, "far": 1}
    assert of("state", state="read_only") == {"nas": 0, "bucket": 1, "far": 0}
    rooms.clock.move(timedelta(seconds=2))
    await rooms.beat("far", lease_id)
    await rooms.sites.refresh()
    assert of("beat_seconds")["far"] == 0
    await rooms.pass_by(30)
    assert of("state", state="down") == {"nas": 0, "bucket": 0, "far": 1}
    assert of("beat_seconds")["far"] == 30
    del rooms.sites.all["far"]  # type: ignore[attr-defined]  # as a refresh does
    assert value(metrics, "measurand_container_blobs", container="far") is None


async def test_each_process_tells_how_they_answer_it(rooms: ContainerRooms) -> None:
    metrics = Metrics()
    metrics.show(ContainerFigures(rooms.sites, rooms.means).series())
    await rooms.add("nas")
    assert value(metrics, "measurand_container_call_seconds", container="nas", direction="read", quantile="0.5") is None
    for number in range(100):
        rooms.sites.note("nas", "read", 1000, (number + 1) / 1000, None)
    rooms.sites.note("nas", "write", 1000, 0.5, None)
    rooms.sites.note("nas", "write", 0, 0.5, Unavailable("it does not answer"))
    quantiles = {
        share: value(metrics, "measurand_container_call_seconds", container="nas", direction="read", quantile=share)
        for share in ("0.5", "0.95", "0.99")
    }
    assert quantiles == {"0.5": 0.051, "0.95": 0.096, "0.99": 0.1}
    assert value(metrics, "measurand_container_reads_total", container="nas") == 100
    assert value(metrics, "measurand_container_failures", container="nas") == 1 / 102
