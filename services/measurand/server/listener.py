"""The gRPC server: its port, its limits, and the services that it offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc.aio

from measurand.core.limits import Limits
from measurand.server.addresses import check_free, refusal
from measurand.server.config import Address
from measurand.server.health import Health
from measurand.server.reflection import add_reflection
from measurand.wire.codec import codec_server

__all__ = ["Adder", "Listener", "serving"]

Adder = Callable[[grpc.aio.Server], None]
"""Puts a service into a server."""

Servicer = TypeVar("Servicer")


def serving(add: Callable[[Servicer, grpc.aio.Server], None], servicer: Servicer) -> Adder:
    """Return what puts a servicer into a server, by the function that was generated for it."""
    return lambda server: add(servicer, server)


class Listener:
    """A gRPC server of some services, with health and reflection.

    Parameters
    ----------
    services : sequence of (str, Adder)
        Each service's full name, and what adds it.
    shares_port : bool
        Other processes listen on the same port and the kernel spreads connections over them. Otherwise a port that is
        taken is an error.
    """

    def __init__(
        self,
        services: Sequence[tuple[str, Adder]],
        calls: grpc.aio.ServerInterceptor,
        *,
        limits: Limits,
        max_streams: int,
        shares_port: bool = False,
    ) -> None:
        self._shares_port = shares_port
        self._names = [name for name, _ in services]
        self.health = Health()
        self._server = grpc.aio.server(
            interceptors=[calls], options=_options(limits, max_streams, shares_port=shares_port)
        )
        for _, add in services:
            add(codec_server(self._server))
        self.health.add_to(self._server)
        add_reflection(self._server, [*self._names, "grpc.health.v1.Health"])

    async def start(self, address: Address) -> Address:
        """Take calls from now on, and return the address with its true port. Raises ConfigError."""
        if not self._shares_port:
            check_free(address)
        address = self.add(address)
        await self.health.serve(self._names)
        await self._server.start()
        return address

    def add(self, address: Address) -> Address:
        """Take calls at one more address from `start` on, and return it with its true port. Raises ConfigError."""
        try:
            return Address(address.host, self._server.add_insecure_port(str(address)))
        except RuntimeError as error:
            raise refusal(address, "cannot be listened on") from error

    async def tell(self, *, is_well: bool) -> None:
        """Tell whoever asks for the health whether calls can be answered now."""
        await self.health.serve(self._names, is_well=is_well)

    async def stop(self, grace_seconds: float) -> None:
        """Take no more calls, wait so long for those that run, then end them."""
        await self._server.stop(grace_seconds)


def _options(limits: Limits, max_streams: int, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(shares_port)),
        # Messages with bulk data are held to less than this where they are taken apart.
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", 2 * limits.max_message_bytes),
        ("grpc.max_concurrent_streams", max_streams),
        # Clients ping every 30 s; a client whose machine has gone is noticed within a minute and a half.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 4),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
