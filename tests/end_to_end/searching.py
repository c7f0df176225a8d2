"""Documents to search, and queries with what they mean, written a second time in plain Python."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["HOSTILE", "QUERIES", "Made", "generate", "quoted"]

HOSTILE = (
    '{"$gt": ""}',
    "{$where: 1}",
    "'; DROP TABLE documents; --",
    "%",
    "_",
    "$ne",
    '" OR title:*',
    "a\\b",
)
"""Values that mean something to one store or another."""

_START = datetime(2026, 7, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Made:
    """One generated dataset."""

    id: str
    title: str
    kind: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]


def generate(seed: int, count: int) -> Iterator[Made]:
    """Yield so many datasets, always the same for a seed."""
    chance = random.Random(seed)
    for number in range(count):
        metadata: dict[str, Any] = {
            "number": number,
            "hostile": chance.choice(HOSTILE),
            "a.b": {"$x": chance.randrange(3)},
            "status": chance.choice(["good", "Good", "bad", "gööd", "so so"]),
            "list": [chance.randrange(12) for _ in range(chance.randrange(4))],
            "peaks": [{"height": chance.randrange(10) / 10} for _ in range(chance.randrange(3))],
            "at": _START + timedelta(hours=chance.randrange(24 * 60)),
            "flag": chance.random() < 0.5,
            "deep": {"er": {"still": chance.randrange(100)}},
            "operator": {"$gt": ""} if chance.random() < 0.1 else {"name": chance.choice(["ann", "anna", "bob"])},
        }
        mixed = chance.choice([None, True, 1, 1.0, 5, 5.5, -3, 2**63 - 1, float("inf"), float("nan"), "5", "absent"])
        if mixed != "absent":
            metadata["mixed"] = mixed
        yield Made(
            f"run-{number}",
            f"{chance.choice(['Rabi', 'RABI scan', 'T1', 'Ramsey'])} {number % 40}",
            chance.choice(["run", "scan", "calibration"]),
            tuple(sorted(chance.sample(["t1", "t2", "cold", "ü"], chance.randrange(3)))),
            metadata,
        )


def quoted(text: str) -> str:
    """Return the text as a string of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*") + '"'


def _number(one: Made) -> float | None:
    value = one.metadata.get("mixed")
    # A truth value is no number here, unlike in Python.
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numbers(test: Callable[[float], bool]) -> Callable[[Made], bool]:
    return lambda one: (value := _number(one)) is not None and test(value)


def _at(one: Made) -> datetime:
    at: datetime = one.metadata["at"]
    return at


def _name(one: Made) -> str:
    return str(one.metadata["operator"].get("name", ""))


QUERIES: dict[str, Callable[[Made], bool]] = {
    "": lambda one: True,
    "metadata.mixed = 1": _numbers(lambda value: value == 1),
    "metadata.mixed = 1.0": _numbers(lambda value: value == 1),
    "metadata.mixed > 5": _numbers(lambda value: value > 5),
    "metadata.mixed >= 5": _numbers(lambda value: value >= 5),
    "metadata.mixed < 0": _numbers(lambda value: value < 0),
    "metadata.mixed <= 5.5": _numbers(lambda value: value <= 5.5),
    "metadata.mixed = 9223372036854775807": _numbers(lambda value: value == 2**63 - 1),
    'metadata.mixed = "5"': lambda one: one.metadata.get("mixed") == "5",
    "metadata.mixed = true": lambda one: one.metadata.get("mixed") is True,
    "metadata.mixed = null": lambda one: "mixed" in one.metadata and one.metadata["mixed"] is None,
    "metadata.mixed:*": lambda one: "mixed" in one.metadata,
    "NOT metadata.mixed:*": lambda one: "mixed" not in one.metadata,
    "metadata.mixed != 5": lambda one: "mixed" in one.metadata and _number(one) != 5,
    "NOT metadata.mixed = 5": lambda one: _number(one) != 5,
    'metadata."a.b"."$x" = 1': lambda one: one.metadata["a.b"]["$x"] == 1,
    'metadata."a.b":"$x"': lambda one: True,
    'metadata.operator:"$gt"': lambda one: "$gt" in one.metadata["operator"],
    'metadata.operator."$gt" = ""': lambda one: "$gt" in one.metadata["operator"],
    'metadata.operator.name = "ann"': lambda one: _name(one) == "ann",
    'metadata.operator.name = "ann*"': lambda one: _name(one).startswith("ann"),
    'metadata.operator.name =~ "^an+a?$"': lambda one: re.search("^an+a?$", _name(one)) is not None,
    "metadata.deep.er.still < 10": lambda one: one.metadata["deep"]["er"]["still"] < 10,
    "metadata.list = 3": lambda one: 3 in one.metadata["list"],
    "metadata.list:3": lambda one: 3 in one.metadata["list"],
    "metadata.list > 9": lambda one: any(value > 9 for value in one.metadata["list"]),
    "metadata.list > 9 AND metadata.list < 2": lambda one: (
        any(value > 9 for value in one.metadata["list"]) and any(value < 2 for value in one.metadata["list"])
    ),
    "NOT metadata.list:3": lambda one: 3 not in one.metadata["list"],
    "metadata.peaks.height >= 0.8": lambda one: any(peak["height"] >= 0.8 for peak in one.metadata["peaks"]),
    'metadata.status = "good"': lambda one: one.metadata["status"] == "good",
    'metadata.status = ("good" OR "bad")': lambda one: one.metadata["status"] in ("good", "bad"),
    'metadata.status > "good"': lambda one: one.metadata["status"] > "good",
    'metadata.status =~ "(?i)^GOOD$"': lambda one: one.metadata["status"].lower() == "good",
    'metadata.status !~ "o"': lambda one: "o" not in one.metadata["status"],
    "metadata.flag = false": lambda one: one.metadata["flag"] is False,
    "metadata.flag = true AND metadata.deep.er.still >= 50": lambda one: (
        one.metadata["flag"] and one.metadata["deep"]["er"]["still"] >= 50
    ),
    'tags:"t1"': lambda one: "t1" in one.tags,
    'tags:"ü" AND NOT tags:"cold"': lambda one: "ü" in one.tags and "cold" not in one.tags,
    "tags:*": lambda one: bool(one.tags),
    'title:"rabi"': lambda one: "rabi" in one.title.lower(),
    'title =~ "(?i)rabi"': lambda one: "rabi" in one.title.lower(),
    'title =~ "^Ra.* 1\\\\d$"': lambda one: re.search(r"^Ra.* 1\d$", one.title) is not None,
    'title = "Rabi*7"': lambda one: one.title.startswith("Rabi") and one.title.endswith("7"),
    'kind = "scan" AND (metadata.deep.er.still < 5 OR metadata.deep.er.still > 95)': lambda one: (
        one.kind == "scan" and not 5 <= one.metadata["deep"]["er"]["still"] <= 95
    ),
    'kind != "run"': lambda one: one.kind != "run",
    'metadata.at >= timestamp("2026-07-15T00:00:00Z") AND metadata.at < timestamp("2026-07-16T02:00:00+02:00")': (
        lambda one: datetime(2026, 7, 15, tzinfo=UTC) <= _at(one) < datetime(2026, 7, 16, tzinfo=UTC)
    ),
    'created > "2020-01-01" AND metadata.number < 10': lambda one: one.metadata["number"] < 10,
    "revision = 1 AND file_count = 0": lambda one: True,
}
"""Each filter with what it means."""
