"""Calls of another process that keeps blobs: one channel, how long an answer may take, and what is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import grpc.aio

from measurand.storage.blobs.remote.faults import RETRY_SECONDS, Unanswered, error_of, port_error, silent
from measurand.v1 import blobs_pb2
from measurand.v1.blobs_pb2_grpc import BlobServiceStub
from measurand.wire.codec import codec_channel
from measurand.wire.errors import ChecksumMismatch, MeasurandError, Unavailable

__all__ = ["CONTAINER_KEY", "DEPLOYMENT_KEY", "Calls"]

DEPLOYMENT_KEY = "measurand-deployment"
CONTAINER_KEY = "measurand-container"
"""The metadata of each call: whose blobs they are, and in which registration of the container."""

TRIES = 4
PAUSE_SECONDS = 0.05

MiB = 1 << 20
_OPTIONS = (
    ("grpc.max_send_message_length", 16 * MiB),
    ("grpc.max_receive_message_length", 16 * MiB),
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A process that was started anew is found again at once: gRPC's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)

Answer = TypeVar("Answer")


class Calls:
    """A channel to one process.

    Parameters
    ----------
    target : str
        `host:port`. Nothing is connected before the first call; what breaks is connected again by itself.
    deployment_id, container_uid : str
        What the other process must be.
    answer_seconds : float
        A process that says nothing for so long is taken for gone.
    """

    def __init__(self, target: str, *, deployment_id: str, container_uid: str, answer_seconds: float) -> None:
        self.target = target
        self._answer_seconds = answer_seconds
        self.metadata = ((DEPLOYMENT_KEY, deployment_id), (CONTAINER_KEY, container_uid))
        self._is_closed = False
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self.stub: Any = BlobServiceStub(codec_channel(self._channel))

    async def unary(
        self, method: Callable[..., Awaitable[Answer]], request: object, *, seconds: float | None = None
    ) -> Answer:
        """Make a call that can be made again without harm. Raises what a blob store may."""
        return await self.repeated(lambda: self.once(method, request, seconds=seconds), when=(Unanswered,))

    async def once(
        self, method: Callable[..., Awaitable[Answer]], request: object, *, seconds: float | None = None
    ) -> Answer:
        """Try a call once. Raises what the process says, as it says it."""
        with self._told():
            return await method(request, timeout=seconds or self._answer_seconds, metadata=self.metadata)

    async def repeated(
        self, attempt: Callable[[], Awaitable[Answer]], *, when: tuple[type[MeasurandError], ...] = ()
    ) -> Answer:
        """Try something a few times while bytes come damaged, and once more after one of these errors."""
        for left in reversed(range(TRIES)):
            try:
                return await attempt()
            except ChecksumMismatch as error:
                if not left:
                    raise port_error(error, self.target) from error
            except MeasurandError as error:
                if not left or not isinstance(error, when):
                    raise port_error(error, self.target) from error
                when = ()
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try raises")

    async def stream(
        self, method: Callable[..., Any], request: object, *, seconds: float | None = None
    ) -> AsyncIterator[Any]:
        """Yield the answers of a call, of which each may take so long. Raises what the process says."""
        with self._told():
            call = method(request, metadata=self.metadata)
        try:
            while True:
                with self._told():
                    async with asyncio.timeout(seconds or self._answer_seconds):
                        message = await call.read()
                if message is grpc.aio.EOF:
                    return
                yield message
        finally:
            call.cancel()

    async def put(self, messages: Iterable[blobs_pb2.PutBlobRequest]) -> None:
        """Send a blob as a stream, once. Raises what the process says."""
        with self._told():
            call = self.stub.PutBlob(metadata=self.metadata)
        try:
            with self._told():
                with suppress(asyncio.InvalidStateError):  # it ended before all was sent
                    for message in messages:
                        async with asyncio.timeout(self._answer_seconds):
                            await call.write(message)
                    await call.done_writing()
                async with asyncio.timeout(self._answer_seconds):
                    await call
        finally:
            call.cancel()

    async def close(self) -> None:
        """Let go of the channel; calls that run are ended, and fail as if nobody answered, as do later ones."""
        self._is_closed = True
        await self._channel.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what a call within the block ends with as an error of ours."""
        self._check()
        try:
            yield
        except TimeoutError:
            raise silent(self.target) from None
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure, self.target) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # it is the call that was cancelled
                self._check()
            raise

    def _check(self) -> None:
        if self._is_closed:
            raise Unavailable(
                f"{self.target}: the container has moved or was removed; try again",
                retry_seconds=RETRY_SECONDS,
                store=self.target,
            )
