"""Containers: added, taken up again, changed, taken out; who may, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.core.container_rooms import EPOCH, ContainerRooms

from measurand.core.containers.containers import EDITABLE
from measurand.core.containers.documents import CONTAINERS, Container, container_document
from measurand.core.containers.drafts import kind_of
from measurand.core.principal import LOCAL_USER
from measurand.wire.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    FilterInvalid,
    InvalidArgument,
    LeaseHeld,
    LeaseLost,
    NameInvalid,
    NotFound,
    ResourceInUse,
    Unavailable,
)


@pytest.fixture
async def rooms() -> AsyncIterator[ContainerRooms]:
    rooms = ContainerRooms()
    await rooms.containers.ensure_home()
    await rooms.sites.refresh()
    yield rooms
    await rooms.close()


# --------------------------------------------------------------------------------------------------------- coming


async def test_what_is_added_is_probed_first_and_is_active_at_once(rooms: ContainerRooms) -> None:
    added = await rooms.add("nas", zone="north", labels={"disk": "ssd"}, title="a NAS", weight=2.0, max_bytes=10)
    assert rooms.probed == ["nas"]
    assert (added.shown.state, added.lease_id) == ("active", "")
    found = (await rooms.containers.get(LOCAL_USER, "nas")).container
    assert (found.zone, found.labels, found.title, found.weight, found.max_bytes) == (
        "north",
        {"disk": "ssd"},
        "a NAS",
        2.0,
        10,
    )
    assert (found.kind, found.create_time) == ("memory", rooms.clock.time)


async def test_a_weight_that_is_not_said_is_1(rooms: ContainerRooms) -> None:
    assert (await rooms.add("nas", weight=0.0)).shown.container.weight == 1.0


async def test_what_cannot_be_reached_is_not_added(rooms: ContainerRooms) -> None:
    rooms.away.add("s3://bucket")
    with pytest.raises(Unavailable):
        await rooms.add("ceph", "s3://bucket")
    assert await ids(rooms) == ["home"]


async def test_a_name_is_given_once_and_a_repeat_of_the_same_request_is_harmless(rooms: ContainerRooms) -> None:
    first = await rooms.serve("far", request_id="r1")
    again = await rooms.serve("far", request_id="r1")
    assert again.shown.container == first.shown.container
    assert again.lease_id == first.lease_id
    with pytest.raises(AlreadyExists, match="rejoin"):
        await rooms.serve("far", request_id="r2")


async def test_of_many_who_add_one_name_at_once_one_does(rooms: ContainerRooms) -> None:
    tries = [rooms.add("nas", f"memory:{number}") for number in range(8)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in outcomes) == 1
    assert all(isinstance(one, AlreadyExists) for one in outcomes if isinstance(one, BaseException))


async def test_one_place_is_one_container(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    with pytest.raises(AlreadyExists, match="containers/nas is at file:///mnt/nas"):
        await rooms.add("nas-again", "file:///mnt/nas")


async def test_the_name_of_the_home_store_is_taken(rooms: ContainerRooms) -> None:
    with pytest.raises(AlreadyExists, match="another name"):
        await rooms.add("home")
    with pytest.raises(NameInvalid):
        await rooms.add("Not/A/Name")


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("file:///mnt/nas", "directory"),
        ("s3://bucket/prefix?endpoint=http://ceph:8000", "s3"),
        ("s3://user@bucket", "s3"),
        ("grpc://beamline:50061", "remote"),
        ("memory:", "memory"),
    ],
)
def test_a_uri_says_what_sort_of_place_it_is(uri: str, kind: str) -> None:
    assert kind_of(uri) == kind


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/mnt/nas",
        "ftp://host/x",
        "file://host/mnt",
        "file:///",
        "file:mnt",
        "s3:///prefix",
        "grpc://host",
        "grpc://:50061",
        "grpc://host:port",
        "grpc://host:99999",
        "http://host:1",
        "file://[",
    ],
)
def test_a_uri_that_names_no_place_is_refused_with_the_forms(uri: str) -> None:
    with pytest.raises(InvalidArgument, match=r"write (file:///FOLDER|.*grpc://HOST:PORT)") as caught:
        kind_of(uri)
    assert caught.value.details["field"] == "container.uri"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://user:hunter2@bucket/prefix",
        "grpc://user@host:1",
        "s3://bucket?endpoint=http://h:1&secret_key=hunter2",
        "s3://bucket?PassWord=hunter2",
        "s3://bucket?session_token=hunter2",
    ],
)
async def test_a_uri_with_a_secret_is_refused_and_the_secret_is_not_repeated(rooms: ContainerRooms, uri: str) -> None:
    with pytest.raises(InvalidArgument, match="secrets") as caught:
        await rooms.add("nas", uri)
    assert "hunter2" not in f"{caught.value} {caught.value.details}"
    assert rooms.probed == []


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"annual_failure_rate": 1.5}, "annual_failure_rate"),
        ({"write_bandwidth": float("inf")}, "write_bandwidth"),
        ({"title": "x" * 1001}, "title"),
        ({"zone": "x" * 101}, "zone"),
        ({"uri": "file:///" + "x" * 2000}, "uri"),
        ({"labels": {"Not A Key": "x"}}, "labels"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_by_name(
    rooms: ContainerRooms, said: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rooms.add("nas", **said)
    assert str(caught.value.details["field"]).startswith(f"container.{field}")
    assert rooms.probed == []


# ------------------------------------------------------------------------------------------------- coming back


async def test_one_that_comes_back_keeps_what_it_holds_and_what_was_said_of_it(rooms: ContainerRooms) -> None:
    first = await rooms.add("nas", "file:///mnt/nas", zone="north", labels={"disk": "ssd"}, weight=2.0)
    back = (await rooms.add("nas", "file:///mnt/nas2", rejoin=True)).shown.container
    assert (back.uid, back.uri) == (first.shown.container.uid, "file:///mnt/nas2")
    assert (back.zone, back.labels, back.weight) == ("north", {"disk": "ssd"}, 2.0)
    assert back.etag != first.shown.container.etag


async def test_one_that_comes_back_as_another_kind_is_refused(rooms: ContainerRooms) -> None:
    await rooms.add("nas", "file:///mnt/nas")
    with pytest.raises(AlreadyExists, match="directory container and not s3"):
        await rooms.add("nas", "s3://bucket", rejoin=True)


async def test_a_process_takes_up_its_container_with_the_secret_that_it_has(rooms: ContainerRooms) -> None:
    first = await rooms.serve("far")
    assert first.lease_id and first.lease_id not in str(container_document(first.shown.container))
    again = await rooms.serve("far", lease_id=first.lease_id)
    assert (again.lease_id, again.shown.container.uid) == (first.lease_id, first.shown.container.uid)


async def test_another_process_gets_it_only_when_the_first_is_down(rooms: ContainerRooms) -> None:
    first = await rooms.serve("far")
    for lease_id in ("", "guessed"):
        with pytest.raises(LeaseHeld):
            await rooms.serve("far", rejoin=True, lease_id=lease_id)
    assert await rooms.beat("far", first.lease_id) == "active"
    await rooms.pass_by(30)
    taken = await rooms.serve("far", rejoin=True)
    assert taken.lease_id not in ("", first.lease_id)
    with pytest.raises(LeaseLost):
        await rooms.beat("far", first.lease_id)
    assert await rooms.beat("far", taken.lease_id) == "active"


async def test_beats_need_the_secret_and_do_not_touch_the_etag(rooms: ContainerRooms) -> None:
    first = await rooms.serve("far")
    for lease_id in ("", "guessed"):
        with pytest.raises(LeaseLost, match="register again"):
            await rooms.beat("far", lease_id)
    with pytest.raises(LeaseLost):
        await rooms.beat("nobody", first.lease_id)
    await rooms.beat("far", first.lease_id, capacity_bytes=500, free_bytes=300)
    await rooms.sites.refresh()
    shown = await rooms.containers.get(LOCAL_USER, "far")
    assert shown.container.etag == first.shown.container.etag
    assert shown.site is not None and shown.site.beat is not None
    assert (shown.site.beat.capacity_bytes, shown.site.beat.free_bytes) == (500, 300)


async def test_a_container_without_a_process_of_its_own_takes_no_beats(rooms: ContainerRooms) -> None:
    await rooms.add("nas")
    with pytest.raises(LeaseLost):
        await rooms.beat("nas", "")


async def test_a_beat_is_told_what_the_container_is_to_be(rooms: ContainerRooms) -> None:
    lease_id = (await rooms.serve("far")).lease_id
    await rooms.containers.set_draining(LOCAL_USER, "far", draining=True)
    assert await rooms.beat("far", lease_id) == "draining"
    await rooms.containers.set_draining(LOCAL_USER, "far", draining=False)
    await rooms.containers.update(LOCAL_USER, draft("far", is_read_only=True), ["read_only"])
    assert await rooms.beat("far", lease_id) == "read_only"


# ------------------------------------------------------------------------------------------------------ changing


def draft(name: str, **said: object) -> Container:
    return replace(Container(name, "", "home", "", EPOCH), **said)  # type: ignore[arg-type]  # fields by name


async def test_what_is_named_is_replaced_and_nothing_else(rooms: ContainerRooms) -> None:
    before = (await rooms.add("nas", zone="north", title="old")).shown.container
    wanted = draft("nas", title="new", zone="south", weight=3.0)
    after = (await rooms.containers.update(LOCAL_USER, wanted, ["title", "weight"])).container
    assert (after.title, after.zone, after.weight, after.uri) == ("new", "north", 3.0, before.uri)
    assert after.etag != before.etag
    same = await rooms.containers.update(LOCAL_USER, wanted, ["title"], etag=after.etag)
    assert same.container.etag == after.etag


async def test_a_change_on_an_old_etag_is_refused_with_the_new_one(rooms: ContainerRooms) -> None:
    old = (await rooms.add("nas")).shown.container.etag
    new = (await rooms.containers.update(LOCAL_USER, draft("nas", title="a"), ["title"])).container.etag
    with pytest.raises(Conflict) as caught:
        await rooms.containers.update(LOCAL_USER, draft("nas", title="b"), ["title"], etag=old)
    assert caught.value.details["etag"] == new
    assert (await rooms.containers.get(LOCAL_USER, "nas")).container.title == "a"


@pytest.mark.parametrize("field", ["uri", "kind", "name", "state", "uid", "lease_digest", "is_draining"])
async def test_what_is_not_to_be_replaced_is_refused_by_name(rooms: ContainerRooms, field: str) -> None:
    await rooms.add("nas")
    with pytest.raises(InvalidArgument, match=", ".join(EDITABLE)):
        await rooms.containers.update(LOCAL_USER, draft("nas"), [field])


async def test_changes_at_once_are_all_made(rooms: ContainerRooms) -> None:
    await rooms.add("nas")
    wanted = draft("nas", title="t", zone="z", labels={"a": "b"}, max_bytes=9)
    await asyncio.gather(
        *(rooms.containers.update(LOCAL_USER, wanted, [field]) for field in ("title", "zone", "labels", "max_bytes"))
    )
    found = (await rooms.containers.get(LOCAL_USER, "nas")).container
    assert (found.title, found.zone, found.labels, found.max_bytes) == ("t", "z", {"a": "b"}, 9)


# -------------------------------------------------------------------------------------------------------- leaving


async def test_one_that_holds_parts_stays_unless_it_is_forced_out(rooms: ContainerRooms) -> None:
    await rooms.add("a")
    await rooms.add("b")
    await rooms.place("x", "a")
    with pytest.raises(ResourceInUse, match="drain it first"):
        await rooms.containers.remove(LOCAL_USER, "a")
    await rooms.containers.remove(LOCAL_USER, "b")
    assert await ids(rooms) == ["a", "home"]
    await rooms.containers.remove(LOCAL_USER, "a", force=True)
    assert await ids(rooms) == ["home"]
    with pytest.raises(NotFound):
        await rooms.containers.remove(LOCAL_USER, "a")
    with pytest.raises(NotFound):
        rooms.sites.store("a")


async def test_the_home_store_stays(rooms: ContainerRooms) -> None:
    with pytest.raises(FailedPrecondition):
        await rooms.containers.remove(LOCAL_USER, "home", force=True)
    await rooms.containers.ensure_home()
    assert await ids(rooms) == ["home"]


async def test_one_that_is_added_again_is_another_and_has_to_be_said_anew(rooms: ContainerRooms) -> None:
    first = await rooms.serve("far")
    await rooms.containers.remove(LOCAL_USER, "far")
    second = await rooms.serve("far")
    assert second.shown.container.uid != first.shown.container.uid
    with pytest.raises(LeaseLost):
        await rooms.beat("far", first.lease_id)


# -------------------------------------------------------------------------------------------------------- finding


async def test_they_are_found_by_what_was_said_of_them_page_by_page(rooms: ContainerRooms) -> None:
    for number in range(5):
        await rooms.add(f"c{number}", zone="north" if number % 2 else "south", labels={"disk": f"d{number}"})
    assert await ids(rooms, 'zone = "north"') == ["c1", "c3"]
    assert await ids(rooms, 'labels.disk = "d4"') == ["c4"]
    assert await ids(rooms, 'kind = "home"') == ["home"]
    assert await ids(rooms, "", size=2) == ["c0", "c1", "c2", "c3", "c4", "home"]
    with pytest.raises(FilterInvalid):
        await ids(rooms, "zone ==")


async def ids(rooms: ContainerRooms, filter_text: str = "", *, size: int = 0) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page, token = await rooms.containers.page(LOCAL_USER, size=size, page_token=token, filter_text=filter_text)
        found += [one.container.id for one in page]
        if not token:
            return found


async def test_documents_come_back_as_they_were(rooms: ContainerRooms) -> None:
    await rooms.serve("far", zone="z", labels={"a": "b"})
    document = await rooms.documents.fetch(CONTAINERS, "containers/far")
    assert document is not None and "far:50061" in str(document.body)
