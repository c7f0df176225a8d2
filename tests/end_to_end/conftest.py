"""One server process for the tests of behaviours, and a client and a catalog of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers import Server

from measurand.client import Catalog, Client


@pytest.fixture(scope="session")
def shared(stores: str, server_over: Callable[[str], Server]) -> Server:
    """A server over one of the sets of stores, for all tests that can share it."""
    return server_over(stores)


@pytest.fixture
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the journal nor the settings of whoever runs the tests are touched."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def client(shared: Server, _own_places: None) -> Iterator[Client]:
    with Client(shared.address) as client:
        yield client


@pytest.fixture
def lab(client: Client) -> Catalog:
    return client.create_catalog(f"lab-{uuid.uuid4()}")
