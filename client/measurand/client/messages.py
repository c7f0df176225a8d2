"""What a caller says about a dataset, as a message."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from measurand.client import values
from measurand.client.storage import storage_message
from measurand.v1 import datasets_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["dataset_message"]

_TIMES = {"started": "start_time", "ended": "end_time"}


def dataset_message(given: Mapping[str, Any], catalog: str) -> tuple[datasets_pb2.Dataset, list[str]]:
    """Return the message, and the names of the fields that were given.

    Parameters
    ----------
    given : mapping
        Some of title, kind, tags, parents, metadata, started, ended, storage.
    catalog : str
        Parents that are ids lie in this catalog.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: a value of the wrong type. DOCUMENT_INVALID: metadata that a document cannot hold.
    """
    message = datasets_pb2.Dataset()
    mask: list[str] = []
    for key, value in given.items():
        field = _TIMES.get(key, key)
        try:
            if key in _TIMES:
                _set_time(getattr(message, field), value)
            elif key == "storage":
                field = "storage_policy"
                message.storage_policy.MergeFrom(storage_message(value))
            elif key == "metadata":
                message.metadata.json = values.to_text(value)
            elif key == "parents":
                message.parents.extend(_parent_name(parent, catalog) for parent in value)
            elif key == "tags":
                message.tags.extend([value] if isinstance(value, str) else value)
            else:
                setattr(message, field, value)
        except (TypeError, AttributeError) as error:
            raise InvalidArgument(f"{key}={value!r}: {error}", field=key) from None
        mask.append(field)
    return message, mask


def _set_time(stamp: Timestamp, moment: datetime) -> None:
    stamp.FromDatetime(moment.astimezone())  # a naive one is local time


def _parent_name(parent: Any, catalog: str) -> str:
    """Return the name of a parent given as a handle, a name or an id."""
    name = parent if isinstance(parent, str) else str(parent.name)
    return name if "/" in name else f"catalogs/{catalog}/datasets/{name}"
