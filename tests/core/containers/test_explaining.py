"""Where parts are, where they would go, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from tests.core.container_rooms import ContainerRooms
from tests.core.rooms import Rooms, make_rooms, prepare

from measurand.core.catalog_documents import CatalogDraft
from measurand.core.containers.explaining import Explaining
from measurand.core.containers.placements import Placements
from measurand.core.containers.sites import Room
from measurand.core.file_documents import Digests, FileSpec
from measurand.core.names import CatalogName, FileName
from measurand.core.placement.policies import Policy
from measurand.core.policies import Policies
from measurand.core.principal import LOCAL_USER
from measurand.core.small_files import SmallFile
from measurand.wire.errors import ContainersUnavailable, NotFound

THREE = Policy(replicas=3)


@dataclass
class Desk:
    """Files and containers over the same documents."""

    files: Rooms
    containers: ContainerRooms

    def explaining(self, usual: Policy | None = None) -> Explaining:
        return Explaining(
            self.files.files,
            Placements(self.containers.documents),
            Policies(self.containers.documents, self.containers.means),
            self.containers.sites,
            self.containers.means,
            usual=usual,
        )

    async def put(self, path: str, data: bytes) -> FileName:
        name = self.files.file(path)
        await self.files.small_files.put(LOCAL_USER, SmallFile(FileSpec(name), data, Digests()))
        return name


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    files = make_rooms()
    await prepare(files)
    containers = ContainerRooms(files.documents, files.clock)
    await containers.containers.ensure_home()
    containers.rooms[""] = Room(10**12, 10**12)
    for name in "abcde":
        containers.rooms[f"memory:{name}"] = Room(10**12, 10**12)
        await containers.add(name, zone=name)
    await containers.pass_by(5)
    yield Desk(files, containers)
    await containers.close()


async def test_a_file_without_a_policy_lies_in_the_home_store(desk: Desk) -> None:
    name = await desk.put("x", b"12345")
    found = await desk.explaining().file(LOCAL_USER, name)
    assert [(part.container, part.size, part.is_healthy) for part in found.parts] == [("home", 5, True)]
    assert (found.data_parts, found.parity_parts, found.considered) == (1, 0, ())
    with pytest.raises(NotFound):
        await desk.explaining().file(LOCAL_USER, replace(name, path="y"))


async def test_a_file_in_containers_tells_of_its_parts_and_which_cannot_be_read_now(desk: Desk) -> None:
    name = await desk.put("x", b"12345")
    [extent] = (await desk.files.files.get(LOCAL_USER, name, 0)).extents
    await desk.containers.place(extent.blob.key, "a", "b", "c", size=69)
    desk.containers.away.add("memory:b")
    await desk.containers.pass_by(25)
    found = await desk.explaining().file(LOCAL_USER, name)
    assert (found.policy, found.data_parts, found.parity_parts) == (THREE, 1, 2)
    assert [(part.index, part.container, part.size, part.is_healthy) for part in found.parts] == [
        (0, "a", 69, True),
        (1, "b", 69, False),
        (2, "c", 69, True),
    ]
    assert {part.blob for part in found.parts} == {extent.blob.key}


async def test_a_catalog_is_explained_by_its_policy_or_by_the_servers_own(desk: Desk) -> None:
    lab = CatalogName("lab")
    at_home = await desk.explaining().catalog(LOCAL_USER, lab, 0, 1)
    assert [part.container for part in at_home.parts] == ["home"]
    usual = await desk.explaining(Policy(replicas=2)).catalog(LOCAL_USER, lab, 0, 1)
    assert usual.policy == Policy(replicas=2) and len(usual.parts) == 2
    await desk.files.catalogs.update(LOCAL_USER, lab, CatalogDraft(storage_policy=THREE), ["storage_policy"])
    own = await desk.explaining(Policy(replicas=2)).catalog(LOCAL_USER, lab, 0, 1)
    assert own.policy == THREE and len({part.container for part in own.parts}) == 3


def test_the_same_seed_gives_the_same_answer_and_every_container_has_a_reason(desk: Desk) -> None:
    explaining = desk.explaining()
    policy = Policy(data_parts=2, parity_parts=1, exclude=("e",))
    answers = [explaining.policy(policy, 1 << 20, seed) for seed in (1, 1, 2, 3, 4, 5)]
    chosen = [tuple(part.container for part in answer.parts) for answer in answers]
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1
    for answer in answers:
        assert {one.container for one in answer.considered} == {"home", *"abcde"}
        assert all(one.reasons for one in answer.considered)
        assert {one.container for one in answer.considered if one.chosen} == {part.container for part in answer.parts}
        assert all(part.container != "e" for part in answer.parts)


async def test_where_there_is_no_place_it_says_why(desk: Desk) -> None:
    desk.containers.away.update(f"memory:{name}" for name in "abcd")
    await desk.containers.pass_by(25)
    found = desk.explaining().policy(Policy(replicas=4), 100, 1)
    assert isinstance(found.problem, ContainersUnavailable)
    assert found.parts == []
    reasons = {one.container: " ".join(one.reasons) for one in found.considered}
    assert all("down" in reasons[name] for name in "abcd")
    desk.containers.away.clear()
    desk.containers.clock.move(timedelta(seconds=1))
