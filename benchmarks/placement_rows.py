"""The rows of placement: what is measured, and what is to be reached."""

from __future__ import annotations

from benchmarks import placement
from benchmarks.harness import PRODUCT, Contender, Row

__all__ = ["PLACEMENT_ROWS"]

PLACEMENT_ROWS = (
    Row(
        "placement-decision",
        "six parts among 1,000 containers, balanced; beside it among 10",
        "ms",
        (
            Contender(PRODUCT, placement.decisions, (1000, "", 1000)),
            Contender("among 10", placement.decisions, (10, "", 1000)),
        ),
        smaller_is_better=True,
        targets={PRODUCT: 1.0},
    ),
    Row(
        "placement-saturation",
        "numbers and containers of parts by saturation among 10 containers",
        "ms",
        (Contender(PRODUCT, placement.decisions, (10, "saturation", 20)),),
        smaller_is_better=True,
        targets={PRODUCT: 20},
    ),
    Row(
        "placement-saturation-60",
        "the same among 60 containers",
        "ms",
        (Contender(PRODUCT, placement.decisions, (60, "saturation", 20)),),
        smaller_is_better=True,
        targets={PRODUCT: 200},
    ),
    Row(
        "placement-growth",
        "six parts among 10 containers after a million objects, balanced; beside it after 1,000",
        "ms",
        (
            Contender(PRODUCT, placement.decisions, (10, "", 1000, 1_000_000)),
            Contender("after 1,000", placement.decisions, (10, "", 1000, 1000)),
        ),
        smaller_is_better=True,
        targets={"after 1,000": 0.8},
        is_long=True,
    ),
)
