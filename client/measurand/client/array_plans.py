"""What a key of an array means for its chunks: what is fetched and where it goes, what is written and what stays.

A selection is read into a *box*, which has one axis for each of the array; what numpy would give is a view of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from measurand.chunks.grid import Grid
from measurand.chunks.selections import Part, Selection, parse
from measurand.client.array_layouts import Elements, Layout
from measurand.client.hashing import Bytes
from measurand.wire.errors import Conflict, InvalidArgument, SelectionInvalid

__all__ = [
    "ShapesDiffer",
    "box_of",
    "changed",
    "covers",
    "extended",
    "missing_ranges",
    "outer",
    "place",
    "renews",
    "result_of",
    "rows_of",
    "shrunk",
    "spread",
    "view_of",
    "written_of",
]


class ShapesDiffer(SelectionInvalid, ValueError):
    """A value does not fit what was selected; where numpy raises ValueError. Nothing was written."""


def outer(key: Any, shape: tuple[int, ...]) -> Selection:
    """Return what a key selects of which every list or mask is taken along its own axis, whatever the others are."""
    items = list(key) if isinstance(key, tuple) else [key]
    if any(item is None for item in items):
        raise IndexError("oindex makes no new axes; index what was read with newaxis")
    named = sum(item is not Ellipsis for item in items)
    if named > len(shape) or len(items) - named > 1:
        parse(tuple(slice(None) if item is not Ellipsis else item for item in items), shape)  # numpy's own words
    places = [place for place, item in enumerate(items) if item is Ellipsis] or [len(items)]
    items[places[0] : places[0] + 1] = [slice(None)] * (len(shape) - named)
    alone = [_along(item, axis, length) for axis, (item, length) in enumerate(zip(items, shape, strict=True))]
    return Selection(
        tuple(selection.axes[0] for selection in alone),
        tuple(selection.dropped[0] for selection in alone),
        scalar=all(selection.scalar for selection in alone),
    )


def _along(item: Any, axis: int, length: int) -> Selection:
    try:
        return parse((item,), (length,))
    except IndexError as error:
        raise IndexError(str(error).replace("axis 0", f"axis {axis}")) from None


def box_of(layout: Layout, selection: Selection, out: Any) -> tuple[Elements, Elements]:
    """Return what a reading fills, and the box that is a view of it.

    Parameters
    ----------
    out : ndarray, buffer or None
        What the caller wants filled: of the result's shape and of the array's dtype, in any layout; or bytes that
        hold as many elements in C order. None: made here.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it has another shape or dtype, or cannot be written.
    """
    if out is None:
        filled = np.empty(selection.shape, layout.dtype)
        return filled, filled.reshape(selection.box_shape)
    if not isinstance(out, np.ndarray):
        view = memoryview(out).cast("B")
        if layout.dtype.hasobject or view.nbytes != layout.dtype.itemsize * int(np.prod(selection.shape, dtype=object)):
            raise InvalidArgument(
                f"{layout.name}: `out` has {view.nbytes} bytes, not those of the selection", field="out"
            )
        out = np.frombuffer(view, layout.dtype).reshape(selection.shape)
    if out.shape != selection.shape or out.dtype != layout.dtype or not out.flags.writeable:
        access = "writable" if out.flags.writeable else "read-only"
        raise InvalidArgument(
            f"{layout.name}: `out` is a {access} array of {out.dtype} and shape {out.shape}; give a writable one of "
            f"{layout.dtype} and shape {selection.shape}",
            field="out",
        )
    return out, view_of(out, selection.box_shape)


def view_of(elements: Elements, shape: tuple[int, ...]) -> Elements:
    """Return a view with other axes of length 1."""
    view = elements.reshape(shape)
    assert elements.size == 0 or np.may_share_memory(view, elements)
    return view


def result_of(filled: Elements, selection: Selection) -> Any:
    """Return what numpy would give: the array, or a scalar where all axes were selected by integers."""
    return filled[()] if selection.scalar else filled


def place(layout: Layout, box: Elements, part: Part, data: Bytes | None) -> None:
    """Put what a chunk has of a selection where it belongs, decoded in place where it lies there as in the chunk.

    Parameters
    ----------
    data : bytes or None
        The encoded chunk; None: nothing was written to it.

    Raises
    ------
    DataLoss
        STORED_DATA_CORRUPT: the bytes are not what was written; with array and chunk.
    """
    if data is None:
        box[indexer(part.out_key, box.shape)] = layout.fill
        return
    target = indexer(part.out_key, box.shape)
    there = box[(*target, ...)] if _is_plain(target) and covers(part, layout.grid) else None
    if there is not None and there.flags.c_contiguous:
        decode(layout, part.index, data, out=there)
    else:
        box[target] = decode(layout, part.index, data)[indexer(part.chunk_key, layout.grid.chunk_shape)]


def decode(layout: Layout, index: Sequence[int], data: Bytes, *, out: Elements | None = None) -> Elements:
    """Return the elements of a chunk, proven to be those that were written."""
    return layout.pipeline.decode(data, out, resource=f"{layout.name}: chunk {[*index]}")


def covers(part: Part, grid: Grid) -> bool:
    """Tell whether a part is all of its chunk, in the chunk's order, beyond the end of the array as well."""
    return all(
        isinstance(key, slice) and key.step == 1 and key.start == 0 and key.stop == length
        for key, length in zip(part.chunk_key, grid.chunk_shape, strict=True)
    )


def renews(part: Part, grid: Grid) -> bool:
    """Tell whether nothing of the chunk stays when the part is written, beyond the end of the array as well."""
    within = zip(part.index, grid.chunk_shape, grid.shape, strict=True)
    return part.whole and all((at + 1) * chunk <= length for at, chunk, length in within)


def indexer(keys: Sequence[slice | list[int]], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return a key for numpy that takes every list along its own axis."""
    lists = sum(isinstance(key, list) for key in keys)
    if lists < 2:
        return tuple(keys)
    taken = [np.arange(length)[key] if isinstance(key, slice) else key for key, length in zip(keys, shape, strict=True)]
    return np.ix_(*taken)


def _is_plain(key: tuple[Any, ...]) -> bool:
    return all(isinstance(item, slice) for item in key)


def spread(layout: Layout, value: Any, selection: Selection) -> Elements:
    """Return a value as a box, by numpy's rules of assignment; a view of an array, however large.

    Raises
    ------
    ShapesDiffer
        SELECTION_INVALID: it cannot be broadcast to what was selected.
    TypeError, ValueError, OverflowError
        Where numpy raises them: what was given is no value of the array's dtype.
    """
    is_array = isinstance(value, (np.ndarray, np.generic))
    value = np.asarray(value if is_array else _made(layout, value))
    while is_array and value.ndim > len(selection.shape) and value.shape[0] == 1:
        value = value[0]
    try:
        whole = np.broadcast_to(value, selection.shape)
    except ValueError:
        raise ShapesDiffer(
            f"{layout.name}: could not broadcast input array from shape {value.shape} into shape {selection.shape}; "
            f"the array has shape {layout.grid.shape}, and nothing was written. Resize or append to make it longer"
        ) from None
    return view_of(whole, selection.box_shape)


def _made(layout: Layout, value: Any) -> Elements:
    """Return what is no array as one, element by element as numpy assigns it: 300 is no uint8."""
    if hasattr(value, "__array__"):
        return np.asarray(value)
    made = np.empty(() if layout.dtype.names and isinstance(value, tuple) else np.shape(value), layout.dtype)
    made[...] = value
    return made


def shrunk(layout: Layout) -> Conflict:
    """Return what is said when the server does not know a chunk that the handle knows of."""
    return Conflict(
        f"{layout.name} is smaller by now than {layout.grid.shape}; refresh() the handle, and select anew",
        resource=layout.name,
    )


def rows_of(layout: Layout, block: Any) -> Elements:
    """Return a block of rows to be appended.

    Raises
    ------
    ShapesDiffer
        SELECTION_INVALID: the rows have another shape, or a dtype that does not go into the array's.
    """
    if not layout.grid.shape:
        raise ShapesDiffer(f"{layout.name} has no axis to append to; make an array with one", axis=0)
    rows = np.asarray(block if isinstance(block, np.ndarray) else _made(layout, block))
    if rows.ndim != len(layout.grid.shape) or rows.shape[1:] != layout.grid.shape[1:]:
        wanted = ", ".join(["n", *map(str, layout.grid.shape[1:])])
        raise ShapesDiffer(f"{layout.name}: a block of shape {rows.shape}; give rows of shape ({wanted})", axis=0)
    if not np.can_cast(rows.dtype, layout.dtype, "same_kind"):
        raise ShapesDiffer(
            f"{layout.name}: rows of {rows.dtype} do not go into {layout.dtype}; convert them with astype", axis=0
        )
    return rows


def changed(layout: Layout, part: Part, box: Elements, data: Bytes | None) -> Elements:
    """Return a chunk as a part of a box changes it.

    Parameters
    ----------
    data : bytes or None
        The encoded chunk as it was; None: nothing was written to it, or nothing of it stays.
    """
    source = np.asarray(box[indexer(part.out_key, box.shape)])
    if data is None and covers(part, layout.grid) and source.dtype == layout.dtype and source.flags.c_contiguous:
        return source
    chunk = layout.new_chunk() if data is None else decode(layout, part.index, data)
    if not chunk.flags.writeable:
        chunk = chunk.copy()
    chunk[indexer(part.chunk_key, layout.grid.chunk_shape)] = source
    return chunk


def extended(layout: Layout, part: Part, box: Elements, data: Bytes | None, kept: int) -> Elements:
    """Return a chunk with rows of a box behind those that are kept; what stood there before was never seen.

    Parameters
    ----------
    kept : int
        So many rows of the chunk stay.
    """
    chunk = layout.new_chunk()
    if data is not None:
        chunk[:kept] = decode(layout, part.index, data)[:kept]
    chunk[indexer(part.chunk_key, layout.grid.chunk_shape)] = box[indexer(part.out_key, box.shape)]
    return chunk


def written_of(grid: Grid, indexes: Iterable[Sequence[int]]) -> Elements:
    """Return a boolean array over the grid of chunks: True where there is one of the indexes."""
    written = np.zeros(grid.counts, bool)
    for index in indexes:
        if grid.contains(tuple(index)):
            written[tuple(index)] = True
    return written


def missing_ranges(grid: Grid, written: Elements) -> list[tuple[slice, ...]]:
    """Return keys that select all elements of unwritten chunks: no element twice, neighbours together."""
    boxes = [tuple((at, at + 1) for at in index) for index in np.argwhere(~written).tolist()]
    for axis in reversed(range(len(grid.counts))):
        boxes = _joined(boxes, axis)
    return [
        tuple(
            slice(start * chunk, min(stop * chunk, length))
            for (start, stop), chunk, length in zip(box, grid.chunk_shape, grid.shape, strict=True)
        )
        for box in sorted(boxes)
    ]


def _joined(boxes: list[tuple[tuple[int, int], ...]], axis: int) -> list[tuple[tuple[int, int], ...]]:
    """Join boxes that lie side by side along an axis and are alike along the others."""
    joined: list[tuple[tuple[int, int], ...]] = []
    for box in sorted(boxes, key=lambda box: (box[:axis], box[axis + 1 :], box[axis])):
        last = joined[-1] if joined else None
        if last is not None and last[axis][1] == box[axis][0] and _without(last, axis) == _without(box, axis):
            joined[-1] = (*box[:axis], (last[axis][0], box[axis][1]), *box[axis + 1 :])
        else:
            joined.append(box)
    return joined


def _without(box: tuple[tuple[int, int], ...], axis: int) -> tuple[tuple[int, int], ...]:
    return (*box[:axis], *box[axis + 1 :])
