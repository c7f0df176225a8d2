"""Containers to place parts in: those of the published reference, and random ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.demands import Plan
from measurand.core.placement.policies import PLACEMENTS, Policy

__all__ = ["MB", "TB", "filled", "random_field", "random_policy", "reference", "site"]

MB = 10**6
TB = 10**12

FREE = (370000, 2000000, 450000, 370000, 200000, 200000, 865000, 865000, 224000, 865000)
WRITE = (340, 122, 375, 340, 111, 111, 490, 1600, 394, 1600)
READ = (502, 129, 502, 502, 109, 109, 2000, 3500, 422, 3500)
FAILURE_RATE = (1.52, 2.51, 3.23, 1.52, 1.66, 1.66, 2.26, 6.55, 1.77, 6.55)


def reference(unit: int = MB, *, divided_by: int = 1) -> list[Candidate]:
    """Return the ten containers of the published comparison; a unit of 1 counts in MB as the original does."""
    return [
        Candidate(
            str(at),
            capacity_bytes=free * unit // divided_by,
            free_bytes=free * unit // divided_by,
            write_bandwidth=write * unit,
            read_bandwidth=read * unit,
            annual_failure_rate=rate / 100,
        )
        for at, (free, write, read, rate) in enumerate(zip(FREE, WRITE, READ, FAILURE_RATE, strict=True))
    ]


def filled(candidates: Sequence[Candidate], plan: Plan, size: float) -> list[Candidate]:
    """Return the candidates after the plan was carried out; fractions of bytes count, as in the original."""
    part, members = size / plan.data_parts, {one.name for one in plan.members}
    return [
        replace(one, stored_bytes=one.stored_bytes + part, free_bytes=one.free_bytes - part)  # type: ignore[arg-type]
        if one.name in members
        else one
        for one in candidates
    ]


def site(number: int, zone: str = "", *, capacity: int = TB, held: float = 0.0, **more: object) -> Candidate:
    """Return a container that is filled to a share of its capacity."""
    stored = int(capacity * held)
    figures = {"capacity_bytes": capacity, "free_bytes": capacity - stored, "stored_bytes": stored, **more}
    return Candidate(f"n{number}", zone, **figures)  # type: ignore[arg-type]


def random_field(chance: random.Random, most: int = 12) -> list[Candidate]:
    """Return containers of every sort: full, draining, of no known size, without weight, in zones and without."""
    zones = [f"zone-{at}" for at in range(chance.randint(1, 4))]
    return [_random_site(chance, number, chance.choice(zones)) for number in range(chance.randint(1, most))]


def _random_site(chance: random.Random, number: int, zone: str) -> Candidate:
    capacity = chance.choice((0, 10 * MB, 1000 * MB, TB))
    stored = int(capacity * chance.choice((0, chance.random(), 1)))
    takes = chance.random() < 0.85
    return Candidate(
        f"n{number}",
        zone,
        (("disk", chance.choice(("ssd", "hdd"))),),
        chance.choice((1.0, 1.0, 1.0, 0.5, 2.0, 0.0)),
        capacity,
        capacity - stored,
        stored,
        max_bytes=chance.choice((0, 0, 0, 500 * MB)),
        takes_blobs=takes,
        state="active" if takes else chance.choice(("down", "draining", "read only")),
        annual_failure_rate=chance.choice((0.0, 0.015, 0.015, 0.3)),
        write_bandwidth=chance.uniform(1e6, 1e9),
        read_bandwidth=chance.uniform(1e6, 1e9),
        popularity=chance.choice((0.0, chance.random())),
    )


def random_policy(chance: random.Random, names: Sequence[str]) -> Policy:
    """Return a policy of any placement and redundancy."""
    placement = chance.choice(sorted(PLACEMENTS))
    more: dict[str, object] = {}
    if Policy(placement=placement).is_adaptive:
        more = {"target_reliability": chance.choice((0.0, 0.5, 0.999, 0.9999999)), "retention_days": 100.0}
    else:
        redundancies: list[dict[str, object]] = [{}, {"replicas": chance.randint(1, 4)}, {"losses": 1}, {"losses": 3}]
        more = chance.choice([*redundancies, {"data_parts": 3, "parity_parts": 2}])
    if placement == "fastest" and chance.random() < 0.5:
        more = {**more, "target_reliability": 0.9}
    if chance.random() < 0.2:
        more = {**more, "container_labels": (("disk", "ssd"),)}
    if chance.random() < 0.2:
        more = {**more, "exclude": tuple(chance.sample(names, min(len(names), 2)))}
    if chance.random() < 0.2:
        more = {**more, "zones": ("zone-0", "zone-1")}
    policy = Policy(placement=placement, **more)  # type: ignore[arg-type]
    if chance.random() < 0.2 and policy.parts != 1:
        policy = replace(policy, min_zones=2)
    named = [name for name in names if name not in policy.exclude]
    if chance.random() < 0.2 and policy.parts and policy.parts <= len(named):
        policy = replace(policy, containers=tuple(chance.sample(named, policy.parts)))
    return policy
