"""The containers of a deployment: added, looked at, emptied, mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.operations import AsyncOperation
from measurand.client.container_facts import Check, Container, Placement
from measurand.client.storage import Storage, storage_message
from measurand.v1 import containers_pb2

__all__ = ["AsyncContainers"]

PAGE = 1000


class AsyncContainers:
    """The places that hold blobs: `client.containers`."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def add(
        self,
        id: str,  # noqa: A002  # the field's word
        uri: str,
        *,
        zone: str = "",
        title: str = "",
        labels: Mapping[str, str] | None = None,
        weight: float = 1.0,
        max_bytes: int = 0,
        read_only: bool = False,
        annual_failure_rate: float = 0.0,
        write_bandwidth: float = 0.0,
        read_bandwidth: float = 0.0,
        rejoin: bool = False,
    ) -> Container:
        """Add a container, once the server has written to it and read it back.

        Parameters
        ----------
        id : str
            Its id, such as `nas`.
        uri : str
            `file:///mnt/nas`, `s3://bucket/prefix?endpoint=http://host:port` or `grpc://host:port`.
        zone : str
            A site, room or rack: parts of one blob are spread over zones.
        labels : mapping, optional
            Pairs of words that a `Storage` can ask for.
        weight : float
            How much more than others it is to be used.
        max_bytes : int
            Fill it up to this; 0: up to what there is.
        annual_failure_rate : float
            How likely it is to fail within a year, 0 to 1; 0: as is usual.
        write_bandwidth, read_bandwidth : float
            Bytes a second; 0: as measured.
        rejoin : bool
            It was there before, with what it holds.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is one of this id, or at this place.
        Unavailable
            STORE_UNAVAILABLE: it cannot be reached or used.
        FailedPrecondition
            STATE_WRONG: it belongs to another deployment, or holds other things.
        """
        container = containers_pb2.Container(
            name=_name(id),
            uri=uri,
            zone=zone,
            title=title,
            labels=labels,
            weight=weight,
            max_bytes=max_bytes,
            read_only=read_only,
            annual_failure_rate=annual_failure_rate,
            write_bandwidth=write_bandwidth,
            read_bandwidth=read_bandwidth,
        )
        request = containers_pb2.RegisterContainerRequest(
            container=container, rejoin=rejoin, request_id=names.request_id()
        )
        answer = await self._calls.unary(methods.REGISTER_CONTAINER, request)
        return Container.of(answer.container)

    async def list(self, filter: str = "") -> Sequence[Container]:  # noqa: A002
        """Return the containers by id; the filter is over `id`, `kind`, `zone` and `labels`."""
        found: list[Container] = []
        request = containers_pb2.ListContainersRequest(filter=filter, page_size=PAGE)
        while True:
            page = await self._calls.unary(methods.LIST_CONTAINERS, request)
            found += [Container.of(message) for message in page.containers]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def get(self, id: str) -> Container:  # noqa: A002
        """Return one container. NotFound: there is none of that id."""
        request = containers_pb2.GetContainerRequest(name=_name(id))
        return Container.of(await self._calls.unary(methods.GET_CONTAINER, request))

    async def update(
        self,
        id: str,  # noqa: A002  # the field's word
        *,
        title: str | None = None,
        zone: str | None = None,
        labels: Mapping[str, str] | None = None,
        weight: float | None = None,
        max_bytes: int | None = None,
        read_only: bool | None = None,
        annual_failure_rate: float | None = None,
        write_bandwidth: float | None = None,
        read_bandwidth: float | None = None,
        if_match: str | None = None,
    ) -> Container:
        """Replace what is given; parameters as in `add`.

        Parameters
        ----------
        if_match : str, optional
            Only if it is still at this etag; else a Conflict.
        """
        given: dict[str, Any] = {
            "title": title,
            "zone": zone,
            "labels": labels,
            "weight": weight,
            "max_bytes": max_bytes,
            "read_only": read_only,
            "annual_failure_rate": annual_failure_rate,
            "write_bandwidth": write_bandwidth,
            "read_bandwidth": read_bandwidth,
        }
        fields = {name: value for name, value in given.items() if value is not None}
        container = containers_pb2.Container(name=_name(id), etag=if_match or "", **fields)
        mask = FieldMask(paths=list(fields))
        request = containers_pb2.UpdateContainerRequest(container=container, update_mask=mask)
        return Container.of(await self._calls.unary(methods.UPDATE_CONTAINER, request))

    async def drain(self, id: str, *, dry_run: bool = False) -> AsyncOperation:  # noqa: A002
        """Move everything off a container, which takes no new blobs from now on.

        Parameters
        ----------
        dry_run : bool
            Only tell what would be moved.

        Returns
        -------
        AsyncOperation
            Its result has `moved_blobs`, `moved_bytes`, `stuck_blobs` and `problems`.
        """
        request = containers_pb2.DrainContainerRequest(
            name=_name(id), validate_only=dry_run, request_id=names.request_id()
        )
        return AsyncOperation(self._calls, await self._calls.unary(methods.DRAIN_CONTAINER, request))

    async def undrain(self, id: str) -> Container:  # noqa: A002
        """Let a container take new blobs again."""
        request = containers_pb2.UndrainContainerRequest(name=_name(id))
        return Container.of(await self._calls.unary(methods.UNDRAIN_CONTAINER, request))

    async def remove(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        """Take a container out.

        Parameters
        ----------
        force : bool
            It is lost for good with what it holds. Without it a container that holds parts is a ResourceInUse.
        """
        request = containers_pb2.RemoveContainerRequest(name=_name(id), force=force)
        await self._calls.unary(methods.REMOVE_CONTAINER, request)

    async def repair(
        self,
        *containers: str,
        verify: bool = False,
        collect_garbage: bool = False,
        dry_run: bool = False,
    ) -> AsyncOperation:
        """Look for missing, damaged and misplaced parts, and make them good.

        Parameters
        ----------
        containers : str
            Only parts that are, or should be, in these; all unless given.
        verify : bool
            Read and check every byte, instead of only whether the part is there.
        collect_garbage : bool
            Also delete parts that nothing names any more, once they are old enough.
        dry_run : bool
            Only tell.

        Returns
        -------
        AsyncOperation
            Its result has `safe_blobs`, `degraded_blobs`, `at_risk_blobs`, `lost_blobs`, `repaired_parts` and more.
        """
        request = containers_pb2.RepairContainersRequest(
            containers=[_name(one) for one in containers],
            verify_bytes=verify,
            collect_garbage=collect_garbage,
            validate_only=dry_run,
            request_id=names.request_id(),
        )
        return AsyncOperation(self._calls, await self._calls.unary(methods.REPAIR_CONTAINERS, request))

    async def check(self) -> Mapping[str, Any]:
        """Return how every blob is, once every byte of it was read: safe, degraded, at risk or lost."""
        return await (await self.repair(verify=True, dry_run=True)).result()

    async def probe(self, id: str) -> Sequence[Check]:  # noqa: A002
        """Try every verb on a container with a small blob, and return how each went."""
        report = await self._calls.unary(methods.CHECK_CONTAINER, containers_pb2.CheckContainerRequest(name=_name(id)))
        return [
            Check(one.check, one.ok, one.elapsed.ToTimedelta().total_seconds(), one.message) for one in report.results
        ]

    async def rebalance(self, *, dry_run: bool = False) -> AsyncOperation:
        """Even out how full the containers are; its result has `moved_parts`, `moved_bytes` and `spread`."""
        request = containers_pb2.RebalanceContainersRequest(validate_only=dry_run, request_id=names.request_id())
        return AsyncOperation(self._calls, await self._calls.unary(methods.REBALANCE_CONTAINERS, request))

    async def recode(self, of: Any, *, dry_run: bool = False) -> AsyncOperation:
        """Store what a catalog or a dataset holds under the policy that holds for it now; it stays readable.

        Parameters
        ----------
        of : AsyncCatalog, AsyncDataset or str
            A handle or a resource name.
        """
        request = containers_pb2.RecodeBlobsRequest(
            parent=of if isinstance(of, str) else of.name, validate_only=dry_run, request_id=names.request_id()
        )
        return AsyncOperation(self._calls, await self._calls.unary(methods.RECODE_BLOBS, request))

    async def explain(
        self,
        of: Any = None,
        *,
        storage: str | Storage | None = None,
        size: int = 0,
        seed: int = 0,
    ) -> Placement:
        """Return where the parts of something are, or where those of something new would go, and why.

        Parameters
        ----------
        of : AsyncCatalog, File or str, optional
            A file: where its parts are. A catalog: where those of a new blob in it would go. Handles or names.
        storage : str or Storage, optional
            Instead: where those of a new blob under this policy would go.
        size : int
            Bytes of the new blob; 1 MiB unless given.
        seed : int
            Chance begins here, so that the same question has the same answer; 0: any.
        """
        request = containers_pb2.ExplainPlacementRequest(size=size, seed=seed)
        if storage is not None:
            request.policy.CopyFrom(storage_message(storage))
        else:
            name = of if isinstance(of, str) else of.name
            if "/files/" in name:
                request.resource = name
            else:
                request.catalog = name if name.startswith("catalogs/") else f"catalogs/{name}"
        return Placement.of(await self._calls.unary(methods.EXPLAIN_PLACEMENT, request))

    def __repr__(self) -> str:
        return f"<Containers of {self._calls.address}>"


def _name(container_id: str) -> str:
    return container_id if container_id.startswith("containers/") else f"containers/{container_id}"
