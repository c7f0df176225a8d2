"""What a filter may use of regular expressions: what RE2 and the engines of all stores have in common."""

from __future__ import annotations

import re

__all__ = ["fault_of"]

MAX_CHARACTERS = 200


def fault_of(pattern: str) -> str | None:
    """Return what is wrong with a regular expression as far as core can tell; its engine looks at the rest."""
    if len(pattern) > MAX_CHARACTERS:
        return f"at most {MAX_CHARACTERS} characters"
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "around":
                return f"no look-around such as {token[0]}"
            case "back":
                return f"no back-reference such as {token[0]}"
            case "byte":
                return r"no \C (it would cut characters into bytes)"
    return None


_TOKEN = re.compile(
    r"""
      \\Q.*?(?:\\E|\Z)                                        # quoted
    | (?P<back> \\[1-9] | \\[kg] | \(\?P=\w* )
    | (?P<byte> \\C )
    | \\.
    | \[\^?\]? (?: \\. | \[:\^?\w+:\] | [^]\\] )* \]          # a class: nothing in it is an operator
    | (?P<around> \(\?<?[=!] )
    """,
    re.VERBOSE | re.DOTALL,
)
