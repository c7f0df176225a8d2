"""Attributes and names of axes: what of an array can be changed but its shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

from measurand.chunks.spec import MAX_ATTRIBUTES_BYTES
from measurand.core.arrays.documents import Array
from measurand.core.dataset_edits import Source
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.metadata import Metadata, MetadataReader
from measurand.wire.errors import InvalidArgument, TooLarge

__all__ = ["ArrayEdit", "Attributes", "apply_edit", "check_dimension_names", "check_edit"]

EDITABLE = ("attributes", "dimension_names")
MAX_DIMENSION_NAME = 255


@dataclass(frozen=True, slots=True)
class ArrayEdit:
    """One change of an array.

    Parameters
    ----------
    fields : tuple of str
        Which of `attributes` and `dimension_names` to replace.
    patch : Source, optional
        A JSON merge patch (RFC 7396) for the attributes.
    """

    fields: tuple[str, ...] = ()
    attributes: Source | None = None
    dimension_names: tuple[str, ...] = ()
    patch: Source | None = None

    def to_text(self) -> str:
        """Return all of it but the attributes, for telling requests apart."""
        return repr((self.fields, self.dimension_names))


def check_edit(edit: ArrayEdit) -> None:
    """Raise InvalidArgument unless the edit can be applied to an array."""
    for field in edit.fields:
        if field not in EDITABLE:
            raise InvalidArgument(
                f"update_mask: {field!r} is no field that can be replaced; these are {', '.join(EDITABLE)}; "
                "the shape is changed by ResizeArray",
                field="update_mask",
            )
    if edit.patch is not None and "attributes" in edit.fields:
        raise InvalidArgument(
            "attributes_patch: attributes is in the mask as well; either replace or patch them",
            field="attributes_patch",
        )


def apply_edit(array: Array, edit: ArrayEdit, attributes: str) -> Array:
    """Return the array after a checked edit, with these attributes."""
    names = array.dimension_names
    if "dimension_names" in edit.fields:
        names = check_dimension_names(edit.dimension_names, array.shape)
    return replace(array, attributes=attributes, dimension_names=names)


def check_dimension_names(names: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names, or raise InvalidArgument unless there are none, or as many as axes and none too long."""
    if any(len(name) > MAX_DIMENSION_NAME for name in names):
        raise InvalidArgument(
            f"array.dimension_names: a name has more than {MAX_DIMENSION_NAME} characters; put more into attributes",
            field="array.dimension_names",
        )
    if names and len(names) != len(shape):
        raise InvalidArgument(
            f"array.dimension_names: {len(names)} names for {len(shape)} axes; give one for each axis, or none",
            field="array.dimension_names",
        )
    return names


class Attributes:
    """Reads and changes attributes."""

    def __init__(self, means: Means, limits: Limits) -> None:
        self._reader = MetadataReader(means, replace(limits, max_document_bytes=MAX_ATTRIBUTES_BYTES))

    async def read(self, source: Source | None, *, field: str) -> str:
        """Return attributes as one line of Extended JSON. Raises DocumentInvalid, TooLarge."""
        return "{}" if source is None else (await self._reader.read(source, field=field)).text

    async def sources(self, edit: ArrayEdit) -> tuple[str, str]:
        """Return what an edit puts in the place of the attributes, and its patch; empty where it has none."""
        replacement = patch = ""
        if "attributes" in edit.fields:
            replacement = await self.read(edit.attributes, field="array.attributes")
        if edit.patch is not None:
            patch = await self.read(edit.patch, field="attributes_patch")
        return replacement, patch

    async def edited(self, before: str, replacement: str, patch: str) -> str:
        """Return attributes after a change, which `sources` has read."""
        if replacement:
            return replacement
        if not patch:
            return before
        try:
            after, _ = await self._reader.patched(before, Metadata(patch, len(patch), ()))
        except TooLarge as error:
            raise TooLarge(
                f"attributes_patch: the attributes would have more than {MAX_ATTRIBUTES_BYTES} bytes; put what "
                "is large into an array",
                limit=MAX_ATTRIBUTES_BYTES,
                actual=error.details["actual"],
                field="attributes_patch",
            ) from error
        return after.text
