"""Calls and waiting for the async client. Its twin with the same names is `threads`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from measurand.client._transport import channels
from measurand.client._transport.status import error_of, silent
from measurand.client._transport.tasks import Behind, Bell, Beside, Lock, ahead, in_thread, parallel, result, sleep
from measurand.client.address import Address
from measurand.client.methods import Method
from measurand.client.retries import SILENCE
from measurand.wire.errors import MeasurandError, Unavailable

__all__ = [
    "Behind",
    "Bell",
    "Beside",
    "Duplex",
    "Lock",
    "Transport",
    "ahead",
    "in_thread",
    "parallel",
    "result",
    "sleep",
]

Request = TypeVar("Request")
Response = TypeVar("Response")


class Transport:
    """A channel to one server.

    Parameters
    ----------
    address : Address
        Where it is. Nothing is connected before the first call.
    """

    def __init__(self, address: Address) -> None:
        channels.check_token(address)
        self.address = address
        self.has_answered = False
        self._metadata = channels.call_metadata(address)
        self._channel = _channel_to(address)
        self._left: list[grpc.aio.Channel] = []
        self._calls: dict[tuple[grpc.aio.Channel, str], Any] = {}
        self._held: list[asyncio.Task[None]] = []

    async def unary(self, method: Method[Request, Response], request: Request, *, seconds: float) -> Response:
        """Make one try of a call; every failure is a MeasurandError."""
        call = self._callable(method, "unary_unary")(request, timeout=seconds, metadata=self._metadata)
        try:
            response: Response = await call
        except grpc.aio.AioRpcError as failure:
            error = self._error(failure.code(), failure.details(), failure.trailing_metadata())
        else:
            self.has_answered = True
            return response
        raise error

    async def stream(self, method: Method[Request, Response], request: Request) -> AsyncGenerator[Response, None]:
        """Yield the answers of a call; a silent minute counts as a lost connection."""
        call = self._callable(method, "unary_stream")(request, metadata=self._metadata)
        try:
            while (response := await self._read(call)) is not None:
                yield response
        finally:
            call.cancel()

    async def duplex(
        self, method: Method[Request, Response], *, bell: Bell | None = None, most_answers: int | None = None
    ) -> Duplex[Request, Response]:
        """Open a call with a stream in each direction; `close` it in the end. The bell rings when an answer is here.

        Not more than `most_answers` are read before they are taken. Of a method that takes one request send that one.
        """
        call = self._callable(method, "stream_stream")(metadata=self._metadata)
        return Duplex(self, call, bell, most_answers)

    async def hold(self, method: Method[Request, Response], request: Request) -> None:
        """Open a call for as long as the transport lives; returns after its first answer."""
        call = self._callable(method, "unary_stream")(request, metadata=self._metadata)
        if await self._read(call) is None:
            raise Unavailable(f"{self.address.target} did not stay; connect again", address=self.address.target)

        async def drain() -> None:
            try:
                while await self._read(call) is not None:
                    pass
            except MeasurandError:  # whoever calls next learns that the server is gone
                return

        self._held.append(asyncio.create_task(drain()))

    async def move(self, address: Address) -> None:
        """Make calls there from now on. What goes on at the old place ends there, as it would have without this."""
        channels.check_token(address)
        self._left.append(self._channel)
        self._channel, self._metadata, self.address = _channel_to(address), channels.call_metadata(address), address

    async def close(self) -> None:
        """Close the channel and end what is held."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        for channel in (*self._left, self._channel):
            await channel.close()

    def _callable(self, method: Method[Any, Any], form: str) -> Any:
        channel = self._channel
        known = self._calls.get((channel, method.path))
        if known is None:
            make = getattr(channel, form)
            known = make(method.path, channels.serializer(method), channels.deserializer(method))
            self._calls[channel, method.path] = known
        return known

    async def _read(self, call: Any, *, patience: float | None = SILENCE) -> Any:
        """Return the next answer of a stream, or None at its end."""
        try:
            async with asyncio.timeout(patience):
                response = await call.read()
        except TimeoutError:
            error: MeasurandError = silent(self.address.target)
        except asyncio.CancelledError:
            # Raised for a call that gRPC ended as well as for a caller who gave up.
            if not call.done() or call.cancelled():
                raise
            error = await self._error_of(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            error = await self._error_of(call)
        else:
            if response is not grpc.aio.EOF:
                self.has_answered = True
                return response
            if await call.code() is grpc.StatusCode.OK:
                return None
            error = await self._error_of(call)
        raise error

    async def _error_of(self, call: Any) -> MeasurandError:
        """Return the error of a stream that has ended, in the server's own words where it had any."""
        return self._error(await call.code(), await call.details(), await call.trailing_metadata())

    def _error(self, code: Any, text: str | None, trailing: Any) -> MeasurandError:
        error = error_of(code, text, trailing, address=self.address.target)
        self.has_answered |= "transport" not in error.details
        return error


def _channel_to(address: Address) -> grpc.aio.Channel:
    secret = channels.credentials(address)
    if secret is None:
        return grpc.aio.insecure_channel(address.target, options=channels.OPTIONS)
    return grpc.aio.secure_channel(address.target, secret, options=channels.OPTIONS)


class Duplex(Generic[Request, Response]):
    """A call with a stream in each direction. A task reads what the server says as soon as it says it."""

    def __init__(self, transport: Transport, call: Any, bell: Bell | None, most_answers: int | None = None) -> None:
        self._transport = transport
        self._call = call
        self._answers: deque[Response] = deque()
        self._most_answers = most_answers
        self._room = asyncio.Event()
        self._error: MeasurandError | None = None
        self._is_over = False
        self._bell = bell
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read_on())

    async def send(self, message: Request) -> None:
        """Send a message, as soon as there is room for it; the stream's own error if it has ended."""
        try:
            async with asyncio.timeout(SILENCE):
                await self._call.write(message)
        except TimeoutError:
            error: MeasurandError = silent(self._transport.address.target)
        except asyncio.CancelledError:
            if not self._call.done() or self._call.cancelled():
                raise
            error = await self._transport._error_of(self._call)  # noqa: SLF001  # one thing in two classes
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            error = await self._transport._error_of(self._call)  # noqa: SLF001
        else:
            return
        raise error

    async def receive(self) -> Response | None:
        """Wait for the next answer; None: the server has said all."""
        while not self._answers:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await self._news.wait()
            except TimeoutError:
                self._error = silent(self._transport.address.target)
        return self._pop()

    def receive_ready(self) -> Response | None:
        """Return an answer that is here already, or None."""
        return self._pop() if self._answers else None

    @property
    def has_news(self) -> bool:
        """`receive` need not wait: for an answer, the end or an error."""
        return bool(self._answers) or self._is_over

    async def finish(self) -> None:
        """Say that no more messages come."""
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # over already: `receive` tells why
            return

    async def close(self) -> None:
        """Give the call up, whatever state it is in."""
        self._call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def __aenter__(self) -> Duplex[Request, Response]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read_on(self) -> None:
        try:
            while (response := await self._transport._read(self._call, patience=None)) is not None:  # noqa: SLF001
                self._answers.append(response)
                self._tell()
                while self._most_answers is not None and len(self._answers) >= self._most_answers:
                    self._room.clear()
                    await self._room.wait()
        except MeasurandError as error:
            self._error = error
        finally:
            self._is_over = True
            self._tell()

    def _pop(self) -> Response:
        self._room.set()
        return self._answers.popleft()

    def _tell(self) -> None:
        self._news.set()
        if self._bell is not None:
            self._bell.ring()
