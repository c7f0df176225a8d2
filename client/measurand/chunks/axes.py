"""Names of axes that fit together: xarray lines arrays up by them, so one name has one length.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["named_axes"]

Shape = Sequence[int]


def named_axes(arrays: Mapping[str, tuple[Shape, Sequence[str | None]]]) -> dict[str, tuple[str, ...]]:
    """Return a name for every axis of arrays that lie side by side.

    An array keeps the names that it has. Where two disagree about the length of an axis, that of the coordinate (the
    array with one axis that bears its name) is right, else that of the first array by name; the axes of the others
    get names of their own, `{array}_{number}`, as do axes without a name. An array with one unnamed axis is the
    coordinate of its own name if others have an axis of that name and length.

    Parameters
    ----------
    arrays : mapping
        Shape and names of axes by the array's name; None or "" for an axis without, none at all for an array without.
    """
    wanted = {dim for _, dims in arrays.values() for dim in dims if dim}
    lengths = {
        name: shape[0]
        for name, (shape, dims) in arrays.items()
        if name in wanted and len(shape) == 1 and (not any(dims) or dims[0] == name)
    }
    for name in sorted(arrays):
        for dim, length in zip(arrays[name][1], arrays[name][0], strict=False):
            if dim:
                lengths.setdefault(dim, length)
    taken = {*arrays, *wanted}
    return {name: _axes(name, shape, dims, lengths, taken) for name, (shape, dims) in arrays.items()}


def _axes(
    name: str, shape: Shape, dims: Sequence[str | None], lengths: Mapping[str, int], taken: set[str]
) -> tuple[str, ...]:
    if not any(dims) and len(shape) == 1 and lengths.get(name) == shape[0]:
        return (name,)
    chosen: list[str] = []
    for axis, length in enumerate(shape):
        dim = dims[axis] if axis < len(dims) else None
        is_own_name = dim == name and len(shape) > 1  # xarray takes that for a coordinate that cannot be one
        if not dim or lengths[dim] != length or dim in chosen or is_own_name:
            dim = f"{name.rpartition('/')[2]}_{axis}"
            while dim in taken:
                dim += "_"
            taken.add(dim)
        chosen.append(dim)
    return tuple(chosen)
