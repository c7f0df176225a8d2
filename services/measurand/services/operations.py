"""The operation service: unpack, call core, pack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from measurand.core.limits import Limits
from measurand.core.names import parse_operation
from measurand.core.operations.following import DEFAULT_INTERVAL, Following
from measurand.core.operations.operations import Operations
from measurand.services.messages import span_of
from measurand.services.operation_messages import operation_message
from measurand.services.principal import current
from measurand.v1 import operations_pb2, operations_pb2_grpc

__all__ = ["OperationService"]

Context = grpc.aio.ServicerContext[Any, Any]


class OperationService(operations_pb2_grpc.OperationServiceServicer):
    """Answers for operations. Other services begin them."""

    def __init__(self, operations: Operations, following: Following, limits: Limits) -> None:
        self._operations = operations
        self._following = following
        self._limits = limits

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        return operation_message(await self._operations.get(current(), parse_operation(request.name)))

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        size = request.page_size
        while True:
            page = await self._operations.page(
                current(), size=size, page_token=request.page_token, filter_text=request.filter
            )
            messages = [operation_message(operation) for operation in page.operations]
            fitting = self._fitting(messages)
            if fitting == len(messages):
                return operations_pb2.ListOperationsResponse(operations=messages, next_page_token=page.next_page_token)
            size = fitting

    async def WatchOperation(
        self, request: operations_pb2.WatchOperationRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Operation]:
        interval = span_of(request, "min_interval", "min_interval")
        operations = self._following.follow(
            current(),
            parse_operation(request.name),
            min_interval=DEFAULT_INTERVAL if interval is None else interval,
        )
        async with aclosing(operations):
            async for operation in operations:
                yield operation_message(operation)

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        wait = span_of(request, "wait", "wait") or timedelta()
        operation = await self._following.wait(current(), parse_operation(request.name), wait=wait)
        return operation_message(operation)

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        return operation_message(await self._operations.cancel(current(), parse_operation(request.name)))

    async def DeleteOperation(self, request: operations_pb2.DeleteOperationRequest, context: Context) -> Empty:
        await self._operations.delete(current(), parse_operation(request.name))
        return Empty()

    def _fitting(self, messages: list[operations_pb2.Operation]) -> int:
        """Return how many fit into one answer: at least one."""
        total = 0
        for number, message in enumerate(messages):
            total += message.ByteSize()
            if number and total > self._limits.page_bytes:
                return number
        return len(messages)
