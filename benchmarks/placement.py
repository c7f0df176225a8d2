"""How long it takes to decide where parts go, without any server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.harness import Turn

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.deciding import decide
from measurand.core.placement.field import Field
from measurand.core.placement.policies import Policy

TB = 10**12
CODED = Policy(data_parts=4, parity_parts=2)


def fleet(containers: int, chance: random.Random) -> Field:
    """Return containers of all sizes and speeds in seven zones."""
    return Field(_container(at, chance) for at in range(containers))


def _container(at: int, chance: random.Random) -> Candidate:
    capacity = chance.choice((1, 2, 4)) * TB
    free = int(capacity * chance.uniform(0.2, 1.0))
    return Candidate(
        f"c{at}",
        f"zone-{at % 7}",
        capacity_bytes=capacity,
        free_bytes=free,
        stored_bytes=capacity - free,
        annual_failure_rate=chance.uniform(0.01, 0.07),
        write_bandwidth=chance.uniform(100e6, 1600e6),
        read_bandwidth=chance.uniform(100e6, 3500e6),
    )


def put(policy: Policy, field: Field, size: int, chance: random.Random) -> float:
    """Decide once, count the parts as written, and return the milliseconds that the decision took."""
    begin = time.perf_counter()
    decision = decide(policy, field, size, chance=chance.random)
    took = time.perf_counter() - begin
    if decision.problem is not None:
        raise decision.problem
    field.begin(decision.chosen, decision.part_bytes, size)
    for name in decision.chosen:
        field.end(name, decision.part_bytes, decision.part_bytes)
    return took * 1e3


@contextmanager
def decisions(containers: int, placement: str, count: int, objects: int = 0) -> Iterator[Turn]:
    """Decide so many times, after so many objects have been put; the mean in milliseconds."""
    chance = random.Random(7)
    field = fleet(containers, chance)
    policy = Policy(placement=placement) if placement else CODED
    for _ in range(objects):
        put(policy, field, chance.randrange(1, 1_000_000), chance)
    yield lambda: sum(put(policy, field, chance.randrange(1, 1_000_000), chance) for _ in range(count)) / count
