"""What goes on behind a stream of frames: blocks are encoded in threads, sent, and their frames told durable."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from measurand.client import retries
from measurand.client._async.array_chunk_streams import AsyncChunkStream
from measurand.client._async.array_reads import fetch_chunk
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.stream_openings import frames_left, made_or_found
from measurand.client._transport import aio
from measurand.client.array_layouts import layout_of
from measurand.client.frame_chunks import FrameChunks
from measurand.client.frames import GrowingFrames, Job, Prefix, Window
from measurand.client.hashing import Bytes
from measurand.client.spool import Spool
from measurand.client.spooled_frames import SpooledHead
from measurand.client.stream_plans import StreamPlan
from measurand.wire.errors import (
    Cancelled,
    Conflict,
    DataLoss,
    MeasurandError,
    Timeout,
    Unavailable,
    WriterFenced,
)

__all__ = ["AsyncFrameSender"]

THREADS = max(1, min(4, os.cpu_count() or 1))
ENCODED_BYTES = 8 << 20
"""So much is being encoded, or waits for its turn to be sent."""
STAY_SECONDS = 60.0
MEETING_SECONDS = 30.0
"""So long the array is looked for before the server counts as away."""
AGAIN_SECONDS = 1.0

Encoded = list[tuple[tuple[int, ...], Bytes]]


class AsyncFrameSender:
    """Sends the frames of one stream, in a task of its own.

    Writers put frames into `window` (or the spool), holding `guard`, and ring `bell`; `news` rings when frames have
    become durable, and when it is over.

    Parameters
    ----------
    resume : bool
        The array may be there already.
    tell : callable
        Gets the number of each frame that has become durable.
    patience : float
        Give up after so many seconds without progress.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        plan: StreamPlan,
        *,
        resume: bool,
        spool: Spool | None,
        window_bytes: int,
        visible_every: float,
        patience: float,
        tell: Callable[[int], None],
    ) -> None:
        self.plan = plan
        self.bell = aio.Bell()
        self.news = aio.Bell()
        self.guard = threading.Lock()
        self.window: Window | None = None
        self.durable = Prefix()
        self.failure: BaseException | None = None
        self.flushes_wanted = 0
        self.flushes_done = 0
        self.is_closing = False
        self.wants_room = False
        self.missing: list[int] = []
        self.known_durable = 0
        """All frames before this one are durable, as far as this run of the program or the one before was told."""
        self._calls = calls
        self._may_exist = resume or plan.length is not None or (spool is not None and not spool.is_new)
        self._resume = resume
        self._spool = spool
        self._window_bytes = window_bytes
        self._visible_every = visible_every
        self._patience = patience
        self._tell = tell
        self._stream: AsyncChunkStream | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="measurand-encode")
        self._encoding: deque[tuple[Job, Future[Encoded]]] = deque()
        self._fed = 0
        self._may_overfill = False
        self._progress_time = time.monotonic()

    async def connect(self) -> None:
        """Make or find the array, and become its writer; errors as `open_frames`."""
        array = await made_or_found(
            self._calls, self.plan, may_exist=self._may_exist, patience=min(self._patience, MEETING_SECONDS)
        )
        self._may_exist = True
        self._chunks = FrameChunks(layout_of(array), len(self.plan.lengths))
        if self._stream is None:
            self._stream = AsyncChunkStream(
                self._calls,
                self.plan.name,
                uid=array.uid,
                append=self.plan.length is None,
                tell=self._note_safe,
                bell=self.bell,
                patience=self._patience,
            )
        rows = await self._stream.open()
        if self.plan.length is None and rows < self.known_durable:
            raise DataLoss(
                f"{self.plan.name} has {rows} rows of the {self.known_durable} that were durable: it was removed and "
                "made again, or its store lost them; keep the spool, and stream into another array",
                rows=rows,
            )
        frames, durable = await frames_left(self._calls, self.plan, self._chunks, rows, is_asked=self._resume)
        with self.guard:
            self.durable = durable
            self.known_durable = max(self.known_durable, durable.end)
            self._fed = self._spool.acknowledged if self._spool is not None else 0
            self._encoding.clear()
            self.window = Window(
                frames,
                frame_bytes=self.plan.frame_bytes,
                most_bytes=self._window_bytes,
                visible_every=self._visible_every,
                now=time.monotonic,
            )
        self._progress_time = time.monotonic()
        self.news.ring()

    # -------------------------------------------------------------------------------------------------------- the task

    async def run(self) -> None:
        """Send until it is closed and all is durable, or something cannot be mended."""
        try:
            while not await self._has_sent_all():
                await aio.sleep(AGAIN_SECONDS)
        except Exception as error:  # told to whoever writes
            self.failure = error
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self.news.ring()
            if self._stream is not None:
                await self._stream.close()

    async def _has_sent_all(self) -> bool:
        """Send; False: the server is away, the frames are in the spool, and it is to be tried again."""
        try:
            if self.window is None:
                await self.connect()
            await self._send_on()
        except MeasurandError as error:
            if not self._may_wait(error):
                raise
            with self.guard:
                self.window = None
            if self._stream is not None:
                await self._stream.close()
            return False
        return True

    def _may_wait(self, error: MeasurandError) -> bool:
        """Tell whether what is spooled can wait until the server is back."""
        if self._spool is None or isinstance(error, Cancelled):
            return False
        if not (isinstance(error, Unavailable | Timeout) or retries.may_reopen(error)):
            return False
        if self.is_closing and time.monotonic() - self._progress_time > self._patience:
            raise Unavailable(
                f"{self.plan.name}: {self._spool.last - self._spool.acknowledged} frames wait in the spool "
                f"{self._spool.folder} and the server is away; the same call sends them when it is back ({error})",
                transport="UNAVAILABLE",
            ) from error
        return True

    async def _send_on(self) -> None:
        stream, window = self._stream, self.window
        assert stream is not None and window is not None
        heard = time.monotonic()
        while True:
            rings, wanted, is_closing = self.bell.rings, self.flushes_wanted, self.is_closing
            is_fed = self._feed(window)
            self._encode_whole(window)
            if self._encoding:
                await self._send_first(stream, window)
                continue
            now = time.monotonic()
            is_flush = is_fed and wanted > self.flushes_done
            is_stuck = (not is_fed or self.wants_room) and stream.replay.is_safe
            if is_flush or is_stuck or (window.due is not None and window.due <= now):
                with self.guard:
                    self.wants_room = False
                    job = window.next_partial()
                if job is not None:
                    await self._send_partial(stream, window, job)
                    continue
                self._may_overfill = not is_fed
            if is_flush:
                await stream.flush()
                if is_closing and self._closes_gaps(window):
                    continue
                if is_closing:
                    await stream.finish()
                self.flushes_done = wanted
                self.news.ring()
                if is_closing:
                    return
                continue
            if self._may_overfill:
                continue
            seconds = STAY_SECONDS if window.due is None else max(0.0, window.due - now)
            if await self.bell.wait(rings, min(seconds, STAY_SECONDS)):
                heard = time.monotonic()
            elif time.monotonic() - heard >= STAY_SECONDS:
                await stream.stay()
                heard = time.monotonic()
            await stream.hear()

    def _closes_gaps(self, window: Window) -> bool:
        """Give up waiting for rows that never came; tell whether that sets others free."""
        if not isinstance(window.frames, GrowingFrames):
            return False
        with self.guard:
            end = window.frames.end
            window.frames.close_gaps()
            self.missing = list(window.frames.missing)
            return window.frames.end > end

    def _feed(self, window: Window) -> bool:
        """Take frames out of the spool as far as there is room; tell whether there are no more."""
        spool = self._spool
        if spool is None:
            return True
        while (record := spool.next(self._fed)) is not None:
            head = SpooledHead.of(record.data)
            place = self.plan.place(head.flat)
            with self.guard:
                is_there = self.plan.length is None and not head.is_again and head.flat < self.durable.end
                if not is_there:
                    if not window.has_room(place) and not self._may_overfill:
                        return False
                    frame = np.frombuffer(record.data[SpooledHead.FORM.size :], self.plan.dtype)
                    window.take(place, frame.reshape(self.plan.frame_shape), record.number)
                self._fed = record.number
                self._may_overfill = False
            if is_there:
                self._acknowledge_spool(window, spool)
        return True

    def _acknowledge_spool(self, window: Window, spool: Spool) -> None:
        with self.guard:
            first = window.first_open
        spool.acknowledge(self._fed if first is None else first - 1)

    # ------------------------------------------------------------------------------------------------------ the blocks

    def _encode_whole(self, window: Window) -> None:
        """Have whole blocks encoded, ahead of their turn."""
        block_bytes = self.plan.frame_bytes * int(np.prod(self._chunks.frames_shape, dtype=object))
        depth = max(2, min(64, ENCODED_BYTES // max(1, block_bytes)))
        while len(self._encoding) < depth:
            with self.guard:
                job = window.next_whole()
            if job is None:
                return
            self._encoding.append((job, self._pool.submit(self._chunks.encode, job)))

    async def _send_first(self, stream: AsyncChunkStream, window: Window) -> None:
        job, future = self._encoding.popleft()
        number = 0
        for index, data in await aio.result(future):
            number = await stream.write(index, data)
        if self.plan.length is None:
            number = await stream.grow(job.rows)
        self._note_sent(window, job, number)

    async def _send_partial(self, stream: AsyncChunkStream, window: Window, job: Job) -> None:
        if job.is_whole:
            self._encoding.append((job, self._pool.submit(self._chunks.encode, job)))
            return
        for index in [*self._chunks.indexes(job.block)]:
            await self._change(stream, job, index)
        self._note_sent(window, job, stream.safe)

    async def _change(self, stream: AsyncChunkStream, job: Job, index: tuple[int, ...]) -> None:
        """Lay frames over a chunk as the server has it, if nobody else has changed it meanwhile; else once more."""
        tries = self._calls.tries(self._patience)
        while True:
            error: MeasurandError
            try:
                await stream.hear()
                await stream.flush()
                await stream.open()  # it is the stream that knows how long to wait for a server that is away
                found = await fetch_chunk(self._calls, self._chunks.layout, index)
            except (Unavailable, Timeout) as failure:
                error = failure
            else:
                data = await aio.in_thread(self._chunks.changed, job, index, found.data)
                try:
                    await stream.write(index, data, if_etag=found.etag)
                    return await stream.flush()
                except WriterFenced:
                    raise
                except Conflict as failure:
                    error = failure
            await self._calls.pause(tries, error)

    # ------------------------------------------------------------------------------------------------ what has come of

    def _note_sent(self, window: Window, job: Job, number: int) -> None:
        with self.guard:
            window.note_sent(job, number)
        self._note_safe()  # the server may have been faster than this note

    def _note_safe(self) -> None:
        stream, window = self._stream, self.window
        if stream is None or window is None:
            return
        with self.guard:
            flats = [self.plan.flat(place) for place in window.note_safe(stream.safe)]
            for flat in flats:
                self.durable.add(flat)
            self.known_durable = max(self.known_durable, self.durable.end)
        if not flats:
            return
        self._progress_time = time.monotonic()
        if self._spool is not None:
            self._acknowledge_spool(window, self._spool)
        self.news.ring()
        for flat in flats:
            self._tell(flat)
