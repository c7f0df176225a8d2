"""What is known about containers and about where parts go, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from measurand.client.problems import error_of
from measurand.client.results import time_of
from measurand.client.storage import Storage, storage_of
from measurand.v1 import containers_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["Check", "Considered", "Container", "PlacedPart", "Placement"]

_PREFIX = "containers/"


@dataclass(frozen=True, slots=True)
class Container:
    """A place that holds blobs, as it was when it was asked for.

    Parameters
    ----------
    id : str
        Its id, such as `nas`.
    kind : str
        `directory`, `s3`, `remote`, `memory` or `home`, which is the server's own store.
    uri : str
        Where it is.
    state : str
        `active`, `read_only`, `draining`, `drained` or `down`.
    capacity, free : int
        Bytes in all and left; 0 and 0: nobody knows, as of a bucket.
    stored, parts : int
        Bytes and number of the parts that are in it.
    write_bandwidth, read_bandwidth : float
        Bytes a second, as declared or measured; 0: not known.
    failure_rate : float
        Share of requests that failed in the last 10 minutes.
    """

    id: str
    kind: str
    uri: str
    state: str
    zone: str
    title: str
    labels: Mapping[str, str]
    weight: float
    read_only: bool
    max_bytes: int
    capacity: int
    free: int
    stored: int
    parts: int
    write_bandwidth: float
    read_bandwidth: float
    failure_rate: float
    created: datetime | None
    heard: datetime | None
    etag: str

    @classmethod
    def of(cls, message: containers_pb2.Container) -> Container:
        """Return the container in a message."""
        stats = message.stats
        return cls(
            id=message.name.removeprefix(_PREFIX),
            kind=containers_pb2.ContainerKind.Name(message.kind).removeprefix("CONTAINER_KIND_").lower(),
            uri=message.uri,
            state=containers_pb2.ContainerState.Name(message.state).removeprefix("CONTAINER_STATE_").lower(),
            zone=message.zone,
            title=message.title,
            labels=dict(message.labels),
            weight=message.weight,
            read_only=message.read_only,
            max_bytes=message.max_bytes,
            capacity=stats.capacity_bytes,
            free=stats.free_bytes,
            stored=stats.stored_bytes,
            parts=stats.part_count,
            write_bandwidth=message.write_bandwidth or stats.write_bandwidth,
            read_bandwidth=message.read_bandwidth or stats.read_bandwidth,
            failure_rate=stats.failure_rate,
            created=time_of(message, "create_time"),
            heard=time_of(message, "heartbeat_time"),
            etag=message.etag,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried on a container.

    Parameters
    ----------
    seconds : float
        How long it took.
    message : str
        What went wrong; empty when it works.
    """

    what: str
    ok: bool
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part that is somewhere, or would be.

    Parameters
    ----------
    index : int
        Which part; data parts come first.
    size : int
        Its bytes.
    healthy : bool
        It is there as far as is known.
    """

    container: str
    index: int
    size: int
    healthy: bool
    blob: str


@dataclass(frozen=True, slots=True)
class Considered:
    """What was thought of a container; of higher scores more is thought, and 0 does not come into question."""

    container: str
    chosen: bool
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the parts of something are, or would go, and why.

    Parameters
    ----------
    data_parts, parity_parts : int
        Any `data_parts` of all parts suffice to read; 1: they are copies.
    problem : MeasurandError, optional
        Why there is no place.
    """

    storage: Storage
    data_parts: int
    parity_parts: int
    parts: tuple[PlacedPart, ...]
    considered: tuple[Considered, ...]
    problem: MeasurandError | None

    @classmethod
    def of(cls, message: containers_pb2.ExplainPlacementResponse) -> Placement:
        """Return the placement in a message."""
        return cls(
            storage=storage_of(message.policy),
            data_parts=message.data_parts,
            parity_parts=message.parity_parts,
            parts=tuple(
                PlacedPart(part.container.removeprefix(_PREFIX), part.part_index, part.size, part.healthy, part.blob)
                for part in message.parts
            ),
            considered=tuple(
                Considered(one.container.removeprefix(_PREFIX), one.chosen, one.score, tuple(one.reasons))
                for one in message.candidates
            ),
            problem=error_of(message.problem) if message.HasField("problem") else None,
        )
