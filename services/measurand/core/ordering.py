"""How documents are ordered: `order_by` taken apart, and where a document stands in an order.

What is missing, null or no scalar sorts lowest, then come numbers, strings (by code point), booleans and times. Ties go
by key, always upwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measurand.core.filters.fields import Field, read_path
from measurand.core.filters.lexer import Lexer
from measurand.core.ports import Order, Position
from measurand.core.view import KIND_ORDER, Scalar, View

__all__ = ["parse_order_by", "position_of", "sort_key", "successor"]

MAX_PATHS = 4


def parse_order_by(text: str, *, system: Mapping[str, Field]) -> tuple[Order, ...]:
    """Return the order that `created desc, -metadata.temperature, title` asks for; no orders if it is empty.

    Parameters
    ----------
    text : str
        Up to 4 different paths as in a filter, each with ` desc`, ` asc` or a leading `-` (descending).
    system : mapping
        The system fields of the resource, by name.

    Raises
    ------
    FilterInvalid
        FILTER_INVALID, with `position` (in Unicode characters, from 0) and what was `expected` there.
    """
    lexer = Lexer(text, what="order_by")
    orders: list[Order] = []
    while orders or not lexer.is_at_end():
        lexer.skip()
        start = lexer.position
        order = _parse_order(lexer, system)
        if len(orders) == MAX_PATHS:
            raise lexer.fault(f"at most {MAX_PATHS} paths", start)
        if any(order.path == other.path for other in orders):
            raise lexer.fault("each path once", start)
        orders.append(order)
        if lexer.is_at_end():
            break
        if not lexer.take(","):
            raise lexer.fault('"desc", "asc", "," or the end (a key with other characters goes in quotes)')
    return tuple(orders)


def position_of(view: View, orders: Sequence[Order], key: str) -> Position:
    """Return where a document with this view and key stands in an order."""
    wanted = {order.path for order in orders}
    values = {
        entry.path: entry.scalar
        for entry in view
        if entry.path in wanted and not entry.in_list and entry.scalar is not None and entry.scalar.kind in KIND_ORDER
    }
    return Position(tuple(values.get(order.path) for order in orders), key)


def sort_key(position: Position, orders: Sequence[Order]) -> tuple[Any, ...]:
    """Return what positions of one order are compared by: the lesser comes first."""
    keys: list[object] = []
    for order, scalar in zip(orders, position.values, strict=True):
        rank = _rank(scalar)
        keys.append(_Descending(rank) if order.descending else rank)
    return (*keys, position.key)


def successor(prefix: str) -> str | None:
    """Return the least string that is greater than all that begin so, in code point order; None: there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index])
        if code < 0x10FFFF:
            return prefix[:index] + chr(0xE000 if code == 0xD7FF else code + 1)  # surrogates are no characters
    return None


def _parse_order(lexer: Lexer, system: Mapping[str, Field]) -> Order:
    is_negated = lexer.take("-")
    lexer.skip()
    start = lexer.position
    path, field = read_path(lexer, system)
    if field.kind == "texts":
        raise lexer.fault(f"a path with one value; {path} is a list", start)
    direction = lexer.peek_word()
    if direction.lower() not in ("asc", "desc"):
        return Order(path, is_negated, field.is_required)
    if is_negated:
        raise lexer.fault(f'"," or the end; either a leading "-" or "{direction}"')
    lexer.take(direction)
    return Order(path, direction.lower() == "desc", field.is_required)


def _rank(scalar: Scalar | None) -> tuple[Any, ...]:
    return (-1,) if scalar is None else (KIND_ORDER.index(scalar.kind), scalar.value)


@dataclass(frozen=True, slots=True)
class _Descending:
    """Compares the other way round."""

    rank: tuple[Any, ...]

    def __lt__(self, other: _Descending) -> bool:
        return other.rank < self.rank
