"""Errors at the edge: code, reason, details and the request id, over a real channel."""

from __future__ import annotations

import asyncio
import logging

import grpc
import grpc.aio
import pytest
from tests.services.probe import Answer, details, probing, trailers

from measurand.core.principal import Principal
from measurand.services.principal import current
from measurand.services.status import problem_of
from measurand.v1 import server_pb2
from measurand.wire.errors import (
    REASONS,
    Busy,
    Contention,
    DataLoss,
    NameInvalid,
    NotFound,
    from_wire,
)

BY_GRPC = {"DEADLINE_EXCEEDED", "CANCELLED"}


def failing(error: BaseException) -> Answer:
    async def fail() -> None:
        raise error

    return fail


async def succeed() -> None:
    return


@pytest.mark.parametrize("reason", sorted(REASONS.keys() - BY_GRPC))
async def test_an_error_arrives_with_its_code_reason_and_details(reason: str) -> None:
    error = REASONS[reason]("what is wrong, and what to do", retry_seconds=1.25, resource="catalogs/ä", offset=7)
    async with probing(failing(error)) as probed:
        caught = await probed.fail()
    found = details(caught)
    assert caught.code().value[0] == error.code
    assert (found.info.domain, found.info.reason) == ("measurand", reason)
    assert dict(found.info.metadata) == {"resource": "catalogs/ä", "offset": "7"}
    assert found.retry and found.retry.retry_delay.ToTimedelta().total_seconds() == 1.25
    back = from_wire(error.code, reason, str(caught.details()), dict(found.info.metadata), 1.25)
    assert (type(back), back.message, back.details) == (type(error), error.message, error.details)


async def test_an_error_that_waiting_does_not_mend_has_no_delay() -> None:
    async with probing(failing(NotFound("gone"))) as probed:
        found = details(await probed.fail())
    assert found.retry is None
    assert found.fault is None


async def test_a_fault_of_a_field_names_the_field() -> None:
    async with probing(failing(NameInvalid("name: x is none", field="name", name="x"))) as probed:
        found = details(await probed.fail())
    assert found.fault and [(one.field, one.description) for one in found.fault.field_violations] == [
        ("name", "NAME_INVALID")
    ]


async def test_an_error_in_a_stream_comes_behind_its_messages_and_closes_the_servicer() -> None:
    async with probing(failing(DataLoss("damaged", resource="x"))) as probed:
        assert details(await probed.fail_in_stream()).info.reason == "STORED_DATA_CORRUPT"
        assert probed.probe.closed.is_set()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unexpected_error_is_told_by_an_incident_and_logged_with_its_trace(
    *, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with probing(failing(ZeroDivisionError("secret of the house"))) as probed:
        error = await (probed.fail_in_stream() if stream else probed.fail())
    found = details(error)
    assert (error.code(), found.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    incident = found.info.metadata["incident"]
    assert incident and incident in str(error.details())
    assert "secret" not in repr(error) and "Traceback" not in repr(error)
    (record,) = (record for record in caplog.records if "event=fault" in record.getMessage())
    assert incident in record.getMessage()
    assert record.exc_info and isinstance(record.exc_info[1], ZeroDivisionError)


async def test_what_a_caller_sent_never_makes_the_error_too_large_or_unspeakable() -> None:
    for sent in ("x" * 1_000_000, "ä" * 100_000, "\ud800" * 5000, "%\n\0" * 5000):
        error = NameInvalid(f"name: {sent} is none", field="name", name=sent, other=sent)
        async with probing(failing(error)) as probed:
            caught = await probed.fail()
        assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
        found = details(caught)
        assert found.info.reason == "NAME_INVALID"
        assert found.info.metadata["field"] == "name"
        carried = sum(len(key) + len(value) for key, value in trailers(caught).items())
        assert carried < 6000
        problem = problem_of(error)
        assert problem.message.startswith("name: ") and len(problem.SerializeToString()) < 6000


async def test_the_request_id_of_the_caller_comes_back_with_answers_and_errors() -> None:
    async with probing(failing(NotFound("gone"))) as probed:
        caught = await probed.fail(metadata=[("x-request-id", "abc-1")])
        assert trailers(caught)["x-request-id"] == "abc-1"
    async with probing(succeed) as probed:
        call = probed.stub.GetCapabilities(server_pb2.GetCapabilitiesRequest(), metadata=[("x-request-id", "abc-2")])
        await call
        assert dict(await call.trailing_metadata() or ())["x-request-id"] == "abc-2"


@pytest.mark.parametrize("sent", [[], [("x-request-id", "with space")], [("x-request-id", "x" * 129)]])
async def test_a_missing_or_malformed_request_id_is_replaced(sent: list[tuple[str, str]]) -> None:
    async with probing(failing(NotFound("gone"))) as probed:
        made = trailers(await probed.fail(metadata=sent))["x-request-id"]
    assert made.startswith("instance-") and made not in [value for _, value in sent]


async def test_every_answer_names_the_instance() -> None:
    async with probing(failing(NotFound("gone"))) as probed:
        assert trailers(await probed.fail())["measurand-instance"] == "instance"


async def test_the_caller_that_was_resolved_reaches_the_servicer() -> None:
    seen: list[Principal] = []

    async def look() -> None:
        seen.append(current())

    async def resolve(metadata: object) -> Principal:
        return Principal("users/ada")

    async with probing(look, resolve=resolve) as probed:
        await probed.ask()
    assert seen == [Principal("users/ada")]


async def test_a_caller_that_cannot_be_resolved_gets_that_error_and_the_servicer_is_not_asked() -> None:
    asked = False

    async def note() -> None:
        nonlocal asked
        asked = True

    async def resolve(metadata: object) -> Principal:
        raise NotFound("who are you?")

    async with probing(note, resolve=resolve) as probed:
        assert (await probed.fail()).code() is grpc.StatusCode.NOT_FOUND
    assert not asked


async def test_a_caller_who_hangs_up_cancels_the_servicer_and_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with probing(wait) as probed:
        call = probed.stub.GetCapabilities(server_pb2.GetCapabilitiesRequest())
        await asyncio.wait_for(begun.wait(), 10)
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 10)
        await asyncio.sleep(0)
        assert 'code="CANCELLED"' in probed.metrics.page().decode()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_calls_are_counted_by_method_code_and_reason() -> None:
    async with probing(failing(Busy("later", retry_seconds=1))) as probed:
        await probed.fail()
        page = probed.metrics.page().decode()
    method = "/measurand.v1.ServerService/GetCapabilities"
    assert f'measurand_calls_total{{code="RESOURCE_EXHAUSTED",method="{method}",reason="SERVER_BUSY"}} 1.0' in page
    assert f'measurand_calls_running{{method="{method}"}} 0.0' in page


async def test_a_call_is_one_line_of_the_log_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "measurand")
    async with probing(failing(Contention("again", retry_seconds=1))) as probed:
        await probed.fail()
    (line,) = (record.getMessage() for record in caplog.records if "event=call" in record.getMessage())
    assert "method=/measurand.v1.ServerService/GetCapabilities code=ABORTED reason=CONTENTION ms=" in line
