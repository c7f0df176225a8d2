"""Faults of documents: what is wrong, and the path that grows while it travels up."""

from __future__ import annotations

import re

from measurand.wire.errors import DocumentInvalid
from measurand.wire.values import path_text

__all__ = ["MAX_DEPTH", "MAX_KEYS", "Fault", "check_strings", "check_width", "is_unicode", "too_deep", "too_long"]

MAX_DEPTH = 100
"""How many segments the path of a value may have."""
MAX_KEYS = 65_536
"""How many keys one object may have."""

SURROGATE = re.compile("[\ud800-\udfff]")


class Fault(Exception):
    """What is wrong, on its way up through a document; every level adds its segment. Never leaves this room."""

    def __init__(self, message: str, *path: str) -> None:
        self.message = message
        self.path = list(path)

    def error(self) -> DocumentInvalid:
        path = path_text(self.path[::-1])
        return DocumentInvalid(f"{path}: {self.message}" if path else self.message, path=path)


def too_deep() -> Fault:
    """Return the fault of a document that nests too deeply."""
    return Fault(f"the document is more than {MAX_DEPTH} levels deep")


def too_long() -> Fault:
    """Return the fault of an integer that has more digits than Python converts by default."""
    return Fault("an integer of more than 4,300 digits is too long; store it as text")


def check_width(count: int) -> None:
    """Raise a fault for an object of more keys than may be."""
    if count > MAX_KEYS:
        raise Fault(f"an object of {count} keys is too large (at most {MAX_KEYS})")


def is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogates, so that UTF-8 can hold it."""
    return text.isascii() or SURROGATE.search(text) is None


def check_strings(document: object) -> None:
    """Raise a fault for a lone surrogate anywhere, or a NUL in a key. Look at the text first: few documents need it."""
    if isinstance(document, str):
        if not is_unicode(document):
            raise Fault("the text holds a lone surrogate, which UTF-8 cannot")
    elif isinstance(document, dict):
        for key, item in document.items():
            if "\0" in key or not is_unicode(key):
                raise Fault("a key must not hold a NUL or a lone surrogate", key)
            check_within(key, item)
    elif isinstance(document, list):
        for index, item in enumerate(document):
            check_within(str(index), item)


def check_within(segment: str, item: object) -> None:
    try:
        check_strings(item)
    except Fault as fault:
        fault.path.append(segment)
        raise
