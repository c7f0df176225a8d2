"""Catalogs as values, and as documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from measurand.core.filters.fields import Field
from measurand.core.names import CatalogName, parse_catalog
from measurand.core.placement.policies import Policy
from measurand.core.ports import Document, Json
from measurand.core.requests import Request
from measurand.core.searchable import entries, text
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, join

__all__ = [
    "CATALOGS",
    "CATALOG_FIELDS",
    "CATALOG_HISTORY",
    "Catalog",
    "CatalogDraft",
    "Usage",
    "catalog_document",
    "catalog_of",
    "etag_of",
]

CATALOGS = "catalogs"
"""The collection: key the catalog's name, scope empty."""

CATALOG_HISTORY = "catalog_revisions"
"""What catalogs were, which nobody asks for but repeated requests."""

CATALOG_FIELDS: Mapping[str, Field] = {
    "id": Field("text", is_required=True),
    "title": Field("prose"),  # a long one is not in the view with its value
    "labels": Field("map"),
    "created": Field("time", is_required=True),
    "updated": Field("time", is_required=True),
}
"""What a filter may ask of catalogs."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a catalog holds: newest generations of files in datasets that are not deleted."""

    stored_bytes: int = 0
    dataset_count: int = 0
    file_count: int = 0


@dataclass(frozen=True, slots=True)
class CatalogDraft:
    """What a caller says of a catalog."""

    title: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    undelete_window: timedelta | None = None
    storage_policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """What datasets are kept together.

    Parameters
    ----------
    undelete_window : timedelta, optional
        How long deleted datasets can be undeleted. None: as long as the server says.
    usage : Usage, optional
        Only where it was asked for.
    storage_policy : Policy, optional
        Where new bytes are kept unless a dataset or a file says otherwise. None: where the server keeps them.
    """

    name: CatalogName
    title: str
    description: str
    undelete_window: timedelta | None
    revision: int
    creator: str
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    usage: Usage | None = None
    storage_policy: Policy | None = None

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return etag_of(microseconds(self.create_time), self.revision)


def etag_of(created: int, revision: int) -> str:
    """Return the etag of a revision. The time of creation tells a resource from a purged one of its name."""
    return f"{created:x}-{revision:x}"


def catalog_of(document: Document) -> Catalog:
    """Return the catalog that a document is."""
    body: Mapping[str, Any] = document.body
    window, deleted, purges = body["undelete_window"], body["deleted"], body["purges"]
    return Catalog(
        name=parse_catalog(document.key),
        title=body["title"],
        description=body["description"],
        labels=body["labels"],
        undelete_window=None if window is None else window * _MICROSECOND,
        revision=body["revision"],
        creator=body["creator"],
        create_time=from_microseconds(body["created"]),
        update_time=from_microseconds(body["updated"]),
        delete_time=None if deleted is None else from_microseconds(deleted),
        purge_time=None if purges is None else from_microseconds(purges),
        storage_policy=None if (policy := body.get("storage_policy")) is None else Policy.from_json(policy),
    )


def catalog_document(catalog: Catalog, request: Request | None) -> Document:
    """Return the document of a catalog, as the request made it."""
    created, updated = microseconds(catalog.create_time), microseconds(catalog.update_time)
    window = catalog.undelete_window
    body: dict[str, Json] = {
        "title": catalog.title,
        "description": catalog.description,
        "labels": dict(catalog.labels),
        "undelete_window": None if window is None else window // _MICROSECOND,
        "revision": catalog.revision,
        "stored": 1,
        "creator": catalog.creator,
        "created": created,
        "updated": updated,
        "deleted": None if catalog.delete_time is None else microseconds(catalog.delete_time),
        "purges": None if catalog.purge_time is None else microseconds(catalog.purge_time),
        "request": request.to_json() if request else None,
    }
    if catalog.storage_policy is not None:
        body["storage_policy"] = catalog.storage_policy.to_json()
    view = [
        *entries(id=catalog.name.catalog, title=catalog.title),
        *entries(created=catalog.create_time, updated=catalog.update_time),
        *entries(deleted=catalog.delete_time, purges=catalog.purge_time),
        Entry("labels", None),
        *(Entry(join("labels", key), text(value)) for key, value in catalog.labels.items()),
    ]
    return Document(str(catalog.name), "", body, view=view)
