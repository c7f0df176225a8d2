"""Filter text → tree: the one parser of the language that protocol.md describes in section 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, TypeVar

from measurand.core.filters import patterns
from measurand.core.filters.fields import Field, read_path
from measurand.core.filters.instants import parse_ago, parse_time
from measurand.core.filters.lexer import Lexer, Text
from measurand.core.filters.tree import And, Compare, Contains, Exists, Filter, Glob, Has, Not, Or, Regex
from measurand.core.times import microseconds
from measurand.core.view import Scalar

__all__ = ["parse_filter"]

MAX_RESTRICTIONS = 100
"""Each value of an operand in parentheses counts as one."""
MAX_LEVELS = 16
"""Parentheses within parentheses, those of operands too."""


def parse_filter(
    text: str, *, system: Mapping[str, Field], now: datetime, compile_pattern: Callable[[str], object]
) -> Filter | None:
    """Return the tree of a filter; None if it is empty, which holds for everything.

    Parameters
    ----------
    text : str
        The filter.
    system : mapping
        The system fields of the resource that is searched, by name.
    now : datetime
        What `ago("7d")` is relative to: the time of the first page.
    compile_pattern : callable
        The engine of regular expressions: raises ValueError, with a message, for what it does not take.

    Raises
    ------
    FilterInvalid
        FILTER_INVALID, with `position` (in Unicode characters, from 0) and what was `expected` there.
    """
    lexer = Lexer(text)
    if lexer.is_at_end():
        return None
    return _Parser(lexer, system, microseconds(now), compile_pattern).whole()


Item = TypeVar("Item")
Op = Literal["=", "!=", "<", "<=", ">", ">=", ":", "=~", "!~"]

_OPS: tuple[Op, ...] = ("=~", "!~", "!=", "<=", ">=", "=", "<", ">", ":")  # the longer ones first
_CONSTANTS = {"true": Scalar("b", True), "false": Scalar("b", False), "null": Scalar("z", None)}
_TIME = "a time such as 2026-11-21T10:25:32Z, or a date"


class _Parser:
    """Recursive descent, one method for each rule of the grammar."""

    def __init__(
        self, lexer: Lexer, system: Mapping[str, Field], now: int, compile_pattern: Callable[[str], object]
    ) -> None:
        self._lexer = lexer
        self._system = system
        self._now = now
        self._compile_pattern = compile_pattern
        self._restrictions = 0
        self._level = 0

    def whole(self) -> Filter:
        tree = self._expr()
        if not self._lexer.is_at_end():
            raise self._lexer.fault("AND, OR or the end")
        return tree

    def _expr(self) -> Filter:
        joint, items = self._joined(self._clause)
        return items[0] if len(items) == 1 else And(items) if joint == "AND" else Or(items)

    def _joined(self, read: Callable[[], Item]) -> tuple[str, tuple[Item, ...]]:
        """Take what `read` takes, once or more often, with AND or with OR between."""
        items = [read()]
        joint = ""
        while (word := self._lexer.peek_word()).upper() in ("AND", "OR"):
            if not word.isupper():
                raise self._lexer.fault(f"{word.upper()} in upper case")
            if joint not in ("", word):
                raise self._lexer.fault(f"{joint}, or parentheses: AND and OR mix only with them")
            joint = word
            self._lexer.take(word)
            items.append(read())
        return joint, tuple(items)

    def _clause(self) -> Filter:
        if self._lexer.peek_word() == "NOT":
            self._lexer.take("NOT")
            return Not(self._unit())
        return Not(self._unit()) if self._lexer.take("-") else self._unit()

    def _unit(self) -> Filter:
        return self._in_parentheses(self._expr) if self._opens() else self._restriction()

    def _opens(self) -> bool:
        self._lexer.skip()
        return self._lexer.peek() == "("

    def _in_parentheses(self, read: Callable[[], Item]) -> Item:
        if self._level == MAX_LEVELS:
            raise self._lexer.fault(f"at most {MAX_LEVELS} levels of parentheses")
        self._level += 1
        self._lexer.take("(")
        inner = read()
        if not self._lexer.take(")"):
            raise self._lexer.fault('AND, OR or ")"')
        self._level -= 1
        return inner

    def _restriction(self) -> Filter:
        self._lexer.skip()
        start, word = self._lexer.position, self._lexer.peek_word()
        path, field = read_path(self._lexer, self._system)
        op = next((op for op in _OPS if self._lexer.take(op)), None)
        if op is None:
            if word.upper() in ("AND", "OR", "NOT"):
                raise self._lexer.fault(f"{word.upper()} in upper case", start)
            raise self._lexer.fault(f"one of {' '.join(sorted(_OPS))} (a key with other characters goes in quotes)")
        if op == ":" and self._lexer.take("*"):
            self._count(start)
            return Exists(path)
        if op in ("=~", "!~"):
            self._count(start)
            found = self._regex(path)
            return found if op == "=~" else And((Exists(path), Not(found)))
        held = self._operand(lambda: self._held(path, field, op))
        return And((Exists(path), Not(held))) if op == "!=" else held

    def _count(self, position: int) -> None:
        self._restrictions += 1
        if self._restrictions > MAX_RESTRICTIONS:
            raise self._lexer.fault(f"at most {MAX_RESTRICTIONS} restrictions", position)

    def _regex(self, path: str) -> Filter:
        self._lexer.skip()
        start = self._lexer.position
        string = self._lexer.string()
        if string is None:
            raise self._lexer.fault("a string with a regular expression")
        fault = patterns.fault_of(string.value)
        if fault is not None:
            raise self._lexer.fault(f"a regular expression: {fault}", start)
        try:
            self._compile_pattern(string.value)
        except ValueError as error:
            raise self._lexer.fault(f"a regular expression (RE2 syntax): {error}", start) from error
        return Regex(path, string.value)

    def _operand(self, read: Callable[[], Filter]) -> Filter:
        if not self._opens():
            return read()
        joint, items = self._in_parentheses(lambda: self._joined(read))
        return items[0] if len(items) == 1 else And(items) if joint == "AND" else Or(items)

    def _held(self, path: str, field: Field, op: Op) -> Filter:
        """Take a value and return what is asked of it; of `!=` only the `=`."""
        self._lexer.skip()
        start = self._lexer.position
        self._count(start)
        value = self._value()
        if isinstance(value, Text):
            if field.kind == "prose" and op == ":":
                return Contains(path, value.value)
            is_glob = op in ("=", "!=") and len(value.parts) > 1 and field.kind not in ("time", "word")
            if is_glob:
                return Glob(path, value.parts)
            value = self._meant(value.value, field, start)
        elif field.kind == "prose" and op == ":":
            raise self._lexer.fault("a string, of which a part is looked for", start)
        match op:
            case ":":
                return Has(path, value)
            case "<" | "<=" | ">" | ">=":
                if value.kind in "bz":
                    raise self._lexer.fault("a number, a string or a time (others only with = and !=)", start)
                return Compare(path, op, value)
            case _:
                return Compare(path, "=", value)

    def _meant(self, text: str, field: Field, start: int) -> Scalar:
        """Return what a string says to a field."""
        if field.kind == "time":
            time = parse_time(text)
            if time is None:
                raise self._lexer.fault(_TIME, start)
            return Scalar("t", time)
        if field.kind == "word":
            for word in field.words:
                if word.casefold() == text.casefold():
                    return Scalar("s", word)
            raise self._lexer.fault(f"one of {' '.join(field.words)}", start)
        return Scalar("s", text)

    def _value(self) -> Text | Scalar:
        lexer = self._lexer
        string = lexer.string()
        if string is not None:
            return string
        literal = lexer.number()
        if literal:
            lexer.check_end()
            return _number(literal)
        word = lexer.peek_word()
        if not word or word in ("AND", "OR", "NOT"):
            raise lexer.fault("a value (text with other characters goes in quotes)")
        start = lexer.position
        lexer.take(word)
        if self._opens():
            return self._function(word, start)
        lexer.position = start + len(word)
        lexer.check_end()
        return _CONSTANTS.get(word) or Text(word, (word,))

    def _function(self, word: str, start: int) -> Scalar:
        if word not in ("timestamp", "ago"):
            raise self._lexer.fault("a value; of functions there are only timestamp(…) and ago(…)", start)
        self._lexer.take("(")
        self._lexer.skip()
        start = self._lexer.position
        string = self._lexer.string()
        if string is None:
            raise self._lexer.fault("a string")
        if word == "timestamp":
            time = parse_time(string.value)
            expected = _TIME
        else:
            span = parse_ago(string.value)
            time = None if span is None else self._now - span
            expected = "a span such as 7d (s, m, h, d, w)"
        if time is None or time < -(2**63):
            raise self._lexer.fault(expected, start)
        if not self._lexer.take(")"):
            raise self._lexer.fault('")"')
        return Scalar("t", time)


def _number(literal: str) -> Scalar:
    """Return a number: beyond 64 bits, and with a point or exponent, as a double."""
    if set(literal) & set(".eE") or len(literal.lstrip("-0")) > 19:  # 64 bits have 19 digits, and int() has its limits
        return Scalar("n", float(literal))
    value = int(literal.lstrip("-0") or "0")
    value = -value if literal.startswith("-") else value
    return Scalar("n", value if -(2**63) <= value < 2**63 else float(value))
