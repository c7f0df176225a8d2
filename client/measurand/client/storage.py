"""Where and how often bytes are kept, as callers say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from measurand.v1 import common_pb2
from measurand.wire.redundancy import Redundancy, format_redundancy, parse_redundancy

__all__ = ["Storage", "storage_message", "storage_of"]

_PREFIX = "containers/"


@dataclass(frozen=True, slots=True)
class Storage:
    """How many parts bytes are kept in, and in which containers. Where a text will do, it will do.

    Parameters
    ----------
    redundancy : str
        `single`, `replicate:3`, `erasure:4+2` or `losses:2`. Empty: two containers may be lost.
    labels : mapping
        Only containers that carry all of these labels.
    zones : sequence of str
        Only containers in these zones.
    min_zones : int
        Parts lie in at least this many zones.
    containers, exclude : sequence of str
        Only these containers; not these.
    placement : str
        What chooses the containers, such as `balanced` (which is the default) or `saturation`.
    target_reliability : float
        For placements that choose the number of parts: how likely the bytes are to last through `retention`.
    retention : timedelta, optional
        For those. None: a year.
    quorum : bool
        Acknowledge when the data parts and half of the parity parts are durable, not all.
    hot_copies : bool
        Keep extra copies of what is read most.
    """

    redundancy: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    zones: Sequence[str] = ()
    min_zones: int = 0
    containers: Sequence[str] = ()
    exclude: Sequence[str] = ()
    placement: str = ""
    target_reliability: float = 0.0
    retention: timedelta | None = None
    quorum: bool = False
    hot_copies: bool = False

    def __str__(self) -> str:
        return self.redundancy or self.placement or "losses:2"


def storage_message(storage: str | Storage) -> common_pb2.StoragePolicy:
    """Return a policy as it travels. Raises InvalidArgument for a text that is none."""
    asked = Storage(storage) if isinstance(storage, str) else storage
    message = common_pb2.StoragePolicy(
        container_labels=asked.labels,
        zones=asked.zones,
        min_zones=asked.min_zones,
        containers=[_PREFIX + name.removeprefix(_PREFIX) for name in asked.containers],
        exclude=[_PREFIX + name.removeprefix(_PREFIX) for name in asked.exclude],
        placement=asked.placement,
        target_reliability=asked.target_reliability,
        quorum=asked.quorum,
        hot_copies=asked.hot_copies,
    )
    if asked.retention is not None:
        message.retention.FromTimedelta(asked.retention)
    if asked.redundancy or isinstance(storage, str):
        redundancy = parse_redundancy(asked.redundancy)
        if redundancy.replicas:
            message.replicas = redundancy.replicas
        elif redundancy.losses:
            message.losses = redundancy.losses
        else:
            message.erasure_code.data_parts = redundancy.data_parts
            message.erasure_code.parity_parts = redundancy.parity_parts
    return message


def storage_of(message: common_pb2.StoragePolicy) -> Storage:
    """Return the policy in a message."""
    code = message.erasure_code
    redundancy = Redundancy(message.replicas, code.data_parts, code.parity_parts, message.losses)
    return Storage(
        redundancy=format_redundancy(redundancy),
        labels=dict(message.container_labels),
        zones=tuple(message.zones),
        min_zones=message.min_zones,
        containers=tuple(name.removeprefix(_PREFIX) for name in message.containers),
        exclude=tuple(name.removeprefix(_PREFIX) for name in message.exclude),
        placement=message.placement,
        target_reliability=message.target_reliability,
        retention=message.retention.ToTimedelta() if message.HasField("retention") else None,
        quorum=message.quorum,
        hot_copies=message.hot_copies,
    )
