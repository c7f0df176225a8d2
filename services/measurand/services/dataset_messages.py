"""Datasets, revisions and changes as messages, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.core.dataset_documents import Dataset, Revision, State
from measurand.core.dataset_edits import EDITABLE, DatasetDraft, DatasetEdit, Source
from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_search import Selection
from measurand.core.dataset_watch import ChangeKind, DatasetChange
from measurand.services.messages import check_fits, keep_fields, mask_fields, time_message, time_of
from measurand.services.policy_messages import policy_message, policy_of
from measurand.v1 import common_pb2, datasets_pb2
from measurand.wire.structs import from_message, to_message

__all__ = ["Packing", "RevisionPacking", "edit_of", "new_dataset_of"]

THREAD_BYTES = 64 * 1024
"""A larger document is turned into a Struct beside the event loop: that takes milliseconds."""

_STATES: dict[State, datasets_pb2.DatasetState.ValueType] = {
    "draft": datasets_pb2.DATASET_STATE_DRAFT,
    "open": datasets_pb2.DATASET_STATE_OPEN,
    "sealed": datasets_pb2.DATASET_STATE_SEALED,
    "deleted": datasets_pb2.DATASET_STATE_DELETED,
}
_KINDS: dict[ChangeKind, common_pb2.ChangeKind.ValueType] = {
    "existing": common_pb2.CHANGE_KIND_EXISTING,
    "created": common_pb2.CHANGE_KIND_CREATED,
    "updated": common_pb2.CHANGE_KIND_UPDATED,
    "deleted": common_pb2.CHANGE_KIND_DELETED,
    "heartbeat": common_pb2.CHANGE_KIND_HEARTBEAT,
}


def new_dataset_of(message: datasets_pb2.CreateDatasetRequest) -> NewDataset:
    """Return the dataset that a request asks for."""
    return NewDataset(_draft(message.dataset), message.dataset_id, message.request_id, message.draft)


def edit_of(message: datasets_pb2.UpdateDatasetRequest) -> DatasetEdit:
    """Return the change that a request asks for."""
    fields = mask_fields(message.update_mask, datasets_pb2.Dataset.DESCRIPTOR, field="update_mask")
    patch = _source(message.metadata_patch) if message.HasField("metadata_patch") else None
    if fields is None and (patch is not None or message.add_tags or message.remove_tags):
        fields = frozenset()
    if fields is None:
        fields = frozenset(field.name for field, _ in message.dataset.ListFields()).intersection(EDITABLE)
    return DatasetEdit(
        draft=_draft(message.dataset),
        fields=tuple(sorted(fields)),
        patch=patch,
        add_tags=tuple(message.add_tags),
        remove_tags=tuple(message.remove_tags),
        comment=message.comment,
    )


class Packing:
    """How one request wants its answer.

    Parameters
    ----------
    read_mask : FieldMask, optional
        Which fields of a dataset to answer. None or empty: all.
    metadata_paths : sequence of str
        Of its metadata only these.
    most_bytes : int
        Largest message.
    """

    def __init__(
        self,
        form: common_pb2.DocumentForm.ValueType,
        *,
        read_mask: FieldMask | None = None,
        metadata_paths: Sequence[str] = (),
        most_bytes: int,
    ) -> None:
        self._form = form
        self._fields = None if read_mask is None else mask_fields(read_mask, datasets_pb2.Dataset.DESCRIPTOR)
        self._most_bytes = most_bytes
        with_metadata = self._fields is None or "metadata" in self._fields
        self.selection = Selection(tuple(metadata_paths), with_metadata)
        """What core is to read for it."""

    async def one(self, dataset: Dataset) -> datasets_pb2.Dataset:
        """Return a dataset as the whole answer."""
        message, _ = await self.dataset(dataset)
        return message

    async def dataset(self, dataset: Dataset) -> tuple[datasets_pb2.Dataset, int]:
        """Return a dataset, and its share of a message in bytes."""
        message = datasets_pb2.Dataset(
            name=str(dataset.name),
            title=dataset.title,
            kind=dataset.kind,
            tags=dataset.tags,
            parents=dataset.parents,
            metadata=await self._document(dataset) if self.selection.with_metadata else None,
            state=_STATES[dataset.state],
            revision=dataset.revision,
            etag=dataset.etag,
            creator=dataset.creator,
            create_time=time_message(dataset.create_time),
            update_time=time_message(dataset.update_time),
            delete_time=time_message(dataset.delete_time),
            purge_time=time_message(dataset.purge_time),
            start_time=time_message(dataset.start_time),
            end_time=time_message(dataset.end_time),
            file_count=dataset.file_count,
            array_count=dataset.array_count,
            stored_bytes=dataset.stored_bytes,
            plain_url=dataset.plain_url or "",
            storage_policy=policy_message(dataset.storage_policy),
        )
        keep_fields(message, self._fields)
        return message, check_fits(message, self._most_bytes) + 8

    async def change(self, change: DatasetChange) -> tuple[datasets_pb2.DatasetChange, int]:
        """Return a change, and its share of a message in bytes."""
        dataset = None
        if change.dataset is not None:
            dataset = await self.one(change.dataset)
        elif change.name is not None:
            dataset = datasets_pb2.Dataset(name=str(change.name))
        message = datasets_pb2.DatasetChange(kind=_KINDS[change.kind], dataset=dataset, resume_token=change.token)
        return message, check_fits(message, self._most_bytes) + 8

    async def _document(self, dataset: Dataset) -> common_pb2.Document:
        if self._form != common_pb2.DOCUMENT_FORM_JSON and len(dataset.metadata) > THREAD_BYTES:
            return await asyncio.to_thread(to_message, dataset.metadata, self._form)
        return to_message(dataset.metadata, self._form)


class RevisionPacking:
    """How one request wants its revisions."""

    def __init__(
        self, form: common_pb2.DocumentForm.ValueType, *, read_mask: FieldMask | None = None, most_bytes: int
    ) -> None:
        descriptor = datasets_pb2.DatasetRevision.DESCRIPTOR
        self._fields = None if read_mask is None else mask_fields(read_mask, descriptor)
        self._datasets = Packing(form, most_bytes=most_bytes)
        self._most_bytes = most_bytes
        self.with_metadata = self._fields is None or "dataset" in self._fields

    async def revision(self, revision: Revision) -> tuple[datasets_pb2.DatasetRevision, int]:
        """Return a revision, and its share of a message in bytes."""
        dataset, note = revision.dataset, revision.note
        message = datasets_pb2.DatasetRevision(
            name=f"{dataset.name}/revisions/{dataset.revision}",
            revision=dataset.revision,
            dataset=await self._datasets.one(dataset) if self.with_metadata else None,
            author=note.author,
            create_time=time_message(dataset.update_time),
            changed_paths=note.changed_paths,
            comment=note.comment,
        )
        keep_fields(message, self._fields)
        return message, check_fits(message, self._most_bytes) + 8


def _draft(message: datasets_pb2.Dataset) -> DatasetDraft:
    return DatasetDraft(
        title=message.title,
        kind=message.kind,
        tags=tuple(message.tags),
        parents=tuple(message.parents),
        metadata=_source(message.metadata) if message.HasField("metadata") else None,
        start_time=time_of(message, "start_time", "dataset.start_time"),
        end_time=time_of(message, "end_time", "dataset.end_time"),
        storage_policy=(
            policy_of(message.storage_policy, "dataset.storage_policy") if message.HasField("storage_policy") else None
        ),
    )


def _source(message: common_pb2.Document) -> Source:
    return message.json if message.WhichOneof("form") == "json" else from_message(message)
