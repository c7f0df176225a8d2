"""How long encoding and decoding take, by the model that D-Rex measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CodingCosts", "decoding_seconds", "encoding_seconds"]

MB = 1e6


@dataclass(frozen=True, slots=True)
class CodingCosts:
    """Milliseconds for one size: `fixed + by_part * parts + by_data_part * data_parts`."""

    megabytes: int
    fixed: float
    by_part: float
    by_data_part: float


ENCODING = (
    CodingCosts(1, 21.59, 3.94, -4.59),
    CodingCosts(10, 208.95, 38.63, -45.01),
    CodingCosts(50, 1057.07, 189.44, -222.27),
    CodingCosts(100, 2058.56, 391.08, -456.51),
    CodingCosts(200, 4190.14, 771.24, -909.96),
    CodingCosts(400, 8417.76, 1543.88, -1817.96),
)
DECODING = (
    CodingCosts(1, 63.81, 0.10, 4.94),
    CodingCosts(10, 350.34, 0.60, 44.52),
    CodingCosts(50, 1786.92, 2.41, 230.78),
    CodingCosts(100, 3473.96, 6.83, 440.17),
    CodingCosts(200, 7207.72, -0.92, 911.67),
    CodingCosts(400, 13126.27, -20.46, 1936.56),
)


def encoding_seconds(parts: int, data_parts: int, size: float) -> float:
    """Return how long it takes to cut and code a blob of so many bytes."""
    return _seconds(ENCODING, parts, data_parts, size)


def decoding_seconds(parts: int, data_parts: int, size: float) -> float:
    """Return how long it takes to put a blob of so many bytes together again."""
    return _seconds(DECODING, parts, data_parts, size)


def _seconds(table: tuple[CodingCosts, ...], parts: int, data_parts: int, size: float) -> float:
    megabytes = size / MB
    # The measured size that is nearest; the first of two that are as near.
    costs = min(table, key=lambda line: abs(line.megabytes - int(megabytes)))
    milliseconds = costs.fixed + costs.by_part * parts + costs.by_data_part * data_parts
    return milliseconds * (megabytes / costs.megabytes) / 1000
