"""Arrays on their way out, into files that other programs read: piece by piece, and whole or not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from measurand.chunks.grid import chunk_key
from measurand.client._async.array_reads import fetch_chunks, written_chunks
from measurand.client._async.arrays import AsyncArray
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio
from measurand.client.array_blocks import block_keys
from measurand.client.beside import new_file, new_zarr_folder
from measurand.client.chunk_parts import cut
from measurand.client.csv_writing import TableWriter, check_table
from measurand.client.local import local_path
from measurand.client.numpy_writing import NpyWriter, NpzWriter, fixed_dtype
from measurand.client.progress import Meter
from measurand.client.zarr_tree import Tree
from measurand.wire.errors import InvalidArgument

__all__ = ["write_csv", "write_npy", "write_npz", "write_zarr"]

BEHIND = 2
TABLE_BYTES = 8 << 20
"""So much of a table is in memory at a time, before it is text."""
CHUNKS_BEHIND = 16


async def write_npy(array: AsyncArray, target: Path, meter: Meter) -> None:
    """Write an array as .npy."""
    with new_file(target) as path, path.open("wb") as file:
        writer = NpyWriter(file, array.shape, await _dtype_of(array))
        await _send(array, writer, meter)


async def write_npz(arrays: Sequence[AsyncArray], target: Path, meter: Meter) -> None:
    """Write arrays as .npz, under their names."""
    with new_file(target) as path:
        archive = NpzWriter(path)
        try:
            for array in arrays:
                await _send(array, archive.begin(array.name, array.shape, await _dtype_of(array)), meter)
        finally:
            archive.close()


async def write_csv(arrays: Sequence[AsyncArray], target: Path, meter: Meter) -> None:
    """Write arrays as the columns of a table."""
    length = check_table(arrays)
    row_bytes = sum(array.nbytes // max(1, length) for array in arrays)
    step = max(1, TABLE_BYTES // max(1, row_bytes))
    longest = max(array.chunks[0] for array in arrays)
    step = max(step - step % longest, min(step, longest))
    with new_file(target) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = TableWriter(file, arrays)
        async with aio.Behind(BEHIND) as hands:
            for start in range(0, length, step):
                rows = slice(start, min(start + step, length))
                blocks = [await array.read(rows) for array in arrays]
                await hands.put(writer.write, blocks)
                meter.add(sum(block.nbytes for block in blocks))
            await hands.drain()


async def write_zarr(calls: AsyncCalls, tree: Tree, target: Path, meter: Meter) -> None:
    """Write arrays as a Zarr v3 store: its metadata, and the chunks as they are stored."""
    with new_zarr_folder(target) as folder:
        root = folder.resolve()
        inside: set[Path] = set()

        def write(key: str, data: Any) -> None:
            try:
                path = local_path(root, key, inside=inside)
            except ValueError as error:
                raise InvalidArgument(f"{key} cannot be written here: {error}", field="arrays") from error
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        async with aio.Behind(CHUNKS_BEHIND) as hands:
            for key, text in tree.documents.items():
                await hands.put(write, key, text.encode())
            for name, layout in tree.layouts.items():
                for indexes in cut(await written_chunks(calls, layout), 1):
                    async with aclosing(fetch_chunks(calls, layout, indexes)) as chunks:
                        async for found in chunks:
                            if found.data is not None:
                                await hands.put(write, f"{name}/{chunk_key(found.index)}", found.data)
                                meter.add(len(found.data))
            await hands.drain()


async def _send(array: AsyncArray, writer: NpyWriter, meter: Meter) -> None:
    async with aio.Behind(BEHIND) as hands:
        async with aclosing(_blocks(array)) as blocks:
            async for block in blocks:
                await hands.put(writer.write, block)
                meter.add(block.nbytes)
        await hands.drain()


async def _blocks(array: AsyncArray) -> AsyncGenerator[Any, None]:
    for key in block_keys(array.shape, array.chunks, array.dtype.itemsize):
        yield await array.read(key)


async def _dtype_of(array: AsyncArray) -> np.dtype[Any]:
    """Return the dtype of the array in a file; for text of any length the array is read once more."""
    longest = 0
    if array.dtype.kind == "T":
        async with aclosing(_blocks(array)) as blocks:
            async for block in blocks:
                longest = max(longest, int(np.strings.str_len(block).max(initial=0)))
    return fixed_dtype(array.dtype, longest)
