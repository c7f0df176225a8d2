"""A server with a dataset in it, which says that it is well, and is."""

from __future__ import annotations

import random

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.servers import Server

from measurand.client import Client

__all__ = ["check_healthy", "make_run", "noise"]


def make_run(server: Server) -> None:
    with Client(server.address) as client:
        client.create_catalog("lab").create("run", id="run")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def check_healthy(server: Server) -> None:
    """It says that it serves, and it does."""
    with grpc.insecure_channel(server.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with Client(server.address) as client:
        assert client.catalog("lab").get("run").id == "run"
    assert server.process.poll() is None
    assert "Traceback" not in server.log
