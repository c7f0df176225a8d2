"""Expressions for MongoDB's engine, which looks back (PCRE). These are made so that it has no reason to."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["glob_expression", "literal_expression", "required_expression"]


def literal_expression(text: str) -> str:
    """Return what finds the text anywhere."""
    return _LITERAL.sub(_escaped, text)


def glob_expression(parts: Sequence[str]) -> str:
    """Return what matches a whole string of two or more parts with anything between them (option `s`).

    The first part tells MongoDB the range of the index. Each part in the middle is taken where it first comes and never
    given back, so the time is that of one walk along the string.
    """
    first, *middle, last = map(literal_expression, parts)
    between = "".join(f"(?>.*?{part})" for part in middle if part)
    return rf"\A{first}{between}.*{last}\z"


def required_expression(pattern: str) -> str:
    """Return what finds all strings that a regular expression (RE2 syntax) may hold for; empty: there is no such thing.

    It is the text with which the expression begins, as far as it is surely text.
    """
    if "|" in pattern:
        return ""  # there may be other ways to begin
    start = _START.match(pattern)
    assert start is not None
    text = re.sub(r"\\(.)", r"\1", start["text"], flags=re.DOTALL)
    return (r"\A" if start["anchor"] else "") + literal_expression(text) if text else ""


def _escaped(match: re.Match[str]) -> str:
    return r"\x00" if match[0] == "\0" else f"\\{match[0]}"  # an expression is kept with a NUL behind its end


_LITERAL = re.compile(r"[^0-9A-Za-z_\x80-\U0010ffff]")
_START = re.compile(
    r"""
      (?P<anchor> \^ | \\A )?
      (?P<text> (?: (?: [^\\.+*?()|[\]{}^$\0] | \\[!-/:-@[-`{-~] ) (?! [*?{] ) )* )
    """,
    re.VERBOSE | re.DOTALL,
)
