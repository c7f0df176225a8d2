"""Programs that append to one buffer through several server processes: unique, complete, frozen at one moment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.end_to_end.racing import command
from tests.end_to_end.recording import BUFFER, record_of
from tests.stores import DURABLE, Site

from measurand.client import Client

PROGRAMS, PRODUCERS, RECORDS = 4, 100, 1000
EACH = RECORDS // PRODUCERS
CONNECTIONS = 4
"""Of each program: the processes of one address share them out."""


@contextmanager
def serving(site: Site) -> Iterator[list[str]]:
    """Give the addresses of two processes over one set of stores: one address where they share it."""
    sites = [site, site.beside(site.folder.parent / "other")] if site.kind == "fleet" else [site]
    options = ("--workers", "2") if site.kind == "embedded" else ()
    with ExitStack() as ending:
        yield [ending.enter_context(one.running(*options)).address for one in sites]


def said(programs: list[subprocess.Popen[str]]) -> dict[int, tuple[list[int], str]]:
    """Return what the programs say next, by producer."""
    found: dict[int, tuple[list[int], str]] = {}
    for program in programs:
        assert program.stdout is not None
        found |= {
            int(producer): (places, owner)
            for producer, (places, owner) in json.loads(program.stdout.readline()).items()
        }
    return found


def sent(outcomes: dict[int, tuple[list[int], str]], first: int) -> dict[int, bytes]:
    """Return what was acknowledged, by sequence; the records of each producer, from a number on, keep their order."""
    found: dict[int, bytes] = {}
    for producer, (places, _) in outcomes.items():
        assert places == sorted(places)
        assert not found.keys() & set(places), "a sequence was given twice"
        found |= {place: record_of(producer, number) for number, place in enumerate(places, first)}
    return found


@pytest.mark.stores(*DURABLE)
@pytest.mark.usefixtures("_own_places")
def test_records_of_four_programs_are_unique_and_complete_and_nothing_gets_in_after_a_freeze(site: Site) -> None:
    with serving(site) as addresses, ExitStack() as ending:
        clients = [ending.enter_context(Client(address)) for address in addresses]
        clients[0].create_catalog("race").create_buffer(BUFFER)
        buffers = [client.catalog("race").buffer(BUFFER) for client in clients]
        connections, step = addresses * (CONNECTIONS // len(addresses)), PRODUCERS // PROGRAMS
        programs = [
            ending.enter_context(
                subprocess.Popen(
                    command(connections, "race", range(first, first + step), EACH),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for first in range(0, PRODUCERS, step)
        ]

        acknowledged = sent(said(programs), 0)
        assert sorted(acknowledged) == list(range(1, RECORDS + 1))
        for buffer in buffers:
            assert {record.seq: record.data for record in buffer.records(data=True)} == acknowledged
            stats = buffer.stats()
            assert (stats.records, stats.bytes) == (RECORDS, sum(map(len, acknowledged.values())))

        for program in programs:
            assert program.stdin is not None and program.stdout is not None
            program.stdin.write("race\n")
            program.stdin.flush()
        assert all(program.stdout and program.stdout.readline() == "all have begun\n" for program in programs)
        freeze = buffers[-1].freeze(force=True)
        outcomes = said(programs)
        assert [owner for _, owner in outcomes.values()] == [freeze.owner] * PRODUCERS
        acknowledged |= sent(outcomes, EACH)
        assert sorted(acknowledged) == list(range(1, freeze.records + 1))
        for buffer in buffers:
            stats = buffer.stats()
            assert (stats.state, stats.owner, stats.next_sequence) == ("FROZEN", freeze.owner, freeze.records + 1)
            assert (stats.records, stats.bytes) == (freeze.records, freeze.bytes)
            assert {record.seq: record.data for record in buffer.records(data=True)} == acknowledged
        batch = buffers[-1].unfreeze()
        assert batch is not None
        assert {record.seq: record.data for record in batch.records(data=True)} == acknowledged
