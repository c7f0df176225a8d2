"""Frames into an array while they are measured: handed over in a moment, sent behind it, durable at `flush`."""

from __future__ import annotations

import atexit
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from measurand.client._async.calls import AsyncCalls
from measurand.client._async.frame_senders import AsyncFrameSender
from measurand.client._transport import aio
from measurand.client.frame_chunks import as_frame
from measurand.client.frames import Prefix
from measurand.client.spool import Spool
from measurand.client.spooled_frames import SpooledHead
from measurand.client.stream_plans import StreamPlan
from measurand.wire.errors import FailedPrecondition, MeasurandError, NotFound, SelectionInvalid, StoreFull, Unavailable

__all__ = ["AsyncArrayStream"]

_log = logging.getLogger("measurand.client")

MOST_AHEAD = 1 << 20
"""A row that is further ahead of the others is a mistake."""
PARTING_SECONDS = 30.0
"""So long a stream that is left by an error tries to save the frames it has."""
MEETING_SECONDS = 2.0
"""So long the entry waits for the server where frames can be spooled without it."""


class AsyncArrayStream:
    """A stream of frames into one array. Made by `stream_array` of a dataset; several threads may write to one.

    A frame that `write` has taken is sent behind the caller's back. It is durable when `flush` has returned, or when
    the functions given to `on_durable` are told so. Leaving the `with` block waits for all frames, and raises what
    went wrong with any of them.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        plan: StreamPlan,
        *,
        resume: bool,
        spool: Path | None,
        spool_bytes: int,
        window_bytes: int,
        visible_every: float,
        retry_for: float,
    ) -> None:
        self._calls = calls
        self._plan = plan
        self._resume = resume
        self._folder = spool
        self._spool_bytes = spool_bytes
        self._window_bytes = window_bytes
        self._visible_every = visible_every
        self._retry_for = retry_for
        self._sender: AsyncFrameSender | None = None
        self._beside: aio.Beside | None = None
        self._spool: Spool | None = None
        self._opening = aio.Lock()
        self._listeners: list[Callable[[Any], None]] = []
        self._next = 0
        self._handed = Prefix()
        self._is_closed = False

    @property
    def name(self) -> str:
        """Resource name of the array."""
        return self._plan.name

    @property
    def position(self) -> int | tuple[int, ...]:
        """Index of the first frame that is not durable yet; those behind it may be."""
        return self._plan.index(self._sender.known_durable if self._sender is not None else 0)

    @property
    def next_index(self) -> int | tuple[int, ...]:
        """Where the next frame without an index goes; after `resume=True`, where the measurement goes on."""
        return self._plan.index(self._next)

    @property
    def missing(self) -> list[int]:
        """Rows that were never written though later ones were; known when the stream is closed. They read as fill."""
        return list(self._sender.missing) if self._sender is not None else []

    async def open(self) -> None:
        """Make or find the array and become its writer; entering the `with` block does so, and so does `write`.

        Raises
        ------
        AlreadyExists
            RESOURCE_EXISTS: the array is there, and neither `resume` nor `length` is given.
        Conflict
            ETAG_MISMATCH: the array is there, and has other frames.
        """
        async with self._opening:
            if self._sender is not None:
                return
            self._check_open()
            self._spool = await aio.in_thread(self._opened_spool)
            try:
                self._sender = await self._connected(self._spool)
            except BaseException:
                if self._spool is not None:
                    self._spool.close()
                raise
            self._beside = aio.Beside(self._sender.run, f"frames of {self._plan.name}")
            atexit.register(self._warn)
            if self._spool is not None and not await self._has_met(self._sender):
                await self._close(None)  # raises what is wrong

    async def write(
        self,
        frame: Any,
        index: int | tuple[int, ...] | None = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109  # it has a meaning of its own
    ) -> None:
        """Hand over one frame; it is durable only after `flush`.

        Parameters
        ----------
        frame : array_like, shape ``frame_shape``
            In the dtype of the stream, in either byte order; it is not cast. It is copied: change it at will.
        index : int or tuple of int, optional
            Its place along the leading axes; in any order, and of two for one place the later one wins. Unless given:
            behind the last one.
        timeout : float
            Longest wait for room, in seconds.

        Raises
        ------
        Unavailable
            STORE_UNAVAILABLE: there was no room in that time. The frame was not taken, and the stream stays usable.
        StoreFull
            STORE_FULL: there was no room in the spool in that time; the same holds.
        SelectionInvalid
            SELECTION_INVALID: shape, dtype or index do not fit the stream. Nothing was taken.
        WriterFenced
            WRITER_FENCED: a newer writer has taken over. What is durable stays.
        """
        if self._sender is None:
            await self.open()
        sender = self._sender
        assert sender is not None
        copied = as_frame(frame, self._plan.frame_shape, self._plan.dtype, self._plan.name, copy=self._spool is None)
        end = time.monotonic() + timeout
        while True:
            rings = sender.news.rings
            full: MeasurandError | None = None
            with sender.guard:
                self._check_open()
                flat = self._next if index is None else self._plan.flat(index)
                self._plan.place(flat)
                if self._plan.length is None and flat > self._next + MOST_AHEAD:
                    raise SelectionInvalid(
                        f"{self._plan.name}: row {flat} is more than {MOST_AHEAD} behind the last one, which is "
                        f"{self._next - 1}; give length= where frames come in any order"
                    )
                try:
                    is_taken = self._is_taken(sender, copied, flat)
                except StoreFull as error:
                    is_taken, full = False, error
                if is_taken:
                    self._next = max(self._next, flat + 1)
            sender.bell.ring()
            if is_taken:
                return
            left = end - time.monotonic()
            if left <= 0 or not await sender.news.wait(rings, left):
                raise full or self._no_room(sender, timeout)

    async def flush(self) -> int | tuple[int, ...]:
        """Return when every frame that was taken is durable, and seen as far as all frames before it have come.

        Returns
        -------
        int or tuple of int
            `position`. Of an array that grows, frames behind a missing one stay with this process (or in the spool)
            until that one has come.

        Raises
        ------
        Unavailable
            STORE_UNAVAILABLE: nothing became durable for `retry_for` seconds.
        MeasurandError
            What went wrong with any frame.
        """
        if self._sender is None:
            await self.open()
        sender = self._sender
        assert sender is not None
        with sender.guard:
            self._check_open()
            sender.flushes_wanted += 1
            wanted = sender.flushes_wanted
        sender.bell.ring()
        while True:
            rings = sender.news.rings
            if sender.flushes_done >= wanted:
                return self.position
            self._raise_failure()
            self._check_open()
            if not await sender.news.wait(rings, self._retry_for):
                raise Unavailable(
                    f"{self._plan.name}: nothing became durable in {self._retry_for:g} s; the frames from "
                    f"{self.position} on wait until the server is back"
                )

    def on_durable(self, listener: Callable[[Any], None]) -> None:
        """Have a function called with the index of each frame that has become durable.

        It is called beside the measurement, in one thread or task at a time; what it raises ends the stream.
        """
        self._listeners.append(listener)

    async def close(self) -> None:
        """Wait for all frames, and end the stream; leaving the `with` block does so.

        Raises
        ------
        MeasurandError
            What went wrong with any frame.
        """
        await self._close(None)

    async def __aenter__(self) -> AsyncArrayStream:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is None:
            await self.close()
            return
        try:
            await self._close(PARTING_SECONDS)
        except MeasurandError as failure:
            error.add_note(f"the stream {self._plan.name} could not save all of its frames: {failure}")

    def __repr__(self) -> str:
        return f"<ArrayStream {self._plan.name}: next {self.next_index}, durable up to {self.position}>"

    # ---------------------------------------------------------------------------------------------------------- inside

    def _opened_spool(self) -> Spool | None:
        if self._folder is None:
            return None
        about = {**self._plan.about, "server": str(self._calls.address)}
        return Spool(self._folder, about, most_bytes=self._spool_bytes)

    async def _connected(self, spool: Spool | None) -> AsyncFrameSender:
        """Return the sender; connected, unless it can begin without the server."""
        sender = AsyncFrameSender(
            self._calls,
            self._plan,
            resume=self._resume,
            spool=spool,
            window_bytes=self._window_bytes,
            visible_every=self._visible_every,
            patience=self._retry_for,
            tell=self._told,
        )
        last = spool.last_record() if spool is not None else None
        if spool is not None and last is not None:
            self._remember(spool, SpooledHead.of(last.data))
            sender.known_durable = SpooledHead.of(last.data).durable
        elif spool is None or not spool.is_new or self._resume:
            await sender.connect()
            self._next = sender.durable.end
            self._handed = Prefix(self._next)
        return sender

    def _remember(self, spool: Spool, last: SpooledHead) -> None:
        """Go on behind the frames that an earlier run has spooled."""
        self._next = last.next
        heads = []
        after = spool.acknowledged
        while (record := spool.next(after)) is not None:
            heads.append(SpooledHead.of(record.data).flat)
            after = record.number
        self._handed = Prefix(min(heads, default=self._next))
        for flat in heads:
            self._handed.add(flat)

    async def _has_met(self, sender: AsyncFrameSender) -> bool:
        """Give the sender a moment to find out what is wrong with the array; False: something is."""
        end = time.monotonic() + MEETING_SECONDS
        rings = sender.news.rings
        while sender.window is None and sender.failure is None and (left := end - time.monotonic()) > 0:
            await sender.news.wait(rings, left)
            rings = sender.news.rings
        return sender.failure is None

    def _is_taken(self, sender: AsyncFrameSender, frame: Any, flat: int) -> bool:
        """Take a frame if there is room for it; the guard is held."""
        if self._spool is not None:
            head = SpooledHead(flat, max(self._next, flat + 1), flat in self._handed, sender.known_durable)
            # The buffer protocol does not know every dtype, but bytes.
            self._spool.append(head.pack(), memoryview(frame.reshape(-1).view(np.uint8)))
            self._handed.add(flat)
            return True
        window, place = sender.window, self._plan.place(flat)
        if window is None or not window.has_room(place):
            sender.wants_room = True
            return False
        window.take(place, frame)
        return True

    def _no_room(self, sender: AsyncFrameSender, timeout: float) -> Unavailable:
        window = sender.window
        waiting = window.open_frames if window is not None else 0
        return Unavailable(
            f"{self._plan.name}: no room for another frame in {timeout:g} s, {waiting} frames are not durable yet; "
            "this one was not taken. Write it again, give the stream more window_bytes= or a spool=, and see to it "
            f"that the server is reachable and that frame {self.position} was written",
            waiting=waiting,
        )

    def _told(self, flat: int) -> None:
        for listener in self._listeners:
            listener(self._plan.index(flat))

    def _raise_failure(self) -> None:
        if self._sender is not None and self._sender.failure is not None:
            raise self._sender.failure

    def _check_open(self) -> None:
        self._raise_failure()
        if self._is_closed:
            raise FailedPrecondition(f"the stream {self._plan.name} is closed; make a new one", state="closed")

    async def _close(self, seconds: float | None) -> None:
        self._is_closed = True
        sender, beside = self._sender, self._beside
        if sender is None or beside is None:
            return
        self._beside = None
        atexit.unregister(self._warn)
        with sender.guard:
            sender.is_closing = True
            sender.flushes_wanted += 1
        sender.bell.ring()
        has_ended = False
        try:
            has_ended = await beside.join(seconds)
        finally:
            if not has_ended:
                await beside.give_up()
            if self._spool is not None:
                with contextlib.suppress(OSError, NotFound):
                    await aio.in_thread(self._parted, self._spool, sender)
        self._raise_failure()
        if not has_ended:
            raise Unavailable(
                f"{self._plan.name}: the frames from {self.position} on could not be sent in {seconds:g} s"
            )

    def _warn(self) -> None:
        """Say at the end of the program what nobody has waited for."""
        if self.position != self.next_index:
            _log.warning("%s was not closed: its frames from %s on may be lost", self._plan.name, self.position)

    @staticmethod
    def _parted(spool: Spool, sender: AsyncFrameSender) -> None:
        """Leave nothing behind where all was sent."""
        if sender.failure is None and spool.acknowledged >= spool.last:
            spool.remove()
        else:
            spool.close()
