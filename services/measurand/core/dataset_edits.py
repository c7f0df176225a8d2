"""What callers say of datasets: checked, and applied to one. Functions without I/O; metadata is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from measurand.core.dataset_documents import Dataset
from measurand.core.fields import check_kind, check_parents, check_tags, check_text
from measurand.core.placement.policies import Policy
from measurand.wire.errors import InvalidArgument

__all__ = [
    "EDITABLE",
    "DatasetDraft",
    "DatasetEdit",
    "Source",
    "apply_edit",
    "check_draft",
    "check_edit",
]

Source = str | Mapping[str, object]
"""Metadata as a caller gives it: Extended JSON text, or a decoded document."""

EDITABLE = ("title", "kind", "tags", "parents", "metadata", "start_time", "end_time", "storage_policy")
"""The fields that an edit may replace."""

MAX_TITLE = 1000
MAX_COMMENT = 1000
MAX_CHANGED_PATHS = 100


@dataclass(frozen=True, slots=True)
class DatasetDraft:
    """What a caller says of a dataset. Metadata None: the empty object."""

    title: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    metadata: Source | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    storage_policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class DatasetEdit:
    """One change of a dataset. Its parts are applied in this order.

    Parameters
    ----------
    fields : tuple of str
        Which fields to replace by what `draft` has, of `EDITABLE`.
    patch : Source, optional
        A JSON merge patch (RFC 7396) for the metadata.
    add_tags, remove_tags : tuple of str
        Tags to add, and then to take away.
    comment : str
        What to note in the history.
    """

    draft: DatasetDraft = DatasetDraft()
    fields: tuple[str, ...] = ()
    patch: Source | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    comment: str = ""


def check_draft(draft: DatasetDraft) -> DatasetDraft:
    """Return the draft as it is kept, or raise InvalidArgument naming the field. Metadata is not looked at."""
    return replace(
        draft,
        title=check_text(draft.title, field="dataset.title", most=MAX_TITLE),
        kind=check_kind(draft.kind),
        tags=check_tags(draft.tags, field="dataset.tags"),
        parents=check_parents(draft.parents),
    )


def check_edit(edit: DatasetEdit) -> DatasetEdit:
    """Return the edit with its parts as they are kept, or raise InvalidArgument naming the field."""
    for field in edit.fields:
        if field not in EDITABLE:
            raise InvalidArgument(
                f"update_mask: {field!r} is no field that can be replaced; these are {', '.join(EDITABLE)}",
                field="update_mask",
            )
    if edit.patch is not None and "metadata" in edit.fields:
        raise InvalidArgument(
            "metadata_patch: metadata is in the mask as well; either replace it or patch it", field="metadata_patch"
        )
    for name, tags in (("add_tags", edit.add_tags), ("remove_tags", edit.remove_tags)):
        if tags and "tags" in edit.fields:
            raise InvalidArgument(f"{name}: tags is in the mask as well; use one of the two", field=name)
    return replace(
        edit,
        draft=check_draft(edit.draft),
        add_tags=check_tags(edit.add_tags, field="add_tags"),
        remove_tags=tuple(sorted(set(edit.remove_tags))),
        comment=check_text(edit.comment, field="comment", most=MAX_COMMENT),
    )


def apply_edit(dataset: Dataset, edit: DatasetEdit) -> tuple[Dataset, list[str]]:
    """Return the dataset after a checked edit, but for its metadata, and the names of the fields that changed."""
    draft, fields = edit.draft, edit.fields
    tags = set(draft.tags if "tags" in fields else dataset.tags)
    new = replace(
        dataset,
        title=draft.title if "title" in fields else dataset.title,
        kind=draft.kind if "kind" in fields else dataset.kind,
        tags=check_tags((tags | set(edit.add_tags)) - set(edit.remove_tags), field="add_tags"),
        parents=draft.parents if "parents" in fields else dataset.parents,
        start_time=draft.start_time if "start_time" in fields else dataset.start_time,
        end_time=draft.end_time if "end_time" in fields else dataset.end_time,
        storage_policy=draft.storage_policy if "storage_policy" in fields else dataset.storage_policy,
    )
    changed = [field for field in EDITABLE if field != "metadata" and getattr(new, field) != getattr(dataset, field)]
    return new, changed
