"""Which containers are up, judged by this process's own running time; how full they are taken to be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.core.container_rooms import ContainerRooms

from measurand.core.containers.documents import CONTAINERS, container_document, container_of
from measurand.core.containers.shortage import shortage
from measurand.core.containers.sites import DOWN_SECONDS, Room
from measurand.core.placement.deciding import decide
from measurand.core.placement.policies import Policy
from measurand.core.principal import LOCAL_USER
from measurand.server.patterns import compile_pattern
from measurand.storage.documents.memory import Memory
from measurand.wire.errors import ContainersUnavailable, NotFound, StoreFull, Unavailable

ON_NAS = Policy(replicas=1, containers=("nas",))


class Interrupted:
    """Documents that cannot be read for a while."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_away = False

    def __getattr__(self, verb: str) -> Any:
        if self.is_away:
            raise Unavailable("the documents do not answer")
        return getattr(self._store, verb)


@pytest.fixture
async def rooms() -> AsyncIterator[ContainerRooms]:
    rooms = ContainerRooms(Interrupted(Memory(compile_pattern)))
    await rooms.containers.ensure_home()
    yield rooms
    await rooms.close()


def states(rooms: ContainerRooms) -> dict[str, str]:
    return {name: rooms.sites.state(name) for name in sorted(rooms.sites.all)}


# --------------------------------------------------------------------------------------------------- up and down


async def test_three_missed_beats_are_down_and_the_next_is_up_again(rooms: ContainerRooms) -> None:
    lease_id = (await rooms.serve("far")).lease_id
    await rooms.pass_by(DOWN_SECONDS)
    assert rooms.sites.state("far") == "active"
    await rooms.pass_by(1)
    assert rooms.sites.state("far") == "down"
    assert rooms.sites.down_seconds("far") == 1
    assert not rooms.is_taking("far") and rooms.sites.is_avoided("far")
    await rooms.beat("far", lease_id)
    await rooms.sites.refresh()
    assert rooms.sites.state("far") == "active"
    assert rooms.sites.down_seconds("far") == 0
    assert rooms.is_taking("far")


async def test_folders_and_buckets_are_looked_at_by_a_server(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    await rooms.pass_by(60)
    assert states(rooms) == {"home": "active", "nas": "active"}
    rooms.away.add("file:///mnt/nas")
    await rooms.pass_by(21)
    assert states(rooms) == {"home": "active", "nas": "down"}
    rooms.away.clear()
    await rooms.pass_by(6)
    assert states(rooms) == {"home": "active", "nas": "active"}


async def test_all_servers_see_the_look_of_one_whatever_their_clocks_say(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    other = rooms.beside(running_for=-500.0)
    await other.sites.refresh()
    for _ in range(8):
        await rooms.pass_by(5)
        await other.pass_by(5, looking=False)
    assert other.sites.state("nas") == "active"
    await other.close()


async def test_while_the_documents_are_away_nobody_is_taken_for_down(rooms: ContainerRooms) -> None:
    lease_id = (await rooms.serve("far")).lease_id
    await rooms.pass_by(4)
    documents: Any = rooms.documents
    documents.is_away = True
    for _ in range(60):
        rooms.clock.move(timedelta(seconds=1))
        with pytest.raises(Unavailable):
            await rooms.sites.refresh()
    documents.is_away = False
    await rooms.sites.refresh()
    assert rooms.sites.state("far") == "active"
    await rooms.pass_by(8)
    assert rooms.sites.state("far") == "active"  # it has as long as ever to beat once they are back
    await rooms.pass_by(8)
    assert rooms.sites.state("far") == "down"
    await rooms.beat("far", lease_id)
    await rooms.sites.refresh()
    assert rooms.sites.state("far") == "active"


async def test_a_server_that_stood_still_takes_nobody_for_down(rooms: ContainerRooms) -> None:
    await rooms.serve("far")
    await rooms.pass_by(4)
    rooms.clock.move(timedelta(hours=8))
    await rooms.sites.refresh()
    assert rooms.sites.state("far") == "active"


async def test_a_server_that_starts_gives_everybody_time_to_beat(rooms: ContainerRooms) -> None:
    await rooms.serve("far")
    rooms.clock.move(timedelta(days=1))
    other = rooms.beside()
    await other.sites.refresh()
    assert other.sites.state("far") == "active"
    await other.pass_by(DOWN_SECONDS + 1, looking=False)
    assert other.sites.state("far") == "down"
    await other.close()


async def test_a_beat_of_an_earlier_registration_counts_for_nothing(rooms: ContainerRooms) -> None:
    added = await rooms.serve("far")
    await rooms.pass_by(3)
    document = await rooms.documents.fetch(CONTAINERS, "containers/far")
    assert document is not None
    renewed = container_document(replace(container_of(document), uid="another"))
    await rooms.documents.replace(CONTAINERS, renewed, expected_revision=document.revision)
    await rooms.sites.refresh()
    site = rooms.sites.all["far"]
    assert (site.container.uid, site.beat) == ("another", None)
    assert added.shown.container.uid != "another"


async def test_one_that_could_not_be_opened_says_why_and_is_tried_again(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    other = rooms.beside()
    other.away.add("file:///mnt/nas")
    await other.sites.refresh()
    assert other.sites.state("nas") == "down"
    with pytest.raises(ContainersUnavailable, match="file:///mnt/nas: it does not answer"):
        other.sites.store("nas")
    other.away.clear()
    await other.pass_by(5, looking=False)
    assert other.sites.state("nas") == "active"
    other.sites.store("nas")
    await other.close()


async def test_a_container_that_moves_is_opened_anew_and_one_that_goes_is_closed(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    assert rooms.opened == 1
    await rooms.pass_by(10)
    assert rooms.opened == 1
    await rooms.add("nas", "file:///mnt/other", rejoin=True)
    assert rooms.opened == 2
    await rooms.containers.remove(LOCAL_USER, "nas")
    with pytest.raises(NotFound):
        rooms.sites.store("nas")


async def test_states_follow_what_operators_say_and_what_it_holds(rooms: ContainerRooms) -> None:
    await rooms.add("nas", is_read_only=True)
    assert rooms.sites.state("nas") == "read_only" and not rooms.is_taking("nas")
    await rooms.place("x", "nas")
    await rooms.upkeep.count()
    await rooms.containers.set_draining(LOCAL_USER, "nas", draining=True)
    assert rooms.sites.state("nas") == "draining"
    await rooms.documents.remove("placements", "x")
    await rooms.upkeep.count()
    await rooms.sites.refresh()
    assert rooms.sites.state("nas") == "drained" and not rooms.is_taking("nas")
    await rooms.containers.set_draining(LOCAL_USER, "nas", draining=False)
    assert rooms.sites.state("nas") == "read_only"


async def test_without_a_home_store_there_is_none_among_the_containers() -> None:
    rooms = ContainerRooms(has_home=False)
    await rooms.sites.refresh()
    assert rooms.sites.is_empty and not rooms.sites.all
    await rooms.close()


async def test_the_home_store_alone_is_no_reason_to_look_for_placements(rooms: ContainerRooms) -> None:
    await rooms.sites.refresh()
    assert rooms.sites.is_empty
    await rooms.add("nas")
    assert not rooms.sites.is_empty


# ------------------------------------------------------------------------------------------------- how full it is


async def test_how_full_one_is_that_was_just_added_is_known_at_once(rooms: ContainerRooms) -> None:
    rooms.rooms["memory:nas"] = Room(1000, 10)
    await rooms.add("nas", max_bytes=500)
    assert rooms.free_of("nas") == 10


async def test_what_a_look_tells_is_what_placement_goes_by_less_what_stays_free(rooms: ContainerRooms) -> None:
    rooms.rooms["memory:nas"] = Room(1000, 800)
    await rooms.add("nas")
    await rooms.pass_by(5)
    assert rooms.free_of("nas") == 750
    await rooms.containers.update(LOCAL_USER, replace(container(rooms, "nas"), max_bytes=900), ["max_bytes"])
    assert rooms.free_of("nas") == 800  # how much stays free is said by the limit


async def test_a_limit_is_kept_within_one_part_between_two_counts(rooms: ContainerRooms) -> None:
    rooms.rooms["memory:nas"] = Room(10**12, 10**12)
    await rooms.add("nas", max_bytes=1000)
    await rooms.pass_by(5)
    written = 0
    while written < 5000 and not decide(ON_NAS, rooms.sites.field, 300, chance=lambda: 0.5).problem:
        with rooms.sites.in_flight("nas", 300):
            pass
        written += 300
        await rooms.sites.refresh()
    assert 700 < written <= 1000


async def test_parts_being_written_at_once_do_not_pass_a_limit_either(rooms: ContainerRooms) -> None:
    rooms.rooms["memory:nas"] = Room(10**12, 10**12)
    await rooms.add("nas", max_bytes=1000)
    await rooms.pass_by(5)
    with rooms.sites.in_flight("nas", 400), rooms.sites.in_flight("nas", 400):
        assert decide(ON_NAS, rooms.sites.field, 300, chance=lambda: 0.5).problem is not None
    with pytest.raises(Unavailable), rooms.sites.in_flight("home", 400):
        raise Unavailable("it was not written")
    home = rooms.sites.field.get("home")
    assert home is not None and home.held_bytes == 0


async def test_what_was_written_is_counted_once(rooms: ContainerRooms) -> None:
    await rooms.add("nas")
    with rooms.sites.in_flight("nas", 100):
        pass
    await rooms.sites.refresh()
    assert held(rooms, "nas") == 100
    await rooms.place("x", "nas")
    rooms.clock.move(timedelta(seconds=1))
    await rooms.upkeep.count()
    await rooms.sites.refresh()
    assert held(rooms, "nas") == 100


async def test_one_that_had_no_room_is_left_out_for_a_while_and_reads_on(rooms: ContainerRooms) -> None:
    await rooms.add("nas")
    await rooms.pass_by(5)
    rooms.sites.note("nas", "write", 0, 0.1, StoreFull("no room"))
    assert not rooms.is_taking("nas")
    assert not rooms.sites.is_avoided("nas")
    assert rooms.sites.state("nas") == "active"
    await rooms.pass_by(31)
    assert rooms.is_taking("nas")


async def test_one_that_fails_is_left_alone_until_it_answers(rooms: ContainerRooms) -> None:
    await rooms.add("nas")
    rooms.sites.note("nas", "read", 0, 0.1, TimeoutError())
    assert rooms.sites.is_avoided("nas") and not rooms.is_taking("nas")
    rooms.sites.note("nas", "read", 1000, 0.1, None)
    assert not rooms.sites.is_avoided("nas") and rooms.is_taking("nas")
    rooms.sites.note("nobody", "read", 1000, 0.1, None)


# --------------------------------------------------------------------------------------------------------- counts


async def test_counts_are_the_sums_over_what_is_placed(rooms: ContainerRooms) -> None:
    for name in ("a", "b", "c"):
        await rooms.add(name)
    await rooms.place("x", "a", "b", size=100)
    await rooms.place("y", "b", "c", size=1000)
    await rooms.place("z", "b", size=10, staged=True)
    await rooms.upkeep.count()
    await rooms.sites.refresh()
    counted = {name: (site.held.parts, site.held.size) for name, site in rooms.sites.all.items()}
    assert counted == {"home": (0, 0), "a": (1, 100), "b": (3, 1110), "c": (1, 1000)}


def held(rooms: ContainerRooms, name: str) -> int:
    candidate = rooms.sites.field.get(name)
    assert candidate is not None
    return candidate.held_bytes


def container(rooms: ContainerRooms, name: str) -> Any:
    return rooms.sites.all[name].container


# ---------------------------------------------------------------------------------------------------- are they enough


async def test_too_few_that_can_be_reached_are_a_shortage() -> None:
    rooms = ContainerRooms(has_home=False)
    assert shortage(rooms.sites, Policy(losses=2)) == "0 of 0 containers can be reached, and losses:2 needs 3"
    for name in "abc":
        await rooms.add(name, is_read_only=name == "a")
    needs = {1: Policy(replicas=1), 3: Policy(), 4: Policy(data_parts=2, parity_parts=2)}
    assert [shortage(rooms.sites, policy) == "" for policy in needs.values()] == [True, True, False]
    assert shortage(rooms.sites, Policy(placement="saturation")) == ""
    rooms.away.add("memory:a")
    await rooms.pass_by(21)
    assert shortage(rooms.sites, needs[3]) == "2 of 3 containers can be reached, and losses:2 needs 3"
    rooms.away.clear()
    await rooms.pass_by(6)
    assert shortage(rooms.sites, needs[3]) == ""
    await rooms.close()
