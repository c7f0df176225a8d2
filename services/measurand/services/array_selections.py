"""Selections as messages, as what Python writes between square brackets."""

from __future__ import annotations

from measurand.core.arrays.selecting import Key
from measurand.v1 import arrays_pb2

__all__ = ["key_of"]


def key_of(message: arrays_pb2.Selection) -> Key:
    """Return what a selection is in numpy's basic indexing; axes that it leaves out are left out here, too."""
    return tuple(_part(axis) for axis in message.axes)


def _part(axis: arrays_pb2.AxisSelection) -> int | slice:
    kind = axis.WhichOneof("part")
    if kind == "index":
        return axis.index
    if kind is None:
        return slice(None)
    part = axis.slice
    return slice(
        part.start if part.HasField("start") else None, part.stop if part.HasField("stop") else None, part.step or 1
    )
