"""The words, numbers and strings of a filter, taken one by one. What a number may be depends on where it stands, so the
parser asks for what it wants next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from measurand.wire.errors import FilterInvalid

__all__ = ["Lexer", "Text"]

MAX_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Text:
    r"""A string or a word.

    Parameters
    ----------
    value : str
        What it says, each `*` as it is.
    parts : tuple of str
        The same, cut at each `*` that was not written `\*`.
    """

    value: str
    parts: tuple[str, ...]


class Lexer:
    """A text and how far it has been read.

    Parameters
    ----------
    text : str
        At most 10,000 characters.
    what : str
        What it is, as errors call it.

    Raises
    ------
    FilterInvalid
        It is too long, or no valid Unicode.
    """

    def __init__(self, text: str, *, what: str = "filter") -> None:
        self._text = text
        self._what = what
        self.position = 0
        """In Unicode characters, from 0."""
        if len(text) > MAX_CHARACTERS:
            raise self.fault(f"at most {MAX_CHARACTERS} characters", MAX_CHARACTERS)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.fault("valid Unicode, without lone surrogates", error.start) from None

    def fault(self, expected: str, position: int | None = None) -> FilterInvalid:
        """Return the error to raise: what would have been right at `position` (None: here)."""
        at = self.position if position is None else position
        found = ascii(self._text[at : at + 20]) if at < len(self._text) else "the end"
        message = f"{self._what}: expected {expected} at position {at}, found {found}"
        return FilterInvalid(message, position=at, expected=expected)

    def is_at_end(self) -> bool:
        """Skip white space and tell whether nothing is left."""
        self.skip()
        return self.position == len(self._text)

    def skip(self) -> None:
        """Go on to the next character that is no white space."""
        while self.peek().isspace():
            self.position += 1

    def peek(self, size: int = 1) -> str:
        """Return the next characters without taking them; fewer at the end."""
        return self._text[self.position : self.position + size]

    def peek_word(self) -> str:
        """Skip white space and return the word that is next without taking it; "" if there is none."""
        self.skip()
        match = _WORD.match(self._text, self.position)
        return match[0] if match else ""

    def take(self, symbol: str) -> bool:
        """Skip white space, take the symbol or word if it is next, and tell whether it was."""
        self.skip()
        is_next = self._text.startswith(symbol, self.position)
        self.position += len(symbol) if is_next else 0
        return is_next

    def digits(self) -> str:
        """Take the digits that are next; "" if there are none."""
        return self._take(_DIGITS)

    def number(self) -> str:
        """Take the number that is next; "" if there is none."""
        return self._take(_NUMBER)

    def check_end(self) -> None:
        """Raise FilterInvalid if what was taken last goes on, as in `run-1` or `3dB`."""
        if not (self.peek().isspace() or self.peek() in ("", ")")):
            raise self.fault('white space, ")" or the end (text with other characters goes in quotes)')

    def string(self) -> Text | None:
        """Take the string that is next; None if there is none."""
        quote = self.peek()
        if quote not in ('"', "'"):
            return None
        start, parts, held = self.position, [""], list[str]()
        self.position += 1
        while (character := self.peek()) != quote:
            if not character:
                raise self.fault(f"{quote} at the end of the string that begins at {start}")
            if character == "\\":
                plain = self._escaped()
            else:
                plain = character
                self.position += 1
            held.append(plain)
            if character == "*":
                parts.append("")
            else:
                parts[-1] += plain
        self.position += 1
        return Text("".join(held), tuple(parts))

    def _escaped(self) -> str:
        escape = self.peek(2)
        if escape in _ESCAPES:
            self.position += 2
            return _ESCAPES[escape]
        match = _UNICODE.match(self._text, self.position)
        if match is None:
            raise self.fault(r"""one of \" \' \\ \* \n \t \uXXXX (a backslash itself is \\)""")
        if match["lone"] and 0xD800 <= int(match["lone"], 16) < 0xE000:
            raise self.fault("a whole pair of surrogates")
        self.position = match.end()
        if match["lone"]:
            return chr(int(match["lone"], 16))
        return chr(0x10000 + ((int(match["high"], 16) - 0xD800) << 10) + int(match["low"], 16) - 0xDC00)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self.position)
        self.position += len(match[0]) if match else 0
        return match[0] if match else ""


_WORD = re.compile(r"[^\W\d]([^\W\d]|[0-9])*")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = {'\\"': '"', "\\'": "'", "\\\\": "\\", "\\*": "*", "\\n": "\n", "\\t": "\t"}
_UNICODE = re.compile(
    r"\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|\\u(?P<lone>[0-9a-fA-F]{4})"
)
