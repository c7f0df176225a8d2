"""Reed-Solomon over GF(2^8): by ISA-L where the wheel of pyeclib brings it, by tables of bytes elsewhere.

Both give the same pieces. pyeclib's own functions copy every piece and put headers of theirs before it, so the
library's function is called by its address: it lets go of the interpreter lock and writes where we want the bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, reduce
from importlib.metadata import PackageNotFoundError, files
from operator import xor

from measurand.core.ports import Buffer

__all__ = ["IsaL", "Tables", "make_coder"]

Matrix = tuple[tuple[int, ...], ...]

_POLYNOMIAL = 0x11D
_BLOCK_BYTES = 1 << 16
"""The tables go over the pieces block by block, so that what they work on stays in the processor's cache."""


def make_coder() -> IsaL | Tables:
    """Return the quicker one that this machine has."""
    library = _find_library()
    return Tables() if library is None else IsaL(library)


class IsaL:
    """A `Coder` by Intel's storage acceleration library, as pyeclib's wheel brings it (7 GB/s and more)."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._init: Callable[..., None] = library.ec_init_tables
        self._encode: Callable[..., None] = library.ec_encode_data
        self._tables: dict[Matrix, ctypes.Array[ctypes.c_ubyte]] = {}

    def __repr__(self) -> str:
        return "coder(isa-l)"

    def make(
        self, data_parts: int, parity_parts: int, have: Mapping[int, Buffer], want: Sequence[int]
    ) -> Sequence[Buffer]:
        rows, size = tuple(sorted(have)), _size_of(have)
        if not want or not size:
            return [b""] * len(want)
        if data_parts == 1:
            return [have[rows[0]]] * len(want)
        matrix = _matrix(data_parts, parity_parts, rows, tuple(want))
        made = [bytearray(size) for _ in want]
        sources = [_address(have[row]) for row in rows]
        targets = [_address(piece) for piece in made]
        self._encode(
            ctypes.c_int(size),
            ctypes.c_int(data_parts),
            ctypes.c_int(len(want)),
            self._tables_of(matrix),
            (ctypes.c_void_p * len(rows))(*map(ctypes.addressof, sources)),
            (ctypes.c_void_p * len(want))(*map(ctypes.addressof, targets)),
        )
        return made

    def _tables_of(self, matrix: Matrix) -> ctypes.Array[ctypes.c_ubyte]:
        tables = self._tables.get(matrix)
        if tables is None:
            if len(self._tables) > 256:
                self._tables.clear()
            columns = len(matrix[0])
            tables = (ctypes.c_ubyte * (32 * columns * len(matrix)))()
            flat = bytes(number for row in matrix for number in row)
            self._init(ctypes.c_int(columns), ctypes.c_int(len(matrix)), flat, tables)
            self._tables[matrix] = tables
        return tables


class Tables:
    """A `Coder` of the standard library: tables of products, and sums of whole blocks as large integers."""

    def __repr__(self) -> str:
        return "coder(tables)"

    def make(
        self, data_parts: int, parity_parts: int, have: Mapping[int, Buffer], want: Sequence[int]
    ) -> Sequence[Buffer]:
        rows, size = tuple(sorted(have)), _size_of(have)
        if data_parts == 1:
            return [have[rows[0]]] * len(want)
        matrix = _matrix(data_parts, parity_parts, rows, tuple(want))
        made = [bytearray(size) for _ in want]
        for begin in range(0, size, _BLOCK_BYTES):
            end = min(begin + _BLOCK_BYTES, size)
            blocks = [bytes(memoryview(have[row])[begin:end]) for row in rows]
            for piece, factors in zip(made, matrix, strict=True):
                total = 0
                for factor, block in zip(factors, blocks, strict=True):
                    if factor:
                        total ^= int.from_bytes(block.translate(_products(factor)), "little")
                piece[begin:end] = total.to_bytes(end - begin, "little")
        return made


def _size_of(have: Mapping[int, Buffer]) -> int:
    (size,) = {len(piece) for piece in have.values()}
    return size


def _address(piece: Buffer) -> ctypes.c_char:
    """Return what lies at the beginning of a buffer, and keeps it where it is. What is read-only is copied."""
    view = memoryview(piece)
    return ctypes.c_char.from_buffer(bytearray(view) if view.readonly else view)


# ------------------------------------------------------------------------------------------------- the finite field


@cache
def _logarithms() -> tuple[list[int], list[int]]:
    """Return the powers of 2, twice over, and the logarithms of 1 to 255."""
    powers, logarithms, value = [0] * 510, [0] * 256, 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logarithms[value] = exponent
        value = value << 1 ^ (_POLYNOMIAL if value & 0x80 else 0)
    return powers, logarithms


def _product(one: int, other: int) -> int:
    powers, logarithms = _logarithms()
    return powers[logarithms[one] + logarithms[other]] if one and other else 0


def _inverse(value: int) -> int:
    powers, logarithms = _logarithms()
    return powers[255 - logarithms[value]]


@cache
def _products(factor: int) -> bytes:
    return bytes(_product(factor, value) for value in range(256))


@lru_cache(maxsize=1024)
def _matrix(data_parts: int, parity_parts: int, have: tuple[int, ...], want: tuple[int, ...]) -> Matrix:
    """Return what turns the pieces of the rows `have` into those of the rows `want`."""
    code = [
        [int(row == column) if row < data_parts else _inverse(row ^ column) for column in range(data_parts)]
        for row in range(data_parts + parity_parts)
    ]
    decode = _inverted([code[row] for row in have])
    return tuple(
        tuple(
            reduce(xor, (_product(code[row][inner], decode[inner][column]) for inner in range(data_parts)))
            for column in range(data_parts)
        )
        for row in want
    )


def _inverted(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the inverse, by Gauss and Jordan; any rows of this code have one."""
    size = len(matrix)
    rows = [[*row, *(int(index == column) for column in range(size))] for index, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(index for index in range(column, size) if rows[index][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = _inverse(rows[column][column])
        rows[column] = [_product(scale, value) for value in rows[column]]
        for index in range(size):
            factor = rows[index][column]
            if index != column and factor:
                rows[index] = [
                    value ^ _product(factor, other) for value, other in zip(rows[index], rows[column], strict=True)
                ]
    return [row[size:] for row in rows]


def _find_library() -> ctypes.CDLL | None:
    """Return ISA-L from pyeclib's wheel, or None where there is none."""
    try:
        found = [file for file in files("pyeclib") or () if file.name.startswith("libisal")]
        library = ctypes.CDLL(str(found[0].locate())) if found else None
    except (PackageNotFoundError, OSError):
        return None
    return library if library is not None and hasattr(library, "ec_encode_data") else None
