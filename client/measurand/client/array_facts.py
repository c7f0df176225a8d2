"""What is known of an array without asking: what both handles have, whether they wait or are awaited."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import display, names, values
from measurand.client.results import time_of
from measurand.v1 import arrays_pb2, common_pb2

if TYPE_CHECKING:
    import numpy as np

    from measurand.client.array_layouts import Layout

__all__ = ["JSON", "KNOWN", "ArrayFacts", "get_array"]

JSON = common_pb2.DOCUMENT_FORM_JSON
KNOWN = (
    *("name", "shape", "data_type", "chunk_shape", "fill_value", "codecs", "dimension_names", "attributes", "etag"),
    *("append_epoch", "growing", "create_time", "update_time", "uid"),
)
"""What a handle knows; for the rest the server has to count."""


def get_array(name: str) -> arrays_pb2.GetArrayRequest:
    """Return the question for what a handle knows."""
    return arrays_pb2.GetArrayRequest(name=name, read_mask=FieldMask(paths=KNOWN), document_form=JSON)


class ArrayFacts:
    """An array as a message told of it. numpy is imported when it matters of what type the elements are."""

    def __init__(self, message: arrays_pb2.Array) -> None:
        self._message = message
        self._known_layout: Layout | None = None

    @property
    def name(self) -> str:
        """Its name in the dataset, such as `iq` or `entry/data`."""
        return names.array_path(self._message.name)

    @property
    def resource(self) -> str:
        """The resource name, `catalogs/{catalog}/datasets/{dataset}/arrays/{array}`."""
        return self._message.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return tuple(self._message.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, in the byte order of this machine."""
        return self._layout.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._message.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._message.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements in memory; see `stored_bytes` for the store."""
        return self.size * int(self.dtype.itemsize)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Length of a chunk along each axis: what is read and written as one."""
        return tuple(self._message.chunk_shape)

    @property
    def attrs(self) -> dict[str, Any]:
        """Units and whatever else is said of it. Changing this dict changes nothing in the store: see `update`."""
        return values.from_text(self._message.attributes.json)

    @property
    def dims(self) -> tuple[str | None, ...]:
        """Name of each axis; None for one without."""
        given = self._message.dimension_names
        return tuple(name or None for name in given) if given else (None,) * self.ndim

    @property
    def fill_value(self) -> Any:
        """What unwritten elements read as."""
        return self._layout.fill[()]

    @property
    def data_type(self) -> str:
        """The data type of Zarr v3: a name, or the JSON text of a type with a configuration."""
        return self._message.data_type

    @property
    def codecs(self) -> str:
        """How chunks are encoded: the codec chain of Zarr v3 as its JSON text."""
        return self._message.codecs

    @property
    def uid(self) -> str:
        """Stands for this array and no other that has had or will have its name."""
        return self._message.uid

    @property
    def etag(self) -> str:
        """Changes with the shape, the attributes and the names of the axes, not with every chunk."""
        return self._message.etag

    @property
    def growing(self) -> bool:
        """An appender was at work."""
        return self._message.growing

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self._message, "create_time")

    @property
    def updated(self) -> datetime | None:
        """When its shape, attributes or names of axes last changed."""
        return time_of(self._message, "update_time")

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayFacts) and (self.resource, self.etag) == (other.resource, other.etag)

    def __hash__(self) -> int:
        return hash((self.resource, self.etag))

    def __repr__(self) -> str:
        facts: dict[str, Any] = {
            "chunks": self.chunks,
            "dims": [name for name in self.dims if name],
            "attrs": self.attrs,
        }
        if self.growing:
            facts["growing"] = True
        return display.line("Array", f"{self.name} {self.shape} {self.dtype}", facts)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [("shape", str(self.shape)), ("dtype", str(self.dtype))]
        rows += [("size", display.bytes_text(self.nbytes)), ("chunks", str(self.chunks))]
        rows += [("dims", [name for name in self.dims if name]), ("growing", "yes" if self.growing else None)]
        rows += [("fill value", str(self.fill_value)), ("created", self.created), ("updated", self.updated)]
        return display.table(f"{self.name} · {self.resource.split('/')[3]}", [*rows, ("attrs", self.attrs)])

    @property
    def _layout(self) -> Layout:
        if self._known_layout is None:
            from measurand.client.array_layouts import layout_of

            self._known_layout = layout_of(self._message)
        return self._known_layout

    def _take(self, message: arrays_pb2.Array) -> None:
        self._message = message
        self._known_layout = None
