"""Where documents stand in an order, in Python and in SQL. A place is (kind, value), or None for no scalar."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from measurand.core.ports import Order, Position
from measurand.storage.documents.sqlite.compiler import Sql
from measurand.storage.documents.sqlite.rows import Value, column, scalar

__all__ = ["After", "Place", "Row", "behind", "columns", "joins", "merged", "ways"]

Place = tuple[int, Value]


@dataclass(frozen=True, slots=True)
class After:
    """A position, with values as they are kept."""

    places: tuple[Place | None, ...]
    key: str

    @classmethod
    def of(cls, position: Position) -> After:
        """Return the position so."""
        return cls(tuple(None if value is None else column(value) for value in position.values), position.key)


@dataclass(frozen=True, slots=True)
class Row:
    """A document that was found.

    Parameters
    ----------
    places : tuple
        Where it stands, for each part of the order.
    number : int
        Of the document, in `docs`.
    """

    places: tuple[Place | None, ...]
    key: str
    number: int

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Row:
        """Take a row (number, key, kind, value, kind, value, …) apart."""
        pairs = zip(row[2::2], row[3::2], strict=True)
        return cls(tuple(None if kind is None else (kind, value) for kind, value in pairs), row[1], row[0])

    def under(self, place: Place | None) -> Row:
        """Return it with one more place in front."""
        return Row((place, *self.places), self.key, self.number)

    def position(self) -> Position:
        """Return where it stands."""
        return Position(tuple(None if place is None else scalar(*place) for place in self.places), self.key)


def joins(order: Sequence[Order], depth: int) -> str:
    """Return the joins that bring in the sort values from `depth` on; each has a question mark for its path."""
    return "".join(
        f" LEFT JOIN vals AS o{index} INDEXED BY vals_doc"
        f" ON o{index}.doc = d.id AND o{index}.path = ? AND o{index}.kind < 5"
        for index in range(depth, len(order))
    )


def columns(order: Sequence[Order], depth: int) -> str:
    """Return the columns of the sort values from `depth` on."""
    return "".join(f", o{index}.kind, o{index}.value" for index in range(depth, len(order)))


def ways(order: Sequence[Order], depth: int) -> str:
    """Return how to sort by them. What is missing is NULL, and NULL sorts lowest."""
    words = ["DESC" if each.descending else "ASC" for each in order]
    return "".join(
        f"o{index}.kind {word}, o{index}.value {word}, " for index, word in enumerate(words) if index >= depth
    )


def behind(order: Sequence[Order], after: After, depth: int) -> Sql:
    """Return the condition to stand behind a position, by the parts of the order from `depth` on, then by key."""
    if depth == len(order):
        return Sql("d.key > ?", (after.key,))
    kind, value = f"o{depth}.kind", f"o{depth}.value"
    place = after.places[depth]
    rest = behind(order, after, depth + 1)
    if place is None:
        later = "0" if order[depth].descending else f"{kind} IS NOT NULL"
        return Sql(f"({later} OR ({kind} IS NULL AND {rest.text}))", rest.values)
    sign, missing = ("<", f"{kind} IS NULL OR ") if order[depth].descending else (">", "")
    later = f"{missing}{kind} {sign} ? OR ({kind} = ? AND {value} {sign} ?)"
    text = f"({later} OR ({kind} = ? AND {value} = ? AND {rest.text}))"
    return Sql(text, (place[0], place[0], place[1], place[0], place[1], *rest.values))


def merged(streams: Sequence[Iterator[Row]], order: Sequence[Order]) -> Iterator[Row]:
    """Yield the rows of streams that are each in the order, in the order."""
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*streams, key=lambda row: _rank(row, order))


def _rank(row: Row, order: Sequence[Order]) -> tuple[Any, ...]:
    ranks = [place or (0, 0) for place in row.places]
    turned = [_Descending(rank) if each.descending else rank for rank, each in zip(ranks, order, strict=True)]
    return (*turned, row.key)


@dataclass(frozen=True, slots=True)
class _Descending:
    """Compares the other way round."""

    rank: tuple[Any, ...]

    def __lt__(self, other: _Descending) -> bool:
        return other.rank < self.rank
