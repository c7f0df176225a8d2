"""Operations as messages. The services that begin operations answer with them too."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.message import Message

from measurand.core.operations.documents import Operation, OperationState
from measurand.services.messages import time_message
from measurand.services.status import problem_of
from measurand.v1 import containers_pb2, operations_pb2

__all__ = ["RESPONSES", "operation_message"]

RESPONSES: dict[str, type[Message]] = {
    "drain": containers_pb2.DrainReport,
    "repair": containers_pb2.RepairReport,
    "rebalance": containers_pb2.RebalanceReport,
    "recode": containers_pb2.RecodeReport,
}
"""What comes of each kind of operation. Handlers return it in protobuf's JSON form, field names as in the contract."""

_STATES = {state: operations_pb2.OperationState.Value(f"OPERATION_STATE_{state.name}") for state in OperationState}


def operation_message(operation: Operation) -> operations_pb2.Operation:
    """Return an operation as a message. Of a kind that this release does not know the response stays out."""
    progress = operation.progress
    message = operations_pb2.Operation(
        name=operation.name,
        kind=operation.kind,
        state=_STATES[operation.state],
        progress=operations_pb2.Progress(
            done=progress.done, total=progress.total, unit=progress.unit, message=progress.message
        ),
        targets=operation.targets,
        problem=None if operation.problem is None else problem_of(operation.problem.error()),
        target_problems=[
            operations_pb2.TargetProblem(target=one.target, problem=problem_of(one.problem.error()))
            for one in operation.target_problems
        ],
        attempt=operation.attempt,
        creator=operation.creator,
        create_time=time_message(operation.create_time),
        start_time=time_message(operation.start_time),
        update_time=time_message(operation.update_time),
        end_time=time_message(operation.end_time),
        expire_time=time_message(operation.expire_time),
    )
    kind = RESPONSES.get(operation.kind)
    if operation.state is OperationState.SUCCEEDED and kind is not None:
        # What a server of a newer release has written may have fields that this one does not know.
        message.response.Pack(json_format.ParseDict(dict(operation.response or {}), kind(), ignore_unknown_fields=True))
    return message
