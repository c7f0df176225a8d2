"""Which parts of a dataset to fetch: `fields=` as a read mask and metadata paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.v1 import common_pb2, datasets_pb2
from measurand.wire.errors import InvalidArgument

__all__ = ["project"]

_FIELDS = {
    "id": "name",
    "created": "create_time",
    "updated": "update_time",
    "deleted": "delete_time",
    "started": "start_time",
    "ended": "end_time",
}
"""System fields whose name in the message is another."""

_ALL = tuple(field.name for field in datasets_pb2.Dataset.DESCRIPTOR.fields)
_ALWAYS = ("name", "etag", "revision")
"""A handle needs these to be one."""


def project(fields: Sequence[str] | None) -> dict[str, Any]:
    """Return the parts of a request that say what to answer.

    Parameters
    ----------
    fields : sequence of str, optional
        Such as `title`, `created`, `metadata`, `metadata.device.wafer`; or all with a leading `-`: all but these.
        What is no system field is a metadata key. None: everything.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: some have a leading `-` and some not.
    """
    form = {"document_form": common_pb2.DOCUMENT_FORM_JSON}
    if fields is None:
        return form
    if isinstance(fields, str):
        raise InvalidArgument(f"fields={fields!r} is a text; give a list, as in fields=[{fields!r}]", field="fields")
    less = [field.startswith("-") for field in fields]
    if any(less) and not all(less):
        raise InvalidArgument(
            f"fields={list(fields)!r} mixes names with and without a leading `-`; use one kind", field="fields"
        )
    named, paths = _split([field.removeprefix("-") for field in fields])
    if any(less):
        mask = [field for field in _ALL if field not in named or field in _ALWAYS]
        paths = [f"-{path}" for path in paths if "metadata" not in named]
    else:
        mask = [field for field in _ALL if field in named or field in _ALWAYS or (field == "metadata" and paths)]
        paths = [] if "metadata" in named else paths
    return {**form, "read_mask": FieldMask(paths=mask), "metadata_paths": paths}


def _split(fields: list[str]) -> tuple[set[str], list[str]]:
    named: set[str] = set()
    paths: list[str] = []
    for field in fields:
        if field.startswith("metadata."):
            paths.append(field.removeprefix("metadata."))
        elif _FIELDS.get(field, field) in _ALL:
            named.add(_FIELDS.get(field, field))
        else:
            paths.append(field)
    return named, paths
