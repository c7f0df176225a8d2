"""The client: one server, its catalogs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from measurand.client import display, methods, names
from measurand.client._async.buffers import AsyncBuffer
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.catalogs import AsyncCatalog
from measurand.client._async.containers import AsyncContainers
from measurand.client._async.datasets import AsyncDataset
from measurand.client._async.operations import AsyncOperations
from measurand.client._async.registry import AsyncRegistry
from measurand.client._async.resolving import AsyncRoute
from measurand.client.address import find_address
from measurand.client.retries import Deadlines
from measurand.client.storage import Storage, storage_message
from measurand.v1 import buffers_pb2, catalogs_pb2, datasets_pb2, server_pb2
from measurand.wire.errors import AlreadyExists, NameInvalid

__all__ = ["AsyncClient"]


class AsyncClient:
    """A client of one server. It connects with the first call, and calls are tried again where that is safe.

    Parameters
    ----------
    url : str, optional
        `host:port`, `grpc://host:port`, `grpcs://host:port` (TLS), `file:///folder` or `memory:`. The last two start
        a private server, or join the one that serves the folder already, and it ends with its last client. Unless
        given: MEASURAND_URL, then `client.toml` in the folder for settings, then `localhost:50051`. And
        `measurand://kind/name` is what is registered under that name at the server that these say.
    token : str, optional
        Says who is calling. Never sent in the open except to this machine.
    tls : bool or str, optional
        Speak TLS; a str is the file with the certificates to trust.
    timeout : float, optional
        Longest time of a call in seconds, tries included; 30 for reads and 60 for changes unless given. Uploads and
        downloads have none: they go on as long as something moves, and wait ten minutes for a lost server.

    Examples
    --------
    >>> async with AsyncClient("memory:") as client:  # doctest: +SKIP
    ...     lab = await client.create_catalog("lab")
    ...     run = await lab.create("qubit T1", {"temperature": 0.012}, tags=["t1"])
    ...     await run.upload("trace.csv")
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        tls: bool | str | None = None,
        timeout: float | None = None,
    ) -> None:
        address = find_address(url, token=token, tls=tls)
        deadlines = Deadlines() if timeout is None else Deadlines(timeout, timeout)
        route = None if address.registry is None else AsyncRoute(address, AsyncCalls(address.registry, deadlines))
        self._calls = AsyncCalls(address, deadlines, route)
        self.registry = AsyncRegistry(self._calls)
        """Who serves what, where, and until when."""

    async def create_catalog(
        self,
        id: str,  # noqa: A002  # the field's word
        *,
        title: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        undelete_window: timedelta | None = None,
        storage: str | Storage | None = None,
        exist_ok: bool = False,
    ) -> AsyncCatalog:
        """Make a catalog.

        Parameters
        ----------
        id : str
            Its id, such as `lab`: 1 to 128 of `a-z 0-9 . _ -`.
        title, description, labels : optional
            What people and programs want to know about it.
        undelete_window : timedelta, optional
            How long deleted datasets can be brought back; 30 days unless given, 0 allowed.
        storage : str or Storage, optional
            Where new bytes are kept and how often, such as `replicate:3` or `erasure:4+2`; a dataset may say otherwise.
            Unless given: once, where the server keeps them.
        exist_ok : bool
            If there is one already, return it as it is.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: there is one.
        """
        policy = None if storage is None else storage_message(storage)
        message = catalogs_pb2.Catalog(title=title, description=description, labels=labels, storage_policy=policy)
        if undelete_window is not None:
            message.undelete_window.FromTimedelta(undelete_window)
        request = catalogs_pb2.CreateCatalogRequest(catalog_id=id, catalog=message, request_id=names.request_id())
        try:
            return AsyncCatalog(self._calls, await self._calls.unary(methods.CREATE_CATALOG, request))
        except AlreadyExists:
            if not exist_ok:
                raise
        return await self.catalog(id)

    async def catalog(self, id: str) -> AsyncCatalog:  # noqa: A002
        """Return a catalog. NotFound: there is none of that id."""
        request = catalogs_pb2.GetCatalogRequest(name=f"catalogs/{id}")
        return AsyncCatalog(self._calls, await self._calls.unary(methods.GET_CATALOG, request))

    def dataset(self, name: str) -> AsyncDataset:
        """Return the handle of a dataset without asking the server, which may be away: `refresh` fills it.

        With it a stream that has a spool goes on where an earlier run of the program was, server or no server.

        Parameters
        ----------
        name : str
            `catalog/id`, or the resource name `catalogs/{catalog}/datasets/{id}`.
        """
        catalog, _, dataset = name.removeprefix("catalogs/").replace("/datasets/", "/").partition("/")
        if not catalog or not dataset or "/" in dataset:
            raise NameInvalid(f"{name!r} names no dataset; give catalog/id", field="name", name=name)
        return AsyncDataset(self._calls, datasets_pb2.Dataset(name=f"catalogs/{catalog}/datasets/{dataset}"))

    async def catalogs(self, *, filter: str = "", show_deleted: bool = False) -> list[AsyncCatalog]:  # noqa: A002
        """Return the catalogs that the caller may see.

        Parameters
        ----------
        filter : str
            Over `id`, `title`, `labels`, `created`, `updated`.
        show_deleted : bool
            Also the deleted ones.
        """
        found: list[AsyncCatalog] = []
        request = catalogs_pb2.ListCatalogsRequest(page_size=1000, filter=filter, show_deleted=show_deleted)
        while True:
            page = await self._calls.unary(methods.LIST_CATALOGS, request)
            found += [AsyncCatalog(self._calls, message) for message in page.catalogs]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    def buffer(self, name: str) -> AsyncBuffer:
        """Return the handle of a buffer without asking the server, which may be away: `refresh` fills it.

        With it a writer that has a spool goes on where an earlier run of the program was, server or no server.

        Parameters
        ----------
        name : str
            `catalog/id`, or the resource name `catalogs/{catalog}/buffers/{id}`.
        """
        catalog, _, buffer = name.removeprefix("catalogs/").replace("/buffers/", "/").partition("/")
        if not catalog or not buffer or "/" in buffer:
            raise NameInvalid(f"{name!r} names no buffer; give catalog/id", field="name", name=name)
        return AsyncBuffer(self._calls, buffers_pb2.Buffer(name=f"catalogs/{catalog}/buffers/{buffer}"))

    async def delete_catalog(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        """Delete a catalog; `undelete_catalog` brings it back. `force`: with everything in it."""
        request = catalogs_pb2.DeleteCatalogRequest(name=f"catalogs/{id}", force=force, request_id=names.request_id())
        await self._calls.unary(methods.DELETE_CATALOG, request)

    async def undelete_catalog(self, id: str) -> AsyncCatalog:  # noqa: A002
        """Bring back a deleted catalog with all that was in it."""
        request = catalogs_pb2.UndeleteCatalogRequest(name=f"catalogs/{id}", request_id=names.request_id())
        return AsyncCatalog(self._calls, await self._calls.unary(methods.UNDELETE_CATALOG, request))

    @property
    def operations(self) -> AsyncOperations:
        """The long jobs of the server."""
        return AsyncOperations(self._calls)

    @property
    def containers(self) -> AsyncContainers:
        """The places that hold blobs."""
        return AsyncContainers(self._calls)

    async def server(self) -> dict[str, Any]:
        """Return what the server says about itself: its release, stores, features and limits."""
        answer = await self._calls.unary(methods.GET_CAPABILITIES, server_pb2.GetCapabilitiesRequest())
        return {
            "address": str(self._calls.address),
            "server_version": answer.server_version,
            "api_versions": list(answer.api_versions),
            "deployment_id": answer.deployment_id,
            "instance_id": answer.instance_id,
            "document_store": answer.document_store,
            "blob_store": answer.blob_store,
            "features": list(answer.features),
            "auth_methods": list(answer.auth_methods),
        }

    async def close(self) -> None:
        """Close the connection. A private server ends with its last client."""
        await self._calls.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return display.line("Client", str(self._calls.address), {})

    def _repr_html_(self) -> str:
        return display.table("Client", [("address", str(self._calls.address))])
