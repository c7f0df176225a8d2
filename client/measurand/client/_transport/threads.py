"""Calls and waiting for the sync client. Its twin with the same names is `aio`.

Every wait comes back to Python several times a second, so that Ctrl-C works on every system.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import Any, Generic, TypeVar

import grpc

from measurand.client._transport import channels
from measurand.client._transport.status import error_of, silent
from measurand.client._transport.workers import (
    STEP,
    Behind,
    Bell,
    Beside,
    Lock,
    ahead,
    check_stop,
    in_thread,
    parallel,
    result,
    sleep,
)
from measurand.client.address import Address
from measurand.client.methods import Method
from measurand.client.retries import SILENCE
from measurand.wire.errors import MeasurandError, Timeout, Unavailable

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

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

OUTBOX = 2
"""So many messages wait for gRPC to take them."""


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
        self._left: list[grpc.Channel] = []
        self._calls: dict[tuple[grpc.Channel, str], Any] = {}
        self._held: list[tuple[Any, threading.Thread]] = []

    def unary(self, method: Method[Request, Response], request: Request, *, seconds: float) -> Response:
        """Make one try of a call; every failure is a MeasurandError."""
        call = self._callable(method, "unary_unary")
        try:
            response: Response = call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as failure:
            error = self._error_of(failure)
        else:
            self.has_answered = True
            return response
        raise error

    def stream(self, method: Method[Request, Response], request: Request) -> Generator[Response, None, None]:
        """Yield the answers of a call; a silent minute counts as a lost connection."""
        call = self._callable(method, "unary_stream")(request, metadata=self._metadata)
        watch = Watch(call)
        try:
            while (response := self._read(call, watch)) is not None:
                yield response
        finally:
            watch.stop()
            call.cancel()

    def duplex(
        self, method: Method[Request, Response], *, bell: Bell | None = None, most_answers: int | None = None
    ) -> Duplex[Request, Response]:
        """Open a call with a stream in each direction; `close` it in the end. The bell rings when an answer is here.

        Not more than `most_answers` are read before they are taken. Of a method that takes one request send that one.
        """
        outbox: Outbox[Request] = Outbox()
        call = self._callable(method, "stream_stream")(outbox, metadata=self._metadata)
        return Duplex(self, call, outbox, bell, most_answers)

    def hold(self, method: Method[Request, Response], request: Request) -> None:
        """Open a call for as long as the transport lives; returns after its first answer."""
        call = self._callable(method, "unary_stream")(request, metadata=self._metadata)
        if self._read(call) is None:
            raise Unavailable(f"{self.address.target} did not stay; connect again", address=self.address.target)

        def drain() -> None:
            try:
                while self._read(call) is not None:
                    pass
            except MeasurandError:  # whoever calls next learns that the server is gone
                return

        thread = threading.Thread(target=drain, name="measurand-hold", daemon=True)
        thread.start()
        self._held.append((call, thread))

    def move(self, address: Address) -> None:
        """Make calls there from now on. What goes on at the old place ends there, as it would have without this."""
        channels.check_token(address)
        self._left.append(self._channel)
        self._channel, self._metadata, self.address = _channel_to(address), channels.call_metadata(address), address

    def close(self) -> None:
        """Close the channel and end what is held."""
        for call, thread in self._held:
            call.cancel()
            thread.join()
        for channel in (*self._left, self._channel):
            channel.close()

    def _callable(self, method: Method[Any, Any], form: str) -> Any:
        channel = self._channel
        known = self._calls.get((channel, method.path))
        if known is None:
            make = getattr(channel, form)
            known = make(method.path, channels.serializer(method), channels.deserializer(method))
            self._calls[channel, method.path] = known
        return known

    def _read(self, call: Any, watch: Watch | None = None) -> Any:
        """Return the next answer of a stream, or None at its end."""
        check_stop()
        try:
            with watch or nullcontext():
                response = next(call)
        except StopIteration:
            return None
        except grpc.RpcError as failure:
            error = silent(self.address.target) if watch is not None and watch.has_bitten else self._error_of(failure)
        else:
            self.has_answered = True
            return response
        raise error

    def _error_of(self, failure: Any) -> MeasurandError:
        """Return the error of a call that has ended, in the server's own words where it had any."""
        error = error_of(failure.code(), failure.details(), failure.trailing_metadata(), address=self.address.target)
        self.has_answered |= "transport" not in error.details
        return error


def _channel_to(address: Address) -> grpc.Channel:
    secret = channels.credentials(address)
    if secret is None:
        return grpc.insecure_channel(address.target, options=channels.OPTIONS)
    return grpc.secure_channel(address.target, secret, options=channels.OPTIONS)


class Duplex(Generic[Request, Response]):
    """A call with a stream in each direction. A thread reads what the server says as soon as it says it."""

    def __init__(
        self,
        transport: Transport,
        call: Any,
        outbox: Outbox[Request],
        bell: Bell | None,
        most_answers: int | None = None,
    ) -> None:
        self._transport = transport
        self._call = call
        self._most_answers = most_answers
        self._is_closing = False
        self._outbox = outbox
        self._answers: deque[Response] = deque()
        self._error: MeasurandError | None = None
        self._is_over = False
        self._bell = bell
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read_on, name="measurand-answers", daemon=True)
        self._reader.start()

    def send(self, message: Request) -> None:
        """Send a message, as soon as there is room for it; the stream's own error if it has ended."""
        deadline = time.monotonic() + SILENCE
        while not self._is_over and time.monotonic() < deadline:
            check_stop()
            if self._outbox.put(message, wait_seconds=STEP):
                return
        if not self._is_over:
            raise silent(self._transport.address.target)
        raise self._error or Timeout(
            f"{self._transport.address.target} ended the stream before all was sent", transport="OK"
        )

    def receive(self) -> Response | None:
        """Wait for the next answer; None: the server has said all."""
        deadline = time.monotonic() + SILENCE
        with self._news:
            while not self._answers:
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    return None
                if time.monotonic() >= deadline:
                    raise silent(self._transport.address.target)
                check_stop()
                self._news.wait(STEP)
            return self._pop()

    def receive_ready(self) -> Response | None:
        """Return an answer that is here already, or None."""
        with self._news:
            return self._pop() if self._answers else None

    @property
    def has_news(self) -> bool:
        """`receive` need not wait: for an answer, the end or an error."""
        return bool(self._answers) or self._is_over

    def finish(self) -> None:
        """Say that no more messages come."""
        self._outbox.close()

    def close(self) -> None:
        """Give the call up, whatever state it is in."""
        with self._news:
            self._is_closing = True
            self._news.notify_all()
        self._call.cancel()
        # gRPC's own thread waits for the next message: without an end it would stay for ever.
        self._outbox.close()
        self._reader.join()

    def __enter__(self) -> Duplex[Request, Response]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_on(self) -> None:
        error: MeasurandError | None = None
        try:
            while (response := self._transport._read(self._call)) is not None:  # noqa: SLF001  # one thing in two classes
                with self._news:
                    self._answers.append(response)
                    self._news.notify_all()
                self._tell()
                if self._most_answers is not None:
                    with self._news:
                        while len(self._answers) >= self._most_answers and not self._is_closing:
                            self._news.wait()
        except MeasurandError as failure:
            error = failure
        finally:
            with self._news:
                self._error = error
                self._is_over = True
                self._news.notify_all()
            self._outbox.close()
            self._tell()

    def _pop(self) -> Response:
        if self._most_answers is not None:
            self._news.notify_all()
        return self._answers.popleft()

    def _tell(self) -> None:
        if self._bell is not None:
            self._bell.ring()


class Outbox(Generic[T]):
    """Messages on their way to gRPC, which takes them as an iterator in a thread of its own. It cannot fail."""

    def __init__(self) -> None:
        self._messages: deque[T] = deque()
        self._change = threading.Condition()
        self._is_closed = False

    def put(self, message: T, *, wait_seconds: float) -> bool:
        """Add a message; False: there was no room in that time."""
        with self._change:
            if len(self._messages) >= OUTBOX and not self._is_closed:
                self._change.wait(wait_seconds)
            if len(self._messages) >= OUTBOX or self._is_closed:
                return False
            self._messages.append(message)
            self._change.notify_all()
            return True

    def close(self) -> None:
        """End the iterator once it has given all."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._change:
            while not self._messages:
                if self._is_closed:
                    raise StopIteration
                self._change.wait()
            message = self._messages.popleft()
            self._change.notify_all()
            return message


class Watch:
    """Cancels a call from which nothing comes for too long: gRPC's blocking iterator knows no timeout."""

    def __init__(self, call: Any) -> None:
        self.has_bitten = False
        self._call = call
        self._waiting_since: float | None = None
        self._timer = self._start(SILENCE)

    def __enter__(self) -> None:
        self._waiting_since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waiting_since = None  # it is the caller now who takes the time

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _start(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.start()
        return timer

    def _look(self) -> None:
        since = self._waiting_since
        left = SILENCE if since is None else since + SILENCE - time.monotonic()
        if left > 0:
            self._timer = self._start(left)
        else:
            self.has_bitten = True
            self._call.cancel()
