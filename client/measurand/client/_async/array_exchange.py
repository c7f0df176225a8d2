"""The arrays of a dataset in the forms of others: xarray, Zarr, NumPy's files, HDF5, CSV."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurand.client import values
from measurand.client._async.arrays import AsyncArray
from measurand.client._async.dataset_arrays import AsyncDatasetArrays
from measurand.client._transport import aio
from measurand.client.found_arrays import FoundArray, Metered, required
from measurand.client.progress import Meter, Progress
from measurand.v1 import datasets_pb2
from measurand.wire.errors import MeasurandError

if TYPE_CHECKING:
    import xarray

    from measurand.client.zarr_store import DatasetStore

__all__ = ["AsyncArrayExchange"]


class AsyncArrayExchange(AsyncDatasetArrays):
    """The part of a dataset's handle that hands its arrays to other programs and takes theirs."""

    _message: datasets_pb2.Dataset
    update: Any  # the dataset's own

    async def to_xarray(self, group: str = "") -> xarray.Dataset:
        """Return the arrays as a Dataset of xarray, which reads elements where they are indexed.

        Arrays share the axes that have one name and one length. An array with one axis that bears the name of an axis
        is its coordinate, and is read at once; no other is. What is read waits for the server, also in the data that
        an awaited client gave.

        Parameters
        ----------
        group : str
            Only the arrays below it, such as `entry`, without it in their names.

        Raises
        ------
        FeatureDisabled
            xarray is not installed.
        """
        required("xarray", "to_xarray")
        from measurand.client._sync.arrays import Array
        from measurand.client._sync.calls import Calls
        from measurand.client.xarray_view import view

        prefix = f"{group.strip('/')}/" if group.strip("/") else ""
        found = await self.arrays(prefix)
        calls = Calls((await self._calls.transport()).address, self._calls.deadlines)
        handles = {array.name.removeprefix(prefix): Array(calls, array._message) for array in found}  # noqa: SLF001
        return await aio.in_thread(view, handles, values.from_text(self._message.metadata.json), calls.close)

    async def zarr_store(self) -> DatasetStore:
        """Return a read-only store for zarr-python: `zarr.open(run.zarr_store(), mode="r")`.

        Chunks come as they are stored. The attributes of its root are the metadata, and every axis has a name, so that
        xarray opens it, too. It can be pickled, and needs no right to the server's own store.

        Raises
        ------
        FeatureDisabled
            zarr is not installed.
        """
        required("zarr", "zarr_store")
        from measurand.client._sync.plain_arrays import PlainArrays
        from measurand.client.zarr_store import DatasetStore

        address = (await self._calls.transport()).address
        return DatasetStore(PlainArrays(address, self._calls.deadlines, self.name, self._attributes), self.name)

    async def to_zarr(
        self, path: str | os.PathLike[str], arrays: Sequence[str] | None = None, *, progress: Progress = False
    ) -> Path:
        """Write arrays into a folder as a Zarr v3 store, which zarr and xarray open without a server.

        It appears whole, in the place of a Zarr store that was there.

        Parameters
        ----------
        path : path
            The folder, such as `run.zarr`.
        arrays : sequence of str, optional
            Names of the arrays; all unless given.
        progress : bool or callable
            As in `upload`.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: something else is there, or an array has a name that no file can have.
        """
        from measurand.client._async.array_exports import write_zarr
        from measurand.client._async.plain_arrays import tree_of

        chosen = await self._chosen(arrays)
        tree = tree_of([array._message for array in chosen], self._attributes)  # noqa: SLF001
        with Meter(progress, Path(path).name, None) as meter:
            await write_zarr(self._calls, tree, Path(path), meter)
        return Path(path)

    async def to_npy(self, path: str | os.PathLike[str], array: str, *, progress: Progress = False) -> Path:
        """Write one array as .npy; see `to_npz`."""
        from measurand.client._async.array_exports import write_npy

        chosen = await self.array(array)
        with Meter(progress, Path(path).name, chosen.nbytes) as meter:
            await write_npy(chosen, Path(path), meter)
        return Path(path)

    async def to_npz(
        self, path: str | os.PathLike[str], arrays: Sequence[str] | None = None, *, progress: Progress = False
    ) -> Path:
        """Write arrays as .npz, which `numpy.load` reads; it appears whole, in the place of what was there.

        Text of any length gets the length of the longest, since NumPy's files have no other.

        Parameters
        ----------
        path : path
            Where to.
        arrays : sequence of str, optional
            Names of the arrays; all unless given.
        progress : bool or callable
            As in `upload`.
        """
        from measurand.client._async.array_exports import write_npz

        chosen = await self._chosen(arrays)
        with Meter(progress, Path(path).name, sum(array.nbytes for array in chosen)) as meter:
            await write_npz(chosen, Path(path), meter)
        return Path(path)

    async def to_csv(
        self, path: str | os.PathLike[str], arrays: Sequence[str] | None = None, *, progress: Progress = False
    ) -> Path:
        """Write arrays of one length as the columns of a table with a header; it appears whole.

        An array with two axes becomes a column for each element of a row. The header has the units of an attribute
        `units`. Floats are written so that reading gives the same values, but for the payload of a NaN; NaT is an
        empty cell; float32 and float16 are exact as float64.

        Parameters
        ----------
        path : path
            Where to.
        arrays : sequence of str, optional
            Names of the arrays, in the order of the columns; all unless given.
        progress : bool or callable
            As in `upload`.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: two have different lengths, or one has more than two axes. Nothing was written.
        """
        from measurand.client._async.array_exports import write_csv

        chosen = await self._chosen(arrays)
        with Meter(progress, Path(path).name, sum(array.nbytes for array in chosen)) as meter:
            await write_csv(chosen, Path(path), meter)
        return Path(path)

    async def import_csv(
        self, path: str | os.PathLike[str], *, delimiter: str = ",", progress: Progress = False
    ) -> list[AsyncArray]:
        """Store every column of a table with a header as an array of its name; arrays that have the names go.

        A column is int64, uint64, float64, complex128, bool, datetime64 or text, the first that holds all its cells.
        An empty cell is NaN, NaT or "". Times with a zone are kept in UTC. A unit in parentheses at the end of a header
        stays in the name and is noted as `units`.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: a line has another number of cells than the header, or a header comes twice. Nothing was
            stored.
        """
        from measurand.client.csv_reading import open_csv

        with contextlib.ExitStack() as stack:
            opened = open_csv(Path(path), delimiter=delimiter)
            file = await aio.in_thread(stack.enter_context, opened)
            return await self.write_arrays(file.arrays, progress=progress)

    async def import_file(self, path: str | os.PathLike[str], *, progress: Progress = False) -> list[AsyncArray]:
        """Store the arrays of a .npy, .npz, .h5, .hdf5 or .zarr, piece by piece; arrays that have the names go.

        Groups become parts of the names, attributes stay with their arrays; those of the file and of its groups are
        merged into the metadata.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: an array has a dtype that cannot be stored; the text names it. Nothing was stored.
        """
        from measurand.client.array_files import open_array_file

        with contextlib.ExitStack() as stack:
            file = await aio.in_thread(stack.enter_context, open_array_file(Path(path)))
            stored = await self.write_arrays(file.arrays, progress=progress)
            if file.metadata:
                await self.update(file.metadata, if_match=None)
            return stored

    async def write_arrays(self, arrays: Iterable[FoundArray], *, progress: Progress = False) -> list[AsyncArray]:
        """Store arrays that were found in files, one after the other; arrays that have their names go.

        Where one fails, those before it that took the place of no other are removed again.
        """
        found = list(arrays)
        before = {array.name for array in await self.arrays()}
        stored: list[AsyncArray] = []
        with Meter(progress, "arrays", sum(array.nbytes for array in found)) as meter:
            try:
                for array in found:
                    value = Metered(array.value, meter)
                    chunks, dims, attrs = array.chunks, array.dims, array.attributes
                    stored.append(await self.write_array(array.name, value, chunks=chunks, dims=dims, attrs=attrs))
            except MeasurandError:
                with contextlib.suppress(MeasurandError):
                    for new in stored:
                        if new.name not in before:
                            await new.delete()
                raise
        return stored

    async def _chosen(self, arrays: Sequence[str] | None) -> list[AsyncArray]:
        if arrays is None:
            return await self.arrays()
        return [await self.array(name) for name in arrays]

    @property
    def _attributes(self) -> dict[str, Any]:
        """The metadata as JSON values."""
        known: dict[str, Any] = json.loads(self._message.metadata.json or "{}")
        return known
