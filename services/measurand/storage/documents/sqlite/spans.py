"""Stretches of the index of values: the scalars of one kind at one path in one part, from here to there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from measurand.storage.documents.sqlite.compiler import Sql
from measurand.storage.documents.sqlite.places import Place
from measurand.storage.documents.sqlite.rows import Value

__all__ = ["Bound", "Span"]


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a span, and whether it is part of it."""

    value: Any
    inside: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch. Its values are all of one kind, so that they compare."""

    part: int = 0
    path: int = 0
    kind: int = 0
    descending: bool = False
    low: Bound | None = None
    high: Bound | None = None

    @classmethod
    def compared(cls, op: str, value: Value) -> Span:
        """Return the bounds that a comparison sets."""
        bound = Bound(value, inside="=" in op)
        return cls(low=bound if op in ("=", ">", ">=") else None, high=bound if op in ("=", "<", "<=") else None)

    @property
    def way(self) -> str:
        """How to walk."""
        return "v.value DESC" if self.descending else "v.value"

    def condition(self) -> Sql:
        """Return the condition on a row `v`."""
        text, values = "v.part = ? AND v.path = ? AND v.kind = ?", [self.part, self.path, self.kind]
        if self.low and self.high and self.low.inside and self.high.inside and self.low.value == self.high.value:
            return Sql(f"{text} AND v.value = ?", (*values, self.low.value))
        if self.low:
            text += f" AND v.value >{'=' if self.low.inside else ''} ?"
            values.append(self.low.value)
        if self.high:
            text += f" AND v.value <{'=' if self.high.inside else ''} ?"
            values.append(self.high.value)
        return Sql(text, tuple(values))

    def place(self) -> Place:
        """Return the place of a span of one value."""
        assert self.low is not None
        return self.kind, self.low.value

    def within(self, other: Span) -> Span:
        """Return what lies within the bounds of both. Of two, SQLite would start from either, maybe the looser."""
        low, high = self.low, self.high
        if other.low and (
            low is None or other.low.value > low.value or (other.low.value == low.value and not other.low.inside)
        ):
            low = other.low
        if other.high and (
            high is None or other.high.value < high.value or (other.high.value == high.value and not other.high.inside)
        ):
            high = other.high
        return replace(self, low=low, high=high)

    def at(self, value: Value) -> Span:
        """Return the span of one value alone."""
        return replace(self, low=Bound(value, inside=True), high=Bound(value, inside=True))

    def behind(self, value: Value) -> Span:
        """Return what comes after the value."""
        return self.within(self._from(Bound(value, inside=False)))

    def starting(self, value: Value) -> Span:
        """Return what comes from the value on."""
        return self.within(self._from(Bound(value, inside=True)))

    def before(self, value: Value) -> Span:
        """Return what comes before the value."""
        bound = Bound(value, inside=False)
        return self.within(Span(low=bound) if self.descending else Span(high=bound))

    def _from(self, bound: Bound) -> Span:
        return Span(high=bound) if self.descending else Span(low=bound)
