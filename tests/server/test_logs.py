"""Log lines: key=value, one for each event."""

from __future__ import annotations

import asyncio
import logging

import pytest

from measurand.core.principal import LOCAL_USER
from measurand.server.logs import KeyValue
from measurand.services.principal import Call, begin


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("some.module", logging.WARNING, __file__, 1, message, arguments, exc_info)


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
