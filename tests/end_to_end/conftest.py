"""One server process for the tests of behaviours, and a client and a catalog of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import Server, running

from measurand.client import Catalog, Client


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("behaviours") / "store") as server:
        yield server


@pytest.fixture
def client(shared: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Client(shared.address) as client:
        yield client


@pytest.fixture
def lab(client: Client) -> Catalog:
    return client.create_catalog(f"lab-{uuid.uuid4()}")
