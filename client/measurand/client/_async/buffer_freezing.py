"""The part of a buffer's handle that holds it still: freeze, unfreeze, rotate, and the batches that come of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from measurand.client import methods, names, values
from measurand.client._async.batches import AsyncBatch
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.record_reads import AsyncRecordReads
from measurand.client._transport import aio
from measurand.client.buffer_facts import Freeze, Stats
from measurand.client.buffer_settings import Span, duration, span_of
from measurand.v1 import buffers_pb2, common_pb2
from measurand.wire.errors import MeasurandError, NotFrozen, PermissionDenied

__all__ = ["AsyncBufferFreezing", "AsyncFrozen"]

JSON = common_pb2.DOCUMENT_FORM_JSON
LEASE = 900.0
"""How long a freeze of `frozen` outlives its program."""
WAIT_SECONDS = 20.0
"""How long one call waits."""


class AsyncBufferFreezing(AsyncRecordReads):
    """What a buffer can do with windows."""

    _calls: AsyncCalls
    _message: buffers_pb2.Buffer
    _freeze: Freeze | None

    @property
    def name(self) -> str:
        """Its resource name, `catalogs/{catalog}/buffers/{buffer}`."""
        return self._message.name

    async def freeze(
        self,
        *,
        force: bool = False,
        wait: Span = 0.0,
        lease: Span | None = None,
        comment: str = "",
        run_id: str | None = None,
    ) -> Freeze:
        """Close the newest window: once the state is FROZEN, nothing more gets into it.

        Below the limits of `freeze_after` nothing changes and the state is WAITING. The handle remembers the freeze:
        its `unfreeze` ends it, and `freeze` with a lease prolongs it.

        Parameters
        ----------
        force : bool
            Freeze even below the limits.
        wait : float, str or timedelta
            How long to wait for the limits; the server tells when they are met.
        lease : float, str or timedelta, optional
            End the freeze by itself after so long, 1 minute to 24 hours. Unless given, it lasts until `unfreeze`.
        comment : str
            For the event log.
        run_id : str, optional
            Of what freezes: a run that was killed finds its own freeze again.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody else holds a freeze; the details say who.
        """
        # One id for all calls, so that a freeze whose answer was lost is found again.
        request_id = (
            names.request_id() if run_id is None else str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}#{run_id}"))
        )
        end = time.monotonic() + span_of(wait, "wait")
        token = self._freeze.token if self._freeze is not None else ""
        while True:
            left = end - time.monotonic()
            request = buffers_pb2.FreezeBufferRequest(
                name=self.name,
                comment="" if token else comment,
                force=force and not token,
                freeze_token=token,
                document_form=JSON,
                request_id="" if token else request_id,
            )
            if lease is not None:
                request.lease.CopyFrom(duration(span_of(lease, "lease")))
            if left > 0 and not token:
                request.wait.CopyFrom(duration(min(left, WAIT_SECONDS)))
            try:
                answer = await self._calls.unary(methods.FREEZE_BUFFER, request)
            except (NotFrozen, PermissionDenied):
                if not token:
                    raise
                self._freeze, token = None, ""  # that freeze has ended
                continue
            self._message = answer.buffer
            freeze = Freeze.of(answer, datetime.now(UTC))
            if freeze.state == "FROZEN":
                self._freeze = freeze
                return freeze
            if time.monotonic() >= end:
                return freeze

    async def unfreeze(
        self,
        *,
        title: str = "",
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        discard: bool = False,
        token: str = "",
        force: bool = False,
        allow_empty: bool = False,
    ) -> AsyncBatch | None:
        """Seal the frozen window into a batch and open the next one. Safe to repeat.

        Parameters
        ----------
        title, tags, metadata
            Of the batch, merged over what the buffer says.
        discard : bool
            Throw the records away instead.
        token : str
            Of a freeze that another program made; the handle knows the one of its own.
        force : bool
            Though another holds the freeze.
        allow_empty : bool
            Make a batch even of a window without records.

        Returns
        -------
        Batch, optional
            None: the window was empty, or its records were thrown away.

        Raises
        ------
        NotFrozen
            BUFFER_NOT_FROZEN: it is not.
        PermissionDenied
            PERMISSION_DENIED: another holds the freeze.
        """
        freeze = self._freeze
        request = buffers_pb2.UnfreezeBufferRequest(
            name=self.name,
            window=freeze.window if freeze is not None else (await self.stats()).window,
            discard=discard,
            batch=_draft(title, tags, metadata),
            freeze_token=token or (freeze.token if freeze is not None else ""),
            force=force,
            allow_empty=allow_empty,
            document_form=JSON,
            request_id=names.request_id(),
        )
        answer = await self._calls.unary(methods.UNFREEZE_BUFFER, request)
        self._freeze = None
        return self._sealed(answer)

    async def rotate(
        self, *, title: str = "", tags: Iterable[str] = (), metadata: Mapping[str, Any] | None = None
    ) -> AsyncBatch | None:
        """Seal the newest window while records go on into the next one. None: it was empty.

        Raises
        ------
        Frozen
            BUFFER_FROZEN: somebody holds a freeze.
        """
        request = buffers_pb2.RotateBufferRequest(
            name=self.name,
            window=(await self.stats()).window,
            batch=_draft(title, tags, metadata),
            document_form=JSON,
            request_id=names.request_id(),
        )
        return self._sealed(await self._calls.unary(methods.ROTATE_BUFFER, request))

    async def batches(self, limit: int | None = None) -> list[AsyncBatch]:
        """Return the batches, newest first, at most `limit` of them."""
        found: list[AsyncBatch] = []
        request = buffers_pb2.ListBatchesRequest(parent=self.name, page_size=1000, document_form=JSON)
        while limit is None or len(found) < limit:
            page = await self._calls.unary(methods.LIST_BATCHES, request)
            found += [AsyncBatch(self._calls, message) for message in page.batches]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return found[:limit]

    def frozen(
        self,
        *,
        wait: Span = 0.0,
        run_id: str | None = None,
        lease: Span = LEASE,
        force: bool = False,
        comment: str = "",
        title: str = "",
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncFrozen:
        """Hold the buffer still for a `with` block, and seal the window in the end, whatever happens in the block.

        Parameters
        ----------
        wait : float, str or timedelta
            How long to wait for the limits of `freeze_after`.
        run_id : str, optional
            Of the run: one that was killed in the block goes on with the same window when it is run again.
        lease : float, str or timedelta
            The freeze ends so long after the death of this program. It is renewed in the block.
        force : bool
            Freeze even below the limits.
        comment : str
            For the event log.
        title, tags, metadata
            Of the batch.

        Examples
        --------
        >>> with strain.frozen(wait=3600, run_id="2026-11-21") as window:  # doctest: +SKIP
        ...     train(record.array for record in window.read(window.sequences))
        >>> window.batch.name  # doctest: +SKIP
        """
        said = {"title": title, "tags": tuple(tags), "metadata": metadata}
        asked = {"wait": wait, "run_id": run_id, "force": force, "comment": comment}
        return AsyncFrozen(self._calls, self, span_of(lease, "lease"), asked, said)

    async def stats(self) -> Stats:
        """Return its figures, exact at this moment."""
        request = buffers_pb2.GetBufferRequest(name=self.name, document_form=JSON)
        self._message = await self._calls.unary(methods.GET_BUFFER, request)
        return Stats.of(self._message)

    def _sealed(self, answer: buffers_pb2.UnfreezeBufferResponse) -> AsyncBatch | None:
        self._message = answer.buffer
        return AsyncBatch(self._calls, answer.batch) if answer.HasField("batch") else None


class AsyncFrozen(AsyncRecordReads):
    """A window that holds still. Made by `frozen` of a buffer, as a `with` block; its records can be read in it."""

    def __init__(
        self,
        calls: AsyncCalls,
        buffer: AsyncBufferFreezing,
        lease: float,
        asked: Mapping[str, Any],
        said: Mapping[str, Any],
    ) -> None:
        self._buffer = buffer
        self._calls = calls
        self._source = buffer.name
        self._lease = lease
        self._asked = asked
        self._said = said
        self._beside: aio.Beside | None = None
        self._bell = aio.Bell()
        self._freeze: Freeze | None = None
        self._first = 0
        self.batch: AsyncBatch | None = None
        """What came of it, once the block has ended. None: the window was empty."""
        self.failure: MeasurandError | None = None
        """Why the freeze could not be renewed, if it could not."""

    @property
    def freeze(self) -> Freeze:
        """The freeze: whose, since when, how many records."""
        if self._freeze is None:
            raise NotFrozen(f"{self._source}: the `with` block has not begun", resource=self._source)
        return self._freeze

    @property
    def sequences(self) -> range:
        """The sequences of its records: `read(window.sequences)` reads all."""
        return range(self._first, self._first + self.freeze.records)

    async def __aenter__(self) -> AsyncFrozen:
        freeze = await self._buffer.freeze(lease=self._lease, **self._asked)
        if freeze.state != "FROZEN":
            raise NotFrozen(
                f"{self._source} is still below its limits, {freeze.missing:g} are missing; wait longer, or use "
                "force=True",
                resource=self._source,
            )
        self._freeze = freeze
        self._first = (await self._buffer.stats()).window_first_sequence
        self._beside = aio.Beside(self._renew, f"freeze of {self._source}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bell.ring()
        if self._beside is not None and not await self._beside.join(WAIT_SECONDS):
            await self._beside.give_up()
        self.batch = await self._buffer.unfreeze(**self._said)

    async def _renew(self) -> None:
        """Prolong the freeze each third of its lease."""
        while not await self._bell.wait(0, self._lease / 3):
            request = buffers_pb2.FreezeBufferRequest(
                name=self._source, freeze_token=self.freeze.token, lease=duration(self._lease), document_form=JSON
            )
            try:
                await self._calls.unary(methods.FREEZE_BUFFER, request)
            except MeasurandError as error:
                self.failure = error
                if isinstance(error, (NotFrozen, PermissionDenied)):
                    return  # it has ended; the exit says what became of the window


def _draft(title: str, tags: Iterable[str], metadata: Mapping[str, Any] | None) -> buffers_pb2.Batch:
    draft = buffers_pb2.Batch(title=title, tags=[tags] if isinstance(tags, str) else tags)
    if metadata is not None:
        draft.metadata.json = values.to_text(metadata)
    return draft
