"""Log lines: key=value, one for each event, with the id of the request that they belong to, however deep they arise."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest
from tests.faults import Failing
from tests.services.probe import probing, trailers

from measurand.core.principal import LOCAL_USER
from measurand.server.logs import KeyValue
from measurand.services.principal import Call, begin
from measurand.storage.blobs.memory import Memory
from measurand.storage.blobs.retrying import Retrying
from measurand.v1.server_pb2 import GetCapabilitiesRequest
from measurand.wire.errors import Unavailable


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("some.module", logging.WARNING, __file__, 1, message, arguments, exc_info)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the loggers of the product write, from the level info on."""
    text, logger = io.StringIO(), logging.getLogger("measurand")
    handler = logging.StreamHandler(text)
    handler.setFormatter(KeyValue())
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield text
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_an_event_of_ours_is_one_line_of_keys_and_values() -> None:
    line = KeyValue().format(record("event=worker_died worker=%d code=%d", 1, -9))
    time, rest = line.split(" ", 1)
    assert time.startswith("time=") and time.endswith("Z")
    assert rest == "level=warning event=worker_died worker=1 code=-9"


def test_a_message_of_somebody_else_is_quoted_and_stays_on_its_line() -> None:
    line = KeyValue().format(record('it said "no"\nand left'))
    assert line.endswith(r'event=some.module message="it said \"no\"\nand left"')


def test_a_value_cannot_forge_a_second_line() -> None:
    assert "\n" not in KeyValue().format(record("event=x name=%s", "a\ntime=now level=error event=forged"))


def test_the_request_id_stands_in_every_line_of_a_call() -> None:
    async def in_a_call() -> str:
        begin(Call(LOCAL_USER, "abc-1"))
        return KeyValue().format(record("event=x"))

    assert asyncio.run(in_a_call()).endswith("event=x request=abc-1")
    assert "request=" not in KeyValue().format(record("event=x"))


def test_a_traceback_follows_indented() -> None:
    def fail() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why") as caught:
        fail()
    first, *rest = KeyValue().format(record("event=fault", error=caught.value)).splitlines()
    assert first.endswith("event=fault")
    assert rest[-1] == "    ValueError: why"
    assert all(line.startswith("    ") for line in rest)


async def no_wait(_: float) -> None:
    """Do not wait between tries."""


def stat_of_a_store_that_is_away() -> Retrying:
    away = Failing(Memory(), verb="stat", times=100, error=Unavailable("the store is away", retry_seconds=0.0))
    return Retrying(away, tries=3, sleep=no_wait)


async def test_lines_from_deep_below_a_call_carry_the_id_that_the_caller_gave_it(log: io.StringIO) -> None:
    store = stat_of_a_store_that_is_away()

    async def ask() -> None:
        await store.stat("a")

    async with probing(ask) as probed:
        while "event=store_left_alone" not in log.getvalue():
            error = await probed.fail(metadata=[("x-request-id", "scan-7")])
            assert trailers(error)["x-request-id"] == "scan-7"
    (line,) = (line for line in log.getvalue().splitlines() if "event=store_left_alone" in line)
    assert line.endswith(" request=scan-7")


async def test_a_caller_that_gave_no_id_is_told_the_one_that_stands_in_the_log(log: io.StringIO) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with probing(fail) as probed:
        first, second = await probed.fail(), await probed.fail()
    lines = [line for line in log.getvalue().splitlines() if "event=fault" in line]
    told = [trailers(error)["x-request-id"] for error in (first, second)]
    assert len(set(told)) == 2
    assert [line.rpartition(" request=")[2] for line in lines] == told


async def test_calls_at_the_same_time_keep_their_ids_apart(log: io.StringIO) -> None:
    all_there = asyncio.Barrier(3)

    async def warn() -> None:
        await all_there.wait()
        logging.getLogger("measurand.test").warning("event=here")

    async with probing(warn) as probed:
        await asyncio.gather(*(probed.ask(metadata=[("x-request-id", f"id-{number}")]) for number in range(3)))
    assert sorted(line.rpartition(" ")[2] for line in log.getvalue().splitlines()) == [
        "request=id-0",
        "request=id-1",
        "request=id-2",
    ]


async def test_an_answer_tells_the_id_too() -> None:
    async def succeed() -> None:
        """Nothing goes wrong."""

    async with probing(succeed) as probed:
        call = probed.stub.GetCapabilities(GetCapabilitiesRequest())
        await call
        told = dict(await call.trailing_metadata() or ())
    assert str(told["x-request-id"]).startswith("instance-")
