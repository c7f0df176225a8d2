"""How long it takes until something answers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from benchmarks import product
from benchmarks.harness import Turn
from benchmarks.peers import tiled
from grpc_health.v1 import health_pb2, health_pb2_grpc


@contextmanager
def serve() -> Iterator[Turn]:
    """Start a server on an empty folder until its health is SERVING, in seconds."""

    def turn() -> float:
        begin = time.perf_counter()
        with product.server() as address, grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            took = time.perf_counter() - begin
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return took

    yield turn


@contextmanager
def serve_tiled() -> Iterator[Turn]:
    """Start a Tiled server on an empty catalog until it answers, in seconds."""

    def turn() -> float:
        begin = time.perf_counter()
        with tiled.server():
            return time.perf_counter() - begin

    yield turn


@contextmanager
def run(*command: str) -> Iterator[Turn]:
    """Run a command to its end, in seconds."""
    with tempfile.TemporaryDirectory() as folder:

        def turn() -> float:
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
            return time.perf_counter() - begin

        yield turn


HELP = (product.COMMAND, "--help")
PYTHON = (sys.executable, "-c", "pass")
