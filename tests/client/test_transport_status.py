from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from measurand.client import errors
from measurand.client._transport.status import error_of
from measurand.client.retries import is_from_server


def trailing(*details: ErrorInfo | RetryInfo | BadRequest, message: str = "said") -> list[tuple[str, bytes]]:
    status = Status(code=10, message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return [("grpc-status-details-bin", status.SerializeToString())]


def test_the_servers_word_becomes_the_class_that_it_raised() -> None:
    info = ErrorInfo(domain="measurand", reason="WRITER_FENCED", metadata={"epoch": "3"})
    error = error_of(grpc.StatusCode.ABORTED, "text", trailing(info), address="host:1")
    assert type(error) is errors.WriterFenced
    assert (str(error), error.details, error.retry_seconds) == ("said", {"epoch": "3"}, None)
    assert is_from_server(error)


def test_a_delay_and_a_fault_of_a_field_come_along() -> None:
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    fault = BadRequest(field_violations=[BadRequest.FieldViolation(field="title")])
    info = ErrorInfo(domain="measurand", reason="SERVER_BUSY")
    error = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "", trailing(info, retry, fault), address="host:1")
    assert type(error) is errors.Busy
    assert (error.retry_seconds, error.details["field"]) == (1.5, "title")


def test_a_reason_of_a_newer_server_keeps_its_word() -> None:
    info = ErrorInfo(domain="measurand", reason="NEVER_HEARD_OF")
    error = error_of(grpc.StatusCode.NOT_FOUND, "", trailing(info), address="host:1")
    assert isinstance(error, errors.NotFound)
    assert error.reason == "NEVER_HEARD_OF"


def test_a_status_of_somebody_else_is_the_transports() -> None:
    for details in (
        trailing(ErrorInfo(domain="proxy.example", reason="X")),
        [("grpc-status-details-bin", b"\xff")],
        None,
    ):
        error = error_of(grpc.StatusCode.UNAVAILABLE, "refused", details, address="host:1")
        assert isinstance(error, errors.Unavailable)
        assert error.reason == "UNAVAILABLE"
        assert not is_from_server(error)
        assert "host:1" in str(error)
        assert "measurand serve" in str(error)


def test_a_message_too_large_for_grpc_is_too_large() -> None:
    text = "Received message larger than max (9 vs. 5)"
    assert isinstance(error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, text, None, address="host:1"), errors.TooLarge)
