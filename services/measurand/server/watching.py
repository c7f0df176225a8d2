"""How a server is watched: where the figures of its stores go, and what stands around its calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import grpc.aio

from measurand.server.config import ConfigError
from measurand.server.metrics import Metrics
from measurand.storage.blobs.measured import Meter as BlobMeter
from measurand.storage.documents.measured import Meter as DocumentMeter

__all__ = ["StoreMeter", "Watching", "open_watching"]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables that name a collector for every program that can speak to one."""


class StoreMeter(BlobMeter, DocumentMeter, Protocol):
    """Takes the figures of both stores."""


@dataclass(frozen=True, slots=True)
class Watching:
    """What watches a server.

    Parameters
    ----------
    meter : StoreMeter
        Takes the figures of both stores.
    around : callable
        Returns an interceptor that does what another one does, and more.
    """

    meter: StoreMeter
    around: Callable[[grpc.aio.ServerInterceptor], grpc.aio.ServerInterceptor]


def open_watching(endpoint: str, metrics: Metrics, opening: AsyncExitStack, *, instance_id: str) -> Watching:
    """Return metrics alone, or with traces where a collector is named. Raises ConfigError when that cannot be.

    Parameters
    ----------
    endpoint : str
        As in `open_traces`; where it is empty, one of `ENDPOINTS` may name the collector.
    opening : AsyncExitStack
        Sends the last spans when the server has ended.
    """
    if not endpoint and not any(os.environ.get(name) for name in ENDPOINTS):
        return Watching(metrics, lambda calls: calls)
    try:
        from measurand.server.tracing import open_traces
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracing.endpoint: {error.name} is not installed; run: pip install 'measurand[tracing]'"
        ) from error
    traces = open_traces(endpoint, instance_id=instance_id)
    opening.push_async_callback(asyncio.to_thread, traces.close)
    return Watching(traces.meter(metrics), traces.around)
