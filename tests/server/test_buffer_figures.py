"""What the page of metrics tells of buffers is what the buffers themselves say (BU-32)."""

from __future__ import annotations

from datetime import timedelta

from tests.core.group_members import Members
from tests.core.reader_rooms import make_reader_rooms
from tests.server.test_metrics import value

from measurand.core.principal import LOCAL_USER
from measurand.core.times import from_microseconds
from measurand.server.buffer_figures import BufferFigures
from measurand.server.metrics import Metrics


async def test_the_page_tells_what_the_buffers_say() -> None:
    rooms = make_reader_rooms()
    async with rooms.open():
        await rooms.prepare()
        name = str(rooms.name)
        members = Members(rooms)
        await members.put()
        for size in range(5):
            await rooms.write(bytes(size), bytes(size))
        await members.take("a", 4)
        await members.settle("a", acknowledge=[1])
        figures, metrics = BufferFigures(rooms.documents, rooms.means), Metrics()
        metrics.show(figures.series())
        assert value(metrics, "measurand_buffer_records_total", buffer=name) is None
        rooms.clock.move(timedelta(seconds=7))
        await figures.look()
        head = await rooms.buffers.get(LOCAL_USER, rooms.name)
        assert head.last_time is not None
        of_it = {
            "measurand_buffer_records_total": head.next_sequence - 1,
            "measurand_buffer_window_records": head.window_records,
            "measurand_buffer_window_bytes": head.window_counted,
            "measurand_buffer_windows_closed_total": head.window - 1,
            "measurand_buffer_batches": head.batch_count,
            "measurand_buffer_frozen_seconds": 0,
            "measurand_buffer_newest_record_seconds": 7,
        }
        assert {key: value(metrics, key, buffer=name) for key in of_it} == of_it
        assert (head.window_records, head.window_counted) == (10, 20)
        assert rooms.means.now() - from_microseconds(head.last_time) == timedelta(seconds=7)
        group = {"buffer": name, "group": "train"}
        assert value(metrics, "measurand_group_lag", **group) == 6
        assert value(metrics, "measurand_group_unsettled", **group) == 3
        states = {state: value(metrics, "measurand_buffer_state", buffer=name, state=state) for state in STATES}
        assert states == {"active": 1, "frozen": 0, "finished": 0}
        await rooms.buffers.finish(LOCAL_USER, rooms.name)
        await figures.look()
        assert value(metrics, "measurand_buffer_state", buffer=name, state="finished") == 1
        assert value(metrics, "measurand_buffer_newest_record_seconds", buffer=name) is None
        await rooms.buffers.delete(LOCAL_USER, rooms.name, force=True)
        await figures.look()
        assert value(metrics, "measurand_buffer_records_total", buffer=name) is None
        assert value(metrics, "measurand_group_lag", **group) is None


STATES = ("active", "frozen", "finished")
