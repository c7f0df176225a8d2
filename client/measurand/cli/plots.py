"""Arrays as pictures: one line of blocks or a field of shades in the terminal, or a PNG."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from measurand.cli.sampling import sampled
from measurand.client.beside import new_file

__all__ = ["draw", "write_picture"]

BARS = "▁▂▃▄▅▆▇█"
SHADES = " ░▒▓█"
UNKNOWN = "·"
MOST_CHUNKS = 64
MOST_CHUNKS_OF_PNG = 256
PIXELS = 1024
LINE_PIXELS = (320, 960)
COLOURS = np.array(
    [
        *((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141)),
        *((39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37)),
    ],
    "f8",
)
"""Of viridis, from low to high (matplotlib, public domain), at equal distances."""
GREY = (128, 128, 128)


def draw(array: Any) -> Iterator[str]:
    """Yield lines for the terminal: a sparkline of an array with one axis, the last two axes of any other as shades."""
    size = shutil.get_terminal_size((80, 24))
    width = max(8, min(size.columns, 160))
    if array.ndim < 2:
        values, _ = sampled(array, (width,), most_chunks=MOST_CHUNKS)
        yield _characters(np.atleast_1d(values), BARS, _limits(values))
    else:
        values, place = sampled(array, (max(4, min(size.lines - 4, 48)), width), most_chunks=MOST_CHUNKS)
        if place:
            yield place
        limits = _limits(values)
        for row in values:
            yield _characters(row, SHADES, limits)
    low, high = _limits(values)
    yield f"{low:.6g} … {high:.6g}"


def write_picture(array: Any, target: Path) -> None:
    """Write a PNG: the curve of an array with one axis, the last two axes of any other as an image."""
    if array.ndim < 2:
        values, _ = sampled(array, (LINE_PIXELS[1],), most_chunks=MOST_CHUNKS_OF_PNG)
        pixels = _curve(np.atleast_1d(values))
    else:
        values, _ = sampled(array, (PIXELS, PIXELS), most_chunks=MOST_CHUNKS_OF_PNG)
        pixels = _coloured(values)
        enlarged = max(1, PIXELS // 2 // max(1, *values.shape))
        pixels = pixels.repeat(enlarged, 0).repeat(enlarged, 1)
    with new_file(target) as path:
        path.write_bytes(_png(pixels))


def _limits(values: Any) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _scaled(values: Any, limits: tuple[float, float]) -> Any:
    """Return values between 0 and 1, NaN where there is none."""
    low, high = limits
    with np.errstate(all="ignore"):
        scaled = (
            (values / 2 - low / 2) / (high / 2 - low / 2) if high > low else np.where(np.isfinite(values), 0.5, np.nan)
        )
    return np.where(np.isnan(values), np.nan, np.clip(scaled, 0, 1))


def _characters(values: Any, ladder: str, limits: tuple[float, float]) -> str:
    scaled = _scaled(values, limits)
    steps = np.minimum(np.nan_to_num(scaled) * len(ladder), len(ladder) - 1).astype(int)
    return "".join(UNKNOWN if np.isnan(value) else ladder[step] for value, step in zip(scaled, steps, strict=True))


def _coloured(values: Any) -> Any:
    scaled = _scaled(values if values.size else np.full((1, 1), np.nan), _limits(values))
    places = np.nan_to_num(scaled) * (len(COLOURS) - 1)
    channels = [np.interp(places, np.arange(len(COLOURS)), COLOURS[:, channel]) for channel in range(3)]
    pixels = np.stack(channels, -1).astype("u1")
    pixels[np.isnan(scaled)] = GREY
    return pixels


def _curve(values: Any) -> Any:
    height, width = LINE_PIXELS
    pixels = np.full((height, width, 3), 255, "u1")
    scaled = _scaled(values, _limits(values))
    known = np.flatnonzero(~np.isnan(scaled))
    if not known.size:
        return pixels
    # A gap in the values stays one in the curve.
    places = np.linspace(0, len(values) - 1, width)
    heights = np.interp(places, np.arange(len(values)), np.nan_to_num(scaled))
    rows = np.rint((1 - heights) * (height - 1)).astype(int)
    is_known = ~np.isnan(scaled)[np.rint(places).astype(int)]
    for column in np.flatnonzero(is_known):
        before = rows[column - 1] if column and is_known[column - 1] else rows[column]
        low, high = sorted((rows[column], before))
        pixels[max(0, low - 1) : high + 1, column] = COLOURS[2]
    return pixels


def _png(pixels: Any) -> bytes:
    """Return an image as a PNG (ISO/IEC 15948): 8-bit RGB, without filters."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), "u1"), pixels.reshape(height, -1)], 1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    compressed = zlib.compress(lines.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
