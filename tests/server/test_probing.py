"""Whether a server can do its work, as it is told to load balancers."""

from __future__ import annotations

from tests.core.container_rooms import ContainerRooms

from measurand.core.containers.shortage import shortage
from measurand.core.placement.policies import Policy
from measurand.server.patterns import compile_pattern
from measurand.server.probing import Probe
from measurand.storage.blobs.memory import Memory as Blobs
from measurand.storage.documents.memory import Memory


async def test_without_enough_containers_a_server_does_not_serve_until_they_are_back() -> None:
    rooms = ContainerRooms(has_home=False)
    for name in "abc":
        await rooms.add(name)
    probe = Probe(Memory(compile_pattern), Blobs(), shortage=lambda: shortage(rooms.sites, Policy(replicas=3)))
    found = [await probe.run()]
    rooms.away.add("memory:b")
    await rooms.pass_by(30)
    found.append(await probe.run())
    rooms.away.clear()
    await rooms.pass_by(6)
    found.append(await probe.run())
    assert found == [True, False, True]
    await rooms.close()
