"""The handle of a dataset: what is known is an attribute, what is remote is a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import display, methods, names, values
from measurand.client._async.array_exchange import AsyncArrayExchange
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.dataset_files import AsyncDatasetFiles
from measurand.client._async.dataset_streams import AsyncDatasetStreams
from measurand.client.messages import dataset_message
from measurand.client.projection import project
from measurand.client.results import Revision, time_of
from measurand.client.storage import Storage, storage_of
from measurand.v1 import common_pb2, datasets_pb2
from measurand.wire.errors import NotFound

__all__ = ["AsyncDataset"]

JSON = common_pb2.DOCUMENT_FORM_JSON


class _Own(Enum):
    """Stands for the etag that the handle itself was read with."""

    ETAG = "the handle's own etag"


class AsyncDataset(AsyncDatasetFiles, AsyncArrayExchange, AsyncDatasetStreams):
    """One measurement, run or experiment, as it was when it was read; changes bring the handle up to date.

    Made by `create`, `get` and `find` of a catalog.
    """

    def __init__(self, calls: AsyncCalls, message: datasets_pb2.Dataset) -> None:
        super().__init__(calls, message.name)
        self._message = message
        self._metadata: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """Its id in the catalog, a ULID unless the maker chose one."""
        return names.last_part(self.name)

    @property
    def catalog(self) -> str:
        """The id of the catalog that it lies in."""
        return self.name.split("/")[1]

    @property
    def title(self) -> str:
        """Free text."""
        return self._message.title

    @property
    def kind(self) -> str:
        """What sort of thing it is, such as `run`."""
        return self._message.kind

    @property
    def tags(self) -> tuple[str, ...]:
        """The words it is tagged with, sorted."""
        return tuple(self._message.tags)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the datasets that it was derived from."""
        return tuple(self._message.parents)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was measured and how. Changing this dict changes nothing in the store: see `update`."""
        if self._metadata is None:
            self._metadata = values.from_text(self._message.metadata.json)
        return self._metadata

    @property
    def state(self) -> str:
        """`open`, `sealed` (only its tags still change), `deleted` or `draft` (nobody finds it yet)."""
        return datasets_pb2.DatasetState.Name(self._message.state).removeprefix("DATASET_STATE_").lower()

    @property
    def revision(self) -> int:
        """1 at creation, one more with every change."""
        return self._message.revision

    @property
    def etag(self) -> str:
        """Stands for this revision, see `update`."""
        return self._message.etag

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self._message, "create_time")

    @property
    def created_by(self) -> str:
        """Who made it, `users/{user}`."""
        return self._message.creator

    @property
    def updated(self) -> datetime | None:
        """When it last changed."""
        return time_of(self._message, "update_time")

    @property
    def deleted(self) -> datetime | None:
        """When it was deleted. None: it is not."""
        return time_of(self._message, "delete_time")

    @property
    def purge_time(self) -> datetime | None:
        """When it goes for good, if it is deleted."""
        return time_of(self._message, "purge_time")

    @property
    def started(self) -> datetime | None:
        """When the measurement began, as its maker said."""
        return time_of(self._message, "start_time")

    @property
    def ended(self) -> datetime | None:
        """When the measurement ended, as its maker said."""
        return time_of(self._message, "end_time")

    @property
    def storage(self) -> Storage | None:
        """Where its bytes are kept and how often. None: as its catalog says."""
        return storage_of(self._message.storage_policy) if self._message.HasField("storage_policy") else None

    @property
    def file_count(self) -> int:
        """Number of files; may lag by a minute."""
        return self._message.file_count

    @property
    def stored_bytes(self) -> int:
        """Bytes in its files and arrays; may lag by a minute."""
        return self._message.stored_bytes

    @property
    def plain_url(self) -> str:
        """Where its arrays lie as plain Zarr, for `zarr.open` and others without the server; empty: nowhere yet."""
        return self._message.plain_url

    async def update(
        self,
        patch: Mapping[str, Any] | None = None,
        *,
        title: str | None = None,
        kind: str | None = None,
        parents: Sequence[Any] | None = None,
        started: datetime | None = None,
        ended: datetime | None = None,
        storage: str | Storage | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        comment: str = "",
        if_match: str | Literal[_Own.ETAG] | None = _Own.ETAG,
    ) -> None:
        """Change the dataset in one step, which makes one revision; the handle shows the outcome.

        Parameters
        ----------
        patch : mapping, optional
            A JSON merge patch (RFC 7396) for the metadata: dicts are merged, a None removes its key.
        title, kind, parents, started, ended : optional
            What to replace.
        storage : str or Storage, optional
            Where bytes are kept that are written from then on.
        add_tags, remove_tags : sequence of str
            Tags to add and to take away.
        comment : str
            What to note in the history.
        if_match : str or None
            The change is made only if this is still the etag; the handle's own unless given. None: merge over
            whatever the dataset has become.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: somebody changed it since the handle was read. `refresh()`, and decide anew.
        """
        replaced = {
            "title": title,
            "kind": kind,
            "parents": parents,
            "started": started,
            "ended": ended,
            "storage": storage,
        }
        given = {key: value for key, value in replaced.items() if value is not None}
        message, mask = dataset_message(given, self.catalog)
        request = datasets_pb2.UpdateDatasetRequest(
            dataset=message, add_tags=add_tags, remove_tags=remove_tags, comment=comment
        )
        if mask:
            request.update_mask.CopyFrom(FieldMask(paths=mask))
        if patch is not None:
            request.metadata_patch.json = values.to_text(patch)
        await self._change(request, if_match)

    async def replace_metadata(
        self,
        metadata: Mapping[str, Any],
        *,
        comment: str = "",
        if_match: str | Literal[_Own.ETAG] | None = _Own.ETAG,
    ) -> None:
        """Replace all of the metadata; nothing else changes. Parameters and errors: as `update`."""
        message, mask = dataset_message({"metadata": metadata}, self.catalog)
        request = datasets_pb2.UpdateDatasetRequest(dataset=message, update_mask=FieldMask(paths=mask), comment=comment)
        await self._change(request, if_match)

    async def add_tags(self, *tags: str, comment: str = "") -> None:
        """Add tags, whatever else has changed meanwhile."""
        await self._change(datasets_pb2.UpdateDatasetRequest(add_tags=tags, comment=comment), None)

    async def remove_tags(self, *tags: str, comment: str = "") -> None:
        """Take tags away, whatever else has changed meanwhile."""
        await self._change(datasets_pb2.UpdateDatasetRequest(remove_tags=tags, comment=comment), None)

    async def refresh(self) -> AsyncDataset:
        """Read the dataset anew, all of it; returns the handle itself."""
        request = datasets_pb2.GetDatasetRequest(name=self.name, show_deleted=True, **project(None))
        self._take(await self._calls.unary(methods.GET_DATASET, request))
        return self

    async def history(self) -> list[Revision]:
        """Return every change there has been, newest first."""
        found: list[Revision] = []
        mask = FieldMask(paths=["revision", "author", "create_time", "changed_paths", "comment"])
        request = datasets_pb2.ListDatasetRevisionsRequest(parent=self.name, page_size=1000, read_mask=mask)
        while True:
            page = await self._calls.unary(methods.LIST_DATASET_REVISIONS, request)
            found += [Revision.of(revision) for revision in page.revisions]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def at(self, revision: int) -> AsyncDataset:
        """Return the dataset as that revision left it. Its files are today's; a change of an old one is a Conflict."""
        request = datasets_pb2.GetDatasetRevisionRequest(name=f"{self.name}/revisions/{revision}", document_form=JSON)
        answer = await self._calls.unary(methods.GET_DATASET_REVISION, request)
        return AsyncDataset(self._calls, answer.dataset)

    async def seal(self, *, force: bool = False, if_match: str | None = None) -> None:
        """Close it for good: its files, arrays and metadata change no more, its tags still may.

        Its arrays are laid out as plain Zarr where the store can do so at once, see `plain_url`. Sealing again changes
        nothing.

        Parameters
        ----------
        force : bool
            Abort the uploads to it that are open, and fence whoever appends to its arrays.
        if_match : str, optional
            Only if this is still the etag.

        Raises
        ------
        ResourceInUse
            RESOURCE_IN_USE: uploads or appends are open, and `force` is not set.
        """
        request = datasets_pb2.SealDatasetRequest(
            name=self.name, etag=if_match or "", force=force, document_form=JSON, request_id=names.request_id()
        )
        self._take(await self._calls.unary(methods.SEAL_DATASET, request))

    async def publish(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Lay the arrays of the sealed dataset out as plain Zarr objects in the store, all of them.

        It may take long in a bucket; what is done is not done again, whoever calls.

        Parameters
        ----------
        progress : callable, optional
            Gets (chunks done, chunks in all) now and then.

        Returns
        -------
        str
            The URL of the Zarr group, which is `plain_url` from then on; empty: there are no arrays.

        Raises
        ------
        FailedPrecondition
            STATE_WRONG: it is not sealed.
        FeatureDisabled
            FEATURE_DISABLED: the store cannot hold what others read without the server.
        """
        request = datasets_pb2.PublishDatasetRequest(name=self.name)
        while True:
            answer = await self._calls.unary(methods.PUBLISH_DATASET, request)
            if progress is not None:
                progress(answer.chunks_done, answer.chunks_total)
            if answer.done:
                await self.refresh()
                return answer.plain_url

    async def delete(self, *, if_match: str | None = None) -> None:
        """Delete it: it is hidden at once, and `undelete` brings it back until `purge_time`."""
        request = datasets_pb2.DeleteDatasetRequest(
            name=self.name, etag=if_match or "", document_form=JSON, request_id=names.request_id()
        )
        self._take(await self._calls.unary(methods.DELETE_DATASET, request))

    async def undelete(self) -> None:
        """Bring it back. NotFound: it has gone for good."""
        request = datasets_pb2.UndeleteDatasetRequest(name=self.name, document_form=JSON, request_id=names.request_id())
        self._take(await self._calls.unary(methods.UNDELETE_DATASET, request))

    async def purge(self, *, force: bool = False) -> None:
        """Remove it, its history and its bytes for good and at once.

        Parameters
        ----------
        force : bool
            Even if it was not deleted first.
        """
        request = datasets_pb2.PurgeDatasetRequest(name=self.name, force=force)
        await self._calls.unary(methods.PURGE_DATASET, request, gone=NotFound)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncDataset) and (self.name, self.etag) == (other.name, other.etag)

    def __hash__(self) -> int:
        return hash((self.name, self.etag))

    def __repr__(self) -> str:
        facts: dict[str, Any] = {"tags": list(self.tags), "metadata": self.metadata, "files": self.file_count or None}
        if self.state != "open":
            facts["state"] = self.state
        return display.line("Dataset", f"{self.catalog}/{self.id} {self.title!r} revision {self.revision}", facts)

    def _repr_html_(self) -> str:
        rows = [("id", self.id), ("kind", self.kind), ("state", self.state), ("tags", self.tags)]
        more: list[tuple[str, Any]] = [("parents", self.parents), ("created", self.created), ("updated", self.updated)]
        more += [("started", self.started), ("ended", self.ended), ("revision", self.revision)]
        more += [("files", f"{self.file_count} ({display.bytes_text(self.stored_bytes)})" if self.file_count else None)]
        return display.table(f"{self.title} · {self.catalog}", [*rows, *more, ("metadata", self.metadata)])

    async def _change(
        self, request: datasets_pb2.UpdateDatasetRequest, if_match: str | Literal[_Own.ETAG] | None
    ) -> None:
        request.dataset.name = self.name
        request.dataset.etag = (self.etag if if_match is _Own.ETAG else if_match) or ""
        request.document_form = JSON
        request.request_id = names.request_id()
        self._take(await self._calls.unary(methods.UPDATE_DATASET, request))

    def _take(self, message: datasets_pb2.Dataset) -> None:
        self._message = message
        self._metadata = None
