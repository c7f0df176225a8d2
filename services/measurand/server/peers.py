"""The connections to the other servers of the deployment."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import grpc
import grpc.aio

from measurand.core.buffers.heads import Peer
from measurand.core.buffers.relaying import Caller
from measurand.core.buffers.submissions import Stored
from measurand.services.peers import outcomes_of
from measurand.v1 import buffers_pb2, peers_pb2, peers_pb2_grpc
from measurand.wire.errors import Busy, FailedPrecondition, MeasurandError, Unavailable

__all__ = ["Peers"]

MOST_CHANNELS = 32
GRACE = 10.0
OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The channels of two servers in one process do not wait for each other's broken connections.
    ("grpc.use_local_subchannel_pool", 1),
)


class Peers:
    """Asks other servers; see `measurand.core.buffers.relaying.Relay`."""

    def __init__(self, deployment_id: str) -> None:
        self._deployment_id = deployment_id
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def __call__(
        self, peer: Peer, caller: Caller, calls: Sequence[buffers_pb2.AppendRequest]
    ) -> Sequence[Stored | MeasurandError]:
        request = peers_pb2.RelayAppendsRequest(
            deployment_id=self._deployment_id, instance_id=peer.instance, appends=calls
        )
        stub = peers_pb2_grpc.PeerServiceStub(self._channel(peer.address))
        try:
            return outcomes_of(await stub.RelayAppends(request, metadata=caller))
        except grpc.aio.AioRpcError as error:
            said = f"{peer.address}: {error.details()}"
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise FailedPrecondition(said, state="following") from error
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Busy(said) from error
            raise Unavailable(said) from error

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*self._closing, *(channel.close() for channel in self._channels.values()))

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._channels.move_to_end(address)
        while len(self._channels) > MOST_CHANNELS:
            _, oldest = self._channels.popitem(last=False)
            task = asyncio.create_task(oldest.close(grace=GRACE), name="close of a connection")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return self._channels[address]
