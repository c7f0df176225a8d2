"""A whole measurement in one step: put into a draft that nobody finds, which one call shows when all is durable."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.datasets import AsyncDataset
from measurand.client._transport import aio
from measurand.client.background import Background
from measurand.client.data_files import DataFile
from measurand.client.messages import dataset_message
from measurand.v1 import catalogs_pb2, common_pb2, datasets_pb2
from measurand.wire.errors import MeasurandError

__all__ = ["AsyncCatalogSaving", "save"]

JSON = common_pb2.DOCUMENT_FORM_JSON
PARALLEL = 4
FIELDS = ("title", "metadata", "kind", "tags", "parents", "started", "ended", "storage")

Part = tuple[Callable[[str], Awaitable[None]], str]
"""What stores something, and its name."""


class AsyncCatalogSaving:
    """The part of a catalog's handle that saves whole measurements."""

    _calls: AsyncCalls
    _message: catalogs_pb2.Catalog

    async def save(self, data: DataFile, *, request_id: str | None = None) -> AsyncDataset:
        """Store a whole measurement in one step; all of it is durable when this returns.

        Nobody ever finds a part of it: if the program, the network or the server stops before the end, there is
        nothing, and if the answer is lost, there is all of it.

        Parameters
        ----------
        data : DataFile
            Its metadata, arrays and files.
        request_id : str, optional
            An id of your own for this one measurement, such as a UUID that was noted before: a repeated call with it,
            also of another process, goes on where the first was stopped, and makes the dataset once. It is remembered
            for a day.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the id is taken.
        InvalidArgument
            DOCUMENT_INVALID, TOO_LARGE, FIELD_INVALID: the text says which part. REQUEST_ID_REUSED: another
            measurement had the request_id.
        """
        return AsyncDataset(self._calls, await save(self._calls, self._message.name, data, request_id))

    def save_in_background(self, data: DataFile, *, request_id: str | None = None) -> Future[AsyncDataset]:
        """Have a measurement saved while the program goes on, after those that were given before.

        Returns at once. The arrays are not copied: do not change them before the future is done. The end of the
        client's `with` block waits for it, and the end of the interpreter does for 30 s.

        Returns
        -------
        Future
            Its `result()` waits, and gives the dataset or raises what went wrong. An error that nobody asks for is
            logged.
        """
        return self._calls.backgrounds.of(self._message.name, self._saver).save(data, request_id=request_id)

    def background(self) -> Background[AsyncDataset]:
        """Return a thread beside the program that saves measurements, and does anything else, in the order given."""
        return self._calls.backgrounds.open(self._saver())

    def _saver(self) -> _Saver:
        return _Saver(self._calls, self._message)


class _Saver:
    """Saves in a thread, over a connection of its own, so that neither the caller's loop nor its calls are in the way.

    Parameters
    ----------
    calls : AsyncCalls
        The caller's: what was saved is handed out with them.
    catalog : Catalog
        As the server told of it.
    """

    def __init__(self, calls: AsyncCalls, catalog: catalogs_pb2.Catalog) -> None:
        self._calls = calls
        self._address = calls.reached
        self._catalog = catalog
        self._own: Any = None

    def save(self, data: DataFile, request_id: str | None) -> AsyncDataset:
        """Save one, and return its handle."""
        from measurand.client._sync import saving
        from measurand.client._sync.calls import Calls

        if self._own is None:
            self._own = Calls(self._address, self._calls.deadlines)
        return AsyncDataset(self._calls, saving.save(self._own, self._catalog.name, data, request_id))

    def close(self) -> None:
        """Close the connection."""
        if self._own is not None:
            self._own.close()


async def save(calls: AsyncCalls, catalog: str, data: DataFile, request_id: str | None) -> datasets_pb2.Dataset:
    """Store a measurement in a catalog, and return what is known of it; see `AsyncCatalogSaving.save`."""
    data.check()
    sources = data.sources()
    given = {name: value for name in FIELDS if (value := getattr(data, name)) is not None}
    message, _ = dataset_message(given, names.last_part(catalog))
    request = datasets_pb2.CreateDatasetRequest(
        parent=catalog,
        dataset=message,
        dataset_id=data.id or "",
        draft=bool(sources or data.arrays),
        document_form=JSON,
        request_id=request_id or names.request_id(),
    )
    made = await calls.unary(methods.CREATE_DATASET, request)
    if made.state != datasets_pb2.DATASET_STATE_DRAFT:
        # There is nothing to put into it, or an earlier call with this request_id has come to its end.
        present = datasets_pb2.GetDatasetRequest(name=made.name, show_deleted=True, document_form=JSON)
        return await calls.unary(methods.GET_DATASET, present) if request.draft else made
    run = AsyncDataset(calls, made)
    try:
        await _fill(run, data, sources, is_repeat=request_id is not None)
    except Exception:
        if request_id is None:  # nobody can come back to it
            with contextlib.suppress(MeasurandError):
                await run.purge(force=True)
        raise
    commit = datasets_pb2.CommitDatasetRequest(name=run.name, document_form=JSON, request_id=names.request_id())
    return await calls.unary(methods.COMMIT_DATASET, commit)


async def _fill(run: AsyncDataset, data: DataFile, sources: dict[str, Any], *, is_repeat: bool) -> None:
    """Put files and arrays into a draft. Each comes whole, so what an earlier call has left there is not sent again."""
    files, arrays = set(sources), set(data.arrays)
    if is_repeat:
        files -= {file.path for file in await run.files()} if files else set()
        arrays -= {array.name for array in await run.arrays()} if arrays else set()

    async def send_file(path: str) -> None:
        await run.upload(sources[path], path)

    async def send_array(name: str) -> None:
        await run.write_array(
            name,
            data.arrays[name],
            chunks=data.chunks.get(name),
            dims=data.dims.get(name, ()),
            attrs=data.attrs.get(name) or None,
        )

    async def send(part: Part) -> None:
        work, name = part
        await work(name)

    parts: list[Part] = [(send_array, name) for name in data.arrays if name in arrays]
    parts += [(send_file, path) for path in sources if path in files]
    await aio.parallel(send, parts, bound=PARALLEL)
