"""The code: any rows give all others, and both ways of computing it give the same bytes."""

from __future__ import annotations

import random
import sys

import pytest

from measurand.core.ports import Buffer
from measurand.storage.blobs.spread.coding import IsaL, Tables, make_coder

CODES = [(1, 2), (2, 1), (2, 3), (4, 2), (8, 4), (17, 3), (32, 16)]


def pieces(data_parts: int, size: int) -> dict[int, bytes]:
    return {row: random.Random(row).randbytes(size) for row in range(data_parts)}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("size", [1, 31, 1000, 70_001])
def test_any_rows_give_all_others(code: tuple[int, int], size: int) -> None:
    data_parts, parity_parts = code
    chance = random.Random(f"{code} {size}")
    coder = make_coder()
    data = pieces(data_parts, size)
    rows = range(data_parts, data_parts + parity_parts)
    whole = {**data, **dict(zip(rows, map(bytes, coder.make(*code, data, rows)), strict=True))}
    for _ in range(5):
        have = chance.sample(range(data_parts + parity_parts), data_parts)
        want = [row for row in whole if row not in have]
        made = coder.make(*code, {row: whole[row] for row in have}, want)
        assert [bytes(piece) for piece in made] == [whole[row] for row in want]


@pytest.mark.skipif(sys.platform != "linux", reason="pyeclib has wheels for Linux only")
@pytest.mark.parametrize("code", CODES)
def test_the_library_and_the_tables_agree(code: tuple[int, int]) -> None:
    library = make_coder()
    assert isinstance(library, IsaL)
    data_parts, parity_parts = code
    data = pieces(data_parts, 70_003)
    rows = range(data_parts, data_parts + parity_parts)
    assert list(map(bytes, library.make(*code, data, rows))) == list(map(bytes, Tables().make(*code, data, rows)))


@pytest.mark.skipif(sys.platform != "linux", reason="pyeclib has wheels for Linux only")
def test_the_code_is_the_one_that_others_know_as_isa_l_rs_cauchy() -> None:
    ec_iface = pytest.importorskip("pyeclib.ec_iface")
    data = pieces(4, 1000)
    fragments = ec_iface.ECDriver(k=4, m=2, ec_type="isa_l_rs_cauchy").encode(b"".join(data.values()))
    assert [fragment[80:1080] for fragment in fragments] == [*data.values(), *make_coder().make(4, 2, data, (4, 5))]


def test_buffers_of_all_kinds_are_taken() -> None:
    data = pieces(4, 5000)
    held: dict[int, Buffer] = {
        0: data[0],
        1: bytearray(data[1]),
        2: memoryview(data[2]),
        3: memoryview(bytearray(b"x" + data[3]))[1:],
    }
    for coder in (make_coder(), Tables()):
        assert [bytes(each) for each in coder.make(4, 2, held, (4, 5))] == [
            bytes(each) for each in coder.make(4, 2, data, (4, 5))
        ]


def test_empty_pieces_make_empty_pieces() -> None:
    assert [bytes(piece) for piece in make_coder().make(2, 1, {0: b"", 1: b""}, (2,))] == [b""]
