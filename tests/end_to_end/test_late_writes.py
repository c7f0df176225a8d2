"""A6: a server stops in the middle of a chunk, another writer goes on through another server, and the first wakes up.

What the second had acknowledged stays, whatever the first was about to do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from tests.end_to_end.pairs import Pair, two_servers
from tests.end_to_end.passing import proxy
from tests.end_to_end.serving import until
from tests.end_to_end.stalling import MOMENTS, mark
from tests.services.array_calls import Writer, append, chunks, make, read
from tests.services.refusals import refused
from tests.stores import DURABLE, Site

ROWS = 1_000_000
"""Rows of a chunk, one byte each: it is a blob of its own."""
STALLING = "tests.end_to_end.stalling"

pytestmark = pytest.mark.stores(*DURABLE)


async def check_late_write(pair: Pair, begin: bytes = b"", wake: Callable[[], None] | None = None) -> None:
    """Let an appender's server stop in its second chunk, another appender go on elsewhere, and the first wake up."""
    await pair.make_run()
    async with pair.reach() as (early, _):
        made = await make(early, "x", (0,), "uint8", (ROWS,))
        first = Writer(early, made, append=True)
        await first.open()
        await first.put(1, (0,), 1, grow_to=ROWS)
        await first.acknowledged(1)
        await first.send(2, (1,), begin + bytes(ROWS - len(begin)), grow_to=2 * ROWS)
        await asyncio.to_thread(until, pair.stopped)

        async with pair.reach() as (late, _):
            second = Writer(late, made, append=True)
            opened = await second.open()
            assert (opened.visible_rows, opened.append_epoch) == (ROWS, 2)
            await second.put(1, (1,), 2, grow_to=2 * ROWS)
            await second.acknowledged(1)
            before = [each async for each in chunks(late, name=made.name, indexes=[0, 1])]

            (wake or pair.wake)()
            _, info, _ = await refused(first.drained())
            assert (info.reason, info.metadata["epoch"], info.metadata["rows"]) == ("WRITER_FENCED", "2", str(ROWS))

            assert [each async for each in chunks(late, name=made.name, indexes=[0, 1])] == before
            for stub in (early, late):
                found = await read(stub, "x")
                assert (found[:ROWS] == 1).all()
                assert (found[ROWS:] == 2).all()
            await second.put(2, (2,), 3, grow_to=2 * ROWS + 1)
            assert await second.end() == 2
        assert (await read(early, "x", (slice(2 * ROWS, None),))).tolist() == [3]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_late_write_undoes_nothing_that_was_acknowledged(site: Site, moment: str) -> None:
    with two_servers(site, program=STALLING) as pair:
        await check_late_write(pair, mark(moment))


@pytest.mark.stores("fleet")
async def test_a_put_that_ends_late_undoes_nothing_either(site: Site) -> None:
    """The bytes of the PUT are half sent when the server stops, and the rest comes when all is over."""
    go_on = threading.Event()
    (blobs,) = [option for option in site.options if option.startswith("s3://")]
    endpoint = parse_qs(urlsplit(blobs).query)["endpoint"][0]
    with proxy() as passing:
        passing.lead_to(endpoint.removeprefix("http://"))
        way = blobs.replace(endpoint, f"http://{passing.address}")
        through = replace(site, options=tuple(way if option == blobs else option for option in site.options))
        with two_servers(through, site.beside(site.folder.with_name("other"))) as pair:
            early = pair.servers[0].process.pid

            def stop() -> None:
                os.kill(early, signal.SIGSTOP)
                assert go_on.wait(120)

            def wake() -> None:
                pair.wake()
                go_on.set()

            passing.at(passing.sent_bytes + ROWS * 3 // 2, stop)  # the first chunk, and half of the second
            try:
                await check_late_write(pair, wake=wake)
            finally:
                go_on.set()


async def test_an_append_that_was_held_up_is_done_once_whoever_asks_again(site: Site) -> None:
    """A caller whose server stands still asks another one for the same append."""
    with two_servers(site, program=STALLING) as pair:
        await pair.make_run()
        async with pair.reach() as (early, _):
            await make(early, "x", (0,), "uint8", (300_000,))
            begin = mark("behind the index")
            rows = np.frombuffer(begin + bytes(300_000 - len(begin)), "uint8")
            held = asyncio.ensure_future(append(early, "x", rows, request_id="once"))
            await asyncio.to_thread(until, pair.stopped)
            async with pair.reach() as (late, _):
                answer = await append(late, "x", rows, request_id="once")
                assert (answer.first_row, answer.visible_rows) == (0, rows.size)
                pair.wake()
                _, info, _ = await refused(held)
                assert info.reason == "WRITER_FENCED"
                again = await append(early, "x", rows, request_id="once")
                assert (again.first_row, again.visible_rows) == (0, rows.size)
                assert (await read(late, "x")).tobytes() == rows.tobytes()


async def test_what_a_fenced_appender_has_left_is_not_shown_by_its_successor(site: Site) -> None:
    """The successor grows over a chunk that it has not written: it reads as fill."""
    with two_servers(site, program=STALLING) as pair:
        await pair.make_run()
        async with pair.reach() as (early, _):
            made = await make(early, "x", (0,), "uint8", (ROWS,))
            first = Writer(early, made, append=True)
            await first.open()
            begin = mark("before the index")
            await first.send(1, (0,), begin + bytes(ROWS - len(begin)), grow_to=ROWS)
            await asyncio.to_thread(until, pair.stopped)
            async with pair.reach() as (late, _):
                second = Writer(late, made, append=True)
                await second.open()
                await second.send(1, grow_to=ROWS)
                await second.acknowledged(1)
                pair.wake()
                assert (await refused(first.drained()))[1].reason == "WRITER_FENCED"
                assert not (await read(late, "x")).any()
                assert await second.end() == 1
