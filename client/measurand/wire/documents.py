"""Documents as text: MongoDB Extended JSON v2, narrowed to one way of writing each value (protocol.md, section 4).

Standard library only: core reads, writes and changes documents through this module. What a document may hold stands in
`values`, the two directions in `writing` and `reading`, changes and comparisons in `patches`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from measurand.wire.errors import TooLarge
from measurand.wire.faults import MAX_DEPTH, MAX_KEYS, Fault, check_strings, is_unicode
from measurand.wire.patches import changed_paths, equal, merge_patch, select
from measurand.wire.reading import Pairs, parse, read_root
from measurand.wire.values import MAX_ARRAY_BYTES, SmallArray, Timestamp, Value, path_text
from measurand.wire.writing import Tree, write_object

__all__ = [
    "MAX_ARRAY_BYTES",
    "MAX_DEPTH",
    "MAX_KEYS",
    "Pairs",
    "SmallArray",
    "Timestamp",
    "Tree",
    "Value",
    "changed_paths",
    "check_size",
    "decode",
    "encode",
    "equal",
    "from_tree",
    "merge_patch",
    "path_text",
    "select",
    "text_bytes",
    "to_tree",
]

WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def encode(document: Mapping[str, object]) -> str:
    """Return the one canonical text of a document.

    Parameters
    ----------
    document : mapping
        Of the values that `Value` names; tuples are written as lists, subclasses as what they derive from.

    Raises
    ------
    DocumentInvalid
        DOCUMENT_INVALID: with the `path` of a value that a document cannot hold: another type, a naive datetime, a key
        that is no text or holds a NUL, a lone surrogate, more than `MAX_DEPTH` levels or `MAX_KEYS` keys.
    """
    try:
        tree = write_object(document, 0)
        text = WRITER.encode(tree)
        if "\\u0000" in text or not is_unicode(text):
            check_strings(tree)
    except Fault as fault:
        raise fault.error() from None
    return text


def decode(text: str) -> dict[str, Value]:
    """Return the document of a text; of everything that has several ways to be written all accepted ones are read.

    A timestamp becomes a datetime in UTC when that holds it exactly, else a `Timestamp`.

    Raises
    ------
    DocumentInvalid
        DOCUMENT_INVALID: the text is no JSON object, or is one that a document cannot be, with the `path`.
    """
    try:
        document = read_root(parse(text))
        if "\\u" in text or not is_unicode(text):
            check_strings(document)
    except Fault as fault:
        raise fault.error() from None
    return document


def to_tree(document: Mapping[str, object]) -> dict[str, Tree]:
    """Return a document as JSON's own values, with what JSON cannot hold in its wrappers. Errors: as `encode`."""
    try:
        tree = write_object(document, 0)
        check_strings(tree)
    except Fault as fault:
        raise fault.error() from None
    return tree


def from_tree(pairs: Pairs) -> dict[str, Value]:
    """Return the document of a tree in which objects are tuples of pairs. Errors: as `decode`."""
    try:
        document = read_root(pairs)
        check_strings(document)
    except Fault as fault:
        raise fault.error() from None
    return document


def text_bytes(text: str) -> int:
    """Return how many bytes a text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def check_size(text: str, limit: int) -> None:
    """Raise TooLarge, with both sizes, if the text of a document takes more bytes than the limit."""
    size = text_bytes(text)
    if size > limit:
        message = f"the document takes {size} bytes as text, the limit is {limit}: put what is large into a file"
        raise TooLarge(message, limit=limit, actual=size)
