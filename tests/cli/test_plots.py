"""Pictures of arrays: right, and made from few chunks however large the array is."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from measurand.cli.plots import draw, write_picture
from measurand.cli.sampling import corners, sampled
from measurand.wire.errors import InvalidArgument


class Counted:
    """An array as its handle shows it, which notes the chunks that are read."""

    def __init__(self, shape: tuple[int, ...], chunks: tuple[int, ...], values: Any = None) -> None:
        self.name = "iq"
        self.shape, self.chunks, self.ndim = shape, chunks, len(shape)
        self.size = int(np.prod(shape, dtype=object))
        self.dtype = np.dtype("f8") if values is None else values.dtype
        self.read: set[tuple[int, ...]] = set()
        self._values = values

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        picked = [np.atleast_1d(np.arange(length)[part]) for part, length in zip(key, self.shape, strict=True)]
        touched = [sorted({int(at) // chunk for at in part}) for part, chunk in zip(picked, self.chunks, strict=True)]
        self.read |= set(itertools.product(*touched))
        if self._values is not None:
            return self._values[key]
        drop = tuple(axis for axis, part in enumerate(key) if isinstance(part, int))
        return np.zeros([len(part) for axis, part in enumerate(picked) if axis not in drop])


def of(values: Any, chunks: tuple[int, ...] | None = None) -> Counted:
    array: Any = np.asarray(values)
    return Counted(array.shape, chunks or tuple(max(1, length) for length in array.shape), array)


def pixels_of(path: Path) -> Any:
    """Read a PNG of 8-bit RGB without filters, as the specification says."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, body, size = 8, b"", (0, 0)
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length]) == (zlib.crc32(kind + content),)
        if kind == b"IHDR":
            size = struct.unpack(">II", content[:8])
        body += content if kind == b"IDAT" else b""
        place += 12 + length
    lines: Any = np.frombuffer(zlib.decompress(body), "u1").reshape(size[1], 1 + 3 * size[0])
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].reshape(size[1], size[0], 3)


def test_a_curve_is_one_line_of_blocks() -> None:
    assert list(draw(of(np.arange(8.0)))) == ["▁▂▃▄▅▆▇█", "0 … 7"]
    assert list(draw(of([0.0, np.nan, 1.0]))) == ["▁·█", "0 … 1"]
    assert list(draw(of([2.0, 2.0]))) == ["▅▅", "2 … 2"]
    assert list(draw(of([3 + 4j, 0j]))) == ["█▁", "0 … 5"]
    assert list(draw(of(np.array([-1e308, 1e308])))) == ["▁█", "-1e+308 … 1e+308"]
    assert list(draw(of(np.array(5)))) == ["▅", "5 … 5"]
    assert list(draw(of(np.array([])))) == ["", "0 … 0"]


def test_an_image_is_a_field_of_shades_and_says_which_it_is() -> None:
    frames: Any = np.zeros((5, 2, 3))
    frames[2] = [[0, 1, 2], [3, 4, np.nan]]
    assert list(draw(of(frames))) == ["[2, :, :]", " ░▒", "▓█·", "0 … 4"]


def test_text_is_not_drawn() -> None:
    with pytest.raises(InvalidArgument, match="iq has dtype <U1"):
        list(draw(of(["a", "b"])))


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((10**8,), (1000,)), ((10**6, 10**6), (1000, 1000)), ((50, 40, 10**5, 10**5), (1, 1, 100, 100)), ((10**8,), (1,))],
)
def test_few_chunks_are_read_of_a_large_array(shape: tuple[int, ...], chunks: tuple[int, ...], tmp_path: Path) -> None:
    array = Counted(shape, chunks)
    list(draw(array))
    assert 1 < len(array.read) <= 64
    array.read.clear()
    assert len(list(corners(array))) > 0
    assert len(array.read) <= 24
    array.read.clear()
    write_picture(array, tmp_path / "iq.png")
    assert 1 < len(array.read) <= 256


def test_what_is_sampled_lies_at_equal_distances() -> None:
    values, place = sampled(of(np.arange(100.0)), (8,), most_chunks=64)
    assert (values.tolist(), place) == ([0.0, 13.0, 26.0, 39.0, 52.0, 65.0, 78.0, 91.0], "")


def test_a_picture_has_a_pixel_for_each_element(tmp_path: Path) -> None:
    write_picture(of([[0.0, 1.0], [np.nan, 0.5]]), tmp_path / "iq.png")
    pixels = pixels_of(tmp_path / "iq.png")
    high, wide = pixels.shape[:2]
    assert (high, wide) == (512, 512)
    quarters = [pixels[row, column].tolist() for row in (0, -1) for column in (0, -1)]
    assert quarters == [[68, 1, 84], [253, 231, 37], [128, 128, 128], [33, 144, 141]]


def test_a_picture_of_a_curve_rises_with_it(tmp_path: Path) -> None:
    write_picture(of(np.arange(10.0)), tmp_path / "iq.png")
    pixels = pixels_of(tmp_path / "iq.png")
    rows = [int(np.flatnonzero((pixels[:, column] != 255).any(1)).mean()) for column in (0, 480, -1)]
    assert rows[0] > rows[1] > rows[2]


def test_the_corners_of_an_array_are_shown() -> None:
    lines = list(corners(of(np.arange(400).reshape(20, 20))))
    assert [line.split() for line in (lines[0], lines[3], lines[-1])] == [
        ["0", "1", "2", "…", "17", "18", "19"],
        ["…"],
        ["380", "381", "382", "…", "397", "398", "399"],
    ]
    assert [line.strip() for line in corners(of(["a\n", "b" * 40]))] == [f"a\\n  {'b' * 23}…"]
    assert list(corners(of(np.zeros((0, 3))))) == ["no elements"]
    assert next(corners(of(np.arange(8).reshape(2, 2, 2)))) == "[0, :, :]"
