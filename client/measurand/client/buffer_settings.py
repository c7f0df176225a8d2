"""What a buffer does by itself, from what users type: sizes such as "2 GiB", spans such as "30d"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from measurand.v1 import buffers_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["Freezes", "Retains", "Span", "duration", "policy_of", "settings_of", "size_of", "span_of"]

Span = float | str | timedelta
"""Seconds, a text such as "8s", "15 min" or "30d", or a timedelta."""
Freezes = Mapping[str, Any]
"""`bytes`, `records`, `seconds`: any of them that is met is enough."""
Retains = Mapping[str, Any]
"""`age`, `bytes`, `batches`: what goes beyond any of them is forgotten, the oldest first."""

_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_BYTES = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("kmgtp", 1)
    for unit, base in (("b", 1000), ("ib", 1024))
}
_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def span_of(value: Span, field: str) -> float:
    """Return a span in seconds.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no span, or a negative one.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        seconds = _number(value, _SECONDS, field, 'seconds, or a text such as "30 s", "15 min" or "30d"')
    else:
        seconds = _plain(value, field, "seconds")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidArgument(f"{field}: {value!r} is no span of time; give seconds from 0 on", field=field)
    return seconds


def size_of(value: int | str, field: str) -> int:
    """Return a number of bytes: an int, or a text such as "2 GiB" (1024) or "2 GB" (1000). Errors: as `span_of`."""
    size = _number(value, _BYTES, field, 'bytes, or "2 GiB"') if isinstance(value, str) else _count(value, field)
    return int(size)


def duration(seconds: float) -> Duration:
    """Return a span as a message."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def policy_of(
    freeze_after: Freezes | None,
    *,
    rotate: bool,
    retention: Retains | None,
    keep_sealed: Span | None,
    batch_title: str,
) -> buffers_pb2.BufferPolicy:
    """Return the policy of a buffer.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: a key or a value that there is not; the text names it.
    """
    policy = buffers_pb2.BufferPolicy(rotate=rotate, batch_title=batch_title)
    freezing: dict[str, Callable[[Any, str], None]] = {
        "bytes": lambda value, field: setattr(policy, "freeze_after_bytes", size_of(value, field)),
        "records": lambda value, field: setattr(policy, "freeze_after_records", _count(value, field)),
        "seconds": lambda value, field: policy.freeze_after_age.CopyFrom(duration(span_of(value, field))),
    }
    keeping: dict[str, Callable[[Any, str], None]] = {
        "age": lambda value, field: policy.keep_batches_for.CopyFrom(duration(span_of(value, field))),
        "bytes": lambda value, field: setattr(policy, "keep_batches_bytes", size_of(value, field)),
        "batches": lambda value, field: setattr(policy, "keep_batches", _count(value, field)),
    }
    for name, given, setters in (("freeze_after", freeze_after, freezing), ("retention", retention, keeping)):
        for key, value in _mapping(given, name).items():
            if key not in setters:
                raise InvalidArgument(f"{name}: there is no {key!r}; give {', '.join(setters)}", field=name)
            setters[key](value, f"{name}[{key!r}]")
    if keep_sealed is not None:
        policy.keep_sealed.CopyFrom(duration(span_of(keep_sealed, "keep_sealed")))
    return policy


def settings_of(policy: buffers_pb2.BufferPolicy) -> dict[str, Any]:
    """Return what a policy says, in the words of `policy_of`, spans in seconds; what it does not say is left out."""
    freezing = {
        "bytes": policy.freeze_after_bytes,
        "records": policy.freeze_after_records,
        "seconds": policy.freeze_after_age.ToTimedelta().total_seconds(),
    }
    keeping = {
        "age": policy.keep_batches_for.ToTimedelta().total_seconds(),
        "bytes": policy.keep_batches_bytes,
        "batches": policy.keep_batches,
    }
    said = {
        "freeze_after": {key: value for key, value in freezing.items() if value},
        "rotate": policy.rotate,
        "retention": {key: value for key, value in keeping.items() if value},
        "keep_sealed": policy.keep_sealed.ToTimedelta().total_seconds(),
        "batch_title": policy.batch_title,
    }
    return {key: value for key, value in said.items() if value}


def _mapping(given: Any, field: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidArgument(f'{field}: {given!r} is no mapping; give one such as {{"bytes": "2 GiB"}}', field=field)
    return given


def _number(text: str, units: Mapping[str, float], field: str, wanted: str) -> float:
    found = _TEXT.fullmatch(text)
    factor = units.get(found.group(2).lower()) if found is not None else None
    if found is None or factor is None:
        raise InvalidArgument(f"{field}: {text!r} is not understood; give {wanted}", field=field)
    return float(found.group(1)) * factor


def _count(value: Any, field: str) -> int:
    number = _plain(value, field, "a whole number")
    if not (number >= 0 and number.is_integer()):
        raise InvalidArgument(f"{field}: {value!r} is no whole number from 0 on", field=field)
    return int(value)


def _plain(value: Any, field: str, wanted: str) -> float:
    problem = InvalidArgument(f"{field}: {value!r} is no number; give {wanted}", field=field)
    if isinstance(value, (bool, str)):
        raise problem
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise problem from None
