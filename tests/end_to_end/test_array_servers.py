"""Two servers over the same stores are one service for arrays, too: nobody's elements are lost."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.end_to_end.pairs import two_servers
from tests.services.array_calls import Writer, append, get, make, name, read, write
from tests.services.refusals import refused
from tests.stores import DURABLE, Site

from measurand.v1 import arrays_pb2

pytestmark = pytest.mark.stores(*DURABLE)

ROUNDS = 20


async def test_writers_of_one_chunk_at_two_servers_never_lose_each_others_elements(site: Site) -> None:
    with two_servers(site) as pair:
        await pair.make_run()
        async with pair.reach() as (first, instance), pair.reach(but=instance) as (second, _):
            await make(first, "x", (2,), chunks=(2,))

            async def fill(stub: object, at: int) -> None:
                for value in range(ROUNDS):
                    await write(stub, "x", (slice(at, at + 1),), np.array([value], "int32"))  # type: ignore[arg-type]

            await asyncio.gather(fill(first, 0), fill(second, 1))
            for stub in (first, second):
                assert (await read(stub, "x")).tolist() == [ROUNDS - 1, ROUNDS - 1]


async def test_rows_appended_at_two_servers_are_all_there_once(site: Site) -> None:
    with two_servers(site) as pair:
        await pair.make_run()
        async with pair.reach() as (first, instance), pair.reach(but=instance) as (second, _):
            await make(first, "x", (0,), chunks=(7,))
            for number in range(ROUNDS):
                stub = (first, second)[number % 2]
                answer = await append(stub, "x", np.full(3, number, "int32"), expected_rows=3 * number)
                assert answer.visible_rows == 3 * number + 3
            expected = np.repeat(np.arange(ROUNDS), 3).tolist()
            for stub in (first, second):
                assert (await read(stub, "x")).tolist() == expected


async def test_what_one_server_shows_the_other_is_woken_by(site: Site) -> None:
    with two_servers(site) as pair:
        await pair.make_run()
        async with pair.reach() as (first, instance), pair.reach(but=instance) as (second, _):
            made = await make(first, "x", (0,), chunks=(2,))
            request = arrays_pb2.PollArrayRequest(name=name("x"), etag=made.etag, wait=Duration(seconds=30))
            waiting = asyncio.ensure_future(second.PollArray(request))
            await append(first, "x", np.ones(2, "int32"))
            assert (await waiting).array.uid == made.uid
            assert (await read(second, "x")).tolist() == [1, 1]


async def test_a_newer_appender_at_the_other_server_fences_the_first(site: Site) -> None:
    with two_servers(site) as pair:
        await pair.make_run()
        async with pair.reach() as (first, instance), pair.reach(but=instance) as (second, _):
            made = await make(first, "x", (0,), chunks=(2,))
            one, two = Writer(first, made, append=True), Writer(second, made, append=True)
            await one.open()
            await one.put(1, (0,), 1, grow_to=2)
            await one.acknowledged(1)
            assert (await two.open()).visible_rows == 2
            await one.put(2, (1,), 9, grow_to=4)
            _, info, _ = await refused(one.drained())
            assert (info.reason, info.metadata["rows"]) == ("WRITER_FENCED", "2")
            await two.put(1, (1,), 2, grow_to=4)
            assert await two.end() == 1
            assert (await read(first, "x")).tolist() == [1, 1, 2, 2]
            assert not (await get(second, "x")).growing
