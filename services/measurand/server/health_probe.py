"""`python -m measurand.server.health_probe HOST:PORT`: ends with 0 when the server there takes calls, for containers.

It asks the standard gRPC health service in bytes of its own: an import of protobuf would take longer than the question.
"""

from __future__ import annotations

import sys

import grpc

__all__ = ["is_serving", "main"]

METHOD = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""`HealthCheckResponse` whose field 1, `status`, is 1."""
TIMEOUT_SECONDS = 5.0
USAGE = "usage: python -m measurand.server.health_probe HOST:PORT [SERVICE]"


def is_serving(address: str, service: str = "", *, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """Tell whether a server says that it, or one of its services, takes calls. Raises grpc.RpcError if it says nothing.

    Parameters
    ----------
    service : str
        A full name such as `measurand.v1.FileService`, at most 127 bytes; empty: the server as a whole.
    """
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""  # field 1, `service`
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)
        return bool(check(request, timeout=timeout_seconds) == SERVING)


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 it serves, 1 it does not, 2 the question was wrong."""
    if not 1 <= len(arguments) <= 2:
        print(USAGE, file=sys.stderr)  # noqa: T201  # a command of its own
        return 2
    try:
        if is_serving(*arguments):
            return 0
        said = "it says that it does not take calls"
    except grpc.RpcError as error:
        said = str(error.details())  # the stubs do not know that it is a call
    print(f"{arguments[0]}: {said}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
