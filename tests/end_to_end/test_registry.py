"""Owners that are killed, and registries that are away. (Two servers as one registry: `test_many_servers`.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.end_to_end.serving import until
from tests.mongod import free_port
from tests.servers import Server
from tests.stores import open_site

from measurand.client import Client
from measurand.client.errors import NotFound

pytestmark = pytest.mark.usefixtures("_own_places")


def is_there(client: Client, name: str) -> bool:
    try:
        client.registry.get("gateway", name)
    except NotFound:
        return False
    return True


def holder(address: str, name: str, *words: str) -> subprocess.Popen[str]:
    """Start a process that holds a name, and return when it does."""
    command = [sys.executable, "-m", "measurand.cli.main", "--url", address, "registry", "put", f"gateway/{name}"]
    process = subprocess.Popen([*command, "grpc://a:1", *words, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.stores("embedded")
def test_an_entry_outlives_its_killed_owner_by_one_lease(shared: Server) -> None:
    with Client(shared.address) as client:
        changes = client.registry.watch("gateway")
        owner = holder(shared.address, "killed", "--ttl", "2")
        try:
            came = next(changes)
            until(lambda: client.registry.get("gateway", "killed").renewed != came.registration.created)
        finally:
            end(owner)
        went = next(changes)
        changes.close()
        assert (came.kind, came.registration.name, came.registration.epoch) == ("created", "killed", 1)
        assert (went.kind, went.registration.name, went.registration.epoch) == ("deleted", "killed", 1)
        with pytest.raises(NotFound, match="last seen"):
            client.registry.get("gateway", "killed")
        with client.registry.register("gateway", "killed", "grpc://b:1") as lease:
            assert lease.epoch == 2


@pytest.mark.stores("embedded")
def test_lookups_go_on_while_the_registry_is_away_and_entries_are_there_when_it_is_back(
    stores: str, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    with open_site(stores, tmp_path / "store") as site, Client(address) as client:
        server = site.start("--listen", address)
        try:
            client.registry.put("gateway", "fixed", "grpc://fixed:1")
            with client.registry.register("gateway", "held", "grpc://held:1", ttl=2) as lease:
                known = {name: client.registry.resolve("gateway", name).endpoint for name in ("fixed", "held")}
                server.kill()
                for name, endpoint in known.items():
                    assert client.registry.resolve("gateway", name).endpoint == endpoint
                until(lambda: lease.failure is not None)
                assert client.registry.resolve("gateway", "held").endpoint == "grpc://held:1", "its lease is long over"
                server = site.start("--listen", address)
                assert client.registry.get("gateway", "fixed").epoch == 1
                until(lambda: is_there(client, "held"))
                until(lambda: lease.failure is None)
                assert lease.is_held
            assert not is_there(client, "held")
        finally:
            server.stop()
