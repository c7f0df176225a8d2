"""Arrays, their chunks and their changes as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.chunks.spec import zarr_json
from measurand.core.arrays.attributes import EDITABLE, ArrayEdit
from measurand.core.arrays.chunks import ChunkPart
from measurand.core.arrays.documents import Array
from measurand.core.arrays.element_reading import ElementPart
from measurand.core.arrays.making import NewArray, spec_of_array
from measurand.core.arrays.watching import ArrayChange
from measurand.core.arrays.writers import Ack
from measurand.core.dataset_edits import Source
from measurand.core.limits import Limits
from measurand.services.messages import check_fits, keep_fields, mask_fields, time_message
from measurand.v1 import arrays_pb2, common_pb2
from measurand.wire.structs import from_message, to_message

__all__ = ["ArrayPacking", "ack_message", "chunk_message", "edit_of", "elements_message", "new_array_of"]

_KINDS = {
    "updated": common_pb2.CHANGE_KIND_UPDATED,
    "deleted": common_pb2.CHANGE_KIND_DELETED,
    "heartbeat": common_pb2.CHANGE_KIND_HEARTBEAT,
}
_COSTLY = frozenset({"zarr_metadata"})
"""Left out of lists unless asked for."""


def new_array_of(message: arrays_pb2.CreateArrayRequest) -> NewArray:
    """Return the array that a request asks for."""
    array = message.array
    return NewArray(
        array_id=message.array_id,
        shape=tuple(array.shape),
        data_type=array.data_type,
        chunk_shape=tuple(array.chunk_shape),
        fill_value=array.fill_value,
        codecs=array.codecs,
        dimension_names=tuple(array.dimension_names),
        attributes=_source(array.attributes) if array.HasField("attributes") else None,
    )


def edit_of(message: arrays_pb2.UpdateArrayRequest) -> ArrayEdit:
    """Return the change that a request asks for."""
    fields = mask_fields(message.update_mask, arrays_pb2.Array.DESCRIPTOR, field="update_mask")
    patch = _source(message.attributes_patch) if message.HasField("attributes_patch") else None
    if fields is None:
        fields = frozenset(field.name for field, _ in message.array.ListFields()).intersection(EDITABLE)
    return ArrayEdit(
        fields=tuple(sorted(fields)),
        attributes=_source(message.array.attributes),
        dimension_names=tuple(message.array.dimension_names),
        patch=patch,
    )


class ArrayPacking:
    """How one request wants its arrays.

    Parameters
    ----------
    now : datetime
        The time, which says whether an array is still growing.
    read_mask : FieldMask, optional
        Which fields to answer. None or empty: all, of lists those that cost little.
    is_list : bool
        Several arrays stand in the answer.
    """

    def __init__(
        self,
        now: datetime,
        limits: Limits,
        form: common_pb2.DocumentForm.ValueType = common_pb2.DOCUMENT_FORM_JSON,
        *,
        read_mask: FieldMask | None = None,
        is_list: bool = False,
    ) -> None:
        fields = None if read_mask is None else mask_fields(read_mask, arrays_pb2.Array.DESCRIPTOR)
        if fields is None and is_list:
            fields = frozenset(arrays_pb2.Array.DESCRIPTOR.fields_by_name) - _COSTLY
        self._fields = fields
        self._form = form
        self._now = now
        self._most_bytes = limits.max_message_bytes

    def asks_for(self, field: str) -> bool:
        """Tell whether a field is in the answer."""
        return self._fields is None or field in self._fields

    def array(self, array: Array, *, stored_bytes: int = 0) -> arrays_pb2.Array:
        """Return an array as callers see it."""
        message = arrays_pb2.Array(
            name=str(array.name),
            shape=array.shape,
            data_type=array.data_type,
            chunk_shape=array.chunk_shape,
            fill_value=array.fill_value,
            codecs=array.codecs,
            dimension_names=array.dimension_names,
            attributes=to_message(array.attributes, self._form) if self.asks_for("attributes") else None,
            zarr_metadata=zarr_json(spec_of_array(array)) if self.asks_for("zarr_metadata") else "",
            etag=array.etag,
            append_epoch=array.epoch,
            growing=array.is_growing(self._now),
            create_time=time_message(array.create_time),
            update_time=time_message(array.update_time),
            stored_bytes=stored_bytes,
            uid=array.uid,
            expire_time=time_message(array.expire_time),
        )
        keep_fields(message, self._fields)
        check_fits(message, self._most_bytes)
        return message

    def change(self, change: ArrayChange) -> arrays_pb2.ArrayChange:
        """Return what has become of an array."""
        array = None if change.array is None else self.array(change.array)
        return arrays_pb2.ArrayChange(kind=_KINDS[change.kind], array=array)


def ack_message(ack: Ack, *, window_bytes: int = 0) -> arrays_pb2.WriteArrayChunksResponse:
    """Return what a writer is told."""
    return arrays_pb2.WriteArrayChunksResponse(
        acknowledged_sequence=ack.sequence,
        visible_rows=ack.visible_rows,
        etag=ack.etag,
        append_epoch=ack.epoch,
        window_bytes=window_bytes,
    )


def chunk_message(part: ChunkPart, array: arrays_pb2.Array | None) -> arrays_pb2.ReadArrayChunksResponse:
    """Return the head of a part of a chunk; its bytes go beside it."""
    return arrays_pb2.ReadArrayChunksResponse(
        array=array,
        index=part.index,
        chunk_size=part.size,
        part_offset=part.offset,
        crc32c=part.crc32c,
        chunk_etag="" if part.offset else part.etag,
    )


def elements_message(
    part: ElementPart | None, array: arrays_pb2.Array | None = None, shape: Iterable[int] = (), size: int = 0
) -> arrays_pb2.ReadArrayResponse:
    """Return the head of a part of a result; the first one tells of the array and the whole result."""
    return arrays_pb2.ReadArrayResponse(
        array=array,
        result_shape=shape,
        result_size=size,
        offset=part.offset if part else 0,
        crc32c=part.crc32c if part else None,
    )


def _source(message: common_pb2.Document) -> Source:
    return message.json if message.WhichOneof("form") == "json" else from_message(message)
