"""The container service: unpack, call core, pack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc.aio
from google.protobuf import empty_pb2
from google.protobuf.duration_pb2 import Duration

from measurand.core.containers.containers import EDITABLE, Containers
from measurand.core.containers.documents import Container
from measurand.core.containers.explaining import Explained, Explaining
from measurand.core.containers.sites import BEAT_SECONDS
from measurand.core.names import parse_catalog, parse_dataset, parse_file
from measurand.core.operations.operations import Operations
from measurand.core.ports import Json
from measurand.services.container_messages import STATES, beat_of_message, container_message, draft_of, id_of
from measurand.services.messages import mask_fields
from measurand.services.operation_messages import operation_message
from measurand.services.policy_messages import policy_message, policy_of
from measurand.services.principal import current
from measurand.services.status import problem_of
from measurand.v1 import containers_pb2, containers_pb2_grpc, operations_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["ContainerRooms", "ContainerService", "Tried"]

_CONTAINER = containers_pb2.Container.DESCRIPTOR
_MOST_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that a probe tried."""

    check: str
    is_ok: bool
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class ContainerRooms:
    """What the service calls.

    Parameters
    ----------
    check : callable
        Tries every verb on a container.
    """

    containers: Containers
    explaining: Explaining
    operations: Operations
    check: Callable[[Container], Awaitable[list[Tried]]]


class ContainerService(containers_pb2_grpc.ContainerServiceServicer):
    """Answers for containers."""

    def __init__(self, rooms: ContainerRooms) -> None:
        self._containers = rooms.containers
        self._explaining = rooms.explaining
        self._operations = rooms.operations
        self._check = rooms.check

    async def RegisterContainer(
        self,
        request: containers_pb2.RegisterContainerRequest,
        context: grpc.aio.ServicerContext[
            containers_pb2.RegisterContainerRequest, containers_pb2.RegisterContainerResponse
        ],
    ) -> containers_pb2.RegisterContainerResponse:
        registered = await self._containers.register(
            current(),
            draft_of(request.container),
            rejoin=request.rejoin,
            lease_id=request.lease_id,
            request_id=request.request_id,
        )
        return containers_pb2.RegisterContainerResponse(
            container=container_message(registered.shown),
            lease_id=registered.lease_id,
            heartbeat_interval=_interval(),
        )

    async def HeartbeatContainer(
        self,
        request: containers_pb2.HeartbeatContainerRequest,
        context: grpc.aio.ServicerContext[
            containers_pb2.HeartbeatContainerRequest, containers_pb2.HeartbeatContainerResponse
        ],
    ) -> containers_pb2.HeartbeatContainerResponse:
        state = await self._containers.beat(
            current(), id_of(request.name), request.lease_id, beat_of_message(request.stats)
        )
        return containers_pb2.HeartbeatContainerResponse(state=STATES[state], heartbeat_interval=_interval())

    async def GetContainer(
        self,
        request: containers_pb2.GetContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.GetContainerRequest, containers_pb2.Container],
    ) -> containers_pb2.Container:
        return container_message(await self._containers.get(current(), id_of(request.name)))

    async def ListContainers(
        self,
        request: containers_pb2.ListContainersRequest,
        context: grpc.aio.ServicerContext[containers_pb2.ListContainersRequest, containers_pb2.ListContainersResponse],
    ) -> containers_pb2.ListContainersResponse:
        shown, token = await self._containers.page(
            current(), size=request.page_size, page_token=request.page_token, filter_text=request.filter
        )
        return containers_pb2.ListContainersResponse(
            containers=[container_message(one) for one in shown], next_page_token=token
        )

    async def UpdateContainer(
        self,
        request: containers_pb2.UpdateContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.UpdateContainerRequest, containers_pb2.Container],
    ) -> containers_pb2.Container:
        wanted = request.container
        given = {field.name for field, _ in wanted.ListFields()}
        fields = mask_fields(request.update_mask, _CONTAINER, field="update_mask") or given.intersection(EDITABLE)
        shown = await self._containers.update(current(), draft_of(wanted), sorted(fields), etag=wanted.etag)
        return container_message(shown)

    async def DrainContainer(
        self,
        request: containers_pb2.DrainContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.DrainContainerRequest, operations_pb2.Operation],
    ) -> operations_pb2.Operation:
        container_id = id_of(request.name)
        if not request.validate_only:
            await self._containers.set_draining(current(), container_id, draining=True)
        arguments: Mapping[str, Json] = {"container": container_id, "validate_only": request.validate_only}
        return await self._begin("drain", [f"containers/{container_id}"], arguments, request.request_id)

    async def UndrainContainer(
        self,
        request: containers_pb2.UndrainContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.UndrainContainerRequest, containers_pb2.Container],
    ) -> containers_pb2.Container:
        return container_message(await self._containers.set_draining(current(), id_of(request.name), draining=False))

    async def RemoveContainer(
        self,
        request: containers_pb2.RemoveContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.RemoveContainerRequest, empty_pb2.Empty],
    ) -> empty_pb2.Empty:
        await self._containers.remove(current(), id_of(request.name), force=request.force)
        return empty_pb2.Empty()

    async def RepairContainers(
        self,
        request: containers_pb2.RepairContainersRequest,
        context: grpc.aio.ServicerContext[containers_pb2.RepairContainersRequest, operations_pb2.Operation],
    ) -> operations_pb2.Operation:
        names = [id_of(name, field="containers") for name in request.containers]
        arguments: Mapping[str, Json] = {
            "containers": names,
            "verify_bytes": request.verify_bytes,
            "collect_garbage": request.collect_garbage,
            "validate_only": request.validate_only,
        }
        return await self._begin("repair", [f"containers/{name}" for name in names], arguments, request.request_id)

    async def RebalanceContainers(
        self,
        request: containers_pb2.RebalanceContainersRequest,
        context: grpc.aio.ServicerContext[containers_pb2.RebalanceContainersRequest, operations_pb2.Operation],
    ) -> operations_pb2.Operation:
        return await self._begin("rebalance", [], {"validate_only": request.validate_only}, request.request_id)

    async def RecodeBlobs(
        self,
        request: containers_pb2.RecodeBlobsRequest,
        context: grpc.aio.ServicerContext[containers_pb2.RecodeBlobsRequest, operations_pb2.Operation],
    ) -> operations_pb2.Operation:
        of_dataset = "/datasets/" in request.parent
        name = parse_dataset(request.parent) if of_dataset else parse_catalog(request.parent, field="parent")
        arguments: Mapping[str, Json] = {"parent": str(name), "validate_only": request.validate_only}
        return await self._begin("recode", [str(name)], arguments, request.request_id)

    async def CheckContainer(
        self,
        request: containers_pb2.CheckContainerRequest,
        context: grpc.aio.ServicerContext[containers_pb2.CheckContainerRequest, containers_pb2.ProbeReport],
    ) -> containers_pb2.ProbeReport:
        shown = await self._containers.get(current(), id_of(request.name))
        report = containers_pb2.ProbeReport(healthy=True)
        for tried in await self._check(shown.container):
            result = report.results.add(check=tried.check, ok=tried.is_ok, message=tried.message)
            result.elapsed.FromTimedelta(timedelta(seconds=tried.seconds))
            report.healthy = report.healthy and tried.is_ok
        return report

    async def ExplainPlacement(
        self,
        request: containers_pb2.ExplainPlacementRequest,
        context: grpc.aio.ServicerContext[
            containers_pb2.ExplainPlacementRequest, containers_pb2.ExplainPlacementResponse
        ],
    ) -> containers_pb2.ExplainPlacementResponse:
        if not 0 <= request.size <= _MOST_BYTES:
            raise InvalidArgument(f"size: {request.size} is not within 0 and {_MOST_BYTES}", field="size")
        match request.WhichOneof("subject"):
            case "resource":
                explained = await self._explaining.file(current(), parse_file(request.resource, field="resource"))
            case "catalog":
                catalog = parse_catalog(request.catalog, field="catalog")
                explained = await self._explaining.catalog(current(), catalog, request.size, request.seed)
            case "policy":
                policy = policy_of(request.policy, "policy")
                explained = self._explaining.policy(policy, request.size, request.seed)
            case _:
                raise InvalidArgument("give a resource, a catalog or a policy to explain", field="subject")
        return _explained_message(explained)

    async def _begin(
        self, kind: str, targets: list[str], arguments: Mapping[str, Json], request_id: str
    ) -> operations_pb2.Operation:
        operation = await self._operations.create(
            current(), kind, targets=targets, arguments=arguments, request_id=request_id
        )
        return operation_message(operation)


def _interval() -> Duration:
    interval = Duration()
    interval.FromTimedelta(timedelta(seconds=BEAT_SECONDS))
    return interval


def _explained_message(explained: Explained) -> containers_pb2.ExplainPlacementResponse:
    return containers_pb2.ExplainPlacementResponse(
        policy=policy_message(explained.policy),
        parts=[
            containers_pb2.PlacedPart(
                blob=part.blob,
                part_index=part.index,
                container=f"containers/{part.container}",
                size=part.size,
                healthy=part.is_healthy,
            )
            for part in explained.parts
        ],
        candidates=[
            containers_pb2.PlacementCandidate(
                container=f"containers/{one.container}", chosen=one.chosen, score=one.score, reasons=one.reasons
            )
            for one in explained.considered
        ],
        problem=None if explained.problem is None else problem_of(explained.problem),
        data_parts=explained.data_parts,
        parity_parts=explained.parity_parts,
    )
