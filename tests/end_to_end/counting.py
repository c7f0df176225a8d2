"""Many threads count in one dataset with its etag; nothing is lost (ME-25). Tests run some rounds, the soak many."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.stores import EVERY, open_site

from measurand.client import Catalog, Client
from measurand.client.errors import Conflict

__all__ = ["count_together", "run"]

THREADS = 32


def count_together(lab: Catalog, rounds: int) -> None:
    """Let each of 32 threads count up so often; raises where a count or a revision is missing."""
    counter = lab.create("counter", {"n": 0})
    before = counter.revision

    def count(_: int) -> None:
        own = lab.get(counter.id)
        for _ in range(rounds):
            while True:
                try:
                    own.update({"n": own.metadata["n"] + 1})
                    break
                except Conflict:
                    own.refresh()

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(count, range(THREADS)))
    counter.refresh()
    total = THREADS * rounds
    assert counter.metadata == {"n": total}
    assert counter.revision == before + total
    assert len(counter.history()) == before + total
    assert [counter.at(before + count).metadata["n"] for count in (0, total // 2, total)] == [0, total // 2, total]


def run(rounds: int) -> Iterator[str]:
    """Count on each set of stores; yields where it was done."""
    for stores in EVERY if rounds else ():
        with (
            tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
            open_site(stores, Path(folder) / "store") as site,
            site.running() as server,
            Client(server.address) as client,
        ):
            count_together(client.create_catalog("lab"), rounds)
        yield stores
