"""A gRPC server that answers with nothing: what any call costs in Python. Run as a module, it prints its address."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from measurand.v1 import registry_pb2

__all__ = ["serving"]


async def _registered(
    request: registry_pb2.RegisterRequest, context: grpc.aio.ServicerContext[Any, Any]
) -> registry_pb2.RegisterResponse:
    return registry_pb2.RegisterResponse()


async def _renewed(
    request: registry_pb2.RenewRegistrationRequest, context: grpc.aio.ServicerContext[Any, Any]
) -> registry_pb2.Registration:
    return registry_pb2.Registration(name=request.name)


HANDLERS: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
    "Register": grpc.unary_unary_rpc_method_handler(
        _registered,
        request_deserializer=registry_pb2.RegisterRequest.FromString,
        response_serializer=registry_pb2.RegisterResponse.SerializeToString,
    ),
    "RenewRegistration": grpc.unary_unary_rpc_method_handler(
        _renewed,
        request_deserializer=registry_pb2.RenewRegistrationRequest.FromString,
        response_serializer=registry_pb2.Registration.SerializeToString,
    ),
}


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Run it and give its address and process id."""
    command = [sys.executable, "-m", "benchmarks.peers.bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


async def _serve() -> None:
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("measurand.v1.RegistryService", HANDLERS)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
