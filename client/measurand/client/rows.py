"""Datasets as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["COLUMNS", "row"]

COLUMNS = ("id", "title", "kind", "tags", "parents", "state", "revision", "created", "created_by", "updated")
COLUMNS_AT_NEED = ("started", "ended", "deleted", "file_count", "stored_bytes")
"""Shown only where a dataset has them, or where they are asked for."""


def row(dataset: Any, fields: Sequence[str] | None) -> dict[str, Any]:
    """Return a dataset as a row.

    Parameters
    ----------
    dataset : handle
        Of either client.
    fields : sequence of str, optional
        As they were fetched with: named columns only, or with a leading `-` all but these.
    """
    named = [field for field in fields or () if not field.startswith("-")]
    without = {field.removeprefix("-") for field in fields or () if field.startswith("-")}
    columns = [name for name in (*COLUMNS, *COLUMNS_AT_NEED) if (name in named if named else name not in without)]
    cells = {name: getattr(dataset, name) for name in columns}
    cells = {name: cell for name, cell in cells.items() if named or name in COLUMNS or cell not in (None, 0)}
    return {**cells, **flatten(dataset.metadata, "metadata")}


def flatten(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return nested values under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}.{key}"))
        else:
            flat[f"{prefix}.{key}"] = value
    return flat
