"""Datasets as values, and as documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from measurand.core.catalog_documents import etag_of
from measurand.core.fields import deleted, not_found
from measurand.core.filters.fields import Field
from measurand.core.names import DatasetName, parse_dataset
from measurand.core.placement.policies import Policy
from measurand.core.ports import Document, Json
from measurand.core.requests import Request
from measurand.core.searchable import entries, texts
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, View
from measurand.wire.errors import Sealed

__all__ = [
    "DATASETS",
    "DATASET_FIELDS",
    "DRAFTED",
    "HIDDEN",
    "PLAIN",
    "PURGES",
    "REVISIONS",
    "Dataset",
    "Note",
    "Revision",
    "State",
    "dataset_document",
    "dataset_of",
    "dataset_view",
    "is_draft",
    "is_purging",
    "note_of",
    "purging_document",
    "purging_view",
    "recounted_document",
    "require_shown",
    "require_unsealed",
    "revision_of",
    "system_view",
]

DATASETS = "datasets"
"""The collection: key the dataset's name, scope its catalog's."""

REVISIONS = "revisions"
"""What datasets were: key the revision's name, scope the dataset's."""

HIDDEN = "deleted"
"""The path that only deleted datasets and drafts have."""

PURGES = "purges"
"""The path with the time from which a deleted dataset is gone, whether or not it was removed yet."""

DRAFTED = "drafted"
"""The path that only drafts have, with the time of their last change."""

PLAIN = "plain"
"""The path that only those sealed datasets have which are not laid out as plain Zarr yet, as far as that can be."""

DATASET_FIELDS: Mapping[str, Field] = {
    "id": Field("text", is_required=True),
    "title": Field("prose"),  # a long one is not in the view with its value
    "kind": Field("text", is_required=True),
    "tags": Field("texts"),
    "parents": Field("texts"),
    "state": Field("word", words=("open", "sealed", "deleted"), is_required=True),
    "residence": Field("text"),
    "revision": Field("number", is_required=True),
    "creator": Field("text", is_required=True),
    "created": Field("time", is_required=True),
    "updated": Field("time", is_required=True),
    "deleted": Field("time"),
    "started": Field("time"),
    "ended": Field("time"),
    "file_count": Field("number", is_required=True),
    "array_count": Field("number"),
    "stored_bytes": Field("number", is_required=True),
    "metadata": Field("document"),
}
"""What a filter may ask of datasets. No dataset has `residence` yet: it is never there."""

State = Literal["draft", "open", "sealed", "deleted"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The record of one measurement, run or experiment.

    Parameters
    ----------
    metadata : str
        The document as one line of Extended JSON, as `measurand.wire.documents` writes it. Empty: it was not read.
    metadata_bytes : int
        Its size, also where it was not read.
    file_count, array_count, stored_bytes : int
        Of its files and arrays; may lag by a minute.
    is_draft, is_sealed : bool
        Also while it is deleted.
    plain_url : str, optional
        Where the arrays of a sealed dataset lie as plain Zarr; empty: nowhere. None: nobody has looked yet.
    storage_policy : Policy, optional
        Where new bytes are kept unless a file says otherwise. None: as its catalog says.
    """

    name: DatasetName
    title: str
    kind: str
    tags: tuple[str, ...]
    parents: tuple[str, ...]
    metadata: str
    metadata_bytes: int
    revision: int
    creator: str
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    file_count: int = 0
    array_count: int = 0
    stored_bytes: int = 0
    is_draft: bool = False
    is_sealed: bool = False
    plain_url: str | None = None
    storage_policy: Policy | None = None

    @property
    def state(self) -> State:
        """Where it is in its life."""
        if self.delete_time is not None:
            return "deleted"
        return "draft" if self.is_draft else "sealed" if self.is_sealed else "open"

    @property
    def etag(self) -> str:
        """Changes with every revision."""
        return etag_of(microseconds(self.create_time), self.revision)


@dataclass(frozen=True, slots=True)
class Note:
    """What the history keeps of a change.

    Parameters
    ----------
    author : str
        `users/{user}`.
    changed_paths : tuple of str
        What changed, such as `title` and `metadata.temperature`; at most 100.
    """

    author: str
    changed_paths: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """A dataset as one change left it."""

    dataset: Dataset
    note: Note


def dataset_of(document: Document) -> Dataset:
    """Return the dataset that a present or past document is."""
    body: Mapping[str, Any] = document.body
    return Dataset(
        name=parse_dataset(document.key),
        title=body["title"],
        kind=body["kind"],
        tags=tuple(body["tags"]),
        parents=tuple(body["parents"]),
        metadata=document.text,
        metadata_bytes=body["metadata_bytes"],
        revision=body["revision"],
        creator=body["creator"],
        create_time=from_microseconds(body["created"]),
        update_time=from_microseconds(body["updated"]),
        delete_time=_time(body["deleted"]),
        purge_time=_time(body["purges"]),
        start_time=_time(body["started"]),
        end_time=_time(body["ended"]),
        file_count=body["file_count"],
        array_count=body.get("array_count", 0),
        stored_bytes=body["stored_bytes"],
        is_draft=body.get("draft", False),
        is_sealed=body.get("sealed", False),
        plain_url=body.get("plain_url"),
        storage_policy=None if (policy := body.get("storage_policy")) is None else Policy.from_json(policy),
    )


def note_of(document: Document) -> Note:
    """Return what the history keeps of the change that made this document."""
    body: Mapping[str, Any] = document.body
    return Note(body["author"], tuple(body["changed_paths"]), body["comment"])


def revision_of(document: Document) -> Revision:
    """Return the revision that a present or past document is."""
    return Revision(dataset_of(document), note_of(document))


def dataset_document(dataset: Dataset, metadata_view: View, note: Note, request: Request | None) -> Document:
    """Return the document of a dataset, as a request made it.

    Parameters
    ----------
    metadata_view : View
        What its metadata can be found by.
    """
    body: dict[str, Json] = {
        "title": dataset.title,
        "kind": dataset.kind,
        "tags": list(dataset.tags),
        "parents": list(dataset.parents),
        "metadata_bytes": dataset.metadata_bytes,
        "revision": dataset.revision,
        "stored": 1,
        "creator": dataset.creator,
        "created": microseconds(dataset.create_time),
        "updated": microseconds(dataset.update_time),
        "deleted": _microseconds(dataset.delete_time),
        "purges": _microseconds(dataset.purge_time),
        "started": _microseconds(dataset.start_time),
        "ended": _microseconds(dataset.end_time),
        "file_count": dataset.file_count,
        "array_count": dataset.array_count,
        "stored_bytes": dataset.stored_bytes,
        "draft": dataset.is_draft,
        "sealed": dataset.is_sealed,
        "plain_url": dataset.plain_url,
        "author": note.author,
        "changed_paths": list(note.changed_paths),
        "comment": note.comment,
        "request": request.to_json() if request else None,
    }
    if dataset.storage_policy is not None:
        body["storage_policy"] = dataset.storage_policy.to_json()
    view = dataset_view(dataset, metadata_view)
    return Document(str(dataset.name), str(dataset.name.parent), body, dataset.metadata, view)


def recounted_document(
    document: Document, view: View, file_count: int, array_count: int, stored_bytes: int
) -> Document:
    """Return the document with other counts, and all else as it was: this makes no revision."""
    counts = {"file_count": file_count, "array_count": array_count, "stored_bytes": stored_bytes}
    body = {**document.body, **counts}
    return Document(document.key, document.scope, body, document.text, view)


def require_shown(
    document: Document | None, name: DatasetName, now: datetime, *, show_deleted: bool = False
) -> Document:
    """Return the document if its dataset may be seen, or raise NotFound or ResourceDeleted."""
    if document is None or is_purging(document):
        raise not_found(name)
    purges = document.body["purges"]
    if isinstance(purges, int):
        purge_time = from_microseconds(purges)
        if purge_time <= now:
            raise not_found(name)
        if not show_deleted:
            raise deleted(name, purge_time)
    return document


def require_unsealed(dataset: Dataset) -> None:
    """Raise Sealed if the dataset takes no more changes but of its tags."""
    if dataset.is_sealed:
        raise Sealed(
            f"{dataset.name} is sealed and does not change any more, but for its tags; "
            "make a new dataset that has it as a parent",
            resource=dataset.name,
        )


def purging_document(document: Document, now: datetime) -> Document:
    """Return the document that hides a dataset for good while its parts are removed."""
    body = {**document.body, "purging": True}
    return Document(document.key, document.scope, body, "", purging_view(now))


def purging_view(since: datetime) -> View:
    """Return what a dataset can be found by while it is being purged: as one whose time is over."""
    return entries(deleted=since, purges=since)


def is_purging(document: Document) -> bool:
    """Tell whether a dataset is being purged: for everybody but the purge it is not there."""
    return document.body.get("purging") is True


def is_draft(document: Document) -> bool:
    """Tell whether a dataset was never shown: only who has its name gets it."""
    return document.body.get("draft") is True


def dataset_view(dataset: Dataset, metadata_view: View) -> View:
    """Return what a dataset can be found by.

    That is nothing for a draft: it stands there as one whose time is over, which nothing finds, with the time of its
    last change beside, by which it is told from those. A deleted draft is over indeed.
    """
    if dataset.is_draft:
        drafted = dataset.update_time if dataset.delete_time is None else None
        return entries(deleted=dataset.create_time, purges=dataset.create_time, drafted=drafted)
    return [*system_view(dataset), *metadata_view]


def system_view(dataset: Dataset) -> Sequence[Entry]:
    """Return what a dataset can be found by apart from its metadata: the system fields of the filter language."""
    return [
        *entries(
            id=dataset.name.dataset,
            title=dataset.title,
            kind=dataset.kind,
            state=dataset.state,
            revision=dataset.revision,
            creator=dataset.creator,
            created=dataset.create_time,
            updated=dataset.update_time,
            deleted=dataset.delete_time,
            purges=dataset.purge_time,
            started=dataset.start_time,
            ended=dataset.end_time,
            file_count=dataset.file_count,
            array_count=dataset.array_count,
            stored_bytes=dataset.stored_bytes,
            plain="due" if dataset.is_sealed and dataset.plain_url is None else None,
        ),
        *texts("tags", dataset.tags),
        *texts("parents", dataset.parents),
    ]


def _time(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)


def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)
