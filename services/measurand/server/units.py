"""How spans of time and numbers of bytes are written in settings."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["as_duration", "as_size", "parse_size"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def as_duration(value: object) -> object:
    """Take `24h` and `30d`, beside numbers of seconds."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else value


def as_size(value: object) -> object:
    """Take `500 MiB` and `20GB`, beside numbers of bytes."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    return int(float(match[1]) * (1024 if match[3] else 1000) ** (" KMGT".index(match[2])))


def parse_size(text: str) -> int:
    """Return a number of bytes that is written as `1000`, `500MiB` or `20GB`. Raises ValueError."""
    size = as_size(text)
    return size if isinstance(size, int) else int(text)
