"""Bounds of the fields that callers fill in. Each check returns the value as it is kept, or raises InvalidArgument."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from measurand.core.names import CatalogName, DatasetName, parse_dataset
from measurand.wire.errors import InvalidArgument, NotFound, ResourceDeleted

__all__ = [
    "check_kind",
    "check_labels",
    "check_parents",
    "check_tags",
    "check_text",
    "check_window",
    "deleted",
    "not_found",
]

MAX_KIND = 128
MAX_TAGS = 256
MAX_TAG = 128
MAX_PARENTS = 256
MAX_LABELS = 64
MAX_LABEL = 255
MAX_WINDOW = timedelta(days=365)

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


def check_text(value: str, *, field: str, most: int) -> str:
    """Return free text of at most so many characters."""
    if len(value) > most:
        raise InvalidArgument(f"{field}: {len(value)} characters; the most is {most}; shorten it", field=field)
    return value


def check_kind(value: str, *, field: str = "dataset.kind") -> str:
    """Return a kind; an empty one is `dataset`."""
    check_text(value, field=field, most=MAX_KIND)
    _check_printable(value, field)
    return value or "dataset"


def check_tags(values: Iterable[str], *, field: str) -> tuple[str, ...]:
    """Return tags as a sorted set."""
    tags = sorted(set(values))
    for tag in tags:
        if not 1 <= len(tag) <= MAX_TAG:
            raise InvalidArgument(
                f"{field}: the tag {tag[:40]!r} has {len(tag)} characters; a tag has 1 to {MAX_TAG}", field=field
            )
        if "," in tag:
            raise InvalidArgument(f"{field}: the tag {tag!r} has a comma; give two tags, or leave it out", field=field)
        _check_printable(tag, field)
    if len(tags) > MAX_TAGS:
        raise InvalidArgument(f"{field}: {len(tags)} tags; the most is {MAX_TAGS}", field=field)
    return tuple(tags)


def check_parents(values: Iterable[str], *, field: str = "dataset.parents") -> tuple[str, ...]:
    """Return the names of parents, each once, in the order in which they were given."""
    parents = tuple(dict.fromkeys(str(parse_dataset(value, field=field)) for value in values))
    if len(parents) > MAX_PARENTS:
        raise InvalidArgument(f"{field}: {len(parents)} parents; the most is {MAX_PARENTS}", field=field)
    return parents


def check_labels(values: Mapping[str, str], *, field: str = "catalog.labels") -> dict[str, str]:
    """Return labels, sorted by key."""
    if len(values) > MAX_LABELS:
        raise InvalidArgument(f"{field}: {len(values)} labels; the most is {MAX_LABELS}", field=field)
    for key, value in values.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidArgument(
                f"{field}: the key {key[:80]!r} must be 1 to 63 of a-z 0-9 _ . - and begin with a letter", field=field
            )
        check_text(value, field=f"{field}.{key}", most=MAX_LABEL)
    return dict(sorted(values.items()))


def check_window(value: timedelta | None, *, field: str = "catalog.undelete_window") -> timedelta | None:
    """Return an undelete window of 0 to 365 days."""
    if value is not None and not timedelta() <= value <= MAX_WINDOW:
        raise InvalidArgument(f"{field}: {value} is not within 0 and {MAX_WINDOW.days} days", field=field)
    return value


def not_found(name: CatalogName | DatasetName | str) -> NotFound:
    """Return the error for what is not there, or may not be known of."""
    kind = "dataset" if "/datasets/" in str(name) else "catalog"
    where = f"list the datasets of {str(name).partition('/datasets/')[0]}" if kind == "dataset" else "list the catalogs"
    return NotFound(f"{name}: there is no such {kind}; {where}, or look for a slip in the name", resource=name)


def deleted(name: CatalogName | DatasetName | str, purge_time: datetime) -> ResourceDeleted:
    """Return the error for what is deleted and can still be brought back."""
    until = purge_time.isoformat().replace("+00:00", "Z")
    return ResourceDeleted(
        f"{name} is deleted; it can be undeleted until {until}, or asked for with show_deleted",
        resource=name,
        purge_time=until,
    )


def _check_printable(value: str, field: str) -> None:
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise InvalidArgument(f"{field}: {value!r} has a control character; leave it out", field=field)
