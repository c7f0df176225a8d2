"""The handle of an array: lazy, and read and written by numpy's keys. numpy is imported when elements are at stake."""

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import methods, names, values
from measurand.client._async.array_watching import AsyncArrayWatching
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import awaited_items
from measurand.client.address import Address, find_address
from measurand.client.array_facts import JSON, ArrayFacts, get_array
from measurand.client.retries import Deadlines
from measurand.v1 import arrays_pb2
from measurand.wire.errors import Conflict, NotFound

if TYPE_CHECKING:
    import numpy as np

    from measurand.client.array_layouts import Layout

__all__ = ["AsyncArray"]

ROWS_BYTES = 16 << 20


class AsyncArray(ArrayFacts, awaited_items.ArrayItems, AsyncArrayWatching):
    """An array, as it was when its handle was made or refreshed; its elements are fetched when they are asked for.

    Made by `run["name"]`, `create_array` and `arrays` of a dataset. Stands for one array: when another one gets its
    name, reading and writing raise Conflict. Handles are equal when they stand for one array as it was at one time;
    elements are compared after reading them.

    Examples
    --------
    >>> iq = await run["iq"]  # doctest: +SKIP
    >>> await iq[10:20, ::2]  # doctest: +SKIP
    """

    def __init__(self, calls: AsyncCalls, message: arrays_pb2.Array) -> None:
        super().__init__(message)
        self._calls = calls

    async def refresh(self) -> AsyncArray:
        """Learn how it is now, such as how far it has grown; returns the handle itself.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: its name stands for another array now; open that one by `run[name]`.
        NotFound
            RESOURCE_NOT_FOUND: it was removed.
        """
        message = await self._calls.unary(methods.GET_ARRAY, get_array(self.resource))
        if message.uid != self.uid:
            raise Conflict(
                f"{self.resource} stands for another array now; open it again by its name",
                resource=self.resource,
                etag=message.etag,
            )
        self._take(message)
        return self

    async def read(self, key: Any = ..., *, out: Any = None) -> Any:
        """Return elements as numpy would for this key, fetching only chunks that hold some of them.

        Parameters
        ----------
        key : int, slice, Ellipsis, None or tuple of these
            As in numpy's basic indexing; one item may be a list of positions or a mask of one axis. `numpy.s_` makes
            them.
        out : ndarray or buffer, optional
            Filled and returned: of the result's shape and of this dtype, in any layout, or bytes that hold as much.

        Returns
        -------
        ndarray or scalar
            What numpy gives for the key.

        Raises
        ------
        IndexError, ValueError, TypeError
            Where numpy raises them.
        NotImplementedError
            Several lists or masks: use `oindex`, or index what was read.
        Conflict, NotFound
            The array was replaced, or removed.
        DataLoss
            STORED_DATA_CORRUPT: a chunk is damaged; the text names it.
        """
        from measurand.chunks.selections import parse
        from measurand.client._async.array_reads import read_selection

        return await read_selection(self._calls, self._layout, parse(key, self.shape), out)

    async def __getitem__(self, key: Any) -> Any:
        return await self.read(key)

    @property
    def oindex(self) -> AsyncOuter:
        """Reads by lists and masks that are each taken along their own axis: `oindex[[1, 5], mask]`."""
        return AsyncOuter(self._calls, self._layout)

    async def write(self, key: Any, value: Any) -> None:
        """Assign as numpy would; durable when this returns. Each chunk changes in one step, all of them do not.

        Writers of different chunks need no lock. Of a chunk that is written in part everything else stays, whoever
        writes to it at the same time.

        Parameters
        ----------
        key : int, slice, Ellipsis, None or tuple of these
            As in `read`. Slices end where the array ends, as in numpy: to write beyond it, `resize` or `append`.
        value : array_like
            Broadcast to what the key selects.

        Raises
        ------
        InvalidArgument
            SELECTION_INVALID: the value does not fit; it is a ValueError, too. Nothing was written.
        Sealed
            DATASET_SEALED.
        """
        from measurand.chunks.selections import parse
        from measurand.client._async.array_writes import write_selection
        from measurand.client.array_plans import spread

        selection = parse(key, self.shape)
        await write_selection(self._calls, self._layout, spread(self._layout, value, selection), selection)

    async def append(self, block: Any, *, force: bool = False) -> int:
        """Add rows to the end of the first axis, each once; durable and seen when this returns, all or none.

        Parameters
        ----------
        block : array_like, shape (n, …)
            The rows; the other axes are as long as the array's.
        force : bool
            Fence an appender that is at work. Otherwise this waits for it, a minute at most.

        Returns
        -------
        int
            Index of the first new row.

        Raises
        ------
        WriterFenced
            WRITER_FENCED: another appender is at work. Nothing was added.
        InvalidArgument
            SELECTION_INVALID: the rows have another shape, or a dtype that does not go into the array's.
        """
        from measurand.client._async.array_appends import append_rows
        from measurand.client.array_plans import rows_of

        rows = rows_of(self._layout, block)
        if not len(rows):
            return self.shape[0]
        first, message = await append_rows(self._calls, self._message, self._layout, rows, force=force)
        self._take(message)
        return first

    async def resize(self, shape: int | Sequence[int], *, force: bool = False) -> None:
        """Change the shape, in one step. What is new reads as the fill value; what is cut off is gone for good.

        Parameters
        ----------
        shape : int or sequence of int
            Length along each axis.
        force : bool
            Fence an appender that is at work.

        Raises
        ------
        Conflict
            ETAG_MISMATCH: it changed since the handle was made or refreshed. `refresh()`, and decide anew.
        WriterFenced
            WRITER_FENCED: an appender is at work.
        """
        lengths = [operator.index(length) for length in (shape if isinstance(shape, Sequence) else (shape,))]
        request = arrays_pb2.ResizeArrayRequest(
            name=self.resource, shape=lengths, etag=self.etag, force=force, request_id=names.request_id()
        )
        await self._calls.unary(methods.RESIZE_ARRAY, request)
        await self.refresh()

    async def update(self, *, attrs: Mapping[str, Any] | None = None, dims: Sequence[str | None] | None = None) -> None:
        """Change what is said of the array, in one step.

        Parameters
        ----------
        attrs : mapping, optional
            A JSON merge patch (RFC 7396): dicts are merged, a None removes its key.
        dims : sequence of str, optional
            Names of the axes, one for each; None for one without.
        """
        message = arrays_pb2.Array(name=self.resource)
        request = arrays_pb2.UpdateArrayRequest(document_form=JSON, request_id=names.request_id())
        if dims is not None:
            message.dimension_names.extend(name or "" for name in dims)
            request.update_mask.CopyFrom(FieldMask(paths=["dimension_names"]))
        if attrs is not None:
            request.attributes_patch.json = values.to_text(attrs)
        request.array.CopyFrom(message)
        self._take(await self._calls.unary(methods.UPDATE_ARRAY, request))

    @property
    async def written(self) -> np.ndarray[Any, Any]:
        """A boolean array over the grid of chunks: which of them were written. Asks the server."""
        from measurand.client._async.array_reads import written_chunks
        from measurand.client.array_plans import written_of

        return written_of(self._layout.grid, await written_chunks(self._calls, self._layout))

    async def missing(self) -> list[tuple[slice, ...]]:
        """Return keys that together select all elements that were never written, each once."""
        from measurand.client.array_plans import missing_ranges

        return missing_ranges(self._layout.grid, await self.written)

    async def stored_bytes(self) -> int:
        """Return how many bytes its chunks take in the store."""
        request = arrays_pb2.GetArrayRequest(name=self.resource, read_mask=FieldMask(paths=["stored_bytes"]))
        return (await self._calls.unary(methods.GET_ARRAY, request)).stored_bytes

    async def delete(self) -> None:
        """Remove this array. If another one has its name by now, that one stays."""
        while True:
            request = arrays_pb2.DeleteArrayRequest(name=self.resource, etag=self.etag)
            try:
                await self._calls.unary(methods.DELETE_ARRAY, request)
            except Conflict as failure:
                error = failure
            else:
                return
            before = self.etag
            try:
                await self.refresh()
            except (Conflict, NotFound):  # it has gone already
                return
            if self.etag == before:
                raise error

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        row_bytes = max(1, self.nbytes // max(1, len(self)))
        step = max(1, ROWS_BYTES // row_bytes // self.chunks[0]) * self.chunks[0]
        for start in range(0, len(self), step):
            for row in await self.read(slice(start, start + step)):
                yield row

    def __copy__(self) -> AsyncArray:
        return AsyncArray(self._calls, self._message)

    def __deepcopy__(self, memo: object) -> AsyncArray:
        return AsyncArray(self._calls, self._message)

    def __reduce__(self) -> tuple[Any, ...]:
        # A token stays where it is: the other process finds its own, as every new client does.
        address = self._calls.address
        return _reopened, (
            address.target,
            address.tls,
            address.private,
            address.folder,
            self._message.SerializeToString(),
        )


class AsyncOuter:
    """Reads an array by lists and masks that are each taken along their own axis."""

    def __init__(self, calls: AsyncCalls, layout: Layout) -> None:
        self._calls = calls
        self._layout = layout

    async def __getitem__(self, key: Any) -> Any:
        from measurand.client._async.array_reads import read_selection
        from measurand.client.array_plans import outer

        return await read_selection(self._calls, self._layout, outer(key, self._layout.grid.shape))


@awaited_items.kept
def _calls_of(target: str, tls: bool | str, private: str, folder: str) -> AsyncCalls:
    """Return calls to a server for handles that came from another process."""
    token = find_address(target or None).token
    return AsyncCalls(Address(target, tls=tls, token=token, private=private, folder=folder), Deadlines())


def _reopened(target: str, tls: bool | str, private: str, folder: str, message: bytes) -> AsyncArray:
    return AsyncArray(_calls_of(target, tls, private, folder), arrays_pb2.Array.FromString(message))
