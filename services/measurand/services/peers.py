"""Single appends: made here, or by the server that commits for all that compete; and what other servers hand over."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import grpc.aio

from measurand.core.buffers.appending import Appending
from measurand.core.buffers.records import Record
from measurand.core.buffers.relaying import Relay, Relaying
from measurand.core.buffers.submissions import Stored
from measurand.core.means import Means
from measurand.core.names import parse_buffer
from measurand.services.buffer_streams import THREAD_BYTES
from measurand.services.principal import current, said_by
from measurand.services.record_messages import check_count, record_of
from measurand.services.status import error_of, problem_of
from measurand.v1 import buffers_pb2, peers_pb2, peers_pb2_grpc
from measurand.wire.errors import FailedPrecondition, MeasurandError, NotFound, ShuttingDown

__all__ = ["AppendRelay", "Appends", "PeerService", "outcomes_of"]

Context = grpc.aio.ServicerContext[Any, Any]
AppendRelay = Relay[buffers_pb2.AppendRequest]


class Appends:
    """Answers single appends."""

    def __init__(self, appending: Appending, relaying: Relaying[buffers_pb2.AppendRequest], means: Means) -> None:
        self._appending = appending
        self._relaying = relaying
        self._means = means

    async def append(self, request: buffers_pb2.AppendRequest, context: Context) -> buffers_pb2.AppendResponse:
        """Append what a caller of this server has sent.

        A writer's numbers must come in their order, so they take one way: they are stored here.
        """
        name = parse_buffer(request.name)
        if request.writer or self._relaying.leads(name):
            return await self.append_here(request)
        if not request.request_id:
            request.request_id = str(uuid.uuid4())
        stored = await self._relaying.append(
            name,
            said_by(context.invocation_metadata() or ()),
            request,
            request.ByteSize(),
            _wait(context.time_remaining()),
        )
        return await self.append_here(request) if stored is None else _response(stored)

    async def append_here(self, request: buffers_pb2.AppendRequest) -> buffers_pb2.AppendResponse:
        """Append by this server."""
        check_count(len(request.records), "records")
        is_costly = request.ByteSize() > THREAD_BYTES
        records = await self._means.in_thread(self._given, request) if is_costly else self._given(request)
        stored = await self._appending.append(
            current(),
            parse_buffer(request.name),
            records,
            writer=request.writer,
            first_number=request.first_writer_sequence,
            request_id=request.request_id,
        )
        return _response(stored)

    def leads(self, name: str) -> bool:
        """Tell whether this server makes the single appends to a buffer itself."""
        return self._relaying.leads(parse_buffer(name))

    def _given(self, request: buffers_pb2.AppendRequest) -> list[Record]:
        return [record_of(record, index, self._means.crc32c) for index, record in enumerate(request.records)]


class PeerService(peers_pb2_grpc.PeerServiceServicer):
    """Serves `measurand.v1.PeerService`.

    Parameters
    ----------
    draining : asyncio.Event
        Set when the server is going away: it then commits for its own callers only.
    """

    def __init__(self, appends: Appends, draining: asyncio.Event, *, deployment_id: str, instance_id: str) -> None:
        self._appends = appends
        self._draining = draining
        self._own = deployment_id, instance_id

    async def RelayAppends(
        self, request: peers_pb2.RelayAppendsRequest, context: Context
    ) -> peers_pb2.RelayAppendsResponse:
        if (request.deployment_id, request.instance_id) != self._own:
            raise NotFound(
                f"{request.instance_id!r} is not here any more; append at the server that asks this",
                resource=request.instance_id,
            )
        if self._draining.is_set():
            raise ShuttingDown("the server is going away; append at the server that asks this", retry_seconds=0.2)
        followed = next((one.name for one in request.appends if not self._appends.leads(one.name)), None)
        if followed is not None:
            raise FailedPrecondition(
                f"{followed}: another server leads; append at the server that asks this",
                resource=followed,
                state="following",
            )
        return peers_pb2.RelayAppendsResponse(appends=await asyncio.gather(*map(self._append, request.appends)))

    async def _append(self, request: buffers_pb2.AppendRequest) -> peers_pb2.RelayedAppend:
        try:
            return peers_pb2.RelayedAppend(stored=await self._appends.append_here(request))
        except MeasurandError as error:
            return peers_pb2.RelayedAppend(problem=problem_of(error))


def outcomes_of(message: peers_pb2.RelayAppendsResponse) -> Sequence[Stored | MeasurandError]:
    """Return what another server says has become of each append."""
    return [
        error_of(one.problem)
        if one.HasField("problem")
        else Stored(one.stored.first_sequence, one.stored.count, one.stored.window)
        for one in message.appends
    ]


def _wait(left: float | None) -> float | None:
    """Return for how long to wait for another server: whoever has little time has as much again for an append here."""
    return None if left is None else left / 2


def _response(stored: Stored) -> buffers_pb2.AppendResponse:
    return buffers_pb2.AppendResponse(first_sequence=stored.first, count=stored.count, window=stored.window)
