"""The handle of a catalog: makes datasets, gets them, finds them, watches them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import display, methods, names, problems
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.catalog_buffers import AsyncCatalogBuffers
from measurand.client._async.catalog_objects import AsyncCatalogObjects
from measurand.client._async.datasets import AsyncDataset
from measurand.client._async.found import AsyncFound
from measurand.client._async.listing import list_files
from measurand.client._async.saving import AsyncCatalogSaving
from measurand.client._async.watching import AsyncChange, open_watch
from measurand.client.catalog_facts import CatalogFacts
from measurand.client.messages import dataset_message
from measurand.client.projection import project
from measurand.client.results import File, NewDataset
from measurand.client.storage import Storage, storage_message
from measurand.v1 import catalogs_pb2, common_pb2, datasets_pb2
from measurand.wire.errors import MeasurandError, NotFound

__all__ = ["AsyncCatalog"]

JSON = common_pb2.DOCUMENT_FORM_JSON
BATCH_ITEMS = 100
BATCH_BYTES = 4 << 20
MOST_NAMES = 1000


class AsyncCatalog(CatalogFacts, AsyncCatalogSaving, AsyncCatalogBuffers, AsyncCatalogObjects):
    """Datasets and buffers that are kept together.

    Made by `create_catalog` and `catalog` of a client.
    """

    def __init__(self, calls: AsyncCalls, message: catalogs_pb2.Catalog) -> None:
        self._calls = calls
        self._message = message

    async def create(
        self,
        title: str = "",
        metadata: Mapping[str, Any] | None = None,
        *,
        kind: str = "",
        tags: Iterable[str] = (),
        parents: Iterable[Any] = (),
        id: str | None = None,  # noqa: A002  # the field's word
        started: datetime | None = None,
        ended: datetime | None = None,
        storage: str | Storage | None = None,
    ) -> AsyncDataset:
        """Make a dataset; it is durable when this returns.

        Parameters
        ----------
        title : str
            Free text.
        metadata : mapping, optional
            What was measured and how; comes back exactly as it went in. At most 4 MiB: more belongs in a file.
        kind : str
            What sort of thing it is, such as `run`.
        tags : iterable of str
            Words to find it by.
        parents : iterable of AsyncDataset or str
            What it was derived from: handles, ids in this catalog, or names.
        id : str, optional
            An id of your own, such as `run-17`; a ULID unless given.
        started, ended : datetime, optional
            When the measurement was; naive ones are local time.
        storage : str or Storage, optional
            Where its bytes are kept and how often, such as `erasure:4+2`. Unless given: as the catalog says.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the id is taken.
        InvalidArgument
            DOCUMENT_INVALID, TOO_LARGE, NAME_INVALID: the text says which part.
        """
        new = NewDataset(title, metadata or {}, kind, tuple(tags), tuple(parents), id, started, ended, storage)
        return AsyncDataset(self._calls, await self._calls.unary(methods.CREATE_DATASET, self._request(new)))

    async def create_many(
        self, datasets: Iterable[NewDataset | Mapping[str, Any]], *, errors: Literal["raise", "return"] = "raise"
    ) -> list[AsyncDataset | MeasurandError]:
        """Make many datasets, a hundred to a call; each succeeds or fails by itself.

        Parameters
        ----------
        datasets : iterable of NewDataset or mapping
            Mappings have the fields of NewDataset, such as `{"title": …, "metadata": {…}}`.
        errors : str
            "return": the error of one that failed stands in its place. "raise": the first error is raised, after all
            the others have been made.
        """
        made: list[AsyncDataset | MeasurandError] = []
        for batch in problems.batches(
            (self._request(NewDataset(**item) if isinstance(item, Mapping) else item) for item in datasets),
            most_items=BATCH_ITEMS,
            most_bytes=BATCH_BYTES,
        ):
            request = datasets_pb2.BatchCreateDatasetsRequest(parent=self.name, requests=batch, document_form=JSON)
            answer = await self._calls.unary(methods.BATCH_CREATE_DATASETS, request)
            for result in answer.results:
                if result.HasField("problem"):
                    made.append(problems.error_of(result.problem))
                else:
                    made.append(AsyncDataset(self._calls, result.dataset))
        if errors == "raise":
            for item in made:
                if isinstance(item, MeasurandError):
                    raise item
        return made

    async def get(
        self,
        id: str,  # noqa: A002
        *,
        fields: Sequence[str] | None = None,
        show_deleted: bool = False,  # as above
    ) -> AsyncDataset:
        """Return one dataset.

        Parameters
        ----------
        id : str
            Its id.
        fields : sequence of str, optional
            Fetch only these, see `find`.
        show_deleted : bool
            Also if it is deleted.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND; RESOURCE_DELETED while `undelete` can bring it back.
        """
        request = datasets_pb2.GetDatasetRequest(
            name=self._dataset_name(id), show_deleted=show_deleted, **project(fields)
        )
        return AsyncDataset(self._calls, await self._calls.unary(methods.GET_DATASET, request))

    async def get_many(
        self, ids: Iterable[str], *, fields: Sequence[str] | None = None, missing: Literal["raise", "skip"] = "raise"
    ) -> list[AsyncDataset]:
        """Return many datasets, in the order of their ids; see `get`."""
        left = [self._dataset_name(id) for id in ids]  # noqa: A001
        found: dict[str, AsyncDataset] = {}
        order = list(left)
        while left:
            request = datasets_pb2.BatchGetDatasetsRequest(parent=self.name, names=left[:MOST_NAMES], **project(fields))
            answer = await self._calls.unary(methods.BATCH_GET_DATASETS, request)
            if answer.missing and missing == "raise":
                raise NotFound(
                    f"{answer.missing[0]} does not exist or is deleted ({len(answer.missing)} such); "
                    'leave it out, or use missing="skip"',
                    resource=answer.missing[0],
                )
            found.update((message.name, AsyncDataset(self._calls, message)) for message in answer.datasets)
            left = [*answer.left_over, *left[MOST_NAMES:]]
        return [found[name] for name in order if name in found]

    def find(
        self,
        filter: str = "",  # noqa: A002  # the field's word
        *,
        order_by: str = "",
        limit: int | None = None,
        fields: Sequence[str] | None = None,
        page_size: int = 100,
        show_deleted: bool = False,
    ) -> AsyncFound:
        """Find datasets by what was measured.

        Parameters
        ----------
        filter : str
            Such as `metadata.temperature < 0.02 AND tags:"t1"`. Empty: all.
        order_by : str
            Up to four paths, with a leading `-` for descending: `-created,title`. Empty: by id, which is by age.
        limit : int, optional
            At most so many.
        fields : sequence of str, optional
            Fetch only these, such as `["title", "metadata.device.wafer"]`; with a leading `-` on each: all but these.
        page_size : int
            How many to fetch at a time, 1 to 1000.
        show_deleted : bool
            Also the deleted ones.

        Returns
        -------
        AsyncFound
            Loop over it, or ask it for `first()`, `page(n)`, `all()`, `to_pandas()`. Nothing is sent before that; the
            first call raises FilterInvalid with the position where the filter does not parse.
        """
        return AsyncFound(
            self._calls,
            self.name,
            filter,
            order_by=order_by,
            limit=limit,
            fields=fields,
            page_size=page_size,
            show_deleted=show_deleted,
        )

    async def count(self, filter: str = "", *, most: int = 0, show_deleted: bool = False) -> int:  # noqa: A002
        """Return how many datasets match; counting stops at `most`, where given."""
        request = datasets_pb2.CountDatasetsRequest(
            parent=self.name, filter=filter, max_count=most, show_deleted=show_deleted
        )
        return (await self._calls.unary(methods.COUNT_DATASETS, request)).count

    async def watch(
        self,
        filter: str = "",  # noqa: A002
        *,
        include_existing: bool = False,
        resume: str = "",
        fields: Sequence[str] | None = None,
    ) -> AsyncGenerator[AsyncChange, None]:
        """Yield changes as they happen, from this call on; goes on by itself after a lost connection.

        At least once, and in order for any one dataset: after a lost connection a change may come twice.

        Parameters
        ----------
        filter : str
            Only changes of datasets that match it, or that no longer do.
        include_existing : bool
            First what matches now.
        resume : str
            The `resume_token` of an earlier change: go on right after it.
        fields : sequence of str, optional
            As in `find`.

        Raises
        ------
        HistoryTrimmed
            HISTORY_TRIMMED: the resume token is older than the kept history; find, then watch anew.
        """
        request = datasets_pb2.WatchDatasetsRequest(
            parent=self.name, filter=filter, include_existing=include_existing, resume_token=resume, **project(fields)
        )
        return await open_watch(self._calls, request)

    async def tags(self, prefix: str = "") -> dict[str, int]:
        """Return the tags in use that begin so, each with the number of its datasets."""
        found: dict[str, int] = {}
        request = datasets_pb2.ListTagsRequest(parent=self.name, page_size=1000, prefix=prefix)
        while True:
            page = await self._calls.unary(methods.LIST_TAGS, request)
            found.update((tag.tag, tag.dataset_count) for tag in page.tags)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def find_files(self, name: str) -> list[File]:
        """Return the files of all datasets whose last part of the path is `name`, such as `trace.csv`."""
        if not name:
            return []
        return [file async for file in list_files(self._calls, f"{self.name}/datasets/-", file_name=name)]

    async def undelete(self, id: str | None = None) -> AsyncDataset | None:  # noqa: A002
        """Bring back a deleted dataset and return it; without an id, bring back the catalog itself."""
        if id is None:
            request = catalogs_pb2.UndeleteCatalogRequest(name=self.name, request_id=names.request_id())
            self._message = await self._calls.unary(methods.UNDELETE_CATALOG, request)
            return None
        again = datasets_pb2.UndeleteDatasetRequest(
            name=self._dataset_name(id), document_form=JSON, request_id=names.request_id()
        )
        return AsyncDataset(self._calls, await self._calls.unary(methods.UNDELETE_DATASET, again))

    async def update(
        self,
        *,
        title: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        undelete_window: timedelta | None = None,
        storage: str | Storage | None = None,
    ) -> None:
        """Replace what is given; a new `storage` holds for what is written from then on.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: the catalog was changed since the handle was read.
        """
        policy = None if storage is None else storage_message(storage)
        message = catalogs_pb2.Catalog(
            name=self.name,
            title=title or "",
            description=description or "",
            labels=labels,
            storage_policy=policy,
            etag=self._message.etag,
        )
        given = {
            "title": title,
            "description": description,
            "labels": labels,
            "undelete_window": undelete_window,
            "storage_policy": policy,
        }
        if undelete_window is not None:
            message.undelete_window.FromTimedelta(undelete_window)
        mask = FieldMask(paths=[key for key, value in given.items() if value is not None])
        request = catalogs_pb2.UpdateCatalogRequest(catalog=message, update_mask=mask, request_id=names.request_id())
        self._message = await self._calls.unary(methods.UPDATE_CATALOG, request)

    async def refresh(self) -> AsyncCatalog:
        """Read the catalog anew; returns the handle itself."""
        self._message = await self._calls.unary(methods.GET_CATALOG, catalogs_pb2.GetCatalogRequest(name=self.name))
        return self

    async def delete(self, *, force: bool = False) -> None:
        """Delete the catalog; `undelete` brings it back until its purge time.

        Parameters
        ----------
        force : bool
            With everything in it. Without it a catalog that holds datasets is a ResourceInUse.
        """
        request = catalogs_pb2.DeleteCatalogRequest(name=self.name, force=force, request_id=names.request_id())
        self._message = await self._calls.unary(methods.DELETE_CATALOG, request)

    def __repr__(self) -> str:
        return display.line("Catalog", self.id, {"title": self.title, "datasets": self.dataset_count})

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [("title", self.title), ("description", self.description)]
        rows += [("labels", self.labels), ("datasets", self.dataset_count), ("created", self.created)]
        return display.table(f"Catalog {self.id}", [*rows, ("stored", display.bytes_text(self.stored_bytes))])

    def _dataset_name(self, id: str) -> str:  # noqa: A002
        return f"{self.name}/datasets/{id}"

    def _request(self, new: NewDataset) -> datasets_pb2.CreateDatasetRequest:
        """Return the request that makes a dataset; the id is made here, so that a repetition makes the same one."""
        given = {name: getattr(new, name) for name in ("title", "metadata", "kind", "tags", "parents")}
        rest = {"started": new.started, "ended": new.ended, "storage": new.storage}
        message, _ = dataset_message(
            {**given, **{name: value for name, value in rest.items() if value is not None}}, self.id
        )
        return datasets_pb2.CreateDatasetRequest(
            parent=self.name,
            dataset=message,
            dataset_id=new.id or self._calls.ulids.make(),
            document_form=JSON,
            request_id=names.request_id(),
        )
