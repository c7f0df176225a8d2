"""Times as filters write them, in microseconds since 1970."""

from __future__ import annotations

import re
from datetime import date

__all__ = ["parse_ago", "parse_time"]


def parse_time(text: str) -> int | None:
    """Return an RFC 3339 time or a date (UTC midnight) in microseconds since 1970, rounded down; None for others."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        days = date(int(match["year"]), int(match["month"]), int(match["day"])).toordinal() - _EPOCH
    except ValueError:
        return None
    if match["hour"] is None:
        return days * 86_400 * 1_000_000
    seconds = 3600 * int(match["hour"]) + 60 * int(match["minute"]) + int(match["second"])
    if match["sign"]:
        offset = 3600 * int(match["ahead_hours"]) + 60 * int(match["ahead_minutes"])
        seconds -= offset if match["sign"] == "+" else -offset
    fraction = int((match["fraction"] or "").ljust(6, "0")[:6])
    return (days * 86_400 + seconds) * 1_000_000 + fraction


def parse_ago(text: str) -> int | None:
    """Return a span such as `7d` (s, m, h, d, w) in microseconds. None: it is none."""
    match = _SPAN.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] * 1_000_000 if match else None


_EPOCH = date(1970, 1, 1).toordinal()
_TIME = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"([Tt ](?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9])(\.(?P<fraction>[0-9]+))?"
    r"([Zz]|(?P<sign>[+-])(?P<ahead_hours>[01][0-9]|2[0-3]):(?P<ahead_minutes>[0-5][0-9])))?"
)
_SPAN = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
