"""Containers as values and as documents, the beats by which they tell that they are alive, and what they are counted to
hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from measurand.core.filters.fields import Field
from measurand.core.ports import Document, Json
from measurand.core.searchable import entries, text
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import Entry, join

__all__ = [
    "BEATS",
    "CONTAINERS",
    "CONTAINER_FIELDS",
    "COUNTS",
    "HOME",
    "Beat",
    "Container",
    "Held",
    "Kind",
    "State",
    "beat_document",
    "beat_of",
    "container_document",
    "container_of",
    "counts_document",
    "counts_of",
    "full_name",
]

CONTAINERS = "containers"
"""The collection: key the container's name, `containers/{id}`."""

BEATS = "container_beats"
"""The last sign of life of each, by the same key."""

COUNTS = "container_counts"
"""One document: how many parts and bytes the placements say that each holds."""

HOME = "home"
"""The id of the container that the server's own blob store is."""

CONTAINER_FIELDS: Mapping[str, Field] = {
    "id": Field("text", is_required=True),
    "kind": Field("word", words=("directory", "s3", "remote", "memory", "home"), is_required=True),
    "zone": Field("text"),
    "labels": Field("map"),
}
"""What a filter may ask of containers, apart from `state`, which is not stored."""

Kind = Literal["directory", "s3", "remote", "memory", "home"]
State = Literal["active", "read_only", "draining", "drained", "down"]


@dataclass(frozen=True, slots=True)
class Container:
    """A place that holds blobs.

    Parameters
    ----------
    id : str
        What follows `containers/`.
    uid : str
        Of this registration: a container that is removed and added again has another one.
    uri : str
        `file:///path`, `s3://bucket/prefix?endpoint=…`, `grpc://host:port`; empty for the home store.
    weight : float
        How much more than others it is to be used.
    is_draining : bool
        Its parts are being moved off, or all are.
    max_bytes : int
        It is filled up to this and no more; 0: up to what there is.
    annual_failure_rate, write_bandwidth, read_bandwidth : float
        As declared, a year and bytes a second; 0: as is usual, or as measured.
    lease_digest : str
        Of the secret that the process which serves it proves itself by; empty for those that servers reach themselves.
    """

    id: str
    uid: str
    kind: Kind
    uri: str
    create_time: datetime
    title: str = ""
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    is_read_only: bool = False
    is_draining: bool = False
    max_bytes: int = 0
    annual_failure_rate: float = 0.0
    write_bandwidth: float = 0.0
    read_bandwidth: float = 0.0
    lease_digest: str = ""
    version: int = 1
    request: str = ""

    @property
    def etag(self) -> str:
        """Changes with every change, and not with beats."""
        return f"{self.uid}-{self.version:x}"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a container last told of itself, or a server of it.

    Parameters
    ----------
    uid : str
        Of the registration that it is of.
    capacity_bytes, free_bytes : int
        Room in all and left; both 0: nobody knows, as of a bucket.
    write_seconds, read_seconds : float
        To move 64 KiB, the median of the last hundred; 0: not known.
    write_bandwidth, read_bandwidth : float
        Bytes a second, the median of the last hundred parts; 0: not known.
    failure_rate : float
        Share of requests that failed in the last 10 minutes.
    """

    uid: str
    time: datetime
    capacity_bytes: int = 0
    free_bytes: int = 0
    write_seconds: float = 0.0
    read_seconds: float = 0.0
    write_bandwidth: float = 0.0
    read_bandwidth: float = 0.0
    failure_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """What placements say that a container holds."""

    parts: int = 0
    size: int = 0


def full_name(container_id: str) -> str:
    """Return the resource name of a container."""
    return f"containers/{container_id}"


_FLAT = (
    "uid",
    "kind",
    "uri",
    "title",
    "zone",
    "weight",
    "is_read_only",
    "is_draining",
    "max_bytes",
    "annual_failure_rate",
    "write_bandwidth",
    "read_bandwidth",
    "lease_digest",
    "version",
    "request",
)
_BEAT_FLAT = (
    "uid",
    "capacity_bytes",
    "free_bytes",
    "write_seconds",
    "read_seconds",
    "write_bandwidth",
    "read_bandwidth",
    "failure_rate",
)


def container_document(container: Container) -> Document:
    """Return the document of a container."""
    body: dict[str, Json] = {name: getattr(container, name) for name in _FLAT}
    body |= {"labels": dict(container.labels), "created": microseconds(container.create_time)}
    view = [
        *entries(id=container.id, kind=container.kind, zone=container.zone),
        Entry("labels", None),
        *(Entry(join("labels", key), text(value)) for key, value in container.labels.items()),
    ]
    return Document(full_name(container.id), "", body, view=view)


def container_of(document: Document) -> Container:
    """Return the container that a document is."""
    body: Mapping[str, Any] = document.body
    return Container(
        id=document.key.removeprefix("containers/"),
        labels=body["labels"],
        create_time=from_microseconds(body["created"]),
        **{name: body[name] for name in _FLAT},
    )


def beat_document(container_id: str, beat: Beat) -> Document:
    """Return the document of a beat."""
    body: dict[str, Json] = {name: getattr(beat, name) for name in _BEAT_FLAT}
    return Document(full_name(container_id), "", {**body, "time": microseconds(beat.time)})


def beat_of(document: Document) -> Beat:
    """Return the beat that a document is."""
    body: Mapping[str, Any] = document.body
    return Beat(time=from_microseconds(body["time"]), **{name: body[name] for name in _BEAT_FLAT})


def counts_document(counts: Mapping[str, Held], time: datetime) -> Document:
    """Return the document of what all containers hold."""
    held: dict[str, Json] = {name: [one.parts, one.size] for name, one in counts.items()}
    return Document("all", "", {"held": held, "time": microseconds(time)})


def counts_of(document: Document) -> tuple[Mapping[str, Held], datetime]:
    """Return what containers hold by that document, and when the count began."""
    body: Mapping[str, Any] = document.body
    held = {name: Held(parts, size) for name, (parts, size) in body["held"].items()}
    return held, from_microseconds(body["time"])
