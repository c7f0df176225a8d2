"""What only the retrying wrapper has: when it asks again, and what it makes of a lost answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from tests.conformance.test_blobs import content, keys_of, noise
from tests.faults import Chopped, Failing, Slow, Verb
from tests.flaky import Fault, Flaky
from tests.storage.retries import CALLS, FAULTS, Clock, away, planned, staged

from measurand.core.ports import Blob
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.retrying import Retrying
from measurand.wire.errors import (
    AlreadyExists,
    DataLoss,
    MeasurandError,
    OutOfRange,
    StoreFull,
    Unavailable,
)

# -------------------------------------------------------------------------------------------------------- asking again


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", CALLS)
async def test_what_may_be_asked_again_is_until_there_is_an_answer(verb: Verb, fault: Fault) -> None:
    plain, inner, clock = Memory(), Memory(), Clock()
    for store in (plain, inner):
        await store.put("there", [b"12345"])
        await staged(store, "staged", b"12345")
    if (verb, fault) == ("scan", "after"):
        fault = "before"  # see below for a scan that has begun
    answer = await CALLS[verb](clock.retrying(planned(inner, verb, [fault] * 3)))
    wanted = await CALLS[verb](plain)
    if verb != "stat":  # it tells a time
        assert answer == wanted
    assert await keys_of(inner) == await keys_of(plain)
    # A read that broke off behind its last byte is whole; a put that has had its effect finds it.
    assert len(clock.waits) == {("open", "after"): 0, ("put", "after"): 1}.get((verb, fault), 3)


@pytest.mark.parametrize("verb", [*CALLS, "stage", "append"])
async def test_another_error_passes_at_once_and_as_it_was(verb: Verb) -> None:
    for error in (StoreFull("no room"), DataLoss("damaged"), Unavailable("the key is wrong"), OSError("not ours")):
        inner, clock = Memory(), Clock()
        await inner.put("there", [b"12345"])
        await staged(inner, "staged", b"12345")
        failing = Failing(inner, verb=verb, error=error)  # type: ignore[arg-type]  # any exception will do
        with pytest.raises(type(error)) as caught:
            await {**CALLS, "stage": CALLS["persist"], "append": CALLS["persist"]}[verb](clock.retrying(failing))
        assert caught.value is error
        assert failing.calls[verb] == 1 and clock.waits == []
        assert not isinstance(error, MeasurandError) or error.details == {}


async def test_the_waits_grow_and_chance_shortens_them() -> None:
    for chance, waits in ((1.0, [0.2, 0.4, 0.8, 1.6, 2.0]), (0.5, [0.1, 0.2, 0.4, 0.8, 1.0]), (0.0, [0.0] * 5)):
        clock = Clock(chance=chance)
        with pytest.raises(Unavailable):
            await clock.retrying(away(Memory()), tries=6).stat("a")
        assert clock.waits == waits


async def test_no_try_comes_before_the_time_that_the_error_names() -> None:
    clock = Clock()
    with pytest.raises(Unavailable):
        await clock.retrying(away(Memory(), retry_seconds=1.5), tries=3).stat("a")
    assert clock.waits == [1.7, 1.9]


async def test_the_last_error_is_raised_and_tells_how_often_it_was_tried() -> None:
    inner = away(Memory())
    with pytest.raises(Unavailable, match="the store is gone") as caught:
        await Clock().retrying(inner).stat("a")
    assert caught.value.details == {"store": "s3", "tries": "5"}
    assert inner.calls["stat"] == 5


async def test_no_try_begins_when_the_caller_would_no_longer_wait_for_it() -> None:
    clock = Clock()

    async def take_four_seconds(_: Verb) -> None:
        clock.time += 4.0

    inner = away(Memory())
    with pytest.raises(Unavailable):
        await clock.retrying(Slow(inner, pause=take_four_seconds)).stat("a")
    assert inner.calls["stat"] == 3  # after 0, 4.2 and 8.6 seconds; the next would come after 13.4
    with pytest.raises(Unavailable):
        await clock.retrying(away(Memory(), retry_seconds=11.0)).stat("a")
    assert clock.waits == [0.2, 0.4]


async def test_a_call_that_is_cancelled_while_it_waits_ends_at_once() -> None:
    inner = away(Memory())
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(Retrying(inner, sleep=sleep).stat("a"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.calls["stat"] == 1


# -------------------------------------------------------------------------------------------------------- verb by verb


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_put_whose_answer_was_lost_has_its_own_blob(fault: Fault) -> None:
    inner = Failing(Memory(), verb="put", at=0, error=StoreFull("never raised"))
    data = noise(10_000)

    def drawn() -> Iterator[bytes]:
        yield data[:6000]
        yield data[6000:]

    blob = await Clock().retrying(planned(inner, "put", [fault])).put("a", drawn())
    assert blob == Blob("a", 10_000)
    assert await content(inner, blob) == data
    # An earlier try may have been seen without being durable: `finish` is what makes sure of it.
    assert inner.calls.get("finish", 0) == (fault == "after")


@pytest.mark.parametrize("theirs", [b"54321", b"123456", b"", b"12345"])
async def test_what_another_has_put_meanwhile_is_not_taken_for_ones_own(theirs: bytes) -> None:
    inner, clock = Memory(), Clock()
    store = clock.retrying(planned(inner, "put", ["before"]))
    putting = asyncio.ensure_future(store.put("a", [b"12", b"345"]))
    await asyncio.sleep(0)
    assert clock.waits
    await inner.put("a", [theirs])
    if theirs == b"12345":
        assert await putting == Blob("a", 5)  # whoever it was: the bytes are there
    else:
        with pytest.raises(AlreadyExists):
            await putting
    assert await content(inner, Blob("a", len(theirs))) == theirs


async def test_a_key_that_is_staged_by_another_stays_so() -> None:
    inner, clock = Memory(), Clock()
    putting = asyncio.ensure_future(clock.retrying(planned(inner, "put", ["before"])).put("a", [b"12345"]))
    await asyncio.sleep(0)
    await staged(inner, "a", b"12345")
    with pytest.raises(AlreadyExists):
        await putting
    assert [blob.staged async for blob in inner.scan()] == [True]


async def test_a_put_that_is_not_the_first_is_refused_without_being_compared() -> None:
    inner = Failing(Memory(), verb="put", at=0, error=StoreFull("never raised"))
    await inner.put("a", [b"12345"])
    with pytest.raises(AlreadyExists):
        await Clock().retrying(inner).put("a", [b"12345"])
    assert inner.calls == {"put": 2}


@pytest.mark.parametrize("seed", range(8))
async def test_a_read_goes_on_from_the_byte_that_it_got_to(seed: int) -> None:
    chance, clock, inner = random.Random(seed), Clock(), Memory()
    data = noise(50_000, seed)
    blob = await inner.put("a", [data])
    counted = Failing(Chopped(inner, chunk_bytes=997), verb="open", at=0, error=StoreFull("never raised"))
    flaky = Flaky(counted, plan=lambda _: chance.choice([None, None, None, *FAULTS]))
    offset, length = chance.randrange(10_000), 37_000
    assert await content(clock.retrying(flaky), blob, offset, length) == data[offset : offset + length]
    assert counted.calls["open"] > 3


async def test_a_read_that_has_all_its_bytes_does_not_ask_again() -> None:
    inner, clock = Memory(), Clock()
    blob = await inner.put("a", [b"12345"])
    assert await content(clock.retrying(planned(inner, "open", ["after"])), blob) == b"12345"
    assert clock.waits == []
    with pytest.raises(Unavailable):  # there were no bytes, but whether the blob is there is not known either
        await content(clock.retrying(away(inner, "open")), blob, 2, 0)


async def test_tries_and_time_of_a_read_begin_anew_when_bytes_come() -> None:
    inner, clock = Memory(), Clock()
    blob = await inner.put("a", [noise(10)])
    faults: list[Fault | None] = ["after", "before", "before", "before"] * 10
    store = clock.retrying(planned(Chopped(inner, chunk_bytes=1), "open", faults))
    assert await content(store, blob) == noise(10)
    assert clock.time > 1020.0


async def test_the_time_of_whoever_reads_is_not_the_time_of_the_read() -> None:
    inner, clock = Memory(), Clock()
    blob = await inner.put("a", [noise(10)])
    store = clock.retrying(planned(Chopped(inner, chunk_bytes=5), "open", ["after"]))
    seen = b""
    async for chunk in store.open(blob):
        seen += chunk
        clock.time += 3600.0
    assert seen == noise(10)


async def test_a_range_that_does_not_lie_within_is_refused_without_another_try() -> None:
    inner, clock = Memory(), Clock()
    blob = await inner.put("a", [b"12345"])
    for wanted in ((6, None), (0, 6), (-1, 1), (2, -1)):
        with pytest.raises(OutOfRange):
            await content(clock.retrying(inner), blob, *wanted)
    assert clock.waits == []


async def test_a_scan_that_has_begun_is_not_begun_again() -> None:
    inner, clock = Memory(), Clock()
    for key in "abc":
        await inner.put(key, [b"x"])
    store = clock.retrying(planned(inner, "scan", ["before", None, "after"]))
    seen: list[str] = []

    async def scan() -> None:
        async for blob in store.scan():
            seen.append(blob.key)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(Unavailable):
        await scan()
    assert seen == ["a", "b"]
    assert len(clock.waits) == 1


async def test_a_stage_whose_answer_was_lost_is_left_alone_and_worth_another_key() -> None:
    inner = Memory()
    store = Clock().retrying(planned(inner, "stage", ["after"]))
    with pytest.raises(Unavailable) as caught:
        await store.stage("a")
    assert caught.value.retry_seconds is not None
    assert await keys_of(inner) == ["a"]
    await staged(store, "b", b"12345")
    with pytest.raises(AlreadyExists):
        await store.stage("a")
    await staged(Clock().retrying(planned(inner, "stage", ["before"])), "c", b"12345")


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_append_is_never_repeated(fault: Fault) -> None:
    inner, clock = Memory(), Clock()
    stage = await clock.retrying(planned(inner, "append", [fault])).stage("a")
    with pytest.raises(Unavailable) as caught:
        await stage.append([b"12345"])
    assert "tries" not in caught.value.details
    assert clock.waits == []
    assert [blob.size async for blob in inner.scan()] == [5 if fault == "after" else 0]
    await stage.close()


async def test_what_is_appended_while_persist_waits_for_another_try_is_not_counted() -> None:
    inner, clock = Memory(), Clock()
    stage = await clock.retrying(planned(inner, "persist", ["before"])).stage("a")
    await stage.append([b"123"])
    persisting = asyncio.ensure_future(stage.persist())
    await asyncio.sleep(0)
    assert clock.waits
    await stage.append([b"45"])
    assert await persisting == 3
    assert await stage.persist() == 5
    await stage.close()
