"""Tables to CSV: arrays as columns, in digits that give the same values when they are read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np

from measurand.wire.errors import InvalidArgument

__all__ = ["TableWriter", "check_table"]


def check_table(arrays: Iterable[Any]) -> int:
    """Return how many rows a table of these arrays has.

    Parameters
    ----------
    arrays : iterable
        Each has `name`, `shape` and `dtype`.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: there are none, two have different lengths, or one has not one or two axes or no form as text;
        the text names it.
    """
    first: Any = None
    for array in arrays:
        if len(array.shape) not in (1, 2):
            raise InvalidArgument(
                f"{array.name} has {len(array.shape)} axes; a table has columns: choose arrays of one or two axes",
                field="arrays",
            )
        if array.dtype.kind not in "biufcmMSUT":
            raise InvalidArgument(f"{array.name} has dtype {array.dtype}, which has no form in a table", field="arrays")
        first = first or array
        if array.shape[0] != first.shape[0]:
            raise InvalidArgument(
                f"{first.name} has {first.shape[0]} rows and {array.name} has {array.shape[0]}; "
                "a table needs columns of one length: name those that fit together",
                field="arrays",
            )
    if first is None:
        raise InvalidArgument("there are no arrays to make a table of", field="arrays")
    return int(first.shape[0])


class TableWriter:
    """Writes a table, some rows at a time.

    Floats are written with the fewest digits that give the same float64 when they are read; the payload of a NaN is
    not kept. NaT is an empty cell, a timedelta64 the number of its units.

    Parameters
    ----------
    file : text file
        Opened with `newline=""`.
    arrays : sequence
        Each has `name`, `shape`, `dtype` and `attrs`; see `check_table`.
    """

    def __init__(self, file: IO[str], arrays: Sequence[Any]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        self._writer.writerow([header for array in arrays for header in _headers(array)])

    def write(self, blocks: Sequence[Any]) -> None:
        """Write the rows of each array, in the order in which the arrays were given."""
        columns: list[list[Any]] = []
        for block in blocks:
            elements = [block] if block.ndim == 1 else [block[:, number] for number in range(block.shape[1])]
            columns += [_cells(element) for element in elements]
        # Readers take a bare carriage return for the end of a line, and `csv` does not know that it needs quotes.
        has_return = any("\r" in cell for column in columns for cell in column if isinstance(cell, str))
        (self._quoting if has_return else self._writer).writerows(zip(*columns, strict=True))


def _headers(array: Any) -> list[str]:
    unit = _unit(array.attrs, array.dtype)
    behind = f" ({unit})" if unit and not array.name.endswith(f"({unit})") else ""
    if len(array.shape) == 1:
        return [f"{array.name}{behind}"]
    return [f"{array.name}[{number}]{behind}" for number in range(array.shape[1])]


def _unit(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> str:
    unit = attrs.get("units", attrs.get("unit", ""))
    if not unit and dtype.kind == "m":
        name, count = np.datetime_data(dtype)
        return name if count == 1 else f"{count}{name}"
    return str(unit)


def _cells(values: Any) -> list[Any]:
    kind = values.dtype.kind
    if kind == "M":
        return ["" if cell == "NaT" else cell for cell in np.datetime_as_string(values).tolist()]
    if kind == "m":
        numbers = values.astype("i8").tolist()
        return ["" if is_nat else number for number, is_nat in zip(numbers, np.isnat(values).tolist(), strict=True)]
    if kind == "S":
        return [cell.decode("utf-8", "backslashreplace") for cell in values.tolist()]
    cells: list[Any] = values.tolist()
    return cells
