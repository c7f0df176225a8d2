"""What both transports agree on: the options of a channel, its credentials, and how messages become bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from measurand.client._version import __version__
from measurand.client.address import Address
from measurand.client.methods import Method
from measurand.wire import codec
from measurand.wire.errors import InvalidArgument

__all__ = ["OPTIONS", "call_metadata", "check_token", "credentials", "deserializer", "serializer"]

MiB = 1024 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", 16 * MiB),
    ("grpc.max_receive_message_length", 16 * MiB),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that restarts is found again at once: gRPC's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Clients in one process do not wait for each other's broken connections.
    ("grpc.use_local_subchannel_pool", 1),
    # Retries live in the client library, which knows what is safe to repeat.
    ("grpc.enable_retries", 0),
)


def credentials(address: Address) -> grpc.ChannelCredentials | None:
    """Return what the channel is secured with, or None for plaintext."""
    if not address.tls:
        return None
    roots = Path(address.tls).read_bytes() if isinstance(address.tls, str) else None
    return grpc.ssl_channel_credentials(root_certificates=roots)


def call_metadata(address: Address) -> tuple[tuple[str, str], ...]:
    """Return what travels with every call."""
    named = (("measurand-client", f"python/{__version__}"),)
    return (*named, ("authorization", f"Bearer {address.token}")) if address.token else named


def serializer(method: Method[Any, Any]) -> Callable[[Any], bytes]:
    """Return what turns a request into bytes."""
    return codec.encode if _is_bulk(method.request) else method.request.SerializeToString


def deserializer(method: Method[Any, Any]) -> Callable[[bytes], Any]:
    """Return what turns bytes into an answer."""
    kind = method.response
    if not _is_bulk(kind):
        return kind.FromString
    return lambda raw: codec.decode(raw, kind)


def check_token(address: Address) -> None:
    """Refuse to send a token where others can read it on its way."""
    host = address.target.rpartition(":")[0]
    if address.token and not address.tls and host not in LOOPBACK:
        raise InvalidArgument(
            f"a token would travel to {address.target} in the open; use grpcs://{address.target} or tls=True",
            field="token",
        )


def _is_bulk(kind: type[Message]) -> bool:
    return codec.is_bulk(cast("Descriptor", kind.DESCRIPTOR))  # the stubs name two classes of descriptors
