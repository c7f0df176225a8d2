"""What a path may be: the rule for names that users choose within a dataset, held by both ends."""

from __future__ import annotations

import re

from measurand.wire.errors import NameInvalid

__all__ = ["MAX_PATH_BYTES", "MAX_SEGMENT_BYTES", "check_path", "shown"]

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # just the characters of the Unicode category Cc


def check_path(path: str, *, field: str = "name", what: str = "file path", most_bytes: int = MAX_PATH_BYTES) -> str:
    """Return the path of a file within its dataset, or raise NameInvalid.

    The path is UTF-8 of 1 to 1024 bytes in segments of 1 to 255 bytes; no segment is `.` or `..`, and none holds a
    control character. It is a name, never a place in a file system.

    Parameters
    ----------
    field, what : str
        What the error calls it.
    most_bytes : int
        How long it may be.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise NameInvalid(f"{field}: {shown(path)} is no valid Unicode", field=field, name=ascii(path)) from error
    fault = ""
    if not path:
        fault = "is empty; give one"
    elif size > most_bytes:
        fault = f"has {size} bytes; the most is {most_bytes}"
    else:
        for segment in path.split("/"):
            if not segment:
                fault = "begins or ends with `/` or has `//`; leave the extra `/` out"
            elif segment in (".", ".."):
                fault = f"has the segment `{segment}`; leave `.` and `..` out"
            elif len(segment.encode()) > MAX_SEGMENT_BYTES:
                fault = f"has a segment of {len(segment.encode())} bytes; the most is {MAX_SEGMENT_BYTES}"
            elif _CONTROL.search(segment):
                fault = "has a control character; leave it out"
            if fault:
                break
    if fault:
        raise NameInvalid(f"{field}: the {what} {shown(path)} {fault}", field=field, name=path)
    return path


def shown(text: str) -> str:
    """Return the text quoted, without control characters, and not endlessly long."""
    return ascii(text) if len(text) <= 200 else f"{text[:200]!a}…"
