"""The engine of regular expressions: RE2, which never looks back, so that no pattern can hold up the event loop."""

from __future__ import annotations

from collections.abc import Callable

import re2

__all__ = ["compile_pattern"]

MAX_MEMORY = 1 << 20
"""Bounds what a pattern of 200 characters takes to compile (20 ms at worst; with RE2's own 8 MiB it would be 50) and to
match; ordinary ones need a few KiB.
"""


def compile_pattern(text: str) -> Callable[[str], bool]:
    """Return a function that tells whether the expression is found anywhere in a string.

    Raises
    ------
    ValueError
        It is no expression of RE2's syntax, or takes too much memory; the message says why.
    """
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False  # the fault is the caller's and is told to the caller
    try:
        expression = re2.compile(text.encode(), options)  # bytes spare RE2's wrapper the counting of characters
    except re2.error as error:
        fault = error.args[0] if error.args else error
        raise ValueError(fault.decode(errors="replace") if isinstance(fault, bytes) else str(fault)) from error
    return lambda string: expression.search(string.encode()) is not None
