"""Containers as messages, and back."""

from __future__ import annotations

from datetime import timedelta

from measurand.core.containers.containers import Shown
from measurand.core.containers.documents import Beat, Container, Kind, State
from measurand.core.names import check_id
from measurand.core.times import from_microseconds
from measurand.services.messages import time_message
from measurand.v1 import containers_pb2

__all__ = ["STATES", "beat_of_message", "container_message", "draft_of", "id_of"]

PREFIX = "containers/"

_KINDS: dict[Kind, containers_pb2.ContainerKind.ValueType] = {
    "directory": containers_pb2.CONTAINER_KIND_DIRECTORY,
    "s3": containers_pb2.CONTAINER_KIND_S3,
    "remote": containers_pb2.CONTAINER_KIND_REMOTE,
    "memory": containers_pb2.CONTAINER_KIND_MEMORY,
    "home": containers_pb2.CONTAINER_KIND_HOME,
}
STATES: dict[State, containers_pb2.ContainerState.ValueType] = {
    "active": containers_pb2.CONTAINER_STATE_ACTIVE,
    "read_only": containers_pb2.CONTAINER_STATE_READ_ONLY,
    "draining": containers_pb2.CONTAINER_STATE_DRAINING,
    "drained": containers_pb2.CONTAINER_STATE_DRAINED,
    "down": containers_pb2.CONTAINER_STATE_DOWN,
}


def id_of(name: str, *, field: str = "name") -> str:
    """Return the id in a container's name, which may be given without `containers/`. Raises NameInvalid."""
    return check_id(name.removeprefix(PREFIX), field=field)


def container_message(shown: Shown) -> containers_pb2.Container:
    """Return a container as callers see it."""
    container = shown.container
    message = containers_pb2.Container(
        name=f"{PREFIX}{container.id}",
        title=container.title,
        kind=_KINDS[container.kind],
        uri=container.uri,
        zone=container.zone,
        labels=dict(container.labels),
        weight=container.weight,
        read_only=container.is_read_only,
        max_bytes=container.max_bytes,
        state=STATES[shown.state],
        etag=container.etag,
        create_time=time_message(container.create_time),
        annual_failure_rate=container.annual_failure_rate,
        write_bandwidth=container.write_bandwidth,
        read_bandwidth=container.read_bandwidth,
    )
    if shown.site is not None:
        message.stats.part_count = shown.site.held.parts
        message.stats.blob_count = shown.site.held.parts
        message.stats.stored_bytes = shown.site.held.size
        if (beat := shown.site.beat) is not None:
            message.heartbeat_time.FromDatetime(beat.time)
            _set_stats(message.stats, beat)
    return message


def draft_of(message: containers_pb2.Container) -> Container:
    """Return what a caller says of a container."""
    return Container(
        id=id_of(message.name, field="container.name"),
        uid="",
        kind="directory",  # core finds it out from the URI
        uri=message.uri,
        create_time=from_microseconds(0),
        title=message.title,
        zone=message.zone,
        labels=dict(message.labels),
        weight=message.weight,
        is_read_only=message.read_only,
        max_bytes=message.max_bytes,
        annual_failure_rate=message.annual_failure_rate,
        write_bandwidth=message.write_bandwidth,
        read_bandwidth=message.read_bandwidth,
    )


def beat_of_message(stats: containers_pb2.ContainerStats) -> Beat:
    """Return what a container tells of itself."""
    return Beat(
        uid="",
        time=from_microseconds(0),
        capacity_bytes=max(stats.capacity_bytes, 0),
        free_bytes=max(stats.free_bytes, 0),
        write_seconds=stats.write_latency.ToTimedelta().total_seconds(),
        read_seconds=stats.read_latency.ToTimedelta().total_seconds(),
        write_bandwidth=stats.write_bandwidth,
        read_bandwidth=stats.read_bandwidth,
        failure_rate=stats.failure_rate,
    )


def _set_stats(stats: containers_pb2.ContainerStats, beat: Beat) -> None:
    stats.capacity_bytes, stats.free_bytes = beat.capacity_bytes, beat.free_bytes
    stats.write_bandwidth, stats.read_bandwidth = beat.write_bandwidth, beat.read_bandwidth
    stats.failure_rate = beat.failure_rate
    if beat.write_seconds:
        stats.write_latency.FromTimedelta(timedelta(seconds=beat.write_seconds))
    if beat.read_seconds:
        stats.read_latency.FromTimedelta(timedelta(seconds=beat.read_seconds))
