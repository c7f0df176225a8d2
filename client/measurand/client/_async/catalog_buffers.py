"""The part of a catalog's handle that makes and finds buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measurand.client import methods, names, values
from measurand.client._async.buffers import AsyncBuffer
from measurand.client._async.calls import AsyncCalls
from measurand.client.buffer_settings import Freezes, Retains, Span, policy_of
from measurand.v1 import buffers_pb2, catalogs_pb2, common_pb2
from measurand.wire.errors import AlreadyExists

__all__ = ["AsyncCatalogBuffers"]

JSON = common_pb2.DOCUMENT_FORM_JSON


class AsyncCatalogBuffers:
    """What a catalog can do with buffers."""

    _calls: AsyncCalls
    _message: catalogs_pb2.Catalog

    async def create_buffer(
        self,
        name: str,
        *,
        freeze_after: Freezes | None = None,
        rotate: bool = False,
        retention: Retains | None = None,
        keep_sealed: Span | None = None,
        batch_title: str = "",
        metadata: Mapping[str, Any] | None = None,
        description: str = "",
        exist_ok: bool = False,
    ) -> AsyncBuffer:
        """Make a buffer: a live, ordered, append-only stream of records.

        Parameters
        ----------
        name : str
            Such as `h1-strain`: lower-case letters, digits, `.`, `_`, `-`.
        freeze_after : mapping, optional
            `{"bytes": "2 GiB", "records": 100_000, "seconds": 3600}`: when any of these is met, the window is frozen.
        rotate : bool
            Seal it then and go on, instead of freezing.
        retention : mapping, optional
            `{"age": "30d", "bytes": "1 TiB", "batches": 100}`: batches beyond any of these are removed, the oldest
            first, except for those that are pinned.
        keep_sealed : float, str or timedelta, optional
            Forget records of sealed windows after so long. They stay in their batch. Unless given: never.
        batch_title : str
            Title of batches; `{buffer}`, `{window}` and `{time}` are filled in.
        metadata : mapping, optional
            What is measured; it becomes part of the metadata of every batch.
        exist_ok : bool
            Return a buffer that is there already, as it is.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the name is taken.
        """
        buffer = buffers_pb2.Buffer(
            description=description,
            policy=policy_of(
                freeze_after, rotate=rotate, retention=retention, keep_sealed=keep_sealed, batch_title=batch_title
            ),
        )
        if metadata is not None:
            buffer.metadata.json = values.to_text(metadata)
        request = buffers_pb2.CreateBufferRequest(
            parent=self._message.name, buffer_id=name, buffer=buffer, document_form=JSON, request_id=names.request_id()
        )
        try:
            return AsyncBuffer(self._calls, await self._calls.unary(methods.CREATE_BUFFER, request))
        except AlreadyExists:
            if not exist_ok:
                raise
        return await self.buffer(name)

    async def buffer(self, name: str) -> AsyncBuffer:
        """Return a buffer. NotFound: there is none of that name."""
        request = buffers_pb2.GetBufferRequest(name=f"{self._message.name}/buffers/{name}", document_form=JSON)
        return AsyncBuffer(self._calls, await self._calls.unary(methods.GET_BUFFER, request))

    async def buffers(self) -> list[AsyncBuffer]:
        """Return the buffers, by name."""
        found: list[AsyncBuffer] = []
        request = buffers_pb2.ListBuffersRequest(parent=self._message.name, page_size=1000, document_form=JSON)
        while True:
            page = await self._calls.unary(methods.LIST_BUFFERS, request)
            found += [AsyncBuffer(self._calls, message) for message in page.buffers]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found
