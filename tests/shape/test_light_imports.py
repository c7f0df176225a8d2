"""What is imported stays light: the command line answers at once, a notebook does not wait for the server's parts."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(module: str) -> set[str]:
    """Return the modules that a fresh Python holds after importing one."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "measurand.client",
            {"numpy", "pandas", "rich", "click", "pydantic", "prometheus_client", "sqlite3"}
            | {"measurand.server", "measurand.services", "measurand.storage", "measurand.core"},
        ),
        ("measurand.cli.main", {"grpc", "google.protobuf", "numpy", "pandas", "measurand.server", "measurand.v1"}),
        ("measurand.wire.errors", {"grpc", "google.protobuf", "measurand.v1", "asyncio"}),
        ("measurand.core.ports", {"grpc", "google.protobuf", "measurand.v1", "asyncio"}),
    ],
)
def test_importing_it_leaves_the_heavy_things_out(module: str, heavy: set[str]) -> None:
    assert loaded_by(module) & heavy == set()
