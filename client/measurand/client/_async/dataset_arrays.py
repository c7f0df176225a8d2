"""The arrays of a dataset: a dict of lazy arrays, and what is slow is a method."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from measurand.client import methods, names
from measurand.client._async.arrays import AsyncArray
from measurand.client._async.calls import AsyncCalls
from measurand.client._transport import aio, awaited_items
from measurand.client.array_facts import JSON, KNOWN, get_array
from measurand.v1 import arrays_pb2
from measurand.wire.errors import AlreadyExists, InvalidArgument, MeasurandError, NotFound

if TYPE_CHECKING:
    pass

__all__ = ["AsyncDatasetArrays"]

PARALLEL = 4


class NoSuchArray(NotFound, KeyError):
    """No array has this name: what a dict says, too."""

    __str__ = Exception.__str__


class AsyncDatasetArrays(awaited_items.DatasetItems):
    """The part of a dataset's handle that concerns its arrays.

    `run["iq"] = values` stores an array whole, `run["iq"]` is a lazy one: numpy's keys read what they need of it.
    """

    _calls: AsyncCalls
    name: str

    async def array(self, name: str) -> AsyncArray:
        """Return an array, without its elements.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is none of that name; it is a KeyError, too.
        """
        try:
            message = await self._calls.unary(methods.GET_ARRAY, get_array(self._array_name(name)))
        except NotFound as failure:
            error = failure
        else:
            return AsyncArray(self._calls, message)
        if type(error) is not NotFound:
            raise error
        raise NoSuchArray(error.message, retry_seconds=error.retry_seconds, **error.details)

    async def __getitem__(self, name: str) -> AsyncArray:
        return await self.array(name)

    async def has_array(self, name: str) -> bool:
        """Tell whether there is an array of that name."""
        request = arrays_pb2.GetArrayRequest(name=self._array_name(name), read_mask=FieldMask(paths=["name"]))
        try:
            await self._calls.unary(methods.GET_ARRAY, request)
        except NotFound:
            return False
        return True

    async def arrays(self, prefix: str = "") -> list[AsyncArray]:
        """Return the arrays, sorted by name, without their elements.

        Parameters
        ----------
        prefix : str
            Only those whose names begin so, such as `entry/`.
        """
        found: list[AsyncArray] = []
        request = arrays_pb2.ListArraysRequest(
            parent=self.name, page_size=1000, prefix=prefix, read_mask=FieldMask(paths=KNOWN), document_form=JSON
        )
        while True:
            page = await self._calls.unary(methods.LIST_ARRAYS, request)
            found += [AsyncArray(self._calls, message) for message in page.arrays]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        for array in await self.arrays():
            yield array.name

    async def create_array(
        self,
        name: str,
        shape: int | Sequence[int],
        dtype: Any,
        *,
        chunks: int | Sequence[int | None] | None = None,
        shards: int | Sequence[int | None] | None = None,
        dims: Sequence[str | None] = (),
        attrs: Mapping[str, Any] | None = None,
        fill: Any = None,
        codec: str | None = None,
        exist_ok: bool = False,
    ) -> AsyncArray:
        """Make an array to which nothing was written yet, to be filled by assignment, `append` or a stream.

        Parameters
        ----------
        name : str
            Its name, such as `iq` or `entry/data`.
        shape : int or sequence of int
            Length along each axis; begin with 0 along the first for one that grows.
        dtype : dtype_like
            Any that numpy has but object and longdouble; `str` for text of any length.
        chunks : int or sequence, optional
            Length of a chunk along each axis, None for all of an axis. About 1 MiB unless given.
        shards : int or sequence, optional
            Keep many small chunks in one object of this shape, a multiple of `chunks`. It is then what is read and
            written as one.
        dims : sequence of str, optional
            Names of the axes.
        attrs : mapping, optional
            Units and whatever else is to be said of it.
        fill : scalar, optional
            What unwritten elements read as: NaN, NaT, 0, False or "" unless given.
        codec : str, optional
            "none", "blosc", "lz4", "zstd", "gzip", or a codec chain of Zarr v3 as JSON.
        exist_ok : bool
            If there is one of that name, return it, provided that dtype and number of axes are the same.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the name is taken.
        InvalidArgument
            FIELD_INVALID: it cannot be stored so.
        """
        from measurand.client.array_specs import message_of, new_spec

        spec = new_spec(shape, dtype, chunks=chunks, shards=shards, dims=dims, fill=fill, codec=codec)
        try:
            return AsyncArray(self._calls, await self._create(name, message_of(spec, attrs), staged=False))
        except AlreadyExists:
            if not exist_ok:
                raise
        found = await self.array(name)
        if (found.data_type, found.ndim) != (spec.data_type, len(spec.shape)):
            raise InvalidArgument(
                f"{found.resource} is there with {found.ndim} axes of {found.dtype}; choose another name or delete it",
                field="name",
            )
        return found

    async def write_array(
        self,
        name: str,
        value: Any,
        *,
        chunks: int | Sequence[int | None] | None = None,
        shards: int | Sequence[int | None] | None = None,
        dims: Sequence[str | None] = (),
        attrs: Mapping[str, Any] | None = None,
        fill: Any = None,
        codec: str | None = None,
    ) -> AsyncArray:
        """Store an array whole, in the place of one that has the name: durable when this returns, all or nothing.

        Whoever reads the old one meanwhile gets the old one or Conflict, never a mix.

        Parameters
        ----------
        value : array_like
            Of any layout and byte order, such as a memory map that is larger than memory; it is not changed. A list of
            str is stored as text of any length.
        codec : str, optional
            As in `create_array`; unless given, the first chunk shows whether compressing is worth it.
        chunks, shards, dims, attrs, fill : optional
            As in `create_array`.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID: it cannot be stored so. Nothing was stored.
        """
        from measurand.chunks.selections import parse
        from measurand.client._async.array_writes import write_whole
        from measurand.client.array_layouts import layout_of
        from measurand.client.array_specs import message_of, new_spec, storable

        elements, dtype = await aio.in_thread(storable, value)
        spec = await aio.in_thread(
            new_spec,
            elements.shape,
            dtype,
            chunks=chunks,
            shards=shards,
            dims=dims,
            fill=fill,
            codec=codec,
            elements=elements,
        )
        staged = await self._create(name, message_of(spec, attrs), staged=True)
        layout = await aio.in_thread(layout_of, staged)
        try:
            await write_whole(self._calls, layout, elements, parse(..., elements.shape))
            request = arrays_pb2.CommitArrayRequest(
                name=staged.name, uid=staged.uid, document_form=JSON, request_id=names.request_id()
            )
            return AsyncArray(self._calls, await self._calls.unary(methods.COMMIT_ARRAY, request))
        except Exception:
            # Where this fails, too, the staged array expires.
            with contextlib.suppress(MeasurandError):
                request_to_drop = arrays_pb2.DeleteArrayRequest(name=staged.name, uid=staged.uid)
                await self._calls.unary(methods.DELETE_ARRAY, request_to_drop)
            raise

    async def load(self, keys: Mapping[str, Any] | Sequence[str] | None = None) -> dict[str, Any]:
        """Return elements of several arrays, by name; arrays that are not named are not read.

        Parameters
        ----------
        keys : mapping or sequence of str, optional
            What to read of each array, as in `read`: `{"z": np.s_[0:2], "a": ...}`. Of a name alone: all of it. Unless
            given: all of all arrays.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no array of one of the names. Nothing was read.
        """
        if keys is None:
            handles = {array.name: array for array in await self.arrays()}
            wanted: Mapping[str, Any] = dict.fromkeys(handles, ...)
        else:
            wanted = (
                keys if isinstance(keys, Mapping) else dict.fromkeys([keys] if isinstance(keys, str) else keys, ...)
            )
            opened = await aio.parallel(self.array, wanted, bound=PARALLEL)
            handles = dict(zip(wanted, opened, strict=True))

        async def read(name: str) -> Any:
            return await handles[name].read(wanted[name])

        return dict(zip(wanted, await aio.parallel(read, wanted, bound=PARALLEL), strict=True))

    async def delete_array(self, name: str) -> None:
        """Remove an array, whichever has the name. One that is not there is no error."""
        request = arrays_pb2.DeleteArrayRequest(name=self._array_name(name))
        await self._calls.unary(methods.DELETE_ARRAY, request, gone=NotFound)

    async def _create(self, name: str, message: arrays_pb2.Array, *, staged: bool) -> arrays_pb2.Array:
        request = arrays_pb2.CreateArrayRequest(
            parent=self.name,
            array_id=names.checked_path(name, "array"),
            array=message,
            staged=staged,
            document_form=JSON,
            request_id=names.request_id(),
        )
        return await self._calls.unary(methods.CREATE_ARRAY, request)

    def _array_name(self, name: str) -> str:
        return names.array_name(self.name, name)
