"""Calls to a server in its own process, and waiting for what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc.aio
from tests.servers import Server

from measurand.v1 import (
    catalogs_pb2,
    catalogs_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)

__all__ = ["channel_to", "instance", "make_run", "serve", "until"]


@asynccontextmanager
async def channel_to(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    # Without this channels to one address share a connection, and so a worker.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        yield channel


async def make_run(channel: grpc.aio.Channel) -> None:
    catalogs = catalogs_pb2_grpc.CatalogServiceStub(channel)
    await catalogs.CreateCatalog(catalogs_pb2.CreateCatalogRequest(catalog_id="lab"))
    datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
    await datasets.CreateDataset(datasets_pb2.CreateDatasetRequest(parent="catalogs/lab", dataset_id="run"))


async def instance(channel: grpc.aio.Channel) -> str:
    request = server_pb2.GetCapabilitiesRequest()
    return (await server_pb2_grpc.ServerServiceStub(channel).GetCapabilities(request)).instance_id


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"it did not come to pass in {seconds} s"
        time.sleep(0.02)


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "measurand.server.run", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MEASURAND_")}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=clean)
