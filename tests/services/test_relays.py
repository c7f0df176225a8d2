"""Appends that one server hands to the one that leads: answered as if it had made them itself, and stored once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from tests.end_to_end.passing import Proxy
from tests.servers import in_process
from tests.services.buffer_calls import LIVE, append, data_of, make, read, record, tail
from tests.services.refusals import refused
from tests.stores import Site

from measurand.core.buffers import leading, relaying
from measurand.core.buffers.heads import Peer
from measurand.core.limits import Limits
from measurand.core.principal import LOCAL_USER, Principal
from measurand.server.config import Address
from measurand.server.listener import Listener, serving
from measurand.server.metrics import Metrics
from measurand.server.peers import Peers
from measurand.server.process import Process
from measurand.services.interceptors import Calls
from measurand.v1 import (
    buffers_pb2,
    buffers_pb2_grpc,
    catalogs_pb2,
    catalogs_pb2_grpc,
    peers_pb2,
    peers_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)

if TYPE_CHECKING:
    from tests.services.buffer_calls import Stub

pytestmark = pytest.mark.stores("fleet")


class Muted(Proxy):
    """Passes on what servers are asked, and keeps to itself what they answer, once it is mute."""

    is_mute = False

    def _pass_down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if not self.is_mute:
                    client.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)


@dataclass
class Servers:
    """Two servers over the same stores: `follower` hands its appends to `leader`, by way of `between`."""

    follower: Stub
    leader: Stub
    follower_process: Process
    leader_process: Process
    between: Muted

    @property
    def relayed(self) -> int:
        """How many calls the leader had from the follower."""
        return calls_of(self.leader_process)


def calls_of(process: Process) -> int:
    """Return how many calls a server had from other servers."""
    lines = re.findall(rb"^measurand_calls_total\{.*RelayAppends.*\} (\d+)", process.metrics.page(), re.MULTILINE)
    return sum(map(int, lines))


@pytest.fixture
def between() -> Iterator[Muted]:
    proxy = Muted()
    yield proxy
    proxy.close()


@pytest.fixture
async def servers(site: Site, between: Muted, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Servers]:
    """Servers of which one has found the head of `live` contended."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    # However slow the machine is, the one goes on to follow, and takes the other for dead only when it hears so.
    monkeypatch.setattr(leading, "REMEMBERED", 1000.0)
    monkeypatch.setattr(relaying, "PATIENCE", 1000.0)
    other = site.beside(site.folder.with_name("other"))
    async with (
        in_process(site.config()) as follower,
        in_process(other.config(advertise=between.address)) as leading_process,
        grpc.aio.insecure_channel(str(follower.address)) as to_follower,
        grpc.aio.insecure_channel(str(leading_process.address)) as to_leader,
    ):
        between.lead_to(str(leading_process.address))
        await catalogs_pb2_grpc.CatalogServiceStub(to_leader).CreateCatalog(
            catalogs_pb2.CreateCatalogRequest(catalog_id="lab")
        )
        stubs = buffers_pb2_grpc.BufferServiceStub(to_follower), buffers_pb2_grpc.BufferServiceStub(to_leader)
        await make(stubs[0])
        for stub in (stubs[1], stubs[0], stubs[1]):  # the follower knows an older head than the leader has written
            await append(stub, b"x")
        yield Servers(*stubs, follower, leading_process, between)
        between.is_mute = False


async def outcome(call: Any) -> Any:
    """Return the answer of a call, or the whole of its status."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        (raw,) = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
        return error.code(), error.details(), MessageToDict(Status.FromString(raw))  # a map has no order in its bytes


async def both(servers: Servers, *records: Any, **more: Any) -> tuple[Any, Any]:
    """Append by the server that hands over, and by the one that makes it itself."""
    before = servers.relayed
    relayed = await outcome(append(servers.follower, *records, **more))
    assert servers.relayed == before + 1
    return relayed, await outcome(append(servers.leader, *records, **more))


async def test_what_is_handed_over_is_answered_as_if_it_were_not(servers: Servers) -> None:
    relayed, made = await both(servers, b"1", b"2")
    assert (relayed.first_sequence, relayed.count, relayed.window) == (4, 2, 1)
    assert (made.first_sequence, made.count) == (6, 2)
    relayed, made = await both(servers, b"3", request_id="again")
    assert relayed == made
    assert relayed.first_sequence == 8
    relayed, made = await both(servers, record(b"4", id="frame"))
    assert relayed == made
    assert data_of(await read(servers.leader)) == [b"x"] * 3 + [b"1", b"2"] * 2 + [b"3", b"4"]
    assert calls_of(servers.follower_process) == 0


async def test_what_is_refused_is_refused_in_the_same_words(servers: Servers) -> None:
    await append(servers.leader, b"1", request_id="used")
    await append(servers.leader, record(b"1", id="used"))
    for records, more in (
        ((), {}),
        ((b"2",), {"request_id": "used"}),
        ((record(b"2", id="used"),), {}),
        ((record(b"2", crc32c=1),), {}),
        ((b"2",), {"request_id": "x" * 100}),
        ((bytes(2 * 1024 * 1024 + 1),), {}),
    ):
        relayed, made = await both(servers, *records, **more)
        assert relayed == made
        assert isinstance(relayed, tuple), more
    await servers.leader.FreezeBuffer(buffers_pb2.FreezeBufferRequest(name=LIVE, force=True))
    relayed, made = await both(servers, b"2")
    assert relayed == made
    assert relayed[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert len(await read(servers.leader)) == 5


@pytest.mark.parametrize("request_id", ["", "mine"])
async def test_an_answer_that_is_lost_on_the_way_is_given_all_the_same(servers: Servers, request_id: str) -> None:
    await append(servers.follower, b"1")
    servers.between.is_mute = True
    asked = asyncio.ensure_future(append(servers.follower, b"2", request_id=request_id))
    await tail(servers.leader, most=5)
    servers.between.cut()
    assert (await asked).first_sequence == 5
    assert (await append(servers.follower, b"3")).first_sequence == 6  # by itself
    assert data_of(await read(servers.leader)) == [b"x"] * 3 + [b"1", b"2", b"3"]
    assert servers.relayed == 2


async def test_appends_go_on_when_the_leader_has_ended(servers: Servers) -> None:
    servers.between.lead_to()
    servers.between.cut()
    answers = await asyncio.gather(*(append(servers.follower, b"%d" % n) for n in range(20)))
    assert sorted(answer.first_sequence for answer in answers) == list(range(4, 24))
    assert servers.relayed == 0


async def test_a_writer_is_not_parted_from_its_numbers(servers: Servers) -> None:
    for number in range(1, 4):
        await append(servers.follower, b"1", writer="w", first_writer_sequence=number)
    assert servers.relayed == 0


async def test_nothing_is_handed_on(servers: Servers) -> None:
    instance = servers.leader_process.instance_id
    await append(servers.follower, b"1")  # which follows
    appends = [buffers_pb2.AppendRequest(name=LIVE, records=[record(b"2")], request_id="r")]
    async with grpc.aio.insecure_channel(str(servers.follower_process.address)) as channel:
        about = await server_pb2_grpc.ServerServiceStub(channel).GetCapabilities(server_pb2.GetCapabilitiesRequest())
        peers = peers_pb2_grpc.PeerServiceStub(channel)
        whom = {"deployment_id": about.deployment_id, "instance_id": servers.follower_process.instance_id}
        code, info, _ = await refused(peers.RelayAppends(peers_pb2.RelayAppendsRequest(**whom, appends=appends)))
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_WRONG")
        for other in ({"instance_id": instance}, {"deployment_id": "a-copy"}):
            request = peers_pb2.RelayAppendsRequest(**{**whom, **other}, appends=appends)
            code, info, _ = await refused(peers.RelayAppends(request))
            assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert len(await read(servers.leader)) == 4
    assert servers.relayed == 1


class Listening(peers_pb2_grpc.PeerServiceServicer):
    async def RelayAppends(self, request: Any, context: Any) -> peers_pb2.RelayAppendsResponse:
        stored = buffers_pb2.AppendResponse(first_sequence=7, count=1, window=1)
        return peers_pb2.RelayAppendsResponse(appends=[peers_pb2.RelayedAppend(stored=stored)])


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[str]]]:
    """Give the address of a server that notes who calls."""
    callers: list[str] = []

    async def resolve(metadata: Sequence[tuple[str, str | bytes]]) -> Principal:
        callers.append(str(dict(metadata).get("authorization")))
        return LOCAL_USER

    calls = Calls(resolve=resolve, recorder=Metrics(), instance_id="i", most_at_once=9, unary_seconds=9.0)
    adder = serving(peers_pb2_grpc.add_PeerServiceServicer_to_server, Listening())
    listener = Listener([("measurand.v1.PeerService", adder)], calls, limits=Limits(), max_streams=9)
    yield str(await listener.start(Address("127.0.0.1", 0))), callers
    await listener.stop(0)


async def test_the_other_server_is_told_who_calls() -> None:
    async with listening() as (address, callers):
        peers = Peers("d")
        request = buffers_pb2.AppendRequest(name=LIVE, records=[record(b"1")])
        (stored,) = await peers(Peer("i", address), (("authorization", "Bearer mst_x"),), [request])
        await peers.close()
    assert getattr(stored, "first", None) == 7
    assert callers == ["Bearer mst_x"]
