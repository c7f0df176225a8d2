"""Times of measurements: what users give, as instants in UTC; GPS seconds by the table of leap seconds."""

from __future__ import annotations

import sys
from bisect import bisect_right
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from measurand.wire.errors import InvalidArgument

__all__ = ["event_time", "gps_of", "utc_of"]

GPS_EPOCH = 315_964_800
"""1980-01-06T00:00:00Z in seconds since 1970."""
LEAPS = (
    *((1981, 7), (1982, 7), (1983, 7), (1985, 7), (1988, 1), (1990, 1), (1991, 1), (1992, 7), (1993, 7)),
    *((1994, 7), (1996, 1), (1997, 7), (1999, 1), (2006, 1), (2009, 1), (2012, 7), (2015, 7), (2017, 1)),
)
"""Year and month before whose first day a leap second was put in, since the GPS epoch (IERS Bulletin C 52)."""
_LEAP_SECONDS = [int(datetime(year, month, 1, tzinfo=UTC).timestamp()) for year, month in LEAPS]
_LEAP_GPS = [second - GPS_EPOCH + number for number, second in enumerate(_LEAP_SECONDS, 1)]
"""GPS second at which each leap second is over."""
_MILLION = 1_000_000


def utc_of(gps: float | Decimal | Fraction | str) -> datetime:
    """Return the UTC time of GPS seconds, to the microsecond.

    Parameters
    ----------
    gps : number
        Seconds since 1980-01-06T00:00:00Z, leap seconds included. A float of today's size has steps of 0.24 µs.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no finite number, or lies outside of the years 1980 to 9999.

    Notes
    -----
    A datetime has no 61st second: an instant within a leap second is told as the same fraction of the next second, as
    POSIX clocks do.
    """
    microseconds = _microseconds(gps, "gps")
    if microseconds < 0:
        raise InvalidArgument(f"gps: {gps!r} lies before 1980-01-06; give the time as time=", field="gps")
    leaps = bisect_right(_LEAP_GPS, microseconds // _MILLION)
    return _datetime(microseconds + (GPS_EPOCH - leaps) * _MILLION, "gps")


def gps_of(time: datetime) -> float:
    """Return the GPS seconds of a time; naive ones are local time."""
    seconds = time.timestamp()
    return seconds - GPS_EPOCH + bisect_right(_LEAP_SECONDS, seconds)


def event_time(time: Any, gps: Any) -> Timestamp | None:
    """Return when something was measured, from what a caller said of it; None: nothing.

    Parameters
    ----------
    time : datetime, numpy.datetime64, float or int, optional
        A naive datetime is local time; a datetime64 is UTC; a number is seconds since 1970 in UTC.
    gps : float or int, optional
        Instead of it, seconds of GPS.
    """
    if time is None and gps is None:
        return None
    if time is not None and gps is not None:
        raise InvalidArgument("time and gps are both given; give one of them", field="time")
    stamp = Timestamp()
    stamp.FromDatetime(utc_of(gps) if time is None else _instant(time))
    return stamp


def _instant(time: Any) -> datetime:
    if isinstance(time, datetime):
        return time.astimezone(UTC)  # a naive one is local time
    numpy = sys.modules.get("numpy")  # nobody has a value of a module that was never imported
    if numpy is not None and isinstance(time, numpy.datetime64):
        if numpy.isnat(time):
            raise InvalidArgument("time: it is not a time (NaT); leave it out", field="time")
        return _datetime(int(time.astype("datetime64[us]").astype("i8")), "time")
    return _datetime(_microseconds(time, "time"), "time")


def _microseconds(value: Any, field: str) -> int:
    try:
        # numpy's own integers would overflow without a word.
        return round(Fraction(value.item() if hasattr(value, "item") else value) * _MILLION)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise InvalidArgument(f"{field}: {value!r} is no time; give a datetime or seconds", field=field) from None


def _datetime(microseconds: int, field: str) -> datetime:
    seconds, rest = divmod(microseconds, _MILLION)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(f"{field}: the time does not lie within the years 1 to 9999", field=field) from None
