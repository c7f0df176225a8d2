"""A server for the tests of both clients: a process of its own, since the sync client stands still while it waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers import Server


@pytest.fixture(scope="session")
def process(stores: str, server_over: Callable[[str], Server]) -> Server:
    return server_over(stores)


@pytest.fixture
def address(process: Server) -> str:
    return process.address


@pytest.fixture(autouse=True)
def _places_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the journal nor the settings of whoever runs the tests are touched."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MEASURAND_URL", raising=False)
