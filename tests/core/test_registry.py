"""Leases on names: who holds which, until when, and what others learn of it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from tests.core.registry_rooms import SITE, TTL, RegistryRooms, whole

from measurand.core.principal import LOCAL_USER, Principal
from measurand.core.registry.names import RegistrationName
from measurand.wire.errors import (
    FilterInvalid,
    InvalidArgument,
    LeaseHeld,
    LeaseLost,
    NotFound,
    PageTokenInvalid,
    PermissionDenied,
    RequestIdReused,
    TooLarge,
    WriterFenced,
)

OTHER = Principal("users/other")


@pytest.fixture
def rooms() -> RegistryRooms:
    return RegistryRooms()


# ------------------------------------------------------------------------------------------------------------- leases


async def test_what_is_registered_is_found_as_it_was_said(rooms: RegistryRooms) -> None:
    leased = await rooms.register(metadata={"cores": 8}, labels={"site": "north"})
    found = await rooms.get()
    assert found == leased.registration
    assert (found.endpoint, json.loads(found.metadata), found.labels) == ("grpc://a:1", {"cores": 8}, {"site": "north"})
    assert (found.epoch, found.owner, found.expire_time) == (1, "users/local", rooms.clock.time + TTL)


async def test_a_lease_ends_a_second_after_its_time_and_says_when_it_was_last_seen(rooms: RegistryRooms) -> None:
    leased = await rooms.register()
    rooms.move(10)
    await rooms.renew(leased.lease_id)
    rooms.move(30.9)
    assert (await rooms.get()).epoch == 1
    rooms.move(0.1)
    with pytest.raises(NotFound, match="last seen 2026-11-21T12:00:10Z, 31 s ago at grpc://a:1") as caught:
        await rooms.get()
    assert caught.value.details["last_seen"] == "2026-11-21T12:00:10Z"
    assert await rooms.ids() == []
    with pytest.raises(LeaseLost):
        await rooms.renew(leased.lease_id)


async def test_renewing_keeps_etag_and_epoch_and_new_metadata_changes_the_etag(rooms: RegistryRooms) -> None:
    leased = await rooms.register()
    rooms.move(10)
    renewed = await rooms.renew(leased.lease_id)
    assert (renewed.etag, renewed.renew_time) == (leased.registration.etag, rooms.clock.time)
    changed = await rooms.renew(leased.lease_id, metadata={"load": 1}, endpoint="grpc://b:1")
    assert changed.etag != renewed.etag
    assert await rooms.get() == changed
    assert (changed.endpoint, changed.metadata, changed.epoch) == ("grpc://b:1", '{"load":1}', 1)


async def test_while_a_lease_is_alive_nobody_else_gets_the_name(rooms: RegistryRooms) -> None:
    first = await rooms.register()
    with pytest.raises(LeaseHeld) as caught:
        await rooms.register(endpoint="grpc://b:1")
    assert caught.value.details["expire_time"] == "2026-11-21T12:00:30Z"
    rooms.move(31)
    second = await rooms.register(endpoint="grpc://b:1")
    assert second.registration.epoch == 2
    with pytest.raises(LeaseLost):
        await rooms.renew(first.lease_id)
    with pytest.raises(WriterFenced) as fenced:
        await rooms.release(first.lease_id)
    assert fenced.value.details["epoch"] == "2"


async def test_a_new_process_of_the_same_owner_takes_over_at_once(rooms: RegistryRooms) -> None:
    first = await rooms.register()
    second = await rooms.register(endpoint="grpc://b:1", take_over=True)
    assert (second.registration.epoch, (await rooms.get()).endpoint) == (2, "grpc://b:1")
    with pytest.raises(LeaseLost):
        await rooms.renew(first.lease_id)
    assert (await rooms.renew(second.lease_id)).epoch == 2


async def test_what_is_anothers_is_neither_taken_over_nor_released(rooms: RegistryRooms) -> None:
    leased = await rooms.register()
    for take_over, error in ((True, PermissionDenied), (False, LeaseHeld)):
        with pytest.raises(error):
            await rooms.register(principal=OTHER, take_over=take_over)
    for lease_id in ("", leased.lease_id):
        with pytest.raises(PermissionDenied):
            await rooms.leasing.release(OTHER, SITE, lease_id)
    with pytest.raises(PermissionDenied):
        await rooms.leasing.renew(OTHER, SITE, leased.lease_id)
    assert await rooms.get() == leased.registration


async def test_the_same_lease_goes_on_over_a_restart_with_its_epoch(rooms: RegistryRooms) -> None:
    leased = await rooms.register()
    rooms.move(20)
    again = await rooms.register(endpoint="grpc://b:1", lease_id=leased.lease_id, ttl=timedelta(seconds=60))
    assert (again.lease_id, again.registration.epoch, again.registration.endpoint) == (leased.lease_id, 1, "grpc://b:1")
    rooms.move(60.9)
    assert (await rooms.get()).endpoint == "grpc://b:1"
    rooms.move(0.1)
    late = await rooms.register(lease_id=leased.lease_id)
    assert (late.registration.epoch, late.lease_id != leased.lease_id) == (2, True)


async def test_releasing_frees_the_name_and_again_changes_nothing(rooms: RegistryRooms) -> None:
    leased = await rooms.register()
    await rooms.release(leased.lease_id)
    await rooms.release(leased.lease_id)
    with pytest.raises(NotFound, match="last seen"):
        await rooms.get()
    assert (await rooms.register()).registration.epoch == 2
    await rooms.release()  # whoever of ours holds it
    await rooms.release(name=RegistrationName("gateway", "never-there"))
    assert await rooms.ids() == []


async def test_without_a_time_to_live_it_stays_until_released(rooms: RegistryRooms) -> None:
    leased = await rooms.register(ttl=None)
    rooms.move(365 * 86400)
    await rooms.ending.sweep()
    await rooms.ending.forget()
    assert (await rooms.get()).expire_time is None
    assert (await rooms.renew(leased.lease_id)).epoch == 1
    with pytest.raises(LeaseHeld, match="until it is released"):
        await rooms.register()
    timed = await rooms.register(lease_id=leased.lease_id, ttl=TTL)
    assert timed.registration.expire_time == rooms.clock.time + TTL
    await rooms.register(lease_id=leased.lease_id, ttl=None)
    rooms.move(3600)
    assert await rooms.ending.sweep() == 0
    assert (await rooms.get()).epoch == 1


async def test_clocks_a_second_apart_end_no_lease_early(rooms: RegistryRooms) -> None:
    await rooms.register()
    rooms.move(29.9)
    ahead = rooms.beside(seconds_ahead=1.0)
    assert await ahead.ids() == ["site-a"]
    assert await ahead.ending.sweep() == 0


async def test_a_lease_is_renewed_at_any_server(rooms: RegistryRooms) -> None:
    other = rooms.beside()
    leased = await rooms.register()
    for _ in range(3):
        rooms.move(20)
        await rooms.renew(leased.lease_id)
        rooms.move(20)
        await other.renew(leased.lease_id)
    changed = await other.renew(leased.lease_id, metadata={"n": 1})
    assert await rooms.renew(leased.lease_id) == changed
    taken = await other.register(take_over=True)
    with pytest.raises(LeaseLost):
        await rooms.renew(leased.lease_id)
    await rooms.release(taken.lease_id)
    with pytest.raises(LeaseLost):
        await other.renew(taken.lease_id)


async def test_of_many_at_once_one_gets_the_name(rooms: RegistryRooms) -> None:
    servers = [rooms.beside() for _ in range(4)]
    outcomes = await asyncio.gather(
        *(servers[n % 4].register(endpoint=f"grpc://h{n}:1") for n in range(12)), return_exceptions=True
    )
    won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert {type(outcome) for outcome in outcomes} - {type(won[0])} == {LeaseHeld}
    assert (await rooms.get()).endpoint == won[0].registration.endpoint


# ------------------------------------------------------------------------------------------------------------ secrets


async def test_a_repeated_request_is_shown_its_lease_again_and_no_secret_is_stored(rooms: RegistryRooms) -> None:
    request_id = "6f1c7d4e-0d6b-4c7a-9f0e-2b1d7c0a4a11"
    first = await rooms.register(request_id=request_id)
    again = await rooms.beside().register(request_id=request_id)
    assert again == first
    with pytest.raises(RequestIdReused):
        await rooms.register(endpoint="grpc://b:1", request_id=request_id)
    kept = [
        item.document for name in ("registrations", "registration_beats") for item in await rooms.documents.find(name)
    ]
    assert len(kept) == 2
    for document in kept:
        assert first.lease_id not in repr(document)
        assert request_id not in repr(document)
    rooms.move(31)
    anew = await rooms.register(request_id=request_id)
    assert (anew.registration.epoch, anew.lease_id != first.lease_id) == (2, True)


async def test_without_a_request_id_secrets_are_chance(rooms: RegistryRooms) -> None:
    first = await rooms.register()
    second = await rooms.register(RegistrationName("gateway", "site-b"))
    assert first.lease_id != second.lease_id
    assert len(first.lease_id) >= 40
    assert first.lease_id not in repr(await rooms.get())


# ------------------------------------------------------------------------------------------------- what may be said


@pytest.mark.parametrize(
    "endpoint",
    [
        "host:50051",
        "GRPC://host:1",
        "grpc://",
        "grpc://:50051",
        "file:///data",
        "grpc://host:port",
        "grpc://host:99999",
        "grpc://me:secret@host:1",
        "grpc://me@host:1",
        "grpc://ho st:1",
        "grpc://[::1:1",
        "http:/host",
        "grpc://host\\@evil:1",
        "grpc://host/" + "x" * 2000,
    ],
)
async def test_an_endpoint_without_scheme_or_host_or_with_credentials_is_refused(
    rooms: RegistryRooms, endpoint: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rooms.register(endpoint=endpoint)
    assert caught.value.details["field"] == "registration.endpoint"
    assert "secret" not in caught.value.message
    assert await rooms.ids() == []


@pytest.mark.parametrize(
    "endpoint", ["", "grpc://host", "grpcs://[2001:db8::1]:50051", "https://gw.site.org/a?b=c", "s3://bucket/prefix"]
)
async def test_other_urls_are_kept_as_they_are(rooms: RegistryRooms, endpoint: str) -> None:
    assert (await rooms.register(endpoint=endpoint)).registration.endpoint == endpoint


@pytest.mark.parametrize("seconds", [0, 0.5, 86401])
async def test_a_time_to_live_is_a_second_to_a_day(rooms: RegistryRooms, seconds: float) -> None:
    with pytest.raises(InvalidArgument, match=r"registration\.ttl"):
        await rooms.register(ttl=timedelta(seconds=seconds))


async def test_metadata_has_at_most_64_kib(rooms: RegistryRooms) -> None:
    with pytest.raises(TooLarge):
        await rooms.register(metadata={"a": "x" * 65536})
    leased = await rooms.register()
    with pytest.raises(TooLarge):
        await rooms.renew(leased.lease_id, metadata={"a": "x" * 65536})


# ------------------------------------------------------------------------------------------------------------ reading


async def test_they_are_listed_by_name_filtered_and_page_by_page(rooms: RegistryRooms) -> None:
    for number in range(5):
        name = RegistrationName("gateway", f"g{number}")
        await rooms.register(name, labels={"site": "ns"[number % 2]}, metadata={"cores": number})
    await rooms.register(RegistrationName("schema", "run"), endpoint="", ttl=None)
    assert await rooms.ids() == ["g0", "g1", "g2", "g3", "g4"]
    assert await rooms.ids(None) == ["g0", "g1", "g2", "g3", "g4", "run"]
    assert await rooms.ids(filter_text='labels.site = "n" AND metadata.cores > 1') == ["g2", "g4"]
    assert await rooms.ids(None, filter_text='kind = "schema" AND owner = "users/local"') == ["run"]
    page = await rooms.finding.find(LOCAL_USER, "gateway", whole, size=3)
    rest = await rooms.finding.find(LOCAL_USER, "gateway", whole, size=3, page_token=page.next_page_token)
    assert [found.name.id for found in [*page.items, *rest.items]] == ["g0", "g1", "g2", "g3", "g4"]
    assert rest.next_page_token == ""
    with pytest.raises(PageTokenInvalid):
        await rooms.finding.find(LOCAL_USER, "schema", whole, page_token=page.next_page_token)
    with pytest.raises(FilterInvalid):
        await rooms.ids(filter_text="cores >")


async def test_pages_are_cut_by_bytes_and_none_is_left_out(rooms: RegistryRooms) -> None:
    for number in range(7):
        await rooms.register(RegistrationName("gateway", f"g{number}"))
    heavy = rooms.limits.page_bytes // 2 - 1
    found: list[str] = []
    token = ""
    while True:
        page = await rooms.finding.find(LOCAL_USER, "gateway", lambda one, _: (one.name.id, heavy), page_token=token)
        assert len(page.items) <= 2
        found += page.items
        token = page.next_page_token
        if not token:
            break
    assert found == [f"g{number}" for number in range(7)]


async def test_many_are_read_by_name_with_what_is_missing_and_what_did_not_fit(rooms: RegistryRooms) -> None:
    names = [RegistrationName("gateway", f"g{number}") for number in range(500)]
    for name in names[::2]:
        await rooms.register(name)
    batch = await rooms.finding.get_many(LOCAL_USER, "gateway", [str(name) for name in names], whole)
    assert [found.name for found in batch.items] == names[::2]
    assert batch.missing == [str(name) for name in names[1::2]]
    heavy = rooms.limits.page_bytes // 3
    asked = [str(name) for name in names[:8:2]]
    cut = await rooms.finding.get_many(LOCAL_USER, None, asked, lambda one, _: (str(one.name), heavy))
    assert (list(cut.items), list(cut.left_over)) == (asked[:3], asked[3:])
    with pytest.raises(InvalidArgument, match="not of the kind"):
        await rooms.finding.get_many(LOCAL_USER, "schema", [str(names[0])], whole)
