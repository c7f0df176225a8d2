"""What a call was refused with, read as any gRPC client would."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status


async def refused(call: Any) -> tuple[grpc.StatusCode, ErrorInfo, str]:
    """Return the code, the facts and the faulty field that a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    (raw,) = [value for key, value in caught.value.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    info, fault = ErrorInfo(), BadRequest()
    for detail in Status.FromString(raw).details:
        for kind in (info, fault):
            detail.Unpack(kind)
    return caught.value.code(), info, fault.field_violations[0].field if fault.field_violations else ""
