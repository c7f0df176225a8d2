"""Names that are held, found and followed; what is found is remembered; servers that are reached by their names."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.end_to_end.passing import proxy

from measurand.client import AsyncClient, Registration
from measurand.client._async.resolving import AsyncResolver
from measurand.client._transport import aio
from measurand.client.errors import InvalidArgument, LeaseHeld, LeaseLost, NameInvalid, NotFound, Unavailable
from measurand.v1 import registry_pb2


@pytest.fixture
def kind() -> str:
    """A kind of the test's own."""
    return f"gateway-{uuid.uuid4()}"


async def current(client: AsyncClient, kind: str, name: str = "site-a") -> Registration | None:
    try:
        return await client.registry.get(kind, name)
    except NotFound:
        return None


# -------------------------------------------------------------------------------------------------------- held names


async def test_a_name_is_held_for_the_block_and_then_free(client: AsyncClient, kind: str) -> None:
    registry = client.registry
    lease = registry.register(
        kind, "site-a", "grpc://a:1", metadata={"cores": 8}, labels={"site": "n"}, other_endpoints=["grpc://10.0.0.1:1"]
    )
    async with lease:
        found = await registry.get(kind, "site-a")
        assert (found.endpoint, found.metadata, found.labels) == ("grpc://a:1", {"cores": 8}, {"site": "n"})
        assert found.endpoints == ("grpc://a:1", "grpc://10.0.0.1:1")
        assert (found.kind, found.name, found.ttl, found.epoch) == (kind, "site-a", 30.0, lease.epoch)
        assert found.time_left is not None and 0 < found.time_left <= 30
        with pytest.raises(LeaseHeld):
            async with registry.register(kind, "site-a"):
                pass
        updated = await lease.update(metadata={"cores": 4}, endpoint="grpc://b:1")
        assert updated == lease.registration
        assert await registry.list(kind, filter="metadata.cores = 4") == [updated]
        assert lease.lease_id not in repr(lease)
    assert not lease.is_held
    with pytest.raises(NotFound, match="last seen"):
        await registry.get(kind, "site-a")
    with pytest.raises(LeaseLost):
        await lease.update(metadata={})


async def test_it_is_renewed_by_itself(client: AsyncClient, kind: str) -> None:
    async with client.registry.register(kind, "site-a", ttl=1) as lease:
        begun = lease.registration.renewed
        while lease.registration.renewed == begun:
            await aio.sleep(0.02)
        found = await current(client, kind)
        assert found is not None and found.epoch == lease.epoch == 1
        assert lease.failure is None


async def test_what_was_lost_is_taken_anew_with_the_newest_words(client: AsyncClient, kind: str) -> None:
    async with client.registry.register(kind, "site-a", "grpc://a:1", ttl=1) as lease:
        await lease.update(metadata={"n": 2})
        await client.registry.release(kind, "site-a")  # as a server would that was away for too long
        while lease.epoch == 1:
            await aio.sleep(0.02)
        found = await current(client, kind)
        assert found is not None
        assert (found.epoch, found.metadata, lease.is_held) == (2, {"n": 2}, True)


async def test_who_is_taken_over_learns_of_it_and_leaves_the_other_alone(client: AsyncClient, kind: str) -> None:
    async with client.registry.register(kind, "site-a", "grpc://old:1", ttl=1) as old:
        async with client.registry.register(kind, "site-a", "grpc://new:1", take_over=True) as new:
            while old.is_held:
                await aio.sleep(0.02)
            assert isinstance(old.failure, LeaseHeld)
            assert (await client.registry.get(kind, "site-a")).endpoint == "grpc://new:1"
            assert new.epoch == 2
            async with client.registry.register(kind, "site-b", "grpc://b:1"):
                pass
        assert await current(client, kind) is None


async def test_an_entry_without_end_stays_until_it_is_released(client: AsyncClient, kind: str) -> None:
    made = await client.registry.put(kind, "m", metadata={"type": "object"})
    assert (made.ttl, made.expires, made.time_left) == (None, None, None)
    again = await client.registry.put(kind, "m", metadata={"type": "array"})
    assert (again.epoch, (await client.registry.get(kind, "m")).metadata) == (2, {"type": "array"})
    async with client.registry.register(kind, "n", ttl=None):
        assert [found.name for found in await client.registry.list(kind)] == ["m", "n"]
    await client.registry.release(kind, "m")
    await client.registry.release(kind, "m")
    assert await client.registry.list(kind) == []


async def test_many_are_read_in_one_go(client: AsyncClient, kind: str) -> None:
    for number in range(3):
        await client.registry.put(kind, f"g{number}", f"grpc://h{number}:1")
    found = await client.registry.get_many(kind, [f"g{number}" for number in range(1500)])
    assert {name: one.endpoint for name, one in found.items()} == {f"g{n}": f"grpc://h{n}:1" for n in range(3)}


async def test_mistakes_are_named_before_anything_is_registered(client: AsyncClient, kind: str) -> None:
    with pytest.raises(NameInvalid):
        client.registry.register("a/b", "c")
    with pytest.raises(InvalidArgument, match="password"):
        await client.registry.put(kind, "x", "grpc://me:secret@host:1")
    with pytest.raises(InvalidArgument, match="ttl"):
        async with client.registry.register(kind, "x", ttl=0.5):
            pass
    assert await client.registry.list(kind) == []


async def test_a_watch_tells_of_comings_and_goings(client: AsyncClient, kind: str) -> None:
    await client.registry.put(kind, "a", "grpc://a:1")
    changes = await client.registry.watch(kind, include_existing=True)
    seen = [await anext(changes)]
    await client.registry.put(kind, "b", "grpc://b:1")
    await client.registry.release(kind, "a")
    seen += [await anext(changes) for _ in range(2)]
    await changes.aclose()
    assert [(change.kind, change.registration.name) for change in seen] == [
        ("existing", "a"),
        ("created", "b"),
        ("deleted", "a"),
    ]
    later = await client.registry.watch(kind, resume=seen[1].resume_token)
    change = await anext(later)
    await later.aclose()
    assert (change.kind, change.registration.endpoint) == ("deleted", "grpc://a:1")


# --------------------------------------------------------------------------------------------------- what is remembered


class Registry:
    """Answers as a server would, or not at all, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: registry_pb2.Registration | Exception = Unavailable("away", transport="1")

    async def unary(self, *_: Any, **__: Any) -> registry_pb2.Registration:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def put(self, endpoint: str, seconds: int | None = 30) -> None:
        message = registry_pb2.Registration(name="registry/gateway/registrations/a", endpoint=endpoint)
        if seconds is not None:
            message.time_left.FromSeconds(seconds)
        self.answer = message


class Remembering:
    """A resolver whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registry = Registry()
        self.resolver = AsyncResolver(self.registry, lambda: self.now)  # type: ignore[arg-type]

    async def endpoint(self, *, anew: bool = False) -> str:
        return (await self.resolver.resolve("gateway", "a", anew=anew)).endpoint


async def test_a_finding_is_remembered_for_what_it_has_to_live_and_a_minute_at_most() -> None:
    for seconds, longest in ((30, 30.0), (3600, 60.0), (None, 60.0)):
        known = Remembering()
        known.registry.put("grpc://a:1", seconds)
        for _ in range(10_000):
            assert await known.endpoint() == "grpc://a:1"
        known.now += longest - 0.1
        await known.endpoint()
        assert known.registry.asked == 1
        known.now += 0.1
        await known.endpoint()
        assert known.registry.asked == 2


async def test_a_miss_is_remembered_for_five_seconds() -> None:
    known = Remembering()
    known.registry.answer = NotFound("nothing")
    for _ in range(100):
        with pytest.raises(NotFound):
            await known.endpoint()
    known.now += 4.9
    with pytest.raises(NotFound):
        await known.endpoint(anew=False)
    assert known.registry.asked == 1
    known.now += 0.1
    known.registry.put("grpc://a:1")
    assert await known.endpoint() == "grpc://a:1"


async def test_while_the_registry_is_away_what_was_found_before_goes_on_to_be_found() -> None:
    known = Remembering()
    with pytest.raises(Unavailable):
        await known.endpoint()
    known.registry.put("grpc://a:1")
    await known.endpoint()
    known.registry.answer = Unavailable("away", transport="1")
    for _ in range(100):
        known.now += 60
        assert await known.endpoint() == "grpc://a:1"
    asked = known.registry.asked
    known.now += 1
    await known.endpoint()
    assert known.registry.asked == asked, "a registry that is away is asked every five seconds only"
    known.registry.answer = NotFound("gone")
    known.now += 5
    with pytest.raises(NotFound):
        await known.endpoint()


async def test_what_has_turned_out_wrong_is_asked_for_anew_but_not_endlessly() -> None:
    known = Remembering()
    known.registry.put("grpc://a:1")
    await known.endpoint()
    known.now += 1
    known.registry.put("grpc://b:1")
    assert [await known.endpoint(anew=True) for _ in range(3)] == ["grpc://b:1"] * 3
    assert known.registry.asked == 2


async def test_the_registry_is_asked_once_for_many_lookups(client: AsyncClient, kind: str) -> None:
    await client.registry.put(kind, "a", "grpc://a:1")
    assert (await client.registry.resolve(kind, "a")).endpoint == "grpc://a:1"
    await client.registry.put(kind, "a", "grpc://b:1")
    assert (await client.registry.resolve(kind, "a")).endpoint == "grpc://a:1"
    assert (await client.registry.get(kind, "a")).endpoint == "grpc://b:1"


# ----------------------------------------------------------------------------------------------- servers by their names


async def test_a_server_is_reached_by_its_name_and_where_it_has_moved(
    client: AsyncClient, kind: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEASURAND_URL", address)
    with proxy() as passing:
        passing.lead_to(address)
        await client.registry.put(kind, "main", f"grpc://{passing.address}")
        async with AsyncClient(f"measurand://{kind}/main") as found:
            lab = await found.create_catalog(f"lab-{uuid.uuid4()}")
            run = await lab.create("run")
            await run.write_bytes("a", b"1")
            await client.registry.put(kind, "main", f"grpc://{address}")
            passing.close()
            assert await run.read_bytes("a") == b"1"
            assert f"measurand://{kind}/main" in repr(found)


async def test_another_way_is_tried_where_the_first_leads_nowhere(
    client: AsyncClient, kind: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEASURAND_URL", address)
    with proxy() as passing:
        nowhere = passing.address
    await client.registry.put(kind, "main", f"grpc://{nowhere}", other_endpoints=[f"grpc://{address}"])
    async with AsyncClient(f"measurand://{kind}/main") as found:
        assert await found.server() == {**await client.server(), "address": f"measurand://{kind}/main"}


async def test_a_name_that_leads_to_no_server_says_so(
    client: AsyncClient, kind: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEASURAND_URL", address)
    await client.registry.put(kind, "web", "https://a:1")
    for name, error in (("nobody", NotFound), ("web", InvalidArgument)):
        async with AsyncClient(f"measurand://{kind}/{name}") as found:
            with pytest.raises(error):
                await found.server()
    with pytest.raises(InvalidArgument, match="measurand://gateway/site-a"):
        AsyncClient(f"measurand://{kind}")
