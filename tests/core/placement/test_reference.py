"""The published algorithms beside the recorded decisions of the original: ten containers, three items in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
from tests.core.placement.sites import MB, filled, reference

from measurand.core.placement.candidates import Candidate
from measurand.core.placement.classic import daos, fastest, glusterfs, hdfs, reed_solomon
from measurand.core.placement.demands import Demand, Plan
from measurand.core.placement.greedy import balance_penalty, least_used, min_storage
from measurand.core.placement.saturation import WEIGHTINGS, saturation
from measurand.core.placement.subsets import Subsets

Algorithm = Callable[[Sequence[Candidate], Demand], Plan | None]

ITEMS = (180.5, 124.1, 10.3)
EVERY = {*map(str, range(10))}


def demand(size: float, target: float, *, unit: int = MB, smallest: float = 0) -> Demand:
    """Return what the original asked: no copies, no limit on parts, its own outgoing bandwidth."""
    return Demand(
        size * unit,
        target,
        least_data_parts=2,
        most_parts=10,
        smallest_size=(smallest or size) * unit,
        outgoing_bandwidth=3125 * unit,
    )


def decisions(algorithm: Algorithm, target: float) -> list[tuple[int, set[str]]]:
    candidates, found, smallest = reference(), [], max(ITEMS)
    for size in ITEMS:
        smallest = min(smallest, size)
        plan = algorithm(candidates, demand(size, target, smallest=smallest))
        assert plan is not None
        found.append((plan.data_parts, {one.name for one in plan.members}))
        candidates = filled(candidates, plan, size * MB)
    return found


@pytest.mark.parametrize("algorithm", [balance_penalty, least_used])
@pytest.mark.parametrize(
    ("target", "data_parts", "sets"),
    [(0.9, 2, ["167", "196", "197"]), (0.999, 2, ["1679"] * 3), (0.99999, 2, ["167920", "167923", "167923"])],
)
def test_lb_and_least_used_decide_as_recorded(
    algorithm: Algorithm, target: float, data_parts: int, sets: list[str]
) -> None:
    assert decisions(algorithm, target) == [(data_parts, set(one)) for one in sets]


@pytest.mark.parametrize(
    ("target", "data_parts", "sets"),
    [(0.9, 3, ["1679"] * 3), (0.999, 2, ["103"] * 3), (0.99999, 3, ["167203", "169203", "169203"])],
)
def test_sc_decides_as_recorded(target: float, data_parts: int, sets: list[str]) -> None:
    subsets = Subsets()
    found = decisions(lambda candidates, asked: saturation(candidates, asked, subsets), target)
    assert found == [(data_parts, set(one)) for one in sets]


@pytest.mark.parametrize(("target", "data_parts"), [(0.9, 9), (0.999, 7), (0.99999, 6)])
def test_min_storage_decides_as_recorded(target: float, data_parts: int) -> None:
    assert decisions(min_storage, target) == [(data_parts, EVERY)] * 3


def gigabytes(algorithm: Algorithm, target: float) -> float:
    """Return how much goes in until the first refusal, of items of 100 MB into a fiftieth of the room.

    Counted in MB, as by the original: equal rooms are told apart by the last bits of what was taken from them.
    """
    candidates, items = reference(1, divided_by=50), 0
    while (plan := algorithm(candidates, demand(100, target, unit=1))) is not None:
        candidates, items = filled(candidates, plan, 100), items + 1
    return items / 10


def code(data_parts: int, parts: int) -> Algorithm:
    return partial(fastest, data_parts=data_parts, parts=parts)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (balance_penalty, (88.0, 59.8, 44.1)),
        (min_storage, (88.1, 66.8, 34.6)),
        (least_used, (85.4, 58.7, 40.8)),
        (code(4, 6), (None, 52.0, 0)),
        (code(3, 5), (None, 51.8, 0)),
        (code(1, 3), (None, 30.3, 15.8)),
        (code(6, 9), (None, 26.8, 0)),
    ],
    ids=["lb", "min_storage", "least_used", "4+2", "3+2", "3 copies", "6+3"],
)
def test_as_much_goes_in_as_into_the_reference(algorithm: Algorithm, expected: Sequence[float | None]) -> None:
    for target, figure in zip((0.9, 0.999, 0.99999), expected, strict=True):
        if figure is not None:
            assert gigabytes(algorithm, target) == pytest.approx(figure, rel=0.01), target


@pytest.mark.parametrize(("target", "expected"), [(0.999, 70.8), (0.99999, 34.1)])
def test_sc_lets_as_much_in_as_the_reference_does(target: float, expected: float) -> None:
    candidates, items, subsets = reference(divided_by=50), 0, Subsets()
    while (plan := saturation(candidates, demand(100, target), subsets)) is not None:
        candidates, items = filled(candidates, plan, 100 * MB), items + 1
    assert items / 10 == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, "knee"])
def test_every_weighting_of_sc_finds_a_set_that_fits_and_is_reliable(weighting: str) -> None:
    plan = saturation(reference(), demand(100, 0.999), Subsets(), weighting=weighting)
    assert plan is not None and 2 <= plan.data_parts < len(plan.members)


@pytest.mark.parametrize(
    ("system", "containers", "expected"),
    [
        (reed_solomon, 14, (10, 14)),
        (reed_solomon, 9, (6, 9)),
        (reed_solomon, 8, (3, 5)),
        (glusterfs, 12, (8, 12)),
        (glusterfs, 11, (8, 11)),
        (glusterfs, 10, (4, 6)),
        (daos, 10, (8, 9)),
        (daos, 9, (4, 5)),
        (daos, 5, (1, 4)),
        (hdfs, 5, (1, 3)),
    ],
)
def test_known_systems_choose_by_the_number_of_containers(
    system: Algorithm, containers: int, expected: tuple[int, int]
) -> None:
    fleet = [Candidate(f"n{at}", capacity_bytes=10**12, free_bytes=10**12) for at in range(containers)]
    plan = system(fleet, Demand(100 * MB, 0.9))
    assert plan is not None and (plan.data_parts, len(plan.members)) == expected


def test_daos_takes_more_parity_and_then_copies_where_it_is_not_reliable_enough() -> None:
    fleet = [Candidate(f"n{at}", capacity_bytes=10**12, free_bytes=10**12) for at in range(10)]
    codes = [daos(fleet, Demand(100 * MB, target)) for target in (0.99, 0.999, 0.9999, 0.999999999)]
    assert [(plan.data_parts, len(plan.members)) for plan in codes if plan] == [(8, 9), (8, 10), (1, 4), (1, 6)]
