"""The registry service over a real channel: statuses with their details, secrets, watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from tests.stores import EVERY

from measurand.v1 import common_pb2, registry_pb2_grpc
from measurand.v1 import registry_pb2 as pb

from .refusals import refused

if TYPE_CHECKING:
    Stub = registry_pb2_grpc.RegistryServiceAsyncStub

pytestmark = pytest.mark.stores(*EVERY)

SITE = "registry/gateway/registrations/site-a"


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return registry_pb2_grpc.RegistryServiceStub(channel)


async def register(stub: Stub, name: str = SITE, *, seconds: int | None = 30, **more: Any) -> pb.RegisterResponse:
    registration = pb.Registration(name=name, endpoint="grpc://a:1", labels={"site": "n"})
    registration.metadata.fields.update({"cores": 8})
    if seconds is not None:
        registration.ttl.FromSeconds(seconds)
    return await stub.Register(pb.RegisterRequest(registration=registration, **more))


async def test_an_entry_goes_there_and_back(stub: Stub) -> None:
    made = await register(stub, request_id="r1")
    fields = Struct()
    fields.update({"cores": 8})
    assert made.registration.metadata == common_pb2.Document(fields=fields)
    assert (made.registration.epoch, made.registration.owner, made.registration.ttl.seconds) == (1, "users/local", 30)
    assert 0 < made.registration.time_left.ToSeconds() <= 30
    assert (await register(stub, request_id="r1")).lease_id == made.lease_id
    request = pb.GetRegistrationRequest(name=SITE, document_form=common_pb2.DOCUMENT_FORM_JSON)
    read = await stub.GetRegistration(request)
    assert (read.metadata.json, read.etag, dict(read.labels)) == ('{"cores":8}', made.registration.etag, {"site": "n"})
    page = await stub.ListRegistrations(pb.ListRegistrationsRequest(parent="registry/-"))
    batch = await stub.BatchGetRegistrations(
        pb.BatchGetRegistrationsRequest(parent="registry/gateway", names=[SITE, f"{SITE}-b"])
    )
    assert [one.name for one in page.registrations] == [one.name for one in batch.registrations] == [SITE]
    assert list(batch.missing) == [f"{SITE}-b"]
    for answer in (read, page, batch):
        assert made.lease_id not in str(answer)


async def test_a_lease_is_renewed_changed_and_released(stub: Stub) -> None:
    made = await register(stub)
    renewed = await stub.RenewRegistration(pb.RenewRegistrationRequest(name=SITE, lease_id=made.lease_id))
    assert (renewed.etag, renewed.renew_time.ToNanoseconds() >= made.registration.renew_time.ToNanoseconds()) == (
        made.registration.etag,
        True,
    )
    request = pb.RenewRegistrationRequest(
        name=SITE, lease_id=made.lease_id, metadata=common_pb2.Document(json='{"a":1}')
    )
    assert (await stub.RenewRegistration(request)).etag != renewed.etag
    for _ in range(2):
        await stub.ReleaseRegistration(pb.ReleaseRegistrationRequest(name=SITE, lease_id=made.lease_id))
    code, info, _ = await refused(stub.GetRegistration(pb.GetRegistrationRequest(name=SITE)))
    assert (code, info.reason, "last_seen" in info.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", True)
    code, info, _ = await refused(stub.RenewRegistration(request))
    assert (code, info.reason, dict(info.metadata)) == (grpc.StatusCode.NOT_FOUND, "LEASE_LOST", {"resource": SITE})


async def test_refusals_carry_their_reason_and_facts(stub: Stub) -> None:
    await register(stub)
    bad = pb.Registration(name=SITE, endpoint="grpc://me:pw@host:1")
    long = pb.Registration(name=SITE, ttl=Duration(seconds=90_000))
    cases: list[tuple[Any, grpc.StatusCode, str, str]] = [
        (register(stub), grpc.StatusCode.ALREADY_EXISTS, "LEASE_HELD", ""),
        (register(stub, "registry/gateway"), grpc.StatusCode.INVALID_ARGUMENT, "NAME_INVALID", "registration.name"),
        (
            stub.Register(pb.RegisterRequest(registration=bad)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            "registration.endpoint",
        ),
        (
            stub.Register(pb.RegisterRequest(registration=long)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            "registration.ttl",
        ),
        (
            stub.ReleaseRegistration(pb.ReleaseRegistrationRequest(name=SITE, lease_id="guessed")),
            grpc.StatusCode.ABORTED,
            "WRITER_FENCED",
            "",
        ),
        (
            stub.ListRegistrations(pb.ListRegistrationsRequest(parent="catalogs/lab")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "NAME_INVALID",
            "parent",
        ),
    ]
    for call, code, reason, field in cases:
        found, info, fault = await refused(call)
        assert (found, info.reason, fault) == (code, reason, field)
    _, info, _ = await refused(register(stub))
    assert info.metadata.keys() == {"resource", "owner", "epoch", "expire_time"}


async def test_what_is_over_is_told_to_who_watches(stub: Stub) -> None:
    """Ended by the server's own work in the background, with nobody asking for it."""
    poll = await stub.PollRegistrations(pb.PollRegistrationsRequest(parent="registry/gateway"))
    await register(stub, seconds=1)
    watch = stub.WatchRegistrations(
        pb.WatchRegistrationsRequest(parent="registry/gateway", resume_token=poll.resume_token)
    )
    seen = [await watch.read() for _ in range(2)]
    watch.cancel()
    told = [(change.kind, change.registration.epoch) for change in seen if isinstance(change, pb.RegistrationChange)]
    assert told == [(common_pb2.CHANGE_KIND_CREATED, 1), (common_pb2.CHANGE_KIND_DELETED, 1)]
    polled = await stub.PollRegistrations(
        pb.PollRegistrationsRequest(parent="registry/gateway", resume_token=poll.resume_token)
    )
    assert polled.changes[-1].kind == common_pb2.CHANGE_KIND_DELETED
    assert (await register(stub)).registration.epoch == 2


async def test_all_who_watch_see_all_in_the_same_order(stub: Stub) -> None:
    poll = await stub.PollRegistrations(pb.PollRegistrationsRequest(parent="registry/gateway"))
    names = [f"registry/gateway/registrations/g{number:03}" for number in range(20)]

    async def all_of() -> list[str]:
        request = pb.WatchRegistrationsRequest(parent="registry/gateway", resume_token=poll.resume_token)
        call = stub.WatchRegistrations(request)
        seen: list[str] = []
        while len(seen) < len(names):
            change = await call.read()
            assert isinstance(change, pb.RegistrationChange)
            seen.append(change.registration.name)
        call.cancel()
        return seen

    watching = [asyncio.create_task(all_of()) for _ in range(10)]
    for name in names:
        await register(stub, name)
    for seen in await asyncio.gather(*watching):
        assert seen == names
