"""A store in trouble is asked less, not more: a budget of retries, and a circuit that lets it rest."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.test_blobs import content, noise
from tests.faults import Chopped, Failing, Slow, Verb
from tests.flaky import Fault, Flaky
from tests.storage.retries import CALLS, Clock, away, planned

from measurand.core.ports import BlobStore
from measurand.storage.blobs.memory import Memory
from measurand.wire.errors import NotFound, Unavailable


async def test_retries_are_a_share_of_the_calls_and_are_saved_up_in_times_of_peace() -> None:
    clock, calls = Clock(), 2000
    clock.chance = 0.0  # so that the time stands still
    inner = planned(Memory(), "stat", [])
    asked = Failing(inner, verb="stat", at=0, error=NotFound("never raised"))
    last: list[Fault | None] = []

    def plan(_: Verb) -> Fault | None:
        last.append(None if last and last[-1] else "before")  # every other try fails
        return last[-1]

    store = clock.retrying(Flaky(asked, plan=plan))
    failures = 0
    for _ in range(calls):
        try:
            await store.stat("a")
        except NotFound:
            pass
        except Unavailable:
            failures += 1
    assert len(clock.waits) == pytest.approx(100 + 0.2 * calls, abs=2)
    assert failures > 0
    clock.time += 60.0
    clock.waits.clear()
    for _ in range(50):
        with pytest.raises(NotFound):
            await store.stat("a")
    assert clock.waits


async def open_circuit(store: BlobStore, inner: Failing) -> None:
    """Let calls fail until the store is no longer asked."""
    for _ in range(5):
        with pytest.raises(Unavailable, match="the store is gone"):
            await store.stat("a")
    assert inner.calls["stat"] == 25
    with pytest.raises(Unavailable, match="left alone"):
        await store.stat("a")
    assert inner.calls["stat"] == 25


async def test_after_some_calls_without_an_answer_the_next_fail_at_once() -> None:
    inner, clock = away(Memory()), Clock(chance=0.0)
    store = clock.retrying(inner)
    await open_circuit(store, inner)
    clock.time += 0.5
    stage = await inner.stage("staged")
    for verb, call in CALLS.items():
        with pytest.raises(Unavailable, match="left alone") as caught:
            await call(store)
        assert caught.value.retry_seconds == pytest.approx(1.5), verb
        assert caught.value.details == {"store": "s3"}
    assert inner.calls == {"stat": 25, "stage": 1}
    await stage.close()


async def test_an_open_circuit_refuses_what_is_appended() -> None:
    inner, clock = away(Memory()), Clock(chance=0.0)
    store = clock.retrying(inner)
    stage = await store.stage("a")
    await open_circuit(store, inner)
    with pytest.raises(Unavailable, match="left alone"):
        await stage.append([b"12345"])
    assert "append" not in inner.calls
    await stage.close()


async def test_one_call_at_a_time_finds_out_whether_the_store_is_back() -> None:
    going = asyncio.Event()

    async def pause(_: Verb) -> None:
        await going.wait()

    inner, clock = away(Memory(), times=26), Clock(chance=0.0)
    store = clock.retrying(Slow(inner, pause=pause))
    going.set()
    await open_circuit(store, inner)
    for answer, calls in ((Unavailable, 26), (NotFound, 27)):
        clock.time += 2.0
        going.clear()
        probe = asyncio.ensure_future(store.stat("a"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="left alone"):
            await store.stat("a")
        going.set()
        with pytest.raises(answer):
            await probe
        assert inner.calls["stat"] == calls  # a probe is tried once
        with pytest.raises(answer):
            await store.stat("a")  # at once if the probe had no answer, and of the store if it had
        assert inner.calls["stat"] == (26 if answer is Unavailable else 28)


async def test_a_probe_that_was_cancelled_leaves_its_place_to_another() -> None:
    going = asyncio.Event()
    inner, clock = away(Memory(), times=25), Clock(chance=0.0)
    store = clock.retrying(Slow(inner, pause=lambda _: going.wait()))
    going.set()
    await open_circuit(store, inner)
    clock.time += 2.0
    going.clear()
    probe = asyncio.ensure_future(store.stat("a"))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    going.set()
    with pytest.raises(NotFound):
        await store.stat("a")


async def test_a_read_that_finds_the_store_back_is_read_to_its_end() -> None:
    memory, clock = Memory(), Clock(chance=0.0)
    blob = await memory.put("a", [noise(3000)])
    inner = away(Chopped(memory, chunk_bytes=1000), times=25)
    store = clock.retrying(planned(inner, "open", [None, "after"]))
    await open_circuit(store, inner)
    clock.time += 2.0
    assert await content(store, blob) == noise(3000)
    assert (await store.stat("a")).size == 3000


async def test_an_answer_in_between_keeps_the_circuit_closed() -> None:
    memory, clock = Memory(), Clock(chance=0.0)
    inner = away(memory)
    store = clock.retrying(inner)
    for _ in range(12):
        with pytest.raises(Unavailable, match="the store is gone"):
            await store.stat("a")
        with pytest.raises(NotFound):  # a refusal is an answer
            await store.finish("a", 1)


async def test_a_persist_that_moved_nothing_is_no_answer() -> None:
    inner, clock = away(Memory()), Clock(chance=0.0)
    store = clock.retrying(inner)
    stage = await store.stage("a")
    for _ in range(4):
        with pytest.raises(Unavailable, match="the store is gone"):
            await store.stat("a")
        assert await stage.persist() == 0
    await stage.close()
    with pytest.raises(Unavailable, match="the store is gone"):
        await store.stat("a")
    with pytest.raises(Unavailable, match="left alone"):
        await store.stat("a")


async def test_calls_that_fail_now_and_then_do_not_open_the_circuit() -> None:
    inner, clock = away(Memory()), Clock(chance=0.0)
    store = clock.retrying(inner)
    for _ in range(10):
        clock.time += 20.0
        with pytest.raises(Unavailable, match="the store is gone"):
            await store.stat("a")


@pytest.mark.parametrize("retry_seconds", [None, 30.0])
async def test_what_only_somebody_can_mend_is_an_answer(retry_seconds: float | None) -> None:
    inner, clock = away(Memory(), retry_seconds=retry_seconds), Clock()
    store = clock.retrying(inner)
    for _ in range(20):
        with pytest.raises(Unavailable, match="the store is gone"):
            await store.stat("a")
    assert inner.calls["stat"] == 20
