"""Tables from CSV: every column becomes an array, of the narrowest sort that holds all its cells.

The file is read twice, first to learn what the columns are, then to take them over into scratch files: a table may be
larger than memory.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from measurand.client.file_arrays import FileArray
from measurand.client.found_arrays import ArrayFile, FoundArray
from measurand.wire.errors import InvalidArgument

__all__ = ["open_csv"]

BLOCK_ROWS = 16_384
LONGEST_FIXED = 64
"""Text of at most so many characters is stored with a fixed length, longer text with the length of each cell."""

BOOLS = {"True": True, "False": False, "true": True, "false": False, "TRUE": True, "FALSE": False}
UNITS = ("D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,18})?)?)?)?(Z|[+-]\d\d:?\d\d)?")
UNIT = re.compile(r".*\((?P<unit>[^()]+)\)")

INT, FLOAT, COMPLEX, BOOL, TIME, TEXT = "int", "float", "complex", "bool", "time", "text"


@contextmanager
def open_csv(path: Path, *, delimiter: str = ",") -> Iterator[ArrayFile]:
    """Yield the columns of a table with a header as arrays.

    A column of whole numbers is int64 (uint64 where need be), of numbers float64 or complex128, of True and False
    bool, of ISO 8601 times datetime64 in the unit of its finest cell (with a zone: in UTC), any other is text. An
    empty cell is NaN, NaT or "". A unit in parentheses at the end of a header is noted in the attributes too.

    Raises
    ------
    InvalidArgument
        FIELD_INVALID: it is no UTF-8, a line has another number of cells than the header, or a header comes twice.
    """
    with tempfile.TemporaryDirectory(prefix="measurand-csv-") as folder:
        columns = _survey(path, delimiter)
        taken = [column.begin(Path(folder) / str(number)) for number, column in enumerate(columns)]
        try:
            for cells in _blocks(path, delimiter):
                for target, column in zip(taken, cells, strict=True):
                    target.take(column)
            yield ArrayFile(tuple(column.found(target) for column, target in zip(columns, taken, strict=True)))
        finally:
            for target in taken:
                target.close()


class Column:
    """What is known of a column so far.

    Parameters
    ----------
    name : str
        Its header.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sorts = [INT, FLOAT, COMPLEX, BOOL, TIME]
        self.rows = 0
        self.has_empty = False
        self.is_empty = True
        self.least, self.most = 0, 0
        self.unit = 0
        self.longest = 1

    def look(self, cells: tuple[str, ...]) -> None:
        """Rule out what these cells cannot be."""
        self.rows += len(cells)
        self.longest = max(self.longest, max(map(len, cells), default=0))
        full = [cell for cell in cells if cell]
        self.has_empty |= len(full) < len(cells)
        if not full:
            return
        self.is_empty = False
        for sort in tuple(self.sorts):
            if self._fits(sort, full):
                if sort in (INT, FLOAT, COMPLEX):  # whatever is narrower is wider as well
                    self.sorts = [kept for kept in self.sorts if kept in (INT, FLOAT, COMPLEX)]
                return
            self.sorts.remove(sort)

    def _fits(self, sort: str, cells: list[str]) -> bool:
        if sort == BOOL:
            return all(cell in BOOLS for cell in cells)
        if any("_" in cell for cell in cells):  # Python would read 1_000 as a number
            return False
        try:
            if sort == INT:
                numbers = list(map(int, cells))
                self.least, self.most = min(self.least, *numbers), max(self.most, *numbers)
            elif sort == TIME:
                self.unit = max(self.unit, *map(_depth, cells))
            else:
                list(map(float if sort == FLOAT else complex, cells))
        except ValueError:
            return False
        return True

    @property
    def sort(self) -> str:
        """The narrowest sort that holds every cell."""
        first = self.sorts[0] if self.sorts else TEXT
        if self.is_empty or (first == INT and (self.has_empty or self.least < -(1 << 63) or self.most >= 1 << 64)):
            return FLOAT
        if first == INT and self.least < 0 and self.most >= 1 << 63:
            return FLOAT
        return TEXT if first == BOOL and self.has_empty else first

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of that sort."""
        sort = self.sort
        if sort == TEXT:
            return np.dtype(f"U{self.longest}") if self.longest <= LONGEST_FIXED else np.dtypes.StringDType()
        if sort == TIME:
            return np.dtype(f"M8[{UNITS[self.unit]}]")
        if sort == INT and self.most >= 1 << 63:
            return np.dtype("u8")
        return np.dtype({INT: "i8", FLOAT: "f8", COMPLEX: "c16", BOOL: "?"}[sort])

    def begin(self, scratch: Path) -> Taken:
        """Return what takes the cells."""
        return TextTaken(scratch, self) if self.sort == TEXT else Taken(scratch, self)

    def found(self, taken: Taken) -> FoundArray:
        """Return the array that was made of it."""
        unit = UNIT.fullmatch(self.name)
        return FoundArray(self.name, taken.value(), {"units": unit["unit"]} if unit else {})


class Taken:
    """The cells of a column, taken over into a scratch file of numbers.

    Parameters
    ----------
    scratch : Path
        The file.
    column : Column
        What the column is.
    """

    def __init__(self, scratch: Path, column: Column) -> None:
        self.sort, self.dtype, self.rows = column.sort, column.dtype, column.rows
        self._scratch = scratch
        self._file = scratch.open("wb")

    def take(self, cells: tuple[str, ...]) -> None:
        """Take the cells of the next rows."""
        self._file.write(np.array(self._parsed(cells), self.dtype).tobytes())

    def value(self) -> Any:
        """Return the column as an array; it takes no more cells."""
        self._file.close()
        return FileArray(self._scratch, self.dtype, (self.rows,))

    def close(self) -> None:
        """Let the scratch file go."""
        self._file.close()

    def _parsed(self, cells: tuple[str, ...]) -> list[Any]:
        if self.sort == TIME:
            unit = np.datetime_data(self.dtype)[0]
            return [_moment(cell, unit) for cell in cells]
        if self.sort == BOOL:
            return [BOOLS[cell] for cell in cells]
        parse = {INT: int, FLOAT: float, COMPLEX: complex}[self.sort]
        return [parse(cell or "nan") for cell in cells]


class TextTaken(Taken):
    """The cells of a column of text, one after the other; where each ends stands in a file of its own."""

    chunks = None

    def __init__(self, scratch: Path, column: Column) -> None:
        super().__init__(scratch, column)
        self.shape = (self.rows,)
        self.size = self.rows
        self._edges_file = scratch.with_suffix(".edges").open("wb")
        self._length = 0

    def take(self, cells: tuple[str, ...]) -> None:
        encoded = [cell.encode() for cell in cells]
        ends = self._length + np.cumsum([len(cell) for cell in encoded], dtype="i8")
        self._length = int(ends[-1])
        self._edges_file.write(ends.tobytes())
        self._file.write(b"".join(encoded))

    def value(self) -> Any:
        self.close()
        self._text = FileArray(self._scratch, np.dtype("u1"), (self._length,))
        self._ends = FileArray(self._scratch.with_suffix(".edges"), np.dtype("i8"), (self.rows,))
        return self

    def close(self) -> None:
        super().close()
        self._edges_file.close()

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) else key
        first, last, _ = rows.indices(self.rows)
        ends = self._ends[max(0, first - 1) : last].tolist()
        edges = ends if first else [0, *ends]
        data = self._text[edges[0] : edges[-1]].tobytes() if len(edges) > 1 else b""
        cells = [data[start - edges[0] : end - edges[0]].decode() for start, end in pairwise(edges)]
        return np.array(cells, self.dtype)


def _survey(path: Path, delimiter: str) -> list[Column]:
    """Return what the columns are."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            header = next(csv.reader(file, delimiter=delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidArgument(f"{path} is no CSV in UTF-8: {error}", field="path") from error
    if not header:
        raise InvalidArgument(f"{path} is empty; its first line should name the columns", field="path")
    columns = [Column(name.strip() or f"column {number}") for number, name in enumerate(header, 1)]
    twice = [name for name, count in Counter(column.name for column in columns).items() if count > 1]
    if twice:
        raise InvalidArgument(f"{path} has two columns {twice[0]!r}; give them names of their own", field="path")
    for cells in _blocks(path, delimiter):
        for column, its_cells in zip(columns, cells, strict=True):
            column.look(its_cells)
    return columns


def _blocks(path: Path, delimiter: str) -> Iterator[list[tuple[str, ...]]]:
    """Yield the cells of some rows, column by column."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            width = len(next(reader, []))
            filled = filter(None, reader)  # an empty line is no row
            while rows := list(islice(filled, BLOCK_ROWS)):
                odd = next((row for row in rows if len(row) != width), None)
                if odd is not None:
                    raise InvalidArgument(
                        f"{path}: the row {delimiter.join(odd)[:80]!r} before line {reader.line_num + 1} has "
                        f"{len(odd)} cells, the header {width}; mend the file",
                        field="path",
                    )
                yield list(zip(*rows, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidArgument(
                f"{path} is no CSV in UTF-8: line {reader.line_num}: {error}", field="path"
            ) from error


def _depth(cell: str) -> int:
    """Return how fine a time is, as an index of UNITS. ValueError: it is none."""
    match = MOMENT.fullmatch(cell)
    if match is None:
        raise ValueError(cell)
    hour, minute, second, fraction, zone = match.groups()
    np.datetime64(cell.removesuffix(zone or ""))  # there may be no such day
    if fraction is not None:
        return 3 + -(-(len(fraction) - 1) // 3)
    parts = sum(part is not None for part in (hour, minute, second))
    return parts if zone in (None, "Z") else max(parts, UNITS.index("m"))


def _moment(cell: str, unit: Any) -> Any:
    """Return a time in UTC."""
    if not cell:
        return np.datetime64("NaT", unit)
    match = MOMENT.fullmatch(cell)
    zone = match[5] if match is not None else None
    moment = np.datetime64(cell.removesuffix(zone or ""), unit)
    if zone is None or zone == "Z":
        return moment
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return moment - np.timedelta64(-minutes if zone[0] == "-" else minutes, "m")
