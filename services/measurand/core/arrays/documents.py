"""Arrays as values, and as the documents that say what they are and how far they reach."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from measurand.chunks.grid import Grid
from measurand.core.names import ArrayName, parse_array
from measurand.core.ports import Document, Json
from measurand.core.searchable import entries
from measurand.core.times import from_microseconds, microseconds
from measurand.core.view import View

__all__ = [
    "ARRAYS",
    "STAGED",
    "Array",
    "array_document",
    "array_of",
    "array_view",
    "is_dropped",
    "staged_document",
    "staged_view",
    "was_seen",
]

ARRAYS = "arrays"
"""The collection of the arrays that can be seen: key the array's name, scope its dataset's."""

STAGED = "staged_arrays"
"""The collection of those that cannot, not yet or no more: key the uid, scope the dataset's name."""

TAKEOVERS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Array:
    """What is known about an array.

    Parameters
    ----------
    uid : str
        A ULID in lower case, of this array and no other that has had or will have its name.
    shape : tuple of int
        The visible extent.
    data_type : str
        Of Zarr v3: a name, or the JSON text of a type with a configuration.
    block_shape : tuple of int
        In chunks: how many neighbours one index document covers along each axis. Never changed.
    fill_value : bytes
        One element, little-endian.
    codecs : str
        The chain of Zarr v3, as JSON text.
    attributes : str
        One line of Extended JSON.
    version : int
        Counts the changes of this document.
    epoch : int
        Counts the appenders; only the newest may append.
    takeovers : mapping of int to int
        How many rows an appender, by its epoch, had left when the next one took over; the last 32.
    growing_until : datetime, optional
        An appender is at work, and has said so not long ago.
    trim : tuple of int, optional
        What the shape is to be as soon as the chunks beyond the present one are gone; see `resizing`.
    cuts : int
        Counts how often it was cut down.
    is_sealed : bool
        Neither this nor any chunk can be changed any more.
    has_sealed_index : bool
        All index documents that belong to a sealed array are marked: one without a mark came too late.
    request : str
        What made it: `{id} {fingerprint}`.
    changes : tuple of str
        The last few requests that changed it, in the same form.
    expire_time : datetime, optional
        When a staged array is thrown away. None: it is not staged.
    """

    name: ArrayName
    uid: str
    shape: tuple[int, ...]
    data_type: str
    chunk_shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    fill_value: bytes
    codecs: str
    creator: str
    create_time: datetime
    update_time: datetime
    dimension_names: tuple[str, ...] = ()
    attributes: str = "{}"
    version: int = 1
    epoch: int = 0
    takeovers: Mapping[int, int] = field(default_factory=dict)
    growing_until: datetime | None = None
    trim: tuple[int, ...] | None = None
    cuts: int = 0
    is_sealed: bool = False
    has_sealed_index: bool = False
    request: str = ""
    changes: tuple[str, ...] = ()
    expire_time: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with the shape and all else that is said here, not with every chunk."""
        return f"{self.uid}-{self.version}"

    @property
    def grid(self) -> Grid:
        """How its elements lie in chunks."""
        return Grid(self.shape, self.chunk_shape)

    def is_growing(self, now: datetime) -> bool:
        """Tell whether an appender is at work."""
        return self.growing_until is not None and now < self.growing_until


def array_document(array: Array) -> Document:
    """Return the document of an array that can be seen."""
    return Document(str(array.name), str(array.name.parent), _body(array), array.attributes, array_view(array))


def staged_document(array: Array, *, is_dropped: bool = False, was_seen: bool = False, size: int = 0) -> Document:
    """Return the document of an array that cannot be seen; `expire_time` is set.

    Parameters
    ----------
    is_dropped : bool
        It takes no chunks any more, and will not be seen again: what is left waits for those who still read it.
    was_seen : bool
        One that is dropped was seen once; else it was thrown away as a staged one.
    size : int
        How many bytes are in the chunks of one that is dropped.
    """
    assert array.expire_time is not None
    body = {
        **_body(array),
        "expires": microseconds(array.expire_time),
        "dropped": is_dropped,
        "seen": was_seen,
        "size": size,
    }
    view = staged_view(array.expire_time, size)
    return Document(array.uid, str(array.name.parent), body, array.attributes, view)


def array_of(document: Document) -> Array:
    """Return the array that a document of either collection is."""
    body: Mapping[str, Any] = document.body
    trim, growing, expires = body["trim"], body["growing"], body.get("expires")
    return Array(
        name=parse_array(body["name"]),
        uid=body["uid"],
        shape=tuple(body["shape"]),
        data_type=body["data_type"],
        chunk_shape=tuple(body["chunk_shape"]),
        block_shape=tuple(body["block_shape"]),
        fill_value=base64.b64decode(body["fill_value"]),
        codecs=body["codecs"],
        creator=body["creator"],
        create_time=from_microseconds(body["created"]),
        update_time=from_microseconds(body["updated"]),
        dimension_names=tuple(body["dimension_names"]),
        attributes=document.text,
        version=body["version"],
        epoch=body["epoch"],
        takeovers={int(epoch): rows for epoch, rows in body["takeovers"].items()},
        growing_until=None if growing is None else from_microseconds(growing),
        trim=None if trim is None else tuple(trim),
        cuts=body["cuts"],
        is_sealed=body["sealed"],
        has_sealed_index=body["index_sealed"],
        request=body["request"],
        changes=tuple(body["changes"]),
        expire_time=None if expires is None else from_microseconds(expires),
    )


def is_dropped(document: Document) -> bool:
    """Tell whether a document of `STAGED` is of an array that takes no chunks any more."""
    return document.body["dropped"] is True


def was_seen(document: Document) -> bool:
    """Tell whether a document of `STAGED` is of an array that was seen once."""
    return document.body["seen"] is True


def array_view(array: Array) -> View:
    """Return what an array can be found by."""
    return [*entries(growing=array.growing_until, sealed=array.is_sealed)]


def staged_view(expire_time: datetime, size: int) -> View:
    """Return what an array that cannot be seen can be found by."""
    return [*entries(expires=expire_time, size=size)]


def _body(array: Array) -> dict[str, Json]:
    takeovers = sorted(array.takeovers.items())[-TAKEOVERS_KEPT:]
    return {
        "name": str(array.name),
        "uid": array.uid,
        "shape": list(array.shape),
        "data_type": array.data_type,
        "chunk_shape": list(array.chunk_shape),
        "block_shape": list(array.block_shape),
        "fill_value": base64.b64encode(array.fill_value).decode(),
        "codecs": array.codecs,
        "dimension_names": list(array.dimension_names),
        "version": array.version,
        "epoch": array.epoch,
        "takeovers": {str(epoch): rows for epoch, rows in takeovers},
        "growing": None if array.growing_until is None else microseconds(array.growing_until),
        "trim": None if array.trim is None else list(array.trim),
        "cuts": array.cuts,
        "sealed": array.is_sealed,
        "index_sealed": array.has_sealed_index,
        "creator": array.creator,
        "created": microseconds(array.create_time),
        "updated": microseconds(array.update_time),
        "request": array.request,
        "changes": list(array.changes),
    }
