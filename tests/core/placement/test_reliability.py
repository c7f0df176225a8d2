"""How likely parts survive, beside counting all that can happen."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.core.placement.reliability import failure_counts, failure_probability, most_data_parts, survival

chances = st.lists(st.floats(0, 1), min_size=0, max_size=7)


@given(chances)
def test_the_distribution_is_that_of_counting_all_outcomes(probabilities: list[float]) -> None:
    expected = [0.0] * (len(probabilities) + 1)
    for fails in product((False, True), repeat=len(probabilities)):
        pairs = zip(fails, probabilities, strict=True)
        expected[sum(fails)] += math.prod(chance if failed else 1 - chance for failed, chance in pairs)
    assert list(failure_counts(probabilities)) == pytest.approx(expected, abs=1e-12)


@given(chances, st.floats(0.01, 0.999999), st.sampled_from([1, 2]))
def test_the_most_data_parts_are_reliable_and_one_more_is_not(
    probabilities: list[float], target: float, least: int
) -> None:
    counts = failure_counts(probabilities)
    number = len(probabilities)
    allowed = [k for k in range(least, number) if survival(counts, number - k) >= target]
    assert most_data_parts(counts, target, least=least) == max(allowed, default=0)


def test_a_loss_in_a_year_is_as_likely_as_the_table_of_defaults_says() -> None:
    rare, often = (failure_probability(rate, 365) for rate in (0.015, 0.05))
    table = {(1, 1): (1.5e-2, 4.9e-2), (1, 2): (2.2e-4, 2.4e-3), (1, 3): (3.3e-6, 1.2e-4), (2, 3): (6.6e-4, 6.9e-3)}
    table |= {(2, 5): (2.4e-7, 2.7e-5), (4, 6): (6.4e-5, 2.1e-3), (8, 12): (5.3e-7, 1.6e-4)}
    for (data_parts, parts), expected in table.items():
        losses = [1 - survival(failure_counts([chance] * parts), parts - data_parts) for chance in (rare, often)]
        assert losses == pytest.approx(expected, rel=0.05), (data_parts, parts)


def test_half_a_year_is_less_of_a_risk_than_a_year() -> None:
    assert 0 < failure_probability(0.015, 182) < failure_probability(0.015, 365)
    assert failure_probability(0.0, 365) == 0
