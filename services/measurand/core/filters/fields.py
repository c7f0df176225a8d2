"""What a resource can be searched by: its system fields, and paths into them and into its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from measurand.core.filters.lexer import Lexer
from measurand.core.view import join

__all__ = ["Field", "parse_path", "read_path"]

FieldKind = Literal["text", "prose", "word", "number", "time", "texts", "map", "document"]


@dataclass(frozen=True, slots=True)
class Field:
    """A system field, as the table of a resource names it. Its path in the view is its name.

    Parameters
    ----------
    kind : str
        - "text": one string, such as an id.
        - "prose": one string of which `:` finds a part, whatever its case, such as a title.
        - "word": one of `words`; a filter may write it in either case.
        - "number", "time": one of these. A string operand for a time is an RFC 3339 time or a date.
        - "texts": a list of strings, such as tags.
        - "map": strings under keys that are parts of the path, such as labels.
        - "document": the metadata. A first segment that no field has as its name is a key of it; a resource that has no
          such field refuses unknown names.
    words : tuple of str
        Of the kind "word", as the view writes them.
    is_required : bool
        Every document of the resource has a scalar there (what `Order.required` promises to the stores).
    """

    kind: FieldKind
    words: tuple[str, ...] = ()
    is_required: bool = False


def parse_path(text: str, *, what: str) -> tuple[str, ...]:
    """Return the segments of a path such as `fridge."gain (dB)".0`, or raise FilterInvalid.

    Parameters
    ----------
    what : str
        What it is, as errors call it.
    """
    lexer = Lexer(text, what=what)
    lexer.skip()
    segments = _segments(lexer)
    if not lexer.is_at_end():
        raise lexer.fault(f'"." or the end ({_QUOTES})')
    return segments


def read_path(lexer: Lexer, system: Mapping[str, Field]) -> tuple[str, Field]:
    """Take a path and return it as the view writes it, with the field that it lies in."""
    lexer.skip()
    start = lexer.position
    if lexer.peek_word() in ("AND", "OR", "NOT"):
        raise lexer.fault(f'"(" or a path ({_QUOTES})')
    first, *rest = _segments(lexer)
    field = system.get(first)
    if field is None:
        for name, document in system.items():
            if document.kind == "document":
                return join(name, first, *rest), document
        raise lexer.fault(f"one of {' '.join(system)}", start)
    if rest and field.kind not in ("map", "document"):
        raise lexer.fault(f"no part of {first}, which has none (of the metadata: metadata.{first}.…)", start)
    return join(first, *rest), field


_QUOTES = "a key with other characters goes in quotes"


def _segments(lexer: Lexer) -> tuple[str, ...]:
    segments = [_segment(lexer)]
    while lexer.peek() == ".":
        lexer.position += 1
        segments.append(_segment(lexer))
    return tuple(segments)


def _segment(lexer: Lexer) -> str:
    start = lexer.position
    string = lexer.string()
    if string is not None:
        if "\x00" in string.value:
            raise lexer.fault("a key without NUL", start)
        return string.value
    word = "" if lexer.peek().isspace() else lexer.peek_word()
    lexer.position += len(word)
    segment = word or lexer.digits()
    if not segment:
        raise lexer.fault(f"a path ({_QUOTES})")
    return segment
